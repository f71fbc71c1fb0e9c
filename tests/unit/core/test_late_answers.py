"""Answers that come again, or after something else has ended the attempt."""

from process_engine.core.results import Completed
from process_engine.testing.executions import execution_of


def test_an_answer_that_comes_after_its_attempt_has_failed_changes_nothing():
    run = execution_of("a -> b", a={"retry": {"max_attempts": 2}}).started().failed("a")

    after = run.answers("a", Completed("too late"), attempt=1)

    assert run.step("a").status == "waiting"
    assert after.events == ()
    assert after.execution == run.execution


def test_an_answer_changes_nothing_while_the_next_attempt_stands_in_line():
    run = execution_of("a -> b", a={"retry": {"max_attempts": 2}}).started().failed("a").paused().retried("a")

    after = run.answers("a", Completed("too late"), attempt=1)

    assert run.step("a").status == "ready"
    assert after.events == ()
    assert after.execution == run.execution
