"""What outlives a simulated process: the store's data, which one process after the other opens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from typing import Protocol, TypeVar

import apsw

from process_engine.repositories import connection
from process_engine.repositories.memory import MemoryRepository, Tables
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.ports import Clock, ExecutionRepository

T = TypeVar("T")


def run_now(coroutine: Coroutine[object, object, T]) -> T:
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise AssertionError("a simulated store waited for something")


async def all_of(items: AsyncIterator[T]) -> list[T]:
    """Every item, in order."""
    return [item async for item in items]


class Disk(Protocol):
    """Data that several repositories open, at the same time or one after the other."""

    def repository(self) -> ExecutionRepository:
        """A repository of a process of its own, not opened yet. None of its methods waits."""
        ...


class MemoryDisk:
    """The reference store's tables."""

    def __init__(self) -> None:
        self.tables = Tables()

    def repository(self) -> ExecutionRepository:
        return MemoryRepository(self.tables)


class SqliteDisk:
    """An SQLite database in memory.

    The statements, transactions and fences are those of a file. Without one there is no lock that would
    keep a second process out: whoever was overtaken has to be stopped by the fence.
    """

    def __init__(self) -> None:
        self._connection = connection.connect(connection.MEMORY, create=True)

    def repository(self) -> ExecutionRepository:
        return _Sharing(self._connection)


def begin(disk: Disk, clock: Clock) -> ExecutionRepository:
    """A reader of the disk; a writer has been there before, so that there is something to read."""
    writer, reader = disk.repository(), disk.repository()
    run_now(writer.open(clock=clock))
    run_now(writer.close())
    run_now(reader.open(clock=clock, writer=False))
    return reader


class _Sharing(SqliteRepository):
    """One opening of a database that others have open as well."""

    def __init__(self, shared: apsw.Connection) -> None:
        super().__init__(connection.MEMORY)
        self._memory = shared
