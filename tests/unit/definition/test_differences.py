"""Differences of two processes are told in words; what means the same has none."""

import pytest
from hypothesis import given, settings

from process_engine.definition.differences import MOST_CHARACTERS, differences
from process_engine.definition.document import ProcessDefinition
from process_engine.definition.parsing import parse
from process_engine.testing.strategies import processes

BASE = """\
name: post
version: "1.9"
input:
  topic: {type: string, required: true}
  words: {type: integer, default: 100}
limits: {timeout: 1h}
steps:
  - {id: write, type: agent_task, agent: w, message: "Write about tides.", timeout: 1h}
  - id: gate
    type: gateway
    depends_on: write
    routes:
      - {condition: input.words > 9, target: long}
      - {condition: input.words > 5, target: short}
    default_route: short
  - {id: long, type: timer, delay: 1s}
  - {id: short, type: timer, delay: 1s}
outputs:
  text: steps.write.output
"""


def definition(text: str) -> ProcessDefinition:
    parsed = parse(text)
    assert parsed.definition is not None, parsed.problems
    return parsed.definition


def told(old: str, new: str) -> list[str]:
    text = BASE.replace(old, new)
    assert text != BASE
    return [str(one) for one in differences(definition(BASE), definition(text))]


NOTIFY = "  - {id: notify, type: agent_task, agent: w, message: m, depends_on: [long, short]}\noutputs:"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"1.9"', '"1.10"', ["version 1.9 -> 1.10"]),
        ("timeout: 1h}\n  - id", "timeout: 2h}\n  - id", ["step write: timeout 1h -> 2h"]),
        (", timeout: 1h}\n  - id", "}\n  - id", ["step write: timeout 1h removed"]),
        ("agent: w,", "agent: w, model: big,", ["step write: model big added"]),
        ("agent: w,", "agent: w, retry: {max_attempts: 5},", ['step write: retry {"max_attempts": 5} added']),
        ("outputs:", NOTIFY, ["step notify added after long, short"]),
        ("  - {id: short, type: timer, delay: 1s}\n", "", ["step short removed"]),
        ("{timeout: 1h}", "{timeout: 2h}", ["limits.timeout 1h -> 2h"]),
        (
            "9, target: long",
            "8, target: long",
            ['step gate, route to long: condition "input.words > 9" -> "input.words > 8"'],
        ),
        ("      - {condition: input.words > 9, target: long}\n", "", ["step gate: route to long removed"]),
        (
            "    default_route",
            "      - {condition: input.topic == 'x', target: write, max_visits: 2}\n    default_route",
            ["step gate: route to write added (if \"input.topic == 'x'\")"],
        ),
        ("default_route: short", "default_route: long", ["step gate: default_route short -> long"]),
        (", required: true", "", ["input field topic: no longer required"]),
        ("integer, default", "integer, required: true, default", ["input field words: now required"]),
        ("default: 100", "default: 200", ["input field words: default 100 -> 200"]),
        ("limits:", "  tone: {type: string}\nlimits:", ["input field tone added (string)"]),
        (
            "limits:",
            "  tone: {type: string, required: true}\nlimits:",
            ["input field tone added (string, required)"],
        ),
        ("  words: {type: integer, default: 100}\n", "", ["input field words removed"]),
        (
            "  text: steps.write.output",
            "  text: steps.write",
            ['output text: source "{{ steps.write.output }}" -> "{{ steps.write }}"'],
        ),
        ("  text:", "  copy: input.topic\n  text:", ['output copy added ("{{ input.topic }}")']),
        ("limits:", "x-team: blue\nlimits:", ["x-team blue added"]),
        ("limits:", "labels: {team: blue}\nlimits:", ['labels {"team": "blue"} added']),
    ],
)  # fmt: skip
def test_a_change_is_told_in_words(old: str, new: str, words: list[str]):
    assert told(old, new) == words


LONG = "  - {id: long, type: timer, delay: 1s}\n"
MORE = "      - {condition: input.words > 9, target: long}\n"
LESS = "      - {condition: input.words > 5, target: short}\n"


def test_another_order_of_steps_or_routes_is_told():
    rest = BASE.partition(LONG)[2]
    assert told(LONG + rest, rest.replace("outputs:", f"{LONG}outputs:")) == ["order of steps changed"]
    assert told(MORE + LESS, LESS + MORE) == ["step gate: order of routes changed"]


def test_spellings_comments_and_order_of_keys_are_no_difference():
    same = BASE.replace("  text: steps.write.output", "  - {name: text, value: '{{ steps.write.output }}'}")
    same = "# A post.\n" + same.replace(LONG, "  - {duration: 1s, type: timer, id: long}\n")

    assert differences(definition(BASE), definition(same)) == []


def test_long_values_are_cut_around_the_place_where_they_part():
    lead = "Write about the tides of the North Sea, of the Baltic, and of the Mediterranean. "
    (line,) = told("Write about tides.", lead + "Be short.")
    old = BASE.replace("Write about tides.", lead + "Be short.")
    new = BASE.replace("Write about tides.", lead + "Be long.")

    (other,) = [str(one) for one in differences(definition(old), definition(new))]

    assert other == 'step write: message …iterranean. Be short." -> …iterranean. Be long."'
    assert len(line) < 3 * MOST_CHARACTERS


def test_routes_to_one_target_are_compared_in_their_order():
    twice = BASE.replace("target: long", "target: short")
    other = twice.replace("input.words > 5", "input.words > 6")

    words = [str(one) for one in differences(definition(twice), definition(other))]

    assert words == ['step gate, route to short (2): condition "input.words > 5" -> "input.words > 6"']


@settings(max_examples=30, deadline=None, database=None)
@given(processes(), processes())
def test_there_are_differences_exactly_where_the_content_differs(one, other):
    assert differences(one, one) == []
    assert bool(differences(one, other)) == (one.content_hash != other.content_hash)
