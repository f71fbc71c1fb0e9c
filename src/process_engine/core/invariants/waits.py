"""What must hold of waiting: it has a name, ends once, and slots hold."""

from __future__ import annotations

from process_engine.core import events as e
from process_engine.core.blockers import blockers
from process_engine.core.invariants.audit import Audit
from process_engine.core.state import (
    ExecutionStatus,
    StepStatus,
)


def something_is_waited_for(audit: Audit) -> None:
    """I7: an execution that is not finished has a named blocker."""
    execution = audit.execution
    if execution.status.is_final:
        open_steps = [s for s in audit.plan.order if not execution.step(s).status.is_settled]
        audit.demand("I7", not open_steps, f"it is {execution.status} and {open_steps} are not settled")
    else:
        audit.demand("I7", bool(blockers(execution)), f"it is {execution.status} and waits for nothing")
    if execution.status is ExecutionStatus.RUNNING and execution.progress.queue:
        audit.demand("I7", execution.progress.running > 0, "steps stand in line, and every slot is free")


def timers_end_once(audit: Audit) -> None:
    """I8: a wait ends in one way: by its time, and never early, or from outside."""
    waiting: dict[str, e.StepWaiting] = {}
    for event in audit.events:
        if isinstance(event, e.StepWaiting) and event.waiting_for is e.Waiting.TIMER:
            waiting[event.step_id] = event
        elif isinstance(event, (e.StepCompleted, e.StepCancelled, e.StepFailed, e.StepSkipped)):
            wait = waiting.pop(event.step_id, None)
            if wait is not None and wait.due is not None and isinstance(event, e.StepCompleted):
                audit.demand(
                    "I8",
                    event.timestamp >= wait.due,
                    f"{event.step_id} ended {event.timestamp}, due {wait.due}",
                )
    due = {event.step_id: event.due for event in audit.events if isinstance(event, e.StepRetrying)}
    for event in audit.events:
        if isinstance(event, e.AttemptStarted) and event.step_id in due:
            retry = _retry_before(audit, event)
            audit.demand("I8", retry is not None, f"{event.step_id} tried again without StepRetrying")
            if retry is not None:
                audit.demand(
                    "I8", event.timestamp >= retry.due, f"{event.step_id} tried again before {retry.due}"
                )


def _retry_before(audit: Audit, started: e.AttemptStarted) -> e.StepRetrying | None:
    for event in reversed(audit.events[: started.sequence - 1]):
        if isinstance(event, e.StepRetrying) and event.step_id == started.step_id:
            return event if (event.visit, event.attempt + 1) == (started.visit, started.attempt) else None
    return None


def slots_hold(audit: Audit) -> None:
    """I9: never more attempts at once than slots, and the count of running ones is right."""
    slots = audit.stored.created.config.max_concurrent_steps
    running: set[str] = set()
    for event in audit.events:
        if isinstance(event, (e.StepStarted, e.AttemptStarted)):
            if audit.plan.steps[event.step_id].inline is None:
                running.add(event.step_id)
            audit.demand("I9", not slots or len(running) <= slots, f"{running} run in {slots} slot(s)")
        elif isinstance(event, e.StepEvent) and not isinstance(event, e.StepQueued):
            running.discard(event.step_id)
    in_state = {
        step_id for step_id, state in audit.stored.steps.items() if state.status is StepStatus.RUNNING
    }
    audit.demand("I9", running == in_state, f"the log has {running} running, the state {in_state}")
