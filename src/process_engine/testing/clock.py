"""Virtual time: a clock that jumps to the next due moment as soon as nothing real is under way."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count

# Turns of the event loop that must pass without anything under way before time jumps. What the runtime does
# not count (a test's own tasks) gets this many turns to go on first.
QUIET_TURNS = 8


class VirtualClock:
    """Time that passes only when everybody waits.

    It stands still while something is outstanding: a commit, a call in a thread, a socket operation, an
    attempt that is not itself asleep on this clock. It moves only while somebody waits for it: inside
    `ExecutionEngine.run_until_settled`, a command, or `sleep`. So a test sees every state it asks for.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._outstanding = 0
        self._held: dict[asyncio.Task[object] | None, int] = {}
        self._idle = 0
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None], int]] = []
        self._numbers = count()
        self._checking = False
        # Grows with everything that begins or ends: a number that stays the same means quiet.
        self._changes = 0

    def now(self) -> datetime:
        """The virtual time."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Sleep virtual seconds; time may jump meanwhile."""
        with self.idle():
            await self.sleep_until(self._now + timedelta(seconds=seconds))

    async def sleep_until(self, due: datetime) -> None:
        """Return once the virtual time is `due`. While asleep, the task counts as nothing under way."""
        if due <= self._now:
            return
        held = self._held.get(asyncio.current_task(), 0)
        waker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (due, next(self._numbers), waker, held))
        self._change_outstanding(-held)
        try:
            await waker
        except asyncio.CancelledError:
            # Whoever woke the sleeper has counted it again already; a cancelled one counts from here.
            if waker.cancelled() or not waker.done():
                self._change_outstanding(held)
            raise

    @contextmanager
    def outstanding(self) -> Generator[None]:
        """Time stands still while this is entered, unless the task that entered it sleeps on this clock."""
        task = asyncio.current_task()
        self._held[task] = self._held.get(task, 0) + 1
        self._change_outstanding(1)
        try:
            yield
        finally:
            left = self._held[task] - 1
            if left:
                self._held[task] = left
            else:
                del self._held[task]
            self._change_outstanding(-1)

    @contextmanager
    def idle(self) -> Generator[None]:
        """Time may jump while this is entered."""
        self._idle += 1
        self._check_soon()
        try:
            yield
        finally:
            self._idle -= 1

    def _change_outstanding(self, by: int) -> None:
        self._outstanding += by
        self._changes += 1
        self._check_soon()

    def _check_soon(self) -> None:
        if self._may_jump() and not self._checking:
            self._checking = True
            asyncio.get_running_loop().call_soon(self._check, QUIET_TURNS, self._changes)

    def _may_jump(self) -> bool:
        return self._outstanding == 0 and self._idle > 0

    def _check(self, turns: int, changes: int) -> None:
        if not self._may_jump():
            self._checking = False
        elif changes != self._changes:
            # Something came and went between two looks: what follows from it needs its turns as well.
            asyncio.get_running_loop().call_soon(self._check, QUIET_TURNS, self._changes)
        elif turns:
            asyncio.get_running_loop().call_soon(self._check, turns - 1, changes)
        else:
            self._checking = False
            self._jump()

    def _jump(self) -> None:
        """Go to the earliest moment somebody sleeps until, and wake all who are due then."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        if not self._sleepers:
            return
        self._now = max(self._now, self._sleepers[0][0])
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, waker, held = heapq.heappop(self._sleepers)
            if not waker.done():
                waker.set_result(None)
                self._outstanding += held
        self._check_soon()
