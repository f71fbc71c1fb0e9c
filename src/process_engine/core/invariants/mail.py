"""What must hold of events that executions take: each once, in time, and by a step that waits for it."""

from __future__ import annotations

from process_engine.core import events as e
from process_engine.core.inline import EventStep
from process_engine.core.invariants.audit import Audit


def events_are_taken_once(audit: Audit) -> None:
    """I8, for published events: a wait ends by an event that came in time, or by its timeout, never by both;
    an execution takes no event twice."""
    waiting: dict[str, e.StepWaiting] = {}
    received: dict[str, e.EventReceived] = {}
    taken: set[int] = set()
    for event in audit.events:
        match event:
            case e.StepWaiting(step_id=step_id) if event.waiting_for is e.Waiting.EVENT:
                waiting[step_id] = event
            case e.EventReceived(step_id=step_id):
                _check_received(audit, waiting.get(step_id), event)
                audit.demand("I8", step_id not in received, f"{step_id} took two events in one wait")
                audit.demand("I8", event.position not in taken, f"{step_id} took {event.event_id} again")
                taken.add(event.position)
                received[step_id] = event
            case (
                e.StepCompleted(step_id=step_id)
                | e.StepFailed(step_id=step_id)
                | e.StepSkipped(step_id=step_id)
                | e.StepCancelled(step_id=step_id)
            ):
                wait, got = waiting.pop(step_id, None), received.pop(step_id, None)
                if wait is not None:
                    _check_end(audit, wait, got, event)
            case _:
                pass
    audit.demand("I8", not received, f"{set(received)} took an event and did not complete")
    known = audit.stored.head.received
    forgotten = [position for position in taken if not known.knows(position)]
    audit.demand("I8", not forgotten, f"it took {forgotten} and does not know of it")


def _check_received(audit: Audit, wait: e.StepWaiting | None, event: e.EventReceived) -> None:
    audit.demand("I8", wait is not None, f"{event.step_id} took {event.event_id} and did not wait")
    assert wait is not None
    audit.demand(
        "I8", event.event == wait.event, f"{event.step_id} waits for {wait.event} and took {event.event}"
    )
    late = wait.due is not None and event.published_at >= wait.due
    audit.demand("I8", not late, f"{event.step_id} took {event.event_id}, published after {wait.due}")


def _check_end(audit: Audit, wait: e.StepWaiting, got: e.EventReceived | None, end: e.StepEvent) -> None:
    inline = audit.plan.steps[end.step_id].inline
    assert isinstance(inline, EventStep)
    if got is not None:
        audit.demand("I8", isinstance(end, e.StepCompleted), f"{end.step_id}: {end.type} after an event")
    elif not isinstance(end, e.StepCancelled):
        over = wait.due is not None and end.timestamp >= wait.due
        audit.demand("I8", over, f"{end.step_id} ended without an event, before its timeout")
        goes_on = not isinstance(end, e.StepCompleted) or inline.timeout_action == "continue"
        audit.demand("I8", goes_on, f"{end.step_id} completed without an event")
