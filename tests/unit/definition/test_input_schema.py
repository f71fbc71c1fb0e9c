"""Inputs are checked as a whole, filled with defaults, and accepted again unchanged."""

import pytest

from process_engine.definition import ProcessDefinition, accept_input
from process_engine.errors import InputRejected

FIELDS = {
    "topic": {"type": "string", "required": True, "minLength": 3},
    "tier": {"type": "string", "enum": ["gold", "silver"], "default": "silver"},
    "words": {"type": "integer", "minimum": 10, "maximum": 5000},
    "tags": {"type": "array", "items": {"type": "string"}, "default": []},
    "author": {
        "type": "object",
        "properties": {"mail": {"type": "string"}},
        "additionalProperties": False,
    },
}


def process(declared: object = None) -> ProcessDefinition:
    document: dict[str, object] = {"name": "a", "steps": [{"id": "a", "type": "timer", "delay": "1s"}]}
    if declared is not None:
        document["input"] = declared
    return ProcessDefinition.model_validate(document)


def faults(declared: object, value: object) -> dict[str, str]:
    with pytest.raises(InputRejected) as refusal:
        accept_input(process(declared), value)
    return dict(refusal.value.faults)


def test_defaults_are_filled_in_and_absent_optional_fields_are_null():
    accepted = accept_input(process(FIELDS), {"topic": "tides"})

    assert accepted == {"topic": "tides", "tier": "silver", "tags": [], "words": None, "author": None}


def test_what_was_accepted_is_accepted_again_unchanged():
    accepted = accept_input(process(FIELDS), {"topic": "tides"})

    assert accept_input(process(FIELDS), accepted) == accepted


def test_the_given_value_and_the_default_are_never_changed():
    definition, given = process(FIELDS), {"topic": "tides"}

    tags = accept_input(definition, given)["tags"]
    assert isinstance(tags, list)
    tags.append("changed")

    assert given == {"topic": "tides"}
    assert accept_input(definition, given)["tags"] == []


def test_all_faults_are_told_at_once_with_their_paths():
    found = faults(
        FIELDS,
        {"topic": "a", "tier": "gould", "words": "12", "tags": ["x", 3], "author": {"mail": 1, "name": "x"}},
    )

    assert found == {
        "input.topic": "must have at least 3 characters",
        "input.tier": 'must be one of "gold", "silver", not "gould"',
        "input.words": 'must be a whole number, not "12"',
        "input.tags[1]": "must be text, not 3",
        "input.author.mail": "must be text, not 1",
        "input.author.name": "is not known here",
    }


def test_a_missing_field_is_named():
    assert faults(FIELDS, {}) == {"input.topic": "is missing"}
    assert faults(FIELDS, None) == {"input.topic": "is missing"}


def test_null_for_a_required_field_is_a_fault():
    assert faults(FIELDS, {"topic": None}) == {"input.topic": "must be text, not null"}


def test_an_unknown_field_is_refused_with_what_was_meant():
    assert faults(FIELDS, {"topic": "tides", "teir": "gold"}) == {
        "input.teir": "is not known. Did you mean `tier`?"
    }


@pytest.mark.parametrize("value", [[], "text", 3, True])
def test_an_input_that_is_no_object_is_refused(value: object):
    assert "must be an object" in faults(FIELDS, value)["input"]


def test_a_key_that_is_not_text_is_refused():
    assert "not text" in faults(None, {1: "a"})["input"]


def test_a_value_that_json_does_not_have_is_refused():
    assert "JSON" in faults({"a": {"type": "string"}}, {"a": object()})["input"]


def test_without_a_declaration_any_object_is_accepted():
    assert accept_input(process(), {"anything": [1, {"x": None}]}) == {"anything": [1, {"x": None}]}
    assert accept_input(process(), None) == {}


def test_an_empty_declaration_declares_nothing():
    assert accept_input(process({}), {"a": 1}) == {"a": 1}


def test_a_json_schema_decides_for_itself():
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "default": 3}, "m": {"type": "string"}},
        "required": ["k"],
    }

    assert accept_input(process({"schema": schema}), {"k": 1, "other": 2}) == {
        "k": 1,
        "other": 2,
        "n": 3,
        "m": None,
    }
    assert faults({"schema": schema}, {"n": "x"}) == {
        "input.n": 'must be a whole number, not "x"',
        "input.k": "is missing",
    }


def test_a_schema_that_is_not_valid_refuses_every_input():
    assert "schema" in faults({"schema": {"type": "objekt"}}, {})["input"]


def test_references_never_leave_the_document():
    found = faults({"schema": {"$ref": "http://127.0.0.1:9/schema.json"}}, {})

    assert "leads out of the document" in found["input"]


def test_a_hostile_pattern_takes_no_time():
    declared = {"a": {"type": "string", "pattern": "^(a+)+$"}}

    assert list(faults(declared, {"a": "a" * 50_000 + "!"})) == ["input.a"]


def test_a_flood_of_faults_is_cut():
    found = faults({"a": {"type": "array", "items": {"type": "string"}}}, {"a": list(range(5000))})

    assert len(found) == 100


def test_large_integers_stay_exact():
    big = 2**200

    assert accept_input(process({"n": {"type": "integer"}}), {"n": big}) == {"n": big}
