"""Where lists and undoing meet: a step that runs once for each item is undone as one."""

from decimal import Decimal

import pytest

from process_engine.core import commands as c
from process_engine.core import events as e
from process_engine.core.config import ExecutionConfig
from process_engine.core.results import Completed, Failed, Usage
from process_engine.core.work import WorkKind
from process_engine.testing.drawing import gateway
from process_engine.testing.executions import EXECUTION_ID, Story, execution_of


def each(count: int = 3, *, most: int = 5, on_error: str = "fail", **keys: object) -> dict[str, object]:
    """A step that runs for so many items, and is undone by what they gave and what went wrong."""
    return {
        "message": "{{ item }}",
        "for_each": {"items": [*range(count)], "max_concurrency": most, "on_item_error": on_error},
        "compensation": {
            "agent": "undoer",
            "message": {"gave": "{{ steps.a.output }}", "failed": "{{ steps.a.errors }}"},
        },
        **keys,
    }


def listing(drawn: str = "a -> b", *, config: ExecutionConfig | None = None, **keys: object) -> Story:
    return execution_of(drawn, config=config, **{"a": each(), **keys}).started()


def answered(run: Story, *indexes: int) -> Story:
    for index in indexes:
        run = run.item_answers("a", index, Completed(f"room {index}"))
    return run


def asked(run: Story) -> object:
    """What undoing the latest visit would ask."""
    (*_, undo) = run.step("a").undos
    assert undo.request is not None
    return undo.request.data


# ---------------------------------------------------------------- as one


def test_a_list_is_undone_once_by_all_that_its_items_gave():
    run = answered(listing(), 2, 0, 1)
    assert run.step("a").undos == ()

    run = run.collected("a").failed("b", "AGENT_ERROR")

    assert run.undoing.step_id == "a"
    assert [item.key for item in run.work] == [":undo:a"]
    message = {"gave": ["room 0", "room 1", "room 2"], "failed": []}
    assert asked(run) == {"agent": "undoer", "message": message}
    run = run.undone()
    assert [line for line in run.told if line.startswith("Compensation")] == [
        "CompensationStarted a",
        "CompensationCompleted a",
    ]
    assert run.status == "failed"


def test_what_undoes_a_list_knows_which_items_were_passed_over():
    run = listing(a=each(2, on_error="collect")).item_answers("a", 0, Failed("AGENT_ERROR", "full"))
    run = answered(run, 1).collected("a")

    error = {"index": 0, "code": "AGENT_ERROR", "message": "full"}
    assert asked(run)["message"] == {"gave": [None, "room 1"], "failed": [error]}


def test_an_empty_list_completes_its_visit_and_so_is_undone():
    run = listing(a=each(0)).failed("b", "AGENT_ERROR")

    assert asked(run)["message"] == {"gave": [], "failed": []}
    assert run.undone().status == "failed"


def test_a_list_without_compensation_is_not_undone():
    run = answered(listing(a=each(compensation=None)), 0, 1, 2).collected("a").failed("b", "AGENT_ERROR")

    assert run.step("a").undos == ()
    assert run.status == "failed"


def test_a_list_that_did_not_complete_is_not_undone():
    run = answered(listing(), 0, 1).item_answers("a", 2, Failed("AGENT_ERROR", "full"))

    assert run.status == "failed"
    assert "CompensationStarted a" not in run.told


def test_each_visit_of_a_list_is_undone_by_what_it_gave_the_last_one_first():
    again = gateway(("true", "a", 2))
    run = execution_of("a -> g", a=each(1), g=again).started()
    run = run.item_answers("a", 0, Completed("first")).collected("a")
    run = run.item_answers("a", 0, Completed("second")).collected("a")

    assert run.status == "compensating"
    assert (run.undoing.visit, [undo.visit for undo in run.step("a").undos]) == (2, [1, 2])
    requests = [undo.request.data["message"]["gave"] for undo in run.step("a").undos]
    assert requests == [["first"], ["second"]]
    assert run.undone().undoing.visit == 1


# ---------------------------------------------------------------- a cancel, a failure


def test_a_cancel_lets_the_last_items_of_a_list_answer_and_undoes_the_list():
    run = answered(listing(), 0).cancelled()
    assert (run.status, [item.key for item in run.work]) == ("compensating", ["a[1]", "a[2]", ":grace"])

    run = answered(run, 1, 2)
    assert WorkKind.COLLECT in {item.kind for item in run.work}
    run = run.collected("a")

    assert run.undoing.step_id == "a"
    assert run.undone().status == "cancelled"


def test_a_cancel_ends_a_list_at_once_that_cannot_complete_by_what_runs():
    run = answered(listing(a=each(most=2)), 0)
    assert run.step("a").items.next == 3

    waiting = run.item_answers("a", 1, Failed("AGENT_UNAVAILABLE", "busy"))
    few = listing(a=each(most=2)).cancelled()

    assert waiting.cancelled().status == "cancelled"
    assert (few.status, few.told[-2:]) == ("cancelled", ["StepCancelled a", "ProcessCancelled"])
    assert few.work == ()


def test_a_cancel_cuts_off_items_that_only_wait_although_there_is_something_to_undo():
    undone_too = {"compensation": {"agent": "undoer", "message": "undo"}}
    run = execution_of("z, a", z=undone_too, a=each(1)).started().completed("z")
    run = run.item_answers("a", 0, Failed("AGENT_UNAVAILABLE", "busy")).cancelled()

    assert run.told[-2:] == ["StepCancelled a", "CompensationStarted z"]
    assert [item.key for item in run.work] == [":undo:z"]


def test_items_that_answer_within_the_grace_are_recorded_and_none_begins_any_more():
    undone_too = {"compensation": {"agent": "undoer", "message": "undo"}}
    run = execution_of("z, a", z=undone_too, a=each(3, most=2)).started().completed("z").cancelled()
    assert [item.key for item in run.work] == ["a[0]", "a[1]", ":grace"]

    run = answered(run, 0)
    assert [item.key for item in run.work] == ["a[1]", ":grace"]
    run = answered(run, 1)

    recorded = [event.item for event in run.history if isinstance(event, e.ItemCompleted)]
    assert (recorded, run.step("a").items.done) == ([0, 1], 2)
    assert run.told[-2:] == ["StepCancelled a", "CompensationStarted z"]
    assert run.undone().status == "cancelled"


def test_an_item_that_answers_after_the_grace_changes_nothing():
    run = answered(listing(), 0, 1).cancelled()
    late = c.RecordResult(
        execution_id=EXECUTION_ID, step_id="a", visit=1, attempt=1, item=2, result=Completed("late")
    )
    run = run.after(31).deadline_reached(grace=True)

    assert run.told[-2:] == ["StepCancelled a", "ProcessCancelled"]
    assert run.obeys(late).events == ()


def test_an_item_that_dies_with_its_process_is_not_begun_again_once_the_execution_is_cancelled():
    run = answered(listing(), 0, 1).cancelled().item_interrupted("a", 2)

    assert run.told[-2:] == ["StepCancelled a", "ProcessCancelled"]
    assert run.work == ()


def test_an_item_that_fails_while_a_failure_stops_the_execution_is_not_tried_again():
    run = execution_of("a, b", a=each(2, on_error="collect")).started().failed("b", "AGENT_ERROR")
    run = run.item_answers("a", 0, Failed("AGENT_UNAVAILABLE", "busy"))
    assert [item.key for item in run.work] == ["a[1]", ":grace"]

    run = answered(run, 1).collected("a")

    assert asked(run)["message"]["gave"] == [None, "room 1"]
    assert run.undone().status == "failed"


# ---------------------------------------------------------------- cost, retries


def test_the_cost_of_a_step_is_that_of_its_items_and_of_its_undos():
    usage = Usage(Decimal("0.25"), 3, 4)
    run = listing(a=each(2))
    for index in (0, 1):
        run = run.item_answers("a", index, Completed("x", usage=usage))
    run = run.collected("a").failed("b", "AGENT_ERROR", usage=usage)
    run = run.undo_failed(usage=usage).undo_retried().undone(usage=usage)

    assert (run.step("a").cost, run.step("a").tokens) == (Decimal("1.00"), 28)
    assert (run.execution.head.cost, run.execution.head.tokens) == (Decimal("1.25"), 35)


@pytest.mark.parametrize("tell", ["wake", "interrupt"])
def test_what_is_about_an_undo_is_not_taken_for_an_item_of_the_step(tell: str):
    run = answered(listing(), 0, 1, 2).collected("a").failed("b", "AGENT_ERROR")

    if tell == "wake":
        run = run.undo_failed().undo_retried()
    else:
        run = run.undo_interrupted()

    assert run.undoing.attempt == 2
    assert [item.key for item in run.work] == [":undo:a"]
    assert run.undone().status == "failed"
