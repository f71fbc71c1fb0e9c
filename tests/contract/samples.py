"""Executions, events and transitions made by hand, for tests of stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import get_args

from process_engine.core.config import ExecutionConfig
from process_engine.core.events import (
    AnyEvent,
    AttemptStarted,
    Event,
    ExecutionCreated,
    ProcessCancelled,
    ProcessCompleted,
    ProcessFailed,
    ProcessPaused,
    ProcessReopened,
    ProcessResumed,
    ProcessStarted,
    ProcessStopping,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepQueued,
    StepRetrying,
    StepSkipped,
    StepsReopened,
    StepStarted,
    StepWaiting,
    Waiting,
)
from process_engine.core.failures import Failure
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
from process_engine.core.values import BlobRef, Value
from process_engine.core.work import WorkId, WorkItem, WorkKind
from process_engine.ids import DefinitionHash, ExecutionId, StepId

NOON = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)
NO_PROGRESS = Progress({}, (), 0, 0)


def created(id: str, *, process: str = "content", input: object = None) -> ExecutionCreated:
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
    )


def execution(
    id: str,
    *,
    sequence: int = 1,
    status: ExecutionStatus = ExecutionStatus.RUNNING,
    process: str = "content",
    steps: Mapping[str, StepState] | None = None,
    input: object = None,
) -> Execution:
    head = Head(
        status,
        sequence,
        NOON,
        started_at=None if status is ExecutionStatus.PENDING else NOON,
        completed_at=NOON + timedelta(hours=1) if status.is_final else None,
    )
    own = {StepId(step): state for step, state in (steps or {}).items()}
    return Execution(created(id, process=process, input=input), head, own, NO_PROGRESS)


def started(id: str, sequence: int, *, step: str = "a", request: object = None) -> StepStarted:
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


def transition(
    state: Execution,
    events: Sequence[Event] | None = None,
    *,
    work: Sequence[WorkItem] = (),
    done: Sequence[str] = (),
    blobs: Mapping[str, bytes] | None = None,
) -> Transition:
    """The transition to `state` that changes all its steps; its event is the head's unless given."""
    told = (started(state.id, state.head.sequence),) if events is None else tuple(events)
    return Transition(
        execution=state,
        events=told,
        work=tuple(work),
        done=tuple(WorkId(state.id, key) for key in done),
        changed=tuple(state.steps),
        blobs=blobs or {},
    )


def begun(
    id: str, *, process: str = "content", status: ExecutionStatus = ExecutionStatus.RUNNING
) -> Transition:
    """A new execution with its first event and nothing else."""
    return transition(execution(id, process=process, status=status), [created(id, process=process)])


def attempt(id: str, key: str, *, number: int = 1) -> WorkItem:
    return WorkItem(ExecutionId(id), key, WorkKind.ATTEMPT, 1, number)


def timer(id: str, key: str, *, seconds: float, kind: WorkKind = WorkKind.TIMER) -> WorkItem:
    return WorkItem(ExecutionId(id), key, kind, 1, 1, NOON + timedelta(seconds=seconds))


def full_execution(id: str) -> Execution:
    """An execution in which every field of every record differs from its default."""
    failure = Failure("TIMEOUT", "it took too long", "slow")
    step = StepState(
        status=StepStatus.WAITING,
        visit=3,
        attempt=2,
        interruptions=1,
        started_at=NOON,
        completed_at=NOON + timedelta(microseconds=1),
        request=Value({"message": "grüße, 世界 \u0000", "n": 2**70}),
        output=Value(ref=BlobRef("a" * 64, 70_000)),
        has_output=True,
        error=failure,
        reason="condition_false",
        handled_by=StepId("mend"),
        routes=("x", "y"),
        waiting_for=Waiting.RETRY,
        due=NOON + timedelta(days=30),
        queued=4,
        cost=Decimal("0.000000000000000001"),
        tokens=7,
    )
    head = Head(
        ExecutionStatus.PAUSED,
        len(every_event(id)),
        NOON,
        started_at=NOON,
        completed_at=NOON,
        pause_reason="operator",
        stopping=Stopping(failure, NOON),
        failure=failure,
        outputs=Value([1.5, None, {"deep": [True]}]),
        deadline=NOON,
        cost=Decimal("12345678901234567890.123"),
        tokens=9,
    )
    steps = {
        StepId("slow"): step,
        StepId("9-lives"): StepState(),
        StepId("done"): StepState(StepStatus.COMPLETED),
    }
    return Execution(created(id, input={"topic": "tides"}), head, steps, NO_PROGRESS)


def every_event(id: str) -> tuple[AnyEvent, ...]:
    """One event of every type, each with every field set, in sequence."""
    failure = Failure("AGENT_ERROR", "no", "a")
    usage = Usage(Decimal("0.1"), 10, 20)
    base = {
        "execution_id": ExecutionId(id),
        "timestamp": NOON,
        "process_name": "content",
        "correlation_id": "root",
    }
    step = base | {"step_id": StepId("a"), "visit": 2, "attempt": 3}
    kinds: tuple[tuple[type[Event], dict[str, object]], ...] = (
        (ProcessStarted, base | {"deadline": NOON}),
        (ProcessPaused, base | {"reason": "operator", "by": "ann"}),
        (ProcessResumed, base | {"by": "ann"}),
        (
            ProcessReopened,
            base | {"steps": ("a", "b"), "again": ("b",), "input": Value({"n": 2}), "by": "ann"},
        ),
        (ProcessStopping, base | {"failure": failure, "due": NOON}),
        (ProcessCompleted, base | {"outputs": Value({"a": [1]})}),
        (ProcessFailed, base | {"failure": failure}),
        (ProcessCancelled, base | {"reason": "enough", "by": "ann"}),
        (StepQueued, step),
        (StepStarted, step | {"step_type": "timer", "request": Value({"delay": 3})}),
        (AttemptStarted, step),
        (StepRetrying, step | {"failure": failure, "delay_seconds": 0.25, "due": NOON, "usage": usage}),
        (StepWaiting, step | {"waiting_for": Waiting.TIMER, "due": NOON}),
        (StepCompleted, step | {"output": Value("é"), "routes": ("x",), "usage": usage}),
        (StepFailed, step | {"failure": failure, "handled_by": StepId("b"), "usage": usage}),
        (StepSkipped, step | {"reason": "error", "failure": failure, "usage": usage}),
        (StepCancelled, step | {"reason": "cancelled"}),
        (
            StepsReopened,
            base | {"target": StepId("a"), "by": StepId("g"), "steps": (StepId("a"), StepId("g"))},
        ),
    )
    later = (kind(sequence=n, **fields) for n, (kind, fields) in enumerate(kinds, start=2))
    return (created(id), *later)  # type: ignore[return-value]


def event_types() -> set[type[Event]]:
    """Every event type there is, as the store decodes them."""
    return set(get_args(AnyEvent))
