"""When there is no use in waiting for an execution any longer."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from process_engine.core.events import Waiting
from process_engine.core.state import Execution, ExecutionStatus, StepState, StepStatus, waits_for_child
from process_engine.ids import ExecutionId

NOBODY: Collection[ExecutionId] = ()


def awaited(execution: Execution) -> list[ExecutionId]:
    """The children that the execution waits for."""
    return [
        state.child.id
        for state in execution.steps.values()
        if state.child is not None and waits_for_child(state, state.child.id)
    ]


def has_settled(execution: Execution, now: datetime, quiet: Collection[ExecutionId] = NOBODY) -> bool:
    """It has ended, is held or paused, or waits for people or events and nothing else is under way or due.

    `quiet` are the children that have settled without having ended: to wait for one is to wait for people.
    """
    status = execution.status
    if status.is_final or status is ExecutionStatus.PENDING:
        return True
    if execution.progress.running:
        return False
    if status is ExecutionStatus.PAUSED:
        return all(child in quiet for child in awaited(execution))
    steps = execution.steps.values()
    return any(_waits_for_others(step, quiet) for step in steps) and not any(
        _goes_on_by_itself(step, now, quiet) for step in steps
    )


def has_nothing_due(execution: Execution, now: datetime, quiet: Collection[ExecutionId] = NOBODY) -> bool:
    """It has settled, or all that is left waits for a moment to come."""
    if has_settled(execution, now, quiet):
        return True
    if execution.progress.running or execution.progress.queue or _is_undoing(execution, now):
        return False
    if any(_is_due(step, now) for step in execution.steps.values()):
        return False
    return all(child in quiet for child in awaited(execution))


def _is_undoing(execution: Execution, now: datetime) -> bool:
    """Whether an attempt to undo runs, or is to begin now."""
    stopping = execution.head.stopping
    undoing = stopping.undoing if stopping is not None else None
    return undoing is not None and (undoing.due is None or undoing.due <= now)


def _waits_for_others(step: StepState, quiet: Collection[ExecutionId]) -> bool:
    """Whether people, an event without a deadline, or a child that has settled keep the step waiting."""
    if step.status is StepStatus.WAITING_APPROVAL:
        return True
    if step.waiting_for is Waiting.EVENT:
        return step.due is None
    return step.child is not None and step.child.id in quiet and waits_for_child(step, step.child.id)


def _goes_on_by_itself(step: StepState, now: datetime, quiet: Collection[ExecutionId]) -> bool:
    """Whether something happens to the step without people: a timer, a slot, a deadline that has come."""
    if _waits_for_others(step, quiet):
        return _is_due(step, now)
    # A step that runs although nothing does has items that wait to be tried again.
    return step.status in (StepStatus.WAITING, StepStatus.READY, StepStatus.RUNNING)


def _is_due(step: StepState, now: datetime) -> bool:
    if step.items is not None and step.status is StepStatus.RUNNING:
        return any(item.due is not None and item.due <= now for item in step.items.open)
    waits = step.status in (StepStatus.WAITING, StepStatus.WAITING_APPROVAL)
    return waits and step.due is not None and step.due <= now
