"""When there is no use in waiting for an execution any longer."""

from __future__ import annotations

from datetime import datetime

from process_engine.core.blockers import waits_outside
from process_engine.core.events import Waiting
from process_engine.core.state import Execution, ExecutionStatus, StepState, StepStatus


def has_settled(execution: Execution, now: datetime) -> bool:
    """It has ended, is held or paused, or waits for people or events and nothing else is under way or due."""
    status = execution.status
    if status.is_final or status is ExecutionStatus.PENDING:
        return True
    if status is ExecutionStatus.PAUSED:
        return not execution.progress.running
    return waits_outside(execution) and not any(
        _goes_on_by_itself(step, now) for step in execution.steps.values()
    )


def has_nothing_due(execution: Execution, now: datetime) -> bool:
    """It has settled, or all that is left waits for a moment to come."""
    if has_settled(execution, now):
        return True
    if execution.progress.running or execution.progress.queue:
        return False
    return not any(_is_due(step, now) for step in execution.steps.values())


def _goes_on_by_itself(step: StepState, now: datetime) -> bool:
    """Whether something happens to the step from inside: a timer, a slot, a deadline that has come."""
    for_ever = step.waiting_for is Waiting.EVENT and step.due is None
    return (step.status in (StepStatus.WAITING, StepStatus.READY) and not for_ever) or _is_due(step, now)


def _is_due(step: StepState, now: datetime) -> bool:
    waits = step.status in (StepStatus.WAITING, StepStatus.WAITING_APPROVAL)
    return waits and step.due is not None and step.due <= now
