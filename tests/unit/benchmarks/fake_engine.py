"""An engine without a store, run as a process of its own: its name says how it behaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.served import Answer, Handler, Request, main

_FILE = "steps.json"


class FakeEngine:
    """`honest`, `forgetful` (its store has less than it acknowledged), `slow`, `broken` or `dying`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def handlers(self) -> Mapping[str, Handler]:
        return {"about": self._about, "throughput": self._throughput}

    async def work(self, directory: Path, begins: Callable[[int, int], None]) -> None:
        for step in range(1000):
            recorded = step // 2 if self._name == "forgetful" else step
            _write(directory / _FILE, {"0": recorded})
            begins(0, step)
        await asyncio.Event().wait()

    async def recorded(self, directory: Path) -> dict[int, int]:
        found = json.loads((directory / _FILE).read_text(encoding="utf-8"))
        return {int(execution): steps for execution, steps in found.items()}

    async def _about(self, request: Request, directory: Path) -> Answer:
        print("what a library prints is no answer")
        return {"version": "1", "guarantee": "none"}

    async def _throughput(self, request: Request, directory: Path) -> Answer:
        match self._name:
            case "slow":
                await asyncio.Event().wait()
            case "broken":
                raise ValueError("no such table")
            case "dying":
                raise SystemExit("out of memory")
            case _:
                pass
        figures = {"steps_per_second": 100.0, "cpu_us_per_step": 5.0}
        return {"figures": figures, "latencies": [0.001, 0.002, 0.003]}


def _write(path: Path, steps: Mapping[str, int]) -> None:
    """Whole or not at all: the kill may come at any moment."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(steps), encoding="utf-8")
    new.replace(path)


if __name__ == "__main__":
    main(FakeEngine)
