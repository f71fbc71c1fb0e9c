"""A process carried out without the world, and what a set of samples reaches of it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import islice

import pytest

from process_engine.core.events import ApprovalDecided, StepStarted
from process_engine.definition.checking import load_definition
from process_engine.definition.document import ProcessDefinition
from process_engine.errors import DefinitionInvalid, InputRejected, NotFound
from process_engine.testing.coverage import cover_file
from process_engine.testing.dry_run import DryRun, deciders, dry_run, dry_run_file
from process_engine.testing.samples import Sample

LONG = """
name: long
steps:
  - {id: rest, type: timer, delay: 1d}
  - {id: ask, type: human_approval, title: Yes?, assignees: [ann, bob, "group:legal"], required_approvals: 4,
     separation_of_duties: true, timeout: 2h, depends_on: rest}
  - {id: sleep, type: timer, delay: 30d}
"""
CHOICE = """
name: choice
input: {amount: {type: number, required: true}}
steps:
  - id: size
    type: gateway
    routes: [{condition: input.amount > 100, target: ask}]
    default_route: pay
  - {id: ask, type: human_approval, title: Pay?, on_reject: continue, timeout_action: reject}
  - id: answer
    type: gateway
    depends_on: ask
    routes: [{condition: steps.ask.output.decision == "approved", target: pay}]
    default_route: refuse
  - {id: pay, agent: bank, message: pay}
  - {id: refuse, agent: bank, message: refuse}
"""


def definition_of(text: str) -> ProcessDefinition:
    definition, problems = load_definition(text)
    assert definition is not None, problems
    return definition


def carried_out(text: str, **sample: object) -> DryRun:
    return asyncio.run(dry_run(definition_of(text), Sample.model_validate(sample)))


def path(run: DryRun) -> list[str]:
    return [event.step_id for event in run.events if isinstance(event, StepStarted)]


def covered(tmp_path, text: str, samples: str):
    (tmp_path / "samples.yaml").write_text(samples, encoding="utf-8")
    return cover_file(tmp_path / "choice.yaml", definition_of(text), tmp_path / "samples.yaml")


def test_waits_pass_and_people_decide_the_moment_they_are_asked():
    run = carried_out(LONG)

    assert run.execution.status == "completed"
    assert run.execution.completed_at - run.execution.created_at == timedelta(days=30)
    decided = [event for event in run.events if isinstance(event, ApprovalDecided)]
    assert [event.decision.by for event in decided] == [
        "ann",
        "bob",
        "member 1 of legal",
        "member 2 of legal",
    ]
    assert decided[-1].timestamp - run.execution.created_at == timedelta(days=1)


def test_whoever_started_it_does_not_decide():
    run = carried_out(LONG, started_by="ann")

    decided = [event.decision.by for event in run.events if isinstance(event, ApprovalDecided)]
    assert decided == ["bob", "member 1 of legal", "member 2 of legal", "member 3 of legal"]


def test_where_anybody_may_decide_somebody_does():
    assert list(islice(deciders((), "dry-run"), 2)) == [("person 1", ()), ("person 2", ())]


def test_where_nobody_is_left_to_decide_it_is_told_and_the_deadline_passes():
    alone = LONG.replace('[ann, bob, "group:legal"], required_approvals: 4', "[ann]")
    alone += "  - {id: meanwhile, type: timer, delay: 25h}\n"

    run = carried_out(alone, started_by="ann")

    assert run.execution.status == "failed"
    assert run.remarks == ("step ask: nobody is left who may decide",)


@pytest.mark.parametrize(
    ("decide", "expected"),
    [
        ("approve", ["size", "ask", "answer", "pay"]),
        ("reject", ["size", "ask", "answer", "refuse"]),
        ("nobody", ["size", "ask", "answer", "refuse"]),
        ({"ask": "reject"}, ["size", "ask", "answer", "refuse"]),
        ({"other": "reject"}, ["size", "ask", "answer", "pay"]),
    ],
)
def test_people_decide_as_the_sample_says(decide, expected):
    run = carried_out(CHOICE, input={"amount": 500}, decide=decide)

    assert path(run) == expected


def test_given_answers_go_before_made_up_ones():
    text = "name: x\nsteps: [{id: a, agent: one, message: hi}, {id: b, agent: two, message: ho}]"

    run = carried_out(text, agents={"one": "given"})

    assert run.execution.step_executions["a"].output == "given"
    assert run.execution.step_executions["b"].output == "(answer of two)"
    assert run.made_up == ("b",)


def test_a_form_is_filled_in():
    text = """
name: x
steps:
  - id: a
    type: human_approval
    title: Which?
    form: {type: object, required: [account], properties: {account: {enum: [travel, petty cash]}}}
"""

    run = carried_out(text)

    assert run.execution.step_executions["a"].output["form"] == {"account": "travel"}


def test_an_answer_that_cannot_be_made_up_is_told():
    text = """
name: x
steps: [{id: a, agent: one, message: hi, output: {schema: {type: string, pattern: "^[0-9]{13}$"}}}]
"""

    run = carried_out(text)

    assert run.remarks == ("step a: what was made up does not fit its output.schema",)


def test_an_input_that_does_not_fit_is_refused():
    with pytest.raises(InputRejected):
        carried_out(CHOICE, input={"amount": "much"})


def test_the_input_of_the_file_is_changed_by_who_calls(tmp_path):
    (tmp_path / "answers.yaml").write_text(
        "input: {amount: 500}\ndecide: reject\nagents: {bank: done}\n", encoding="utf-8"
    )

    run = dry_run_file(
        tmp_path / "choice.yaml",
        definition_of(CHOICE),
        answers=tmp_path / "answers.yaml",
        decide="approve",
        gather=lambda given: {"amount": given["amount"] * 2},
    )

    assert run.execution.input == {"amount": 1000}
    assert path(run)[-1] == "pay"


def test_answers_with_an_unknown_key_are_refused_with_their_place(tmp_path):
    (tmp_path / "answers.yaml").write_text("agent: {bank: done}\n", encoding="utf-8")

    with pytest.raises(DefinitionInvalid) as caught:
        dry_run_file(
            tmp_path / "choice.yaml",
            definition_of(CHOICE),
            answers=tmp_path / "answers.yaml",
            decide=None,
            gather=dict,
        )
    assert caught.value.problems[0].line == 1
    with pytest.raises(NotFound):
        dry_run_file(
            tmp_path / "choice.yaml",
            definition_of(CHOICE),
            answers=tmp_path / "none.yaml",
            decide=None,
            gather=dict,
        )


def test_what_no_sample_reaches_is_told(tmp_path):
    found = covered(tmp_path, CHOICE, "samples: [{input: {amount: 20}}, {input: {amount: 500}, name: large}]")

    assert [(run.name, run.status) for run in found.runs] == [
        ("sample 1", "completed"),
        ("large", "completed"),
    ]
    assert found.unreached_steps == ["refuse"]
    assert found.unreached_routes == [("answer", "refuse")]
    assert len(found.routes) == 4


def test_samples_that_reach_everything_leave_nothing(tmp_path):
    found = covered(
        tmp_path,
        CHOICE,
        "samples: [{input: {amount: 20}}, {input: {amount: 500}}, {input: {amount: 500}, decide: nobody}]",
    )

    assert (found.unreached_steps, found.unreached_routes) == ([], [])


def test_a_sample_that_is_refused_is_told_and_reaches_nothing(tmp_path):
    found = covered(tmp_path, CHOICE, "samples: [{input: {}}]")

    assert "amount" in found.runs[0].refused
    assert found.unreached_steps == ["size", "ask", "answer", "pay", "refuse"]


def test_the_tests_of_a_process_are_samples_of_it(tmp_path):
    (tmp_path / "choice.yaml").write_text(CHOICE, encoding="utf-8")

    found = covered(
        tmp_path,
        CHOICE,
        """
process: choice.yaml
given: {input: {amount: 500}, agents: {bank: done}}
tests:
  - {name: no, when: [{reject: ask, by: ann, comment: no}], then: {}}
""",
    )

    assert found.runs[0].path == ["size", "ask", "answer", "refuse"]
    assert found.unreached_routes == [("size", "pay"), ("answer", "pay")]


def test_every_route_that_was_taken_counts_and_sub_processes_do_not(tmp_path):
    (tmp_path / "inner.yaml").write_text(
        "name: inner\nsteps: [{id: b, type: transform, value: 1}]\n", encoding="utf-8"
    )

    found = covered(
        tmp_path,
        """
name: outer
steps:
  - {id: part, type: sub_process, process: inner}
  - id: ways
    type: gateway
    gateway_type: inclusive
    depends_on: part
    routes: [{condition: "true", target: a}, {condition: "true", target: c}, {condition: "false", target: b}]
  - {id: a, type: transform, value: 1}
  - {id: b, type: transform, value: 1}
  - {id: c, type: transform, value: 1}
""",
        "samples: [{input: {}}]",
    )

    assert found.runs[0].path == ["part", "ways", "a", "c"]
    assert (found.unreached_steps, found.unreached_routes) == (["b"], [("ways", "b")])
