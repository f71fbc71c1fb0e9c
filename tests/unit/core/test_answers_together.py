"""Answers that arrive together are decided together, and mean what they mean one by one."""

from __future__ import annotations

import itertools

import pytest

from process_engine.core.commands import RecordResult
from process_engine.core.decide import record_results
from process_engine.core.results import Completed, Failed
from process_engine.core.transition import Needs, Transition
from process_engine.core.values import INLINE_LIMIT_BYTES
from process_engine.ids import StepId
from process_engine.testing.executions import EXECUTION_ID, Story, execution_of

FINE, BROKEN, AWAY = Completed("fine"), Failed("AGENT_ERROR", "no"), Failed("AGENT_UNAVAILABLE", "no", True)

CASES = {
    "a join": ("root -> a, root -> b, root -> c, a & b & c -> last", {}, {"a": FINE, "b": FINE, "c": FINE}),
    "two tries": ("a, b", {"a": {"retry": {"max_attempts": 2}}}, {"a": AWAY, "b": FINE}),
    "a failure that stops all": ("a, b -> d, c", {}, {"a": FINE, "b": BROKEN, "c": FINE}),
    "a failure that is passed over": (
        "a -> d, b -> d",
        {"a": {"on_error": "skip_step"}},
        {"a": BROKEN, "b": FINE},
    ),
    "a loop that ends the other": (
        "x -> a, x -> b",
        {"a": {"on_error": {"action": "goto_step", "target_step": "x", "max_visits": 3}}},
        {"a": BROKEN, "b": FINE},
    ),
    "a slot": ("a, b, c, d", {}, {"a": FINE, "b": FINE}),
}


def begun(drawn: str, keys: dict[str, dict[str, object]], answered: dict[str, object]) -> Story:
    run = execution_of(drawn, **keys).started()
    for first in ("root", "x"):
        if first in run.running():
            run = run.completed(first)
    assert set(answered) <= set(run.running())
    return run


def answer(run: Story, step_id: str, result: Completed | Failed, *, attempt: int = 1) -> RecordResult:
    visit = run.step(step_id).visit
    return RecordResult(
        execution_id=EXECUTION_ID, step_id=StepId(step_id), visit=visit, attempt=attempt, result=result
    )


def together(run: Story, answers: list[RecordResult]) -> Transition:
    done = record_results(run.plan, run.execution, answers, run.now)
    assert isinstance(done, Transition)
    return done


@pytest.mark.parametrize("case", CASES)
def test_together_they_tell_the_same_story_as_one_by_one(case: str):
    drawn, keys, answered = CASES[case]
    run = begun(drawn, keys, answered)
    for order in itertools.permutations(answered):
        answers = [answer(run, step_id, answered[step_id]) for step_id in order]
        one_by_one = run
        for command in answers:
            one_by_one = one_by_one.obeys(command)

        done = together(run, answers)

        assert run.history + done.events == one_by_one.history
        assert done.execution == one_by_one.execution
        owed = {item.key: item for item in run.work} | {item.key: item for item in done.work}
        gone = {item.key for item in done.done} - {item.key for item in done.work}
        assert {key: item for key, item in owed.items() if key not in gone} == one_by_one.owed


def test_an_answer_that_comes_twice_among_them_counts_once():
    run = execution_of("a, b").started()

    done = together(
        run, [answer(run, "a", FINE), answer(run, "a", Completed("again")), answer(run, "b", FINE)]
    )

    assert [event.type for event in done.events] == ["StepCompleted", "StepCompleted", "ProcessCompleted"]
    assert done.execution.step(StepId("a")).output.data == "fine"


def test_late_ones_alone_change_nothing():
    run = execution_of("a, b").started()

    done = together(run, [answer(run, "a", FINE, attempt=7), answer(run, "b", FINE, attempt=7)])

    assert done.events == ()
    assert done.execution == run.execution


def test_a_large_value_that_is_needed_and_not_there_is_asked_for():
    large = "x" * (INLINE_LIMIT_BYTES + 1)
    run = execution_of("first -> a, first -> b, a & b -> c", c={"message": "{{ steps.first.output }}"})
    run = run.started().completed("first", large)

    needs = record_results(run.plan, run.execution, [answer(run, "a", FINE), answer(run, "b", FINE)], run.now)

    assert isinstance(needs, Needs)
