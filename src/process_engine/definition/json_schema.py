"""JSON Schema as this project uses it: offline, in linear time, with faults in plain sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, cast

import jsonschema_rs

from process_engine.definition.problems import did_you_mean
from process_engine.definition.syntax import format_path

Schema = Mapping[str, object]
Path = tuple[str | int, ...]

# Further faults of one value tell nobody more.
MAX_FAULTS = 100
# Enough to mend an answer by; a list of a thousand wrong items is one mistake.
MOST_TOLD = 5
_PATTERNS = jsonschema_rs.RegexOptions()


class SchemaInvalid(Exception):
    """The schema itself cannot be used: `path` leads to the place in it, `message` says why."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.message = message


class SchemaFault(NamedTuple):
    """One way in which a value does not fit: where in the value, and what is wrong, as a predicate."""

    path: Path
    message: str


class CompiledSchema:
    """A schema ready to check values; safe to share.

    References lead nowhere but into the schema itself, and patterns run in linear time (no look-around).

    Raises:
        SchemaInvalid: by the constructor.
    """

    def __init__(self, schema: Schema) -> None:
        try:
            self._validator = jsonschema_rs.validator_for(
                dict(schema), validate_formats=True, offline=True, pattern_options=_PATTERNS
            )
        except jsonschema_rs.ValidationError as error:
            raise SchemaInvalid(tuple(error.instance_path), _plain(error.message)) from None
        except (jsonschema_rs.ReferencingError, ValueError) as error:
            raise SchemaInvalid((), _plain(str(error))) from None

    def accepts(self, value: object) -> bool:
        """Whether the value, of JSON kinds only, fits."""
        return self._validator.is_valid(value)

    def faults(self, value: object) -> list[SchemaFault]:
        """Everything that does not fit, at most `MAX_FAULTS`; empty if the value fits."""
        found: list[SchemaFault] = []
        for error in self._validator.iter_errors(value):
            found += _faults(error)
            if len(found) >= MAX_FAULTS:
                break
        return found[:MAX_FAULTS]


def _plain(message: str) -> str:
    first = message.strip().splitlines()[0].rstrip(".")
    reference = re.match(r"Resource '(.*?)' is not present", first)
    return f"the reference {reference[1]} leads out of the document" if reference else first


def _faults(error: jsonschema_rs.ValidationError) -> Iterator[SchemaFault]:
    path = tuple(error.instance_path)
    facts = cast("Mapping[str, object]", error.kind.as_dict())
    match error.kind.name:
        case "required":
            yield SchemaFault((*path, str(facts["property"])), "is missing")
        case "additionalProperties" | "unevaluatedProperties":
            for name in cast("Sequence[str]", facts["unexpected"]):
                yield SchemaFault((*path, name), "is not known here")
        case name:
            wording = _WORDINGS.get(name)
            yield SchemaFault(
                path, wording.format_map(_shown(error, facts)) if wording else _plain(error.message)
            )


_WORDINGS = {
    "type": "must be {types}, not {value}",
    "enum": "must be one of {options}, not {value}",
    "const": "must be {expected_value}, not {value}",
    "minimum": "must be at least {limit}, not {value}",
    "maximum": "must be at most {limit}, not {value}",
    "exclusiveMinimum": "must be more than {limit}, not {value}",
    "exclusiveMaximum": "must be less than {limit}, not {value}",
    "multipleOf": "must be a multiple of {multiple_of}, not {value}",
    "minLength": "must have at least {limit} characters",
    "maxLength": "must have at most {limit} characters",
    "minItems": "must have at least {limit} items",
    "maxItems": "must have at most {limit} items",
    "minProperties": "must have at least {limit} fields",
    "maxProperties": "must have at most {limit} fields",
    "uniqueItems": "must not hold anything twice",
    "pattern": "must match {pattern}, unlike {value}",
    "format": "must be a valid {format}, unlike {value}",
}

_KINDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def _shown(error: jsonschema_rs.ValidationError, facts: Mapping[str, object]) -> dict[str, object]:
    shown = dict(facts) | {"value": describe(cast("object", error.instance))}
    if "types" in facts:
        shown["types"] = " or ".join(_KINDS.get(name, name) for name in cast("Sequence[str]", facts["types"]))
    if "options" in facts:
        shown["options"] = ", ".join(
            describe(option) for option in cast("Sequence[object]", facts["options"])[:20]
        )
    if "expected_value" in facts:
        shown["expected_value"] = describe(facts["expected_value"])
    return shown


def describe(value: object) -> str:
    """A value for a sentence: numbers as they are, texts quoted and cut, the rest by its kind."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return f'"{value[:60]}{"…" if len(value) > 60 else ""}"'
        case list() | tuple():
            return "a list"
        case Mapping():
            return "an object"
        case _:
            return str(value)[:60]


def spelled(root: str, path: Path) -> str:
    """A path as one writes it in expressions: `input.items[0].name`."""
    return format_path(root, path)


def unknown_field(name: str, known: Sequence[str]) -> str:
    """The predicate for a field that is not known, with the one that was most likely meant."""
    return f"is not known. {did_you_mean(name, known, kind='fields')}".strip().rstrip(".")


def told_faults(schema: CompiledSchema, answer: object) -> str:
    """Why an answer does not fit its schema, as the message of its failure; empty if it does."""
    faults = [f"{spelled('output', fault.path)} {fault.message}" for fault in schema.faults(answer)]
    return f"the answer breaks its schema: {'; '.join(faults[:MOST_TOLD])}" if faults else ""
