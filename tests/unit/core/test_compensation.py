"""Undoing what was done: once for each completed visit, in reverse order, before the execution ends."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from process_engine.core import commands as c
from process_engine.core.blockers import BlockerKind, blockers
from process_engine.core.compensation import MAX_INTERRUPTIONS
from process_engine.core.config import ExecutionConfig
from process_engine.core.results import Completed, Failed, Usage
from process_engine.core.values import Value
from process_engine.errors import CommandRejected
from process_engine.testing.drawing import approval, gateway, timer
from process_engine.testing.executions import EXECUTION_ID, Story, execution_of

GOES_ON = ExecutionConfig(stop_on_failure=False)


def undo(message: object = "undo", **keys: object) -> dict[str, object]:
    """The keys of a step that can be undone."""
    return {"compensation": {"agent": "undoer", "message": message, **keys}}


def booked(**keys: object) -> Story:
    """Three steps one after the other, of which two can be undone and have completed."""
    drawn = {"a": undo("{{ steps.a.output }}"), "b": undo("{{ steps.b.output.id }}"), **keys}
    return execution_of("a -> b -> c", **drawn).started().completed("a", "A1").completed("b", {"id": "B1"})


def since(run: Story, event: str) -> list[str]:
    return run.told[run.told.index(event) + 1 :]


# ---------------------------------------------------------------- a failure


def test_what_completed_is_undone_in_reverse_order_and_the_execution_fails_last():
    run = booked().failed("c", "AGENT_ERROR")
    assert (run.status, run.undoing.step_id) == ("compensating", "b")

    run = run.undone().undone()

    assert since(run, "StepFailed c") == [
        "CompensationStarted b",
        "CompensationCompleted b",
        "CompensationStarted a",
        "CompensationCompleted a",
        "ProcessFailed",
    ]
    assert (run.status, run.execution.head.failure.code) == ("failed", "AGENT_ERROR")
    assert run.work == ()


def test_the_order_is_that_of_completion_not_of_definition():
    run = execution_of("a, b, c -> d", a=undo(), b=undo(), c=undo()).started()
    run = run.completed("b").completed("c").completed("a").failed("d", "AGENT_ERROR")

    run = run.undone().undone().undone()

    started = [line for line in run.told if line.startswith("CompensationStarted")]
    assert started == ["CompensationStarted a", "CompensationStarted c", "CompensationStarted b"]


def test_one_is_undone_at_a_time_whatever_the_slots():
    run = booked().failed("c", "AGENT_ERROR")

    (item,) = run.work
    assert (item.key, item.kind, item.visit, item.attempt, item.due) == (":undo:b", "attempt", 1, 1, None)


def test_running_siblings_settle_first_and_are_undone_too():
    run = execution_of("a -> b, c", a=undo(), c=undo()).started().completed("a").failed("b", "AGENT_ERROR")
    assert (run.status, run.running()) == ("running", ["c"])

    run = run.completed("c")

    assert (run.status, run.undoing.step_id) == ("compensating", "c")


def test_a_sibling_that_does_not_answer_within_the_grace_is_not_waited_for():
    run = execution_of("a -> b, c", a=undo(), c=undo()).started().completed("a").failed("b", "AGENT_ERROR")
    late = run.after(30).deadline_reached(grace=True)

    assert (late.step("c").status, late.undoing.step_id) == ("cancelled", "a")
    assert late.answers("c", Completed("too late"), attempt=1).events == ()


def test_the_timeout_of_an_execution_is_undone_like_any_failure():
    run = execution_of("a -> b", a=undo(), b=timer("1h"), limits={"timeout": "10s"}).started().completed("a")

    run = run.after(10).deadline_reached().undone()

    assert (run.status, run.execution.head.failure.code) == ("failed", "TIMEOUT")
    assert since(run, "StepCancelled b") == [
        "CompensationStarted a",
        "CompensationCompleted a",
        "ProcessFailed",
    ]


def test_where_independent_branches_run_to_their_end_they_are_undone_afterwards():
    run = execution_of("a, b -> c", config=GOES_ON, b=undo(), c=undo()).started()
    run = run.failed("a", "AGENT_ERROR").completed("b").completed("c")
    assert (run.status, run.undoing.step_id) == ("compensating", "c")

    run = run.undone().undone()

    assert (run.status, run.execution.head.failure.step_id) == ("failed", "a")


def test_outputs_that_cannot_be_made_are_a_failure_that_is_undone():
    run = (
        execution_of("a", a=undo(), outputs={"x": "{{ steps.a.output.missing }}"})
        .started()
        .completed("a", {})
    )
    assert run.status == "compensating"

    run = run.undone()

    assert (run.status, run.execution.head.failure.code) == ("failed", "EXPRESSION_ERROR")


def test_what_completes_well_undoes_nothing():
    run = booked().completed("c")

    assert (run.status, run.told[-1]) == ("completed", "ProcessCompleted")
    assert [undo.status for undo in run.step("a").undos] == ["owed"]


def test_what_failed_or_was_skipped_has_nothing_to_undo():
    run = execution_of(
        "a -> b -> c", a={**undo(), "condition": "false"}, b={**undo(), "on_error": "skip_step"}
    )
    run = run.started()
    assert run.status == "completed"

    run = execution_of("b -> c", b={**undo(), "on_error": "skip_step"}).started()
    run = run.failed("b", "AGENT_ERROR").failed("c", "AGENT_ERROR")
    assert (run.status, run.step("b").undos) == ("failed", ())


def test_a_failure_that_is_handled_undoes_nothing():
    keys = {"on_error": {"action": "goto_step", "target_step": "mend"}}
    run = execution_of("a -> b, mend", a=undo(), b=keys).started().completed("mend").completed("a")

    run = run.failed("b", "AGENT_ERROR")

    assert "CompensationStarted a" not in run.told


def test_decided_steps_can_be_undone_as_well():
    drawn = {
        "ask": {**approval(), **undo("{{ steps.ask.output.decision }}")},
        "way": {**timer("1s"), **undo()},
    }
    run = execution_of("ask -> way -> c", **drawn).started().approved("ask").retried("way")

    run = run.failed("c", "AGENT_ERROR")
    assert run.undoing.step_id == "way"

    run = run.undone()
    assert run.step("ask").undos[0].request.data["message"] == "approved"
    assert run.undoing.step_id == "ask"


# ---------------------------------------------------------------- what is asked


def test_what_is_asked_is_rendered_when_the_visit_completes():
    run = booked()

    (kept,) = run.step("b").undos
    assert (kept.agent, kept.request.data) == ("undoer", {"agent": "undoer", "message": "B1"})


def test_each_visit_of_a_loop_is_undone_with_its_own_values():
    drawn = {
        "a": undo("{{ steps.a.output }}"),
        "check": gateway(("steps.a.output < 3", "a", 5), default="c"),
    }
    run = execution_of("a -> check, c", **drawn).started()
    for value in (1, 2, 3):
        run = run.completed("a", value)
    run = run.failed("c", "AGENT_ERROR")

    asked = []
    while run.status == "compensating":
        asked.append((run.undoing.visit, run.step("a").undo_of(run.undoing.visit).request.data["message"]))
        run = run.undone()

    assert asked == [(3, 3), (2, 2), (1, 1)]
    assert [undo.status for undo in run.step("a").undos] == ["done", "done", "done"]


def test_what_cannot_be_rendered_is_told_when_it_comes_to_it_and_the_rest_is_undone():
    run = booked(b=undo("{{ steps.b.output.missing }}")).failed("c", "AGENT_ERROR")

    assert since(run, "StepFailed c") == [
        "CompensationStarted b",
        "CompensationFailed b",
        "CompensationStarted a",
    ]
    assert run.step("b").undos[0].error.code == "EXPRESSION_ERROR"


def test_a_large_request_is_kept_by_reference():
    run = execution_of("a -> b", a=undo("{{ steps.a.output }}")).started().completed("a", "x" * 70_000)

    request = run.step("a").undos[0].request
    assert request.ref.sha256 in run.values


def test_what_was_asked_is_dropped_once_it_is_undone():
    run = booked().failed("c", "AGENT_ERROR").undone()

    assert run.step("b").undos[0].request is None


# ---------------------------------------------------------------- attempts


def test_it_is_tried_three_times_on_transient_errors():
    run = booked().failed("c", "AGENT_ERROR")
    for _ in range(2):
        run = run.undo_failed()
        (item,) = run.work
        assert (item.key, item.kind, item.due) == (":undo:b", "retry", run.undoing.due)
        run = run.undo_retried()
    assert run.undoing.attempt == 3

    run = run.undo_failed()

    assert (run.undoing.step_id, run.step("b").undos[0].status) == ("a", "failed")
    assert run.told[-2:] == ["CompensationFailed b", "CompensationStarted a"]


def test_one_that_fails_for_good_is_recorded_and_the_rest_goes_on():
    run = booked().failed("c", "AGENT_ERROR").undo_failed("AGENT_ERROR").undone()

    assert (run.status, run.execution.head.failure.step_id) == ("failed", "c")
    assert [run.step(step).undos[0].status for step in "ab"] == ["done", "failed"]
    assert run.step("b").undos[0].error.code == "AGENT_ERROR"


def test_its_own_policy_says_how_often_and_when():
    retry = {"max_attempts": 2, "initial_delay": "1m", "jitter": False, "retry_on": ["AGENT_ERROR"]}
    run = execution_of("a -> b", a=undo(retry=retry)).started().completed("a").failed("b", "AGENT_ERROR")

    run = run.undo_failed("AGENT_ERROR")
    assert run.undoing.due - run.now == timedelta(minutes=1)

    assert run.undo_retried().undo_failed("AGENT_ERROR").status == "failed"


def test_the_defaults_of_the_process_hold_for_it_too():
    retry = {"max_attempts": 1}
    run = execution_of("a -> b", a=undo(), defaults={"retry": retry, "timeout": "7s"})

    assert run.plan.steps["a"].undo.timeout_seconds == 7
    assert run.started().completed("a").failed("b", "AGENT_ERROR").undo_failed().status == "failed"


def test_it_is_not_tried_again_before_its_time():
    run = booked().failed("c", "AGENT_ERROR").undo_failed()

    assert run.undo_retried(after=0.1).events == ()


def test_a_late_answer_of_an_older_attempt_changes_nothing():
    run = booked().failed("c", "AGENT_ERROR")
    first = run.undoing
    run = run.undo_failed().undo_retried()

    assert run.answers_undo(Completed("late"), of=first).events == ()


def test_an_answer_after_all_is_undone_changes_nothing():
    run = booked().failed("c", "AGENT_ERROR")
    undoing = run.undoing
    run = run.undone().undone()

    assert run.answers_undo(Completed("late"), of=undoing).events == ()


def test_an_answer_while_the_next_attempt_is_waited_for_changes_nothing():
    run = booked().failed("c", "AGENT_ERROR").undo_failed()

    assert run.answers_undo(Completed("late")).events == ()


def test_an_answer_of_the_step_itself_is_none_of_its_undo():
    run = booked().failed("c", "AGENT_ERROR")

    assert run.answers("b", Completed("again")).events == ()


def test_an_interrupted_one_is_repeated_at_once_and_does_not_count():
    run = booked().failed("c", "AGENT_ERROR").undo_interrupted()

    (item,) = run.work
    assert (item.kind, item.attempt) == ("attempt", 2)
    run = run.undo_failed().undo_retried().undo_failed().undo_retried()
    assert (run.undoing.step_id, run.undoing.attempt) == ("b", 4)


def test_one_that_dies_with_its_process_again_and_again_is_given_up():
    run = booked().failed("c", "AGENT_ERROR")
    for _ in range(MAX_INTERRUPTIONS):
        run = run.undo_interrupted()
    assert run.undoing.step_id == "b"

    run = run.undo_interrupted()

    assert (run.undoing.step_id, run.step("b").undos[0].error.code) == ("a", "INTERRUPTED")


def test_an_interruption_while_it_waits_changes_nothing():
    run = booked().failed("c", "AGENT_ERROR").undo_failed()

    assert run.undo_interrupted().events == ()


def test_an_answer_that_breaks_its_schema_is_a_failure():
    body = undo(output={"schema": {"type": "object", "required": ["refund"]}})
    run = execution_of("a -> b", a=body).started().completed("a").failed("b", "AGENT_ERROR")

    assert run.undone({"refund": 1}).step("a").undos[0].status == "done"
    failed = run.undone("sure")
    assert failed.step("a").undos[0].error.code == "INVALID_OUTPUT"
    assert failed.step("a").undos[0].error.message.startswith("the answer breaks its schema: output ")


def test_an_answer_that_cannot_be_recorded_is_a_failure():
    run = booked().failed("c", "AGENT_ERROR").answers_undo(Completed(object()))

    assert run.step("b").undos[0].error.code == "INVALID_OUTPUT"


def test_what_it_costs_counts():
    run = booked().failed("c", "AGENT_ERROR")
    run = run.undo_failed(usage=Usage(cost=Decimal("0.1"), input_tokens=1)).undo_retried()
    run = run.undone(usage=Usage(cost=Decimal("0.2"), output_tokens=2)).undo_failed(
        "AGENT_ERROR", usage=Usage(cost=Decimal("0.4"))
    )

    assert (run.execution.head.cost, run.execution.head.tokens) == (Decimal("0.7"), 3)
    assert (run.step("b").cost, run.step("a").cost) == (Decimal("0.3"), Decimal("0.4"))


# ---------------------------------------------------------------- cancel


def test_a_cancel_undoes_what_was_done_and_comes_last():
    command = c.CancelExecution(execution_id=EXECUTION_ID, reason="changed our mind", by="ann")
    run = execution_of("a -> b", a=undo(), b=timer("1h")).started().completed("a").obeys(command)
    assert (run.status, run.told_now) == ("compensating", ["StepCancelled b", "CompensationStarted a"])

    run = run.undone()

    assert run.told_now == ["CompensationCompleted a", "ProcessCancelled"]
    assert (run.events[-1].reason, run.events[-1].by) == ("changed our mind", "ann")
    assert run.status == "cancelled"


def test_an_answer_within_the_grace_is_recorded_and_undone():
    run = booked(c=undo("c")).cancelled()
    assert (run.status, run.running()) == ("compensating", ["c"])
    assert [blocker.kind for blocker in blockers(run.execution)] == [BlockerKind.ATTEMPT]

    run = run.completed("c")

    assert run.undoing.step_id == "c"


def test_what_runs_and_could_be_undone_is_waited_for_though_nothing_has_completed():
    run = execution_of("a", a=undo()).started().cancelled()
    assert run.status == "compensating"

    assert run.completed("a").undoing.step_id == "a"
    failed = run.failed("a", "AGENT_ERROR")
    assert (failed.status, failed.told[-1]) == ("cancelled", "ProcessCancelled")


def test_nothing_is_tried_again_after_a_cancel():
    run = booked().cancelled().failed("c")

    assert (run.step("c").status, run.undoing.step_id) == ("failed", "b")


def test_after_the_grace_of_a_cancel_a_late_answer_changes_nothing():
    run = booked(c=undo("c")).cancelled().after(30).deadline_reached(grace=True)

    assert (run.step("c").status, run.undoing.step_id) == ("cancelled", "b")
    assert run.answers("c", Completed("late"), attempt=1).events == ()


def test_the_grace_of_a_cancel_is_not_over_before_its_time():
    run = booked().cancelled().after(29).deadline_reached(grace=True)

    assert run.events == ()


def test_a_cancel_without_anything_to_undo_is_one_transition():
    run = execution_of("a -> b", b=undo()).started().cancelled()

    assert (run.status, run.told_now) == ("cancelled", ["StepCancelled a", "ProcessCancelled"])


def test_a_cancel_of_one_that_has_not_begun_undoes_nothing():
    run = execution_of("a", a=undo()).started(hold=True).cancelled()

    assert run.told_now == ["ProcessCancelled"]


def test_a_paused_execution_is_undone_as_well():
    run = booked().paused().cancelled().completed("c")

    assert (run.status, run.execution.head.pause_reason) == ("compensating", None)
    assert run.undone().undone().status == "cancelled"


def test_a_cancel_while_it_is_about_to_fail_makes_it_cancelled():
    run = execution_of("a -> b, c", a=undo()).started().completed("a").failed("b", "AGENT_ERROR")
    run = run.after(10).cancelled()
    assert (run.status, run.execution.head.stopping.due - run.now) == ("compensating", timedelta(seconds=20))

    assert run.completed("c").undone().status == "cancelled"


def test_an_interrupted_sibling_is_not_started_again():
    run = booked(c=undo("c")).cancelled().interrupted("c")

    assert (run.step("c").status, run.undoing.step_id) == ("cancelled", "b")


# ---------------------------------------------------------------- while it is undone


@pytest.mark.parametrize("verb", [Story.paused, Story.resumed, Story.cancelled, Story.retried_as_a_whole])
def test_commands_are_refused_with_a_remedy(verb):
    run = booked().failed("c", "AGENT_ERROR")

    with pytest.raises(CommandRejected, match="is compensating") as refusal:
        verb(run)

    assert refusal.value.remedy == "Wait until it has undone what it did."


def test_deadlines_do_not_stop_it():
    run = execution_of("a -> b", a=undo(), limits={"timeout": "1m"}).started().completed("a")
    run = run.failed("b", "AGENT_ERROR").after(3600)

    assert [item.key for item in run.work] == [":undo:a"]
    assert run.deadline_reached().events == ()
    assert run.deadline_reached(grace=True).events == ()


def test_nothing_that_waited_starts_again():
    run = (
        execution_of("a -> b, w", a=undo(), w=timer("1s")).started().completed("a").failed("b", "AGENT_ERROR")
    )

    assert run.after(5).woken("w").events == ()


def test_explaining_it_names_the_step_the_agent_and_the_time():
    run = booked().failed("c", "AGENT_ERROR")
    (blocker,) = blockers(run.execution)
    assert (blocker.kind, blocker.step_id, blocker.detail, blocker.due) == ("undo", "b", "undoer", None)

    run = run.undo_failed()
    assert blockers(run.execution)[0].due == run.undoing.due


# ---------------------------------------------------------------- afterwards


def test_a_retry_is_refused_once_it_was_undone():
    run = booked().failed("c", "AGENT_ERROR").undo_failed("AGENT_ERROR").undo_failed("AGENT_ERROR")
    assert run.status == "failed"

    refusal = run.refuses(c.RetryStep(execution_id=EXECUTION_ID))

    assert "has undone what it did" in str(refusal)


def test_a_retry_is_possible_where_nothing_was_to_undo_and_what_follows_is_undone():
    run = execution_of("a -> b", a=undo()).started().failed("a", "AGENT_ERROR")
    assert run.status == "failed"

    run = run.retried_as_a_whole().completed("a").failed("b", "AGENT_ERROR")

    assert run.undoing.step_id == "a"


def test_it_survives_the_store():
    run = booked().failed("c", "AGENT_ERROR").undo_failed()

    assert replace(run, events=()).checked().undoing.error.code == "AGENT_UNAVAILABLE"


def test_a_value_that_was_packed_before_is_recorded_as_it_is():
    run = booked().failed("c", "AGENT_ERROR")
    undoing = run.undoing
    command = c.RecordResult(
        execution_id=EXECUTION_ID,
        step_id=undoing.step_id,
        visit=1,
        attempt=1,
        result=Completed(),
        value=Value({"refund": 5}),
        undo=True,
    )

    run = run.obeys(command)

    assert run.events[0].output == Value({"refund": 5})


def test_a_failure_that_calls_itself_transient_is_tried_again():
    run = booked().failed("c", "AGENT_ERROR").answers_undo(Failed("AGENT_ERROR", "busy", transient=True))

    assert run.undoing.due is not None
