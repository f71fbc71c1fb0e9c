"""The bare store as a contender: the same rows on the same disk, and nothing around them.

A script says what one execution writes, transaction by transaction. All texts are made beforehand, so that
what is timed is SQLite and the disk, and of Python only what hands rows over.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path

import apsw
from cells import Cell
from measure import Limits, Sample, closed_loop

from process_engine.repositories.connection import Row, SqlValue, cursor_of

# `VALUES (?, ?), (?, ?)`: a list of rows, which may be made longer or shorter.
_ROW_LIST = re.compile(r"VALUES (?P<row>\([?, ]+\))(?:, (?P=row))*")
# Rows in one statement at most, as the engine does it: a power of two keeps few statements prepared.
_MOST_ROWS = 64
# As the engine sets it: 16 MiB.
_CACHE_KIBIBYTES = 16 * 1024

# Stand-ins in a script for what differs between executions.
ID = object()
NUMBER = object()


@dataclass(frozen=True)
class Write:
    """One statement with its values, of which some are `ID` or `NUMBER`.

    `row` is the row's form where rows of several executions may share a statement, else empty.
    """

    before: str
    row: str
    after: str
    values: tuple[object, ...]

    @classmethod
    def of(cls, sql: str, values: Sequence[object]) -> Write:
        """Split a statement at its list of rows; one that answers something stays as it is."""
        found = _ROW_LIST.search(sql)
        if found is None or "RETURNING" in sql:
            return cls(sql, "", "", tuple(values))
        return cls(sql[: found.start()] + "VALUES", found["row"], sql[found.end() :], tuple(values))

    def filled(self, id: str, number: int) -> list[SqlValue]:
        """The values of one execution."""
        return [id if value is ID else number if value is NUMBER else value for value in self.values]  # type: ignore[misc]


@dataclass(frozen=True)
class Script:
    """What one execution writes: a list of transactions, the first of which creates it.

    `schema` is run once. `numbered` says which table has a row for each execution, for the check at the end.
    """

    schema: str
    transactions: tuple[tuple[Write, ...], ...]
    numbered: str

    @property
    def rows(self) -> float:
        """Rows in one transaction, on average."""
        writes = [write for transaction in self.transactions for write in transaction if write.row]
        rows = sum(len(write.values) // write.row.count("?") for write in writes)
        others = sum(
            not write.row and not write.before.startswith("SELECT")
            for transaction in self.transactions
            for write in transaction
        )
        return (rows + others) / len(self.transactions)


def two_rows(waves: Sequence[int], result: str) -> Script:
    """The least a durable step needs: its result is inserted, the position of its execution updated."""
    schema = """
        CREATE TABLE execution (number INTEGER PRIMARY KEY, state TEXT, position INTEGER, at REAL) STRICT;
        CREATE TABLE step (execution INTEGER, position INTEGER, result TEXT, at REAL,
                           PRIMARY KEY (execution, position)) STRICT, WITHOUT ROWID;
    """
    create = Write.of("INSERT INTO execution VALUES (?, ?, ?, ?)", (NUMBER, "running", 0, 0.0))
    transactions: list[tuple[Write, ...]] = [(create,)]
    done, steps = 0, sum(waves)
    for wave in waves:
        writes: list[Write] = []
        for _ in range(wave):
            done += 1
            state = "completed" if done == steps else "running"
            writes.append(Write.of("INSERT INTO step VALUES (?, ?, ?, ?)", (NUMBER, done, result, 0.0)))
            update = "UPDATE execution SET state = ?, position = ?, at = ? WHERE number = ?"
            writes.append(Write.of(update, (state, done, 0.0, NUMBER)))
        transactions.append(tuple(writes))
    return Script(schema, tuple(transactions), "execution")


Filled = tuple[Write, list[SqlValue]]
Commit = Callable[[Sequence[Filled]], Awaitable[None]]


class _Store:
    """An SQLite file, written as the engine writes: WAL, FULL, one connection."""

    def __init__(self, path: Path, schema: str) -> None:
        self._connection = apsw.Connection(str(path), statementcachesize=256)
        self._cursor = cursor_of(self._connection)
        self.commits = 0
        self.run(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA fullfsync = ON;"
            f"PRAGMA checkpoint_fullfsync = ON; PRAGMA cache_size = -{_CACHE_KIBIBYTES}"
        )
        self.run(schema)

    def run(self, sql: str, values: Sequence[SqlValue] = ()) -> list[Row]:
        return self._cursor.execute(sql, values).fetchall()

    def commit(self, writes: Sequence[Filled]) -> None:
        """One transaction; rows of the same form go in together."""
        self.run("BEGIN IMMEDIATE")
        lists: dict[tuple[str, str, str], list[SqlValue]] = {}
        once: set[str] = set()
        for write, values in writes:
            if write.row:
                lists.setdefault((write.before, write.row, write.after), []).extend(values)
            elif values:
                self.run(write.before, values)
            elif write.before not in once:
                once.add(write.before)
                self.run(write.before)
        for form, values in lists.items():
            self._run_rows(form, values)
        self.run("COMMIT")
        self.commits += 1

    def _run_rows(self, form: tuple[str, str, str], values: list[SqlValue]) -> None:
        start, rows = 0, _MOST_ROWS
        while start < len(values):
            sql, width = _statement(form, rows)
            while len(values) - start >= width:
                self.run(sql, values[start : start + width])
                start += width
            rows //= 2

    def close(self) -> None:
        self._connection.close()


@cache
def _statement(form: tuple[str, str, str], rows: int) -> tuple[str, int]:
    before, row, after = form
    return f"{before} {', '.join([row] * rows)} {after}", rows * row.count("?")


class _Group:
    """Whatever is handed in during one turn of the event loop becomes one transaction."""

    def __init__(self, store: _Store) -> None:
        self._store = store
        self._writes: list[Filled] = []
        self._waiting: list[asyncio.Future[None]] = []

    def commit(self, writes: Sequence[Filled]) -> Awaitable[None]:
        loop = asyncio.get_running_loop()
        if not self._waiting:
            # One turn later: everybody who is ready now has handed in by then.
            loop.call_soon(loop.call_soon, self._flush)
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append(future)
        self._writes += writes
        return future

    def _flush(self) -> None:
        writes, waiting = self._writes, self._waiting
        self._writes, self._waiting = [], []
        self._store.commit(writes)
        for future in waiting:
            future.set_result(None)


class _Alone:
    """Every transaction is committed where it is handed in."""

    def __init__(self, store: _Store) -> None:
        self._store = store

    async def commit(self, writes: Sequence[Filled]) -> None:
        self._store.commit(writes)


async def _nothing() -> None:
    """The work of a step."""


def _executions(script: Script, commit: Commit) -> Callable[[], Awaitable[None]]:
    numbers = count(1)

    async def one() -> None:
        number = next(numbers)
        # As long as the engine's own ids, and in order like those.
        id = f"{number:020d}"
        for transaction in script.transactions:
            await commit([(write, write.filled(id, number)) for write in transaction])
            await _nothing()

    return one


async def measure(
    cell: Cell, contender: str, script: Script, round: int, limits: Limits, directory: Path
) -> Sample:
    """Run the script as often as the limits allow on a new file in `directory`.

    Alone every transaction is a commit of its own; at once, those of one turn share one.
    """
    with closing(_Store(directory / "raw.db", script.schema)) as store:
        way = _Alone(store) if cell.concurrency == 1 else _Group(store)
        one = _executions(script, way.commit)
        once = Limits(seconds=1.0, executions=max(cell.concurrency, 5))
        warm = len((await closed_loop(one, cell.concurrency, once)).latencies)
        before = store.commits
        timing = await closed_loop(one, cell.concurrency, limits)
        done, commits = len(timing.latencies), store.commits - before
        ((found,),) = store.run(f"SELECT count(*) FROM {script.numbered}")
    if found != done + warm:
        raise RuntimeError(f"the file holds {found} executions, {done + warm} were written")
    return Sample(
        cell.name,
        contender,
        round,
        done,
        done * cell.steps,
        commits,
        timing.wall_seconds,
        timing.cpu_seconds,
        timing.latencies,
    )
