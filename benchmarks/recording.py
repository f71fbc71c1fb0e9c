"""What the engine writes for one execution, taken down while it writes it.

Nothing is copied by hand, so the bare store always has the rows of the engine as it is today.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

import apsw

from benchmarks.definitions import agents, process_of
from benchmarks.script import ID, NUMBER, Script, Write
from benchmarks.throughput import Load
from process_engine.definition.document import ProcessDefinition
from process_engine.engine import ExecutionEngine
from process_engine.repositories.connection import SqlValue, run

# Large, so that no other value of a row is taken for the execution's number.
_NUMBER = 7_000_000_001
_FILLER = "INSERT INTO executions VALUES (?, 'filler', '', '', '', '', '')"
_EVENTS = "INSERT INTO events"
_SCHEMA = "SELECT sql FROM sqlite_schema WHERE sql NOT NULL AND substr(name, 1, 7) <> 'sqlite_'"

_Statement = tuple[str, tuple[SqlValue, ...]]


async def record(load: Load, directory: Path) -> Script:
    """The script of one execution of the load's process.

    Raises:
        RuntimeError: what was seen does not look like one execution.
    """
    path, definition = directory / "recorded.db", process_of(load.shape, load.size)
    async with ExecutionEngine(path, agents()) as engine:
        await _run_one(engine, definition)
    # The next execution gets the number after the largest one.
    with closing(apsw.Connection(str(path))) as connection:
        run(connection, _FILLER, (_NUMBER - 1,))
        schema = ";\n".join(str(sql) for (sql,) in run(connection, _SCHEMA))
    with _listening() as statements:
        async with ExecutionEngine(path, agents()) as engine:
            id = await _run_one(engine, definition)
    transactions = tuple(_transactions(statements, id))
    if len(transactions) != 1 + len(load.waves):
        raise RuntimeError(f"{len(transactions)} commits for the waves {load.waves} of {definition.name}")
    return Script(schema, transactions, "heads")


async def _run_one(engine: ExecutionEngine, definition: ProcessDefinition) -> str:
    execution = await engine.start(definition)
    await engine.run_until_settled(execution.id)
    return execution.id


@contextmanager
def _listening() -> Generator[list[_Statement], None, None]:
    statements: list[_Statement] = []

    def trace(_: object, sql: str, values: object) -> bool:
        statements.append((sql, tuple(cast("Sequence[SqlValue]", values or ()))))
        return True

    def attach(connection: apsw.Connection) -> None:
        connection.exec_trace = trace

    apsw.connection_hooks.append(attach)
    try:
        yield statements
    finally:
        apsw.connection_hooks.remove(attach)


def _transactions(statements: Sequence[_Statement], id: str) -> Generator[tuple[Write, ...], None, None]:
    """The transactions that wrote events, with stand-ins for the execution's id and number."""
    inside: list[_Statement] = []
    for sql, values in statements:
        if sql.startswith("BEGIN"):
            inside = []
        elif not sql.startswith("COMMIT"):
            inside.append((sql, values))
        elif any(text.startswith(_EVENTS) for text, _ in inside):
            yield tuple(Write.of(text, _open(given, id)) for text, given in inside)


def _open(values: Sequence[SqlValue], id: SqlValue) -> tuple[object, ...]:
    return tuple(ID if value == id else NUMBER if value == _NUMBER else value for value in values)
