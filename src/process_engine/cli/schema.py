"""`schema`: the process language as JSON Schema, made from the classes that read it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import cast

from process_engine.cli import outcomes
from process_engine.cli.printing import print_document
from process_engine.cli.tools import Tools
from process_engine.definition.document import STEP_TYPES, ProcessDefinition
from process_engine.definition.old_forms import WITHOUT_EFFECT

Schema = dict[str, object]

# What editors understand best; nothing newer is used.
DIALECT = "http://json-schema.org/draft-07/schema#"
_OWN_KEYS = {"^x-": {"description": "A key of your own; nothing reads it."}}


def schema(tools: Tools, *, no_color: bool) -> int:
    """Print the schema."""
    print_document(process_schema())
    return outcomes.COMPLETED


def process_schema() -> Schema:
    """The JSON Schema of a process document; a step is told by its `type`.

    It refuses unknown keys, and takes the old spellings that only rename something, marked as deprecated.
    What lies beyond shapes (names of steps, expressions, loops) is for `validate`.
    """
    made = cast("Schema", _tidied(ProcessDefinition.model_json_schema()))
    parts = cast("dict[str, Schema]", made.pop("$defs"))
    keys = _keys(made)
    keys["input"] = _input(parts.pop("InputSpec"), keys["input"])
    keys["outputs"] = _outputs(keys["outputs"])
    keys["steps"] = cast("Schema", keys["steps"]) | {"items": _step(parts)}
    _add_old_spellings(made, parts)
    return {"$schema": DIALECT, "title": "Process", **made, "definitions": parts}


# ---------------------------------------------------------------- what the classes give, made readable


def _tidied(value: object, *, named: bool = False) -> object:
    """Without what only programs need; `named` says that the keys are names of the language."""
    if isinstance(value, list):
        return [_tidied(item) for item in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value.replace("#/$defs/", "#/definitions/") if isinstance(value, str) else value
    given = cast("Schema", value)
    kept = {
        key: _tidied(item, named=key in ("properties", "$defs", "patternProperties") and not named)
        for key, item in given.items()
        if named or not _is_noise(key, item)
    }
    if named:
        return kept
    if "oneOf" in kept:
        # A text can be a duration and an expression: fitting both is no fault.
        kept["anyOf"] = kept.pop("oneOf")
    return _described_reference(_without_null(kept))


def _is_noise(key: str, item: object) -> bool:
    # A title repeats the key; a default that is nothing means that the key may be left out.
    return key in ("title", "discriminator") or (key == "default" and item in (None, "", [], {}))


def _without_null(given: Schema) -> Schema:
    """Null is no value in the language: who writes a key gives it one."""
    choices = cast("list[Schema] | None", given.get("anyOf"))
    if choices is None:
        return given
    left = [choice for choice in choices if choice != {"type": "null"}]
    rest = {key: item for key, item in given.items() if key != "anyOf"}
    return left[0] | rest if len(left) == 1 else rest | {"anyOf": left}


def _described_reference(given: Schema) -> Schema:
    """In this dialect nothing counts beside a reference: what stands there moves around it."""
    if "$ref" not in given or len(given) == 1:
        return given
    rest = {key: item for key, item in given.items() if key != "$ref"}
    return rest | {"allOf": [{"$ref": given["$ref"]}]}


def _keys(part: Schema) -> dict[str, object]:
    return cast("dict[str, object]", part.setdefault("properties", {}))


# ---------------------------------------------------------------- where a document differs from its classes


def _input(spec: Schema, field: object) -> Schema:
    """A map of fields, or `schema` alone: one class reads both."""
    written = _keys(spec)
    as_schema = {
        "properties": {"schema": written["schema"]},
        "patternProperties": _OWN_KEYS,
        "additionalProperties": False,
    }
    one = cast("Schema", written["fields"])["additionalProperties"]
    as_map = {"patternProperties": _OWN_KEYS, "additionalProperties": one}
    only_schema = {"required": ["schema"], "propertyNames": {"pattern": "^(schema$|x-)"}}
    return {
        "description": cast("Schema", field)["description"],
        "type": "object",
        "if": only_schema,
        "then": as_schema,
        "else": as_map,
    }


def _outputs(listed: object) -> Schema:
    """A list, or a map from each name to its source."""
    given = cast("Schema", listed)
    described = {"description": given["description"]}
    as_list = {key: item for key, item in given.items() if key != "description"}
    as_map = {"type": "object", "additionalProperties": {"description": "An expression, or any value."}}
    return described | {"anyOf": [as_map, as_list]}


def _step(parts: Mapping[str, Schema]) -> Schema:
    """A step by its type: only the one that is meant is looked at, so that faults are told about that."""
    kinds = {word: {"$ref": f"#/definitions/{kind.__name__}"} for word, kind in STEP_TYPES.items()}
    told = " ".join(f"`{word}`: {parts[kind.__name__]['description']}" for word, kind in STEP_TYPES.items())
    return {
        "type": "object",
        "required": ["id"],
        "properties": {"type": {"enum": list(kinds), "description": told}},
        "allOf": [
            *({"if": _is_type(word), "then": reference} for word, reference in kinds.items()),
            {"if": {"not": {"required": ["type"]}}, "then": kinds["agent_task"]},
        ],
    }


def _is_type(word: str) -> Schema:
    return {"properties": {"type": {"const": word}}, "required": ["type"]}


# ---------------------------------------------------------------- old spellings


def _add_old_spellings(document: Schema, parts: Mapping[str, Schema]) -> None:
    for part in (document, *(parts[kind.__name__] for kind in STEP_TYPES.values())):
        for key in WITHOUT_EFFECT:
            _keys(part)[key] = _deprecated({}, "Has no effect.")
    _add_old_name(parts["RetryPolicy"], "delay", "initial_delay")
    _add_old_name(parts["Timer"], "duration", "delay")
    _add_old_name(parts["OutputSpec"], "value", "source")
    either: list[Schema] = [{"required": ["source"]}, {"required": ["value"]}]
    parts["OutputSpec"].update({"required": ["name"], "anyOf": either})
    delay: Schema = {"type": "object", "properties": {"delay": _keys(parts["Timer"])["delay"]}}
    delay |= {"required": ["delay"], "additionalProperties": False}
    _keys(parts["Timer"])["config"] = _deprecated(delay, "Write `delay` in the step itself.")
    _keys(parts["Gateway"])["conditions"] = _deprecated(
        _old_routes(_keys(parts["Route"])), "Write `routes` and `default_route`."
    )


def _add_old_name(part: Schema, old: str, new: str) -> None:
    _keys(part)[old] = _deprecated(cast("Schema", _keys(part)[new]), f"Write `{new}`.")


def _old_routes(route: Mapping[str, object]) -> Schema:
    names = {"expression": "condition", "next": "target", "max_visits": "max_visits"}
    keys = {old: copy.deepcopy(route[new]) for old, new in names.items()} | {"default": {"type": "boolean"}}
    entry = {"type": "object", "properties": keys, "required": ["next"]}
    return {"type": "array", "items": entry | {"patternProperties": _OWN_KEYS, "additionalProperties": False}}


def _deprecated(given: Mapping[str, object], advice: str) -> Schema:
    return copy.deepcopy(dict(given)) | {
        "description": f"An old spelling. {advice}" if given else advice,
        "deprecated": True,
        "deprecationMessage": advice,
    }
