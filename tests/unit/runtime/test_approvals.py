"""People who decide, asked by a whole engine: over restarts, beside time, and at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from process_engine.app import ExecutionEngine
from process_engine.core import events as e
from process_engine.core.approvals import Ruling
from process_engine.core.commands import DecideApproval
from process_engine.core.state import ExecutionStatus, StepStatus
from process_engine.errors import CommandRejected
from process_engine.ids import ExecutionId, StepId
from process_engine.repositories.memory import MemoryRepository
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime import inbox
from process_engine.runtime.engine import Engine
from process_engine.runtime.ports import ExecutionRepository
from process_engine.testing.clock import VirtualClock
from tests.unit.runtime.fakes import ScriptedAgents, process, task

DAY = timedelta(days=1)
RACES = 1_000
MICROSECOND = timedelta(microseconds=1)

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


def ask(step_id: str = "ask", *depends_on: str, **fields: object) -> dict[str, object]:
    """A step that asks people."""
    return {"id": step_id, "type": "human_approval", "depends_on": list(depends_on), **fields}


def engine_on(store: ExecutionRepository, clock: VirtualClock) -> Engine:
    return ExecutionEngine(store, ScriptedAgents(), clock=clock)


async def told(store: ExecutionRepository, id: ExecutionId) -> list[str]:
    """The events about approvals, and how steps ended, in order."""
    ends = (e.StepCompleted, e.StepFailed, e.StepSkipped, e.StepCancelled)
    return [
        event.type
        for event in await store.events(id)
        if event.type.startswith("Approval") or isinstance(event, ends)
    ]


# ---------------------------------------------------------------- over restarts


async def test_what_was_asked_before_a_restart_is_decided_after_it(store: Store, clock: VirtualClock):
    definition = process(task("write"), ask("ask", "write", title="Publish?"), task("publish", "ask"))
    async with engine_on(store(), clock) as engine:
        execution = await engine.start(definition)
        execution = await engine.run_until_settled(execution.id)
        (before,) = await engine.approvals()
    assert (execution.status, execution.pause_reason) == (ExecutionStatus.PAUSED, "approval")

    async with engine_on(store(), clock) as engine:
        assert await engine.approvals() == [before]
        sha256 = before.request.sha256
        await engine.decide_approval(execution.id, "ask", approve=True, by="ann", sha256=sha256)
        execution = await engine.run_until_settled(execution.id)
        assert await engine.approvals() == []
    assert execution.status is ExecutionStatus.COMPLETED
    assert execution.step_executions["publish"].output == "publish"
    assert execution.step_executions["ask"].output["decided_by"] == "ann"


async def test_half_of_a_quorum_is_kept_over_a_restart(store: Store, clock: VirtualClock):
    async with engine_on(store(), clock) as engine:
        execution = await engine.start(process(ask(required_approvals=2)))
        await engine.decide_approval(execution.id, "ask", approve=True, by="ann")

    async with engine_on(store(), clock) as engine:
        with pytest.raises(CommandRejected, match="ann has decided about ask already"):
            await engine.decide_approval(execution.id, "ask", approve=True, by="ann")
        execution = await engine.decide_approval(execution.id, "ask", approve=True, by="bob")
    assert execution.status is ExecutionStatus.COMPLETED


async def test_a_deadline_holds_over_a_restart(store: Store, clock: VirtualClock):
    async with engine_on(store(), clock) as engine:
        execution = await engine.start(process(ask(timeout="2h")))
        await clock.sleep(3_600)
    async with engine_on(here := store(), clock) as engine:
        await clock.sleep(3_599)
        before = await engine.get(execution.id)
        await clock.sleep(2)
        after = await engine.get(execution.id)
        story = await told(here, execution.id)
    assert before.step_executions["ask"].status is StepStatus.WAITING_APPROVAL
    assert after.error is not None
    assert after.error.code == "APPROVAL_TIMEOUT"
    assert story == ["ApprovalRequested", "ApprovalExpired", "StepFailed"]


async def test_a_deadline_that_passed_while_nothing_ran_counts_at_once(store: Store, clock: VirtualClock):
    async with engine_on(store(), clock) as engine:
        execution = await engine.start(process(ask(timeout_action="approve"), task("go", "ask")))
    await clock.sleep(10 * DAY.total_seconds())
    async with engine_on(store(), clock) as engine:
        await clock.sleep(1)
        execution = await engine.run_until_settled(execution.id)
    assert execution.status is ExecutionStatus.COMPLETED
    assert execution.step_executions["ask"].output["decided_by"] is None


async def test_reminders_and_an_escalation_come_in_their_time(store: Store, clock: VirtualClock):
    escalation = {"escalate_to": "group:board", "after": "3h"}
    definition = process(ask(assignees="ann", reminders=["1h", "4h"], timeout_action=escalation))
    async with engine_on(store(), clock) as engine:
        execution = await engine.start(definition)
        await clock.sleep(2 * 3_600)
    async with engine_on(here := store(), clock) as engine:
        with pytest.raises(CommandRejected, match="it is for ann"):
            await engine.decide_approval(execution.id, "ask", approve=True, by="bob", groups=["board"])
        await clock.sleep(3 * 3_600)
        await engine.decide_approval(execution.id, "ask", approve=True, by="bob", groups=["board"])
        story = await told(here, execution.id)
    assert story == [
        "ApprovalRequested",
        "ApprovalReminded",
        "ApprovalEscalated",
        "ApprovalReminded",
        "ApprovalDecided",
        "StepCompleted",
    ]


# ---------------------------------------------------------------- several at once


async def test_a_decision_comes_through_the_inbox_of_another_process(store: Store, clock: VirtualClock):
    async with engine_on(store(), clock) as engine:
        execution = await engine.start(process(ask(assignees="ann"), task("go", "ask")))
        other = store()
        await other.open(clock=clock, writer=False)
        (asked,) = await other.approvals(limit=10)

        def decision(by: str) -> DecideApproval:
            return DecideApproval(
                execution_id=execution.id,
                step_id=StepId("ask"),
                by=by,
                ruling=Ruling.APPROVED,
                sha256=asked.request.sha256,
            )

        wrong = await inbox.ask(other, decision("eve"), clock=clock, timeout_seconds=5)
        right = await inbox.ask(other, decision("ann"), clock=clock, timeout_seconds=5)
        execution = await engine.run_until_settled(execution.id)
        await other.close()
    assert wrong is not None
    assert wrong.error_code == "COMMAND_REJECTED"
    assert right is not None
    assert right.error_code is None
    assert execution.status is ExecutionStatus.COMPLETED


@pytest.mark.parametrize("approve", [(True, False), (False, True), (True, True)])
async def test_of_two_decisions_at_once_exactly_one_counts(
    store: Store, clock: VirtualClock, approve: Sequence[bool]
):
    async with engine_on(here := store(), clock) as engine:
        execution = await engine.start(process(ask(on_reject="continue")))
        answers = await asyncio.gather(
            *(
                engine.decide_approval(execution.id, "ask", approve=word, by=by, comment="because")
                for word, by in zip(approve, ("ann", "bob"), strict=True)
            ),
            return_exceptions=True,
        )
        execution = await engine.get(execution.id)
        story = await told(here, execution.id)
    assert [isinstance(answer, CommandRejected) for answer in answers].count(True) == 1
    assert story == ["ApprovalRequested", "ApprovalDecided", "StepCompleted"]
    counted = next(by for by, answer in zip(("ann", "bob"), answers, strict=True) if answer_is_good(answer))
    assert execution.step_executions["ask"].output["decided_by"] == counted


def answer_is_good(answer: object) -> bool:
    return not isinstance(answer, BaseException)


async def test_the_same_person_in_two_windows_is_one_of_a_quorum(store: Store, clock: VirtualClock):
    async with engine_on(store(), clock) as engine:
        execution = await engine.start(process(ask(required_approvals=2)))
        answers = await asyncio.gather(
            *(engine.decide_approval(execution.id, "ask", approve=True, by="ann") for _ in range(5)),
            return_exceptions=True,
        )
        (asked,) = await engine.approvals()
    assert [answer_is_good(answer) for answer in answers].count(True) == 1
    assert [decision.by for decision in asked.request.decisions] == ["ann"]


async def test_of_a_decision_and_a_deadline_exactly_one_wins_whatever_the_order():
    """Decisions around the last moment, each before or after so many turns of the event loop."""
    clock, random = VirtualClock(), Random(5)
    won = {"decision": 0, "deadline": 0}
    definition = process(ask(timeout="1h", on_reject="continue"))
    async with engine_on(here := MemoryRepository(), clock) as engine:
        for _ in range(RACES):
            execution = await engine.start(definition)
            deadline = clock.now() + timedelta(hours=1)
            shift = random.choice((-MICROSECOND, 0 * MICROSECOND, MICROSECOND))
            late = await _race(engine, clock, execution.id, deadline + shift, random.randrange(12))
            story = await told(here, execution.id)
            if late:
                assert story == ["ApprovalRequested", "ApprovalExpired", "StepFailed"]
            else:
                assert story == ["ApprovalRequested", "ApprovalDecided", "StepCompleted"]
                assert shift < 0 * MICROSECOND
            won["deadline" if late else "decision"] += 1
    assert min(won.values()) > RACES / 5


async def _race(engine: Engine, clock: VirtualClock, id: ExecutionId, moment: datetime, turns: int) -> bool:
    """Decide at a moment, after some turns; whether that was refused. In the end the deadline is over."""

    async def decide() -> bool:
        await clock.sleep_until(moment)
        for _ in range(turns):
            await asyncio.sleep(0)
        try:
            await engine.decide_approval(id, "ask", approve=True, by="ann")
        except CommandRejected:
            return True
        return False

    decision = asyncio.ensure_future(decide())
    await clock.sleep(3_601)
    return await decision


# ---------------------------------------------------------------- operators


async def test_a_cancel_withdraws_what_is_asked(store: Store, clock: VirtualClock):
    async with engine_on(here := store(), clock) as engine:
        execution = await engine.start(process(ask("a"), ask("b"), task("go", "a")))
        assert [asked.step_id for asked in await engine.approvals()] == ["a", "b"]
        await engine.cancel(execution.id)
        assert await engine.approvals() == []
        with pytest.raises(CommandRejected, match="a waits for no decision: it is cancelled"):
            await engine.decide_approval(execution.id, "a", approve=True, by="ann")
        await clock.sleep(2 * DAY.total_seconds())
        story = await told(here, execution.id)
    assert story == ["ApprovalRequested", "ApprovalRequested", "StepCancelled", "StepCancelled"]


async def test_a_decision_during_a_pause_is_kept_and_nothing_starts_before_the_resume(
    store: Store, clock: VirtualClock
):
    async with engine_on(store(), clock) as engine:
        execution = await engine.start(process(ask(), task("go", "ask")))
        await engine.pause(execution.id)
        (asked,) = await engine.approvals()
        execution = await engine.decide_approval(execution.id, "ask", approve=True, by="ann")
        assert asked.step_id == "ask"
        assert execution.status is ExecutionStatus.PAUSED
        assert execution.step_executions["go"].status is not StepStatus.RUNNING
    async with engine_on(store(), clock) as engine:
        await clock.sleep(60)
        execution = await engine.get(execution.id)
        assert execution.step_executions["go"].output is None
        await engine.resume(execution.id)
        execution = await engine.run_until_settled(execution.id)
    assert execution.status is ExecutionStatus.COMPLETED


async def test_a_decision_that_was_handed_on_belongs_to_somebody_else(store: Store, clock: VirtualClock):
    async with engine_on(store(), clock) as engine:
        execution = await engine.start(process(ask(assignees="ann")))
        await engine.delegate_approval(execution.id, "ask", by="ann", to="bob", comment="on leave")
    async with engine_on(store(), clock) as engine:
        with pytest.raises(CommandRejected, match="it is for bob"):
            await engine.decide_approval(execution.id, "ask", approve=True, by="ann")
        execution = await engine.decide_approval(execution.id, "ask", approve=True, by="bob")
    assert execution.status is ExecutionStatus.COMPLETED


async def test_a_form_is_filled_in_and_read_by_what_follows(store: Store, clock: VirtualClock):
    form = {"type": "object", "properties": {"budget": {"type": "integer"}}, "required": ["budget"]}
    value = {"twice": "{{ steps.ask.output.form.budget * 2 }}"}
    shape = {"id": "shape", "type": "transform", "value": value, "depends_on": ["ask"]}
    async with engine_on(store(), clock) as engine:
        execution = await engine.start(process(ask(form=form), shape))
        with pytest.raises(CommandRejected, match="form"):
            await engine.decide_approval(execution.id, "ask", approve=True, by="ann", form={"budget": "5"})
        execution = await engine.decide_approval(
            execution.id, "ask", approve=True, by="ann", form={"budget": 21}
        )
    assert execution.step_executions["shape"].output == {"twice": 42}


# ---------------------------------------------------------------- many, and long


async def test_a_hundred_approvals_are_open_at_once_and_all_are_listed(store: Store, clock: VirtualClock):
    definition = process(*(ask(f"a{n}") for n in range(5)))
    async with engine_on(store(), clock) as engine:
        ids = [(await engine.start(definition)).id for _ in range(20)]
        every = await engine.approvals()
        some = await engine.approvals(limit=7)
        for asked in reversed(every):
            await engine.decide_approval(asked.execution_id, asked.step_id, approve=True, by="ann")
        statuses = {(await engine.get(id)).status for id in ids}
        left = await engine.approvals()
    assert [(asked.execution_id, asked.step_id) for asked in every] == [
        (id, f"a{n}") for id in ids for n in range(5)
    ]
    assert list(some) == list(every[:7])
    assert statuses == {ExecutionStatus.COMPLETED}
    assert left == []


async def test_thirty_days_and_three_approvals_take_no_time(store: Store, clock: VirtualClock):
    definition = process(
        ask("plan"),
        {"id": "month", "type": "timer", "delay": "30d", "depends_on": ["plan"]},
        ask("review", "month"),
        ask("release", "review"),
        task("publish", "release"),
    )
    began, start = time.perf_counter(), clock.now()
    async with engine_on(store(), clock) as engine:
        execution = await engine.start(definition)
        for step in ("plan", "review", "release"):
            await engine.run_until_settled(execution.id)
            await engine.decide_approval(execution.id, step, approve=True, by="ann")
        execution = await engine.run_until_settled(execution.id)
    assert execution.status is ExecutionStatus.COMPLETED
    assert clock.now() - start == timedelta(days=30)
    assert time.perf_counter() - began < 1
