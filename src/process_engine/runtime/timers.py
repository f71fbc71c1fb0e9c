"""Everything that happens at a time: one task, one heap, one clock."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from datetime import datetime
from itertools import count

from process_engine.runtime.ports import Clock

# Withdrawn timers stay in the heap until they outnumber the others by this much: removal is O(1) on average.
MOST_WITHDRAWN = 1000


class Alarm:
    """One call at one time; `cancel` withdraws it."""

    __slots__ = ("_timers", "action", "due")

    def __init__(self, timers: Timers, due: datetime, action: Callable[[], None]) -> None:
        self._timers = timers
        self.due = due
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Withdraw the call; without effect once it was made."""
        if self.action is not None:
            self.action = None
            self._timers.withdrawn()


class Timers:
    """Calls functions when they are due, in order of time, then of arrival.

    It holds what waits in this process only; that a wait survives a crash is the store's business.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[datetime, int, Alarm]] = []
        self._numbers = count()
        self._withdrawn = 0
        self._target: datetime | None = None
        self._sooner = asyncio.Event()

    def __len__(self) -> int:
        return len(self._heap) - self._withdrawn

    def call_at(self, due: datetime, action: Callable[[], None]) -> Alarm:
        """Call `action` once `due` is reached; at the next turn if it is past. `action` must not block."""
        alarm = Alarm(self, due, action)
        heapq.heappush(self._heap, (due, next(self._numbers), alarm))
        if self._target is None or due < self._target:
            self._sooner.set()
        return alarm

    def withdrawn(self) -> None:
        """An alarm was cancelled: forget those in the heap once they are the greater part of it."""
        self._withdrawn += 1
        if self._withdrawn > MOST_WITHDRAWN and self._withdrawn * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].action is not None]
            heapq.heapify(self._heap)
            self._withdrawn = 0

    async def run(self) -> None:
        """Make the calls until cancelled."""
        while True:
            self._fire()
            self._target = self._heap[0][0] if self._heap else None
            self._sooner.clear()
            await self._wait()

    def _fire(self) -> None:
        """Make the calls that are due, and drop what was withdrawn from the front: nobody waits for it."""
        now = self._clock.now()
        while self._heap and (self._heap[0][0] <= now or self._heap[0][2].action is None):
            alarm = heapq.heappop(self._heap)[2]
            action, alarm.action = alarm.action, None
            if action is None:
                self._withdrawn -= 1
            else:
                action()

    async def _wait(self) -> None:
        """Until the next alarm is due, or an earlier one was set."""
        if self._target is None:
            await self._sooner.wait()
            return
        sooner = asyncio.ensure_future(self._sooner.wait())
        due = asyncio.ensure_future(self._clock.sleep_until(self._target))
        try:
            await asyncio.wait((sooner, due), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sooner.cancel()
            due.cancel()
