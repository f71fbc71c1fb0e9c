"""Promptness of the engine: how late a due timer is under load, how long the event loop stands still."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from benchmarks.definitions import agents, chain, process_of, wait
from benchmarks.served import Answer, Request
from benchmarks.throughput import percentile
from process_engine.engine import ExecutionEngine
from process_engine.runtime.ports import AgentRequest

# Other work comes in executions of this many steps.
_OTHER_STEPS = 10
# Timers that were set while the load was only beginning do not count.
_SETTLING_SECONDS = 0.5
_TICK_SECONDS = 0.001


class _Calls:
    """The agent of all executions: counts the steps of other work, notes when those after timers come."""

    def __init__(self) -> None:
        self.other = 0
        self.woken: dict[str, datetime] = {}

    async def answer(self, message: object, request: AgentRequest) -> object:
        if request.context.step_id == "after":
            self.woken[request.context.execution_id] = datetime.now(UTC)
        else:
            self.other += 1
        return {"ok": True, "n": message}


async def measure_wake_up(request: Request, directory: Path) -> Answer:
    """Timers that become due while other executions run at a fixed rate, whether or not they keep up."""
    calls = _Calls()
    due: dict[str, datetime] = {}
    work, timer = chain(_OTHER_STEPS), wait(f"{request['delay_ms']}ms")
    async with ExecutionEngine(directory / "wake-up.db", agents(calls.answer)) as engine:

        async def work_on() -> None:
            await engine.run_until_settled((await engine.start(work)).id)

        async def set_timer() -> None:
            started = await engine.start(timer)
            moment = started.step_executions["wait"].due
            assert moment is not None
            if perf_counter() - began > _SETTLING_SECONDS:
                due[started.id] = moment
            await engine.run_until_settled(started.id)

        began, seconds = perf_counter(), float(request["for_seconds"])
        # The last timers are due while the other work still runs.
        setting_seconds = seconds - request["delay_ms"] / 1e3
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_at_rate(set_timer, request["timers_per_second"], setting_seconds))
            other = _at_rate(work_on, request["steps_per_second"] / _OTHER_STEPS, seconds)
            other_seconds = await tasks.create_task(other)
    late = [round((calls.woken[id] - moment).total_seconds(), 7) for id, moment in due.items()]
    figures = {
        "wake_p50_ms": 1e3 * percentile(late, 0.5),
        "wake_p99_ms": 1e3 * percentile(late, 0.99),
        "other_steps_per_second": calls.other / other_seconds,
        "timers_fired": len(late),
    }
    return {"figures": figures, "latencies": late}


async def _at_rate(one: Callable[[], Awaitable[None]], rate: float, seconds: float) -> float:
    """Begin `one` at fixed moments, `rate` times a second; returns after how many seconds the last one ended.

    A moment that was missed is made up for at once: a slow engine is not spared.
    """
    began, number = perf_counter(), 0

    async def run() -> None:
        await one()

    async with asyncio.TaskGroup() as tasks:
        while number < rate * seconds:
            await asyncio.sleep(max(0.0, began + number / rate - perf_counter()))
            tasks.create_task(run())
            number += 1
    return perf_counter() - began


async def measure_stall(request: Request, directory: Path) -> Answer:
    """The longest time in which a task that wants to run every millisecond was kept waiting.

    The first execution is new to the engine, so that making its plan counts.
    """
    definition = process_of(request["shape"], request["size"])
    waits: list[float] = []
    async with ExecutionEngine(directory / "stall.db", agents()) as engine:
        gc.collect()
        ticker = asyncio.create_task(_tick(waits))
        # A first tick, so that the start is watched as well.
        await asyncio.sleep(2 * _TICK_SECONDS)
        for _ in range(request["executions"]):
            await engine.run_until_settled((await engine.start(definition)).id)
        ticker.cancel()
    return {"figures": {"longest_stall_ms": 1e3 * max(waits)}, "latencies": []}


async def _tick(waits: list[float]) -> None:
    while True:
        began = perf_counter()
        await asyncio.sleep(_TICK_SECONDS)
        waits.append(max(0.0, perf_counter() - began - _TICK_SECONDS))
