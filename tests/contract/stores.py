"""The stores under contract: one line each, and all behavioural tests apply to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from process_engine.repositories.memory import MemoryRepository
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.ports import ExecutionRepository

StoreFactory = Callable[[Path], ExecutionRepository]
"""Makes a closed, empty store; the directory is its own. Reopening the same object must find the data."""

STORES: dict[str, StoreFactory] = {
    "memory": lambda directory: MemoryRepository(),
    "sqlite-memory": lambda directory: SqliteRepository(),
    "sqlite-file": lambda directory: SqliteRepository(directory / "store.db"),
}


class StillClock:
    """A clock that stands still, and counts what is under way."""

    def __init__(self) -> None:
        self.busy = 0
        self.calls = 0
        self._entered = asyncio.Event()

    def now(self) -> datetime:
        return datetime(2026, 3, 1, 12, tzinfo=UTC)

    async def sleep_until(self, due: datetime) -> None:
        raise AssertionError("a store never waits for a time")

    async def until_busy(self) -> None:
        """Return once something has been under way since this object was made."""
        await self._entered.wait()

    @contextmanager
    def outstanding(self) -> Generator[None, None, None]:
        self.busy += 1
        self.calls += 1
        self._entered.set()
        try:
            yield
        finally:
            self.busy -= 1
