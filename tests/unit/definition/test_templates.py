"""Templates at work: types kept, texts written, reads listed, faults placed, limits."""

from __future__ import annotations

from decimal import Decimal

import pytest

from process_engine.definition.compiling import MAX_SHOWN_CHARACTERS
from process_engine.definition.expressions import ExpressionSyntaxError, MappingScope, Read, compile_template
from process_engine.definition.syntax import MAX_HOLES, MAX_NESTING
from process_engine.errors import ExpressionError

SCOPE = MappingScope(
    {
        "input": {
            "topic": "tides",
            "count": 3,
            "ratio": 0.5,
            "ok": True,
            "no": False,
            "nothing": None,
            "tags": ["a", "b"],
        },
        "steps": {
            "review": {
                "output": {"score": 81, "notes": ["n1", "n2"]},
                "cost": Decimal("0.10"),
            },
            "skipped": {"output": None, "status": "skipped"},
        },
    }
)


@pytest.mark.parametrize(
    ("template", "value"),
    [
        # Exactly one expression keeps its type
        ("{{ input.count }}", 3),
        ("{{input.ok}}", True),
        ("{{ input.nothing }}", None),
        ("{{ input.tags }}", ["a", "b"]),
        ("{{ steps.review.output }}", {"score": 81, "notes": ["n1", "n2"]}),
        ("{{ '007' }}", "007"),
        # Inside text everything becomes text
        ("Hi {{ input.topic }}!", "Hi tides!"),
        (" {{ input.count }}", " 3"),
        ("{{ input.count }}\n", "3\n"),
        ("{{ input.count }}{{ input.ok }}", "3true"),
        ("{{ input.no }}/{{ input.ratio }}/{{ steps.review.cost }}", "false/0.5/0.10"),
        ("tags: {{ input.tags }}", 'tags: ["a","b"]'),
        ("review: {{ steps.review.output }}", 'review: {"score":81,"notes":["n1","n2"]}'),
        ("{{ input.nothing | default('none') }}.", "none."),
        ("{{ input.nope | default('none') }}.", "none."),
        ("{{ '{{' }} {{ input.topic }} }}", "{{ tides }}"),
        ("{{ input.tags | join(' }} ') }}.", "a }} b."),
        ("{{ {'a': {'b': input.count}} }}", {"a": {"b": 3}}),
        # Whole values
        (
            {"a": "{{ input.count }}", "b": ["x", "{{ input.topic }}s", 5, None]},
            {"a": 3, "b": ["x", "tidess", 5, None]},
        ),
        (["{{ input.tags }}"], [["a", "b"]]),
        ("plain", "plain"),
        (5, 5),
        (None, None),
        ({"a": [True, {"b": 1.5}]}, {"a": [True, {"b": 1.5}]}),
    ],
)
def test_a_template_renders(template: object, value: object):
    answer = compile_template(template).render(SCOPE)

    assert answer == value
    assert type(answer) is type(value)


@pytest.mark.parametrize(
    ("template", "constant"),
    [
        ("plain", True),
        ("}} {", True),
        (5, True),
        ({"a": ["b"]}, True),
        ("{{ 'x' }}", False),
        ({"a": ["{{ input.a }}"]}, False),
    ],
)
def test_a_template_without_expressions_is_constant(template: object, constant: bool):
    compiled = compile_template(template)

    assert compiled.constant is constant
    assert compiled.source is template
    if constant:
        assert compiled.render(SCOPE) is template
        assert compiled.reads == ()


def test_a_template_lists_its_reads_with_string_and_offset():
    template = {"a": "x {{ input.b }}", "c": [1, {"d": "{{ steps.e | default('') }}{{ item }}"}]}

    assert compile_template(template).reads == (
        Read("input", None, None, ("b",), 5, False, ("a",)),
        Read("steps", "e", "output", (), 3, True, ("c", 1, "d")),
        Read("item", None, None, (), 30, False, ("c", 1, "d")),
    )


def test_the_same_string_at_two_places_has_reads_at_both():
    locations = [read.location for read in compile_template(["{{ input.a }}", "{{ input.a }}"]).reads]

    assert locations == [(0,), (1,)]


def test_a_plain_string_has_an_empty_location():
    assert compile_template("{{ input.a }}").reads[0].location == ()


@pytest.mark.parametrize(
    ("template", "path", "position", "message"),
    [
        ("Hi {{ input.nope }}", "input.nope", 6, "has no `nope`"),
        ("Hi {{ input.nothing }}", "input.nothing", 6, "null has no text"),
        ("{{ input.nope }}", "input.nope", 3, "has no `nope`"),
        ({"a": ["{{ 1 / 0 }}"]}, "", 5, "division by zero"),
        ("{{ steps.skipped.output }}.", "steps.skipped.output", 3, "null has no text"),
    ],
)
def test_a_template_with_a_missing_value_fails(template: object, path: str, position: int, message: str):
    with pytest.raises(ExpressionError, match=message) as failure:
        compile_template(template).render(SCOPE)

    assert (failure.value.path, failure.value.position) == (path, position)


def test_an_error_in_a_long_text_shows_the_expression_alone():
    text = "x" * MAX_SHOWN_CHARACTERS + "{{ 1 + input.nope }}" + "{{ input.topic }}"

    with pytest.raises(ExpressionError) as failure:
        compile_template(text).render(SCOPE)

    fault = failure.value
    assert fault.expression == "{{ 1 + input.nope }}"
    assert fault.expression[fault.position :].startswith("input.nope")


@pytest.mark.parametrize(
    ("template", "source", "offset"),
    [
        ("Hi {{ a", "Hi {{ a", 3),
        ({"a": ["ok", "x {{ steps.b.c }}"]}, "x {{ steps.b.c }}", 5),
        ({"{{ a }}": 1}, "{{ a }}", 0),
    ],
)
def test_a_wrong_template_is_refused_when_it_is_compiled(template: object, source: str, offset: int):
    with pytest.raises(ExpressionSyntaxError) as refusal:
        compile_template(template)

    assert (refusal.value.source, refusal.value.offset) == (source, offset)


def test_a_template_nested_too_deeply_is_refused():
    value: object = "{{ a }}"
    for _ in range(MAX_NESTING + 1):
        value = [value]

    with pytest.raises(ExpressionSyntaxError, match="nested deeper"):
        compile_template(value)


def test_a_rendered_text_over_the_limit_is_refused():
    scope = MappingScope({"input": {"a": "x" * 1_000_000}})

    with pytest.raises(ExpressionError, match="characters"):
        compile_template("{{ input.a }}" * 11).render(scope)


def test_a_rendered_value_is_a_fresh_one_each_time():
    template = compile_template({"a": ["{{ input.topic }}"]})
    first = template.render(SCOPE)

    assert first == template.render(SCOPE)
    assert first is not template.render(SCOPE)


def test_a_template_with_too_many_expressions_in_one_text_is_refused():
    assert len(compile_template("{{ a }}" * MAX_HOLES).reads) == MAX_HOLES
    with pytest.raises(ExpressionSyntaxError, match="at most"):
        compile_template({"a": ["{{ a }}" * (MAX_HOLES + 1)]})
