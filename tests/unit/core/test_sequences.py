"""The public events of each scenario, exactly."""

import pytest

from process_engine.testing.drawing import gateway, timer
from process_engine.testing.executions import execution_of

TWICE_AGAIN = {"retry": {"max_attempts": 3, "jitter": False}}


def test_a_chain():
    run = execution_of("a -> b").started().completed("a").completed("b")

    assert run.told == [
        "ProcessStarted",
        "StepStarted a",
        "StepCompleted a",
        "StepStarted b",
        "StepCompleted b",
        "ProcessCompleted",
    ]
    assert run.status == "completed"


def test_a_diamond_starts_in_definition_order_and_completes_in_finishing_order():
    run = execution_of("root -> left, root -> right, left & right -> join").started().completed("root")
    run = run.completed("right").completed("left").completed("join")

    assert run.told == [
        "ProcessStarted",
        "StepStarted root",
        "StepCompleted root",
        "StepStarted left",
        "StepStarted right",
        "StepCompleted right",
        "StepCompleted left",
        "StepStarted join",
        "StepCompleted join",
        "ProcessCompleted",
    ]


def test_two_failures_and_then_success():
    run = execution_of("a", a=TWICE_AGAIN).started()
    run = run.failed("a").retried("a").failed("a").retried("a").completed("a")

    assert run.told[1:-1] == ["StepStarted a", "StepRetrying a", "StepRetrying a", "StepCompleted a"]
    assert run.step("a").retry_count == 2


def test_the_last_attempt_fails():
    run = execution_of("a -> b", a=TWICE_AGAIN).started()
    run = run.failed("a").retried("a").failed("a").retried("a").failed("a")

    assert run.told == [
        "ProcessStarted",
        "StepStarted a",
        "StepRetrying a",
        "StepRetrying a",
        "StepFailed a",
        "ProcessFailed",
    ]
    assert run.step("b").status == "cancelled"


def test_an_error_that_is_skipped():
    run = execution_of("a -> b", a={**TWICE_AGAIN, "on_error": "skip_step"}).started()
    run = run.failed("a").retried("a").failed("a", "AGENT_ERROR").completed("b")

    assert run.told == [
        "ProcessStarted",
        "StepStarted a",
        "StepRetrying a",
        "StepSkipped a",
        "StepStarted b",
        "StepCompleted b",
        "ProcessCompleted",
    ]
    assert (run.step("a").reason, run.step("a").error.code) == ("error", "AGENT_ERROR")


def test_what_is_not_wanted_is_skipped_without_ever_starting():
    run = execution_of(
        "a -> b, g -> x -> y, z",
        b={"condition": "false"},
        g=gateway(("false", "x"), default="z"),
    )
    run = run.started().completed("a").completed("z")

    assert run.told == [
        "ProcessStarted",
        "StepStarted a",
        "StepStarted g",
        "StepCompleted g",
        "StepSkipped x",
        "StepStarted z",
        "StepSkipped y",
        "StepCompleted a",
        "StepSkipped b",
        "StepCompleted z",
        "ProcessCompleted",
    ]
    assert [run.step(step).reason for step in ("b", "x", "y")] == [
        "condition_false",
        "route_not_taken",
        "dead_path",
    ]


def test_a_timer():
    run = execution_of("a", a=timer("30s")).started().retried("a")

    assert run.told == [
        "ProcessStarted",
        "StepStarted a",
        "StepWaiting a",
        "StepCompleted a",
        "ProcessCompleted",
    ]


def test_a_timer_of_no_length_does_not_wait():
    run = execution_of("a", a=timer("0s")).started()

    assert run.told == ["ProcessStarted", "StepStarted a", "StepCompleted a", "ProcessCompleted"]


def test_cancel_before_the_start():
    run = execution_of("a").started(hold=True).cancelled()

    assert run.told == ["ProcessCancelled"]
    assert run.step("a").status == "cancelled"
    assert run.work == ()


def test_a_held_start_tells_nothing_until_it_is_resumed():
    held = execution_of("a").started(hold=True)

    assert (held.told, held.status, held.work) == ([], "pending", ())
    assert held.resumed().told == ["ProcessStarted", "StepStarted a"]


def test_pause_and_resume():
    run = execution_of("a -> b").started().paused().completed("a").resumed()

    assert run.told == [
        "ProcessStarted",
        "StepStarted a",
        "ProcessPaused",
        "StepCompleted a",
        "ProcessResumed",
        "StepStarted b",
    ]


def test_a_stopping_failure_ends_the_execution_once_running_siblings_have_answered():
    run = execution_of("a, b, c -> d").started().failed("a", "AGENT_ERROR")

    assert run.told_now == ["StepFailed a"]
    assert run.completed("b").told_now == ["StepCompleted b"]
    assert run.completed("b").completed("c").told_now == ["StepCompleted c", "ProcessFailed"]


def test_events_are_numbered_without_gaps_and_share_the_time_of_their_transition():
    run = execution_of("a -> b").started().after(5).completed("a").after(-60).completed("b")

    assert [event.sequence for event in run.history] == list(range(1, len(run.history) + 1))
    assert [event.id for event in run.history[:2]] == ["e1/1", "e1/2"]
    assert len({event.timestamp for event in run.events}) == 1
    stamps = [event.timestamp for event in run.history]
    assert stamps == sorted(stamps), "a clock that is set back does not turn time back"


@pytest.mark.parametrize("verb", ["started", "paused"])
def test_bookkeeping_events_are_not_public(verb):
    run = getattr(execution_of("a").started(), verb)()

    assert {event.type for event in run.history if not event.public} == {"ExecutionCreated"}


def test_steps_are_looked_at_first_in_first_out():
    """What a settled step settles goes to the end of the line: breadth first."""
    run = execution_of(
        "r -> p, r -> q, p -> p2, q -> q2",
        p={"condition": "false"},
        q={"condition": "false"},
    )

    assert run.started().completed("r").told_now == [
        "StepCompleted r",
        "StepSkipped p",
        "StepSkipped q",
        "StepSkipped p2",
        "StepSkipped q2",
        "ProcessCompleted",
    ]
