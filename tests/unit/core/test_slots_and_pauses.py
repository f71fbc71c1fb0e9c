"""Slots, the line of those who wait for one, pause and resume."""

import pytest

from process_engine.core import commands as c
from process_engine.core.config import ExecutionConfig
from process_engine.core.results import Completed
from process_engine.testing.drawing import gateway, timer
from process_engine.testing.executions import EXECUTION_ID, execution_of

ONE = ExecutionConfig(max_concurrent_steps=1)


def test_only_so_many_attempts_run_at_once_and_the_rest_stands_in_line():
    run = execution_of("a, b, c", config=ExecutionConfig(max_concurrent_steps=2)).started()

    assert run.running() == ["a", "b"]
    assert run.execution.progress.queue == ("c",)
    assert run.completed("b").running() == ["a", "c"]


def test_the_line_is_first_in_first_out():
    run = execution_of("a, b, c -> d, x", config=ONE).started()
    order = []
    while run.running():
        order += run.running()
        run = run.completed(run.running()[0])

    assert order == ["a", "b", "c", "x", "d"]


def test_nobody_overtakes_who_stands_in_line():
    run = execution_of("a -> a2, b", config=ONE).started().completed("a")

    assert run.running() == ["b"]
    assert run.execution.progress.queue == ("a2",)


def test_a_retry_that_falls_due_queues_at_the_end():
    run = execution_of("a, b, c", config=ONE).started().failed("a")
    assert run.running() == ["b"], "a waiting retry holds no slot"

    run = run.retried("a")
    assert run.execution.progress.queue == ("c", "a")
    run = run.completed("b").completed("c")
    assert (run.running(), run.step("a").attempt) == (["a"], 2)


@pytest.mark.parametrize(
    ("process", "engine", "running"), [(2, 0, 2), (0, 2, 2), (2, 3, 2), (3, 1, 1), (0, 0, 4)]
)
def test_the_smaller_bound_that_is_not_zero_holds(process, engine, running):
    limits = {"max_concurrent_steps": process} if process else {}
    run = execution_of("a, b, c, d", config=ExecutionConfig(max_concurrent_steps=engine), limits=limits)

    assert len(run.started().running()) == running


def test_without_parallel_execution_there_is_one_slot():
    run = execution_of("a, b", config=ExecutionConfig(parallel_execution=False, max_concurrent_steps=5))

    assert run.started().running() == ["a"]


def test_inline_steps_and_timers_hold_no_slot():
    run = execution_of("a, t, g, b", t=timer("1h"), g=gateway((None, "b")), config=ONE).started()

    assert run.step("t").status == "waiting"
    assert run.step("g").status == "completed"
    assert run.running() == ["a"]


# ---------------------------------------------------------------- pause


def test_a_pause_lets_running_attempts_finish_and_starts_nothing():
    run = execution_of("a -> b, x").started().paused().completed("a")

    assert (run.status, run.execution.head.pause_reason) == ("paused", "operator")
    assert run.running() == ["x"]
    assert run.step("b").status == "ready"


def test_resume_starts_what_was_held_first_in_first_out():
    run = execution_of("a -> b, x -> y", config=ONE).started().paused().completed("a").resumed()
    assert run.running() == ["x"]

    run = execution_of("a -> b, x -> y").started().paused().completed("x").completed("a").resumed()
    assert run.told_now == ["ProcessResumed", "StepStarted y", "StepStarted b"]


def test_due_timers_and_retries_are_accepted_during_a_pause():
    run = execution_of("t -> b, a", t=timer("10s")).started().failed("a").paused()
    run = run.retried("a").retried("t")

    assert run.told_now == ["StepCompleted t"]
    assert run.execution.progress.queue == ("a", "b")
    assert run.resumed().told_now == ["ProcessResumed", "StepStarted b"], "a goes on, bookkeeping tells it"
    assert sorted(run.resumed().running()) == ["a", "b"]


def test_gateways_and_timers_do_not_start_during_a_pause():
    run = execution_of("a -> g, a -> t, x", g=gateway((None, "x")), t=timer("5s")).started().paused()
    run = run.completed("a")
    assert [run.step(step).status for step in ("g", "t")] == ["ready", "ready"]

    run = run.after(100).resumed()
    assert run.step("g").status == "completed"
    assert (run.step("t").due - run.now).total_seconds() == 5, "a timer counts from when it starts"


def test_an_attempt_that_fails_during_a_pause_waits_for_its_retry():
    run = execution_of("a").started().paused().failed("a")

    assert run.step("a").status == "waiting"
    assert run.resumed().retried("a").running() == ["a"]


def test_the_last_answer_during_a_pause_ends_the_execution():
    run = execution_of("a").started().paused().completed("a")

    assert run.status == "completed"


def test_pausing_twice_or_what_does_not_run_is_refused_and_changes_nothing():
    pause = c.PauseExecution(execution_id=EXECUTION_ID)
    for run in (
        execution_of("a").started(hold=True),
        execution_of("a").started().paused(),
        execution_of("a").started().completed("a"),
        execution_of("a, b").started().failed("a", "AGENT_ERROR"),
    ):
        assert "pause" in str(run.refuses(pause))


def test_resuming_what_runs_or_has_ended_is_refused():
    resume = c.ResumeExecution(execution_id=EXECUTION_ID)

    for run in (execution_of("a").started(), execution_of("a").started().completed("a")):
        assert "Nothing was changed" in str(run.refuses(resume))


# ---------------------------------------------------------------- cancel


@pytest.mark.parametrize(
    "story",
    [
        lambda run: run.started(hold=True),
        lambda run: run.started(),
        lambda run: run.started().paused(),
        lambda run: run.started().failed("a"),
        lambda run: run.started().failed("b", "AGENT_ERROR"),
        lambda run: run.started().completed("a").completed("b"),
    ],
)
def test_cancel_works_in_every_state_but_the_final_ones(story):
    run = story(execution_of("a -> c, b, t", t=timer("1h"))).cancelled()

    assert run.status == "cancelled"
    assert run.told_now[-1] == "ProcessCancelled"
    assert run.work == ()
    assert all(run.step(step).status.is_settled for step in run.plan.order)


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
def test_cancel_of_what_has_ended_is_refused(end):
    run = execution_of("a").started()
    ended = (
        run.cancelled()
        if end == "cancelled"
        else getattr(run, end)("a", *(["AGENT_ERROR"] * (end == "failed")))
    )

    assert end in str(ended.refuses(c.CancelExecution(execution_id=EXECUTION_ID)))


def test_cancel_names_what_was_in_motion_and_not_what_never_began():
    run = execution_of("a -> z, r, t", t=timer("1h"), config=None).started().failed("r").cancelled()

    assert run.told_now == ["StepCancelled a", "StepCancelled r", "StepCancelled t", "ProcessCancelled"]


def test_an_attempt_that_waits_for_its_second_slot_is_in_motion():
    run = execution_of("a, b", config=ONE).started().failed("a").retried("a").cancelled()

    assert run.told_now == ["StepCancelled a", "StepCancelled b", "ProcessCancelled"]


def test_an_answer_after_a_cancel_changes_nothing():
    run = execution_of("a -> b").started().cancelled()

    assert run.answers("a", Completed("late"), visit=1, attempt=1).events == ()
    assert run.interrupted("a").events == ()
    assert run.woken("a").events == ()


# ---------------------------------------------------------------- commands that do not fit


def test_a_command_for_a_step_that_does_not_exist_is_refused():
    run = execution_of("a").started()
    command = c.WakeStep(execution_id=EXECUTION_ID, step_id="nobody", visit=1, attempt=1)

    assert "no step nobody" in str(run.refuses(command))


def test_a_command_before_the_start_is_refused():
    refusal = execution_of("a").refuses(c.CancelExecution(execution_id=EXECUTION_ID))

    assert "no execution e1" in str(refusal)


def test_a_second_start_changes_nothing():
    run = execution_of("a").started()

    again = run.started({"other": "input"})
    assert again.events == ()
    assert again.execution == run.execution
