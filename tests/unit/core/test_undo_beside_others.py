"""Undoing beside sub-processes and waits: each goes its way, and all of it is owed, told and paid."""

from decimal import Decimal

import pytest

from process_engine.core.blockers import BlockerKind, blockers
from process_engine.core.children import ChildOutcome
from process_engine.core.results import Usage
from process_engine.core.work import WorkKind, execution_work, step_work
from process_engine.testing.drawing import approval, event, sub_process, timer
from process_engine.testing.executions import EXECUTION_ID, Story, execution_of

UNDO = {"compensation": {"agent": "undoer", "message": "{{ steps.a.output }}"}}


def calling(**keys: object) -> Story:
    """A step that can be undone has completed, a sub-process runs, and one more step can fail."""
    drawn = {"a": UNDO, "c": sub_process("child"), **keys}
    return execution_of("a -> c, b", **drawn).started().completed("a", "A1").child_began("c")


def kinds(run: Story) -> dict[str, WorkKind]:
    return {item.key: item.kind for item in run.work}


def test_a_cancel_gives_up_the_child_and_undoes_at_the_same_time():
    run = calling().completed("b")
    child = run.child("c")
    run = run.cancelled()

    assert run.status == "compensating"
    assert kinds(run) == {f":child/{child}": WorkKind.RECALL, ":undo:a": WorkKind.ATTEMPT}
    assert set(execution_work(EXECUTION_ID, run.execution.head)) == set(run.work)


def test_what_the_child_cost_is_paid_while_its_parent_is_undone():
    run = calling().completed("b").cancelled()

    run = run.child_ended("c", ChildOutcome.CANCELLED, usage=Usage(Decimal("0.5")))
    assert (run.status, run.undoing.step_id) == ("compensating", "a")

    run = run.undone(usage=Usage(Decimal("0.25")))
    assert (run.status, run.execution.head.cost) == ("cancelled", Decimal("0.75"))


def test_a_child_that_ends_after_its_parent_is_still_told_of():
    run = calling().completed("b").cancelled().undone()
    assert run.status == "cancelled"
    assert [item.kind for item in execution_work(EXECUTION_ID, run.execution.head)] == [WorkKind.RECALL]

    run = run.child_ended("c", ChildOutcome.CANCELLED, usage=Usage(Decimal("0.5")))

    assert run.execution.head.cost == Decimal("0.5")
    assert execution_work(EXECUTION_ID, run.execution.head) == ()


def test_a_failure_gives_up_the_child_and_then_undoes():
    run = calling().failed("b", "AGENT_ERROR")

    assert (run.status, run.undoing.step_id) == ("compensating", "a")
    assert set(kinds(run).values()) == {WorkKind.RECALL, WorkKind.ATTEMPT}
    assert run.undone().status == "failed"


def test_a_sub_process_is_undone_by_the_compensation_of_its_step():
    own = {"compensation": {"agent": "undoer", "message": "{{ steps.c.output.booking }}"}}
    run = execution_of("c -> b", c=sub_process("child") | own).started().child_began("c")
    run = run.child_ended("c", outputs={"booking": "B7"}).failed("b", "AGENT_ERROR")

    assert (run.undoing.step_id, run.step("c").undos[0].request.data["message"]) == ("c", "B7")
    assert run.undone().status == "failed"


@pytest.mark.parametrize("waits", [event("paid"), event("paid", timeout="1h"), approval(), timer("1h")])
def test_a_wait_holds_up_no_undoing(waits: dict[str, object]):
    run = execution_of("a -> w", a=UNDO, w=waits).started().completed("a", "A1").cancelled()

    assert kinds(run) == {":undo:a": WorkKind.ATTEMPT}
    assert [blocker.kind for blocker in blockers(run.execution)] == [BlockerKind.UNDO]
    assert run.undone().status == "cancelled"


def test_a_wait_without_a_timeout_is_nothing_that_runs():
    run = execution_of("w, t", w=event("paid"), t=timer("1h")).started()
    owed = step_work(EXECUTION_ID, "w", run.step("w"))

    assert (owed.due, owed.runs_at_once) == (None, False)
    assert [item.runs_at_once for item in execution_of("a").started().work] == [True]
