"""Dead-path elimination, joins, gateways and ordering edges."""

import pytest

from process_engine.core.config import ExecutionConfig
from process_engine.testing.drawing import gateway
from process_engine.testing.executions import execution_of

SKIPPED = {"condition": "false"}
SKIPS_ERRORS = {"on_error": "skip_step"}


def going_on(drawing, **keys):
    return execution_of(drawing, config=ExecutionConfig(stop_on_failure=False), **keys)


# ---------------------------------------------------------------- join: all


def test_a_join_waits_for_every_edge():
    run = execution_of("a & b & c -> d").started().completed("a").completed("c")

    assert run.step("d").status == "pending"
    assert run.completed("b").step("d").status == "running"


def test_a_step_is_ready_as_soon_as_its_own_edges_are_settled_whatever_siblings_do():
    run = execution_of("a -> x, b -> y").started().completed("b")

    assert run.running() == ["a", "y"]


def test_a_join_runs_with_one_live_edge_among_dead_ones():
    run = execution_of("a & b -> c", a=SKIPPED).started().completed("b")

    assert run.step("c").status == "running"


def test_a_join_with_only_dead_edges_is_dead_and_so_is_all_behind_it():
    run = execution_of("a & b -> c -> d, e", a=SKIPPED, b=SKIPPED).started()

    assert [run.step(step).reason for step in "abcd"] == [
        "condition_false",
        "condition_false",
        "dead_path",
        "dead_path",
    ]


def test_a_skip_by_on_error_lets_everything_downstream_go_on():
    run = execution_of("a -> b -> c", a=SKIPS_ERRORS).started().failed("a", "AGENT_ERROR")

    assert run.step("a").reason == "error"
    assert run.step("b").status == "running"


def test_a_failed_edge_skips_the_join_and_fails_its_edges():
    run = going_on("a & b -> c -> d, a -> e").started().failed("a", "AGENT_ERROR").completed("b")

    assert [run.step(step).reason for step in "cde"] == ["dependency_failed"] * 3
    assert run.status == "failed"
    assert run.execution.head.failure.code == "AGENT_ERROR"


def test_a_failed_edge_does_not_hurry_a_join_that_still_waits():
    run = going_on("a & b -> c").started().failed("a", "AGENT_ERROR")

    assert run.step("c").status == "pending"


# ---------------------------------------------------------------- join: any and n


def test_join_any_starts_at_the_first_live_edge_and_once_only():
    run = execution_of("a & b -> c", c={"join": "any"}).started().completed("b")
    assert run.running() == ["a", "c"]

    later = run.completed("a")
    assert later.told_now == ["StepCompleted a"]
    assert later.step("c").visit == 1


def test_join_any_waits_on_when_the_first_edge_is_dead():
    run = execution_of("a & b -> c", a=SKIPPED, c={"join": "any"}).started()

    assert run.step("c").status == "pending"
    assert run.completed("b").step("c").status == "running"


def test_join_n_starts_at_the_nth_live_edge():
    run = execution_of("a & b & c -> d", d={"join": 2}).started().completed("a")

    assert run.step("d").status == "pending"
    assert run.completed("c").step("d").status == "running"


def test_join_n_is_skipped_once_too_few_can_still_become_live():
    run = execution_of("a & b & c -> d", a=SKIPPED, b=SKIPPED, d={"join": 2}).started()

    assert run.step("d").reason == "dead_path", "c alone cannot make two"
    assert run.running() == ["c"]


def test_for_join_any_dead_and_failed_edges_count_alike():
    run = going_on("a & b -> c -> d", a=SKIPPED, c={"join": "any"}).started().failed("b", "AGENT_ERROR")

    assert [run.step(step).reason for step in "cd"] == ["dead_path", "dead_path"]


def test_join_any_starts_in_spite_of_a_failed_edge():
    run = going_on("a & b -> c", c={"join": "any"}).started().failed("a", "AGENT_ERROR").completed("b")

    assert run.running() == ["c"]


# ---------------------------------------------------------------- gateways


def test_an_exclusive_gateway_takes_the_first_route_that_holds():
    run = execution_of("g, x, y, z", g=gateway(("false", "x"), ("true", "y"), ("true", "z"))).started()

    assert run.step("g").routes == ("y",)
    assert [run.step(step).status for step in "xyz"] == ["skipped", "running", "skipped"]


def test_an_exclusive_gateway_takes_its_default_when_nothing_holds():
    run = execution_of("g, x, y", g=gateway(("false", "x"), default="y")).started()

    assert run.step("g").routes == ("y",)
    assert run.running() == ["y"]


def test_an_inclusive_gateway_takes_every_route_that_holds_or_its_default():
    routes = (("input.n > 1", "x"), ("input.n > 2", "y"))
    drawn = execution_of("g, x, y, z", g=gateway(*routes, kind="inclusive", default="z"))

    assert drawn.started({"n": 3}).running() == ["x", "y"]
    assert drawn.started({"n": 2}).running() == ["x"]
    assert drawn.started({"n": 1}).running() == ["z"]


def test_a_parallel_gateway_takes_all():
    run = execution_of("g, x, y", g=gateway((None, "x"), (None, "y"), kind="parallel")).started()

    assert run.running() == ["x", "y"]


def test_a_gateway_without_a_match_or_a_default_fails_with_no_route_and_is_not_retried():
    run = execution_of("g, x", g={**gateway(("false", "x")), "retry": {"max_attempts": 5}}).started()

    assert run.step("g").error.code == "NO_ROUTE"
    assert run.told == ["ProcessStarted", "StepStarted g", "StepFailed g", "ProcessFailed"]


def test_the_output_of_a_gateway_says_what_it_chose_and_why():
    run = execution_of("g, x, y", g=gateway(("input.n > 5", "x"), ("true", "y"))).started({"n": 1})

    assert run.step("g").output.data == {
        "route": "y",
        "routes": ["y"],
        "evaluated": [
            {"condition": "input.n > 5", "target": "x", "result": False},
            {"condition": "true", "target": "y", "result": True},
        ],
    }


def test_a_join_behind_an_exclusive_gateway_waits_for_nothing_that_cannot_come():
    run = execution_of("g, x & y -> j", g=gateway(("true", "x"), default="y")).started()

    assert run.step("y").reason == "route_not_taken"
    assert run.completed("x").running() == ["j"]


def test_another_live_dependency_is_no_way_around_a_gateway():
    run = execution_of("g, a -> x, y", g=gateway(("false", "x"), default="y")).started().completed("a")

    assert run.step("x").reason == "route_not_taken"


def test_a_descendant_of_the_gateway_that_did_not_choose_a_target_may_lead_to_it():
    """The gateway goes to y, and y leads on to x, which the gateway could have chosen directly."""
    run = execution_of("g, y -> x", g=gateway(("false", "x"), default="y")).started()

    assert run.step("x").status == "pending"
    assert run.completed("y").running() == ["x"]


def test_a_gateway_that_has_not_decided_has_let_nobody_through():
    run = execution_of(
        "slow -> g, a -> x, a & g -> b -> x",
        g=gateway((None, "x"), kind="parallel"),
        b={"join": "any"},
        x={"join": "any"},
    )
    run = run.started().completed("a").completed("b")

    assert run.step("x").status == "pending"
    assert run.completed("slow").running() == ["x"]


def test_the_routes_of_a_gateway_that_is_skipped_are_dead():
    run = execution_of("g, x -> y, z", g={**gateway((None, "x")), "condition": "false"}).started()

    assert [run.step(step).reason for step in "gxy"] == ["condition_false", "dead_path", "dead_path"]


def test_nobody_chose_a_route_of_a_gateway_that_failed_and_was_skipped():
    run = execution_of("g, x, g -> y", g={**gateway(("false", "x")), "on_error": "skip_step"}).started()

    assert run.step("x").reason == "dead_path"
    assert run.running() == ["y"]


# ---------------------------------------------------------------- ordering edges


def reads(step):
    return {"message": f"{{{{ steps.{step}.output | default('none') }}}}"}


def test_a_read_of_a_step_that_is_no_ancestor_is_waited_for():
    run = execution_of("a, b", b=reads("a")).started()

    assert run.running() == ["a"]
    assert run.completed("a", "x").step("b").request.data["message"] == "x"


@pytest.mark.parametrize("keys", [SKIPPED, SKIPS_ERRORS])
def test_an_ordering_edge_never_decides_whether_a_step_lives(keys):
    run = execution_of("a, b", a=keys, b=reads("a")).started()
    run = run if run.running() == ["b"] else run.failed("a", "AGENT_ERROR")

    assert run.running() == ["b"]


def test_a_failed_step_at_the_end_of_an_ordering_edge_does_not_skip_the_reader():
    run = going_on("a, b", b=reads("a")).started().failed("a", "AGENT_ERROR")

    assert run.running() == ["b"]


def test_a_dead_path_waits_for_an_ordering_edge_too_and_is_dead_all_the_same():
    run = execution_of("a, x -> b", x=SKIPPED, b=reads("a")).started()
    assert run.step("b").status == "pending"

    assert run.completed("a").step("b").reason == "dead_path"


def test_join_any_waits_for_its_ordering_edges():
    run = execution_of("a, x & y -> b", b={**reads("a"), "join": "any"}).started().completed("x")

    assert run.step("b").status == "pending"
    assert run.completed("a").step("b").status == "running"


# ---------------------------------------------------------------- conditions


def test_a_condition_is_not_asked_again_when_the_step_gets_its_slot():
    run = execution_of(
        "a -> b, a -> c, a -> d",
        limits={"max_concurrent_steps": 1},
        c={"condition": "steps.a.attempts == 1"},
    )
    run = run.started().completed("a")
    assert run.step("c").status == "ready"

    assert run.completed("b").step("c").status == "running"


def test_a_condition_without_a_value_fails_its_step():
    run = execution_of("a", a={"condition": "input.n > 1"}).started({})

    assert run.told == ["ProcessStarted", "StepFailed a", "ProcessFailed"]
    assert run.step("a").error.code == "EXPRESSION_ERROR"


def test_a_condition_without_a_value_is_handled_by_on_error():
    run = execution_of("a -> b", a={"condition": "input.n > 1", "on_error": "skip_step"}).started({})

    assert run.step("a").reason == "error"
    assert run.running() == ["b"]
