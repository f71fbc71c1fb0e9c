"""Every old spelling of the language means what its canonical one does, and is noted where it stands.

A spelling is a row: what is written, what it stands for, the code of the note. A new step type adds rows.
"""

from typing import NamedTuple

import pytest

from process_engine.definition.document import STEP_TYPES
from process_engine.definition.formatting import format_text
from process_engine.definition.old_forms import WITHOUT_EFFECT
from process_engine.definition.parsing import parse

ASK = "{id: ask, type: human_approval, on_reject: continue}"
END = "{id: end, type: timer, delay: 1s, depends_on: ask}"


class Spelling(NamedTuple):
    """Steps in the old and in the canonical words; a text that begins with `outputs:` stands below them."""

    name: str
    old: str
    new: str
    code: str


def task(more: str) -> str:
    return f"{{id: a, type: agent_task, agent: w, message: m, {more}}}"


def reading(expression: str) -> str:
    return f"{{id: tell, type: agent_task, agent: w, message: '{expression}', depends_on: ask}}"


def asking(condition: str) -> str:
    return f"{{id: tell, type: timer, delay: 1s, condition: '{condition}', depends_on: ask}}"


SPELLINGS = (
    Spelling(
        "no type", "{id: a, agent: w, message: m}", "{id: a, type: agent_task, agent: w, message: m}", "P903"
    ),
    Spelling("retry delay", task("retry: {delay: 2s}"), task("retry: {initial_delay: 2s}"), "P901"),
    Spelling(
        "retry delay of a compensation",
        task("compensation: {agent: w, message: u, retry: {delay: 2s}}"),
        task("compensation: {agent: w, message: u, retry: {initial_delay: 2s}}"),
        "P901",
    ),
    Spelling("on_error skip", task("on_error: {action: skip_step}"), task("on_error: skip_step"), "P904"),
    Spelling(
        "on_error fail", task("on_error: {action: fail_process}"), task("on_error: fail_process"), "P904"
    ),
    Spelling(
        "on_timeout",
        "{id: ask, type: human_approval, on_timeout: reject}",
        "{id: ask, type: human_approval, timeout_action: reject}",
        "P901",
    ),
    Spelling("duration", "{id: t, type: timer, duration: 5m}", "{id: t, type: timer, delay: 5m}", "P901"),
    Spelling(
        "config delay", "{id: t, type: timer, config: {delay: 5m}}", "{id: t, type: timer, delay: 5m}", "P901"
    ),
    Spelling(
        "conditions of a gateway",
        "{id: ask, type: gateway, "
        "conditions: [{expression: 1 == 1, next: end}, {default: true, next: other}]}",
        "{id: ask, type: gateway, routes: [{condition: 1 == 1, target: end}], default_route: other}",
        "P902",
    ),
    Spelling(
        "a route that says it is no default",
        "{id: ask, type: gateway, conditions: [{expression: 1 == 1, next: end, default: false}]}",
        "{id: ask, type: gateway, routes: [{condition: 1 == 1, target: end}]}",
        "P902",
    ),
    Spelling(
        "comments",
        reading("{{ steps.ask.output.comments }}"),
        reading("{{ steps.ask.output.comment }}"),
        "P905",
    ),
    Spelling(
        "approved_by",
        reading("{{ steps.ask.output.approved_by }}"),
        reading("{{ steps.ask.output.decided_by }}"),
        "P905",
    ),
    Spelling(
        "approve",
        asking('steps.ask.output.decision == "approve"'),
        asking('steps.ask.output.decision == "approved"'),
        "P905",
    ),
    Spelling(
        "reject in a list",
        asking('steps.ask.output.decision in ["reject", "approved"]'),
        asking('steps.ask.output.decision in ["rejected", "approved"]'),
        "P905",
    ),
    Spelling(
        "value of an output",
        "outputs: [{name: x, value: steps.end.output}]",
        "outputs: [{name: x, source: steps.end.output}]",
        "P901",
    ),
    Spelling(
        "an old word in outputs by name",
        "outputs: {x: steps.ask.output.comments}",
        "outputs: {x: steps.ask.output.comment}",
        "P905",
    ),
)
CASES = pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda spelling: spelling.name)


def document(part: str) -> str:
    """A process with the part in it; an approval and a timer stand beside it where they are not it."""
    steps = [] if "id: ask" in part else [ASK]
    steps += [END, *([] if part.startswith("outputs") else [part])]
    steps += (
        ["{id: other, type: timer, delay: 1s}"] if "next: other" in part or "default_route" in part else []
    )
    listed = "".join(f"  - {step}\n" for step in steps)
    return f"name: p\nsteps:\n{listed}" + (f"{part}\n" if part.startswith("outputs") else "")


@CASES
def test_an_old_spelling_means_the_same_and_is_noted(spelling: Spelling):
    old, new = parse(document(spelling.old)), parse(document(spelling.new))

    assert old.definition is not None
    assert new.definition is not None
    assert old.definition.content_hash == new.definition.content_hash
    assert [(problem.code, problem.level) for problem in old.problems] == [(spelling.code, "info")]
    assert new.problems == ()
    (note,) = old.problems
    assert document(spelling.old).splitlines()[note.line - 1] == next(
        line for line in document(spelling.old).splitlines() if spelling.old in line
    )


@CASES
def test_fmt_writes_the_canonical_spelling(spelling: Spelling):
    made = format_text(document(spelling.old))

    assert made.text == document(spelling.new)
    assert [problem.code for problem in made.rewritten] == [spelling.code]
    assert format_text(made.text) == (made.text, ())


def test_the_retry_of_the_defaults_may_be_in_old_words():
    old, new = (f"defaults: {{retry: {{{key}: 2s}}}}\n{document(END)}" for key in ("delay", "initial_delay"))

    assert parse(old).definition == parse(new).definition
    assert format_text(old).text == new


@pytest.mark.parametrize("place", ["top", "step"])
@pytest.mark.parametrize("key", WITHOUT_EFFECT)
def test_a_key_without_effect_is_a_warning_and_changes_nothing(key: str, place: str):
    plain = document("{id: t, type: timer, delay: 1s}")
    text = f"{key}: x\n{plain}" if place == "top" else plain.replace("id: t,", f"id: t, {key}: x,")

    parsed = parse(text)

    assert parsed.definition == parse(plain).definition
    assert [(problem.code, problem.level) for problem in parsed.problems] == [("P111", "warning")]
    assert format_text(text).text == text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{expression: 1 == 1, condition: 1 == 2, next: end}", "condition"),
        ("{expression: 1 == 1, next: end, target: end}", "target"),
    ],
)
def test_a_route_in_both_spellings_is_an_error(old: str, new: str):
    parsed = parse(document(f"{{id: g, type: gateway, conditions: [{old}]}}"))

    (problem,) = [problem for problem in parsed.problems if problem.level == "error"]
    assert (problem.code, problem.suggestion) == ("P112", f"Keep `{new}`.")


def test_every_step_type_can_be_written_without_a_note():
    """A type that gets old spellings gets rows above; this keeps the table in sight when one is added."""
    assert {"agent_task", "gateway", "timer", "human_approval", "transform"} <= set(STEP_TYPES)
    for type in ("timer", "gateway", "human_approval", "agent_task"):
        assert any(f"type: {type}" in spelling.new for spelling in SPELLINGS)
