"""When a commit returns it is on the disk, and when it fails what is said of it is what was found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from process_engine.errors import InternalError, StorageUnavailable
from process_engine.ids import ExecutionId
from process_engine.repositories import connection as disk
from process_engine.repositories import migrations
from process_engine.repositories.sqlite import SqliteRepository, Synchronous
from process_engine.repositories.writer import Writer
from tests.contract.samples import begun, execution, transition
from tests.contract.stores import StillClock
from tests.unit.repositories.faulty_vfs import NAME, faulty_vfs

COUNTING = "counting"


class Syncs:
    """How often a file was synced."""

    def __init__(self) -> None:
        self.count = 0


class _File(apsw.VFSFile):
    def __init__(self, filename: str | apsw.URIFilename, flags: list[int], syncs: Syncs) -> None:
        super().__init__("", filename, flags)
        self._syncs = syncs

    def xSync(self, flags: int) -> None:
        self._syncs.count += 1
        super().xSync(flags)


class _Vfs(apsw.VFS):
    def __init__(self, syncs: Syncs) -> None:
        super().__init__(COUNTING, base="")
        self._syncs = syncs

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        assert name is not None
        return _File(name, flags, self._syncs)


@pytest.fixture
def syncs() -> Iterator[Syncs]:
    counted = Syncs()
    vfs = _Vfs(counted)
    try:
        yield counted
    finally:
        vfs.unregister()


@pytest.mark.parametrize(("synchronous", "wanted"), [("FULL", 1), ("NORMAL", 0), ("OFF", 0)])
async def test_a_commit_is_synced_before_it_returns_unless_that_was_given_up(
    tmp_path: Path, syncs: Syncs, synchronous: Synchronous, wanted: int
):
    store = SqliteRepository(tmp_path / "store.db", synchronous=synchronous, vfs=COUNTING)
    await store.open(clock=StillClock())
    # The first commit into a new log may sync its header, too.
    await store.commit([begun("a")], store.fence)
    before = syncs.count

    await store.commit([begun("b")], store.fence)

    assert syncs.count - before == wanted
    await store.close()


async def test_a_batch_of_which_one_row_is_refused_leaves_none_of_its_rows(tmp_path: Path):
    store = SqliteRepository(tmp_path / "store.db")
    await store.open(clock=StillClock())
    await store.commit([begun("a"), transition(execution("a", sequence=2))], store.fence)

    with pytest.raises(InternalError):
        await store.commit([begun("b"), transition(execution("a", sequence=2))], store.fence)

    assert await store.load(ExecutionId("b")) is None
    assert len(await store.feed()) == 2
    await store.close()


@pytest.mark.parametrize("is_there", [True, False])
async def test_a_failed_commit_is_looked_for_and_what_was_found_is_said(tmp_path: Path, is_there: bool):
    with faulty_vfs() as faults:
        connection = disk.connect(str(tmp_path / "store.db"), create=True, vfs=NAME)
        disk.make_durable(connection, synchronous="FULL", exclusive=True)
        migrations.migrate(connection)
        writer = Writer(connection, StillClock(), shared=True, in_memory=False)
        faults.arm(1, apsw.IOError)

        with pytest.raises(StorageUnavailable) as failure:
            await writer.transact(
                lambda cursor: cursor.execute("UPDATE ownership SET epoch = epoch + 1"),
                written=lambda cursor: is_there,
            )

        assert faults.raised == 1
        assert failure.value.nothing_written is not is_there
        await writer.close()
        disk.close(connection)
