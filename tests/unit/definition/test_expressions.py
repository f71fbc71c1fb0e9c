"""Expressions and conditions at work: values, missing values, null, reads, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from process_engine.definition.expressions import (
    MISSING,
    ExpressionEvaluator,
    ExpressionSyntaxError,
    MappingScope,
    compile_template,
    parse_condition,
    parse_expression,
)
from process_engine.definition.syntax import MAX_DEPTH, MAX_NESTING
from process_engine.definition.values import MAX_TEXT_CHARACTERS
from process_engine.errors import ExpressionError

SCOPE = MappingScope(
    {
        "input": {
            "topic": "tides",
            "tier": "gold",
            "count": 3,
            "ratio": 0.5,
            "ok": True,
            "no": False,
            "nothing": None,
            "empty": "",
            "word": "true",
            "tags": ["a", "b"],
            "prices": {"x": 5, "odd key": 6},
            "template": "{{ input.topic }}",
            "2024": "year",
        },
        "steps": {
            "review": {
                "output": {"score": 81, "notes": ["n1", "n2"]},
                "status": "completed",
                "cost": Decimal("0.10"),
            },
            "analyze-data": {"output": {"score": 0.5, "sub-total": 7}, "status": "failed", "attempts": 2},
            "write": {"output": "plain text", "status": "Completed"},
            "skipped": {"output": None, "status": "skipped"},
        },
        "execution": {"id": "e1", "started_by": "ann"},
        "process": {"name": "demo", "version": "1"},
        "item": {"id": "x"},
        "index": 4,
        "nothing": None,
    }
)


def value_of(source: str) -> object:
    return parse_expression(source).evaluate(SCOPE)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("input.topic", "tides"),
        ("input.tags[1]", "b"),
        ("input.tags.1", "b"),
        ("input.tags[-1]", "b"),
        ("input.prices['odd key']", 6),
        ("input.prices[item.id]", 5),
        ("input.2024", "year"),
        ("input.tags[index - 4]", "a"),
        ("steps.review.output.score", 81),
        ("steps.review.output.notes[0]", "n1"),
        ("steps.review", {"score": 81, "notes": ["n1", "n2"]}),
        ("steps.review.status", "completed"),
        ("steps.review.cost", Decimal("0.10")),
        ("steps.analyze-data.output.score", 0.5),
        ("steps.analyze-data.output.sub-total - 2", 5),
        ("steps['analyze-data'].attempts", 2),
        ("execution.id", "e1"),
        ("process.name", "demo"),
        ("index + 1", 5),
        ("(steps.review.output).score", 81),
        ("{{ input.topic }}", "tides"),
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("7 / 2", 3.5),
        ("6 / 2", 3),
        ("-input.count", -3),
        ("'a' + \"b\"", "ab"),
        ("input.count > 2 and input.ratio < 1", True),
        ("not input.ok or input.no", False),
        ("input.ok && !input.no", True),
        ("'b' in input.tags", True),
        ("'c' not in input.tags", True),
        ("input.tags contains 'a'", True),
        ("input.topic contains 'ide'", True),
        ("'x' in input.prices", True),
        ("input.topic matches '^t.*s$'", True),
        ("input.topic matches 'xyz'", False),
        ("[input.count, {'a': input.topic}]", [3, {"a": "tides"}]),
        ("input.tags | join('-') | upper", "A-B"),
        ("[{'a': 1}, {'a': 2}] | map('a') | sum", 3),
        ("[{'a': 1}, {'a': 2}] | where('a', 1 + 1) | first", {"a": 2}),
        ("input.topic | truncate(input.count)", "ti…"),
        ("steps.review.output.score >= 80 and input.tier == 'gold'", True),
        ("input.template", "{{ input.topic }}"),
        ("'{{ input.topic }}'", "{{ input.topic }}"),
        ("'{\"a\": 1}' | from_json", {"a": 1}),
        ("nothing", None),
    ],
)
def test_an_expression_gives(source: str, value: object):
    answer = value_of(source)

    assert answer == value
    assert type(answer) is type(value)


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("1 == 1.0", True),
        ("1 != 1.0", False),
        ("1 == true", False),
        ("0 == false", False),
        ("1 == '1'", False),
        ("'1' == 1", False),
        ("null == false", False),
        ("null == ''", False),
        ("input.nothing == null", True),
        ("'a' == 'A'", False),
        ("input.count == '3'", False),
        ("input.count | string == '3'", True),
        ("'3' | number == input.count", True),
        ("[1, true] == [1.0, true]", True),
        ("[1] == [true]", False),
        ("{'a': 1} == {'a': 1.0}", True),
        ("steps.review.cost == 0.1", True),
        ("steps.review.cost + 0.2 == 0.3", True),
        ("'a' < 'b'", True),
        ("2 < 10", True),
        ("'2' < '10'", False),
        # A literal compared with a status
        ("steps.review.status == 'COMPLETED'", True),
        ("'Completed' == steps.review.status", True),
        ("steps.write.status == 'completed'", True),
        ("steps.review.status != 'COMPLETED'", False),
        ("steps.review.status in ['FAILED', 'Completed']", True),
        ("steps.review.status not in ['FAILED', 'SKIPPED']", True),
        ("steps.review.status | default('x') == 'COMPLETED'", True),
        ("steps.nope.status | default('None') == 'NONE'", True),
        ("steps.review.status == steps.write.status", False),
        ("steps.review.status == 5", False),
        ("input.tier == 'GOLD'", False),
        ("steps.write.output == 'Plain text'", False),
        ("'FAIL' in steps.analyze-data.status", True),
    ],
)
def test_a_comparison_answers(source: str, answer: bool):
    assert value_of(source) is answer


@pytest.mark.parametrize(
    ("source", "path", "position", "message"),
    [
        ("input.teir", "input.teir", 0, "`input` has no `teir`, but `tier`"),
        ("1 + input.nope", "input.nope", 4, "`input` has no `nope`"),
        ("input.topic.x", "input.topic.x", 0, "`input.topic` is a text, and has no `x`"),
        ("input.count.real", "input.count.real", 0, "`input.count` is a number"),
        ("input.tags[2]", "input.tags[2]", 0, "`input.tags` is a list of 2, and has no `2`"),
        ("input.prices[input.topic]", "input.prices", 13, "nothing of that name or index"),
        ("input.nope[input.topic]", "input.nope", 0, "`input` has no `nope`"),
        ("input.prices[input.nope]", "input.nope", 13, "`input` has no `nope`"),
        ("input.prices[input.nothing]", "input.prices", 13, "an integer or a text, not null"),
        ("steps.nope.output", "steps.nope.output", 0, "`steps.nope.output` has no value here"),
        ("steps.nope", "steps.nope", 0, "`steps.nope.output` has no value here"),
        (
            "steps.review.tokens.input",
            "steps.review.tokens.input",
            0,
            "`steps.review.tokens` has no value here",
        ),
        ("steps.write.output.score", "steps.write.output.score", 0, "`steps.write.output` is a text"),
        ("trigger.id", "trigger.id", 0, "`trigger` has no value here"),
        ("unknown.a", "unknown.a", 0, "`unknown` has no value here"),
        ("input.nope | default(input.neither)", "input.neither", 21, "`input` has no `neither`"),
        ("input.nope | upper | default('x')", "input.nope", 0, "`input` has no `nope`"),
        ("input.nope == null", "input.nope", 0, "`input` has no `nope`"),
        ("input.count and true", "input.count", 0, "`and` needs true or false, not a number"),
        ("false or input.word", "input.word", 9, "`or` needs true or false, not a text"),
        ("not input.nothing", "input.nothing", 4, "`not` needs true or false, not null"),
        ("input.topic < 5", "input.topic", 12, "two numbers or two texts, not a text and a number"),
        ("input.ok < 5", "input.ok", 9, "not a boolean and a number"),
        ("input.topic + 5", "input.topic", 12, "see `number` and `string`"),
        ("input.topic * 2", "input.topic", 12, "two numbers"),
        ("-input.topic", "input.topic", 0, "needs a number, not a text"),
        ("1 / (input.count - 3)", "input.count", 2, "division by zero"),
        ("'a' in input.nothing", "input.nothing", 4, "cannot be looked for in null"),
        ("input.count matches 'x'", "input.count", 12, "`matches` needs a text"),
        ("input.count | upper", "input.count", 14, "`upper` needs a text, not a number"),
        ("input.topic | truncate(-1)", "input.topic", 14, "an integer from 0"),
        ("[{}] | map('a')", "", 7, "item 0 of the list"),
        ("'x' * 1000000000", "", 4, "two numbers"),
    ],
)
def test_what_has_no_value_fails_naming_expression_path_and_position(
    source: str, path: str, position: int, message: str
):
    with pytest.raises(ExpressionError) as failure:
        value_of(source)

    fault = failure.value
    assert (fault.expression, fault.path, fault.position) == (source, path, position)
    assert message in fault.message
    assert fault.code == "EXPRESSION_ERROR"


def test_texts_joined_again_and_again_stay_within_the_limit():
    scope = MappingScope({"input": {"text": "x" * 1_000_000}})
    source = " + ".join(["input.text"] * 100)

    with pytest.raises(ExpressionError, match=f"{MAX_TEXT_CHARACTERS:,} characters"):
        parse_expression(source).evaluate(scope)
    with pytest.raises(ExpressionError, match="characters"):
        parse_expression("[" + ",".join(["input.text"] * 100) + "] | join").evaluate(scope)


def test_numbers_multiplied_again_and_again_stay_within_the_limit():
    with pytest.raises(ExpressionError, match="4,096 bits"):
        value_of(" * ".join(["9" * 100] * 100))


# Missing, null and default


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("input.nope | default('x')", "x"),
        ("input.nothing | default('x')", "x"),
        ("input.empty | default('x')", ""),
        ("input.no | default(true)", False),
        ("input.nope.deeper[0] | default('x')", "x"),
        ("input.topic.x | default('x')", "x"),
        ("input.tags[9] | default('x')", "x"),
        ("(input.nope) | default('x')", "x"),
        ("input.prices[input.topic] | default(0)", 0),
        ("input.nope[input.topic] | default(0)", 0),
        ("input.nope | default:'x' | upper", "X"),
        ("input.nope | default(input.neither) | default('z')", "z"),
        ("input.nope | default(input.topic)", "tides"),
        ("input.nope | default(null)", None),
        ("input.tags | first | default('x')", "a"),
        ("[] | first | default('x')", "x"),
        ("trigger.id | default('manual')", "manual"),
        ("steps.nope.output.score | default(0)", 0),
        ("steps.skipped.output.score | default(0)", 0),
        # Null has null fields, and the output of a skipped step is null
        ("steps.skipped.output", None),
        ("steps.skipped.output.score", None),
        ("steps.skipped.output.a[0].b", None),
        ("steps.skipped == null", True),
        ("input.nothing.a.b", None),
    ],
)
def test_default_replaces_what_is_missing_or_null(source: str, value: object):
    assert value_of(source) == value


def test_the_argument_of_default_is_worked_out_only_if_needed():
    assert value_of("input.topic | default(1 / 0)") == "tides"


def test_the_right_side_of_and_and_or_is_worked_out_only_if_needed():
    assert value_of("input.no and input.nope") is False
    assert value_of("input.ok or input.nope == 1") is True
    with pytest.raises(ExpressionError):
        value_of("input.ok and input.nope")


# Conditions


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("true", True),
        ("false", False),
        ("'true'", True),
        ('"false"', False),
        ("input.ok", True),
        ("input.word", True),
        ("{{ input.ok }}", True),
        ("{{ input.count }} > 2", True),
        ("{{ input.count }} > 2 and not {{ input.no }}", True),
        ("{{ input.count > 2 }} and {{ input.ok }}", True),
        ("{{ input.topic }} == 'tides'", True),
        ("'{{ input.topic }}' == 'tides'", True),
        ('"{{ input.topic }}" == "tides"', True),
        ("'{{ input.count }}' == '3'", True),
        ("'{{ input.count }}' == 3", False),
        ("'{{ input.ok }}'", True),
        ("'{{ input.topic }}-{{ input.count }}' == 'tides-3'", True),
        ("'{{ input.tags }}' == '[\"a\",\"b\"]'", True),
        ("'{{ input.nope | default(\"x\") }}' == 'x'", True),
        ("input.template == '{{ input.template }}'", True),
        ('steps.review.output.score >= 80 && input.tier == "gold"', True),
    ],
)
def test_a_condition_is_true_or_false(source: str, answer: bool):
    assert parse_condition(source).evaluate(SCOPE) is answer


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("input.nothing", "must be true or false, not null"),
        ("input.count", "must be true or false, not a number"),
        ("1", "not a number"),
        ("''", "not a text"),
        ("'True'", "not a text"),
        ("'yes'", "not a text"),
        ("input.topic", "not a text"),
        ("input.tags", "not a list"),
        ("input.nope", "has no `nope`"),
        ("input.word and true", "`and` needs true or false"),
        ("not 'true'", "`not` needs true or false"),
        ("'{{ input.nothing }}' == ''", "null has no text"),
        ("'{{ input.nope }}' == ''", "has no `nope`"),
        ("steps.skipped.output.ok", "not null"),
    ],
)
def test_a_condition_that_is_neither_fails(source: str, message: str):
    with pytest.raises(ExpressionError, match=message) as failure:
        parse_condition(source).evaluate(SCOPE)

    assert failure.value.expression == source


def test_text_of_an_input_is_never_read_as_source():
    hostile = MappingScope({"input": {"a": "' == '' or true or '", "b": "{{ input.secret }}"}})

    assert parse_condition("'{{ input.a }}' == 'x'").evaluate(hostile) is False
    assert parse_condition("{{ input.a }} == 'x'").evaluate(hostile) is False
    assert compile_template("<{{ input.b }}>").render(hostile) == "<{{ input.secret }}>"
    assert compile_template("{{ input.b }}").render(hostile) == "{{ input.secret }}"


def test_a_condition_lists_what_its_quoted_templates_read():
    source = "'{{ input.a | default(1) }}' == steps.b.status"

    assert [(read.text, read.offset, read.has_default) for read in parse_condition(source).reads] == [
        ("input.a", 4, True),
        ("steps.b.status", source.index("steps"), False),
    ]


# Scopes


class NeedsLoading(BaseException):
    """What the core raises for a value that is not in memory."""


class LoadingScope:
    """A scope whose every value must be loaded first."""

    def __init__(self, failure: Callable[[], BaseException]) -> None:
        self._failure = failure

    def root(self, name: str) -> object:
        raise self._failure()

    def step(self, step_id: str, field: str) -> object:
        raise self._failure()


@pytest.mark.parametrize("failure", [NeedsLoading, KeyError, ValueError, RecursionError])
@pytest.mark.parametrize(
    "source",
    [
        "input.a",
        "steps.a.output.b",
        "steps.a | default(1)",
        "steps.a | upper | default('x')",
        "input.a + 1",
        "input.a == 1 or true",
        "input.a matches 'x'",
        "input.a[steps.b]",
        "steps.a.status == 'X'",
        "'{{ input.a }}' == 'x'",
    ],
)
def test_what_the_scope_raises_passes_through(source: str, failure: type[BaseException]):
    with pytest.raises(failure):
        parse_condition(source).evaluate(LoadingScope(failure))
    with pytest.raises(failure):
        compile_template(f"x {{{{ [{source}, input.a] }}}}").render(LoadingScope(failure))


def test_a_mapping_scope_answers_missing_for_what_it_does_not_hold():
    scope = MappingScope({"input": {"a": 1}, "steps": {"x": {"output": None}, "y": 5}})

    assert scope.root("input") == {"a": 1}
    assert scope.root("trigger") is MISSING
    assert scope.step("x", "output") is None
    assert scope.step("x", "status") is MISSING
    assert scope.step("y", "output") is MISSING
    assert scope.step("z", "output") is MISSING
    assert MappingScope({}).step("x", "output") is MISSING
    assert repr(MISSING) == "MISSING"


# The façade, caches and limits


def test_the_evaluator_takes_a_scope_or_a_mapping():
    evaluator = ExpressionEvaluator()
    values = {"input": {"a": 5}}

    assert evaluator.evaluate("input.a + 1", values) == 6
    assert evaluator.evaluate("{{ input.a }}", MappingScope(values)) == 5
    assert evaluator.condition("input.a > 1", values) is True
    assert evaluator.condition("'false'", values) is False
    assert evaluator.substitute({"x": "{{ input.a }}", "y": "a={{ input.a }}"}, values) == {
        "x": 5,
        "y": "a=5",
    }


def test_a_source_is_parsed_once():
    assert parse_expression("input.once") is parse_expression("input.once")
    assert parse_condition("input.once") is parse_condition("input.once")
    assert parse_condition("input.once") is not parse_expression("input.once")
    assert repr(parse_expression("input.once")) == "Expression('input.once')"


DEEPEST = (
    "a + " * (MAX_DEPTH - 1) + "a",
    "[" * (MAX_NESTING) + "a" + "]" * MAX_NESTING,
    "not " * (MAX_NESTING) + "(a == a)",
    "a" + " | json" * (MAX_DEPTH - 2),
    "[" * 60 + "a + " * 60 + "a" + "]" * 60,
    "(b or b and not (" * 31 + "b" + "))" * 31,
)


@pytest.mark.parametrize("source", DEEPEST)
def test_the_deepest_expression_leaves_half_of_the_stack_free(source: str):
    scope = MappingScope({"a": 1, "b": True})
    depth, frame = 0, sys._getframe()
    while (frame := frame.f_back) is not None:
        depth += 1
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(depth + 500)
    try:
        parse_condition.__wrapped__(f"null != ({source})").evaluate(scope)
    except (ExpressionError, ExpressionSyntaxError) as fault:
        assert "deeper" in fault.message or "operations" in fault.message or "characters" in fault.message  # noqa: PT017
    finally:
        sys.setrecursionlimit(before)


# Anything at all

FRAGMENTS = (
    *(
        "input",
        "steps.a",
        "steps.b.status",
        ".x",
        ".y-z",
        "[0]",
        "['x']",
        "[input.x]",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
    ),
    *(
        "{{ ",
        " }}",
        ", ",
        ": ",
        " | ",
        "default(1)",
        "upper",
        "length",
        "join",
        "sum",
        "sort",
        "json",
        "map('x')",
    ),
    *(
        "where('x', 1)",
        "unique",
        "first",
        "int",
        "number",
        "round(2)",
        "date",
        "split(',')",
        "truncate(3)",
        "from_json",
    ),
    *(
        " and ",
        " or ",
        " not ",
        " in ",
        " contains ",
        " matches 'x'",
        " == ",
        " < ",
        " + ",
        "-",
        " * ",
        " / ",
        " % ",
    ),
    *("0", "1", "2.5", "1e300", "'t'", "'1'", "''", '"{{ input.x }}"', "true", "null", " "),
)
sources = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join) | st.text(max_size=30)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "y-z", "q"]), inner),
    max_leaves=8,
)
scopes = st.fixed_dictionaries(
    {
        "input": json_values,
        "steps": st.fixed_dictionaries({"a": st.fixed_dictionaries({"output": json_values})}),
    }
).map(MappingScope)


def settle(run: Callable[[], object]) -> object:
    """The value, or which of the two errors there was; any other exception fails the test."""
    try:
        return run()
    except (ExpressionError, ExpressionSyntaxError) as fault:
        return type(fault)


@given(sources, scopes)
def test_any_expression_has_a_value_or_an_expression_error(source: str, scope: MappingScope):
    settle(lambda: parse_expression(source).evaluate(scope))


@given(sources, scopes)
def test_any_condition_is_a_boolean_or_an_expression_error(source: str, scope: MappingScope):
    answer = settle(lambda: parse_condition(source).evaluate(scope))

    assert answer in (True, False, ExpressionError, ExpressionSyntaxError)


@given(sources, sources, scopes)
def test_any_template_renders_or_fails_with_an_expression_error(text: str, source: str, scope: MappingScope):
    settle(lambda: compile_template({"a": [f"{text}{{{{ {source} }}}}"]}).render(scope))


@given(sources, scopes)
def test_an_error_points_into_its_expression(source: str, scope: MappingScope):
    try:
        compile_template(f"x {{{{ {source} }}}}").render(scope)
    except ExpressionError as fault:
        assert 0 <= fault.position <= len(fault.expression)  # noqa: PT017
    except ExpressionSyntaxError:
        return


@given(json_values)
def test_a_value_passes_through_a_template_unchanged(value: object):
    assert compile_template("{{ input }}").render(MappingScope({"input": value})) is value
