"""One step for each item of a long list: how fast, in how much memory, how long the loop stands still."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from time import perf_counter, process_time

from benchmarks.definitions import agents, each_of
from benchmarks.machine import resident_bytes
from benchmarks.served import Answer, Request
from process_engine.core.state import ExecutionStatus
from process_engine.engine import ExecutionEngine

_TICK_SECONDS = 0.001
# A short list first, so that nothing is loaded for the first time while the long one runs.
_WARM = 100


async def measure_items(request: Request, directory: Path) -> Answer:
    """A list of `items`, `at_once` of them at a time, asked of an agent that answers at once."""
    definition = each_of(request["at_once"])
    waits: list[float] = []
    sizes: list[int] = []
    async with ExecutionEngine(directory / "items.db", agents(), serve_inbox=False) as engine:

        async def run(count: int) -> None:
            rows = [{"id": number, "name": f"row {number}"} for number in range(count)]
            execution = await engine.start(definition, {"rows": rows})
            execution = await engine.run_until_settled(execution.id)
            outputs = execution.outputs or {}
            if execution.status is not ExecutionStatus.COMPLETED or outputs.get("count") != count:
                raise RuntimeError(f"a list of {count} ended as {execution.status} with {outputs}")

        await run(_WARM)
        gc.collect()
        idle = resident_bytes()
        ticker = asyncio.create_task(_watch(waits, sizes))
        began, cpu = perf_counter(), process_time()
        await run(request["items"])
        wall, cpu = perf_counter() - began, process_time() - cpu
        ticker.cancel()
    figures = {
        "items_per_second": request["items"] / wall,
        "cpu_us_per_item": 1e6 * cpu / request["items"],
        "megabytes_over_idle": (max(sizes) - idle) / 1e6,
        "longest_stall_ms": 1e3 * max(waits),
    }
    return {"figures": figures, "latencies": []}


async def _watch(waits: list[float], sizes: list[int]) -> None:
    while True:
        began = perf_counter()
        await asyncio.sleep(_TICK_SECONDS)
        waits.append(max(0.0, perf_counter() - began - _TICK_SECONDS))
        sizes.append(resident_bytes())
