"""A connection that only reads a file, in a thread of its own: the writer never waits for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import apsw

from process_engine.repositories import connection as disk
from process_engine.repositories import migrations
from process_engine.repositories.connection import Cursor, Row, SqlValue
from process_engine.repositories.threads import Worker
from process_engine.runtime.ports import Clock

Answer = TypeVar("Answer")


class Reader:
    """Queries on a file; each sees what was committed when it began."""

    def __init__(self, path: str, clock: Clock) -> None:
        self._path = path
        self._worker = Worker("store-reader", clock)
        self._connection: apsw.Connection | None = None

    async def prepare(self) -> None:
        """Open the file.

        Raises:
            NotFound: nothing was ever written to it.
            StorageIncompatible: it is another program's, damaged, or of another version.
            StorageUnavailable: it cannot be read.
        """
        await self._worker.run(self._open)

    async def read(self, sql: str, values: Sequence[SqlValue] = ()) -> list[Row]:
        """All rows of a query of any size."""
        return await self._worker.run(lambda: disk.read(self._opened(), sql, values))

    async def write(self, change: Callable[[Cursor], Answer]) -> Answer:
        """Run one small transaction on a connection that is opened for it."""
        return await self._worker.run(lambda: self._write(change))

    def close(self) -> None:
        """Wait for what is under way and close the file."""
        self._worker.close()
        if self._connection is not None:
            disk.close(self._connection)
            self._connection = None

    def _opened(self) -> apsw.Connection:
        return self._connection or self._open()

    def _open(self) -> apsw.Connection:
        with disk.faults(nothing_written=True):
            connection = disk.connect(self._path, read_only=True)
            try:
                migrations.require_newest(connection)
            except BaseException:
                disk.close(connection)
                raise
        self._connection = connection
        return connection

    def _write(self, change: Callable[[Cursor], Answer]) -> Answer:
        with disk.faults(nothing_written=True):
            own = disk.connect(self._path)
        try:
            with disk.faults(nothing_written=True):
                migrations.require_newest(own)
                disk.make_durable(own, synchronous="FULL", exclusive=False)
                cursor = disk.cursor_of(own)
                cursor.execute("BEGIN IMMEDIATE")
                answer = change(cursor)
            # A failed commit may have left its pages in the log, from where a crash can bring them to life.
            with disk.faults(nothing_written=None):
                cursor.execute("COMMIT")
            return answer
        finally:
            disk.close(own)
