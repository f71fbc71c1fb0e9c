"""Steps that run once for each item of a list, by a whole engine: over restarts, with large values, many."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from process_engine.app import ExecutionEngine
from process_engine.core import events as e
from process_engine.core.config import ExecutionConfig
from process_engine.core.state import ExecutionStatus
from process_engine.repositories.memory import MemoryRepository
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.items import ERROR_CHARACTERS
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


def each(items: object = "{{ input.rows }}", **fields: object) -> dict[str, object]:
    """A step that asks for each item; what does not belong to the step is a rule of its list."""
    rules = {key: fields.pop(key) for key in ("max_concurrency", "on_item_error") if key in fields}
    return task("each", **{"message": "{{ item }}", "for_each": {"items": items, **rules}, **fields})


async def run(store: ExecutionRepository, clock: VirtualClock, agents: ScriptedAgents, definition, given):
    async with ExecutionEngine(store, agents, clock=clock) as engine:
        execution = await engine.start(definition, given)
        return await engine.run_until_settled(execution.id)


async def test_each_item_is_asked_once_under_a_key_of_its_own(store: Store, clock: VirtualClock):
    agents = ScriptedAgents(lambda request: request.message * 2)

    done = await run(store(), clock, agents, process(each()), {"rows": [1, 2, 3]})

    assert done.outputs == {"each": [2, 4, 6]}
    keys = {call.context.item: call.idempotency_key for call in agents.calls}
    assert keys == {index: f"{done.id}/each/1/{index}" for index in range(3)}
    assert len({call.traceparent for call in agents.calls}) == 3


async def test_at_most_so_many_are_asked_at_a_time(store: Store, clock: VirtualClock):
    working, most = 0, 0

    async def answer(request: AgentRequest) -> object:
        nonlocal working, most
        working += 1
        most = max(most, working)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        working -= 1
        return request.message

    agents = ScriptedAgents(answer)
    await run(store(), clock, agents, process(each(max_concurrency=3)), {"rows": list(range(20))})

    assert most == 3


async def test_an_item_is_tried_again_by_itself_and_others_go_on(store: Store, clock: VirtualClock):
    failed: list[str] = []

    def answer(request: AgentRequest) -> object:
        if request.message == 2 and not failed:
            failed.append(request.idempotency_key)
            raise AgentCallFailed("AGENT_UNAVAILABLE", "busy", transient=True)
        return request.message

    agents = ScriptedAgents(answer)
    done = await run(store(), clock, agents, process(each()), {"rows": [1, 2, 3]})

    assert done.outputs == {"each": [1, 2, 3]}
    assert Counter(call.context.item for call in agents.calls) == {0: 1, 1: 2, 2: 1}
    assert [call.idempotency_key for call in agents.calls].count(failed[0]) == 2


async def test_items_that_fail_are_collected(store: Store, clock: VirtualClock):
    def answer(request: AgentRequest) -> object:
        if request.message % 2:
            raise AgentCallFailed("AGENT_ERROR", "odd " * 1000)
        return request.message

    definition = process(
        each(on_item_error="collect"),
        outputs={"got": "{{ steps.each.output }}", "failed": "{{ steps.each.errors | map('index') }}"},
    )
    done = await run(store(), clock, ScriptedAgents(answer), definition, {"rows": [0, 1, 2, 3]})

    assert done.outputs == {"got": [0, None, 2, None], "failed": [1, 3]}
    (first, _) = done.step_executions["each"].errors
    assert first["code"] == "AGENT_ERROR"
    assert len(first["message"]) == ERROR_CHARACTERS
    assert done.step_executions["each"].items.failed == 2


async def test_a_field_that_one_item_lacks_fails_that_item(store: Store, clock: VirtualClock):
    definition = process(each(message="{{ item.name }}", on_item_error="collect"))

    done = await run(store(), clock, ScriptedAgents(), definition, {"rows": [{"name": "ann"}, {}]})

    assert done.outputs == {"each": ["ann", None]}
    assert done.step_executions["each"].errors[0]["code"] == "EXPRESSION_ERROR"


async def test_a_transform_runs_for_items_without_asking_anybody(store: Store, clock: VirtualClock):
    made = {"n": "{{ item.n * 2 }}", "at": "{{ index }}", "row": "{{ row.n }}"}
    step = {"id": "each", "type": "transform", "value": made}
    step["for_each"] = {"items": "{{ input.rows }}", "as": "row"}
    agents = ScriptedAgents()

    done = await run(store(), clock, agents, process(step), {"rows": [{"n": 5}, {"n": 6}]})

    assert done.outputs == {"each": [{"n": 10, "at": 0, "row": 5}, {"n": 12, "at": 1, "row": 6}]}
    assert agents.calls == []


async def test_large_items_and_large_answers_are_kept_apart(store: Store, clock: VirtualClock):
    agents = ScriptedAgents(lambda request: [request.message, LARGE])

    done = await run(store(), clock, agents, process(each()), {"rows": [LARGE, "b"]})

    assert done.outputs == {"each": [[LARGE, LARGE], ["b", LARGE]]}


async def test_answers_that_are_too_much_together_fail_the_step_and_say_so(store: Store, clock: VirtualClock):
    agents = ScriptedAgents(lambda request: "x" * 6_000_000)

    done = await run(store(), clock, agents, process(each()), {"rows": [1, 2]})

    assert done.step_executions["each"].error.code == "OUTPUT_TOO_LARGE"
    assert "the limit is 10,485,760" in done.step_executions["each"].error.message


async def test_what_a_handler_does_to_its_request_reaches_no_other_item(store: Store, clock: VirtualClock):
    def answer(request: AgentRequest) -> object:
        request.message["shared"].append(request.message["item"])
        return request.message["shared"]

    step = each(message={"item": "{{ item }}", "shared": "{{ input.shared }}"}, max_concurrency=1)
    done = await run(store(), clock, ScriptedAgents(answer), process(step), {"rows": [1, 2], "shared": []})

    assert done.outputs == {"each": [[1], [2]]}


# ---------------------------------------------------------------- over restarts


async def test_after_a_restart_only_items_that_had_not_ended_are_asked_again(
    store: Store, clock: VirtualClock
):
    definition = process(each(max_concurrency=2))
    gate = asyncio.Event()

    async def until_third(request: AgentRequest) -> object:
        if request.message >= 3:
            await gate.wait()
        return request.message

    first = ScriptedAgents(until_third)
    async with ExecutionEngine(store(), first, clock=clock) as engine:
        execution = await engine.start(definition, {"rows": list(range(6))})
        for _ in range(300):
            await asyncio.sleep(0)
        before = await engine.get(execution.id)
    assert before.step_executions["each"].items.done == 3

    second = ScriptedAgents()
    async with ExecutionEngine(store(), second, clock=clock) as engine:
        done = await engine.run_until_settled(execution.id)

    assert done.outputs == {"each": list(range(6))}
    assert sorted(call.context.item for call in second.calls) == [3, 4, 5]
    assert [call.context.attempt for call in second.calls if call.context.item == 3] == [2]


async def test_results_that_were_not_put_together_yet_are_put_together_after_a_restart(
    store: Store, clock: VirtualClock
):
    opened = store()
    definition = process(each())
    async with ExecutionEngine(opened, ScriptedAgents(), clock=clock) as engine:
        real, opened.events = opened.events, hang  # type: ignore[method-assign]
        execution = await engine.start(definition, {"rows": [1, 2]})
        for _ in range(200):
            await asyncio.sleep(0)
        before = await engine.get(execution.id)
    assert before.step_executions["each"].items.is_complete
    assert before.status is ExecutionStatus.RUNNING
    opened.events = real  # type: ignore[method-assign]

    agents = ScriptedAgents()
    async with ExecutionEngine(store(), agents, clock=clock) as engine:
        done = await engine.run_until_settled(execution.id)

    assert done.outputs == {"each": [1, 2]}
    assert agents.calls == []


async def hang(*_: object, **__: object) -> object:
    await asyncio.get_running_loop().create_future()
    raise AssertionError("never")


async def test_a_retry_that_waits_survives_a_restart(store: Store, clock: VirtualClock):
    def busy(request: AgentRequest) -> object:
        raise AgentCallFailed("AGENT_UNAVAILABLE", "busy", transient=True)

    step = each(retry={"max_attempts": 2, "initial_delay": "1h", "max_delay": "2h", "jitter": False})
    async with ExecutionEngine(store(), ScriptedAgents(busy), clock=clock) as engine:
        execution = await engine.start(process(step), {"rows": [7]})
        await clock.sleep(60)
    again = ScriptedAgents()
    async with ExecutionEngine(store(), again, clock=clock) as engine:
        await clock.sleep(3500)
        assert again.calls == []
        await clock.sleep(100)
        done = await engine.run_until_settled(execution.id)

    assert done.outputs == {"each": [7]}
    assert [call.context.attempt for call in again.calls] == [2]


# ---------------------------------------------------------------- people


async def test_a_retry_by_hand_asks_only_what_had_not_succeeded(store: Store, clock: VirtualClock):
    good = False

    def answer(request: AgentRequest) -> object:
        if request.message == 2 and not good:
            raise AgentCallFailed("AGENT_ERROR", "no")
        return request.message

    agents = ScriptedAgents(answer)
    async with ExecutionEngine(store(), agents, clock=clock) as engine:
        execution = await engine.start(process(each(max_concurrency=1)), {"rows": [1, 2, 3]})
        failed = await engine.run_until_settled(execution.id)
        good = True
        await engine.retry(execution.id)
        done = await engine.run_until_settled(execution.id)

    assert failed.error.message == "item 1: no"
    assert done.outputs == {"each": [1, 2, 3]}
    assert [call.context.item for call in agents.calls] == [0, 1, 1, 2]


async def test_other_steps_get_their_turn_beside_a_long_list(store: Store, clock: VirtualClock):
    definition = process(each(max_concurrency=10), task("other"), task("after", "other"))
    config = ExecutionConfig(max_concurrent_steps=2)
    opened = store()
    async with ExecutionEngine(opened, ScriptedAgents(), config, clock=clock) as engine:
        execution = await engine.start(definition, {"rows": list(range(50))})
        await engine.run_until_settled(execution.id)
        events = await opened.events(execution.id)

    ended = [event for event in events if isinstance(event, e.StepCompleted)]
    items = [event.sequence for event in events if isinstance(event, e.ItemCompleted)]
    assert [event.step_id for event in ended] == ["other", "after", "each"]
    assert sum(1 for sequence in items if sequence < ended[1].sequence) < 10


# ---------------------------------------------------------------- very many


async def test_ten_thousand_items_are_recorded_one_by_one_and_each_once(tmp_path: Path):
    opened = SqliteRepository(tmp_path / "engine.db", synchronous="OFF")
    agents = ScriptedAgents(lambda request: {"n": request.message})
    definition = process(each(max_concurrency=100))
    async with ExecutionEngine(opened, agents) as engine:
        execution = await engine.start(definition, {"rows": list(range(10_000))})
        done = await engine.run_until_settled(execution.id)
        events = await opened.events(execution.id, limit=30_000)

    assert done.outputs == {"each": [{"n": n} for n in range(10_000)]}
    assert sum(1 for event in events if isinstance(event, e.ItemCompleted)) == 10_000
    assert len(agents.calls) == 10_000
    state = done.step_executions["each"].items
    assert (state.done, state.open) == (10_000, ())


async def test_a_list_of_a_million_fails_before_anybody_is_asked(clock: VirtualClock):
    agents = ScriptedAgents()

    done = await run(MemoryRepository(), clock, agents, process(each()), {"rows": [0] * 1_000_000})

    assert done.error.code == "TOO_MANY_ITEMS"
    assert agents.calls == []
