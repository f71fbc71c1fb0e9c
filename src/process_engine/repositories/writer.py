"""The one connection that writes: transactions, where their commit runs, and the upkeep of the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from time import perf_counter
from typing import TypeVar

import apsw

from process_engine.errors import ProcessEngineError
from process_engine.repositories import connection as disk
from process_engine.repositories.connection import Cursor, Row, SqlValue
from process_engine.repositories.threads import Worker
from process_engine.runtime.ports import Clock

Answer = TypeVar("Answer")

# 4 MiB: at this length the log is copied into the file, in the thread, for 5 to 9 ms (decision 0011).
LOG_PAGES = 1_000


class Pace:
    """How long commits take of late, and whether the event loop should be spared them.

    A hop to a thread and back costs 0.2 ms. Where a commit takes not much more, it is cheaper to stand still
    for it; from 2 ms on the hop is a tenth, and the loop has better things to do (decision 0011).
    """

    SLOW_SECONDS = 0.002
    FAST_SECONDS = 0.001
    # The share of the newest commit in the mean: one of 12 ms among fast ones is enough to switch.
    _WEIGHT = 0.2

    def __init__(self) -> None:
        self.mean_seconds = 0.0
        self.slow = False

    def note(self, seconds: float) -> None:
        """Take a commit of this duration into account."""
        self.mean_seconds += self._WEIGHT * (seconds - self.mean_seconds)
        self.slow = self.mean_seconds > (self.FAST_SECONDS if self.slow else self.SLOW_SECONDS)


class Writer:
    """Runs one transaction at a time on one connection.

    `shared` means that the connection is the only one there can be (in memory, or locked exclusively): then
    readers take their turn on it as well, and the log is kept short by SQLite itself.
    """

    def __init__(self, connection: apsw.Connection, clock: Clock, *, shared: bool, in_memory: bool) -> None:
        self._connection = connection
        self._cursor = disk.cursor_of(connection)
        self._worker = Worker("store-writer", clock)
        # Held while statements run, in whichever thread: a connection serves one at a time.
        self._turn = asyncio.Lock()
        self.pace = Pace()
        self._threads = not in_memory
        self._log = None if shared else Log(connection)
        self._upkeep: Future[None] | None = None

    async def transact(
        self,
        write: Callable[[Cursor], Answer],
        *,
        written: Callable[[Cursor], bool] | None = None,
        heavy: bool = False,
    ) -> Answer:
        """Run `write` inside a transaction that is durable on return; whatever it raises undoes all of it.

        `heavy` says that already the rows take long. `written` looks whether the rows are there, after a
        commit whose outcome is in doubt.

        Raises:
            StorageUnavailable: `.nothing_written` is True, False, or None (unknown).
        """
        async with self._turn:
            await self._end_upkeep()
            if heavy and self._threads:
                return await self._worker.run(lambda: self._whole(write, written))
            with disk.faults(nothing_written=True):
                await self._begin()
            answer = self._rows(write)
            if self.pace.slow and self._threads:
                await self._worker.run(lambda: self._commit(written))
            else:
                self._commit(written)
            return answer

    async def read(self, sql: str, values: Sequence[SqlValue] = ()) -> list[Row]:
        """All rows of a query that is quick, on the calling thread."""
        async with self._turn:
            await self._end_upkeep()
            return disk.read(self._connection, sql, values)

    async def close(self) -> None:
        """Wait for what is under way; the connection stays open."""
        async with self._turn:
            self._worker.close()
            if self._log is not None:
                self._log.leave()

    def _whole(self, write: Callable[[Cursor], Answer], written: Callable[[Cursor], bool] | None) -> Answer:
        with disk.faults(nothing_written=True):
            self._begin_waiting()
        answer = self._rows(write)
        self._commit(written)
        return answer

    async def _begin(self) -> None:
        try:
            self._begin_within(0)
        except apsw.BusyError:
            # Another process leaves a command just now. Waiting for it is for the thread.
            try:
                await self._worker.run(self._begin_waiting)
            except BaseException:
                disk.roll_back(self._connection)
                raise

    def _begin_waiting(self) -> None:
        self._begin_within(disk.BUSY_TIMEOUT_MILLISECONDS)

    def _begin_within(self, milliseconds: int) -> None:
        self._connection.set_busy_timeout(milliseconds)
        try:
            self._cursor.execute("BEGIN IMMEDIATE")
        finally:
            self._connection.set_busy_timeout(disk.BUSY_TIMEOUT_MILLISECONDS)

    def _rows(self, write: Callable[[Cursor], Answer]) -> Answer:
        try:
            return write(self._cursor)
        except apsw.Error as error:
            disk.roll_back(self._connection)
            raise disk.explain(error, nothing_written=True) from error
        except UnicodeDecodeError as error:
            disk.roll_back(self._connection)
            raise disk.no_text(error) from error
        except BaseException:
            disk.roll_back(self._connection)
            raise

    def _commit(self, written: Callable[[Cursor], bool] | None) -> None:
        began = perf_counter()
        try:
            self._cursor.execute("COMMIT")
        except apsw.Error as error:
            raise self._doubtful(error, written) from error
        finally:
            self.pace.note(perf_counter() - began)
        # Begun here and waited for by whoever comes next: where nobody does, it delays nobody.
        if self._log is not None and self._log.is_long:
            self._upkeep = self._worker.begin(self._log.copy)

    async def _end_upkeep(self) -> None:
        if self._upkeep is not None:
            await self._worker.end(self._upkeep)
            self._upkeep = None

    def _doubtful(self, error: apsw.Error, written: Callable[[Cursor], bool] | None) -> ProcessEngineError:
        """Find out what a failed commit has left behind.

        The transaction is rolled back, yet its pages may lie in the log, complete but for an fsync that
        failed; a crash now would bring them to life. The next commit overwrites them, so a tiny one is made
        here. Only where that succeeds is the outcome known.
        """
        try:
            disk.roll_back(self._connection)
            self._begin_within(0)
            self._cursor.execute("UPDATE ownership SET repaired = repaired + 1")
            self._cursor.execute("COMMIT")
            there = written is not None and written(self._cursor)
        except apsw.Error:
            disk.roll_back(self._connection)
            return disk.explain(error, nothing_written=None)
        return disk.explain(error, nothing_written=not there)


class Log:
    """The write-ahead log of a file, and when to copy it into the file."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._pages = 0
        self._limit = LOG_PAGES
        connection.set_wal_hook(self._note)

    def _note(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        if pages < self._pages:  # it has started over
            self._limit = LOG_PAGES
        self._pages = pages
        return apsw.SQLITE_OK

    @property
    def is_long(self) -> bool:
        """Whether it is time for `copy`."""
        return self._pages >= self._limit

    def copy(self) -> None:
        """Copy all of it into the file, so that it starts over with the next commit."""
        # Where somebody's long query keeps it from starting over, it grows as much again before the next try.
        self._limit = self._pages + LOG_PAGES
        # A failure here loses nothing: the log stays as it is.
        with suppress(apsw.Error):
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def leave(self) -> None:
        """Look no longer."""
        self._connection.set_wal_hook(None)
