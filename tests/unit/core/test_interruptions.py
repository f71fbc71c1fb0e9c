"""Attempts that died with their process."""

import pytest

from process_engine.core import commands as c
from process_engine.core.config import ExecutionConfig
from process_engine.core.decide import MAX_INTERRUPTIONS
from process_engine.testing.executions import EXECUTION_ID, execution_of

ONCE = {"retry": {"max_attempts": 1}}


def test_an_interrupted_attempt_is_repeated_at_once_in_its_slot():
    run = execution_of("a, b", config=ExecutionConfig(max_concurrent_steps=1)).started().interrupted("a")

    assert run.told_now == ["StepRetrying a"]
    assert (run.running(), run.step("a").attempt) == (["a"], 2)
    assert run.events[0].failure.code == "INTERRUPTED"
    assert run.execution.progress.queue == ("b",)


def test_an_interruption_does_not_count_against_max_attempts():
    run = execution_of("a", a={"retry": {"max_attempts": 2}}).started()
    run = run.interrupted("a").interrupted("a").failed("a")
    assert run.step("a").status == "waiting", "one real failure, one attempt left"

    run = run.retried("a").interrupted("a").failed("a")
    assert (run.status, run.step("a").attempt, run.step("a").interruptions) == ("failed", 5, 3)


def test_the_delay_counts_real_failures_only():
    policy = {"max_attempts": 5, "initial_delay": "10s", "backoff": "linear", "jitter": False}
    run = execution_of("a", a={"retry": policy}).started().interrupted("a").interrupted("a").failed("a")

    assert run.events[0].delay_seconds == 10


def test_the_eleventh_interruption_of_a_visit_fails_it():
    run = execution_of("a", a=ONCE).started()
    for _ in range(MAX_INTERRUPTIONS):
        run = run.interrupted("a")
        assert run.running() == ["a"]

    run = run.interrupted("a")
    assert run.step("a").error.code == "INTERRUPTED"
    assert run.status == "failed"


def test_a_new_visit_may_be_interrupted_ten_times_again():
    keys = {"on_error": {"action": "goto_step", "target_step": "a"}}
    run = execution_of("a", a=keys).started()
    for _ in range(MAX_INTERRUPTIONS + 1):
        run = run.interrupted("a")

    assert (run.step("a").visit, run.step("a").interruptions, run.running()) == (2, 0, ["a"])


def test_on_interrupt_fail_fails_the_step_and_on_error_handles_it():
    run = (
        execution_of("a -> b", a={"on_interrupt": "fail", "on_error": "skip_step"}).started().interrupted("a")
    )

    assert run.told_now == ["StepSkipped a", "StepStarted b"]
    assert run.step("a").error.code == "INTERRUPTED"


def test_on_interrupt_ask_pauses_and_a_resume_repeats_the_attempt():
    run = execution_of("a, b", a={"on_interrupt": "ask"}).started().interrupted("a")

    assert run.told_now == ["StepRetrying a", "ProcessPaused"]
    assert run.execution.head.pause_reason == "interrupted: a"
    assert run.running() == ["b"]
    run = run.resumed()
    assert run.step("a").attempt == 2
    assert run.running() == ["a", "b"]


def test_on_interrupt_ask_of_two_steps_asks_once():
    ask = {"on_interrupt": "ask"}
    run = execution_of("a, b", a=ask, b=ask).started().interrupted("a").interrupted("b")

    assert run.told_now == ["StepRetrying b"]
    assert run.resumed().running() == ["a", "b"]


def test_during_a_pause_an_interrupted_attempt_stands_in_line():
    run = execution_of("a").started().paused().interrupted("a")

    assert (run.status, run.running()) == ("paused", [])
    assert run.resumed().running() == ["a"]


def test_an_interruption_of_an_attempt_that_does_not_run_any_more_changes_nothing():
    run = execution_of("a").started().failed("a")

    assert run.interrupted("a").events == ()


def test_an_interruption_told_twice_counts_once():
    told = c.InterruptAttempt(execution_id=EXECUTION_ID, step_id="a", visit=1, attempt=1)
    run = execution_of("a").started().obeys(told)

    assert run.obeys(told).events == ()


@pytest.mark.parametrize("times", [1, 3])
def test_the_request_stays_the_same_over_interruptions(times):
    run = execution_of("a", a={"message": "{{ input.n }}"}).started({"n": 7})
    before = run.step("a").request
    for _ in range(times):
        run = run.interrupted("a")

    assert run.step("a").request == before
