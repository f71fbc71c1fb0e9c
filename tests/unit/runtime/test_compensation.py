"""Undoing what was done, by a whole engine on both stores: over restarts, by timers, and after a cancel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from process_engine.app import ExecutionEngine
from process_engine.core import events as e
from process_engine.core.blockers import BlockerKind
from process_engine.core.commands import CancelExecution
from process_engine.core.config import ExecutionConfig
from process_engine.core.state import ExecutionStatus
from process_engine.core.undo import UndoStatus
from process_engine.definition.checking import load_definition
from process_engine.errors import CommandRejected, ConfigurationInvalid
from process_engine.ids import ExecutionId
from process_engine.repositories.memory import MemoryRepository
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime import inbox
from process_engine.runtime.engine import Engine
from process_engine.runtime.ports import AgentCallFailed, AgentRequest, ExecutionRepository
from process_engine.testing.clock import VirtualClock
from tests.unit.runtime.fakes import ScriptedAgents, process, task

ROOT = Path(__file__).parents[3]

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


def undo(message: object, **fields: object) -> dict[str, object]:
    """The key of a step that can be undone."""
    return {"compensation": {"agent": "undoer", "message": message, **fields}}


def trip(**fields: object) -> object:
    """Two steps that can be undone, and one that can fail."""
    return process(
        task("flight", **undo("cancel {{ steps.flight.output }}")),
        task("hotel", "flight", **undo("cancel {{ steps.hotel.output }}")),
        task("pay", "hotel"),
        **fields,
    )


class Agents(ScriptedAgents):
    """Answers with the message; `pay` is declined, and so is what `declines` names, so many times."""

    def __init__(self, **declines: int) -> None:
        super().__init__(self._answer_to)
        self.declines = declines
        self.begun = asyncio.Event()

    def _answer_to(self, request: AgentRequest) -> object:
        if request.message == "pay":
            raise AgentCallFailed("AGENT_ERROR", "declined")
        name = str(request.message).split()[-1] if request.context.undo else ""
        if self.declines.get(name, 0) > 0:
            self.declines[name] -= 1
            raise AgentCallFailed("AGENT_UNAVAILABLE", "busy", transient=True)
        return request.message

    @property
    def undone(self) -> list[object]:
        """What was asked in order to undo something."""
        return [call.message for call in self.calls if call.context.undo]


def engine_on(store: ExecutionRepository, clock: VirtualClock, agents: ScriptedAgents) -> Engine:
    return ExecutionEngine(store, agents, ExecutionConfig(cancel_grace=5), clock=clock)


async def story(store: ExecutionRepository, id: ExecutionId) -> list[str]:
    """What is public of undoing and of the end."""
    return [
        f"{event.type} {event.step_id}" if isinstance(event, e.StepEvent) else event.type
        for event in await store.events(id)
        if event.public and event.type.startswith(("Compensation", "ProcessF", "ProcessCan"))
    ]


async def test_a_failure_undoes_what_was_done_and_the_execution_fails_last(store: Store, clock: VirtualClock):
    agents = Agents()
    async with engine_on(here := store(), clock, agents) as engine:
        execution = await engine.start(trip())
        execution = await engine.run_until_settled(execution.id)
        told = await story(here, execution.id)

    assert execution.status is ExecutionStatus.FAILED
    assert agents.undone == ["cancel hotel", "cancel flight"]
    assert told == [
        "CompensationStarted hotel",
        "CompensationCompleted hotel",
        "CompensationStarted flight",
        "CompensationCompleted flight",
        "ProcessFailed",
    ]
    assert [undo.status for undo in execution.step_executions["hotel"].undos] == [UndoStatus.DONE]


async def test_an_agent_is_told_what_it_undoes_under_a_key_of_its_own(store: Store, clock: VirtualClock):
    agents = Agents(hotel=1)
    async with engine_on(store(), clock, agents) as engine:
        execution = await engine.start(trip())
        await engine.run_until_settled(execution.id)

    calls = [call for call in agents.calls if call.context.step_id == "hotel"]
    assert [(call.agent, call.context.undo) for call in calls] == [
        ("somebody", False),
        ("undoer", True),
        ("undoer", True),
    ]
    assert [call.idempotency_key for call in calls] == [
        f"{execution.id}/hotel/1",
        f"{execution.id}/hotel/1/undo",
        f"{execution.id}/hotel/1/undo",
    ]
    assert [call.context.attempt for call in calls] == [1, 1, 2]


async def test_it_is_tried_again_by_its_own_policy_over_a_restart(store: Store, clock: VirtualClock):
    keys = undo("cancel {{ steps.a.output }}", retry={"initial_delay": "2h", "jitter": False})
    definition = process(task("a", **keys), task("pay", "a"))
    agents = Agents(a=1)
    async with engine_on(store(), clock, agents) as engine:
        execution = await engine.start(definition)
        waiting = await engine.run_until_settled(execution.id, wait_for_timers=False)
        (blocker,) = await engine.explain(execution.id)
    assert (waiting.status, agents.undone) == (ExecutionStatus.COMPENSATING, ["cancel a"])
    assert (blocker.kind, blocker.step_id, blocker.detail) == (BlockerKind.UNDO, "a", "undoer")
    due = blocker.due

    async with engine_on(store(), clock, agents) as engine:
        execution = await engine.run_until_settled(execution.id)
    assert (execution.status, clock.now(), len(agents.undone)) == (ExecutionStatus.FAILED, due, 2)


async def test_what_was_being_undone_when_the_process_died_is_repeated(store: Store, clock: VirtualClock):
    reached, never = asyncio.Event(), asyncio.Event()

    async def hang() -> object:
        reached.set()
        await never.wait()
        return None

    class Hanging(Agents):
        def _answer_to(self, request: AgentRequest) -> object:
            return hang() if request.context.undo else super()._answer_to(request)

    async with engine_on(store(), clock, Hanging()) as engine:
        execution = await engine.start(trip())
        await reached.wait()
        before = await engine.get(execution.id)
    assert before.status is ExecutionStatus.COMPENSATING

    agents = Agents()
    async with engine_on(here := store(), clock, agents) as engine:
        execution = await engine.run_until_settled(execution.id)
        retries = [event for event in await here.events(execution.id) if event.type == "CompensationRetrying"]
    assert agents.undone == ["cancel hotel", "cancel flight"]
    assert [event.failure.code for event in retries] == ["INTERRUPTED"]
    assert execution.status is ExecutionStatus.FAILED


async def test_an_attempt_that_takes_too_long_is_ended(clock: VirtualClock):
    class Slow(Agents):
        def _answer_to(self, request: AgentRequest) -> object:
            if not request.context.undo:
                return super()._answer_to(request)
            return self._late()

        async def _late(self) -> object:
            await clock.sleep(60)
            return None

    keys = undo("x", timeout="10s", retry={"max_attempts": 2, "initial_delay": "1s", "jitter": False})
    async with engine_on(MemoryRepository(), clock, Slow()) as engine:
        execution = await engine.start(process(task("a", **keys), task("pay", "a")))
        begun = clock.now()
        execution = await engine.run_until_settled(execution.id)

    (kept,) = execution.step_executions["a"].undos
    assert (kept.status, kept.error.code) == (UndoStatus.FAILED, "TIMEOUT")
    assert clock.now() - begun == timedelta(seconds=21)


async def test_a_cancel_waits_for_what_runs_undoes_it_and_ends(store: Store, clock: VirtualClock):
    class Slow(Agents):
        def _answer_to(self, request: AgentRequest) -> object:
            return self._late(request) if request.message == "hotel" else super()._answer_to(request)

        async def _late(self, request: AgentRequest) -> object:
            self.begun.set()
            await clock.sleep(3)
            return request.message

    agents = Slow()
    async with engine_on(here := store(), clock, agents) as engine:
        execution = await engine.start(trip())
        await agents.begun.wait()
        cancelled = await engine.cancel(execution.id, reason="changed our mind", by="ann")
        with pytest.raises(CommandRejected, match="is compensating"):
            await engine.cancel(execution.id)
        execution = await engine.run_until_settled(execution.id)
        told = await story(here, execution.id)

    assert cancelled.status is ExecutionStatus.COMPENSATING
    assert agents.undone == ["cancel hotel", "cancel flight"]
    assert (execution.status, told[-1]) == (ExecutionStatus.CANCELLED, "ProcessCancelled")


async def test_what_answers_after_the_grace_of_a_cancel_is_not_waited_for(clock: VirtualClock):
    class Slow(Agents):
        def _answer_to(self, request: AgentRequest) -> object:
            return self._never() if request.message == "hotel" else super()._answer_to(request)

        async def _never(self) -> object:
            self.begun.set()
            await clock.sleep(3_600)
            return None

    agents = Slow()
    async with engine_on(MemoryRepository(), clock, agents) as engine:
        execution = await engine.start(trip())
        await agents.begun.wait()
        begun = clock.now()
        await engine.cancel(execution.id)
        execution = await engine.run_until_settled(execution.id)

    assert (agents.undone, clock.now() - begun) == (["cancel flight"], timedelta(seconds=5))


async def test_a_large_output_is_undone_with_its_values(store: Store, clock: VirtualClock):
    class Large(Agents):
        def _answer_to(self, request: AgentRequest) -> object:
            if request.message == "a":
                return {"id": "A1", "pad": "x" * 100_000}
            return super()._answer_to(request)

    agents = Large()
    async with engine_on(store(), clock, agents) as engine:
        keys = undo({"take": "{{ steps.a.output }}"})
        execution = await engine.start(process(task("a", **keys), task("pay", "a")))
        await engine.run_until_settled(execution.id)

    (asked,) = agents.undone
    assert (asked["take"]["id"], len(asked["take"]["pad"])) == ("A1", 100_000)


async def test_what_undoes_a_step_must_be_known_before_anything_starts(clock: VirtualClock):
    definition = process(task("a", compensation={"agent": "nobody", "message": "x"}))
    async with engine_on(MemoryRepository(), clock, Agents()) as engine:
        with pytest.raises(ConfigurationInvalid, match=r"nobody \(step a\)"):
            await engine.start(definition)


async def test_an_engine_that_goes_on_with_nothing_leaves_it_to_the_next(store: Store, clock: VirtualClock):
    definition = process(
        task("a", **undo("cancel a")), {"id": "wait", "type": "timer", "delay": "1h", "depends_on": ["a"]}
    )
    async with engine_on(store(), clock, Agents()) as engine:
        execution = await engine.start(definition)
        await engine.run_until_settled(execution.id, wait_for_timers=False)

    idle = Agents()
    async with ExecutionEngine(store(), idle, clock=clock, recover=False, serve_inbox=False) as engine:
        cancelled = await engine.cancel(execution.id)
        await clock.sleep(10)
    assert (cancelled.status, idle.calls) == (ExecutionStatus.COMPENSATING, [])

    agents = Agents()
    async with engine_on(store(), clock, agents) as engine:
        execution = await engine.run_until_settled(execution.id)
    assert (agents.undone, execution.status) == (["cancel a"], ExecutionStatus.CANCELLED)


async def test_a_cancel_by_way_of_the_inbox_makes_it_ours(store: Store, clock: VirtualClock):
    definition = process(
        task("a", **undo("cancel a")), {"id": "wait", "type": "timer", "delay": "1h", "depends_on": ["a"]}
    )
    async with engine_on(store(), clock, Agents()) as engine:
        execution = await engine.start(definition)
        await engine.run_until_settled(execution.id, wait_for_timers=False)

    agents = Agents()
    async with ExecutionEngine(here := store(), agents, clock=clock, recover=False) as engine:
        await here.submit(CancelExecution(execution_id=execution.id))
        await clock.sleep(inbox.POLL_SECONDS * 3)
        execution = await engine.run_until_settled(execution.id)
    assert (agents.undone, execution.status) == (["cancel a"], ExecutionStatus.CANCELLED)


async def test_the_example_cancels_what_it_booked(store: Store, clock: VirtualClock):
    text = (ROOT / "examples" / "booking.yaml").read_text(encoding="utf-8")
    definition, _ = load_definition(text)
    assert definition is not None
    agents = ScriptedAgents(lambda request: {"reference": f"{request.agent}-1"})
    async with engine_on(store(), clock, agents) as engine:
        execution = await engine.start(definition, {"traveller": "ann", "city": "Oslo"})
        await engine.run_until_settled(execution.id, wait_for_timers=False)
        await engine.decide_approval(execution.id, "approve", approve=False, by="bob", comment="no")
        execution = await engine.run_until_settled(execution.id)

    assert [call.message for call in agents.calls if call.context.undo] == [
        {"cancel": "hotel-1"},
        {"cancel": "airline-1"},
    ]
    assert (execution.status, execution.error.code) == (ExecutionStatus.FAILED, "APPROVAL_REJECTED")
