"""A file that somebody has damaged: told as such, never as a fault of the program."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from process_engine.app import ExecutionEngine
from process_engine.errors import StorageIncompatible
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.ports import AgentReply
from process_engine.testing.drawing import process

LARGE = "x" * 100_000


class Echo:
    async def call(self, request):
        return AgentReply(output=LARGE)

    def knows(self, agent):
        return True

    def names(self):
        return ("worker",)

    async def aclose(self):
        pass


@pytest.fixture
async def place(tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "store.db"
    async with ExecutionEngine(SqliteRepository(path), Echo()) as engine:
        execution = await engine.start(process("a -> b"))
        await engine.run_until_settled(execution.id)
    return path, execution.id


def damage(path: Path, sql: str) -> None:
    connection = apsw.Connection(str(path))
    try:
        connection.execute(sql)
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("UPDATE definitions SET document = '{}'", "definition"),
        ("UPDATE heads SET head = CAST(x'7bff' AS TEXT)", "damaged"),
        ("UPDATE heads SET head = '{'", "execution head"),
        ("UPDATE blobs SET content = 'xx'", "damaged"),
    ],
)
async def test_what_cannot_be_read_is_called_damaged_and_the_backup_is_named(place, sql, told):
    path, execution_id = place
    damage(path, sql)

    async with ExecutionEngine(SqliteRepository(path), Echo()) as engine:
        with pytest.raises(StorageIncompatible) as refusal:
            await engine.get(execution_id)

    assert told in str(refusal.value)
    assert "backup" in str(refusal.value)
