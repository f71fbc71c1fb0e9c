"""Outputs, large values, and what expressions read."""

from decimal import Decimal

import msgspec
import pytest

from process_engine.core import commands as c
from process_engine.core.decide import transition
from process_engine.core.results import Completed, Failed, Usage
from process_engine.core.transition import Needs
from process_engine.core.values import INLINE_LIMIT_BYTES, VALUE_LIMIT_BYTES, Value, pack
from process_engine.errors import OutputTooLarge
from process_engine.testing.drawing import timer
from process_engine.testing.executions import EXECUTION_ID, execution_of

LARGE = "x" * (INLINE_LIMIT_BYTES + 1)
SIX_MIB = "x" * (6 * 1024 * 1024)


# ---------------------------------------------------------------- packing


@pytest.mark.parametrize("value", [None, True, 0, -1.5, "ä", [], {}, [1, {"a": None}], 2**70])
def test_small_values_are_kept_in_place(value):
    assert pack(value) == (Value(value), {})


def test_a_value_comes_back_as_its_json_form():
    assert pack({"pair": (1, 2)})[0].data == {"pair": [1, 2]}
    assert pack({1: "one"})[0].data == {"1": "one"}


def test_a_value_at_the_limit_is_in_place_and_one_byte_more_makes_a_reference():
    at_limit = "x" * (INLINE_LIMIT_BYTES - 2)

    assert pack(at_limit)[0].ref is None
    packed, blobs = pack(at_limit + "x")
    assert packed.data is None
    assert packed.ref.size_bytes == INLINE_LIMIT_BYTES + 1
    assert blobs == {packed.ref.sha256: msgspec.json.encode(at_limit + "x")}


def test_what_is_over_ten_mebibytes_or_has_no_json_form_is_refused():
    with pytest.raises(OutputTooLarge):
        pack("x" * VALUE_LIMIT_BYTES)
    with pytest.raises(TypeError):
        pack(object())


def test_later_changes_of_what_was_packed_do_not_reach_the_value():
    given = {"list": [1]}
    packed, _ = pack(given)
    given["list"].append(2)

    assert packed.data == {"list": [1]}


# ---------------------------------------------------------------- outputs of steps


def test_an_output_that_is_too_large_fails_the_step_and_is_paid_for():
    usage = Usage(cost=Decimal("1.25"))
    run = execution_of("a").started().completed("a", "x" * VALUE_LIMIT_BYTES, usage=usage)

    assert run.step("a").error.code == "OUTPUT_TOO_LARGE"
    assert run.execution.head.cost == Decimal("1.25")


def test_an_output_that_is_no_json_fails_the_step():
    run = execution_of("a").started().completed("a", {1, 2, 3}.__iter__())

    assert run.step("a").error.code == "INVALID_OUTPUT"


def test_a_packed_output_is_recorded_as_it_is():
    value, blobs = pack(LARGE)
    run = execution_of("a").started()
    run = run.obeys(
        c.RecordResult(
            execution_id=EXECUTION_ID,
            step_id="a",
            visit=1,
            attempt=1,
            result=Completed(),
            value=value,
            blobs=blobs,
        )
    )

    assert run.step("a").output == value
    assert run.values == {**blobs, **pack({"a": LARGE})[1]}


def test_a_request_that_is_too_large_fails_its_step():
    run = execution_of("a & b -> c", c={"message": ["{{ steps.a.output }}", "{{ steps.b.output }}"]})
    run = run.started().completed("a", SIX_MIB).completed("b", SIX_MIB)

    assert run.step("c").error.code == "OUTPUT_TOO_LARGE"
    assert run.status == "failed"


# ---------------------------------------------------------------- large values


def test_a_large_value_that_is_not_read_is_not_asked_for():
    run = execution_of("a -> b").started().completed("a", LARGE)

    assert run.step("a").output.ref is not None
    assert run.step("b").status == "running"


def test_a_large_value_of_the_same_command_is_at_hand():
    run = (
        execution_of("a -> b", b={"message": "{{ steps.a.output | length }}"}).started().completed("a", LARGE)
    )

    assert run.step("b").request.data["message"] == len(LARGE)


def test_a_large_value_that_is_missing_is_asked_for_and_nothing_changes():
    run = execution_of("a & b -> c", c={"message": "{{ steps.a.output | length }}"}).started()
    run = run.completed("a", LARGE)
    command = c.RecordResult(
        execution_id=EXECUTION_ID, step_id="b", visit=1, attempt=1, result=Completed("small")
    )

    needs = transition(run.plan, run.execution, command, run.now)
    assert needs == Needs((run.step("a").output.ref,))
    again = transition(run.plan, run.execution, command, run.now, run.values)
    assert [event.type for event in again.events] == ["StepCompleted", "StepStarted"]


def test_a_large_input_is_a_reference_and_can_be_read():
    run = execution_of("a", a={"message": "{{ input.text | length }}"}).started({"text": LARGE})

    assert run.execution.created.input.ref is not None
    assert run.step("a").request.data["message"] == len(LARGE)


def test_a_condition_and_a_gateway_may_need_a_large_value():
    keys = {"condition": "steps.a.output.ok"}
    run = (
        execution_of("a & b -> c", c=keys)
        .started()
        .completed("a", {"ok": True, "text": LARGE})
        .completed("b")
    )

    assert run.step("c").status == "running"


def test_a_large_request_becomes_a_reference():
    run = execution_of("a -> b", b={"message": "{{ steps.a.output }}"}).started().completed("a", LARGE)

    assert run.step("b").request.ref is not None
    assert run.step("b").request.ref.sha256 in run.values


def test_what_a_transition_refers_to_for_the_first_time_is_in_its_blobs():
    run = execution_of("a -> b", b={"message": "{{ steps.a.output }}"}).started()
    command = c.RecordResult(
        execution_id=EXECUTION_ID, step_id="a", visit=1, attempt=1, result=Completed(LARGE)
    )
    made = transition(run.plan, run.execution, command, run.now)

    assert set(made.blobs) == {
        made.execution.steps["a"].output.ref.sha256,
        made.execution.steps["b"].request.ref.sha256,
    }


# ---------------------------------------------------------------- reading


def read(expression, **keys):
    return execution_of("a, b -> c", **keys, c={"message": expression})


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("{{ steps.b }}", {"n": 1}),
        ("{{ steps.b.output.n }}", 1),
        ("{{ steps.b.status }}", "completed"),
        ("{{ steps.b.attempts }}", 1),
        ("{{ steps.b.cost }}", 0.5),
        ("{{ steps.b.tokens }}", 7),
        ("{{ steps.b.agent }}", "worker"),
        ("{{ steps.b.error }}", None),
        ("{{ steps.b.duration }}", 2.0),
        ("{{ execution.id }}", "e1"),
        ("{{ process.name }} {{ process.version }}", "drawn 1"),
        ("{{ trigger.type }}", "manual"),
        ("{{ input.who }}", "you"),
    ],
)
def test_what_a_template_can_read(expression, expected):
    usage = Usage(cost=Decimal("0.5"), input_tokens=3, output_tokens=4)
    run = execution_of("b -> c", c={"message": expression}).started({"who": "you"}).after(2)
    run = run.completed("b", {"n": 1}, usage=usage)

    assert run.step("c").request.data["message"] == expected


def test_the_output_of_a_skipped_step_is_null_and_null_has_null_fields():
    keys = {"message": {"all": "{{ steps.a.output }}", "field": "{{ steps.a.output.x }}"}, "join": "any"}
    run = execution_of("a & b -> c", a={"condition": "false"}, c=keys).started().completed("b")

    assert run.step("c").request.data["message"] == {"all": None, "field": None}


def test_a_missing_value_without_default_fails_the_step_before_anybody_is_asked():
    run = execution_of("a -> b", b={"message": "{{ steps.a.output.missing }}"}).started().completed("a", {})

    assert run.told_now == ["StepCompleted a", "StepFailed b", "ProcessFailed"]
    assert "missing" in run.step("b").error.message


def test_text_from_an_agent_is_never_evaluated():
    run = (
        execution_of("a -> b", b={"message": "{{ steps.a.output }}"}).started().completed("a", "{{ input }}")
    )

    assert run.step("b").request.data["message"] == "{{ input }}"


# ---------------------------------------------------------------- outputs of the process


def test_without_named_outputs_they_are_those_of_completed_steps_without_dependants():
    run = execution_of("a -> b, a -> c, d", c={"condition": "false"}).started()
    run = run.completed("a", 1).completed("b", 2).completed("d", 4)

    assert run.execution.head.outputs.data == {"b": 2, "d": 4}


def test_named_outputs_are_evaluated_at_the_end():
    run = execution_of("a", outputs={"answer": "{{ steps.a.output }}", "twice": "steps.a.output * 2"})

    assert run.started().completed("a", 21).execution.head.outputs.data == {"answer": 21, "twice": 42}


def test_an_output_without_a_value_fails_the_execution():
    run = execution_of("a", outputs={"x": "{{ steps.a.output.nothing }}"}).started().completed("a", {})

    assert run.told_now == ["StepCompleted a", "ProcessFailed"]
    assert run.execution.head.failure.code == "EXPRESSION_ERROR"


def test_outputs_may_be_large():
    run = execution_of("a").started().completed("a", LARGE)

    assert run.execution.head.outputs.ref is not None


# ---------------------------------------------------------------- cost


def test_costs_of_all_attempts_add_up_exactly():
    dime = Usage(cost=Decimal("0.1"), input_tokens=1)
    run = execution_of("a -> b", a={"retry": {"max_attempts": 2}, "on_error": "skip_step"}).started()
    run = run.failed("a", usage=dime).retried("a").failed("a", usage=dime).completed("b", usage=dime)

    assert (run.execution.head.cost, run.execution.head.tokens) == (Decimal("0.3"), 3)
    assert run.step("a").cost == Decimal("0.2")


# ---------------------------------------------------------------- timers


@pytest.mark.parametrize(
    ("keys", "seconds"),
    [
        (timer("1h30m"), 5400),
        (timer("{{ input.n }}"), 90),
        (timer("{{ input.text }}"), 300),
        ({"type": "timer", "until": "2026-01-01T00:10:00Z"}, 600),
        ({"type": "timer", "until": "2026-01-01T02:00:00", "timezone": "Europe/Berlin"}, 3600),
        ({"type": "timer", "until": "09:30"}, 9.5 * 3600),
        ({"type": "timer", "until": "00:00"}, 24 * 3600),
        ({"type": "timer", "until": "09:30", "timezone": "Asia/Tokyo"}, 30 * 60),
    ],
)
def test_a_timer_is_due_when_it_says(keys, seconds):
    run = execution_of("a", a=keys).started({"n": 90, "text": "5m"})

    assert (run.step("a").due - run.now).total_seconds() == seconds


def test_a_moment_that_has_passed_is_due_at_once():
    run = execution_of("a", a={"type": "timer", "until": "2020-01-01T00:00:00Z"}).started()

    assert run.status == "completed"


def test_the_output_of_a_timer_says_how_long_it_really_waited():
    run = execution_of("a", a=timer("10s")).started().after(12.5).woken("a")

    assert run.step("a").output.data == {"waited_seconds": 12.5, "due_at": "2026-01-01T00:00:10+00:00"}


@pytest.mark.parametrize("delay", ["{{ input.flag }}", "{{ input.word }}", "{{ input.missing }}"])
def test_a_timer_without_a_moment_fails(delay):
    run = execution_of("a", a=timer(delay)).started({"flag": True, "word": "soon"})

    assert run.step("a").error.code == "EXPRESSION_ERROR"


def test_a_failed_result_may_carry_any_known_code():
    run = execution_of("a").started().answers("a", Failed("INVALID_OUTPUT", "half a document"))

    assert run.execution.head.failure.message == "half a document"
