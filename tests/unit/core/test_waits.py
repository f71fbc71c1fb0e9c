"""Steps that wait for published events: what fits, what is taken, and how a wait ends."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest

from process_engine.core.blockers import BlockerKind, blockers
from process_engine.core.config import ExecutionConfig
from process_engine.core.mailbox import MOST_REMEMBERED, NOTHING_RECEIVED, name_fault
from process_engine.core.work import WorkKind
from process_engine.testing.drawing import event, gateway
from process_engine.testing.executions import BEGINNING, execution_of, published


def waiting(drawn="w -> next", given=None, **keys):
    """An execution that waits for `go` in step `w`, with these keys."""
    return execution_of(drawn, w=event("go", **keys)).started(given)


def output(run, step_id="w"):
    return run.step(step_id).output.data


def test_a_wait_tells_its_story_in_order_and_gives_the_payload():
    run = waiting().offered("w", published(7, {"n": 1}))

    assert [line for line in run.told if line.endswith(" w")] == [
        "StepStarted w",
        "StepWaiting w",
        "EventReceived w",
        "StepCompleted w",
    ]
    assert output(run) == {"n": 1}
    assert run.running() == ["next"]


def test_a_wait_holds_no_slot():
    run = execution_of("w, a", config=ExecutionConfig(max_concurrent_steps=1), w=event("go")).started()

    assert run.running() == ["a"]
    assert run.step("w").status == "waiting"


def test_the_first_that_fits_is_taken_and_the_others_are_left():
    run = waiting(match="event.n > 4").offered(
        "w", published(1, {"n": 1}), published(2, {"n": 5}), published(3, {"n": 9})
    )

    assert output(run) == {"n": 5}
    assert run.execution.head.received.taken == (2,)


@pytest.mark.parametrize(
    "payload", [{"n": 4}, {"m": 5}, {"n": "many"}, None, "n", [5], {"n": None}], ids=repr
)
def test_what_does_not_fit_changes_nothing(payload):
    run = waiting(match="event.n > 4")

    after = run.offered("w", published(1, payload))

    assert after.events == ()
    assert after.execution == run.execution


def test_an_event_of_another_name_or_for_another_execution_does_not_fit():
    run = waiting()

    after = run.offered("w", published(1, name="stop"), published(2, to="somebody"))

    assert after.events == ()
    assert after.offered("w", published(3, 1, to="e1")).step("w").status == "completed"


def test_a_match_reads_the_input_and_other_steps():
    match = "event.n == input.n and event.by == steps.a.output"
    run = execution_of("a -> w", w=event("go-{{ input.n }}", match=match)).started({"n": 3})
    run = run.completed("a", "ann")

    assert run.step("w").event == "go-3"
    assert run.offered("w", published(1, {"n": 3, "by": "bob"}, name="go-3")).events == ()
    assert run.offered("w", published(1, {"n": 3, "by": "ann"}, name="go-3")).status == "completed"


def test_a_match_that_reads_what_the_execution_does_not_have_fails_at_once():
    run = waiting(match="event.n == input.missing", given={"n": 1})

    assert run.step("w").error.code == "EXPRESSION_ERROR"
    assert "input" in run.step("w").error.message


def test_a_default_stands_in_for_what_the_execution_does_not_have():
    run = waiting(match="event.n == (input.missing | default(1))", given={"n": 1})

    assert run.offered("w", published(1, {"n": 1})).step("w").status == "completed"


@pytest.mark.parametrize("name", ["", "   ", "x" * 201, "bell\a", 7])
def test_a_rendered_name_that_no_event_can_have_fails_the_step(name):
    run = execution_of("w", w=event("{{ input.name }}")).started({"name": name})

    assert run.step("w").error.code == "EXPRESSION_ERROR"
    assert name_fault(name) is not None


def test_an_execution_takes_no_event_twice():
    run = execution_of("w -> v", w=event("go"), v=event("go")).started()
    run = run.offered("w", published(1, "first"))

    assert run.offered("v", published(1, "first")).events == ()
    assert output(run.offered("v", published(1, "first"), published(2, "second")), "v") == "second"


def test_two_waits_for_one_name_need_two_events():
    run = execution_of("w, v", w=event("go"), v=event("go")).started()

    run = run.offered("w", published(1)).offered("v", published(1))
    assert (run.step("w").status, run.step("v").status) == ("completed", "waiting")

    assert run.offered("v", published(2)).status == "completed"


def test_a_loop_takes_the_next_event_in_its_next_visit():
    again = gateway(("steps.w.output.more", "w", 3), default="end")
    run = execution_of("w -> g, end", w=event("go"), g=again).started()
    one, two = published(1, {"more": True}), published(2, {"more": False})

    run = run.offered("w", one)
    assert (run.step("w").status, run.step("w").visit) == ("waiting", 2)
    assert run.offered("w", one).events == ()
    assert run.offered("w", two, visit=1).events == ()
    assert run.offered("w", one, two).running() == ["end"]


def test_what_was_taken_is_remembered_in_bounds():
    received = NOTHING_RECEIVED
    positions = list(range(10, 10 + 2 * MOST_REMEMBERED))
    Random(1).shuffle(positions)
    for position in positions:
        received = received.with_event(position)

    assert len(received.taken) == MOST_REMEMBERED
    assert all(received.knows(position) for position in positions)
    assert received.knows(1)
    assert not received.knows(10 + 2 * MOST_REMEMBERED)


# ---------------------------------------------------------------- time


def test_a_timeout_fails_the_step():
    run = waiting(timeout="10s").retried("w")

    assert run.step("w").error.code == "TIMEOUT"
    assert run.status == "failed"


def test_a_timeout_that_is_skipped_lets_everything_go_on():
    run = waiting(timeout="10s", timeout_action="skip").retried("w")

    assert (run.step("w").status, run.step("w").reason) == ("skipped", "error")
    assert run.running() == ["next"]


def test_a_timeout_that_continues_completes_with_null():
    run = waiting(timeout="10s", timeout_action="continue").retried("w")

    assert (run.step("w").status, output(run)) == ("completed", None)
    assert run.running() == ["next"]


def test_a_timeout_is_handled_as_any_failure():
    assert waiting(timeout="10s", on_error="skip_step").retried("w").running() == ["next"]


def test_a_wait_is_not_woken_early_and_without_timeout_never():
    assert waiting(timeout="10s").after(9.9).woken("w").events == ()
    assert waiting().after(10**6).woken("w").events == ()


def test_an_event_in_time_counts_however_late_it_is_brought():
    run = waiting(timeout="10s").after(60)

    assert run.offered("w", published(1, seconds=10)).events == ()
    assert run.offered("w", published(1, seconds=9.999)).step("w").status == "completed"


def test_after_the_timeout_an_event_changes_nothing_and_after_an_event_the_timeout_does_not():
    late = waiting(timeout="10s", timeout_action="skip").retried("w")
    assert late.offered("w", published(1)).events == ()

    early = waiting(timeout="10s").offered("w", published(1))
    assert early.after(11).woken("w").events == ()


# ---------------------------------------------------------------- what else happens


def test_a_pause_takes_events_and_starts_nothing():
    run = waiting().paused().offered("w", published(1))

    assert run.step("w").status == "completed"
    assert run.running() == []
    assert run.resumed().running() == ["next"]


def test_a_cancelled_wait_takes_nothing():
    run = waiting(timeout="10s").cancelled()

    assert list(run.work) == []
    assert run.offered("w", published(1)).events == ()


def test_a_failure_elsewhere_ends_the_wait():
    run = execution_of("w, a", w=event("go", timeout="1h")).started().failed("a", "AGENT_ERROR")

    assert run.step("w").status == "cancelled"
    assert run.status == "failed"


def test_a_retried_execution_waits_anew_and_still_takes_nothing_twice():
    run = execution_of("v -> w", v=event("go"), w=event("go", timeout="10s")).started()
    run = run.offered("v", published(1)).retried("w").retried_as_a_whole()

    assert run.step("w").due == run.now + timedelta(seconds=10)
    assert run.offered("w", published(1, seconds=15)).events == ()
    assert run.offered("w", published(2, seconds=15)).status == "completed"


def test_the_work_of_a_wait_follows_from_its_state():
    (item,) = waiting().work
    assert (item.kind, item.due) == (WorkKind.EVENT, None)

    (item,) = waiting(timeout="10s").work
    assert (item.kind, item.due) == (WorkKind.EVENT, BEGINNING + timedelta(seconds=10))


def test_the_blocker_names_the_event():
    (blocker,) = blockers(waiting(timeout="10s").execution)

    assert (blocker.kind, blocker.step_id, blocker.detail) == (BlockerKind.EVENT, "w", "go")
    assert blocker.due == BEGINNING + timedelta(seconds=10)
