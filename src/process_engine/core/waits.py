"""What published events, and their absence, make of a step that waits for one.

The rules about one event are in `core/mailbox.py`. An execution takes each event at most once, and a wait
ends once: what comes after that changes nothing.
"""

from __future__ import annotations

from process_engine.core import commands as c
from process_engine.core import events as e
from process_engine.core import moves
from process_engine.core.draft import Draft
from process_engine.core.failures import Failure
from process_engine.core.inline import EventStep
from process_engine.core.mailbox import PublishedEvent
from process_engine.core.plan import StepPlan
from process_engine.core.results import NO_USAGE, Completed
from process_engine.core.scope import unpack
from process_engine.core.state import StepState, StepStatus
from process_engine.core.values import NULL


def deliver(draft: Draft, command: c.DeliverEvents, step: StepPlan) -> None:
    """Take the first of the events that fits, if the step still waits; what does not fit changes nothing."""
    state = draft.state.step(step.id)
    if not waits(state) or (state.visit, state.attempt) != (command.visit, command.attempt):
        return
    for published in command.events:
        if _fits(draft, step, state, published):
            _take(draft, step, published)
            moves.advance(draft)
            return


def waits(state: StepState) -> bool:
    """Whether a step in this state waits for an event."""
    return state.status is StepStatus.WAITING and state.waiting_for is e.Waiting.EVENT


def _fits(draft: Draft, step: StepPlan, state: StepState, published: PublishedEvent) -> bool:
    event = published.event
    facts = draft.state.created
    if event.name != state.event or event.execution_id not in (None, facts.execution_id):
        return False
    # What was published in time counts however late it is delivered; what was not, does not.
    late = state.due is not None and event.published_at >= state.due
    if late or draft.state.received.knows(published.position):
        return False
    assert isinstance(step.inline, EventStep)
    return step.inline.matches(draft.scope, lambda: unpack(event.payload, draft.scope.blobs))


def _take(draft: Draft, step: StepPlan, published: PublishedEvent) -> None:
    event = published.event
    draft.record_step(
        e.EventReceived,
        step.id,
        event=event.name,
        event_id=event.id,
        position=published.position,
        published_at=event.published_at,
        by=event.by,
    )
    moves.complete(draft, step, event.payload, Completed())


def expire(draft: Draft, step: StepPlan) -> None:
    """No event that fits was published before the deadline."""
    assert isinstance(step.inline, EventStep)
    name = draft.state.step(step.id).event
    failure = Failure("TIMEOUT", f"no event {name} that fits was published in time", step.id)
    match step.inline.timeout_action:
        case "continue":
            moves.complete(draft, step, NULL, Completed())
        case "skip":
            moves.skip_error(draft, step, failure, NO_USAGE)
        case _:
            moves.fail_for_good(draft, step, failure, NO_USAGE)
