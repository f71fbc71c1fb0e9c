from process_engine.core.blockers import Blocker, BlockerKind, blockers
from process_engine.core.config import ExecutionConfig
from process_engine.testing.drawing import timer
from process_engine.testing.executions import execution_of


def test_everything_that_an_execution_waits_for_is_named_most_important_first():
    config = ExecutionConfig(max_concurrent_steps=1)
    run = execution_of("r, a, b, t", t=timer("1h"), config=config).started().failed("r").paused()

    assert [(blocker.kind, blocker.step_id) for blocker in blockers(run.execution)] == [
        ("pause", None),
        ("attempt", "a"),
        ("slot", "b"),
        ("timer", "t"),
        ("retry", "r"),
    ]


def test_a_held_execution_waits_to_be_resumed():
    assert blockers(execution_of("a").started(hold=True).execution) == (Blocker(BlockerKind.HELD),)


def test_what_has_a_time_says_when_it_is_due():
    run = execution_of("t", t=timer("1h")).started()

    (blocker,) = blockers(run.execution)
    assert (blocker.kind, blocker.due) == ("timer", run.step("t").due)


def test_an_execution_that_has_ended_waits_for_nothing():
    assert blockers(execution_of("a").started().completed("a").execution) == ()
