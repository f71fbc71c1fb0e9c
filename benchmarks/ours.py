"""The engine as a contender: the real one, on a file, with an agent that answers at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from time import perf_counter, process_time

import apsw

import process_engine
from benchmarks.definitions import agents, chain, forty_steps, process_of
from benchmarks.listing import measure_items
from benchmarks.reopening import measure_recovery, measure_waiting
from benchmarks.served import KILLED_CHAIN, Answer, Handler, Request, load_of, main, without_end
from benchmarks.throughput import Load, closed_loop, throughput, warm_up
from benchmarks.waking import measure_stall, measure_wake_up
from process_engine.core.state import ExecutionStatus, StepStatus
from process_engine.core.transition import Transition
from process_engine.definition.checking import load_definition
from process_engine.definition.document import ProcessDefinition
from process_engine.engine import ExecutionEngine, ProcessExecutionRepository
from process_engine.ids import ExecutionId
from process_engine.repositories.connection import run
from process_engine.runtime.ports import AgentRequest, Fence

_COMPLETED = "SELECT count(*) FROM event_log WHERE type = 'StepCompleted'"
_PROCESS = "killed"


class Ours:
    """Process Engine, through the names that an embedding program uses."""

    def __init__(self, _: str) -> None:
        self._documents = 0

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "about": _about,
            "throughput": _throughput,
            "validation": self._validation,
            "wake-up": measure_wake_up,
            "stall": measure_stall,
            "recovery": measure_recovery,
            "waiting": measure_waiting,
            "items": measure_items,
        }

    async def work(self, directory: Path, begins: Callable[[int, int], None]) -> None:
        async def step(message: object, request: AgentRequest) -> object:
            number = int(str(message))
            begins(_number(request.context.execution_id), number)
            return {"ok": True, "n": number}

        async with ExecutionEngine(directory / "killed.db", agents(step)) as engine:
            definition = chain(KILLED_CHAIN)

            async def one(number: int) -> None:
                await engine.start(definition, execution_id=ExecutionId(f"{_PROCESS}-{number}"))
                await engine.run_until_settled(f"{_PROCESS}-{number}")
                begins(number, KILLED_CHAIN)

            await without_end(one)

    async def recorded(self, directory: Path) -> dict[int, int]:
        store = directory / "killed.db"
        async with ExecutionEngine(store, agents(), recover=False, serve_inbox=False) as engine:
            found = [summary.id for summary in await engine.list(limit=1_000_000)]
            views = {_number(id): (await engine.get(id)).step_executions for id in found}
        return {
            number: sum(step.status is StepStatus.COMPLETED for step in steps.values())
            for number, steps in views.items()
        }

    async def _validation(self, request: Request, _: Path) -> Answer:
        """Read and check documents of 40 steps, each one new to every cache."""
        if not self._documents:
            self._validate_next()
        began, cpu = perf_counter(), process_time()
        for _number in range(request["documents"]):
            self._validate_next()
        wall, cpu = perf_counter() - began, process_time() - cpu
        figures = {"validation_ms": 1e3 * wall / request["documents"], "cpu_seconds": cpu}
        return {"figures": figures, "latencies": []}

    def _validate_next(self) -> None:
        definition, problems = load_definition(forty_steps(self._documents))
        self._documents += 1
        if definition is None or len(definition.steps) != 40:
            raise RuntimeError(f"the document is not valid: {problems[0] if problems else 'no steps'}")


def _number(execution_id: str) -> int:
    return int(execution_id.rpartition("-")[2])


async def _about(_: Request, directory: Path) -> Answer:
    store = ProcessExecutionRepository(directory / "about.db", synchronous="FULL")
    async with ExecutionEngine(store, agents()):
        pass
    return {
        "version": process_engine.__version__,
        "guarantee": "SQLite WAL, synchronous=FULL: a step is on the disk before the next one starts",
    }


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


async def _throughput(request: Request, directory: Path) -> Answer:
    """Run a load on a new file, and look afterwards whether the file holds every step."""
    load = load_of(request)
    path = directory / "ours.db"
    store = _CountingRepository(path, synchronous="FULL")
    definition = process_of(load.shape, load.size)
    async with ExecutionEngine(store, agents()) as engine:

        async def one() -> None:
            await run_one(engine, definition)

        warm = 0 if "executions" in request else await warm_up(one, load.concurrency)
        if not warm:
            await _compile(engine, definition)
        before = store.commits
        timing = await closed_loop(one, load.concurrency, load.limits)
        commits = store.commits - before
    figures = throughput(timing, load.steps)
    done = len(timing.latencies)
    _require_steps(path, load, done + warm)
    figures["commits_per_step"] = commits / (done * load.steps)
    return {"figures": figures, "latencies": timing.latencies}


async def _compile(engine: ExecutionEngine, definition: ProcessDefinition) -> None:
    """Make the engine know a process without running it."""
    held = await engine.start(definition, hold=True)
    await engine.cancel(held.id)


def _require_steps(path: Path, load: Load, executions: int) -> None:
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
        ((found,),) = run(connection, _COMPLETED)
    expected = executions * load.steps
    if found != expected:
        raise RuntimeError(f"the file holds {found} completed steps, {expected} were acknowledged")


if __name__ == "__main__":
    main(Ours)
