"""Timing: a closed loop of workers, and what it yields."""

from __future__ import annotations

import asyncio
import gc
import statistics
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import count
from time import perf_counter, process_time

# More executions than this in one measurement would only make the file of samples longer.
MOST_EXECUTIONS = 20_000


@dataclass(frozen=True)
class Limits:
    """The end of one measurement: no execution begins after `seconds`, or beyond `executions`."""

    seconds: float
    executions: int = MOST_EXECUTIONS


@dataclass(frozen=True)
class Timing:
    """What a closed loop took; `cpu_seconds` is that of the whole process, its threads and system calls."""

    wall_seconds: float
    cpu_seconds: float
    latencies: list[float]


@dataclass(frozen=True)
class Sample:
    """One measurement of one contender in one round. `latencies` are seconds from start to completed."""

    cell: str
    contender: str
    round: int
    executions: int
    steps: int
    commits: int
    wall_seconds: float
    cpu_seconds: float
    latencies: list[float]

    @property
    def steps_per_second(self) -> float:
        """Durable steps in a second of real time."""
        return self.steps / self.wall_seconds

    @property
    def wall_per_step(self) -> float:
        """Seconds of real time for a step."""
        return self.wall_seconds / self.steps

    @property
    def cpu_per_step(self) -> float:
        """Seconds of processor time for a step."""
        return self.cpu_seconds / self.steps

    @property
    def commits_per_step(self) -> float:
        """Transactions for a step."""
        return self.commits / self.steps

    @property
    def median_seconds(self) -> float:
        """The latency in the middle."""
        return statistics.median(self.latencies)


async def closed_loop(one: Callable[[], Awaitable[None]], concurrency: int, limits: Limits) -> Timing:
    """Run `one` again and again in `concurrency` workers; each begins its next when its last has ended."""
    latencies: list[float] = []
    tickets = count()

    async def worker() -> None:
        # The first one is always run, however short the time is.
        while next(tickets) < limits.executions and (not latencies or perf_counter() < deadline):
            began = perf_counter()
            await one()
            latencies.append(round(perf_counter() - began, 7))

    gc.collect()
    began, cpu = perf_counter(), process_time()
    deadline = began + limits.seconds
    async with asyncio.TaskGroup() as workers:
        for _ in range(concurrency):
            workers.create_task(worker())
    return Timing(perf_counter() - began, process_time() - cpu, latencies)


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of all are at or below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def rotated(items: tuple[str, ...], by: int) -> Iterator[str]:
    """All items, beginning elsewhere each time, so that no contender always goes first."""
    yield from items[by % len(items) :]
    yield from items[: by % len(items)]
