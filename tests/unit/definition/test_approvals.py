"""Approvals and transforms in a document: old spellings, and what can be known to be wrong."""

import json
import textwrap

import pytest

from process_engine.definition import load_definition, parse
from process_engine.definition.old_words import old_words, rewritten
from process_engine.definition.problems import Problem

HEAD = "name: p\ndefaults: {agent: writer}\n"


def told(*steps: str, more: str = "") -> list[Problem]:
    """The problems of a document of these steps, in flow style, but for infos."""
    body = "".join(f"  - {{{step}}}\n" for step in steps)
    _, found = load_definition(f"{HEAD}{more}steps:\n{body}")
    return [problem for problem in found if problem.level != "info"]


def ask(keys: str = "", id: str = "ask") -> str:
    return f"id: {id}, type: human_approval{', ' if keys else ''}{keys}"


def codes(*steps: str, more: str = "") -> list[tuple[str, str]]:
    return [(problem.code, problem.level) for problem in told(*steps, more=more)]


# ---------------------------------------------------------------- old spellings

OLD = """\
name: p
steps:
  - {id: ask, type: human_approval, on_timeout: reject, on_reject: continue}
  - id: route
    type: gateway
    depends_on: ask
    conditions:
      - {expression: steps.ask.output.decision == "approve", next: tell}
      - {expression: "'reject' != steps['ask'].output.decision | default('?')", next: tell}
      - {default: true, next: stop}
  - id: tell
    type: transform
    condition: steps.ask.output.decision in ["approve", "later"]
    value:
      who: ["by {{ steps.ask.output.approved_by }}, {{ steps.ask.output.comments | default('-') }}"]
  - {id: stop, type: transform, value: "{{ steps.ask.output.decision == 'reject' }}"}
outputs:
  - {name: why, source: steps.ask.output.comments}
  - {name: who, value: "{{ steps.ask.output['approved_by'] }}"}
"""
NEW = """\
name: p
steps:
  - {id: ask, type: human_approval, timeout_action: reject, on_reject: continue}
  - id: route
    type: gateway
    depends_on: ask
    routes:
      - {condition: steps.ask.output.decision == "approved", target: tell}
      - {condition: "'rejected' != steps['ask'].output.decision | default('?')", target: tell}
    default_route: stop
  - id: tell
    type: transform
    condition: steps.ask.output.decision in ["approved", "later"]
    value:
      who: ["by {{ steps.ask.output.decided_by }}, {{ steps.ask.output.comment | default('-') }}"]
  - {id: stop, type: transform, value: "{{ steps.ask.output.decision == 'rejected' }}"}
outputs:
  - {name: why, source: steps.ask.output.comment}
  - {name: who, source: "{{ steps.ask.output['decided_by'] }}"}
"""


def test_old_words_about_approvals_give_the_same_definition_and_a_note_each():
    parsed = parse(OLD)

    assert parsed.definition is not None
    assert parsed.definition == parse(NEW).definition
    assert parse(NEW).problems == ()
    notes = [(problem.code, problem.line, problem.column) for problem in parsed.problems]
    assert notes == [
        ("P901", 3, 37),
        ("P902", 7, 5),
        ("P905", 8, 52),
        ("P905", 9, 24),
        ("P905", 13, 47),
        ("P905", 15, 37),
        ("P905", 15, 73),
        ("P905", 16, 74),
        ("P905", 18, 42),
        ("P901", 19, 17),
        ("P905", 19, 46),
    ]
    assert {problem.level for problem in parsed.problems} == {"info"}


@pytest.mark.parametrize(
    "source",
    [
        "steps.other.output.comments",
        "steps.ask.output.form.comments",
        "steps.ask.status == 'approve'",
        "steps.ask.output.comment == 'approve'",
        "input.comments == 'reject'",
        "steps.ask.output.decision < 'approve'",
        "steps.ask.output.comments ==",
    ],
)
def test_the_same_words_elsewhere_are_left_alone(source: str):
    assert old_words(source, {"ask"}, condition=True) == []


def test_a_text_without_braces_is_no_expression():
    text = HEAD + "steps:\n  - {id: ask, type: human_approval, description: steps.ask.output.comments}\n"

    assert parse(text).problems == ()


def test_what_stands_around_an_old_word_stays_as_it_is():
    source = "approve: {{ steps.ask.output.decision == 'approve' }} comments"

    words = old_words(source, {"ask"}, condition=False)

    assert rewritten(source, words) == "approve: {{ steps.ask.output.decision == 'approved' }} comments"


def test_both_spellings_of_what_silence_means_are_an_error():
    assert codes(ask("on_timeout: fail, timeout_action: fail")) == [("P112", "error")]


# ---------------------------------------------------------------- times and people


def test_a_plain_approval_has_no_problems():
    assert codes(ask()) == []
    keys = "assignees: [ann, bob, 'group:legal'], required_approvals: 5, rejections_needed: 3, timeout: 2d"
    more = "reminders: [4h, 1d], timeout_action: {escalate_to: cid, after: 36h}, separation_of_duties: true"
    assert codes(ask(f"{keys}, {more}, form: {{type: object}}, on_reject: continue")) == []


def test_a_form_that_is_no_json_schema():
    (problem,) = told(ask("form: {type: object, properties: {n: {type: whole}}}"))

    assert (problem.code, problem.level) == ("P113", "error")


@pytest.mark.parametrize("keys", ["reminders: [24h]", "timeout: 2h, reminders: [1h, 2h]"])
def test_a_reminder_at_the_deadline_or_later(keys: str):
    (problem,) = told(ask(keys))

    assert (problem.code, problem.level) == ("P606", "warning")
    assert problem.path[-2] == "reminders"


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ("timeout_action: {escalate_to: bob, after: 24h}", [("P607", "error")]),
        ("timeout: 25h, timeout_action: {escalate_to: bob, after: 24h}", []),
    ],
)
def test_an_escalation_at_the_deadline_or_later(keys: str, found: list[tuple[str, str]]):
    assert codes(ask(keys)) == found


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ("assignees: [ann], required_approvals: 2", [("P608", "error")]),
        ("assignees: [ann, ann], required_approvals: 2", [("P608", "error")]),
        ("assignees: [ann], rejections_needed: 2", [("P608", "warning")]),
        ("assignees: [ann, bob], required_approvals: 2, rejections_needed: 2", [("P608", "warning")]),
        ("assignees: [ann, bob], required_approvals: 2", []),
        ("assignees: [ann, bob, cid], required_approvals: 2, rejections_needed: 2", []),
        ("required_approvals: 9", []),
        ("assignees: ['group:legal'], required_approvals: 9", []),
        ("assignees: ['{{ input.boss }}'], required_approvals: 9", []),
        ("assignees: ann, required_approvals: 2, timeout_action: {escalate_to: bob, after: 1h}", []),
    ],
)
def test_more_decisions_than_people(keys: str, found: list[tuple[str, str]]):
    assert codes(ask(keys)) == found


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ("assignees: [ann]", [("P609", "warning")]),
        ("assignees: [ann, bob]", []),
        ("assignees: ['group:legal']", []),
        ("", []),
    ],
)
def test_duties_of_one_person_cannot_be_separated(keys: str, found: list[tuple[str, str]]):
    assert codes(ask(f"separation_of_duties: true{', ' if keys else ''}{keys}")) == found


# ---------------------------------------------------------------- what comes after


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ("on_error: skip_step", "on_error"),
        ("timeout_action: skip", "timeout_action"),
        ("on_timeout: skip", "timeout_action"),
    ],
)
def test_an_approval_that_nobody_has_to_give_draws_a_warning(keys: str, key: str):
    (problem,) = told(ask(keys))

    assert (problem.code, problem.level, problem.path[-1]) == ("P610", "warning", key)


def test_default_error_policies_are_none_of_an_approval():
    text = textwrap.dedent("""\
        name: p
        defaults: {on_error: skip_step}
        steps: [{id: ask, type: human_approval}]
    """)

    assert load_definition(text)[1] == []


READS = "steps.ask.output.decision"


def reading(condition: str) -> str:
    return f"id: tell, type: transform, value: 1, condition: {json.dumps(condition)}"


@pytest.mark.parametrize(
    ("keys", "condition", "found"),
    [
        ("", '== "rejected"', ["P611"]),
        ("", '== "reject"', ["P611"]),
        ("", '!= "rejected"', ["P611"]),
        ("", 'in ["rejected", "approved"]', ["P611"]),
        ("", '| default("approved") == "rejected"', ["P611"]),
        ("", '== "approved"', []),
        ("on_reject: continue", '== "rejected"', []),
        ("on_error: {action: goto_step, target_step: mend}", '== "rejected"', []),
    ],
)
def test_a_rejection_is_read_that_never_gets_there(keys: str, condition: str, found: list[str]):
    steps = [ask(keys), reading(f"{READS} {condition}")]
    if "mend" in keys:
        steps.append("id: mend, type: transform, value: 1")

    assert [code for code, _ in codes(*steps) if code != "P306"] == found


def test_the_output_of_an_approval_that_may_be_skipped_is_read_with_a_default():
    read = "id: tell, type: transform, value: '{{ steps.ask.output.comment }}'"

    assert ("P306", "warning") in codes(ask("timeout_action: skip"), read)
    assert codes(ask("timeout_action: reject"), read) == []


def test_a_decision_has_two_words():
    (problem,) = told(ask(), reading(f'{READS} == "aproved"'))

    assert (problem.code, problem.suggestion) == ("P307", "Did you mean `approved`?")


def test_what_is_filled_in_has_the_kinds_of_the_form():
    form = "form: {type: object, properties: {budget: {type: number}}}"
    read = "id: tell, type: transform, value: 1, condition: steps.ask.output.form.budget"

    assert codes(ask(form), f"{read} > 5") == []
    assert codes(ask(form), f"{read} > 'x'") == [("P307", "error")]


# ---------------------------------------------------------------- settings without meaning, transforms


@pytest.mark.parametrize(
    ("step", "keys"),
    [
        (ask("retry: {max_attempts: 2}, on_interrupt: ask, timeout: 3h"), ["retry", "on_interrupt"]),
        ("id: t, type: transform, value: 1, retry: {max_attempts: 2}, timeout: 3h", ["retry", "timeout"]),
    ],
)
def test_settings_that_mean_nothing_are_told(step: str, keys: list[str]):
    problems = told(step)

    assert {problem.code for problem in problems} == {"P612"}
    assert sorted(str(problem.path[-1]) for problem in problems) == sorted(keys)


@pytest.mark.parametrize("key", ["roles: {}"])
def test_what_is_not_run_yet_is_refused_on_an_approval_as_well(key: str):
    assert ("P110", "error") in codes(ask(key))


def test_a_transform_needs_a_value():
    assert codes("id: t, type: transform") == [("P102", "error")]
    assert codes("id: t, type: transform, value: null") == [("P103", "error")]
    assert codes("id: t, type: transform, value: {nothing: null}") == []


def test_expressions_inside_a_value_are_checked_one_by_one():
    value = "{a: ['{{ steps.nope.output }}'], b: '{{ inptu.x }}', c: plain}"

    assert [code for code, _ in codes(f"id: t, type: transform, value: {value}")] == ["P303", "P302"]


@pytest.mark.parametrize(
    ("value", "condition", "found"),
    [
        ("{n: 1}", "steps.t.output.n > 'x'", ["P307"]),
        ("{n: 1}", "steps.t.output.n > 3", []),
        ("[1, 2]", "steps.t.output > 3", ["P307"]),
        ("ready", "steps.t.output == true", ["P307"]),
        ("'{{ input.n }}'", "steps.t.output > 3", []),
        ("{n: '{{ input.n }}'}", "steps.t.output.n > 3", []),
    ],
)
def test_the_kind_of_a_literal_value_is_known(value: str, condition: str, found: list[str]):
    steps = (f"id: t, type: transform, value: {value}", reading(condition))

    assert [code for code, _ in codes(*steps)] == found


def test_a_deadline_may_outlast_the_execution():
    assert codes(ask(), more="limits: {timeout: 1h}\n") == [("P501", "warning")]
    assert codes(ask("timeout: 30m"), more="limits: {timeout: 1h}\n") == []
