"""Text to definition: strict YAML, every fault at once with its place, old forms rewritten."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from process_engine.definition import CATALOGUE, ParsedDocument, parse
from process_engine.definition.document import AgentTask, Gateway, Timer
from process_engine.definition.problems import Problem, closest
from process_engine.definition.yaml_text import MAX_TEXT_BYTES, load

HEAD = "name: article\nsteps:\n"
STEP = "  - {id: a, type: agent_task, agent: writer, message: hi}\n"


def places(parsed: ParsedDocument) -> list[tuple[str, int, int]]:
    return [(problem.code, problem.line, problem.column) for problem in parsed.problems]


def codes(text: str | bytes) -> list[str]:
    return [problem.code for problem in parse(text).problems]


def only(text: str | bytes) -> Problem:
    (problem,) = parse(text).problems
    return problem


def test_a_plain_document_becomes_a_definition():
    parsed = parse(HEAD + STEP)

    assert parsed.problems == ()
    assert parsed.definition is not None
    assert parsed.definition.name == "article"
    assert isinstance(parsed.definition.steps[0], AgentTask)


def test_bytes_and_text_give_the_same_definition():
    assert parse((HEAD + STEP).encode()).definition == parse(HEAD + STEP).definition
    assert parse(b"\xef\xbb\xbf" + (HEAD + STEP).encode()).problems == ()


def test_nine_faults_give_nine_problems_with_their_places():
    text = """\
name: My Process
version: 1.2
colour: red
limits: {timeout: 0}
steps:
  - id: a
    type: agent_taks
  - id: b
    type: agent_task
    agent: writer
    mesage: hi
    retry: {max_attempts: 0, jitter: yes}
  - id: c
    type: timer
    delay: 7 apples
"""
    parsed = parse(text)

    assert places(parsed) == [
        ("P107", 1, 7),
        ("P103", 2, 10),
        ("P101", 3, 1),
        ("P105", 4, 19),
        ("P108", 7, 11),
        ("P101", 11, 5),
        ("P105", 12, 27),
        ("P103", 12, 38),
        ("P106", 15, 12),
    ]
    assert parsed.definition is None
    assert parsed.draft is not None


def test_problems_are_plain_sentences_with_a_suggestion():
    problem = only(HEAD + "  - {id: a, type: timer, delay: 1s, retry: {jitter: yes}}\n")

    assert str(problem) == (
        "P103 error process.yaml:3:53 `retry.jitter` of step `a` must be `true` or `false`, "
        'not the text "yes". Write `true`.'
    )


def test_a_problem_names_its_file():
    assert "other.yaml:1:1" in str(parse("", filename="other.yaml").problems[0])


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        (HEAD + "  - {id: a, type: agent_task, agent: w, mesage: hi}\n", "Did you mean `message`?"),
        (HEAD + "  - {id: a, type: agent_task, agent: w, message: hi, depends-on: [b]}\n", "`depends_on`"),
        (HEAD + "  - {id: a, type: agent_task, agent: w, message: hi, routes: []}\n", "type `gateway`"),
        (HEAD + "  - {id: a, type: agent_task, agent: w, message: hi, limits: {}}\n", "top level"),
        (HEAD + "  - {id: a, type: agent_task, agent: w, message: hi, zzz: 1}\n", "begins with `x-`"),
        (HEAD + "  - {id: a, type: timer, delay: 1s, <<: 1}\n", "Write the keys out."),
        ("name: a\nstpes:\n" + STEP, "Did you mean `steps`?"),
    ],
)
def test_an_unknown_key_tells_what_was_meant(text: str, suggestion: str):
    problem = only(text)

    assert problem.code == "P101"
    assert suggestion in problem.suggestion


def test_a_misspelt_required_key_is_one_fault_not_two():
    assert codes(HEAD + "  - {id: a, type: agent_task, agent: w, mesage: hi}\n") == ["P101"]


@pytest.mark.parametrize(
    ("step", "code", "message"),
    [
        ("{type: timer, delay: 1s}", "P102", "Step 1 has no `id`."),
        ("{id: a, delay: 1s}", "P102", "Step `a` has no `type`."),
        ("{id: a, type: agent_task, agent: w}", "P102", "Step `a` has no `message`."),
        ("{id: 5, type: timer, delay: 1s}", "P103", "must be text, not the number 5"),
        ("{id: Big One, type: timer, delay: 1s}", "P107", "must be lower-case letters"),
        ("{id: a, type: timer, delay: 1s, name: [x]}", "P103", "must be text, not a list"),
        ("{id: a, type: timer, delay: 1s, retry: 3}", "P103", "must be a mapping, not the number 3"),
        ("{id: a, type: timer, delay: 1s, retry: {max_attempts: 1.5}}", "P103", "must be a whole number"),
        ("{id: a, type: timer, delay: 1s, retry: {max_attempts: '3'}}", "P103", 'not the text "3"'),
        ("{id: a, type: timer, delay: 1s, retry: {backoff: linaer}}", "P104", "must be one of `exponential`"),
        ("{id: a, type: timer, delay: 1s, on_error: skip}", "P104", "must be one of `fail_process`"),
        ("{id: a, type: timer, delay: 1s, join: 0}", "P103", "must be `all`, `any` or a whole number"),
        ("{id: a, type: timer, delay: 1s, timeout: 0}", "P105", "must be longer than zero"),
        ("{id: a, type: timer, delay: -5s}", "P106", "`delay` of step `a`"),
        ("{id: a, type: timer, delay: 1s, condition: 5}", "P103", "must be text, not the number 5"),
        ("{id: a, type: timer, delay: 1s, depends_on: [1]}", "P103", "`depends_on.0` of step `a`"),
        ("{id: a, type: timer, delay: 1s, retry: }", "P103", "`retry` of step `a` is empty"),
        ("{id: a, type: timer, delay: 1s, condition: }", "P103", "`condition` of step `a` is empty"),
        ("{id: a, type: timer, delay: 1s, depends_on: }", "P103", "is empty; it must be a list"),
        ("{id: a, type: agent_task, agent: w, message: }", "P103", "`message` of step `a` is empty"),
        ("{id: g, type: gateway, routes: [{condition: , target: a}]}", "P103", "`routes.0.condition`"),
        ("5", "P103", "A step must be a mapping, not the number 5."),
        ("{id: a, type: tmier, delay: 1s}", "P108", "There is no step type `tmier`."),
        ("{id: a, type: 5}", "P108", "There is no step type the number 5."),
    ],
)
def test_faults_of_a_step(step: str, code: str, message: str):
    problem = only(HEAD + f"  - {step}\n")

    assert (problem.code, problem.level, problem.line) == (code, "error", 3)
    assert message in problem.message
    assert "Input should" not in problem.message
    assert "[type=" not in problem.message


def test_triggers_other_than_manual_are_not_run_yet():
    text = HEAD + STEP + "triggers: [{id: m, type: manual}, {id: w, type: webhook}, {id: x, type: wbhook}]\n"

    assert [(p.code, p.level) for p in parse(text).problems] == [("P110", "error"), ("P104", "error")]


@pytest.mark.parametrize("key", ["owner", "metadata", "data_classification", "output_key"])
def test_keys_without_effect_are_a_warning(key: str):
    parsed = parse(f"{key}: x\n" + HEAD + STEP)

    assert [(problem.code, problem.level) for problem in parsed.problems] == [("P111", "warning")]
    assert parsed.definition is not None


def test_keys_of_the_authors_own_are_silent():
    assert codes("x-owner: me\n" + HEAD + STEP) == []


# Old forms


def test_old_spellings_give_the_same_definition_and_a_note_each():
    old = """\
name: article
steps:
  - id: a
    agent: writer
    message: hi
    retry: {delay: 2s}
    on_error: {action: skip_step}
  - {id: t, type: timer, duration: 5s}
  - {id: u, type: timer, config: {delay: 6s}}
  - id: g
    type: gateway
    depends_on: a
    conditions:
      - {expression: input.x == 1, next: t}
      - {default: true, next: u}
outputs:
  - {name: y, value: "{{ steps.a.output }}"}
"""
    new = """\
name: article
steps:
  - id: a
    type: agent_task
    agent: writer
    message: hi
    retry: {initial_delay: 2s}
    on_error: skip_step
  - {id: t, type: timer, delay: 5s}
  - {id: u, type: timer, delay: 6s}
  - id: g
    type: gateway
    depends_on: [a]
    routes: [{condition: input.x == 1, target: t}]
    default_route: u
outputs:
  - {name: y, source: "{{ steps.a.output }}"}
"""
    parsed = parse(old)

    assert parsed.definition == parse(new).definition
    assert parsed.definition is not None
    assert {problem.level for problem in parsed.problems} == {"info"}
    assert places(parsed) == [
        ("P903", 3, 5),
        ("P901", 6, 13),
        ("P904", 7, 5),
        ("P901", 8, 26),
        ("P901", 9, 35),
        ("P902", 13, 5),
        ("P901", 17, 15),
    ]
    assert parse(new).problems == ()


def test_outputs_as_a_map_and_as_a_list_are_the_same():
    as_map = parse(HEAD + STEP + "outputs: {text: steps.a.output}\n")
    as_list = parse(HEAD + STEP + "outputs: [{name: text, source: '{{ steps.a.output }}'}]\n")

    assert as_map.definition == as_list.definition
    assert as_map.problems == as_list.problems == ()


@pytest.mark.parametrize(
    "step",
    [
        "{id: a, type: timer, delay: 1s, duration: 2s}",
        "{id: a, type: timer, delay: 1s, config: {delay: 2s}}",
        "{id: a, type: timer, delay: 1s, retry: {delay: 1s, initial_delay: 2s}}",
        "{id: a, type: gateway, routes: [{target: b}], conditions: [{default: true, next: b}]}",
    ],
)
def test_two_spellings_of_one_thing_are_an_error(step: str):
    assert only(HEAD + f"  - {step}\n").code == "P112"


def test_faults_of_an_old_form_point_to_the_authors_own_lines():
    text = HEAD + "  - id: g\n    type: gateway\n    conditions:\n      - {expression: input.x, nxet: t}\n"

    found = [place for place in places(parse(text)) if place[0] == "P101"]
    assert found == [("P101", 6, 31)]


# YAML


def test_yaml_1_2_words_stay_text():
    loaded = load("a: yes\nb: on\nc: 2024-01-01\nd: 09:30\ne: 1_000\nf: 0o17\ng: 1e3\nh: ~\ni: 'true'\nj: .5")

    assert loaded.problems == ()
    assert loaded.value == {
        "a": "yes",
        "b": "on",
        "c": "2024-01-01",
        "d": "09:30",
        "e": "1_000",
        "f": 15,
        "g": 1000.0,
        "h": None,
        "i": "true",
        "j": 0.5,
    }


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("", "P011", 1, 1),
        ("- a\n", "P011", 1, 1),
        ("name: a\nname: b\nsteps: [{id: a, type: timer, delay: 1s}]", "P005", 2, 1),
        ("name: !!str a\nsteps: [{id: a, type: timer, delay: 1s}]", "P006", 1, 7),
        ("name: !!python/object:os.system a\nsteps: [{id: a, type: timer, delay: 1s}]", "P006", 1, 7),
        ("name: a\n\tsteps: 1", "P004", 2, 1),
        ("name: 'a", "P004", 1, 9),
        ("name: a: b", "P004", 1, 8),
        ("name: *a", "P004", 1, 7),
        ("name: &a [*a]", "P007", 1, 11),
        ("---\nname: a\n---\nname: b\n", "P012", 4, 1),
        ("name: a\x00", "P008", 1, 8),
        ("ok: 1\nname: \x1b[31m", "P008", 2, 7),
        (b"ok: 1\nname: \xff", "P001", 2, 7),
        ("name: a\nsteps: [{id: a, type: timer, delay: .inf}]", "P010", 2, 37),
    ],
)
def test_what_is_wrong_with_the_text_has_a_place(text: str | bytes, code: str, line: int, column: int):
    problem = parse(text).problems[0]

    assert (problem.code, problem.line, problem.column) == (code, line, column)


def test_a_key_that_is_not_text_is_told():
    loaded = load("1: a\ntrue: b\n{x: y}: c\n")

    assert [problem.code for problem in loaded.problems] == ["P009", "P009", "P009"]


def test_anchors_are_fine_and_every_use_is_a_value_of_its_own():
    loaded = load("a: &x {k: [1]}\nb: *x\n")

    assert loaded.problems == ()
    assert loaded.value == {"a": {"k": [1]}, "b": {"k": [1]}}
    assert isinstance(loaded.value, dict)
    assert loaded.value["a"] is not loaded.value["b"]


BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[" * 50_000, "P003"),
        ("a: " + "{" * 50_000, "P003"),
        ("- " * 50_000, "P003"),
        ("".join(" " * n + "a:\n" for n in range(200)), "P003"),
        (BOMB, "P007"),
        ("x" * (MAX_TEXT_BYTES + 1), "P002"),
        ("a: " + "9" * 5000, "P010"),
    ],
    ids=["brackets", "braces", "dashes", "indentation", "aliases", "size", "digits"],
)
def test_bombs_are_refused_at_once(text: str, code: str):
    before = time.perf_counter()

    assert code in codes(text)
    # Seconds on any machine; without the guards it takes minutes or memory.
    assert time.perf_counter() - before < 5


def test_aliases_may_not_nest_deeper_than_the_text_may():
    text = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 80))

    assert codes(text)[0] == "P003"


def test_places_inside_texts_are_exact_where_the_spelling_shows_them():
    text = "a: {{plain\nb: 'quo ted'\nc: |\n  first\n  second\nd: \"esc\\n aped\"\n"
    positions = load(text.replace("{{plain", "plain word")).positions

    assert positions.within(("a",), 6) == (1, 10)
    assert positions.within(("b",), 4) == (2, 9)
    assert positions.within(("c",), 8) == (5, 5)
    assert positions.within(("d",), 5) == (6, 4)
    assert positions.of_key(("c",)) == (3, 1)
    assert positions.of_value(("nothing", "here")) == (1, 1)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="abn:-{}[]\"'|>&*!%#,? \n\t0.~$_", max_size=80))
def test_no_text_makes_the_parser_raise(text: str):
    parse(text)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_make_the_parser_raise(content: bytes):
    parse(content)


KEYS = st.sampled_from(
    [
        "id", "type", "name", "retry", "on_error", "depends_on", "routes", "conditions", "default", "next",
        "config", "delay", "condition", "target", "for_each", "roles", "items", "message", "agent", "x-a",
    ]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["{{ x", "a.b", "1s"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.dictionaries(KEYS, JSON, max_size=6) | JSON, max_size=3))
def test_no_document_makes_the_parser_raise(steps: list[object]):
    parsed = parse(json.dumps({"name": "a", "steps": steps, "outputs": steps, "input": {"a": steps}}))

    assert (parsed.definition is None) == any(p.level == "error" for p in parsed.problems)
    assert all(problem.code in CATALOGUE for problem in parsed.problems)


def test_a_flood_of_faults_is_cut_and_says_so():
    many = "".join(f"  - {{id: s{n}, type: timer, colour: red}}\n" for n in range(1500))
    found = parse(HEAD + many).problems

    assert len(found) == 501
    assert found[-1].code == "P013"


def test_the_closest_word_ignores_case_and_hyphens():
    assert closest("Depends-On", ["depends_on", "description"]) == "depends_on"
    assert closest("zzz", ["depends_on"]) is None


def test_the_types_of_steps_are_kept():
    text = (
        HEAD
        + STEP
        + "  - {id: g, type: gateway, routes: [{target: a}]}\n  - {id: t, type: timer, delay: 1s}\n"
    )
    definition = parse(text).definition

    assert definition is not None
    assert [type(step) for step in definition.steps] == [AgentTask, Gateway, Timer]
