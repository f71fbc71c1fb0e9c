"""Answers that are made up: they fit a schema, or what the process does with them."""

from __future__ import annotations

import json

import pytest

from process_engine.definition.checking import load_definition
from process_engine.definition.document import ProcessDefinition
from process_engine.testing.stubs import MAX_DEPTH, MAX_ITEMS, Stubs, fits, fitting

SCHEMAS = {
    "kinds": {
        "type": "object",
        "required": ["a"],
        "properties": {
            "a": {"type": "string"},
            "b": {"type": "integer"},
            "c": {"type": "number"},
            "d": {"type": "boolean"},
            "e": {"type": "null"},
            "f": {"type": "array", "items": {"type": "string"}},
        },
        "additionalProperties": False,
    },
    "choices": {"enum": ["high", "low"]},
    "constant": {"const": {"kind": "letter"}},
    "several kinds": {"type": ["null", "integer"], "minimum": 3},
    "least": {"type": "integer", "minimum": 7},
    "more than": {"type": "integer", "exclusiveMinimum": 7},
    "at most": {"type": "number", "maximum": -2.5},
    "between": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "multiples": {"type": "integer", "minimum": 10, "multipleOf": 4},
    "long": {"type": "string", "minLength": 200},
    "short": {"type": "string", "maxLength": 3},
    "mail": {"type": "string", "format": "email"},
    "moment": {"type": "string", "format": "date-time"},
    "items": {"type": "array", "items": {"type": "integer"}, "minItems": 3},
    "no items": {"type": "array", "maxItems": 0},
    "tuple": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "boolean"}], "minItems": 2},
    "all of": {
        "allOf": [
            {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}},
            {"required": ["b"], "properties": {"b": {"type": "boolean"}}},
        ]
    },
    "one of": {"oneOf": [{"type": "integer"}, {"type": "string"}]},
    "reference": {
        "$defs": {"size": {"type": "integer", "minimum": 5}},
        "type": "object",
        "required": ["size"],
        "properties": {"size": {"$ref": "#/$defs/size"}},
    },
    "itself at once": {
        "$defs": {"node": {"type": "object", "properties": {"below": {"$ref": "#/$defs/node"}}}},
        "$ref": "#/$defs/node",
    },
    "itself": {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"below": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
            }
        },
        "$ref": "#/$defs/node",
    },
}


def process(text: str) -> ProcessDefinition:
    definition, problems = load_definition(text)
    assert definition is not None, problems
    return definition


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS.keys())
def test_what_is_made_up_fits(schema):
    assert fits(schema, fitting(schema))


def test_every_field_is_there_and_says_whose_it_is():
    assert fitting(SCHEMAS["kinds"], "answer of writer") == {
        "a": "(a of answer of writer)",
        "b": 1,
        "c": 1,
        "d": True,
        "e": None,
        "f": ["(item 1 of f of answer of writer)"],
    }


def test_a_schema_that_asks_for_a_library_gets_a_shelf():
    value = fitting({"type": "array", "minItems": 1_000_000, "items": {"type": "integer"}})

    assert isinstance(value, list)
    assert len(value) == MAX_ITEMS


def test_a_schema_of_many_references_to_itself_gets_a_small_value():
    schema = {
        "$defs": {
            "node": {"type": "object", "properties": {f"p{n}": {"$ref": "#/$defs/node"} for n in range(9)}}
        },
        "$ref": "#/$defs/node",
    }

    assert len(json.dumps(fitting(schema))) < 10_000_000
    assert depth(fitting(SCHEMAS["itself"])) < MAX_DEPTH


def depth(value: object) -> int:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(depth, below), default=0)


def test_what_no_one_can_make_up_is_known_not_to_fit():
    schema = {"type": "string", "pattern": "^[0-9]{13}$"}

    assert not fits(schema, fitting(schema))


def test_an_agent_without_a_schema_answers_a_text():
    made = process("name: x\nsteps: [{id: a, agent: writer, message: hi}]")

    assert Stubs(made).answer("a", "writer") == "(answer of writer)"


def test_an_answer_has_the_fields_that_the_process_reads():
    made = process("""
name: x
steps:
  - {id: a, agent: writer, message: hi}
  - id: b
    type: gateway
    depends_on: a
    routes:
      - {condition: steps.a.output.score >= 3 and steps.a.output.sure, target: c}
      - {condition: steps.a.output.day < "2026-01-01", target: c}
    default_route: d
  - {id: c, agent: writer, message: "{{ steps.a.output.letters[1].text }}"}
  - {id: d, agent: writer, message: "{{ steps.a.output }}"}
outputs: {remark: "{{ steps.a.output.remark }}"}
""")

    assert Stubs(made).answer("a", "writer") == {
        "score": 1,
        "sure": True,
        "day": "(day of answer of writer)",
        "letters": [
            "(item 1 of letters of answer of writer)",
            {"text": "(text of item 2 of letters of answer of writer)"},
        ],
        "remark": "(remark of answer of writer)",
    }


def test_a_schema_goes_before_what_the_process_reads():
    made = process("""
name: x
steps:
  - id: a
    agent: writer
    message: hi
    output: {schema: {type: object, properties: {score: {type: integer, minimum: 50}}}}
  - {id: b, agent: writer, message: "{{ steps.a.output.score }}", depends_on: a}
""")

    assert Stubs(made).answer("a", "writer") == {"score": 50}


def test_what_a_step_runs_through_item_by_item_is_a_list():
    definition = ProcessDefinition.model_validate(
        {
            "name": "p",
            "steps": [
                {"id": "find", "type": "agent_task", "message": "find"},
                {
                    "id": "each",
                    "type": "agent_task",
                    "message": "{{ item }}",
                    "for_each": {"items": "{{ steps.find.output }}"},
                },
            ],
        }
    )

    assert Stubs(definition).answer("find", "finder") == ["(item 1)"]
