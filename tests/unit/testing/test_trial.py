"""One test of a process, carried out: what is compared, and what is told where it differs."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from time import perf_counter

import pytest

from process_engine.definition.checking import load_definition
from process_engine.definition.document import ProcessDefinition
from process_engine.testing.process_tests import Given, ProcessTest
from process_engine.testing.trial import Trial, try_process

REVIEW = """
name: review
input: {topic: {type: string, default: tides}}
steps:
  - {id: write, agent: writer, message: "Write about {{ input.topic }}."}
  - {id: rest, type: timer, delay: 30d, depends_on: write}
  - {id: first, type: human_approval, title: One, assignees: [ann], depends_on: rest}
  - {id: second, type: human_approval, title: Two, assignees: [bob], depends_on: first, on_error: skip_step}
  - {id: third, type: human_approval, title: Three, assignees: ["group:legal"], depends_on: second}
outputs: {text: "{{ steps.write.output }}"}
"""
YES = [
    {"approve": "first", "by": "ann"},
    {"approve": "second", "by": "bob"},
    {"approve": "third", "by": "dora", "groups": ["legal"]},
]
PATH = ["write", "rest", "first", "second", "third"]


def definition_of(text: str) -> ProcessDefinition:
    definition, problems = load_definition(text)
    assert definition is not None, problems
    return definition


def tried(text: str = REVIEW, common: Given | None = None, **said: object) -> Trial:
    given = {"agents": {"writer": "about tides"}} | dict(said.get("given", {}))  # type: ignore[call-overload]
    test = ProcessTest.model_validate({"name": "it", "then": {}} | said | {"given": given})
    return asyncio.run(try_process(definition_of(text), test, common))


def waited(*more: dict[str, object]) -> list[dict[str, object]]:
    return [{"after": "30d"}, *more]


def test_a_wait_of_thirty_days_and_three_approvals_take_no_time():
    then = {"status": "completed", "path": PATH, "took": "30d", "output": {"text": "about tides"}}
    tried(when=waited(*YES), then=then)
    began = perf_counter()

    trial = tried(when=waited(*YES), then=then)

    took = perf_counter() - began
    assert trial.mismatches == []
    # Promised are 0.1 s; a loaded machine gets five times as much before this says that something is wrong.
    assert took < 0.5


def test_what_differs_is_told_all_at_once():
    trial = tried(
        when=waited(*YES[:2]),
        then={
            "status": "completed",
            "path": ["write"],
            "waits_for": ["second"],
            "calls": {"writer": 2},
            "output": {"text": "x"},
            "steps": {"write": {"attempts": 3}, "nobody": {"status": "failed"}},
            "took": "1d",
            "error": "TIMEOUT",
        },
    )

    assert [mismatch.partition(":")[0] for mismatch in trial.mismatches] == [
        "status",
        "error",
        "path",
        "waits_for",
        "output.text",
        "steps.write.attempts",
        "steps.nobody",
        "calls of writer",
        "took",
    ]
    assert "it waits for approval third" in trial.mismatches[0]


def test_agents_answer_turn_after_turn_and_the_last_turn_stays():
    turns = [
        {"fails": "AGENT_UNAVAILABLE"},
        {"fails": "AGENT_TIMEOUT", "cost": "0.10"},
        {"answer": "at last"},
    ]

    trial = tried(
        given={"agents": {"writer": turns}},
        then={
            "steps": {"write": {"output": "at last", "attempts": 3, "status": "completed"}},
            "calls": [{"agent": "writer", "contains": "tides"}] * 3,
            "cost": Decimal("0.10"),
        },
    )

    assert trial.passed, trial.mismatches


def test_a_failure_that_is_not_transient_is_not_tried_again():
    trial = tried(
        given={"steps": {"write": {"fails": "AGENT_ERROR", "message": "no"}}},
        then={"status": "failed", "error": "AGENT_ERROR", "calls": [{"step": "write", "agent": "writer"}]},
    )

    assert trial.passed, trial.mismatches


def test_an_agent_that_nothing_is_written_for_is_a_mismatch_of_its_own():
    text = "name: p\nsteps: [{id: a, agent: nobody, message: hi}]\n"

    trial = tried(text, then={"status": "failed"})

    assert trial.mismatches == ["step a asked nobody, and `given` says no answer: hi"]


def test_refusals_can_be_what_is_tested():
    wrong = {"approve": "first", "by": "eve"}

    assert tried(when=waited(wrong | {"refused": "may not decide"})).passed
    assert "another reason" in tried(when=waited(wrong | {"refused": "too late"})).mismatches[0]
    assert "was refused" in tried(when=waited(wrong)).mismatches[0]
    assert "was to be refused" in tried(when=waited(YES[0] | {"refused": "no"})).mismatches[0]


def test_an_input_that_is_refused_starts_nothing():
    trial = tried(given={"input": {"topic": 5}})

    assert trial.execution is None
    assert "it was not started" in trial.mismatches[0]


def test_what_the_file_gives_holds_where_the_test_says_nothing_else():
    common = Given.model_validate({"input": {"topic": "winds"}, "agents": {"writer": "about winds"}})

    kept = tried(common=common, given={"agents": {}}, then={"calls": [{"message": "Write about winds."}]})
    changed = tried(common=common, given={"input": {"topic": "sand"}}, then={"output": {}})

    assert kept.passed, kept.mismatches
    assert changed.calls[0].message == "Write about sand."


@pytest.mark.parametrize(
    ("action", "status"),
    [
        ({"cancel": "enough"}, "cancelled"),
        ({"pause": "lunch"}, "paused"),
        ({"reject": "first", "by": "ann", "comment": "no"}, "failed"),
        ({"delegate": "first", "by": "ann", "to": "cid"}, "paused"),
    ],
)
def test_other_things_can_happen(action: dict[str, object], status: str):
    assert tried(when=waited(action), then={"status": status}).mismatches == []


def test_a_failed_execution_goes_on_by_retry():
    turns = [{"fails": "AGENT_ERROR"}, {"answer": "better"}]

    trial = tried(
        given={"agents": {"writer": turns}},
        when=[{"retry": True}],
        then={"steps": {"write": {"output": "better"}}, "waits_for": ["first"]},
    )

    assert trial.passed, trial.mismatches


def test_time_that_is_not_awaited_passes_by_itself():
    text = "name: p\nsteps: [{id: nap, type: timer, delay: 400d}]\n"

    assert tried(text, then={"status": "completed", "took": "400d"}).passed


def test_notifications_reach_nobody_and_are_kept():
    text = "name: p\nsteps: [{id: tell, type: notification, channels: [log, slack], message: it works}]\n"

    trial = tried(text, then={"notices": [{"channel": "log", "contains": "works"}, {"channel": "slack"}]})

    assert trial.passed, trial.mismatches
    assert "notices: expected 0, found 2" in tried(text, then={"notices": []}).mismatches[0]


def test_events_are_published_before_or_while_somebody_waits():
    text = """
name: p
steps: [{id: paid, type: wait_for_event, event: paid, match: event.n > 1, timeout: 3d}]
"""
    early = {"publish": "paid", "payload": {"n": 1}}
    right = {"publish": "paid", "payload": {"n": 2}}

    taken = tried(text, when=[early, {"after": "1d"}, right], then={"status": "completed", "took": "1d"})
    missed = tried(text, when=[early], then={"status": "failed", "error": "TIMEOUT", "took": "3d"})

    assert taken.passed, taken.mismatches
    assert missed.passed, missed.mismatches
