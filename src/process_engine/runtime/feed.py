"""Committed events, delivered: at once to listeners in this process, by cursor to everybody else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from process_engine.core.events import Event
from process_engine.runtime.ports import ExecutionRepository, FeedEntry

log = logging.getLogger(__name__)

Listener = Callable[[Event], None]

# A lost wake-up makes a reader at most this much later; the events table is the truth.
POLL_SECONDS = 0.5
PAGE = 500


class EventBus(Protocol):
    """Where the engine announces what was committed."""

    def publish(self, events: Sequence[Event]) -> None:
        """Take note of events that are durable now, in order of commit. Must neither block nor raise."""
        ...


class InMemoryEventBus:
    """Delivers every committed event, complete and in order, to listeners in this process.

    A listener is called on the event loop and must not block. One that raises is reported in the log; the
    others get the event all the same, and so does it the next one.
    """

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each event from now on; the result ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def publish(self, events: Sequence[Event]) -> None:
        """Deliver to every listener."""
        if not self._listeners:
            return
        for event in events:
            for listener in tuple(self._listeners):
                try:
                    listener(event)
                except Exception:
                    log.exception("listener failed event=%s type=%s", event.id, event.type)


class EventFeed:
    """The log of all executions as a stream with a cursor: `position` of the last entry that was dealt with.

    A reader that keeps its cursor misses nothing, across restarts too.
    """

    def __init__(self, repository: ExecutionRepository) -> None:
        self._repository = repository
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Tell waiting readers that something was committed."""
        self._news.set()
        self._news = asyncio.Event()

    async def read(self, *, after: int = 0, limit: int = PAGE) -> Sequence[FeedEntry]:
        """What was committed after `after`, in order; empty when there is nothing new."""
        return await self._repository.feed(after=after, limit=limit)

    async def follow(self, *, after: int = 0) -> AsyncIterator[FeedEntry]:
        """Every entry after `after`, for ever; waits for new ones."""
        while True:
            news = self._news
            entries = await self.read(after=after)
            for entry in entries:
                yield entry
                after = entry.position
            if not entries:
                await _wait_for(news)


async def _wait_for(news: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(news.wait(), POLL_SECONDS)
    except TimeoutError:
        return
