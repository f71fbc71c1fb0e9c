"""Loops by gateways and by error handlers, and the way forward to an error handler."""

from decimal import Decimal

import pytest

from process_engine.core.config import ExecutionConfig
from process_engine.core.results import Completed, Usage
from process_engine.testing.drawing import gateway, timer
from process_engine.testing.executions import execution_of


def review_loop(max_visits=3, **keys):
    """write → review; back to write until the review is good."""
    again = gateway(("steps.review.output.good", "publish"), ("true", "write", max_visits))
    return execution_of("write -> review -> check, publish", check=again, **keys)


def test_a_route_to_an_ancestor_begins_a_new_visit_of_it_and_all_behind_it():
    run = review_loop().started().completed("write").completed("review", {"good": False})

    assert run.told_now == [
        "StepCompleted review",
        "StepStarted check",
        "StepCompleted check",
        "StepStarted write",
    ]
    assert {step: run.step(step).visit for step in run.plan.order} == {
        "write": 2,
        "review": 2,
        "check": 2,
        "publish": 2,
    }
    assert run.step("review").status == "pending"


def test_the_other_routes_of_a_gateway_that_goes_back_emit_no_skip():
    run = review_loop().started().completed("write").completed("review", {"good": False})

    assert not any("Skipped" in line for line in run.told)


def test_a_loop_ends_when_its_condition_says_so():
    run = review_loop().started().completed("write").completed("review", {"good": False})
    run = run.completed("write").completed("review", {"good": True}).completed("publish", "done")

    assert run.status == "completed"
    assert run.execution.head.outputs.data == {"publish": "done"}


def test_a_loop_that_goes_round_too_often_fails_and_on_error_does_not_handle_it():
    run = review_loop(max_visits=2).started()
    for _ in range(2):
        run = run.completed("write").completed("review", {"good": False})

    assert run.told_now[-2:] == ["StepFailed check", "ProcessFailed"]
    assert run.execution.head.failure.code == "VISITS_EXCEEDED"


def test_on_error_does_not_handle_a_loop_without_end():
    check = {**gateway(("true", "a", 1), default="b"), "on_error": "skip_step"}
    run = execution_of("a -> check, b", check=check).started().completed("a")

    assert run.step("check").status == "failed"
    assert run.status == "failed"


def test_what_is_in_motion_is_cancelled_by_a_loop():
    check = gateway(("steps.b.output.again", "a", 3), default="end")
    run = execution_of("a -> b -> check, a -> slow, a -> wait, end", check=check, wait=timer("1h"))
    run = run.started().completed("a").completed("b", {"again": True})

    assert run.told_now == [
        "StepCompleted b",
        "StepStarted check",
        "StepCompleted check",
        "StepCancelled slow",
        "StepCancelled wait",
        "StepStarted a",
    ]
    assert [item.key for item in run.work] == ["a"]


def test_edges_from_outside_the_region_keep_their_state():
    check = gateway(("steps.b.output.again | default(false)", "b", 3), default="end")
    run = execution_of("a & x -> b -> check, end", check=check).started()
    run = run.completed("a").completed("x").completed("b", {"again": True})

    assert run.running() == ["b"], "b need not wait for a and x again"
    assert run.step("a").visit == 1


def test_a_join_inside_the_region_waits_for_its_edges_again():
    check = gateway(("steps.j.output.again | default(false)", "a", 3), default="end")
    run = execution_of("a -> b, a -> c, b & c -> j -> check, end", check=check).started()
    run = run.completed("a").completed("b").completed("c").completed("j", {"again": True})
    run = run.completed("a").completed("b")

    assert run.step("j").status == "pending"
    assert run.completed("c").step("j").status == "running"


def test_a_result_of_the_visit_before_changes_nothing():
    run = review_loop().started().completed("write").completed("review", {"good": False})

    from_before = run.completed("write").answers("review", Completed({"good": True}), visit=1)
    assert from_before.events == ()


def test_a_step_of_the_loop_reads_what_the_visit_before_came_to():
    write = {"message": "{{ steps.review.output.text | default('first draft') }}"}
    run = review_loop(write=write).started()
    assert run.step("write").request.data["message"] == "first draft"

    run = run.completed("write").completed("review", {"good": False, "text": "too long"})
    assert run.step("write").request.data["message"] == "too long"


def test_a_condition_is_asked_again_in_each_visit():
    write = {"condition": "steps.review.output.n | default(0) < 1"}
    run = review_loop(write=write).started().completed("write")
    run = run.completed("review", {"good": False, "n": 1})

    assert (run.step("write").status, run.step("write").reason) == ("skipped", "condition_false")


def test_an_ordering_edge_that_leads_out_of_the_region_is_open_again():
    check = gateway(("steps.b.output.again | default(false)", "a", 3), default="end")
    late = {"message": "{{ steps.b.output.again | default(false) }}"}
    run = execution_of("a -> b -> check, x -> late, end", check=check, late=late).started()
    run = run.completed("a").completed("b", {"again": True}).completed("x")

    assert run.step("late").status == "pending", "b has begun a new visit"
    run = run.completed("a").completed("b", {"again": False})
    assert run.step("late").request.data["message"] is False


# ---------------------------------------------------------------- goto_step


def goto(target, max_visits=10):
    return {"on_error": {"action": "goto_step", "target_step": target, "max_visits": max_visits}}


def test_a_goto_to_an_ancestor_begins_a_new_visit():
    run = execution_of("a -> b", b=goto("a")).started().completed("a").failed("b", "AGENT_ERROR")

    assert run.told_now == ["StepFailed b", "StepStarted a"]
    assert [run.step(step).visit for step in "ab"] == [2, 2]
    assert run.completed("a").completed("b").status == "completed"


def test_a_goto_to_itself_tries_the_step_again_as_a_new_visit():
    run = execution_of("a", a=goto("a", 2)).started().failed("a", "AGENT_ERROR")

    assert (run.step("a").visit, run.running()) == (2, ["a"])
    assert run.failed("a", "AGENT_ERROR").execution.head.failure.code == "VISITS_EXCEEDED"


def test_a_goto_back_is_bounded_and_its_last_attempt_is_paid_for():
    usage = Usage(cost=Decimal("0.5"), input_tokens=3)
    run = execution_of("a -> b", b=goto("a", 1)).started().completed("a")
    run = run.failed("b", "AGENT_ERROR", usage=usage)

    assert run.execution.head.failure.code == "VISITS_EXCEEDED"
    assert (run.execution.head.cost, run.execution.head.tokens) == (Decimal("0.5"), 3)


def test_a_goto_forward_runs_the_error_handler_and_does_not_fail_the_execution():
    run = execution_of("a -> b, h", a=goto("h")).started().failed("a", "AGENT_ERROR")

    assert run.step("a").handled_by == "h"
    assert run.step("b").reason == "dependency_failed"
    assert run.completed("h").status == "completed"


def test_an_error_handler_is_dead_when_nothing_fails():
    run = execution_of("a, h", a=goto("h")).started().completed("a")

    assert run.step("h").reason == "dead_path"
    assert run.status == "completed"


def test_an_error_handler_is_dead_when_its_source_is_skipped():
    run = execution_of("a, h", a={**goto("h"), "condition": "false"}).started()

    assert run.step("h").reason == "dead_path"


def test_a_condition_that_fails_goes_to_the_error_handler_too():
    run = execution_of("a, h", a={**goto("h"), "condition": "input.n > 1"}).started({})

    assert run.running() == ["h"]


@pytest.mark.parametrize("slots", [1, 2])
def test_a_start_that_fails_and_goes_back_starts_nothing_of_the_region_it_reopened(slots):
    """x stands in line before y; its message cannot be rendered and it goes back to r, which y depends on."""
    x = {"message": "{{ steps.r.output.text }} and more", **goto("r", 3)}
    run = execution_of(
        "r -> w, r -> v, r -> x, r -> y", config=ExecutionConfig(max_concurrent_steps=slots), x=x
    )
    run = run.started().completed("r", {"text": None}).completed("w")
    run = run if slots == 2 else run.completed("v")

    assert run.running() == ["r"]
    assert [run.step(step).status for step in "wvxy"] == ["pending"] * 4


def test_starts_that_fail_and_go_back_leave_no_slot_free_while_steps_stand_in_line():
    """x and y cannot be rendered and go back to r and q: both must start, though both were in line."""
    x = {"message": "{{ steps.r.output.text }} and more", **goto("r", 3)}
    y = {"message": "{{ steps.q.output.text }} and more", **goto("q", 3)}
    run = execution_of(
        "r -> w, r -> x, q -> v, q -> y, l", config=ExecutionConfig(max_concurrent_steps=2), x=x, y=y
    )
    run = run.started().completed("r", {"text": None}).completed("q", {"text": None}).completed("l")

    assert run.running() == ["r", "q"]


def test_a_step_that_a_loop_puts_back_in_line_stands_at_its_end():
    """s and z stand in line; x before them goes back to s, and both queue behind z now."""
    x = {"message": "{{ steps.s.output.text | default(null) }} and more", "join": "any", **goto("s", 3)}
    run = execution_of(
        "r -> w, r -> x, r -> s -> x, r -> z", config=ExecutionConfig(max_concurrent_steps=1), x=x
    )
    run = run.started().completed("r")
    assert run.execution.progress.queue == ("x", "s", "z")

    run = run.completed("w")
    assert run.running() == ["z"]
    assert run.execution.progress.queue == ("x", "s")
