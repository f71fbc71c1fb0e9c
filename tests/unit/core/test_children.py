"""What a step makes of its sub-process: how it waits, ends, tries again, and lets go."""

from __future__ import annotations

from decimal import Decimal

import pytest

from process_engine.core import commands as c
from process_engine.core import events as e
from process_engine.core.blockers import BlockerKind, blockers
from process_engine.core.children import ChildOutcome, Parent, child_id
from process_engine.core.results import Usage
from process_engine.core.values import NULL
from process_engine.core.work import WorkKind
from process_engine.errors import CommandRejected
from process_engine.ids import ExecutionId, StepId
from process_engine.testing.drawing import gateway, sub_process
from process_engine.testing.executions import EXECUTION_ID, execution_of

COMPLETED, FAILED, CANCELLED, REFUSED = ChildOutcome
USAGE = Usage(Decimal("0.5"), other_tokens=7)
AGAIN = {"retry": {"max_attempts": 2, "retry_on": ["CHILD_FAILED"], "initial_delay": "1s", "jitter": False}}


def calling(drawn="call -> after", **keys):
    """An execution that waits for the child of `call`."""
    return execution_of(drawn, call=sub_process("child", **keys)).started({"n": 3})


def kinds(run):
    return [(item.key, item.kind) for item in run.work]


def test_a_call_tells_its_story_in_order():
    run = calling().child_ended("call", outputs={"n": 4})

    assert [line for line in run.told if line.endswith(" call")] == [
        "StepStarted call",
        "StepWaiting call",
        "ChildStarted call",
        "StepCompleted call",
    ]
    assert run.step("call").output.data == {"n": 4}
    assert run.running() == ["after"]


def test_what_a_child_is_given_is_rendered_once_with_types_kept():
    run = calling(input={"n": "{{ input.n }}", "deep": [{"n": "{{ input.n + 1 }}"}]}, **AGAIN)
    given = run.step("call").request

    run = run.child_ended("call", FAILED).retried("call")

    assert given is not None
    assert given.data == {"input": {"n": 3, "deep": [{"n": 4}]}}
    assert run.step("call").request == given


def test_an_input_without_a_value_fails_the_step_before_anything_is_started():
    run = calling("call", input={"n": "{{ input.missing }}"})

    assert run.step("call").error.code == "EXPRESSION_ERROR"
    assert not any(isinstance(event, e.ChildStarted) for event in run.history)


def test_the_id_of_a_child_follows_from_the_attempt_and_from_nothing_else():
    of = child_id(EXECUTION_ID, StepId("call"), 1, 1)

    assert calling().child("call") == calling(input={"x": 1}).child("call") == of
    others = {
        child_id(ExecutionId("e2"), StepId("call"), 1, 1),
        child_id(EXECUTION_ID, StepId("other"), 1, 1),
        child_id(EXECUTION_ID, StepId("call"), 2, 1),
        child_id(EXECUTION_ID, StepId("call"), 1, 2),
        child_id(EXECUTION_ID, StepId("call"), 1, 1, item=0),
        child_id(EXECUTION_ID, StepId("call"), 1, 1, item=1),
        of,
    }
    assert len(others) == 7
    assert {len(one) for one in others} == {20}


def test_a_waiting_step_holds_nothing_and_names_its_child():
    run = calling("call, a", timeout="90s")

    assert run.running() == ["a"]
    found = {blocker.kind: blocker for blocker in blockers(run.execution)}
    assert found[BlockerKind.CHILD].detail == run.child("call")
    assert (found[BlockerKind.CHILD].due - run.now).total_seconds() == 90
    assert ("call", WorkKind.CHILD) in kinds(run)


def test_a_child_has_an_hour_unless_the_step_says_otherwise():
    run = calling()

    assert (run.step("call").due - run.now).total_seconds() == 3600


def test_one_field_of_the_outputs_is_the_output():
    assert calling(output_key="n").child_ended("call", outputs={"n": [1]}).step("call").output.data == [1]

    missing = calling("call", output_key="x").child_ended("call", outputs={"n": 1, "m": 2})
    assert missing.step("call").error.code == "INVALID_OUTPUT"
    assert missing.step("call").error.message.endswith("gave no `x`, its `output_key`; it gave m, n")


def test_a_large_output_is_needed_only_to_pick_from_it():
    big = {"text": "x" * 100_000}
    whole = calling("call").child_ended("call", outputs=big)
    assert whole.step("call").output.ref is not None

    picked = calling("call", output_key="text").child_ended("call", outputs=big)
    assert picked.step("call").output.ref is not None
    assert picked.step("call").output != whole.step("call").output


@pytest.mark.parametrize("outcome", [FAILED, CANCELLED, REFUSED])
def test_a_child_that_does_not_complete_fails_its_step(outcome):
    run = calling().child_ended("call", outcome, message="why it was so")

    assert run.status == "failed"
    failure = run.execution.head.failure
    assert (failure.code, failure.message, failure.step_id) == ("CHILD_FAILED", "why it was so", "call")


def test_on_error_handles_a_child_that_failed():
    run = calling(on_error="skip_step").child_ended("call", FAILED)

    assert run.step("call").status == "skipped"
    assert run.running() == ["after"]


def test_a_failed_child_is_not_called_again_unasked():
    run = calling(retry={"max_attempts": 3}).child_ended("call", FAILED)

    assert run.status == "failed"


def test_a_retry_that_was_asked_for_calls_a_fresh_child_after_the_former_has_ended():
    run = calling(**AGAIN)
    first = run.child("call")
    run = run.child_ended("call", FAILED)
    assert run.told_now == ["StepRetrying call"]
    assert run.child("call") == first

    run = run.retried("call")
    assert run.child("call") == child_id(EXECUTION_ID, StepId("call"), 1, 2) != first
    assert run.child_ended("call", COMPLETED, child_id=first).events == ()
    assert run.child_ended("call", FAILED).status == "failed"


def test_the_same_end_told_twice_changes_nothing():
    run = calling().child_ended("call", usage=USAGE)

    again = run.child_ended("call", FAILED, usage=USAGE)

    assert again.events == ()
    assert again.execution == run.execution
    assert run.execution.head.cost == Decimal("0.5")


def test_the_end_of_a_stranger_changes_nothing():
    run = calling()

    assert run.child_ended("call", child_id=ExecutionId("somebody")).events == ()


@pytest.mark.parametrize("outcome", [COMPLETED, FAILED, CANCELLED])
def test_what_a_child_cost_is_paid_however_it_ended(outcome):
    run = calling("call").child_ended("call", outcome, usage=USAGE)

    assert (run.execution.head.cost, run.execution.head.tokens) == (Decimal("0.5"), 7)
    assert (run.step("call").cost, run.step("call").tokens) == (Decimal("0.5"), 7)


# ---------------------------------------------------------------- without waiting


def test_a_step_that_does_not_wait_completes_once_its_child_is_recorded():
    run = calling(wait=False)
    assert run.step("call").status == "waiting"

    run = run.child_began("call")

    assert run.step("call").output.data == {"execution_id": run.child("call")}
    assert run.child_ended("call", FAILED, usage=USAGE).events == ()


def test_the_end_of_a_child_says_as_well_that_it_began():
    run = calling(wait=False).child_ended("call", FAILED, usage=USAGE)

    assert run.step("call").status == "completed"
    assert run.execution.head.cost == 0


def test_a_child_that_never_began_fails_a_step_that_does_not_wait():
    assert calling(wait=False).child_ended("call", REFUSED).status == "failed"


def test_that_a_child_began_ends_no_step_that_waits():
    assert calling().child_began("call").events == ()


# ---------------------------------------------------------------- giving up


def test_a_step_whose_time_is_up_fails_once_its_child_has_ended():
    run = calling(timeout="10s").retried("call")
    assert [event.type for event in run.events] == ["ChildRecalled"]
    assert ("call", WorkKind.RECALL) in kinds(run)

    assert run.woken("call").events == ()
    run = run.child_ended("call", CANCELLED, usage=USAGE)

    assert run.execution.head.failure.code == "TIMEOUT"
    assert run.execution.head.cost == Decimal("0.5")


def test_the_deadline_wins_over_an_end_that_comes_after_it():
    run = calling(timeout="10s").retried("call").child_ended("call", COMPLETED)

    assert run.execution.head.failure.code == "TIMEOUT"


def test_an_end_wins_over_the_deadline_that_comes_after_it():
    run = calling(timeout="10s").at_due("call").child_ended("call", COMPLETED)

    assert run.step("call").status == "completed"
    assert run.woken("call").events == ()


def test_a_timeout_is_tried_again_with_a_fresh_child():
    run = calling(timeout="10s", retry={"max_attempts": 2, "jitter": False}).retried("call")
    run = run.child_ended("call", CANCELLED)
    assert run.told_now == ["StepRetrying call"]

    assert run.retried("call").child("call") == child_id(EXECUTION_ID, StepId("call"), 1, 2)


def test_a_step_that_does_not_wait_gives_up_a_child_that_never_begins():
    run = calling(wait=False, timeout="10s").retried("call")

    assert run.child_began("call").events == ()
    assert run.child_ended("call", REFUSED).execution.head.failure.code == "TIMEOUT"


def test_a_cancelled_parent_owes_its_children_a_cancel_until_they_have_ended():
    run = calling().cancelled()
    child = run.child("call")
    assert run.status == "cancelled"
    assert kinds(run) == [(f":child/{child}", WorkKind.RECALL)]

    run = run.child_ended("call", CANCELLED, usage=USAGE)

    assert [event.type for event in run.events] == ["ChildEnded"]
    assert run.work == ()
    assert run.execution.head.cost == Decimal("0.5")
    assert run.child_ended("call", CANCELLED, usage=USAGE).events == ()


def test_a_failure_elsewhere_gives_children_up():
    run = calling("call, a").failed("a", "AGENT_ERROR")

    assert run.status == "failed"
    assert [kind for _, kind in kinds(run)] == [WorkKind.RECALL]


def test_a_loop_gives_up_the_child_of_the_visit_before_and_calls_anew():
    run = execution_of(
        "start -> call, start -> g -> end",
        call=sub_process("child"),
        g=gateway(("steps.start.output == 1", "start", 3), default="end"),
    )
    run = run.started().completed("start", 1)
    first = run.history[-1]
    former = child_id(EXECUTION_ID, StepId("call"), 1, 1)
    assert [recall.id for recall in run.execution.head.recalls] == [former], first

    run = run.completed("start", 2)
    assert run.child("call") == child_id(EXECUTION_ID, StepId("call"), 2, 1)
    late = run.child_ended("call", COMPLETED, {"n": 1}, child_id=former, usage=USAGE)
    assert late.step("call").status == "waiting"
    assert late.execution.head.recalls == ()
    (ended,) = late.events
    assert (ended.visit, ended.attempt) == (1, 1)
    assert late.child_ended("call", COMPLETED, {"n": 2}).step("call").output.data == {"n": 2}


def test_a_paused_parent_takes_the_end_of_its_child_and_starts_nothing():
    run = calling().paused().child_ended("call", outputs={"n": 1})

    assert run.step("call").status == "completed"
    assert run.step("after").status == "ready"


# ---------------------------------------------------------------- being called


def child_of(parent: Parent):
    run = execution_of("a")
    return run.obeys(
        c.StartExecution(
            execution_id=EXECUTION_ID, input=NULL, parent=parent, correlation_id="root", started_by="ann"
        )
    )


def test_a_child_knows_its_parent_and_the_tree_it_belongs_to():
    parent = Parent(ExecutionId("above"), StepId("call"), 1, 2, depth=3)

    run = child_of(parent)

    assert run.execution.created.parent == parent
    assert {event.correlation_id for event in run.history} == {"root"}


def test_a_child_whose_end_its_parent_knows_is_not_taken_back():
    run = child_of(Parent(ExecutionId("above"), StepId("call"), 1, 1)).failed("a", "AGENT_ERROR")

    refusal = run.refuses(c.RetryStep(execution_id=EXECUTION_ID))

    assert "above" in str(refusal)
    alone = child_of(Parent(ExecutionId("above"), StepId("call"), 1, 1, waits=False))
    assert alone.failed("a", "AGENT_ERROR").retried_as_a_whole().status == "running"


def test_a_message_about_a_step_that_is_not_there_is_refused():
    with pytest.raises(CommandRejected, match="has no step"):
        calling().child_ended("nowhere", child_id=ExecutionId("x"))
