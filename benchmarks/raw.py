"""The bare store as a contender: the same rows on the same disk, and nothing around them.

A script says what one execution writes, transaction by transaction. All texts are made beforehand, so that
what is timed is SQLite and the disk, and of Python only what hands rows over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from functools import cache
from itertools import count
from pathlib import Path

import apsw
import msgspec

from benchmarks.cells import SAME_ROWS
from benchmarks.definitions import RESULT
from benchmarks.recording import record
from benchmarks.script import Filled, Script, two_rows
from benchmarks.served import Answer, Handler, Request, load_of, main
from benchmarks.throughput import Load, closed_loop, throughput, warm_up
from process_engine.repositories.connection import Row, SqlValue, cursor_of

# Rows in one statement at most, as the engine does it: a power of two keeps few statements prepared.
_MOST_ROWS = 64
# As the engine sets it: 16 MiB.
_CACHE_KIBIBYTES = 16 * 1024

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
        try:
            self._store.commit(writes)
        except apsw.Error as error:
            for future in waiting:
                future.set_exception(error)
        else:
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


class Raw:
    """A bare store that writes what the engine writes, or the least a durable step needs."""

    def __init__(self, engine: str) -> None:
        self._same_rows = engine == SAME_ROWS
        self._scripts: dict[tuple[str, int], Script] = {}

    def handlers(self) -> Mapping[str, Handler]:
        return {"about": _about, "throughput": self._throughput}

    async def _throughput(self, request: Request, directory: Path) -> Answer:
        """Run the script of a load as often as its limits allow, on a new file.

        Alone every transaction is a commit of its own; at once, those of one turn share one.
        """
        load = load_of(request)
        script = await self._script(load, directory)
        with closing(_Store(directory / "raw.db", script.schema)) as store:
            way = _Alone(store) if load.concurrency == 1 else _Group(store)
            one = _executions(script, way.commit)
            warm = await warm_up(one, load.concurrency)
            before = store.commits
            timing = await closed_loop(one, load.concurrency, load.limits)
            done, commits = len(timing.latencies), store.commits - before
            ((found,),) = store.run(f"SELECT count(*) FROM {script.numbered}")
        if found != done + warm:
            raise RuntimeError(f"the file holds {found} executions, {done + warm} were written")
        figures = throughput(timing, load.steps)
        figures["commits_per_step"] = commits / (done * load.steps)
        figures["rows_per_commit"] = script.rows
        return {"figures": figures, "latencies": timing.latencies}

    async def _script(self, load: Load, directory: Path) -> Script:
        """What one execution writes; learned from the engine itself the first time."""
        key = (load.shape, load.size)
        if key not in self._scripts:
            if self._same_rows:
                self._scripts[key] = await record(load, directory)
            else:
                self._scripts[key] = two_rows(load.waves, msgspec.json.encode(RESULT).decode())
        return self._scripts[key]


async def _about(_: Request, directory: Path) -> Answer:
    return {
        "version": f"SQLite {apsw.sqlite_lib_version()}",
        "guarantee": "SQLite WAL, synchronous=FULL: every transaction is on the disk before it is answered",
    }


if __name__ == "__main__":
    main(Raw)
