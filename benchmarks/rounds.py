"""One run: every cell of every engine once in each round, the engines of a cell right after one another."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import machine
from benchmarks.cells import Cell, Cells, Engine
from benchmarks.environments import prepare
from benchmarks.killing import kill_once
from benchmarks.results import Run, Sample
from benchmarks.worker import EngineFailed, Seat, Worker

KILL = "kill"
NO_PEERS = "other engines were not asked for (--peers)"
LEFT_OUT = "left out by --only"
NO_TIME = "no time was left"

# The first question to a process waits until its engine is up.
_STARTING_SECONDS = 60.0

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How much is measured: `seconds` for each measurement of throughput in each round.

    No measurement begins after `last_start_seconds`. `only` names the cells; empty: all.
    """

    rounds: int
    seconds: float
    last_start_seconds: float
    quick: bool = False
    peers: bool = False
    only: Collection[str] = ()


@dataclass(frozen=True)
class Turn:
    """One measurement that is due."""

    round: int
    cell: Cell
    engine: str


def turns(cells: Cells, plan: Plan) -> Iterator[Turn]:
    """Everything that is to be measured, in order: round by round, and cell by cell inside a round.

    The engines of a cell come right after one another, in an order that rotates from round to round, so that
    each ratio is of neighbours and nobody always goes first.
    """
    for number in range(plan.rounds):
        for cell in cells.cells.values():
            rounds = cell.rounds_of(quick=plan.quick)
            if (rounds is None or number < rounds) and not _left_out(cell, plan):
                engines = [name for name in cell.engines if plan.peers or not cells.engines[name].peer]
                yield from (Turn(number, cell, name) for name in rotated(engines, number))


def rotated(items: Sequence[str], by: int) -> Iterator[str]:
    """All items, beginning elsewhere each time."""
    start = by % len(items) if items else 0
    yield from items[start:]
    yield from items[:start]


def _left_out(cell: Cell, plan: Plan) -> bool:
    return bool(plan.only) and cell.name not in plan.only


def not_asked_for(cells: Cells, plan: Plan) -> dict[str, str]:
    """Of each cell and engine that the plan leaves out: why."""
    found: dict[str, str] = {}
    for cell in cells.cells.values():
        for name in cell.engines:
            if _left_out(cell, plan):
                found[f"{cell.name}/{name}"] = LEFT_OUT
            elif cells.engines[name].peer and not plan.peers:
                found[f"{cell.name}/{name}"] = NO_PEERS
    return found


class Benchmark:
    """Takes every turn of a plan; what cannot be measured is noted and left out."""

    def __init__(self, plan: Plan, run: Run, directory: Path, tell: Tell) -> None:
        self._plan = plan
        self._run = run
        self._tell = tell
        self._directory = directory
        self._began = perf_counter()
        self._seats: dict[str, Seat] = {}
        self._workers: dict[str, Worker] = {}
        # Engines that cannot be had, each with the reason.
        self._absent: dict[str, str] = {}
        self._folders = 0

    async def go(self) -> None:
        """Measure all of it."""
        self._run.problems.update(not_asked_for(self._run.cells, self._plan))
        due = list(turns(self._run.cells, self._plan))
        self._prepare({turn.engine for turn in due})
        self._began = perf_counter()
        async with self._scratch() as scratch:
            before: tuple[int, str] | None = None
            for turn in due:
                if before != (turn.round, turn.cell.name):
                    self._announce(turn, scratch, new_round=before is None or before[0] != turn.round)
                    before = (turn.round, turn.cell.name)
                await self._take(turn, scratch)
        self._run.seconds = perf_counter() - self._began

    def _prepare(self, names: Collection[str]) -> None:
        """Make the environments that are not there."""
        for engine in self._run.cells.engines.values():
            if engine.name not in names:
                continue
            try:
                self._seats[engine.name] = prepare(engine, self._tell)
            except EngineFailed as error:
                self._absent[engine.name] = f"cannot be installed: {error}"
                self._tell(f"{engine.title} {self._absent[engine.name]}")

    @asynccontextmanager
    async def _scratch(self) -> AsyncGenerator[Path]:
        """A directory for everything that is written, removed once every engine has ended."""
        with tempfile.TemporaryDirectory(prefix="bench-", dir=self._directory) as name:
            try:
                yield Path(name)
            finally:
                for engine in tuple(self._workers):
                    await self._dismiss(engine)

    def _announce(self, turn: Turn, scratch: Path, *, new_round: bool) -> None:
        passed = f"{perf_counter() - self._began:4.0f} s"
        self._tell(f"{passed}  round {turn.round + 1} of {self._plan.rounds}  {turn.cell.title}")
        if new_round:
            self._run.syncs_per_second.append(machine.syncs_per_second(scratch, self._plan.seconds))

    async def _take(self, turn: Turn, scratch: Path) -> None:
        place = f"{turn.cell.name}/{turn.engine}"
        if turn.engine in self._absent:
            self._run.problems.setdefault(place, self._absent[turn.engine])
        # What has failed once is not tried again: it may take its whole time every time.
        if place in self._run.problems:
            return
        if perf_counter() - self._began > self._plan.last_start_seconds:
            if not self._run.of(turn.cell.name, turn.engine):
                self._run.problems[place] = NO_TIME
            return
        try:
            answer = await self._measure(turn, scratch)
        except EngineFailed as error:
            self._run.problems[place] = str(error)
            self._tell(f"        {turn.cell.name}, {turn.engine}: {error}")
            await self._dismiss(turn.engine)
        else:
            figures, latencies = answer["figures"], answer["latencies"]
            self._run.samples.append(Sample(turn.cell.name, turn.engine, turn.round, figures, latencies))

    async def _measure(self, turn: Turn, scratch: Path) -> dict[str, Any]:
        self._folders += 1
        folder = scratch / turn.engine / str(self._folders)
        folder.mkdir(parents=True)
        try:
            if turn.cell.measure == KILL:
                return await self._kill(turn, folder)
            worker = await self._worker(self._run.cells.engines[turn.engine], scratch)
            request = {"do": turn.cell.measure, "seconds": self._plan.seconds, "directory": str(folder)}
            return await worker.ask({**request, **turn.cell.parameters}, turn.cell.longest_seconds)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async def _kill(self, turn: Turn, folder: Path) -> dict[str, Any]:
        steps, seconds = turn.cell.parameters["steps"], turn.cell.longest_seconds
        return {"figures": await kill_once(self._seats[turn.engine], folder, steps, seconds), "latencies": []}

    async def _worker(self, engine: Engine, scratch: Path) -> Worker:
        worker = self._workers.get(engine.name)
        if worker is None or not worker.is_alive:
            # What an engine keeps for as long as its process lives; a new process begins anew.
            home = scratch / engine.name / f"home-{self._folders}"
            worker = self._workers[engine.name] = await Worker.start(self._seats[engine.name], "serve", home)
            try:
                about = await worker.ask({"do": "about", "directory": str(home)}, _STARTING_SECONDS)
            except EngineFailed as error:
                self._absent[engine.name] = f"cannot be started: {error}"
                raise
            self._run.about[engine.name] = about
        return worker

    async def _dismiss(self, engine: str) -> None:
        worker = self._workers.pop(engine, None)
        if worker is not None:
            await worker.end()
