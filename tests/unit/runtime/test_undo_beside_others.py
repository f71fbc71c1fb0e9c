"""Undoing, lists, waits and sub-processes in one engine, on both stores: who waits hears of all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from process_engine.app import ExecutionEngine
from process_engine.core import events as e
from process_engine.core.state import ExecutionStatus, StepStatus
from process_engine.repositories.memory import MemoryRepository
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.engine import Engine
from process_engine.runtime.ports import AgentCallFailed, AgentRequest, ExecutionRepository
from process_engine.testing.clock import VirtualClock
from tests.unit.runtime.fakes import ScriptedAgents, process, task

Store = Callable[[], ExecutionRepository]
UNDO = {"compensation": {"agent": "undoer", "message": "undo", "retry": {"max_attempts": 2}}}
WAIT: dict[str, object] = {"id": "wait", "type": "wait_for_event", "event": "paid"}
ASK: dict[str, object] = {"id": "ask", "type": "human_approval"}


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Another way to the same data, each time it is asked."""
    tables = MemoryRepository().tables
    if request.param == "memory":
        return lambda: MemoryRepository(tables)
    return lambda: SqliteRepository(tmp_path / "engine.db")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def engine_on(store: ExecutionRepository, clock: VirtualClock, agents: object = None) -> Engine:
    return ExecutionEngine(store, agents or ScriptedAgents(), clock=clock)  # type: ignore[arg-type]


async def test_a_cancelled_tree_is_undone_and_who_waits_hears_of_its_end(store: Store, clock: VirtualClock):
    child = process(task("inner", **UNDO), ASK | {"depends_on": ["inner"]}, name="child")
    call = {"id": "call", "type": "sub_process", "process": "child", "depends_on": ["outer"]}
    parent = process(task("outer", **UNDO), call, name="parent")

    async with engine_on(store(), clock) as engine:
        await engine.make_known(child)
        run = await engine.start(parent)
        settled = await engine.run_until_settled(run.id)
        inner = settled.step_executions["call"].execution_id
        assert inner is not None
        await engine.cancel(run.id)
        ended = await engine.run_until_settled(run.id, wait_for_timers=False)
        below = await engine.run_until_settled(inner, wait_for_timers=False)
        await engine.rest()
        events = await engine.feed.read()

    assert (ended.status, below.status) == (ExecutionStatus.CANCELLED, ExecutionStatus.CANCELLED)
    undone = [entry.event for entry in events if isinstance(entry.event, e.CompensationCompleted)]
    assert {(event.execution_id, event.step_id) for event in undone} == {(run.id, "outer"), (inner, "inner")}


async def test_who_waits_waits_for_an_undo_that_is_tried_again(store: Store, clock: VirtualClock):
    tries: list[str] = []

    def answer(request: AgentRequest) -> object:
        if request.agent == "undoer" and not tries:
            tries.append(request.idempotency_key)
            raise AgentCallFailed("AGENT_UNAVAILABLE", "busy", transient=True)
        return "done"

    async with engine_on(store(), clock, ScriptedAgents(answer)) as engine:
        run = await engine.start(process(task("a", **UNDO), WAIT | {"depends_on": ["a"]}))
        assert (await engine.run_until_settled(run.id)).status is ExecutionStatus.RUNNING
        await engine.cancel(run.id)
        patient = await engine.run_until_settled(run.id)

    assert (patient.status, len(tries)) == (ExecutionStatus.CANCELLED, 1)


async def test_items_that_wait_to_be_tried_again_are_waited_for_beside_people(
    store: Store, clock: VirtualClock
):
    failed: list[str] = []

    def answer(request: AgentRequest) -> object:
        if not failed:
            failed.append(request.message)
            raise AgentCallFailed("AGENT_UNAVAILABLE", "busy", transient=True)
        return "done"

    many = task("many", for_each={"items": [1, 2]}, retry={"max_attempts": 2})
    async with engine_on(store(), clock, ScriptedAgents(answer)) as engine:
        run = await engine.start(process(many, ASK, WAIT))
        settled = await engine.run_until_settled(run.id)

    assert settled.step_executions["many"].status is StepStatus.COMPLETED
    assert settled.step_executions["ask"].status is StepStatus.WAITING_APPROVAL


async def test_after_a_restart_a_list_an_undo_and_a_wait_go_on(store: Store, clock: VirtualClock):
    async def hang(request: AgentRequest) -> object:
        if request.agent == "undoer" or request.message == "2":
            await asyncio.Event().wait()
        return "done"

    many = task("many", message="{{ item }}", for_each={"items": ["1", "2"]})
    first = engine_on(store(), clock, ScriptedAgents(hang))
    async with first:
        listed = await first.start(process(many, WAIT))
        undone = await first.start(process(task("a", **UNDO), WAIT | {"depends_on": ["a"]}))
        await first.run_until_settled(undone.id)
        await first.cancel(undone.id)

    async with engine_on(store(), clock) as engine:
        assert (await engine.run_until_settled(undone.id)).status is ExecutionStatus.CANCELLED
        after = await engine.run_until_settled(listed.id)
        assert after.step_executions["many"].status is StepStatus.COMPLETED
        assert after.step_executions["wait"].status is StepStatus.WAITING
        await engine.publish_event("paid", 7)
        assert (await engine.run_until_settled(listed.id)).status is ExecutionStatus.COMPLETED
