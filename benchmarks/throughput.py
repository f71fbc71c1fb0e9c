"""Throughput: a closed loop of workers, and what it yields. Every engine is timed by it, where it runs."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from time import perf_counter, process_time

# More executions than this in one measurement would only make the file of samples longer.
MOST_EXECUTIONS = 20_000
# Before each measurement, in as many workers: statements are prepared, pages and pools are there.
WARM_UP_EXECUTIONS = 10
WARM_UP_SECONDS = 1.0


@dataclass(frozen=True)
class Limits:
    """The end of one measurement: no execution begins after `seconds`, or beyond `executions`."""

    seconds: float
    executions: int = MOST_EXECUTIONS


@dataclass(frozen=True)
class Load:
    """The work of a throughput cell: executions of one shape, `concurrency` of them at any time.

    `shape` is `chain` (`size` steps in sequence) or `fan` (one, `size` in parallel, one).
    """

    shape: str
    size: int
    concurrency: int
    limits: Limits

    @property
    def steps(self) -> int:
        """Steps of one execution."""
        return self.size if self.shape == "chain" else self.size + 2

    @property
    def waves(self) -> tuple[int, ...]:
        """The numbers of steps that can run together, in order."""
        return (1,) * self.size if self.shape == "chain" else (1, self.size, 1)


@dataclass(frozen=True)
class Timing:
    """What a closed loop took; `cpu_seconds` counts threads and system calls as well."""

    wall_seconds: float
    cpu_seconds: float
    latencies: list[float]


async def closed_loop(
    one: Callable[[], Awaitable[None]],
    concurrency: int,
    limits: Limits,
    cpu_seconds: Callable[[], float] = process_time,
) -> Timing:
    """Run `one` again and again in `concurrency` workers; each begins its next when its last has ended.

    `cpu_seconds` tells the processor time so far of everything that works for it.
    """
    latencies: list[float] = []
    tickets = count()

    async def worker() -> None:
        # The first one is always run, however short the time is.
        while next(tickets) < limits.executions and (not latencies or perf_counter() < deadline):
            began = perf_counter()
            await one()
            latencies.append(round(perf_counter() - began, 7))

    gc.collect()
    began, cpu = perf_counter(), cpu_seconds()
    deadline = began + limits.seconds
    async with asyncio.TaskGroup() as workers:
        for _ in range(concurrency):
            workers.create_task(worker())
    return Timing(perf_counter() - began, cpu_seconds() - cpu, latencies)


async def warm_up(one: Callable[[], Awaitable[None]], concurrency: int) -> int:
    """Run a few that do not count; returns how many."""
    workers = min(concurrency, WARM_UP_EXECUTIONS)
    timing = await closed_loop(one, workers, Limits(WARM_UP_SECONDS, WARM_UP_EXECUTIONS))
    return len(timing.latencies)


def throughput(timing: Timing, steps: int) -> dict[str, float]:
    """The figures of a closed loop of executions with `steps` steps each."""
    total = steps * len(timing.latencies)
    return {
        "executions": len(timing.latencies),
        "steps_per_second": total / timing.wall_seconds,
        "wall_us_per_step": 1e6 * timing.wall_seconds / total,
        "cpu_us_per_step": 1e6 * timing.cpu_seconds / total,
    }


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of all are at or below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
