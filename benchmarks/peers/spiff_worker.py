"""SpiffWorkflow: BPMN of script tasks, the instance serialised into SQLite after each of them.

SpiffWorkflow has no store of its own: a program that embeds it serialises the whole instance. That is done
here, in one statement and one commit a task. The library is synchronous: concurrency only interleaves
executions between tasks.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from importlib.metadata import version
from io import BytesIO
from itertools import count, pairwise
from pathlib import Path
from typing import Any

from SpiffWorkflow.bpmn.parser import BpmnParser
from SpiffWorkflow.bpmn.script_engine import PythonScriptEngine
from SpiffWorkflow.bpmn.serializer import BpmnWorkflowSerializer
from SpiffWorkflow.bpmn.workflow import BpmnWorkflow
from SpiffWorkflow.util.task import TaskState

from benchmarks.served import KILLED_CHAIN, Answer, Handler, Request, load_of, main, without_end
from benchmarks.throughput import closed_loop, throughput, warm_up

_FILE = "spiff.db"
_MODEL = "http://www.omg.org/spec/BPMN/20100524/MODEL"
_SCRIPTS = PythonScriptEngine()
_SAVE = "INSERT INTO instance VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body"


def _task(number: int) -> str:
    script = f'r{number} = {{"ok": True, "n": {number}}}'
    return f'<scriptTask id="s{number}" name="s{number}"><script>{script}</script></scriptTask>'


def _flow(before: str, after: str) -> str:
    return f'<sequenceFlow id="f_{before}_{after}" sourceRef="{before}" targetRef="{after}"/>'


def _chain(length: int) -> list[str]:
    names = ["begin", *(f"s{number}" for number in range(length)), "end"]
    return [*map(_task, range(length)), *(_flow(before, after) for before, after in pairwise(names))]


def _fan(width: int) -> list[str]:
    last = width + 1
    branches = [f"s{number}" for number in range(1, last)]
    return [
        *map(_task, range(width + 2)),
        '<parallelGateway id="fork"/><parallelGateway id="join"/>',
        *(
            _flow(*pair)
            for pair in (("begin", "s0"), ("s0", "fork"), ("join", f"s{last}"), (f"s{last}", "end"))
        ),
        *(_flow("fork", branch) + _flow(branch, "join") for branch in branches),
    ]


def _specification(elements: list[str]) -> Any:
    head = f'<?xml version="1.0"?><definitions xmlns="{_MODEL}" targetNamespace="b" id="d">'
    body = '<process id="p" isExecutable="true"><startEvent id="begin"/><endEvent id="end"/>'
    parser = BpmnParser()
    parser.add_bpmn_io(
        BytesIO((head + body + "".join(elements) + "</process></definitions>").encode()), "b.bpmn"
    )
    return parser.get_spec("p")


class _Store:
    """Instances as JSON, as durable as SQLite makes them."""

    def __init__(self, directory: Path) -> None:
        self.connection = sqlite3.connect(directory / _FILE, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.execute("CREATE TABLE IF NOT EXISTS instance (id INTEGER PRIMARY KEY, body TEXT)")
        self._serializer = BpmnWorkflowSerializer()

    def save(self, number: int, workflow: Any) -> None:
        body = self._serializer.serialize_json(workflow)
        self.connection.execute(_SAVE, (number, body))

    def load(self, body: str) -> Any:
        return self._serializer.deserialize_json(body)

    def close(self) -> None:
        self.connection.close()


def _is_step(task: Any) -> bool:
    name = task.task_spec.bpmn_id
    return name is not None and name[0] == "s"


async def _run(
    specification: Any, store: _Store, number: int, begins: Callable[[int, int], None] | None = None
) -> int:
    """One instance from start to completed; returns how many steps it had."""
    workflow = BpmnWorkflow(specification, script_engine=_SCRIPTS)
    store.save(number, workflow)
    done = 0
    while not workflow.is_completed():
        task = workflow.get_next_task(state=TaskState.READY)
        if begins is not None and _is_step(task):
            begins(number, done)
        task.run()
        if _is_step(task):
            done += 1
            store.save(number, workflow)
        await asyncio.sleep(0)
    store.save(number, workflow)
    return done


class Spiff:
    """SpiffWorkflow, embedded the way its documentation shows."""

    def __init__(self, _: str) -> None:
        pass

    def handlers(self) -> Mapping[str, Handler]:
        return {"about": _about, "throughput": _throughput}

    async def work(self, directory: Path, begins: Callable[[int, int], None]) -> None:
        specification = _specification(_chain(KILLED_CHAIN))
        with closing(_Store(directory)) as store:

            async def one(number: int) -> None:
                await _run(specification, store, number, begins)
                begins(number, KILLED_CHAIN)

            await without_end(one)

    async def recorded(self, directory: Path) -> dict[int, int]:
        with closing(_Store(directory)) as store:
            rows = store.connection.execute("SELECT id, body FROM instance").fetchall()
            tasks = {number: store.load(body).get_tasks(state=TaskState.COMPLETED) for number, body in rows}
        return {number: sum(map(_is_step, done)) for number, done in tasks.items()}


async def _about(_: Request, directory: Path) -> Answer:
    guarantee = "SQLite WAL, synchronous=FULL: the whole instance is written before the next step starts"
    return {"version": version("SpiffWorkflow"), "guarantee": guarantee}


async def _throughput(request: Request, directory: Path) -> Answer:
    load = load_of(request)
    specification = _specification(_chain(load.size) if load.shape == "chain" else _fan(load.size))
    numbers = count()
    with closing(_Store(directory)) as store:

        async def one() -> None:
            done = await _run(specification, store, next(numbers))
            if done != load.steps:
                raise RuntimeError(f"{done} steps of {load.steps}")

        await warm_up(one, load.concurrency)
        timing = await closed_loop(one, load.concurrency, load.limits)
    return {"figures": throughput(timing, load.steps), "latencies": timing.latencies}


if __name__ == "__main__":
    main(Spiff)
