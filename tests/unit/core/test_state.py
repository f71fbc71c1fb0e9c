from itertools import product

import pytest

from process_engine.core.evolve import Evolution
from process_engine.core.state import (
    EXECUTION_MOVES,
    FINAL,
    SETTLED,
    STEP_MOVES,
    ExecutionStatus,
    StepState,
    StepStatus,
)
from process_engine.errors import InternalError
from process_engine.ids import StepId
from process_engine.testing.executions import execution_of


def test_every_status_has_its_row_in_the_tables():
    assert set(EXECUTION_MOVES) == set(ExecutionStatus)
    assert set(STEP_MOVES) == set(StepStatus)


def test_nothing_leads_out_of_a_final_status_but_the_reopening_of_a_failed_execution():
    assert {status: EXECUTION_MOVES[status] for status in FINAL} == {
        ExecutionStatus.COMPLETED: frozenset(),
        ExecutionStatus.CANCELLED: frozenset(),
        ExecutionStatus.FAILED: {ExecutionStatus.RUNNING},
    }


def test_nothing_leads_out_of_a_settled_step_but_a_new_visit():
    assert {move for status in SETTLED for move in STEP_MOVES[status]} == {StepStatus.PENDING}


def test_every_status_of_a_step_can_be_reached_from_pending():
    reached = {StepStatus.PENDING}
    while more := {target for status in reached for target in STEP_MOVES[status]} - reached:
        reached |= more

    assert reached == set(StepStatus)


@pytest.mark.parametrize(
    ("old", "new"),
    [(old, new) for old, new in product(StepStatus, StepStatus) if new not in STEP_MOVES[old]],
)
def test_a_move_of_a_step_that_is_not_in_the_table_is_refused_and_changes_nothing(old, new):
    run = execution_of("a, b").started()
    evolution = Evolution(run.plan, run.execution)
    evolution.steps[StepId("a")] = StepState(status=old)
    before = dict(evolution.steps)

    with pytest.raises(InternalError, match=f"cannot become {new}"):
        evolution.set_step(StepId("a"), StepState(status=new))

    assert evolution.steps == before
    assert evolution.changed == {}


@pytest.mark.parametrize(
    ("old", "new"),
    [(old, new) for old, new in product(ExecutionStatus, ExecutionStatus) if new not in EXECUTION_MOVES[old]],
)
def test_a_move_of_an_execution_that_is_not_in_the_table_is_refused_and_changes_nothing(old, new):
    run = execution_of("a").started()
    evolution = Evolution(run.plan, run.execution)
    evolution.status = old

    with pytest.raises(InternalError, match=f"{old} cannot become {new}"):
        evolution.become(new)

    assert evolution.status is old


def test_retries_are_the_attempts_after_the_first():
    assert StepState().retry_count == 0
    assert StepState(attempt=1).retry_count == 0
    assert StepState(attempt=3).retry_count == 2
