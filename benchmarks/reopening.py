"""Many open executions: how long a new process takes to drive them, and what memory those that wait take.

The processes that are killed and the ones that come after are started here, as
`python -m benchmarks.reopening MODE DIRECTORY EXECUTIONS LENGTH`. Each says on a line what it has reached.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from time import perf_counter

from benchmarks.definitions import agents, chain, wait
from benchmarks.machine import resident_bytes
from benchmarks.served import Answer, Request
from benchmarks.throughput import Limits, closed_loop
from process_engine.core.state import ExecutionStatus
from process_engine.engine import ExecutionEngine
from process_engine.runtime.ports import AgentRequest

_STORE = "open.db"
# A timer that is not due while anybody measures.
_LONG = "7d"
_STARTERS = 50
_POLL_SECONDS = 0.01


# ---------------------------------------------------------------- the side that measures


async def measure_recovery(request: Request, directory: Path) -> Answer:
    """Kill a process with open attempts, and time the next one from its start."""
    arguments = (str(directory), str(request["executions"]), str(request["length"]))
    async with _process("hold", *arguments) as holder:
        await _reached(holder, "held")
    began = perf_counter()
    async with _process("recover", *arguments) as successor:
        figures: dict[str, float] = {}
        for word in ("open", "driven", "settled"):
            await _reached(successor, word)
            figures[f"{word}_seconds"] = perf_counter() - began
    return {"figures": figures, "latencies": []}


async def measure_waiting(request: Request, directory: Path) -> Answer:
    """Memory of each waiting execution, in the process that started it and in one that took it over."""
    arguments = (str(directory), str(request["executions"]), "0")
    async with _process("wait", *arguments) as starter:
        started = await _reached(starter, "waiting")
    began = perf_counter()
    async with _process("take-over", *arguments) as successor:
        reopened = await _reached(successor, "open")
        startup = perf_counter() - began - reopened["before_seconds"]
    kilobytes = {"started": started["bytes"], "reopened": reopened["bytes"]}
    figures = {f"kilobytes_{who}": size / request["executions"] / 1e3 for who, size in kilobytes.items()}
    return {"figures": {**figures, "startup_seconds": startup}, "latencies": []}


@contextlib.asynccontextmanager
async def _process(*arguments: str) -> AsyncGenerator[Process]:
    """A process of this module, killed at the end whatever it is doing."""
    command = (sys.executable, "-m", "benchmarks.reopening", *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _reached(process: Process, word: str) -> Mapping[str, float]:
    """The next line of a process, which has to begin with `word`."""
    assert process.stdout is not None
    said, _, rest = (await process.stdout.readline()).decode().partition(" ")
    if said != word:
        raise RuntimeError(f"the process ended before it was {word}")
    return json.loads(rest)


# ---------------------------------------------------------------- the side that is measured


def _say(word: str, **facts: float) -> None:
    print(word, json.dumps(facts), flush=True)


async def _until_killed() -> None:
    await asyncio.Event().wait()


async def _hold(directory: Path, executions: int, length: int) -> None:
    """Start executions whose first attempt is never answered."""

    async def never(message: object) -> object:
        await _until_killed()

    definition = chain(length)
    async with ExecutionEngine(directory / _STORE, agents(never)) as engine:

        async def one() -> None:
            await engine.start(definition)

        await closed_loop(one, _STARTERS, Limits(float("inf"), executions))
        _say("held")
        await _until_killed()


async def _recover(directory: Path, executions: int, length: int) -> None:
    """Open the store, and say when every execution was called again and when all have completed."""
    called: set[str] = set()
    all_called = asyncio.Event()

    async def answer(message: object, request: AgentRequest) -> object:
        called.add(request.context.execution_id)
        if len(called) == executions:
            all_called.set()
        return {"ok": True, "n": message}

    async with ExecutionEngine(directory / _STORE, agents(answer)) as engine:
        _say("open")
        await all_called.wait()
        _say("driven")
        # Asked of the store, as somebody outside would.
        while await engine.list(status=ExecutionStatus.RUNNING, limit=1):  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)
        found = await engine.list(status=ExecutionStatus.COMPLETED, limit=executions + 1)
        if len(found) == executions:
            _say("settled")
        await _until_killed()


async def _wait(directory: Path, executions: int, length: int) -> None:
    """Start executions that wait for a timer, and say what memory they have taken."""
    definition = wait(_LONG)
    async with ExecutionEngine(directory / _STORE, agents()) as engine:

        async def one() -> None:
            await engine.start(definition)

        # Code, plan and statements are there before the first measurement; the few do not count.
        await closed_loop(one, _STARTERS, Limits(float("inf"), _STARTERS))
        before = _settled_memory()
        await closed_loop(one, _STARTERS, Limits(float("inf"), executions))
        _say("waiting", bytes=_settled_memory() - before)
        await _until_killed()


async def _take_over(directory: Path, executions: int, length: int) -> None:
    """Open the store with everything that waits in it, and say what memory that has taken.

    `before_seconds` is what an empty store took beforehand, to have all code loaded: no part of the start.
    """
    began = perf_counter()
    async with ExecutionEngine(directory / "empty.db", agents()) as engine:
        held = await engine.start(wait(_LONG), hold=True)
        await engine.cancel(held.id)
    before = _settled_memory()
    before_seconds = perf_counter() - began
    async with ExecutionEngine(directory / _STORE, agents()) as engine:
        opened = perf_counter()
        size = _settled_memory() - before
        found = await engine.list(status=ExecutionStatus.RUNNING, limit=executions + _STARTERS)
        if len(found) >= executions:
            _say("open", bytes=size, before_seconds=before_seconds + perf_counter() - opened)
        await _until_killed()


def _settled_memory() -> int:
    gc.collect()
    return resident_bytes()


_MODES = {"hold": _hold, "recover": _recover, "wait": _wait, "take-over": _take_over}


def main() -> None:
    """Do what the command line asks for, until killed."""
    mode, directory, executions, length = sys.argv[1:]
    asyncio.run(_MODES[mode](Path(directory), int(executions), int(length)))


if __name__ == "__main__":
    main()
