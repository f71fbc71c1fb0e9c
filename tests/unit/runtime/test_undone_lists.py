"""Where lists and undoing meet, by a whole engine on both stores: over restarts, and with large values."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from process_engine.app import ExecutionEngine
from process_engine.core import events as e
from process_engine.core.config import ExecutionConfig
from process_engine.core.state import ExecutionStatus
from process_engine.definition.document import ProcessDefinition
from process_engine.repositories.memory import MemoryRepository
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.engine import Engine
from process_engine.runtime.ports import AgentCallFailed, AgentRequest, ExecutionRepository
from process_engine.testing.clock import VirtualClock
from tests.unit.runtime.fakes import ScriptedAgents, process, task

Store = Callable[[], ExecutionRepository]
LARGE = "x" * 70_000


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Another way to the same data, each time it is asked."""
    tables = MemoryRepository().tables
    if request.param == "memory":
        return lambda: MemoryRepository(tables)
    return lambda: SqliteRepository(tmp_path / "engine.db", synchronous="OFF")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def rooms(items: object = (0, 1, 2)) -> ProcessDefinition:
    """A list that is undone as one, beside a step that can be undone, and a step that fails after it."""
    listed = {
        "message": "{{ item }}",
        "for_each": {"items": items if isinstance(items, str) else list(items)},
        "compensation": {"agent": "undoer", "message": "{{ steps.rooms.output }}"},
    }
    first = task("first", compensation={"agent": "undoer", "message": "undo first"})
    return process(first, task("rooms", "first", **listed), task("pay", "rooms"))


def engine_on(store: ExecutionRepository, clock: VirtualClock, agents: ScriptedAgents) -> Engine:
    return ExecutionEngine(store, agents, ExecutionConfig(cancel_grace=5), clock=clock)


def declining(request: AgentRequest) -> object:
    if request.message == "pay":
        raise AgentCallFailed("AGENT_ERROR", "declined")
    return f"room {request.message}" if request.context.item is not None else request.message


def undone(agents: ScriptedAgents) -> list[tuple[object, str]]:
    """What was asked in order to undo something, and under which key of the execution."""
    calls = [call for call in agents.calls if call.context.undo]
    return [(call.message, call.idempotency_key.partition("/")[2]) for call in calls]


async def turns(times: int = 300) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


async def test_a_list_is_undone_as_one_under_the_key_of_its_step(store: Store, clock: VirtualClock):
    agents = ScriptedAgents(declining)
    async with engine_on(store(), clock, agents) as engine:
        execution = await engine.start(rooms())
        done = await engine.run_until_settled(execution.id)

    assert done.status is ExecutionStatus.FAILED
    assert undone(agents) == [
        (["room 0", "room 1", "room 2"], "rooms/1/undo"),
        ("undo first", "first/1/undo"),
    ]
    (call, _) = [call for call in agents.calls if call.context.undo]
    assert call.context.item is None


async def test_an_empty_list_and_a_large_one_are_undone_by_what_they_gave(store: Store, clock: VirtualClock):
    for items, gave in (([], []), ([LARGE, "b"], [f"room {LARGE}", "room b"])):
        agents = ScriptedAgents(declining)
        async with engine_on(store(), clock, agents) as engine:
            execution = await engine.start(rooms("{{ input.rows }}"), {"rows": items})
            await engine.run_until_settled(execution.id)
        assert undone(agents)[0] == (gave, "rooms/1/undo")


async def test_what_is_undone_of_a_list_when_the_process_dies_is_repeated_and_no_item_is(
    store: Store, clock: VirtualClock
):
    reached = asyncio.Event()

    async def never() -> object:
        reached.set()
        await asyncio.get_running_loop().create_future()

    first = ScriptedAgents(lambda request: never() if request.context.undo else declining(request))
    async with engine_on(store(), clock, first) as engine:
        execution = await engine.start(rooms())
        await reached.wait()
        before = await engine.get(execution.id)
    assert before.status is ExecutionStatus.COMPENSATING

    second = ScriptedAgents(declining)
    async with engine_on(store(), clock, second) as engine:
        done = await engine.run_until_settled(execution.id)

    assert done.status is ExecutionStatus.FAILED
    assert [call.context.undo for call in second.calls] == [True, True]
    assert [key for _, key in undone(second)] == ["rooms/1/undo", "first/1/undo"]


async def test_items_that_answer_after_a_cancel_complete_their_list_and_it_is_undone(
    store: Store, clock: VirtualClock
):
    gate = asyncio.Event()

    async def answer_late(request: AgentRequest) -> object:
        await gate.wait()
        return declining(request)

    agents = ScriptedAgents(
        lambda request: answer_late(request) if request.context.item is not None else declining(request)
    )
    async with engine_on(store(), clock, agents) as engine:
        execution = await engine.start(rooms())
        await turns()
        cancelled = await engine.cancel(execution.id)
        gate.set()
        done = await engine.run_until_settled(execution.id)

    assert cancelled.status is ExecutionStatus.COMPENSATING
    assert done.status is ExecutionStatus.CANCELLED
    assert [key for _, key in undone(agents)] == ["rooms/1/undo", "first/1/undo"]


async def test_a_list_that_was_put_together_after_a_cancel_when_the_process_died_is_undone_all_the_same(
    store: Store, clock: VirtualClock
):
    opened, gate = store(), asyncio.Event()

    async def answer_late(request: AgentRequest) -> object:
        await gate.wait()
        return declining(request)

    agents = ScriptedAgents(
        lambda request: answer_late(request) if request.context.item is not None else declining(request)
    )
    async with engine_on(opened, clock, agents) as engine:
        execution = await engine.start(rooms())
        await turns()
        await engine.cancel(execution.id)
        real, opened.events = opened.events, _hang  # type: ignore[method-assign]
        gate.set()
        await turns()
        before = await engine.get(execution.id)
    assert before.step_executions["rooms"].items.is_complete
    assert before.status is ExecutionStatus.COMPENSATING
    opened.events = real  # type: ignore[method-assign]

    again = ScriptedAgents(declining)
    async with engine_on(here := store(), clock, again) as engine:
        done = await engine.run_until_settled(execution.id)
        events = await here.events(execution.id)

    assert done.status is ExecutionStatus.CANCELLED
    assert undone(again)[0] == (["room 0", "room 1", "room 2"], "rooms/1/undo")
    assert sum(isinstance(event, e.ItemStarted) for event in events) == 3


async def _hang(*_: object, **__: object) -> object:
    await asyncio.get_running_loop().create_future()
    raise AssertionError("never")
