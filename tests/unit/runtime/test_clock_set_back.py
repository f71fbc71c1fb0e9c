"""A machine's clock that is set back while a wake-up is on its way."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta

from process_engine.app import ExecutionEngine
from process_engine.core.state import ExecutionStatus
from tests.unit.runtime.fakes import ScriptedAgents, SlowRepository, process, task

NINE = datetime(2026, 3, 1, 9, tzinfo=UTC)


class SettableClock:
    """Shows what it was set to; who sleeps wakes up when it was set to that time or a later one."""

    def __init__(self) -> None:
        self._moment = NINE
        self._was_set = asyncio.Event()

    def now(self) -> datetime:
        return self._moment

    async def sleep_until(self, due: datetime) -> None:
        while self._moment < due:
            await self._was_set.wait()

    def outstanding(self) -> AbstractContextManager[None]:
        return nullcontext()

    def idle(self) -> AbstractContextManager[None]:
        return nullcontext()

    async def set(self, moment: datetime) -> None:
        """Set it, and let everybody do what they do then."""
        self._moment = moment
        self._was_set.set()
        self._was_set = asyncio.Event()
        await turns()


async def turns() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_wake_up_that_is_too_early_since_the_clock_was_set_back_is_repeated_in_time():
    clock, store = SettableClock(), SlowRepository()
    async with ExecutionEngine(store, ScriptedAgents(), clock=clock, serve_inbox=False) as engine:
        execution = await engine.start(process({"id": "t", "type": "timer", "delay": "1h"}))
        # The loop is busy with a commit while the timer goes off and the clock is set back.
        store.gate.clear()
        other = asyncio.create_task(engine.start(process(task("a"))))
        await turns()
        await clock.set(NINE + timedelta(hours=1))
        await clock.set(NINE + timedelta(minutes=50))
        store.gate.set()
        await other
        await turns()
        early = await engine.get(execution.id)

        await clock.set(NINE + timedelta(hours=1))
        in_time = await engine.get(execution.id)

    assert early.status is ExecutionStatus.RUNNING
    assert in_time.status is ExecutionStatus.COMPLETED
