"""The keys of the process language, from the classes that read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import cast, get_args

from pydantic.fields import FieldInfo

from process_engine.definition import document, policies
from process_engine.definition.document import STEP_TYPES, Step
from process_engine.definition.filters import FILTERS, FilterSpec
from process_engine.definition.parts import (
    NAME_PATTERN,
    STEP_ID_PATTERN,
    ConditionText,
    Document,
    TemplateText,
)
from tools.reference import faulty
from tools.reference.markdown import code, codes, table

Schema = Mapping[str, object]

_KINDS = {"string": "text", "integer": "integer", "number": "number", "boolean": "`true` or `false`"}
_PATTERNS = {NAME_PATTERN: "name", STEP_ID_PATTERN: "id"}
# Where a key holds a part with keys of its own: what the page calls that part.
_PARTS = {
    "Budget": "[budget](#budget)",
    "Compensation": "agent task",
    "Defaults": "[defaults](#defaults)",
    "Escalation": "[escalation](#timeout_action)",
    "ErrorPolicy": "[policy](#on_error)",
    "ForEach": "[for_each](#for_each)",
    "InputSpec": "[fields](#input)",
    "Limits": "[limits](#limits)",
    "ManualTrigger": "[trigger](#triggers)",
    "OutputSpec": "[output](#outputs)",
    "RetryPolicy": "[policy](#retry)",
    "Roles": "[roles](#roles)",
    "Route": "[route](#routes)",
    "StructuredOutput": "[shape](#output)",
}
_STEPS = {kind.__name__ for kind in STEP_TYPES.values()}


def keys(name: str) -> str:
    """The table of the keys of a class; of a step type, those that only it has."""
    kind = _class(name)
    common = set(Step.model_fields) if kind is not Step and issubclass(kind, Step) else set[str]()
    rows = [_row(kind, key, field) for key, field in _fields(kind) if key not in common]
    return table(("key", "value", "default", "meaning"), rows)


def _class(name: str) -> type[Document]:
    found = getattr(document, name, None) or getattr(policies, name)
    assert isinstance(found, type)
    assert issubclass(found, Document)
    return found


def _fields(kind: type[Document]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in kind.model_fields.items():
        key = field.alias or name
        if key != "x-":
            yield key, field


def _row(kind: type[Document], key: str, field: FieldInfo) -> tuple[str, str, str, str]:
    schema = cast("Mapping[str, Schema]", kind.model_json_schema()["properties"])[key]
    value = codes(STEP_TYPES) if kind is Step and key == "type" else _value(schema, field)
    later = " *Not run yet.*" if (kind.__name__, key) in not_run() else ""
    return code(key), value, _default(field), f"{field.description}{later}"


def _value(schema: Schema, field: FieldInfo) -> str:
    """What may stand behind a key, in words."""
    marks = [*field.metadata, *_marks(field.annotation)]
    if any(isinstance(mark, ConditionText) for mark in marks):
        return "[expression](#expressions)"
    plain = _words(schema)
    expressions = any(isinstance(mark, TemplateText) for mark in marks)
    # A schema holds no expressions: what looks like one and does is a map.
    return f"{plain.replace('JSON Schema', 'map')}; [expressions](#expressions)" if expressions else plain


def _marks(annotation: object) -> Iterator[object]:
    yield from getattr(annotation, "__metadata__", ())
    for argument in get_args(annotation):
        yield from _marks(argument)


def _words(schema: Schema) -> str:
    if "examples" in schema:
        return "duration"
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return "step" if name in _STEPS else _PARTS[name]
    choices = cast("list[Schema] | None", schema.get("anyOf", schema.get("oneOf")))
    if choices is not None:
        told = [_words(choice) for choice in choices if choice.get("type") != "null"]
        return " or ".join(dict.fromkeys(told))
    if "enum" in schema or "const" in schema:
        return ", ".join(map(code, map(str, cast("list[object]", schema.get("enum", [schema.get("const")])))))
    return _plain(schema)


def _plain(schema: Schema) -> str:
    match schema.get("type"):
        case "array":
            items = cast("Schema", schema.get("items", {}))
            return f"list of {_words(items)}" if items else "list"
        case "object":
            items = schema.get("additionalProperties")
            return f"map of {_words(cast('Schema', items))}" if isinstance(items, dict) else "JSON Schema"
        case "string" if "pattern" in schema:
            return _PATTERNS.get(str(schema["pattern"]), "text")
        case None:
            return "any value"
        case kind:
            return _KINDS[str(kind)] + _bounds(schema)


def _bounds(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is None and high is None:
        return ""
    return f" from {low}" + (f" to {high:,}" if isinstance(high, int | float) else "")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: object = field.get_default(call_default_factory=True, validated_data={})
    if value in (None, "", (), {}) or isinstance(value, Document):
        return "none"
    return code(str(value).lower() if isinstance(value, bool) else str(value))


@cache
def not_run() -> frozenset[tuple[str, str]]:
    """The keys that are read and refused, as (class, key): what is told about the examples of `P110`."""
    classes = {"limits": "Limits", "steps": "Step"}
    found = [problem for text in faulty.DOCUMENTS["P110"] for problem in faulty.problems_of(text)]
    return frozenset(
        (classes[str(problem.path[0])], str(problem.path[-1]))
        for problem in found
        if problem.code == "P110" and problem.path[0] in classes
    )


def filters() -> str:
    """The table of the filters."""
    rows = ((codes(_calls(name, spec)), spec.summary) for name, spec in FILTERS.items())
    return table(("filter", "what it gives"), rows)


def _calls(name: str, spec: FilterSpec) -> Iterator[str]:
    """A filter as it may be written, with fewest and with most arguments."""
    names = ("path", "x") if spec.takes_path else ("x", "y")
    for count in range(spec.least, spec.most + 1):
        yield f"{name}({', '.join(names[:count])})" if count else name
