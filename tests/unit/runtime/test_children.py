"""Sub-processes on a whole engine: started once, waited for, cancelled, told of, over restarts and faults."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from process_engine.app import ExecutionEngine
from process_engine.core import events as e
from process_engine.core.blockers import BlockerKind
from process_engine.core.children import MAX_DEPTH, ChildOutcome
from process_engine.core.config import ExecutionConfig
from process_engine.core.results import Usage
from process_engine.core.state import ExecutionStatus, StepStatus
from process_engine.definition.document import ProcessDefinition
from process_engine.errors import CommandRejected
from process_engine.ids import ExecutionId
from process_engine.repositories.memory import MemoryRepository
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.engine import Engine
from process_engine.runtime.ports import AgentReply, AgentRequest, ExecutionRepository
from process_engine.runtime.view import ProcessExecution
from process_engine.testing.clock import VirtualClock
from tests.unit.runtime.fakes import ScriptedAgents, UnreliableRepository, process, task

Store = Callable[[], ExecutionRepository]


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


def call(step_id: str = "call", *depends_on: str, of: str = "child", **fields: object) -> dict[str, object]:
    """A step that runs another process."""
    return {"id": step_id, "type": "sub_process", "process": of, "depends_on": list(depends_on), **fields}


def ask(step_id: str = "ask") -> dict[str, object]:
    return {"id": step_id, "type": "human_approval"}


def named(name: str, *steps: dict[str, object], **fields: object) -> ProcessDefinition:
    return process(*steps, **{"name": name, **fields})


def engine_on(store: ExecutionRepository, clock: VirtualClock, agents: object = None) -> Engine:
    return ExecutionEngine(store, agents or ScriptedAgents(), clock=clock)  # type: ignore[arg-type]


async def settled(engine: Engine, definition: ProcessDefinition, **given: object) -> ProcessExecution:
    execution = await engine.start(definition, given)
    return await engine.run_until_settled(execution.id)


async def ends_of(store: ExecutionRepository, id: ExecutionId) -> list[e.ChildEnded]:
    return [event for event in await store.events(id) if isinstance(event, e.ChildEnded)]


CHILD = named("child", task("work", message="{{ input }}"), outputs={"said": "steps.work.output", "n": "3"})


# ---------------------------------------------------------------- starting, and what it gives


async def test_a_parent_gets_what_its_child_gives_with_types_kept(store: Store, clock: VirtualClock):
    parent = named("parent", call(input={"n": "{{ input.n }}", "list": ["{{ input.n }}"]}))
    async with engine_on(here := store(), clock) as engine:
        await engine.make_known(CHILD)

        execution = await settled(engine, parent, n=7)

        assert execution.status is ExecutionStatus.COMPLETED
        assert execution.step_executions["call"].output == {"said": {"n": 7, "list": [7]}, "n": 3}
        child = await engine.get(str(execution.step_executions["call"].execution_id))
        assert child.parent is not None
        assert (child.parent.execution_id, child.parent.step_id) == (execution.id, "call")
        assert {event.correlation_id for event in await here.events(child.id)} == {execution.id}
        assert [(end.outcome, end.child_id) for end in await ends_of(here, execution.id)] == [
            (ChildOutcome.COMPLETED, child.id)
        ]


async def test_one_field_of_the_outputs_can_be_picked(store: Store, clock: VirtualClock):
    async with engine_on(store(), clock) as engine:
        await engine.make_known(CHILD)
        there = await settled(engine, named("parent", call(output_key="n")))
        missing = await settled(engine, named("parent", call(output_key="other")))

    assert there.step_executions["call"].output == 3
    assert missing.error is not None
    assert missing.error.code == "INVALID_OUTPUT"
    assert "gave no `other`" in missing.error.message


async def test_large_outputs_go_up_by_reference_and_can_be_read(store: Store, clock: VirtualClock):
    big = "x" * 200_000
    agents = ScriptedAgents(lambda request: big if request.message == "big" else request.message)
    child = named("child", task("big"), outputs={"text": "steps.big.output"})
    last = task("after", "call", message="{{ steps.call.output.text | length }}")
    async with engine_on(store(), clock, agents) as engine:
        await engine.make_known(child)
        execution = await settled(engine, named("parent", call(), last))
        picked = await settled(engine, named("parent", call(output_key="text")))

    assert execution.step_executions["after"].output == len(big)
    assert picked.step_executions["call"].output == big


async def test_the_execution_id_of_a_child_can_be_read(clock: VirtualClock):
    after = task("after", "call", message="{{ steps.call.execution_id }}")
    async with engine_on(MemoryRepository(), clock) as engine:
        await engine.make_known(CHILD)
        execution = await settled(engine, named("parent", call(), after))
    read = execution.step_executions["after"].output
    assert read == execution.step_executions["call"].execution_id


async def test_a_child_that_is_not_waited_for_is_started_for_sure_and_goes_its_own_way(
    store: Store, clock: VirtualClock
):
    child = named("child", ask())
    async with engine_on(here := store(), clock) as engine:
        await engine.make_known(child)
        execution = await settled(engine, named("parent", call(wait=False)))
        id = execution.step_executions["call"].execution_id
        assert execution.status is ExecutionStatus.COMPLETED
        assert execution.step_executions["call"].output == {"execution_id": id}
        await engine.decide_approval(str(id), "ask", approve=True, by="ann")
        assert (await engine.get(str(id))).status is ExecutionStatus.COMPLETED
        assert await ends_of(here, execution.id) == []


async def test_the_newest_definition_is_taken_unless_a_version_is_given(store: Store, clock: VirtualClock):
    old = named("child", task("work"), version="1", outputs={"v": "process.version"})
    new = named("child", task("work"), version="2", outputs={"v": "process.version"})
    async with engine_on(store(), clock) as engine:
        await engine.start(old)
        await engine.start(new)
        latest = await settled(engine, named("parent", call(output_key="v")))
        first = await settled(engine, named("parent", call(output_key="v", version=1)))
        await engine.make_known(old)
        named_last = await settled(engine, named("parent", call(output_key="v")))

    outputs = [one.step_executions["call"].output for one in (latest, first, named_last)]
    assert outputs == ["2", "1", "1"]


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("child", "step", "said"),
    [
        (None, call(), "there is no process child in this store. Name its file with `--with`"),
        (CHILD, call(version=9), "there is no process child in version 9"),
        (
            named("child", task("a"), input={"n": {"type": "integer", "required": True}}),
            call(input={"n": "x"}),
            "n",
        ),
        (CHILD, call(input="{{ input.list }}"), "must be an object"),
        (named("child", task("a", agent="nobody")), call(), "agents that are not configured"),
    ],
)
@pytest.mark.parametrize("wait", [True, False])
async def test_a_child_that_cannot_begin_fails_its_step_and_says_why(
    clock: VirtualClock, child: ProcessDefinition | None, step: dict[str, object], said: str, wait: bool
):
    async with engine_on(store := MemoryRepository(), clock) as engine:
        if child is not None:
            await engine.make_known(child)
        execution = await settled(engine, named("parent", step | {"wait": wait}), list=[1])

        assert execution.error is not None
        assert execution.error.code == "CHILD_FAILED"
        assert said in execution.error.message
        (end,) = await ends_of(store, execution.id)
        assert end.outcome is ChildOutcome.REFUSED
        assert await store.load(end.child_id) is None


async def test_a_process_that_calls_itself_is_stopped_at_the_tenth_level(clock: VirtualClock):
    async with engine_on(MemoryRepository(), clock) as engine:
        execution = await settled(engine, named("endless", call(of="endless")))
        everything = await engine.list()

    assert execution.error is not None
    assert f"at most {MAX_DEPTH}" in execution.error.message
    assert len(everything) == 1 + MAX_DEPTH


async def test_a_child_that_fails_fails_the_step_unless_it_is_retried(store: Store, clock: VirtualClock):
    def answer(request: AgentRequest) -> object:
        if len(agents.calls) < 2:
            raise ValueError("not yet")
        return "done"

    agents = ScriptedAgents(answer)
    retry = {"max_attempts": 2, "retry_on": ["CHILD_FAILED"], "initial_delay": "1s"}
    async with engine_on(here := store(), clock, agents) as engine:
        await engine.make_known(CHILD)
        execution = await settled(engine, named("parent", call(retry=retry, output_key="said")))
        assert execution.step_executions["call"].output == "done"
        ends = await ends_of(here, execution.id)
        assert [end.outcome for end in ends] == [ChildOutcome.FAILED, ChildOutcome.COMPLETED]
        assert len({end.child_id for end in ends}) == 2

        agents.calls.clear()
        execution = await settled(engine, named("parent", call()))
        assert execution.error is not None
        assert execution.error.code == "CHILD_FAILED"
        assert "failed at work: HANDLER_ERROR" in execution.error.message


async def test_what_children_cost_is_part_of_what_the_parent_costs(store: Store, clock: VirtualClock):
    class Paid(ScriptedAgents):
        async def call(self, request: AgentRequest) -> AgentReply:
            self.calls.append(request)
            return AgentReply(output="x", usage=Usage(Decimal("0.25"), 10, 5))

    middle = named("middle", call(of="child"), task("own", "call"))
    async with engine_on(here := store(), clock, Paid()) as engine:
        await engine.make_known(CHILD)
        await engine.make_known(middle)
        execution = await settled(engine, named("parent", call(of="middle"), task("last", "call")))
    await here.open(clock=clock)
    stored = await here.load(execution.id)
    await here.close()
    assert stored is not None
    assert (stored.head.cost, stored.head.tokens) == (Decimal("0.75"), 45)
    assert stored.steps["call"].cost == Decimal("0.50")  # type: ignore[index]


# ---------------------------------------------------------------- cancelling


async def test_who_cancels_a_parent_cancels_the_whole_tree(store: Store, clock: VirtualClock):
    middle = named("middle", call("down", of="bottom"))
    async with engine_on(here := store(), clock) as engine:
        await engine.make_known(named("bottom", ask()))
        await engine.make_known(middle)
        execution = await settled(engine, named("parent", call(of="middle")))
        assert execution.status is ExecutionStatus.RUNNING
        assert {line.status for line in await engine.list()} == {ExecutionStatus.RUNNING}

        await engine.cancel(execution.id)
        await clock.sleep(1)
        assert {line.status for line in await engine.list()} == {ExecutionStatus.CANCELLED}
        stored = await here.load(execution.id)
        assert stored is not None
        assert stored.head.recalls == ()
        assert [end.outcome for end in await ends_of(here, execution.id)] == [ChildOutcome.CANCELLED]


async def test_a_step_whose_time_is_up_cancels_its_child_and_then_fails(store: Store, clock: VirtualClock):
    waits = {"id": "wait", "type": "timer", "delay": "10h"}
    async with engine_on(here := store(), clock) as engine:
        await engine.make_known(named("child", waits))
        execution = await settled(engine, named("parent", call(timeout="2h")))
        child = await engine.get(str(execution.step_executions["call"].execution_id))

        assert execution.error is not None
        assert execution.error.code == "TIMEOUT"
        assert child.status is ExecutionStatus.CANCELLED
        kinds = [event.type for event in await here.events(execution.id)]
        assert kinds[-5:] == ["ChildRecalled", "ChildEnded", "StepFailed", "ProcessStopping", "ProcessFailed"]


async def test_a_failure_elsewhere_takes_the_children_along(clock: VirtualClock):
    def answer(request: AgentRequest) -> object:
        raise ValueError("no")

    agents = ScriptedAgents(answer)
    async with engine_on(MemoryRepository(), clock, agents) as engine:
        await engine.make_known(named("child", ask()))
        later = {"id": "later", "type": "timer", "delay": "1s"}
        execution = await settled(engine, named("parent", call(), later, task("bad", "later")))
        assert execution.status is ExecutionStatus.FAILED
        await clock.sleep(1)
        child = await engine.get(str(execution.step_executions["call"].execution_id))
        assert child.status is ExecutionStatus.CANCELLED


async def test_a_child_that_was_cancelled_by_hand_fails_the_step(clock: VirtualClock):
    async with engine_on(MemoryRepository(), clock) as engine:
        await engine.make_known(named("child", ask()))
        execution = await settled(engine, named("parent", call()))
        await engine.cancel(str(execution.step_executions["call"].execution_id))
        execution = await engine.run_until_settled(execution.id)
        assert execution.error is not None
        assert execution.error.code == "CHILD_FAILED"
        assert "was cancelled" in execution.error.message


async def test_a_child_whose_parent_knows_its_end_is_not_retried_by_itself(clock: VirtualClock):
    def answer(request: AgentRequest) -> object:
        if len(agents.calls) < 2:
            raise ValueError("not yet")
        return "done"

    agents = ScriptedAgents(answer)
    async with engine_on(MemoryRepository(), clock, agents) as engine:
        await engine.make_known(CHILD)
        execution = await settled(engine, named("parent", call(output_key="said")))
        child = str(execution.step_executions["call"].execution_id)
        with pytest.raises(CommandRejected, match="calls the process again"):
            await engine.retry(child)
        await engine.retry(execution.id)
        execution = await engine.run_until_settled(execution.id)
        assert execution.step_executions["call"].output == "done"
        assert execution.step_executions["call"].execution_id != child


# ---------------------------------------------------------------- waiting, over restarts


async def test_a_parent_settles_with_its_child_and_names_what_the_child_waits_for(
    store: Store, clock: VirtualClock
):
    async with engine_on(store(), clock) as engine:
        await engine.make_known(
            named("child", {"id": "soon", "type": "timer", "delay": "1m"}, ask() | {"depends_on": ["soon"]})
        )
        execution = await settled(engine, named("parent", call()))
        first, second = await engine.explain(execution.id)
        child = execution.step_executions["call"].execution_id
        assert (first.kind, first.detail, first.execution_id) == (BlockerKind.CHILD, child, None)
        assert (second.kind, second.step_id, second.execution_id) == (BlockerKind.APPROVAL, "ask", child)
        (asked,) = await engine.approvals()
        assert asked.execution_id == child

    async with engine_on(store(), clock) as engine:
        await engine.run_until_settled(execution.id)
        await engine.decide_approval(str(child), "ask", approve=True, by="ann")
        execution = await engine.run_until_settled(execution.id)
        assert execution.status is ExecutionStatus.COMPLETED


async def test_a_paused_child_keeps_its_parent_settled_until_it_is_resumed(clock: VirtualClock):
    async with engine_on(MemoryRepository(), clock) as engine:
        await engine.make_known(
            named("child", {"id": "soon", "type": "timer", "delay": "1m"}, task("b", "soon"))
        )
        execution = await engine.start(named("parent", call()))
        await engine.run_until_settled(execution.id, wait_for_timers=False)
        execution = await engine.get(execution.id)
        child = str(execution.step_executions["call"].execution_id)
        await engine.pause(child)
        execution = await engine.run_until_settled(execution.id)
        assert execution.step_executions["call"].status is StepStatus.WAITING
        await engine.resume(child)
        execution = await engine.run_until_settled(execution.id)
        assert execution.status is ExecutionStatus.COMPLETED


async def test_a_start_that_was_lost_with_its_process_is_made_good(clock: VirtualClock):
    store = UnreliableRepository()
    parent = named("parent", call())
    async with engine_on(store, clock) as engine:
        await engine.make_known(CHILD)
        # The commit of the parent is the last thing that this process ever does.
        store.faults = [None, *[True] * 8]
        execution = await engine.start(parent)
        await clock.sleep(60)
    assert len(store.tables.rows.heads) == 1

    async with engine_on(MemoryRepository(store.tables), clock) as engine:
        execution = await engine.run_until_settled(execution.id)
        assert execution.status is ExecutionStatus.COMPLETED
        assert len(await engine.list()) == 2


async def test_an_end_that_was_not_told_is_told_after_a_restart(clock: VirtualClock):
    store = UnreliableRepository()
    async with engine_on(store, clock) as engine:
        await engine.make_known(named("child", ask()))
        execution = await settled(engine, named("parent", call()))
        child = str(execution.step_executions["call"].execution_id)
        store.faults = [None, *[True] * 8]
        await engine.decide_approval(child, "ask", approve=True, by="ann")
        await clock.sleep(60)
    async with engine_on(MemoryRepository(store.tables), clock) as engine:
        execution = await engine.run_until_settled(execution.id)
        assert execution.status is ExecutionStatus.COMPLETED


async def test_a_cancel_that_did_not_reach_the_child_reaches_it_after_a_restart(clock: VirtualClock):
    store = UnreliableRepository()
    async with engine_on(store, clock) as engine:
        await engine.make_known(named("child", ask()))
        execution = await settled(engine, named("parent", call()))
        child = str(execution.step_executions["call"].execution_id)
        store.faults = [None, *[True] * 8]
        await engine.cancel(execution.id)
        await clock.sleep(60)
    async with engine_on(here := MemoryRepository(store.tables), clock) as engine:
        await clock.sleep(1)
        assert (await engine.get(child)).status is ExecutionStatus.CANCELLED
        stored = await here.load(execution.id)
        assert stored is not None
        assert stored.head.recalls == ()


async def test_many_children_are_started_side_by_side(clock: VirtualClock):
    steps = [call(f"c{number}") for number in range(250)]
    async with ExecutionEngine(
        MemoryRepository(), ScriptedAgents(), ExecutionConfig(max_concurrent_steps=2), clock=clock
    ) as engine:
        await engine.make_known(CHILD)
        execution = await settled(engine, named("parent", *steps))
    assert execution.status is ExecutionStatus.COMPLETED


async def test_what_a_grandchild_cost_that_was_cancelled_last_is_in_the_sum(clock: VirtualClock):
    class Paid(ScriptedAgents):
        async def call(self, request: AgentRequest) -> AgentReply:
            self.calls.append(request)
            return AgentReply(output="x", usage=Usage(Decimal("0.25"), 10, 5))

    late = {"id": "late", "type": "timer", "delay": "1s"}
    fails = {"id": "fails", "type": "transform", "value": "{{ input.missing }}", "depends_on": ["late"]}
    async with engine_on(store := MemoryRepository(), clock, Paid()) as engine:
        await engine.make_known(named("bottom", task("paid"), {**ask(), "depends_on": ["paid"]}))
        await engine.make_known(named("middle", call("down", of="bottom"), late, fails))
        execution = await settled(engine, named("parent", call(of="middle", on_error="skip_step")))

        assert execution.status is ExecutionStatus.COMPLETED
        assert (execution.cost, execution.tokens) == (Decimal("0.25"), 15)
        (end,) = await ends_of(store, execution.id)
        assert end.outcome is ChildOutcome.FAILED
