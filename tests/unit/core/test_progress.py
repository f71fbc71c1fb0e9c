"""What failed attempts did all the same: recorded, kept, and handed to the next attempt of the visit."""

from process_engine.core.evolve import replay
from process_engine.core.results import Failed
from process_engine.testing.drawing import gateway
from process_engine.testing.executions import execution_of

TOLD = {"deliveries": [{"channel": "slack"}]}
MORE = {"deliveries": [{"channel": "slack"}, {"channel": "email"}]}


def failed(progress: object = None, *, transient: bool = True) -> Failed:
    code = "CHANNEL_UNAVAILABLE" if transient else "DELIVERY_FAILED"
    return Failed(code, "no", progress=progress)


def test_a_failed_attempt_hands_on_what_it_did():
    run = execution_of("a").started().answers("a", failed(TOLD))

    assert run.history[-1].progress == TOLD
    assert run.retried("a").step("a").progress == TOLD
    assert replay(run.plan, run.history) == run.execution


def test_the_last_attempt_that_told_something_counts():
    run = execution_of("a", a={"retry": {"max_attempts": 5}}).started()
    run = run.answers("a", failed(TOLD)).retried("a").answers("a", failed()).retried("a")
    assert run.step("a").progress == TOLD

    run = run.answers("a", failed(MORE)).retried("a")
    assert run.step("a").progress == MORE


def test_an_interrupted_attempt_takes_nothing_away():
    run = execution_of("a").started().answers("a", failed(TOLD)).retried("a").interrupted("a")

    assert (run.step("a").status, run.step("a").attempt) == ("running", 3)
    assert run.step("a").progress == TOLD


def test_waiting_in_line_takes_nothing_away():
    run = execution_of("a, b", limits={"max_concurrent_steps": 1}).started().answers("a", failed(TOLD))
    run = run.retried("a")
    assert run.step("a").status == "ready"

    assert run.completed("b").step("a").progress == TOLD


def test_a_step_that_failed_for_good_keeps_it_for_a_retry_by_hand():
    run = execution_of("a").started().answers("a", failed(TOLD, transient=False))
    assert (run.status, run.step("a").progress) == ("failed", TOLD)

    again = run.retried_as_a_whole()

    assert (again.step("a").status, again.step("a").progress) == ("running", TOLD)
    assert replay(again.plan, again.history) == again.execution


def test_what_is_asked_anew_begins_without_it():
    run = execution_of("a").started().answers("a", failed(TOLD, transient=False))

    again = run.retried_as_a_whole(given={"n": 2})

    assert (again.step("a").visit, again.step("a").progress) == (2, None)


def test_a_new_visit_begins_without_it():
    back = gateway(("steps.a.attempts > 0", "a", 3), default="end")
    run = execution_of("a -> again, again -> end", again=back).started()
    run = run.answers("a", failed(TOLD)).retried("a").completed("a")

    assert (run.step("a").visit, run.step("a").progress) == (2, None)


def test_a_visit_that_ended_well_forgets_it():
    run = execution_of("a").started().answers("a", failed(TOLD)).retried("a").completed("a")

    assert run.step("a").progress is None


def test_a_failure_that_a_step_handles_forgets_it():
    keys = {"on_error": {"action": "goto_step", "target_step": "mend"}}
    run = execution_of("a, mend", a=keys).started().answers("a", failed(TOLD, transient=False))

    assert (run.step("a").handled_by, run.step("a").progress) == ("mend", None)
