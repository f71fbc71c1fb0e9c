"""Taking a failed execution back: what completed is kept, what did not succeed runs again."""

import pytest

from process_engine.core import commands as c
from process_engine.core.config import ExecutionConfig
from process_engine.core.results import Completed
from process_engine.testing.drawing import gateway, timer
from process_engine.testing.executions import EXECUTION_ID, execution_of

GOES_ON = ExecutionConfig(stop_on_failure=False)


def test_the_step_that_failed_runs_again_in_the_same_visit_and_completed_ones_are_kept():
    run = (
        execution_of("a -> b -> c")
        .started()
        .completed("a", 1)
        .failed("b", "AGENT_ERROR")
        .retried_as_a_whole()
    )

    assert run.told_now == ["ProcessReopened", "StepStarted b"]
    assert (run.step("b").visit, run.step("b").attempt) == (1, 2)
    run = run.completed("b").completed("c", 3)
    assert run.status == "completed"
    assert run.execution.head.failure is None


def test_attempts_before_the_retry_are_forgiven():
    keys = {"retry": {"max_attempts": 2, "initial_delay": "10s", "backoff": "linear", "jitter": False}}
    run = execution_of("a", a=keys).started().failed("a").retried("a").failed("a").retried_as_a_whole()

    run = run.failed("a")
    assert run.events[0].delay_seconds == 10
    assert run.retried("a").failed("a").status == "failed"


def test_what_was_cancelled_or_skipped_behind_the_failure_gets_its_chance():
    run = execution_of("a -> b, x, t", t=timer("1h")).started().failed("a", "AGENT_ERROR").completed("x")
    run = run.retried_as_a_whole()
    assert (run.running(), run.step("t").status, run.step("x").status) == (["a"], "waiting", "completed")

    run = execution_of("a -> b, x", config=GOES_ON).started().failed("a", "AGENT_ERROR").completed("x")
    assert run.step("b").reason == "dependency_failed"
    assert run.retried_as_a_whole().completed("a").running() == ["b"]


def test_from_a_named_step_on_everything_begins_a_new_visit():
    run = execution_of("a -> b -> c, x").started().completed("a").completed("x").completed("b")
    run = run.failed("c", "AGENT_ERROR").retried_as_a_whole("b")

    assert run.running() == ["b"]
    assert {step: run.step(step).visit for step in "abcx"} == {"a": 1, "b": 2, "c": 2, "x": 1}


def test_with_other_input_the_step_that_failed_begins_a_new_visit():
    keys = {"message": "{{ input.n }}"}
    run = execution_of("a", a=keys).started({"n": 1}).failed("a", "AGENT_ERROR")
    run = run.retried_as_a_whole(given={"n": 2})

    assert (run.step("a").visit, run.step("a").request.data["message"]) == (2, 2)
    assert run.execution.input.data == {"n": 2}


def test_the_timeout_counts_from_the_retry():
    run = execution_of("a", limits={"timeout": "10s"}).started().after(9).failed("a", "AGENT_ERROR")
    run = run.after(100).retried_as_a_whole()

    (deadline,) = [item for item in run.work if item.kind == "deadline"]
    assert (deadline.due - run.now).total_seconds() == 10


@pytest.mark.parametrize(
    "story",
    [
        lambda run: run.started(),
        lambda run: run.started().completed("a"),
        lambda run: run.started().cancelled(),
        lambda run: run.started(hold=True),
    ],
)
def test_only_a_failed_execution_can_be_taken_back(story):
    run = story(execution_of("a"))

    assert "retry" in str(run.refuses(c.RetryStep(execution_id=EXECUTION_ID)))


def test_a_late_answer_of_an_attempt_before_the_retry_changes_nothing():
    run = execution_of("a").started().failed("a", "AGENT_ERROR").retried_as_a_whole()

    assert run.answers("a", Completed("late"), attempt=1).events == ()


def test_a_loop_before_the_failure_does_not_confuse_what_is_kept():
    """Visit 1 of both steps completed long ago; what is retried is visit 2."""
    again = gateway(("steps.b.output.again | default(false)", "a", 3), default="end")
    run = execution_of("a -> b -> g, end", g=again).started().completed("a").completed("b", {"again": True})
    run = run.failed("a", "AGENT_ERROR").retried_as_a_whole()

    assert (run.step("a").visit, run.step("a").attempt) == (2, 2)


def test_a_handled_failure_is_not_taken_back():
    keys = {"on_error": {"action": "goto_step", "target_step": "h"}}
    run = execution_of("a, h", a=keys).started().failed("a", "AGENT_ERROR").failed("h", "AGENT_ERROR")
    run = run.retried_as_a_whole()

    assert run.running() == ["h"]
    assert run.step("a").status == "failed"


def test_one_effect_key_never_asks_two_things():
    """b failed after it had asked; it reads a, which failed too and now answers something else."""
    keys = {"message": "{{ steps.a.output | default('nothing') }}"}
    run = execution_of("a, b", b=keys, config=GOES_ON).started().failed("a", "AGENT_ERROR")
    first = (run.step("b").visit, run.step("b").request)
    run = run.failed("b", "AGENT_ERROR").retried_as_a_whole().completed("a", "something")
    second = (run.step("b").visit, run.step("b").request)

    assert first[1] != second[1]
    assert first[0] != second[0], "a new question is a new visit, with a key of its own"
