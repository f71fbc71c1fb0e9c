"""What is to be done after a commit follows from the state alone."""

from process_engine.core.config import ExecutionConfig
from process_engine.core.work import WorkItem, WorkKind, execution_work, step_work
from process_engine.testing.drawing import timer
from process_engine.testing.executions import EXECUTION_ID, execution_of


def kinds(run):
    return {item.key: str(item.kind) for item in run.work}


def test_each_state_owes_its_work():
    run = execution_of("a, b, t, z -> y", t=timer("1h"), limits={"timeout": "2h"}).started().failed("b")

    assert kinds(run) == {"a": "attempt", "b": "retry", "t": "timer", "z": "attempt", ":deadline": "deadline"}


def test_an_attempt_names_its_visit_and_number_and_has_no_time():
    run = execution_of("a").started().interrupted("a")

    assert run.work == (WorkItem(EXECUTION_ID, "a", WorkKind.ATTEMPT, visit=1, attempt=2),)


def test_a_timer_is_due_when_the_step_says():
    run = execution_of("t", t=timer("1h")).started()

    assert run.work == (WorkItem(EXECUTION_ID, "t", WorkKind.TIMER, 1, 1, due=run.step("t").due),)


def test_a_step_in_line_owes_nothing_yet():
    run = execution_of("a, b", config=ExecutionConfig(max_concurrent_steps=1)).started()

    assert kinds(run) == {"a": "attempt"}


def test_settled_work_is_named_as_done():
    run = execution_of("a -> b").started()
    from_a = {item.key for item in run.work}
    run = run.completed("a")

    assert from_a == {"a"}
    assert kinds(run) == {"b": "attempt"}


def test_a_stopping_execution_owes_its_grace_instead_of_its_deadline():
    run = execution_of("a, b", limits={"timeout": "2h"}).started().failed("a", "AGENT_ERROR")

    assert kinds(run) == {"b": "attempt", ":grace": "grace"}


def test_an_execution_that_has_ended_owes_nothing():
    run = execution_of("a, t", t=timer("1h"), limits={"timeout": "2h"}).started().cancelled()

    assert run.work == ()
    assert execution_work(EXECUTION_ID, run.execution.head) == ()
    assert [step_work(EXECUTION_ID, step, run.step(step)) for step in ("a", "t")] == [None, None]


def test_what_a_transition_adds_and_settles_leads_from_one_state_to_the_next():
    """The story keeps its work by these two lists alone, and the invariant compares it with the state."""
    run = execution_of("a -> b -> c, t", t=timer("1h"), limits={"timeout": "2h"}).started()
    for verb in (
        lambda r: r.failed("a"),
        lambda r: r.retried("a"),
        lambda r: r.completed("a"),
        lambda r: r.cancelled(),
    ):
        run = verb(run).checked()

    assert run.work == ()
