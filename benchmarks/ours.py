"""The engine as a contender: the real one, on a file, with an agent that answers at once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from time import perf_counter, process_time

import apsw
from cells import OURS, VALIDATION, Cell
from definitions import ConstantAgent, forty_steps
from measure import Limits, Sample, Timing, closed_loop

from process_engine.core.state import ExecutionStatus
from process_engine.core.transition import Transition
from process_engine.definition.checking import load_definition
from process_engine.definition.document import ProcessDefinition
from process_engine.engine import ExecutionEngine, ProcessExecutionRepository
from process_engine.repositories.connection import run
from process_engine.runtime.ports import Fence

_COMPLETED = "SELECT count(*) FROM events WHERE body ->> 'type' = 'StepCompleted'"


class _CountingRepository(ProcessExecutionRepository):
    """The store as it is, and how often it was asked to commit."""

    commits = 0

    async def commit(self, transitions: Sequence[Transition], fence: Fence) -> None:
        self.commits += 1
        await super().commit(transitions, fence)


async def run_one(engine: ExecutionEngine, definition: ProcessDefinition) -> None:
    """One execution from start to completed."""
    execution = await engine.start(definition)
    execution = await engine.run_until_settled(execution.id)
    if execution.status is not ExecutionStatus.COMPLETED:
        raise RuntimeError(f"an execution of {definition.name} ended as {execution.status}")


async def measure(cell: Cell, round: int, limits: Limits, directory: Path) -> Sample:
    """Run the cell on a new file in `directory`, and look afterwards whether the file holds every step."""
    path = directory / "ours.db"
    store = _CountingRepository(path)
    definition = cell.process()
    async with ExecutionEngine(store, ConstantAgent()) as engine:

        async def one() -> None:
            await run_one(engine, definition)

        warm = await _warm_up(engine, definition, cell)
        before = store.commits
        timing = await closed_loop(one, cell.concurrency, limits)
        commits = store.commits - before
    done = len(timing.latencies)
    _require_steps(path, (done + warm) * cell.steps)
    return Sample(cell.name, OURS, round, done, done * cell.steps, commits, *_figures(timing))


async def _warm_up(engine: ExecutionEngine, definition: ProcessDefinition, cell: Cell) -> int:
    """Compile the plan; where executions are short, run some as well. Returns how many have run."""
    held = await engine.start(definition, hold=True)
    await engine.cancel(held.id)
    if cell.most_executions:
        return 0
    once = Limits(seconds=1.0, executions=max(cell.concurrency, 5))
    return len((await closed_loop(lambda: run_one(engine, definition), cell.concurrency, once)).latencies)


def _require_steps(path: Path, expected: int) -> None:
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
        ((found,),) = run(connection, _COMPLETED)
    if found != expected:
        raise RuntimeError(f"the file holds {found} completed steps, {expected} were acknowledged")


def _figures(timing: Timing) -> tuple[float, float, list[float]]:
    return timing.wall_seconds, timing.cpu_seconds, timing.latencies


def validate(round: int, repetitions: int, serial: int) -> Sample:
    """Read and check documents of 40 steps, each one new to every cache, in this warm process.

    `serial` must differ by at least `repetitions` between calls.
    """
    latencies: list[float] = []
    cpu = process_time()
    for number in range(serial, serial + repetitions):
        text = forty_steps(number)
        began = perf_counter()
        definition, problems = load_definition(text)
        latencies.append(perf_counter() - began)
        if definition is None or len(definition.steps) != 40:
            raise RuntimeError(f"the document is not valid: {problems[0] if problems else 'no steps'}")
    # In place of steps: documents.
    return Sample(
        VALIDATION, OURS, round, repetitions, repetitions, 0, sum(latencies), process_time() - cpu, latencies
    )
