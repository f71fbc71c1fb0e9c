"""Retries, on_error, stop_on_failure, the grace and the timeout of an execution."""

import pytest

from process_engine.core.config import ExecutionConfig
from process_engine.core.results import Completed, Failed
from process_engine.testing.drawing import gateway, timer
from process_engine.testing.executions import execution_of

GOES_ON = ExecutionConfig(stop_on_failure=False)


# ---------------------------------------------------------------- retries


@pytest.mark.parametrize("code", ["AGENT_UNAVAILABLE", "AGENT_TIMEOUT", "TIMEOUT"])
def test_an_agent_task_is_tried_three_times_on_transient_errors(code):
    run = execution_of("a").started()
    run = run.failed("a", code).retried("a").failed("a", code).retried("a").failed("a", code)

    assert (run.status, run.step("a").attempt) == ("failed", 3)


@pytest.mark.parametrize("code", ["AGENT_ERROR", "INVALID_OUTPUT", "HANDLER_ERROR", "OUTPUT_TOO_LARGE"])
def test_other_errors_are_not_retried_unasked(code):
    run = execution_of("a").started().failed("a", code)

    assert (run.status, run.step("a").attempt) == ("failed", 1)


def test_a_failure_that_calls_itself_transient_is_retried():
    run = execution_of("a").started().answers("a", Failed("AGENT_ERROR", "busy", transient=True))

    assert run.step("a").status == "waiting"


def test_retry_on_names_further_errors_and_do_not_retry_on_takes_some_away():
    keys = {"retry": {"retry_on": ["AGENT_ERROR"], "do_not_retry_on": ["TIMEOUT"]}}
    run = execution_of("a", a=keys).started()

    assert run.failed("a", "AGENT_ERROR").step("a").status == "waiting"
    assert run.failed("a", "TIMEOUT").step("a").status == "failed"


def test_every_attempt_gets_the_request_that_was_rendered_at_the_first_start():
    keys = {"message": "{{ steps.b.attempts }}", "retry": {"max_attempts": 2}}
    run = execution_of("a, b -> c", a=keys, b={"retry": {"max_attempts": 3}}).started()
    run = run.failed("b").retried("b").completed("b")
    first = run.step("a").request

    assert first.data["message"] == 2
    assert run.failed("a").retried("a").step("a").request == first


def test_the_wait_before_a_retry_is_work_that_is_due_at_a_time():
    run = execution_of("a", a={"retry": {"initial_delay": "30s", "jitter": False}}).started().failed("a")

    (item,) = run.work
    assert (item.kind, item.key, item.visit, item.attempt) == ("retry", "a", 1, 1)
    assert (item.due - run.now).total_seconds() == 30


def test_a_retry_that_fires_too_early_changes_nothing():
    run = execution_of("a").started().failed("a").after(0.1)

    assert run.woken("a").events == ()


def test_a_retry_that_fires_twice_starts_one_attempt():
    run = execution_of("a").started().failed("a").retried("a")

    again = run.woken("a", attempt=1)
    assert again.events == ()
    assert again.execution == run.execution


def test_a_timer_that_fires_too_early_changes_nothing():
    run = execution_of("a", a=timer("1h")).started().after(3599.9)

    assert run.woken("a").events == ()
    assert run.after(0.1).woken("a").status == "completed"


def test_late_answer_of_an_older_attempt_changes_nothing():
    run = execution_of("a", a={"retry": {"max_attempts": 2}}).started().failed("a").retried("a")

    after = run.answers("a", Completed("too late"), attempt=1)

    assert after.events == ()
    assert after.execution == run.execution


@pytest.mark.parametrize(("visit", "attempt"), [(1, 2), (2, 1), (1, 0), (0, 1)])
def test_an_answer_that_fits_no_running_attempt_changes_nothing(visit, attempt):
    run = execution_of("a").started()

    assert run.answers("a", Completed("forged"), visit=visit, attempt=attempt).events == ()


def test_an_answer_after_the_end_changes_nothing():
    run = execution_of("a").started().completed("a", 1)

    after = run.answers("a", Completed(2), visit=1, attempt=1)
    assert after.execution == run.execution


# ---------------------------------------------------------------- stop_on_failure: true


def test_a_failure_stops_everything_that_is_not_running():
    run = execution_of("a, slow, t, r, z -> y", t=timer("1h"), config=ExecutionConfig()).started()
    run = run.failed("r").failed("a", "AGENT_ERROR")

    assert run.told_now == ["StepFailed a", "StepCancelled t", "StepCancelled r"]
    assert run.running() == ["slow", "z"]
    assert {item.key for item in run.work} == {"slow", "z", ":grace"}


def test_running_attempts_may_answer_and_are_recorded_but_nothing_follows():
    run = execution_of("a, b -> c").started().failed("a", "AGENT_ERROR").completed("b", "kept")

    assert run.told_now == ["StepCompleted b", "ProcessFailed"]
    assert run.step("b").output.data == "kept"
    assert run.step("c").status == "cancelled"
    assert run.execution.head.failure.step_id == "a"


def test_a_running_attempt_that_fails_while_stopping_is_not_retried_nor_handled():
    run = execution_of("a, b, h", b={"on_error": {"action": "goto_step", "target_step": "h"}}).started()
    run = run.failed("a", "AGENT_ERROR").failed("b")

    assert run.told_now == ["StepFailed b", "ProcessFailed"]
    assert run.step("b").handled_by is None
    assert run.execution.head.failure.step_id == "a", "the first failure is the execution's"


def test_the_grace_ends_attempts_that_do_not_answer():
    run = execution_of("a, b", config=ExecutionConfig(cancel_grace=5)).started().failed("a", "AGENT_ERROR")

    assert run.after(4.9).deadline_reached(grace=True).events == ()
    ended = run.after(5).deadline_reached(grace=True)
    assert ended.told_now == ["StepCancelled b", "ProcessFailed"]
    assert ended.work == ()


def test_an_answer_after_the_grace_changes_nothing():
    run = execution_of("a, b").started().failed("a", "AGENT_ERROR").after(30).deadline_reached(grace=True)

    assert run.answers("b", Completed("late"), visit=1, attempt=1).events == ()


def test_an_interrupted_attempt_is_not_repeated_while_stopping():
    run = execution_of("a, b").started().failed("a", "AGENT_ERROR").interrupted("b")

    assert run.told_now == ["StepCancelled b", "ProcessFailed"]


def test_nothing_starts_while_stopping_not_even_after_a_resume():
    """t stands in line because of the pause; a resume of what is about to fail must not start it."""
    run = execution_of("r -> t, a, b", t=timer("5s")).started().paused().completed("r")
    run = run.failed("a", "AGENT_ERROR").resumed()

    assert run.told_now == ["ProcessResumed"]
    assert run.completed("b").told_now == ["StepCompleted b", "ProcessFailed"]


def test_the_first_inline_step_that_fails_on_resume_keeps_the_others_from_starting():
    run = execution_of("r -> g, r -> t, s, x", g=gateway(("false", "x")), t=timer("1s")).started()
    run = run.paused().completed("r").resumed()

    assert run.told_now == ["ProcessResumed", "StepStarted g", "StepFailed g"]


# ---------------------------------------------------------------- stop_on_failure: false


def test_independent_branches_run_to_their_end():
    run = execution_of("a -> b, x -> y", config=GOES_ON).started().failed("a", "AGENT_ERROR")

    assert run.told_now == ["StepFailed a", "StepSkipped b"]
    run = run.completed("x").completed("y")
    assert run.told_now == ["StepCompleted y", "ProcessFailed"]
    assert run.execution.head.failure.step_id == "a"


def test_retries_and_timers_of_independent_branches_go_on():
    run = execution_of("a, b, t", t=timer("1m"), config=GOES_ON).started()
    run = run.failed("b").failed("a", "AGENT_ERROR")

    assert {item.key for item in run.work} == {"b", "t"}
    assert run.retried("b").completed("b").retried("t").status == "failed"


# ---------------------------------------------------------------- limits.timeout


def test_an_execution_that_takes_too_long_fails_with_timeout():
    run = execution_of("a -> b", limits={"timeout": "10s"}).started()
    (deadline,) = [item for item in run.work if item.kind == "deadline"]
    assert (deadline.due - run.now).total_seconds() == 10

    assert run.after(9.9).deadline_reached().events == ()
    run = run.after(10).deadline_reached()
    assert {item.key for item in run.work} == {"a", ":grace"}
    run = run.completed("a")
    assert run.told_now == ["StepCompleted a", "ProcessFailed"]
    assert run.execution.head.failure.code == "TIMEOUT"


def test_a_timeout_ends_at_once_what_only_waits():
    run = execution_of("a", a=timer("1h"), limits={"timeout": "10s"}).started().after(10).deadline_reached()

    assert run.told_now == ["StepCancelled a", "ProcessFailed"]


def test_the_timeout_counts_from_the_start_and_pauses_count():
    held = execution_of("a", limits={"timeout": "10s"}).started(hold=True)
    assert held.work == ()

    run = held.after(100).resumed().paused().after(10).deadline_reached()
    assert run.execution.head.stopping is not None
    assert run.completed("a").execution.head.failure.code == "TIMEOUT"


def test_the_timeout_of_an_execution_that_has_ended_changes_nothing():
    run = execution_of("a", limits={"timeout": "10s"}).started().completed("a").after(20)

    assert run.deadline_reached().events == ()


def test_the_timeout_stops_even_where_failures_do_not():
    run = execution_of("a -> b", limits={"timeout": "10s"}, config=GOES_ON).started()
    run = run.after(10).deadline_reached().completed("a")

    assert run.told_now == ["StepCompleted a", "ProcessFailed"]
    assert run.step("b").status == "cancelled"
