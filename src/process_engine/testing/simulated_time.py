"""Time that stands still until somebody moves it."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

_NOTHING: AbstractContextManager[None] = nullcontext()


@dataclass
class SimulatedTime:
    """The time of a whole simulation: `moment` is what clocks show, `elapsed` seconds that only grow."""

    moment: datetime = field(default=datetime(2026, 1, 1, tzinfo=UTC))
    elapsed: float = 0.0

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.moment += timedelta(seconds=seconds)
        self.elapsed += seconds

    def set_back(self, seconds: float) -> None:
        """Somebody corrects the clocks; no time passes."""
        self.moment -= timedelta(seconds=seconds)


class SimulatedClock:
    """The clock of one simulated process; a port of the runtime."""

    def __init__(self, time: SimulatedTime) -> None:
        self._time = time
        self._sleepers: list[tuple[datetime, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """What the clock shows."""
        return self._time.moment

    async def sleep_until(self, due: datetime) -> None:
        """Return once the clock shows `due`."""
        while self._time.moment < due:
            waker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._sleepers.append((due, waker))
            await waker

    def outstanding(self) -> AbstractContextManager[None]:
        """Nothing to do: time is moved by the simulation alone."""
        return _NOTHING

    def idle(self) -> AbstractContextManager[None]:
        """Nothing to do: time is moved by the simulation alone."""
        return _NOTHING

    @property
    def next_due(self) -> datetime | None:
        """When the first sleeper is due."""
        self._sleepers = [sleeper for sleeper in self._sleepers if not sleeper[1].done()]
        return min((due for due, _ in self._sleepers), default=None)

    def ring(self) -> None:
        """Wake those who are due, in the order in which they went to sleep."""
        for due, waker in self._sleepers:
            if due <= self._time.moment and not waker.done():
                waker.set_result(None)

    def stop(self) -> None:
        """The process is gone: nobody sleeps here any more."""
        self._sleepers.clear()
