"""The check before all timing: an engine is killed at work, and has to show what it had acknowledged."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from benchmarks.worker import Seat, Worker


async def kill_once(seat: Seat, directory: Path, steps: int, seconds: float) -> dict[str, float]:
    """Kill the engine once `steps` of its steps have begun; figures of what it had acknowledged and lost.

    Raises:
        EngineFailed: it did not get that far, or could not open what it had left.
    """
    worker = await Worker.start(seat, "work", directory)
    try:
        said = [await worker.line(seconds) for _ in range(steps)]
        await worker.kill()
        said += await worker.rest()
    finally:
        await worker.end()
    acknowledged = acknowledged_steps(said)
    recorded = await _recorded(seat, directory, seconds)
    return {
        "acknowledged_steps": sum(acknowledged.values()),
        "lost_steps": lost_steps(acknowledged, recorded),
    }


async def _recorded(seat: Seat, directory: Path, seconds: float) -> dict[int, int]:
    worker = await Worker.start(seat, "recorded", directory)
    try:
        answer = json.loads(await worker.line(seconds))
    finally:
        await worker.end()
    return {int(execution): steps for execution, steps in answer.items()}


def acknowledged_steps(said: Iterable[str]) -> dict[int, int]:
    """How many steps of each execution must be recorded: in a chain, all before the last one that began."""
    acknowledged: dict[int, int] = {}
    for line in said:
        execution, step = map(int, line.split())
        acknowledged[execution] = max(acknowledged.get(execution, 0), step)
    return acknowledged


def lost_steps(acknowledged: dict[int, int], recorded: dict[int, int]) -> int:
    """How many steps were acknowledged and are not there."""
    return sum(max(0, steps - recorded.get(execution, 0)) for execution, steps in acknowledged.items())
