"""What must hold of events that executions take: each doctored history is objected to."""

from dataclasses import replace as changed
from datetime import timedelta

import pytest
from msgspec.structs import replace

from process_engine.core import events as e
from process_engine.core.invariants import ALL, Audit, BrokenInvariant, check
from process_engine.core.mailbox import NOTHING_RECEIVED
from process_engine.core.state import Snapshot
from process_engine.testing.drawing import event
from process_engine.testing.executions import execution_of, published


def audit_of(run) -> Audit:
    stored = Snapshot(run.execution.created, run.execution.head, dict(run.execution.steps))
    return Audit(run.plan, stored, list(run.history), list(run.work))


@pytest.fixture
def audit() -> Audit:
    run = execution_of("w -> v", w=event("go", timeout="1h"), v=event("go")).started()
    return audit_of(run.offered("w", published(1)).offered("v", published(2)))


def broken(audit: Audit, words: str) -> None:
    with pytest.raises(BrokenInvariant, match=words) as found:
        ALL["I8b"](audit)
    assert found.value.number == "I8"


def doctored(audit: Audit, kind: type[e.Event], step_id: str, **fields: object) -> Audit:
    """The history with other fields in one event, or without it."""
    events: list[e.Event] = []
    for one in audit.events:
        hit = isinstance(one, kind) and one.step_id == step_id
        if hit and fields:
            events.append(replace(one, **fields))
        elif not hit:
            events.append(one)
    return changed(audit, events=events)


def test_a_true_history_breaks_nothing(audit: Audit):
    check(audit)


def test_an_event_that_is_taken_twice(audit: Audit):
    broken(doctored(audit, e.EventReceived, "v", position=1), "took p2 again")


def test_an_event_of_another_name(audit: Audit):
    broken(doctored(audit, e.EventReceived, "v", event="stop"), "waits for go and took stop")


def test_an_event_that_was_published_after_the_deadline(audit: Audit):
    late = next(one.due for one in audit.events if isinstance(one, e.StepWaiting))
    broken(doctored(audit, e.EventReceived, "w", published_at=late), "published after")


def test_an_event_that_nobody_waited_for(audit: Audit):
    broken(doctored(audit, e.StepWaiting, "w"), "did not wait")


def test_a_wait_that_ends_without_an_event(audit: Audit):
    broken(doctored(audit, e.EventReceived, "w"), "before its timeout")
    broken(doctored(audit, e.EventReceived, "v"), "before its timeout")


def test_a_wait_that_completes_by_its_timeout_although_that_fails_it():
    run = execution_of("w", w=event("go", timeout="1s", timeout_action="continue")).started().retried("w")
    check(audit_of(run))
    strict = execution_of("w", w=event("go", timeout="1s"))
    broken(changed(audit_of(run), plan=strict.plan), "completed without an event")


def test_an_event_after_which_the_step_waits_on(audit: Audit):
    broken(doctored(audit, e.StepCompleted, "v"), "did not complete")


def test_an_event_that_the_state_has_forgotten(audit: Audit):
    head = replace(audit.stored.head, received=NOTHING_RECEIVED)
    broken(changed(audit, stored=replace(audit.stored, head=head)), "does not know of it")


def test_two_events_in_one_wait(audit: Audit):
    first = next(one for one in audit.events if isinstance(one, e.EventReceived))
    at = list(audit.events).index(first)
    twice = [*audit.events[: at + 1], replace(first, position=9), *audit.events[at + 1 :]]
    broken(changed(audit, events=twice), "two events in one wait")


def test_a_wait_that_times_out_early():
    run = execution_of("w", w=event("go", timeout="10s")).started().retried("w")
    early = [
        replace(one, timestamp=one.timestamp - timedelta(seconds=1)) if isinstance(one, e.StepFailed) else one
        for one in run.history
    ]
    broken(changed(audit_of(run), events=early), "before its timeout")
