"""Steps that run once for each item of a list."""

from decimal import Decimal

import pytest

from process_engine.core import commands as c
from process_engine.core.blockers import BlockerKind, blockers
from process_engine.core.config import ExecutionConfig
from process_engine.core.items import OpenItem
from process_engine.core.results import Completed, Failed, Usage
from process_engine.core.state import StepStatus
from process_engine.core.work import WorkKind
from process_engine.testing.drawing import gateway
from process_engine.testing.executions import BEGINNING, EXECUTION_ID, execution_of


def each(count: int = 3, *, on_error: str = "fail", most: int = 2, **keys: object) -> dict[str, object]:
    rules = {"items": [f"item {n}" for n in range(count)], "max_concurrency": most, "on_item_error": on_error}
    return {"message": "{{ item }}", "for_each": rules, **keys}


def run_of(drawn: str = "a", *, config: ExecutionConfig | None = None, **keys: object):
    return execution_of(drawn, config=config, **{"a": each(), **keys})


def open_items(run, step: str = "a") -> list[tuple[int, int, bool]]:
    items = run.step(step).items
    return [(item.index, item.attempt, item.running) for item in items.open]


def keys_of(work) -> list[str]:
    return [item.key for item in work]


# ---------------------------------------------------------------- the way through


def test_as_many_items_begin_as_may_be_open():
    run = run_of().started()

    assert open_items(run) == [(0, 1, True), (1, 1, True)]
    assert keys_of(run.work) == ["a[0]", "a[1]"]
    assert run.told == ["ProcessStarted", "StepStarted a"]


def test_the_next_item_begins_with_the_end_of_one():
    run = run_of().started().item_answers("a", 1, Completed("one"))

    assert open_items(run) == [(0, 1, True), (2, 1, True)]
    assert keys_of(run.work) == ["a[0]", "a[2]"]


def test_the_output_is_the_list_in_the_order_of_the_items():
    run = run_of("a -> b").started()
    for index in (1, 2, 0):
        run = run.item_answers("a", index, Completed({"n": index}))

    assert [item.kind for item in run.work] == [WorkKind.COLLECT]
    assert run.step("a").status is StepStatus.RUNNING

    run = run.collected("a")

    assert run.step("a").output.data == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert run.step("a").errors.data == []
    assert run.told_now == ["StepCompleted a", "StepStarted b"]


def test_an_empty_list_gives_an_empty_list_at_once():
    run = run_of("a -> b", a=each(0)).started()

    assert run.step("a").output.data == []
    assert run.running() == ["b"]


def test_the_list_may_come_from_the_input():
    step = {"message": "{{ item }}", "for_each": {"items": "{{ input.rows }}"}}
    run = run_of(a=step).started({"rows": [7, 8]})

    assert run.step("a").items.total == 2
    assert run.step("a").request.data == {"items": [7, 8], "steps": {}}


@pytest.mark.parametrize("given", [None, "text", 7, {"a": 1}])
def test_what_is_no_list_fails_the_step(given):
    step = {"message": "{{ item }}", "for_each": {"items": "{{ input.rows }}"}}
    run = run_of(a=step).started({"rows": given})

    assert run.step("a").error.code == "EXPRESSION_ERROR"
    assert "not a list" in run.step("a").error.message
    assert run.status == "failed"


def test_a_list_of_a_million_is_refused_before_anything_runs():
    step = {"message": "{{ item }}", "for_each": {"items": "{{ input.rows }}"}}
    run = run_of(a=step).started({"rows": [0] * 1_000_000})

    assert run.step("a").error.code == "TOO_MANY_ITEMS"
    assert "1,000,000 items, the limit is 100,000" in run.step("a").error.message
    assert run.step("a").attempt == 0


def test_a_long_list_is_kept_apart_from_the_record_that_is_written_with_every_item():
    run = run_of(a=each(300)).started()

    assert run.step("a").request.ref is not None


def test_costs_are_those_of_all_items():
    run = run_of(a=each(2)).started()
    usage = Usage(cost=Decimal("0.5"), input_tokens=3)
    run = run.item_answers("a", 0, Completed(usage=usage)).item_answers("a", 1, Completed(usage=usage))
    run = run.collected("a")

    assert run.step("a").cost == run.execution.head.cost == Decimal(1)
    assert run.execution.head.tokens == 6


# ---------------------------------------------------------------- slots


def test_every_item_holds_a_slot():
    config = ExecutionConfig(max_concurrent_steps=2)
    run = run_of("a, b", config=config, a=each(5, most=4)).started()

    assert open_items(run) == [(0, 1, True)]
    assert run.running() == ["a", "b"]


def test_steps_in_line_come_before_further_items():
    config = ExecutionConfig(max_concurrent_steps=1)
    run = run_of("a, b", config=config, a=each(2)).started()
    assert open_items(run) == [(0, 1, True)]

    run = run.item_answers("a", 0, Completed(0))

    assert run.step("b").status is StepStatus.RUNNING
    assert open_items(run) == []
    assert open_items(run.completed("b")) == [(1, 1, True)]


def test_two_lists_share_the_slots():
    config = ExecutionConfig(max_concurrent_steps=4)
    run = run_of("a, b", config=config, a=each(9, most=9), b=each(9, most=9)).started()

    assert len(open_items(run, "a")) == len(open_items(run, "b")) == 2


def test_a_step_behind_a_list_starts_when_the_last_slot_is_free_again():
    config = ExecutionConfig(max_concurrent_steps=1)
    run = run_of("a -> b", config=config, a=each(1)).started().item_answers("a", 0, Completed(1))

    assert run.execution.progress.running == 1
    assert run.collected("a").running() == ["b"]


# ---------------------------------------------------------------- failures


def test_an_item_is_tried_again_on_its_own():
    run = run_of(a=each(2, retry={"max_attempts": 2})).started()
    run = run.item_answers("a", 0, Failed("AGENT_UNAVAILABLE", "busy"))

    assert run.item("a", 0).due > run.now
    assert {(item.key, item.kind) for item in run.work} == {("a[0]", "retry"), ("a[1]", "attempt")}

    run = run.item_woken("a", 0)

    assert open_items(run) == [(0, 2, True), (1, 1, True)]


def test_two_items_wait_differently_long():
    run = run_of(a=each(2, retry={"max_attempts": 2})).started()
    for index in (0, 1):
        run = run.item_answers("a", index, Failed("AGENT_UNAVAILABLE", "busy"))

    assert run.item("a", 0).due != run.item("a", 1).due


def test_an_item_that_waits_keeps_its_place_and_holds_no_slot():
    run = run_of(a=each(3, retry={"max_attempts": 2})).started()
    run = run.item_answers("a", 0, Failed("AGENT_UNAVAILABLE", "busy"))

    assert open_items(run) == [(0, 1, False), (1, 1, True)]
    assert run.execution.progress.running == 1


def test_an_item_that_fails_for_good_fails_the_step_and_cancels_the_rest():
    run = run_of("a -> b").started().item_answers("a", 1, Failed("AGENT_ERROR", "no"))

    assert run.step("a").error.message == "item 1: no"
    assert run.step("a").status is StepStatus.FAILED
    assert run.work == ()
    assert run.status == "failed"


def test_a_failure_that_is_skipped_lets_the_rest_of_the_process_go_on():
    run = run_of("a -> b", a=each(on_error="fail") | {"on_error": "skip_step"}).started()
    run = run.item_answers("a", 0, Failed("AGENT_ERROR", "no"))

    assert run.running() == ["b"]


def test_items_that_fail_may_be_collected():
    run = run_of(a=each(3, on_error="collect")).started()
    run = run.item_answers("a", 0, Failed("AGENT_ERROR", "no"))
    run = run.item_answers("a", 1, Completed("yes")).item_answers("a", 2, Completed("yes")).collected("a")

    assert run.step("a").output.data == [None, "yes", "yes"]
    assert run.step("a").errors.data == [{"index": 0, "code": "AGENT_ERROR", "message": "no"}]
    assert run.status == "completed"
    assert run.step("a").items.failed == 1


def test_an_answer_that_breaks_the_schema_fails_its_item():
    schema = {"output": {"schema": {"type": "integer"}}}
    run = run_of(a=each(1, on_error="collect") | schema).started()
    run = run.item_answers("a", 0, Completed("text")).collected("a")

    assert run.step("a").errors.data[0]["code"] == "INVALID_OUTPUT"


def test_results_that_are_too_large_together_fail_the_step():
    run = run_of(a=each(1)).started().item_answers("a", 0, Completed(1))
    result = Failed("OUTPUT_TOO_LARGE", "too much")
    run = run.obeys(c.RecordResult(execution_id=EXECUTION_ID, step_id="a", visit=1, attempt=1, result=result))

    assert run.step("a").error.code == "OUTPUT_TOO_LARGE"


# ---------------------------------------------------------------- who comes too late


def test_an_item_answers_once():
    run = run_of().started().item_answers("a", 0, Completed("first"))
    again = c.RecordResult(
        execution_id=EXECUTION_ID, step_id="a", visit=1, attempt=1, item=0, result=Completed("second")
    )

    assert run.obeys(again).events == ()


def test_an_answer_of_an_older_attempt_changes_nothing():
    run = run_of(a=each(1, retry={"max_attempts": 2})).started()
    run = run.item_answers("a", 0, Failed("AGENT_UNAVAILABLE", "busy")).item_woken("a", 0)

    assert run.item_answers("a", 0, Completed("late"), attempt=1).events == ()


def test_a_step_that_runs_items_takes_no_answer_of_its_own_before_they_have_ended():
    run = run_of().started()

    assert run.answers("a", Completed("all of it")).events == ()


def test_a_step_without_items_takes_no_answer_of_one():
    run = run_of("a -> b").started()
    run = execution_of("b").started()
    command = c.RecordResult(
        execution_id=EXECUTION_ID, step_id="b", visit=1, attempt=1, item=0, result=Completed("x")
    )

    assert run.obeys(command).events == ()


def test_a_wake_up_before_its_time_changes_nothing():
    run = run_of(a=each(1, retry={"max_attempts": 2})).started()
    run = run.item_answers("a", 0, Failed("AGENT_UNAVAILABLE", "busy"))
    early = c.WakeStep(execution_id=EXECUTION_ID, step_id="a", visit=1, attempt=1, item=0)

    assert run.obeys(early).events == ()


# ---------------------------------------------------------------- interruptions


def test_an_interrupted_item_is_repeated_at_once_and_counts_for_nothing():
    run = run_of(a=each(2, retry={"max_attempts": 1})).started().item_interrupted("a", 0)

    assert open_items(run) == [(0, 2, True), (1, 1, True)]
    assert run.item("a", 0).interruptions == 1


def test_an_item_is_interrupted_ten_times_at_most():
    run = run_of(a=each(1)).started()
    for _ in range(11):
        run = run.item_interrupted("a", 0)

    assert run.step("a").error.code == "INTERRUPTED"


def test_an_interruption_may_fail_the_item():
    run = run_of(a=each(2) | {"on_interrupt": "fail"}).started().item_interrupted("a", 0)

    assert run.step("a").error.code == "INTERRUPTED"


def test_an_interruption_may_be_put_to_somebody():
    run = run_of(a=each(2) | {"on_interrupt": "ask"}).started().item_interrupted("a", 0)

    assert run.status == "paused"
    assert open_items(run) == [(0, 1, False), (1, 1, True)]
    assert open_items(run.resumed()) == [(0, 2, True), (1, 1, True)]


# ---------------------------------------------------------------- operators


def test_a_pause_lets_items_finish_and_starts_no_others():
    run = run_of().started().paused().item_answers("a", 0, Completed(0))

    assert open_items(run) == [(1, 1, True)]
    assert open_items(run.resumed()) == [(1, 1, True), (2, 1, True)]


def test_an_item_that_falls_due_in_a_pause_is_tried_again_after_it():
    run = run_of(a=each(1, retry={"max_attempts": 2})).started()
    run = run.item_answers("a", 0, Failed("AGENT_UNAVAILABLE", "busy")).paused().item_woken("a", 0)

    assert open_items(run) == [(0, 1, False)]
    assert open_items(run.resumed()) == [(0, 2, True)]


def test_a_cancelled_execution_runs_no_items():
    run = run_of().started().cancelled()

    assert run.work == ()
    assert run.step("a").status is StepStatus.CANCELLED


def test_while_stopping_items_that_run_are_recorded_and_none_begins():
    run = run_of("a, b", a=each(3)).started().failed("b", "AGENT_ERROR")
    assert run.status == "running"

    run = run.item_answers("a", 0, Completed(0))
    assert open_items(run) == [(1, 1, True)]

    run = run.item_answers("a", 1, Completed(1))
    assert run.told_now == ["StepCancelled a", "ProcessFailed"]


def test_items_that_wait_do_not_hold_up_a_failure():
    run = run_of("a, b", a=each(1, retry={"max_attempts": 2})).started()
    run = run.item_answers("a", 0, Failed("AGENT_UNAVAILABLE", "busy")).failed("b", "AGENT_ERROR")

    assert run.told_now == ["StepFailed b", "StepCancelled a", "ProcessFailed"]


def test_items_that_ended_are_put_together_while_stopping():
    run = run_of("a, b", a=each(1)).started().item_answers("a", 0, Completed(0)).failed("b", "AGENT_ERROR")

    assert run.collected("a").told_now == ["StepCompleted a", "ProcessFailed"]


def test_a_retry_of_the_step_asks_only_the_items_that_have_not_succeeded():
    run = run_of(a=each(4)).started().item_answers("a", 0, Completed(0))
    run = run.item_answers("a", 1, Failed("AGENT_ERROR", "no")).retried_as_a_whole()

    assert open_items(run) == [(1, 2, True), (2, 2, True)]
    for index in (1, 2, 3):
        run = run.item_answers("a", index, Completed(index))
    assert run.collected("a").step("a").output.data == [0, 1, 2, 3]


def test_attempts_before_somebody_asked_to_try_again_are_forgiven():
    run = run_of(a=each(1, retry={"max_attempts": 2})).started()
    run = run.item_answers("a", 0, Failed("AGENT_UNAVAILABLE", "x")).item_woken("a", 0)
    run = run.item_answers("a", 0, Failed("AGENT_UNAVAILABLE", "x")).retried_as_a_whole()
    run = run.item_answers("a", 0, Failed("AGENT_UNAVAILABLE", "x"))

    assert run.item("a", 0) == OpenItem(0, 3, running=False, due=run.item("a", 0).due, forgiven=2)


def test_a_retry_with_other_input_begins_the_list_anew():
    step = {"message": "{{ item }}", "for_each": {"items": "{{ input.rows }}"}}
    run = run_of(a=step).started({"rows": [1, 2]}).item_answers("a", 0, Completed(0))
    run = run.item_answers("a", 1, Failed("AGENT_ERROR", "no"))
    run = run.retried_as_a_whole(given={"rows": [5]})

    assert run.step("a").visit == 2
    assert run.step("a").items.total == 1
    assert open_items(run) == [(0, 1, True)]


def test_a_loop_runs_all_items_again():
    back = gateway(("input.again", "a", 3), default="c")
    run = run_of("a -> g, g -> c", a=each(1), g=back).started({"again": True})
    run = run.item_answers("a", 0, Completed(0)).collected("a")

    assert run.step("a").visit == 2
    assert open_items(run) == [(0, 1, True)]
    assert run.step("a").output.data == [0]


def test_the_grace_of_a_failure_ends_items_too():
    config = ExecutionConfig(cancel_grace=5.0)
    run = run_of("a, b", config=config).started().failed("b", "AGENT_ERROR").after(5)

    run = run.deadline_reached(grace=True)

    assert run.status == "failed"
    assert run.work == ()


# ---------------------------------------------------------------- what items read


def test_what_an_item_reads_of_a_step_that_still_runs_is_recorded_with_the_list():
    step = each(2) | {"message": "{{ steps.b.output | default('none') }} {{ steps.b.status }}", "join": "any"}
    run = run_of("b -> a, c -> a", a=step).started().completed("c")

    assert run.step("a").request.data["steps"] == {"b": {"output": [], "status": ["running"]}}


def test_what_an_item_reads_of_a_settled_ancestor_is_not_recorded_again():
    run = run_of("b -> a", a=each(2) | {"message": "{{ steps.b.output }}"}).started().completed("b", "x")

    assert run.step("a").request.data["steps"] == {}


def test_time_is_that_of_the_execution():
    assert run_of().started().step("a").started_at == BEGINNING


# ---------------------------------------------------------------- what it waits for


def test_what_a_list_waits_for_has_a_name():
    run = run_of(a=each(1, retry={"max_attempts": 2})).started()
    (running,) = blockers(run.execution)
    waiting = run.item_answers("a", 0, Failed("AGENT_UNAVAILABLE", "busy"))
    (retry,) = blockers(waiting.execution)

    assert running.kind is BlockerKind.ATTEMPT
    assert (retry.kind, retry.due) == (BlockerKind.RETRY, waiting.item("a", 0).due)


def test_a_list_without_a_slot_waits_for_one():
    config = ExecutionConfig(max_concurrent_steps=1)
    run = run_of("a, b", config=config, a=each(2)).started().item_answers("a", 0, Completed(0))

    found = {blocker.step_id: blocker.kind for blocker in blockers(run.execution)}

    assert found == {"a": BlockerKind.SLOT, "b": BlockerKind.ATTEMPT}
