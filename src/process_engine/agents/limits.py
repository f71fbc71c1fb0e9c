"""How many calls of an agent there may be: at once, and per time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING

from process_engine.definition.durations import parse_duration
from process_engine.runtime.ports import AgentReply, AgentRequest, Clock

if TYPE_CHECKING:
    from process_engine.agents.gateway import Agent

# Calls at once that an agent may be given: as many attempts as an engine has under way at most.
MAX_PLACES = 1_000
# Real seconds after which a wait is looked at again: a clock that was set back would prolong it otherwise.
SECOND_LOOK_SECONDS = 1.0

_RATE = re.compile(r"([0-9]{1,6})\s*/\s*(\S{1,64})")
_PERIODS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_HELP = "must be a number of calls and a time, such as 60/m, 5/s or 10/30s"
# Later than every other moment that anybody waits for: who sleeps until then sleeps until woken.
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` calls at once after a rest, and one more every `seconds / count` from then on."""

    count: int
    seconds: float

    @property
    def interval(self) -> timedelta:
        """The time after which one more call is allowed; whole microseconds, rounded up."""
        return timedelta(microseconds=ceil(self.seconds * 1_000_000 / self.count))


def parse_rate(text: object) -> Rate:
    """The rate that `60/m`, `5/s` or `10/30s` stands for.

    Raises:
        ValueError: it is not one; the message says what to write.
    """
    if isinstance(text, Rate):
        return text
    found = _RATE.fullmatch(text.strip()) if isinstance(text, str) else None
    if not found or not int(found[1]):
        raise ValueError(_HELP)
    try:
        seconds = _PERIODS.get(found[2]) or parse_duration(found[2]).seconds
    except ValueError:
        raise ValueError(_HELP) from None
    if not seconds:
        raise ValueError(_HELP)
    return Rate(int(found[1]), seconds)


class Bucket:
    """A token bucket that holds `rate.count` tokens, full at first and refilled one by one.

    Kept as the moment at which it will be full again (the generic cell rate algorithm of ITU-T I.371): whole
    microseconds instead of fractions of tokens, so that who slept as long as was asked finds a token.
    """

    def __init__(self, rate: Rate) -> None:
        self._interval = rate.interval
        self._capacity = rate.interval * rate.count
        self._full_at: datetime | None = None

    def missing(self, now: datetime) -> timedelta:
        """How long it takes until there is a token; zero if there is one."""
        if self._full_at is None:
            return timedelta()
        # More than empty is only possible where the clock was set back: then it is empty.
        self._full_at = min(self._full_at, now + self._capacity)
        return max(self._full_at + self._interval - self._capacity - now, timedelta())

    def take(self, now: datetime) -> None:
        """Take a token that is there."""
        self._full_at = max(self._full_at or now, now) + self._interval


class _Waiter:
    """Somebody before the gate. It sleeps on the clock, so that a virtual one may jump meanwhile."""

    def __init__(self) -> None:
        self.admitted = False
        self._alarm: asyncio.Timeout | None = None

    def admit(self) -> None:
        self.admitted = True
        if self._alarm is not None:
            self._alarm.reschedule(asyncio.get_running_loop().time())

    async def sleep(self, clock: Clock) -> None:
        """Return once admitted."""
        # Woken by a timeout without a time: it tells its own cancellation from that of a caller.
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as self._alarm:
                await clock.sleep_until(_NEVER)


class Gate:
    """Lets at most `places` callers in at once, and no more per time than `rate`, in the order they came.

    A caller takes a place first and a token then: tokens taken before would pile up while all places are
    held, and be spent in one burst. Only one caller at a time, the one at the door, waits for a token.
    """

    def __init__(self, clock: Clock, *, places: int | None = None, rate: Rate | None = None) -> None:
        self._clock = clock
        self._free = MAX_PLACES if places is None else places
        self._bucket = None if rate is None else Bucket(rate)
        self._door_taken = False
        # Ordered, and quick to leave: thousands may be cancelled at once.
        self._queue: dict[_Waiter, None] = {}

    @property
    def waiting(self) -> int:
        """Callers in the queue, without the one at the door."""
        return len(self._queue)

    @asynccontextmanager
    async def passed(self) -> AsyncGenerator[None]:
        """Wait for admission, and hold a place while inside. Who is cancelled meanwhile takes nothing."""
        await self._enter()
        try:
            yield
        finally:
            self._free += 1
            self._admit()

    async def _enter(self) -> None:
        waiter = _Waiter()
        self._queue[waiter] = None
        self._admit()
        try:
            if not waiter.admitted:
                await waiter.sleep(self._clock)
            await self._take_token()
        except BaseException:
            self._queue.pop(waiter, None)
            self._free += waiter.admitted
            raise
        finally:
            if waiter.admitted:
                self._door_taken = False
            self._admit()

    def _admit(self) -> None:
        """Let the first of the queue to the door if that is free and so is a place."""
        if self._queue and self._free and not self._door_taken:
            waiter = next(iter(self._queue))
            del self._queue[waiter]
            self._free -= 1
            self._door_taken = True
            waiter.admit()

    async def _take_token(self) -> None:
        if self._bucket is None:
            return
        while missing := self._bucket.missing(self._clock.now()):
            with suppress(TimeoutError):
                async with asyncio.timeout(missing.total_seconds() + SECOND_LOOK_SECONDS):
                    await self._clock.sleep_until(self._clock.now() + missing)
        self._bucket.take(self._clock.now())


class LimitedAgent:
    """An agent behind a gate. Waiting is no part of a call: the agent's own timeout begins after it."""

    def __init__(self, agent: Agent, gate: Gate) -> None:
        self._agent = agent
        self._gate = gate

    async def call(self, request: AgentRequest) -> AgentReply:
        """Wait for admission, then call the agent once; as `AgentGateway.call`."""
        async with self._gate.passed():
            return await self._agent.call(request)

    async def aclose(self) -> None:
        await self._agent.aclose()
