"""The side of the engines: what a process does that the benchmark has started.

It is started as `python -m MODULE MODE ENGINE DIRECTORY`, with one of three modes:

- `serve` answers requests until its standard input ends, one JSON object a line each way. A request is
  `{"do": KIND, "directory": PATH, …}`; the answer `{"figures": {…}, "latencies": […]}` or `{"error": TEXT}`.
- `work` runs executions without end and tells what it has acknowledged, one line each: `E K` says that step K
  of execution E begins, which means that every step before it is recorded. It is ended by SIGKILL.
- `recorded` opens what a process in `work` left behind and prints how many steps of each execution it has:
  `{"E": COUNT, …}`.

Only the standard library is used here: every engine's environment can import it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TextIO, cast, runtime_checkable

from benchmarks.throughput import Limits, Load

Answer = dict[str, Any]
Request = Mapping[str, Any]
Handler = Callable[[Request, Path], Awaitable[Answer]]

# How many steps the chains have that are run until the process is killed, and how many run at a time.
KILLED_CHAIN = 10
KILLED_CONCURRENCY = 5


class Contender(Protocol):
    """A program as the benchmark sees it."""

    def handlers(self) -> Mapping[str, Handler]:
        """What it can be asked to do; `about` answers `version` and `guarantee`."""
        ...


@runtime_checkable
class Killable(Protocol):
    """An engine that is killed once before anything is timed."""

    async def work(self, directory: Path, begins: Callable[[int, int], None]) -> None:
        """Run chains of `KILLED_CHAIN` steps without end, numbered from 0, `KILLED_CONCURRENCY` at a time.

        Calls `begins(execution, step)` as each step begins, and with `KILLED_CHAIN` once all are recorded.
        """
        ...

    async def recorded(self, directory: Path) -> dict[int, int]:
        """How many steps of each execution the store in `directory` holds, opened again after a kill."""
        ...


def main(contender: Callable[[str], Contender]) -> None:
    """Do what the command line asks for."""
    mode, engine, directory = sys.argv[1], contender(sys.argv[2]), Path(sys.argv[3])
    out = _keep_output_clean()
    if mode == "serve":
        asyncio.run(_serve(engine, out))
        return
    if not isinstance(engine, Killable):
        sys.exit(f"{sys.argv[2]} cannot be killed")
    if mode == "work":
        asyncio.run(engine.work(directory, lambda execution, step: _tell(out, f"{execution} {step}")))
    else:
        _tell(out, json.dumps(asyncio.run(engine.recorded(directory))))


def _keep_output_clean() -> TextIO:
    """Standard output for answers alone; whatever libraries print goes to standard error."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return out


def _tell(out: TextIO, line: str) -> None:
    out.write(line + "\n")
    out.flush()


async def _serve(contender: Contender, out: TextIO) -> None:
    handlers = contender.handlers()
    while line := await asyncio.to_thread(sys.stdin.readline):
        request = json.loads(line)
        try:
            answer = await handlers[request["do"]](request, Path(request["directory"]))
        except Exception as error:
            # The edge of foreign code: what goes wrong costs this measurement, never the run.
            answer = {"error": _reason(error)}
        _tell(out, json.dumps(answer))


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return f"{type(error).__name__}: {error}"


def load_of(request: Request) -> Load:
    """The load that a request for a throughput cell describes."""
    limits = Limits(request["seconds"])
    if "executions" in request:
        # As many as are asked for, whatever they take; the benchmark's own limit ends it.
        limits = Limits(float("inf"), request["executions"])
    return Load(request["shape"], request["size"], request["concurrency"], limits)


async def without_end(one: Callable[[int], Awaitable[None]]) -> None:
    """Run `one` with 0, 1, 2 … in `KILLED_CONCURRENCY` workers until somebody ends the process."""
    numbers = count()

    async def worker() -> None:
        while True:
            await one(next(numbers))

    async with asyncio.TaskGroup() as workers:
        for _ in range(KILLED_CONCURRENCY):
            workers.create_task(worker())
