"""Alarms on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from process_engine.runtime.timers import MOST_WITHDRAWN, Timers
from process_engine.testing.clock import VirtualClock


@asynccontextmanager
async def running(clock: VirtualClock) -> AsyncIterator[Timers]:
    timers = Timers(clock)
    task = asyncio.create_task(timers.run())
    yield timers
    task.cancel()


async def test_alarms_go_off_in_the_order_of_their_times():
    clock = VirtualClock()
    start, heard = clock.now(), []
    async with running(clock) as timers:
        for minutes in (3, 1, 2):
            timers.call_at(
                start + timedelta(minutes=minutes), lambda m=minutes: heard.append((m, clock.now() - start))
            )
        await clock.sleep(600)
    assert heard == [(m, timedelta(minutes=m)) for m in (1, 2, 3)]


async def test_alarms_for_one_moment_go_off_in_the_order_in_which_they_were_set():
    clock = VirtualClock()
    heard: list[int] = []
    async with running(clock) as timers:
        for number in range(5):
            timers.call_at(clock.now() + timedelta(seconds=1), lambda n=number: heard.append(n))
        await clock.sleep(2)
    assert heard == [0, 1, 2, 3, 4]


async def test_an_alarm_set_while_waiting_for_a_later_one_is_not_late():
    clock = VirtualClock()
    start, heard = clock.now(), []
    async with running(clock) as timers:
        timers.call_at(start + timedelta(days=30), lambda: heard.append("late"))
        await clock.sleep(60)
        timers.call_at(start + timedelta(minutes=2), lambda: heard.append("early"))
        await clock.sleep(120)
        assert heard == ["early"]
        await clock.sleep(31 * 86400)
    assert heard == ["early", "late"]


async def test_a_moment_that_has_passed_goes_off_at_once():
    clock = VirtualClock()
    heard: list[str] = []
    async with running(clock) as timers:
        timers.call_at(clock.now() - timedelta(days=1), lambda: heard.append("now"))
        await clock.sleep(0.001)
    assert heard == ["now"]


async def test_a_withdrawn_alarm_stays_silent_and_is_forgotten():
    clock = VirtualClock()
    heard: list[str] = []
    async with running(clock) as timers:
        kept = timers.call_at(clock.now() + timedelta(hours=2), lambda: heard.append("kept"))
        alarms = [
            timers.call_at(clock.now() + timedelta(hours=1), lambda: heard.append("withdrawn"))
            for _ in range(3 * MOST_WITHDRAWN)
        ]
        for alarm in alarms:
            alarm.cancel()
            alarm.cancel()
        assert len(timers) == 1
        assert len(timers._heap) < MOST_WITHDRAWN + 2
        await clock.sleep(3 * 3600)
    kept.cancel()
    assert heard == ["kept"]
