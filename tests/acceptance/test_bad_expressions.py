"""Expressions and inputs as a hostile user writes them, and data that would like to be an expression.

What can be known is refused before anything runs; what cannot fails its step, soon, and is recorded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from process_engine.testing.agent_process import start_agent_process
from tests.acceptance.hostile import (
    STORE,
    RawAgent,
    answer_of,
    echo,
    executions,
    limited,
    no_traceback,
    place,
    process,
    soon,
    terminal,
)
from tests.integration.terminal import on_a_terminal

__all__ = ["place", "terminal"]

MIB = 1024 * 1024


# ---------------------------------------------------------------- known before anything runs

# The text of a message, the code, a word of what is told, and a word of the remedy.
UNREADABLE = {
    "a power": ("{{ 2**(10**9) }}", "P301", "`**`", "no power operator"),
    "5,000 parentheses": ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "P301", "64 levels", "Split"),
    "5,000 brackets": ("{{ " + "[" * 5000 + "]" * 5000 + " }}", "P301", "64 levels", "Split"),
    "3,000 negations": ("{{ " + "not " * 3000 + "true }}", "P301", "64 levels", "Split"),
    "5,000 signs": ("{{ " + "-" * 5000 + "1 }}", "P301", "64 levels", "Split"),
    "5,000 additions": ("{{ 1" + "+1" * 5000 + " }}", "P301", "128 operations", "Split"),
    "2,000 filters": ("{{ 1" + "|string" * 2000 + " }}", "P301", "128 operations", "Split"),
    "20,000 characters": (
        "{{ input.a" + ".a" * 10_000 + " }}",
        "P301",
        "not closed within 16,384",
        "literal",
    ),
    "10,001 expressions": ("{{1}}" * 10_001, "P301", "at most 10,000", "join"),
    "10,001 openings": ("{{" * 10_001, "P301", "", ""),
    "an integer of 5,000 digits": ("{{ " + "9" * 5000 + " }}", "P301", "100 characters", "Quote"),
    "a number without end": ("{{ 1e999 }}", "P301", "too large", "smaller"),
    "a call": ("{{ __import__('os').system('id') }}", "P301", "no function calls", "filter"),
    "an attribute of a text": ("{{ ''.__class__ }}", "P301", "`.`", ""),
    "an attribute of a step": ("{{ steps.a.__class__ }}", "P301", "no field of a step", "output"),
    "a root of Python": ("{{ __builtins__.open }}", "P302", "`__builtins__`", "`input`"),
    "a comprehension": ("{{ [x for x in input.l] }}", "P301", "`for`", ""),
    "a filter without argument": (
        "{{ input.t | truncate }}",
        "P301",
        "1 to 2 arguments, not 0",
        "truncate(…)",
    ),
    "a filter with too many": ("{{ input.t | upper(1, 2) }}", "P301", "0 arguments, not 2", "| upper"),
    "a filter that does not exist": ("{{ input.t | eval }}", "P301", "no filter `eval`", ""),
    "a secret": ("{{ secrets.TOKEN }}", "P308", "Secrets are not allowed here", "agent's settings"),
    "a look-alike letter": ("{{ input.n\u0430me }}", "P301", "`\u0430`", "brackets"),
    "a mark from right to left": ("{{ input\u202eemit }}", "P301", "U+202E", "Remove it"),
    "a NUL character": ("{{ input.a\0 }}", "P301", "U+0000", "Remove it"),
    "a quote without end": ('{{ "never }}', "P301", "never closed", "quote"),
    "braces without end": ("{{ input.a", "P301", "never closed", "literal"),
}


@pytest.mark.parametrize(("text", "code", "words", "remedy"), list(UNREADABLE.values()), ids=list(UNREADABLE))
def test_an_expression_with_this_fault_is_refused_with_place_and_remedy(
    terminal, place, text, code, words, remedy
):
    (place / "bad.yaml").write_text(process(echo("x"), echo(text, "b", ", depends_on: a")), encoding="utf-8")

    with soon():
        validated = terminal("validate", "bad.yaml", "--json")
    with soon():
        ran = terminal("run", "bad.yaml")

    (problem,) = [one for one in validated.document["problems"] if one["level"] == "error"]
    assert (validated.code, problem["code"], problem["line"]) == (2, code, 4)
    assert problem["column"] >= len("  - {id: b, type: agent_task, agent: echo, message: ")
    assert words in problem["message"]
    assert remedy in problem["suggestion"]
    assert (ran.code, ran.out) == (2, "")
    assert f"bad.yaml:4:{problem['column']}: error {code}: " in ran.err
    no_traceback(ran)
    assert not (place / STORE).exists()


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(", "missing )"),
        ("(?=a)b", "invalid perl operator"),
        ("(a)\\\\1", "invalid escape sequence"),
        ("((a{1,999}){1,999}){1,999}", "repetition"),
        ("a" * 20_000, ""),
    ],
)
def test_a_pattern_that_could_burn_time_is_refused(terminal, place, pattern, words):
    condition = json.dumps(f"input.t matches '{pattern}'")
    (place / "bad.yaml").write_text(process(echo("x", more=f", condition: {condition}")), encoding="utf-8")

    with soon():
        answer = terminal("validate", "bad.yaml", "--json")

    (problem,) = answer.document["problems"]
    assert (answer.code, problem["code"], problem["line"]) == (2, "P301", 3)
    assert words in problem["message"]
    assert problem["suggestion"]


def test_a_pattern_cannot_come_from_data(terminal, place):
    step = echo("x", more=', condition: "input.t matches input.pattern"')
    (place / "bad.yaml").write_text(process(step), encoding="utf-8")

    answer = terminal("validate", "bad.yaml", "--json")

    assert (answer.code, answer.document["problems"][0]["code"]) == (2, "P301")
    assert "takes a quoted pattern" in answer.document["problems"][0]["message"]


# ---------------------------------------------------------------- known only when a step runs

# An expression, the input, and a word of what is told.
FAILING = {
    "a join of 100 MB": (
        "input.l | join(input.s)",
        {"l": ["x"] * 1001, "s": "y" * 100_000},
        "10,485,760 char",
    ),
    "escapes of escapes": ("input.t" + " | json" * 20, {"t": '"' * 1000}, "10,485,760 characters"),
    "a list of every character": ('input.t | split(",")', {"t": "," * 200_000}, "100,000 items"),
    "a sum over 4,096 bits": ("input.n + 1", {"n": 10**4000}, "4,096 bits"),
    "a product over 4,096 bits": ("input.n * input.n", {"n": 10**1000}, "4,096 bits"),
    "a text of 5,000 digits": ("input.t | int", {"t": "9" * 5000}, "a text that is a number"),
    "digits of another script": ("input.t | number", {"t": "\uff11\uff12"}, "a text that is a number"),
    "an exponent without end": ("input.t | number", {"t": "1e999999999"}, "too large"),
    "a division by zero": ("1 / input.n", {"n": 0}, "division by zero"),
    "JSON in 50,000 brackets": ("input.t | from_json", {"t": "[" * 50_000}, "a text that is JSON"),
    "JSON that is none": ("input.t | from_json", {"t": "NaN"}, "a text that is JSON"),
    "a million decimals": ("1.5 | round(1000000)", {}, "from 0 to 15"),
    "a format of 100,000 characters": ("0 | date(input.f)", {"f": "%Y" * 50_000}, "at most 200"),
    "the class of an object": ("input.__class__.__mro__", {}, "`input` has no `__class__`"),
    "the class of a list": ('input.l["__class__"]', {"l": []}, "has no `__class__`"),
    "a method of a text": ("input.t.format", {"t": "{0.__class__}"}, "has no `format`"),
    "a method of an object": ("input.o.items", {"o": {}}, "has no `items`"),
    "an index far away": ("input.l[99999999999]", {"l": [1]}, "has no `99999999999`"),
    "null inside a text": ('"x" + input.t', {"t": None}, ""),
}


@pytest.mark.parametrize(("source", "given", "words"), list(FAILING.values()), ids=list(FAILING))
def test_an_expression_without_a_value_fails_its_step_and_is_recorded(terminal, place, source, given, words):
    steps = process(echo("kept"), echo(f"{{{{ {source} }}}}", "b", ", depends_on: a"))
    (place / "bad.yaml").write_text(steps, encoding="utf-8")
    (place / "input.json").write_text(json.dumps(given), encoding="utf-8")

    with soon():
        answer = terminal("run", "bad.yaml", "--input", "@input.json", "--json")

    first, second = answer.document["steps"]
    assert (answer.code, answer.err) == (1, "")
    assert (answer.document["status"], second["status"], second["attempts"]) == ("failed", "failed", 0)
    assert second["error"] == answer.document["error"]
    assert second["error"]["code"] == "EXPRESSION_ERROR"
    assert words in second["error"]["message"]
    assert f"in `{{{{ {source[:20]}" in second["error"]["message"]
    assert (first["status"], first["output"]) == ("completed", "kept")
    assert terminal("show", answer.document["id"], "--json").document == answer.document


def test_a_join_of_100_mb_and_a_power_take_neither_time_nor_memory(terminal, place):
    text = "{{ input.l | join(input.l | join(input.l | join(input.t))) }}"
    (place / "join.yaml").write_text(process(echo(text)), encoding="utf-8")
    given = json.dumps({"l": ["x"] * 5000, "t": "y" * 1000})
    (place / "input.json").write_text(given, encoding="utf-8")

    answer = limited("run", "join.yaml", "--input", "@input.json", cwd=place, cpu_seconds=5, data_mib=150)

    assert answer.code == 1
    assert (
        "Failed in step a: EXPRESSION_ERROR: the text would have more than 10,485,760 characters"
        in answer.out
    )
    assert executions(terminal, place)[0]["status"] == "failed"
    no_traceback(answer)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "^(.*?,){30}P", "(x+x+)+y"])
def test_a_pattern_takes_linear_time_whatever_the_text(terminal, place, pattern):
    condition = json.dumps(f"input.t matches '{pattern}'")
    (place / "match.yaml").write_text(process(echo("x", more=f", condition: {condition}")), encoding="utf-8")
    (place / "input.json").write_text(json.dumps({"t": "a," * MIB + "!"}), encoding="utf-8")

    with soon():
        answer = terminal("run", "match.yaml", "--input", "@input.json", "--json")

    assert answer.code == 0
    assert answer.document["steps"][0]["reason"] == "condition_false"


def test_ten_thousand_expressions_in_one_text_are_computed(terminal, place):
    (place / "many.yaml").write_text(process(echo("{{ input.n }}" * 10_000)), encoding="utf-8")

    with soon(5):
        answer = terminal("run", "many.yaml", "-i", "n=7", "--json")

    assert answer.document["outputs"] == {"a": "7" * 10_000}


# ---------------------------------------------------------------- data is never an expression

LIE = "{{ secrets.TOKEN }} {{ input.key }} {{ 1 / 0 }} ${TOKEN} {% x %} %s {0.__class__}"


def test_what_an_agent_or_an_input_says_is_never_evaluated(terminal, place, monkeypatch):
    monkeypatch.setenv("TOKEN", "sesame-open")
    with start_agent_process({"liar": {"reply": LIE}, "reader": {}}, log=place / "calls.jsonl") as agents:
        settings = [
            f'  {name}: {{kind: http, url: "{agents.url_of(name)}", headers: {{X-Key: "${{TOKEN}}"}}}}\n'
            for name in ("liar", "reader")
        ]
        (place / "agents.yaml").write_text("agents:\n" + "".join(settings), encoding="utf-8")
        steps = [
            "id: a, type: agent_task, agent: liar, message: x",
            'id: b, type: agent_task, agent: reader, message: ["{{ steps.a.output }}", "{{ input.key }}"]',
        ]
        outputs = (
            'outputs: {said: "{{ steps.a.output }}", twice: "{{ steps.a.output }}/{{ steps.a.output }}"}\n'
        )
        (place / "lie.yaml").write_text(process(*steps, more=outputs), encoding="utf-8")

        answer = terminal("run", "lie.yaml", "--input", json.dumps({"key": LIE}), "--json")

        messages = [call.message for call in agents.calls()]

    assert (answer.code, answer.err) == (0, "")
    assert messages == ["x", [LIE, LIE]]
    assert answer.document["outputs"] == {"said": LIE, "twice": f"{LIE}/{LIE}"}
    told = answer.out + terminal("events", answer.document["id"], "--all", "--json").out
    assert "sesame-open" not in told
    assert all(b"sesame-open" not in file.read_bytes() for file in place.glob(f"{STORE}*"))


def test_what_an_agent_says_is_no_condition_either(terminal, place):
    steps = [echo("{{ input.t }}"), echo("x", "b", ', condition: "{{ steps.a.output }}"')]
    (place / "lie.yaml").write_text(process(*steps), encoding="utf-8")

    answer = terminal("run", "lie.yaml", "-i", "t=1 == 1 or secrets.TOKEN", "--json")

    assert answer.code == 1
    assert answer.document["error"]["code"] == "EXPRESSION_ERROR"
    assert answer.document["steps"][1]["attempts"] == 0


# ---------------------------------------------------------------- nothing steers the terminal

# Title, cursor, invisible text, a question that the terminal would answer, C1 control, order of letters.
STEERING = (
    "\x1b]0;owned\x07",
    "\x1b[5;5H",
    "\x1b[8m",
    "\x1b[6n",
    "\x9b5n",
    "\x08\x08",
    "\x7f",
    "\u202e",
    "\u2066",
)
# Marks without width: they reorder, hide or break what is seen, and steer nothing else.
INVISIBLE = ("\u200e", "\u200f", "\u061c", "\u2028", "\u2029")


@pytest.fixture
def steered(terminal, place) -> Iterator[Path]:
    """A place where one execution got hostile text as input, output and failure."""
    text = " ".join(STEERING)
    with RawAgent(answer_of(text, "text/plain; charset=utf-8", "400 Bad")) as agent:
        bad = f"bad: {{kind: http, url: '{agent.url}'}}"
        (place / "agents.yaml").write_text(f"agents: {{echo: {{kind: echo}}, {bad}}}\n", encoding="utf-8")
        steps = [
            echo("{{ input.t }}"),
            "id: b, type: agent_task, agent: bad, message: x, depends_on: a, on_error: skip_step",
            "id: c, type: agent_task, agent: bad, message: x, depends_on: b",
        ]
        (place / "steer.yaml").write_text(process(*steps), encoding="utf-8")
        (place / "input.json").write_text(json.dumps({"t": text}), encoding="utf-8")
        yield place


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "show",
        "events --all",
        "output a",
        "run --json",
        "show --json",
    ],
)
def test_hostile_text_does_not_reach_a_terminal_raw(terminal, steered, command):
    command, _, options = command.partition(" ")
    if command == "run":
        arguments = ["run", "steer.yaml", "--input", "@input.json", *options.split()]
    else:
        ran = terminal("run", "steer.yaml", "--input", "@input.json", "--json").document
        arguments = [command, ran["id"], *options.split()]

    seen = on_a_terminal(*arguments, cwd=steered)

    assert [sequence for sequence in STEERING if sequence in seen] == []
    assert "]0;owned" in seen
    assert "Traceback" not in seen


@pytest.mark.parametrize(
    "command",
    [
        "run bad.yaml",
        "agents check",
        "validate bad.yaml",
        "doctor",
    ],
)
def test_files_of_somebody_else_do_not_steer_the_terminal_that_looks_at_them(place, command):
    name = json.dumps("".join(STEERING))
    (place / "agents.yaml").write_text(f"agents: {{{name}: {{kind: echo}}}}\n", encoding="utf-8")
    bad = process(f"id: a, type: agent_task, agent: {name}, {name}: 1, message: x")
    (place / "bad.yaml").write_text(bad, encoding="utf-8")

    seen = on_a_terminal(*command.split(), cwd=place)

    assert [sequence for sequence in STEERING if sequence in seen] == []
    assert "]0;owned" in seen


def test_the_name_of_an_output_does_not_steer_the_terminal(place):
    outputs = f"outputs: [{{name: {json.dumps(''.join(STEERING))}, source: '{{{{ steps.a.output }}}}'}}]\n"
    (place / "named.yaml").write_text(process(echo("x"), more=outputs), encoding="utf-8")

    seen = on_a_terminal("run", "named.yaml", cwd=place)

    assert [sequence for sequence in STEERING if sequence in seen] == []


def test_marks_that_cannot_be_seen_are_spelled_out(terminal, place):
    (place / "marks.yaml").write_text(process(echo("{{ input.t }}")), encoding="utf-8")
    given = json.dumps({"t": "".join(INVISIBLE)})

    answer = terminal("run", "marks.yaml", "--input", given)

    assert [mark for mark in INVISIBLE if mark in answer.out] == []
    assert r"\u200e\u200f\u061c\u2028\u2029" in answer.out


def test_an_error_that_quotes_data_is_one_line(terminal, place):
    forged = "x\nprocess-engine: all is well\x1b[2J"
    (place / "forge.yaml").write_text(process(echo("{{ input.t | number }}")), encoding="utf-8")

    answer = terminal("run", "forge.yaml", "--input", json.dumps({"t": forged}))

    assert answer.code == 1
    assert not any(line.startswith("process-engine: all") for line in answer.out.splitlines())


# ---------------------------------------------------------------- input

DECLARED = """\
name: declared
input:
  topic: {type: string, required: true}
  count: {type: integer, minimum: 1, maximum: 5}
  tags: {type: array, items: {type: string}}
  mode: {type: string, enum: [fast, slow]}
steps: [{id: a, type: agent_task, agent: echo, message: "{{ input.topic }}"}]
"""


def test_an_input_that_breaks_its_schema_is_refused_with_the_path_of_each_fault(terminal, place):
    (place / "declared.yaml").write_text(DECLARED, encoding="utf-8")
    given = {"topic": 5, "count": 99, "tags": ["a", 1, None], "mode": "fats", "tpoic": "x"}

    answer = terminal("run", "declared.yaml", "--input", json.dumps(given), "--json")

    error = answer.document["error"]
    assert (answer.code, answer.err) == (2, "")
    assert error["code"] == "INPUT_REJECTED"
    faults = error["message"].partition("does not fit process declared: ")[2].rstrip(".").split("; ")
    assert {fault.partition(": ")[0]: fault.partition(": ")[2] for fault in faults} == {
        "input.topic": "must be text, not 5",
        "input.count": "must be at most 5, not 99",
        "input.tags[1]": "must be text, not 1",
        "input.tags[2]": "must be text, not null",
        "input.mode": 'must be one of "fast", "slow", not "fats"',
        "input.tpoic": "is not known. Did you mean `topic`?",
    }
    assert error["remedy"] == "Nothing was started: correct the input and start again."
    assert not (place / STORE).exists()


def test_a_refused_input_leaves_a_store_as_it_was(terminal, place):
    (place / "declared.yaml").write_text(DECLARED, encoding="utf-8")
    assert terminal("run", "declared.yaml", "-i", "topic=x").code == 0
    before, content = executions(terminal, place), (place / STORE).read_bytes()

    refused = terminal("run", "declared.yaml", "--input", "{}")

    assert refused.code == 2
    assert "input.topic: is missing" in refused.err
    assert (executions(terminal, place), (place / STORE).read_bytes()) == (before, content)


# What is typed, and a word of what is told.
MALFORMED = {
    "no equals sign": (["-i", "topic"], "-i topic: must be KEY=VALUE"),
    "no key": (["-i", "=x"], "-i =x: must be KEY=VALUE"),
    "nothing": (["-i", ""], "must be KEY=VALUE"),
    "a word for a number": (
        ["-i", "topic=x", "-i", "count=many"],
        'input.count: "many" is not a whole number',
    ),
    "no number at all": (["-i", "topic=x", "-i", "count=NaN"], 'input.count: "NaN" is not a whole number'),
    "half a list": (["-i", "topic=x", "-i", "tags=[1,"], 'input.tags: "[1," is not a JSON list'),
    "a file that is not there": (["--input", "@missing.json"], "missing.json: cannot be read: No such file"),
    "a directory": (["--input", "@."], ".: cannot be read: Is a directory"),
    "half JSON": (["--input", '{"topic": "x"'], "--input: is not JSON: "),
    "nothing at all": (["--input", ""], "--input: is not JSON: "),
    "a list": (["--input", "[1]"], "--input: must be a JSON object"),
    "not a number": (["--input", '{"topic": NaN}'], "--input: is not JSON: "),
    "an integer of 5,000 digits": (["--input", '{"count": ' + "9" * 5000 + "}"], "--input: is not JSON: "),
    "half a character": (["--input", '{"topic": "\\ud800"}'], "--input: is not JSON: "),
    "200 brackets": (["--input", '{"tags": ' + "[" * 200 + "]" * 200 + "}"], "nested over 100 levels"),
    "50,000 brackets": (["--input", '{"tags": ' + "[" * 50_000 + "]" * 50_000 + "}"], "--input: "),
}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [pytest.param(*case, id=name) for name, case in MALFORMED.items()],
)
def test_an_input_that_cannot_be_read_is_refused_with_its_place(terminal, place, arguments, words):
    (place / "declared.yaml").write_text(DECLARED, encoding="utf-8")

    with soon():
        told = terminal("run", "declared.yaml", *arguments)

    assert (told.code, told.out) == (2, "")
    assert words in told.err
    assert told.err.splitlines()[1] == "Nothing was started: correct the input and start again."
    no_traceback(told)
    assert executions(terminal, place) == []


def test_an_input_file_that_is_not_json_is_named(terminal, place):
    (place / "declared.yaml").write_text(DECLARED, encoding="utf-8")
    (place / "noise.json").write_bytes(os.urandom(1000))

    answer = terminal("run", "declared.yaml", "--input", "@noise.json")

    assert answer.code == 2
    assert "noise.json: is not JSON: " in answer.err
    assert executions(terminal, place) == []


def test_an_input_of_20_mib_is_refused(terminal, place):
    (place / "declared.yaml").write_text(DECLARED, encoding="utf-8")
    (place / "large.json").write_text(json.dumps({"topic": "x" * 20 * MIB}), encoding="utf-8")

    answer = limited("run", "declared.yaml", "--input", "@large.json", cwd=place, cpu_seconds=5)

    assert (answer.code, answer.out) == (2, "")
    told, remedy = answer.err.splitlines()
    assert "20,971,5" in told
    assert "the limit is 10,485,760" in told
    assert remedy == "Nothing was started: correct the input and start again."
    assert executions(terminal, place) == []
    no_traceback(answer)
