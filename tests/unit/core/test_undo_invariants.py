"""I12 objects to every history in which something was undone in another way than it should be."""

from __future__ import annotations

from dataclasses import replace as changed
from datetime import timedelta

import pytest
from msgspec.structs import replace

from process_engine.core import events as e
from process_engine.core.invariants import (
    Audit,
    BrokenInvariant,
    check,
    compensation_ran_in_reverse,
    costs_add_up,
)
from process_engine.core.state import Snapshot
from process_engine.core.undo import UndoStatus
from process_engine.testing.executions import Story, execution_of

UNDO = {"compensation": {"agent": "undoer", "message": "undo"}}


def failed() -> Story:
    """Two steps completed, the third has failed; nothing is undone yet but the second begun."""
    run = execution_of("a -> b -> c", a=UNDO, b=UNDO).started().completed("a").completed("b")
    return run.failed("c", "AGENT_ERROR")


def audit_of(run: Story) -> Audit:
    stored = Snapshot(run.execution.created, run.execution.head, dict(run.execution.steps))
    return Audit(run.plan, stored, list(run.history), list(run.work))


def events_of(run: Story, *kinds: type[e.Event]) -> list[e.Event]:
    return [event for event in run.history if isinstance(event, kinds)]


def objects(run: Story, events: list[e.Event], number: str = "I12") -> str:
    numbered = [replace(event, sequence=n) for n, event in enumerate(events, start=1)]
    with pytest.raises(BrokenInvariant) as found:
        compensation_ran_in_reverse(changed(audit_of(run), events=numbered))
    assert found.value.number == number
    return str(found.value)


def test_a_true_history_breaks_nothing():
    check(audit_of(failed().undo_failed().undo_retried().undone().undo_failed("AGENT_ERROR")))


def test_the_order_of_doing_is_the_wrong_one():
    run = failed().undone().undone()
    swap = {"a": "b", "b": "a"}
    undos = (e.CompensationStarted, e.CompensationCompleted)
    events = [
        replace(event, step_id=swap[event.step_id]) if isinstance(event, undos) else event
        for event in run.history
    ]

    assert "it is the turn of ('b', 1)" in objects(run, events)


def test_twice_is_once_too_often():
    run = failed().undone().undone()
    twice = events_of(run, e.CompensationStarted, e.CompensationCompleted)[:2]

    assert "is undone, and it is the turn of" in objects(run, [*run.history[:-1], *twice, run.history[-1]])


@pytest.mark.parametrize("step_id", ["a", "b"])
def test_one_that_is_left_out(step_id: str):
    run = failed().undone().undone()
    kinds = (e.CompensationStarted, e.CompensationCompleted)
    events = [event for event in run.history if not (isinstance(event, kinds) and event.step_id == step_id)]

    objects(run, events)


def test_two_at_a_time():
    run = failed().undone()
    first, second = events_of(run, e.CompensationStarted)
    others = [event for event in run.history if event not in (first, second)]

    assert "is undone beside" in objects(run, [*others[:-1], first, second, others[-1]])


def test_an_end_while_something_is_being_undone():
    run = failed().undone().undone()
    events = [
        event
        for event in run.history
        if not (isinstance(event, e.CompensationCompleted) and event.step_id == "a")
    ]

    assert "ProcessFailed while ('a', 1) is being undone" in objects(run, events)


def test_undoing_while_nothing_has_failed():
    run = failed().undone().undone()
    events = [event for event in run.history if not isinstance(event, e.ProcessStopping)]

    assert "nothing has failed or was cancelled" in objects(run, events)


def test_a_visit_that_does_not_say_how_it_is_undone():
    run = failed()
    events = [
        event
        for event in run.history
        if not (isinstance(event, e.CompensationPrepared) and event.step_id == "b")
    ]

    assert "nothing says how" in objects(run, events)


def test_a_visit_that_says_it_out_of_turn():
    run = failed()
    prepared = events_of(run, e.CompensationPrepared)[0]

    assert "prepared out of turn" in objects(run, [*run.history, prepared])


def test_a_step_that_starts_while_others_are_undone():
    run = failed()
    started = events_of(run, e.StepStarted)[0]

    assert "StepStarted while it is being undone" in objects(run, [*run.history, started], "I6")


def test_a_step_that_starts_after_a_cancel():
    run = execution_of("a -> b", a=UNDO).started().completed("a").cancelled()
    started = events_of(run, e.StepStarted)[0]

    assert "although nothing may start" in objects(run, [*run.history, started], "I6")


def test_an_attempt_without_a_failure_before_it_or_before_its_time():
    run = failed().undo_failed().undo_retried()
    retrying = events_of(run, e.CompensationRetrying)[0]
    objects(run, [event for event in run.history if event != retrying], "I8")

    later = replace(retrying, due=retrying.due + timedelta(seconds=1))
    objects(run, [later if event == retrying else event for event in run.history], "I8")


def test_an_answer_while_the_next_attempt_is_waited_for():
    run = failed().undo_failed().undo_retried().undone()
    attempt = events_of(run, e.CompensationAttemptStarted)[0]

    assert "waits to be tried again" in objects(run, [event for event in run.history if event != attempt])


def test_an_answer_about_another_visit():
    run = failed().undone()
    events = [
        replace(event, visit=2) if isinstance(event, e.CompensationCompleted) else event
        for event in run.history
    ]

    assert "which is not being undone" in objects(run, events)


def test_what_was_undone_goes_on():
    run = failed().undone().undone()
    reopened = e.ProcessReopened(
        execution_id=run.execution.id,
        sequence=1,
        timestamp=run.now,
        process_name="drawn",
        correlation_id="e1",
        steps=("c",),
    )

    assert "goes on after it was undone" in objects(run, [*run.history, reopened])


def test_what_was_undone_completes_all_the_same():
    run = failed().undone().undone()
    end = run.history[-1]
    shared = {name: getattr(end, name) for name in ("execution_id", "timestamp", "process_name")}
    completed = e.ProcessCompleted(**shared, sequence=1, correlation_id="e1", outputs=run.execution.input)

    assert "it completed, and was undone" in objects(run, [*run.history[:-1], completed])


def test_a_state_that_says_something_else():
    audit = audit_of(failed().undone().undone())
    step = audit.stored.steps["a"]
    undos = (replace(step.undos[0], status=UndoStatus.OWED),)
    stored = replace(audit.stored, steps={**audit.stored.steps, "a": replace(step, undos=undos)})

    with pytest.raises(BrokenInvariant, match="I12"):
        compensation_ran_in_reverse(changed(audit, stored=stored))


def test_what_undoing_costs_is_part_of_the_total():
    audit = audit_of(failed().undone().undone())
    head = replace(audit.stored.head, tokens=1)

    with pytest.raises(BrokenInvariant, match="I13"):
        costs_add_up(changed(audit, stored=replace(audit.stored, head=head)))
