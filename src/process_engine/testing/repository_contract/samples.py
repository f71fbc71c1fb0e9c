"""Executions, events and transitions made by hand, small enough to be read.

The work of a transition follows from the states before and after it, as it does in the core: a store may
keep it, or find it in the states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, get_args

from msgspec.structs import replace

from process_engine.core import events as e
from process_engine.core.approvals import Decision, Request, Ruling
from process_engine.core.children import Child, ChildOutcome, Parent, Recall
from process_engine.core.commands import CancelExecution
from process_engine.core.config import ExecutionConfig
from process_engine.core.events import Event, ExecutionCreated, StepStarted, Waiting
from process_engine.core.failures import Failure
from process_engine.core.items import Items, OpenItem
from process_engine.core.mailbox import Received
from process_engine.core.results import Usage
from process_engine.core.state import (
    Execution,
    ExecutionStatus,
    Head,
    Progress,
    StepState,
    StepStatus,
    Stopping,
)
from process_engine.core.transition import Transition
from process_engine.core.undo import Undo, Undoing, UndoStatus
from process_engine.core.values import BlobRef, Value
from process_engine.core.work import WorkItem, execution_work, work_of
from process_engine.ids import DefinitionHash, ExecutionId, StepId

NOON = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)
NO_PROGRESS = Progress({}, (), 0, 0)
RUNNING = StepState(StepStatus.RUNNING, attempt=1, started_at=NOON)
DONE = StepState(StepStatus.COMPLETED, attempt=1, output=Value("x"), has_output=True)


DECISION = Decision("bob", Ruling.REJECTED, NOON, comment="zu früh", form=Value({"budget": 2**70}))


def waiting(seconds: float, waiting_for: Waiting = Waiting.TIMER) -> StepState:
    """A step that waits until so many seconds after noon."""
    due = NOON + timedelta(seconds=seconds)
    return StepState(StepStatus.WAITING, attempt=1, started_at=NOON, waiting_for=waiting_for, due=due)


def request(id: str, *, decisions: tuple[Decision, ...] = ()) -> Request:
    """An open request of that id; every field but `decisions` differs from its default."""
    return Request(
        id,
        "b" * 64,
        Value({"title": "Größer?", "form": {"type": "object"}}),
        NOON,
        NOON + timedelta(days=1),
        assignees=("ann", "group:legal"),
        reminded=1,
        escalated=True,
        decisions=decisions,
    )


def listing(*items: OpenItem, done: int = 0) -> StepState:
    """A step that runs for four items, of which these are open and so many have succeeded."""
    running = sum(item.running for item in items)
    counts = Items(4, since=2, next=len(items) + done, done=done, running=running, open=items)
    return StepState(StepStatus.RUNNING, attempt=1, started_at=NOON, items=counts)


def asking(id: str = "r1") -> StepState:
    """A step that waits for people until a day after noon."""
    due = NOON + timedelta(days=1)
    return StepState(StepStatus.WAITING_APPROVAL, attempt=1, started_at=NOON, due=due, approval=request(id))


def undone(id: str, step: str = "s", *, seconds: float | None = None) -> Execution:
    """A failing execution whose step is being undone; with `seconds` it is tried again so long after noon."""
    due = None if seconds is None else NOON + timedelta(seconds=seconds)
    state = execution(id, sequence=2, status=ExecutionStatus.COMPENSATING, steps={step: DONE})
    undoing = Undoing(StepId(step), visit=1, attempt=2, due=due)
    head = replace(state.head, stopping=Stopping(Failure("AGENT_ERROR", "no"), NOON, undoing=undoing))
    return replace(state, head=head)


def created(id: str, *, process: str = "content", input: object = None) -> ExecutionCreated:
    """The first event of an execution."""
    return ExecutionCreated(
        execution_id=ExecutionId(id),
        sequence=1,
        timestamp=NOON,
        process_name=process,
        correlation_id=id,
        definition_hash=DefinitionHash("d" * 64),
        version="1.2",
        input=Value(input),
        config=ExecutionConfig(max_concurrent_steps=3, default_step_timeout=1.5),
        started_by="ann",
        parent=Parent(ExecutionId("above"), StepId("call"), 2, 3, depth=4, waits=False, item=5),
    )


def waiting_for(event: str, due: datetime | None = None) -> StepState:
    """A step that waits for an event."""
    return StepState(
        StepStatus.WAITING, attempt=1, started_at=NOON, waiting_for=Waiting.EVENT, due=due, event=event
    )


def execution(
    id: str,
    *,
    sequence: int = 1,
    status: ExecutionStatus = ExecutionStatus.RUNNING,
    process: str = "content",
    steps: Mapping[str, StepState] | None = None,
    input: object = None,
    deadline: datetime | None = None,
) -> Execution:
    """An execution whose last event was `sequence`."""
    head = Head(
        status,
        sequence,
        NOON,
        started_at=None if status is ExecutionStatus.PENDING else NOON,
        completed_at=NOON + timedelta(hours=1) if status.is_final else None,
        deadline=deadline,
    )
    own = {StepId(step): state for step, state in (steps or {}).items()}
    return Execution(created(id, process=process, input=input), head, own, NO_PROGRESS)


def started(id: str, sequence: int, *, step: str = "a", request: object = None) -> StepStarted:
    """An event of no consequence with this number."""
    return StepStarted(
        execution_id=ExecutionId(id),
        sequence=sequence,
        timestamp=NOON,
        process_name="content",
        correlation_id=id,
        step_id=StepId(step),
        step_type="agent_task",
        attempt=1,
        request=Value(request),
    )


def owed(execution: Execution) -> dict[str, WorkItem]:
    """The work that an execution in this state owes, by its key."""
    steps = (work_of(execution.id, step, state) for step, state in execution.steps.items())
    items = (*(item for own in steps for item in own), *execution_work(execution.id, execution.head))
    return {item.key: item for item in items}


def transition(
    state: Execution,
    events: Sequence[Event] | None = None,
    *,
    before: Execution | None = None,
    work: Sequence[WorkItem] | None = None,
    done: Sequence[WorkItem] | None = None,
    blobs: Mapping[str, bytes] | None = None,
) -> Transition:
    """The transition to `state` that changes all its steps; its event is the head's unless given.

    Work and settled work, replaced work included, are the difference of the two states unless given.
    """
    now, then = owed(state), {} if before is None else owed(before)
    new = [item for key, item in now.items() if then.get(key) != item] if work is None else work
    settled = [item for key, item in then.items() if now.get(key) != item] if done is None else done
    return Transition(
        execution=state,
        events=(started(state.id, state.head.sequence),) if events is None else tuple(events),
        work=tuple(new),
        done=tuple(settled),
        changed=tuple(state.steps),
        blobs=blobs or {},
    )


def begun(
    id: str,
    *,
    process: str = "content",
    status: ExecutionStatus = ExecutionStatus.RUNNING,
    steps: Mapping[str, StepState] | None = None,
    deadline: datetime | None = None,
    blobs: Mapping[str, bytes] | None = None,
) -> Transition:
    """A new execution with its first event."""
    state = execution(id, process=process, status=status, steps=steps, deadline=deadline)
    return transition(state, [created(id, process=process)], blobs=blobs)


def cancel(id: str) -> CancelExecution:
    """A command as another process leaves it."""
    return CancelExecution(execution_id=ExecutionId(id), reason="enough", by="ann")


def full_execution(id: str) -> Execution:
    """An execution in which every field of every record differs from its default."""
    failure = Failure("TIMEOUT", "it took too long", "slow")
    step = StepState(
        status=StepStatus.WAITING,
        visit=3,
        attempt=2,
        interruptions=1,
        forgiven=1,
        started_at=NOON,
        completed_at=NOON + timedelta(microseconds=1),
        agent="writer",
        request=Value({"message": "grüße, 世界 \u0000", "n": 2**70}),
        output=Value(ref=BlobRef("a" * 64, 70_000)),
        has_output=True,
        error=failure,
        reason="condition_false",
        handled_by=StepId("mend"),
        routes=("x", "y"),
        waiting_for=Waiting.RETRY,
        due=NOON + timedelta(days=30),
        event="paid",
        queued=4,
        approval=request("r1", decisions=(DECISION,)),
        child=Child(ExecutionId("c1"), recalled=failure),
        items=Items(
            7,
            since=3,
            next=5,
            done=1,
            failed=1,
            running=1,
            open=(OpenItem(2), OpenItem(4, 3, False, NOON, 1, 1)),
        ),
        errors=Value([{"index": 0, "code": "TIMEOUT", "message": "世界"}]),
        cost=Decimal("0.000000000000000001"),
        tokens=7,
        progress={"told": ["ann", 2**70]},
        undos=(
            Undo(2, 5, UndoStatus.FAILED, "undoer", None, failure),
            Undo(3, 7, agent="undoer", request=Value({"message": "zurück"})),
        ),
    )
    head = Head(
        ExecutionStatus.PAUSED,
        len(every_event(id)),
        NOON,
        started_at=NOON,
        completed_at=NOON,
        pause_reason="operator",
        stopping=Stopping(failure, NOON, "enough", "ann", Undoing(StepId("slow"), 3, 2, 1, NOON, failure)),
        failure=failure,
        outputs=Value([1.5, None, {"deep": [True]}]),
        deadline=NOON,
        input=Value({"topic": "the moon"}),
        recalls=(Recall(ExecutionId("c2"), StepId("slow"), 1, 2, NOON),),
        cost=Decimal("12345678901234567890.123"),
        tokens=9,
        received=Received((3, 7), 2),
    )
    steps = {
        StepId("slow"): step,
        StepId("9-lives"): StepState(),
        StepId("done"): StepState(StepStatus.COMPLETED),
    }
    return Execution(created(id, input={"topic": "tides"}), head, steps, NO_PROGRESS)


def every_event(id: str) -> tuple[Event, ...]:
    """One event of every type, each with every field set, in sequence."""
    failure = Failure("AGENT_ERROR", "no", "a")
    usage = Usage(Decimal("0.1"), 10, 20, 30)
    base: dict[str, Any] = {
        "execution_id": ExecutionId(id),
        "timestamp": NOON,
        "process_name": "content",
        "correlation_id": "root",
    }
    step: dict[str, Any] = base | {"step_id": StepId("a"), "visit": 2, "attempt": 3}
    kinds: tuple[tuple[Callable[..., Event], dict[str, Any]], ...] = (
        (e.ProcessStarted, base | {"deadline": NOON}),
        (e.ProcessPaused, base | {"reason": "operator", "by": "ann"}),
        (e.ProcessResumed, base | {"by": "ann"}),
        (
            e.ProcessReopened,
            base
            | {
                "steps": ("a", "b"),
                "again": ("b",),
                "input": Value({"n": 2}),
                "deadline": NOON,
                "by": "ann",
            },
        ),
        (e.ProcessStopping, base | {"failure": failure, "due": NOON}),
        (e.ProcessCancelling, base | {"due": NOON, "reason": "enough", "by": "ann"}),
        (e.ProcessCompleted, base | {"outputs": Value({"a": [1]})}),
        (e.ProcessFailed, base | {"failure": failure}),
        (e.ProcessCancelled, base | {"reason": "enough", "by": "ann"}),
        (e.StepQueued, step),
        (
            e.StepStarted,
            step | {"step_type": "timer", "agent": "writer", "request": Value({"delay": 3}), "items": 7},
        ),
        (e.AttemptStarted, step),
        (
            e.StepRetrying,
            step
            | {"failure": failure, "delay_seconds": 0.25, "due": NOON, "usage": usage, "progress": [1, "é"]},
        ),
        (e.StepWaiting, step | {"waiting_for": Waiting.EVENT, "due": NOON, "event": "paid"}),
        (
            e.EventReceived,
            step | {"event": "paid", "event_id": "p1", "position": 7, "published_at": NOON, "by": "ann"},
        ),
        (e.StepWaitingApproval, step | {"due": NOON}),
        (e.ApprovalRequested, step | {"request": request("r1", decisions=(DECISION,))}),
        (e.ApprovalDecided, step | {"approval_id": "r1", "decision": DECISION}),
        (
            e.ApprovalDelegated,
            step | {"approval_id": "r1", "by": "ann", "to": "cid", "instead_of": "ann", "comment": "away"},
        ),
        (e.ApprovalReminded, step | {"approval_id": "r1", "number": 2}),
        (e.ApprovalEscalated, step | {"approval_id": "r1", "to": ("group:board",)}),
        (e.ApprovalExpired, step | {"approval_id": "r1", "action": "skip"}),
        (e.ChildStarted, step | {"child_id": "c1", "process": "other", "version": "2"}),
        (e.ChildRecalled, step | {"child_id": "c1", "failure": failure}),
        (e.ChildEnded, step | {"child_id": "c1", "outcome": ChildOutcome.FAILED, "usage": usage}),
        (
            e.StepCompleted,
            step | {"output": Value("é"), "routes": ("x",), "usage": usage, "errors": Value([{"index": 1}])},
        ),
        (
            e.StepFailed,
            step
            | {
                "failure": failure,
                "handled_by": StepId("b"),
                "usage": usage,
                "output": Value([1]),
                "progress": {"a": None},
            },
        ),
        (e.StepSkipped, step | {"reason": "error", "failure": failure, "usage": usage, "output": Value(0)}),
        (e.StepCancelled, step | {"reason": "cancelled"}),
        (
            e.StepsReopened,
            base | {"target": StepId("a"), "by": StepId("g"), "steps": (StepId("a"), StepId("g"))},
        ),
        (
            e.CompensationPrepared,
            step | {"agent": "undoer", "request": Value({"message": "é"}), "failure": failure},
        ),
        (e.CompensationStarted, step | {"agent": "undoer"}),
        (e.CompensationAttemptStarted, step),
        (
            e.CompensationRetrying,
            step | {"failure": failure, "delay_seconds": 0.25, "due": NOON, "usage": usage},
        ),
        (e.CompensationCompleted, step | {"output": Value({"é": None}), "usage": usage}),
        (e.CompensationFailed, step | {"failure": failure, "usage": usage}),
        (e.ItemStarted, step | {"item": 17}),
        (
            e.ItemRetrying,
            step | {"item": 17, "failure": failure, "delay_seconds": 0.25, "due": NOON, "usage": usage},
        ),
        (e.ItemCompleted, step | {"item": 17, "output": Value("é"), "usage": usage}),
        (e.ItemFailed, step | {"item": 17, "failure": failure, "usage": usage}),
    )
    later = (kind(sequence=n, **fields) for n, (kind, fields) in enumerate(kinds, start=2))
    return (created(id), *later)


def event_types() -> set[type[Event]]:
    """Every event type there is, as a store has to read them back."""
    return set(get_args(e.AnyEvent))
