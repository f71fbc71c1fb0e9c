"""Why an execution is not finished: what it waits for, named."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from process_engine.core.events import Waiting
from process_engine.core.items import Items
from process_engine.core.state import Execution, ExecutionStatus, StepState, StepStatus
from process_engine.core.undo import Undoing
from process_engine.ids import ExecutionId, StepId


class BlockerKind(StrEnum):
    """What can stand between an execution and its end."""

    HELD = "held"
    PAUSE = "pause"
    APPROVAL = "approval"
    ATTEMPT = "attempt"
    CHILD = "child"
    UNDO = "undo"
    SLOT = "slot"
    TIMER = "timer"
    RETRY = "retry"
    EVENT = "event"


class Blocker(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One thing that must happen before the execution can go on; `due` where it has a time.

    `detail` is the reason of a pause, the agent of an attempt, who may decide, or the event waited for.
    `execution_id` is set where it is a child that waits for it.
    """

    kind: BlockerKind
    step_id: StepId | None = None
    due: datetime | None = None
    detail: str | None = None
    execution_id: ExecutionId | None = None


def waits_for_people(execution: Execution) -> bool:
    """Nothing runs, and at least one step waits for somebody to decide: it reads as paused."""
    if execution.status is not ExecutionStatus.RUNNING or execution.progress.running:
        return False
    return any(state.status is StepStatus.WAITING_APPROVAL for state in execution.steps.values())


def waits_outside(execution: Execution) -> bool:
    """Nothing runs, and at least one step waits for people or for an event."""
    if execution.status is not ExecutionStatus.RUNNING or execution.progress.running:
        return False
    return any(
        state.status is StepStatus.WAITING_APPROVAL or state.waiting_for is Waiting.EVENT
        for state in execution.steps.values()
    )


def blockers(execution: Execution) -> tuple[Blocker, ...]:
    """Everything that an unfinished execution waits for; empty for a finished one.

    In the order of importance for people: a hold or a pause first, then what runs, then what waits.
    """
    status = execution.status
    if status.is_final:
        return ()
    if status is ExecutionStatus.PENDING:
        return (Blocker(BlockerKind.HELD),)
    if execution.head.stopping is not None and execution.head.stopping.undoing is not None:
        return (_of_undo(execution, execution.head.stopping.undoing),)
    found = [blocker for step_id, state in execution.steps.items() if (blocker := _of_step(step_id, state))]
    found.sort(key=lambda blocker: list(BlockerKind).index(blocker.kind))
    if status is ExecutionStatus.PAUSED:
        found.insert(0, Blocker(BlockerKind.PAUSE, detail=execution.head.pause_reason))
    return tuple(found)


def _of_undo(execution: Execution, undoing: Undoing) -> Blocker:
    undo = execution.step(undoing.step_id).undo_of(undoing.visit)
    return Blocker(BlockerKind.UNDO, undoing.step_id, undoing.due, undo.agent if undo is not None else None)


def _of_step(step_id: StepId, state: StepState) -> Blocker | None:
    match state.status:
        case StepStatus.RUNNING if state.items is not None and not state.slots:
            return _of_items(step_id, state.items)
        case StepStatus.RUNNING:
            return Blocker(BlockerKind.ATTEMPT, step_id, detail=state.agent)
        case StepStatus.READY:
            return Blocker(BlockerKind.SLOT, step_id)
        case StepStatus.WAITING_APPROVAL if state.approval is not None:
            who = ", ".join(state.approval.assignees) or None
            return Blocker(BlockerKind.APPROVAL, step_id, state.approval.deadline, who)
        case StepStatus.WAITING if state.waiting_for is not None:
            child = state.child.id if state.waiting_for is Waiting.CHILD and state.child is not None else None
            return Blocker(BlockerKind(state.waiting_for), step_id, state.due, state.event or child)
        case _:
            return None


def _of_items(step_id: StepId, items: Items) -> Blocker:
    """What a step waits for none of whose items run: the next one to be tried again, or a slot."""
    due = min((item.due for item in items.open if item.due is not None), default=None)
    return Blocker(BlockerKind.SLOT if due is None else BlockerKind.RETRY, step_id, due)
