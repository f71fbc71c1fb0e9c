"""What kind of value an expression yields, as far as the document tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from process_engine.definition.checking.context import Context
from process_engine.definition.document import AgentTask, HumanApproval, Notification, Step, Transform
from process_engine.definition.syntax import (
    Arithmetic,
    Compare,
    Filter,
    ListNode,
    Literal,
    Logic,
    Negate,
    Node,
    Not,
    ObjectNode,
    Path,
    TextNode,
)

NUMBER, TEXT, BOOLEAN, LIST, OBJECT, NULL = "a number", "text", "true or false", "a list", "an object", "null"

_OF_SCHEMA = {
    "string": TEXT,
    "integer": NUMBER,
    "number": NUMBER,
    "boolean": BOOLEAN,
    "array": LIST,
    "object": OBJECT,
    "null": NULL,
}
_OF_FILTER = {
    "json": TEXT, "upper": TEXT, "lower": TEXT, "trim": TEXT, "join": TEXT, "string": TEXT, "truncate": TEXT,
    "date": TEXT, "length": NUMBER, "round": NUMBER, "int": NUMBER, "number": NUMBER, "sum": NUMBER,
    "split": LIST, "keys": LIST, "values": LIST, "unique": LIST, "sort": LIST, "map": LIST, "where": LIST,
}  # fmt: skip
_OF_STEP_FIELD = {
    "status": TEXT,
    "attempts": NUMBER,
    "cost": NUMBER,
    "duration": NUMBER,
    "agent": TEXT,
    "execution_id": TEXT,
    "started_at": TEXT,
    "completed_at": TEXT,
}

Schema = Mapping[str, object]


@dataclass(frozen=True)
class Place:
    """What a schema says about one value.

    `closed` says that an object has no fields but `fields`, `required` which of them are always there;
    `present` that the value itself is always there.
    """

    kind: str | None = None
    choices: tuple[object, ...] | None = None
    fields: Mapping[str, Schema] | None = None
    closed: bool = False
    items: Schema | None = None
    required: frozenset[str] = frozenset()
    present: bool = False


UNKNOWN = Place()


def of_schema(schema: object) -> Place:
    """The place that a JSON Schema describes; references and combinations are not looked into."""
    if not isinstance(schema, Mapping):
        return UNKNOWN
    given = cast("Schema", schema)
    properties, enum, items = given.get("properties"), given.get("enum"), given.get("items")
    combined = any(word in given for word in ("$ref", "anyOf", "oneOf", "allOf", "if", "patternProperties"))
    kind = given.get("type")
    return Place(
        kind=_OF_SCHEMA.get(kind) if isinstance(kind, str) else None,
        choices=tuple(cast("list[object]", enum)) if isinstance(enum, (list, tuple)) else None,
        fields=cast("Mapping[str, Schema]", properties) if isinstance(properties, Mapping) else None,
        closed=given.get("additionalProperties") is False and not combined,
        items=cast("Schema", items) if isinstance(items, Mapping) else None,
        required=frozenset(_texts(given.get("required"))),
    )


def _texts(value: object) -> Iterator[str]:
    """The texts in a list. A schema that holds something else is refused elsewhere, and must be readable."""
    if isinstance(value, (list, tuple)):
        yield from (item for item in cast("Sequence[object]", value) if isinstance(item, str))


def input_place(context: Context) -> Place:
    """What the document says about the whole input."""
    spec = context.definition.input
    if spec.fields is not None:
        fields = {name: declared.schema_of_value() for name, declared in spec.fields.items()}
        there = (name for name, item in spec.fields.items() if item.required or item.default is not None)
        return Place(
            OBJECT, fields=fields, closed=not context.is_faulty(("input",)), required=frozenset(there)
        )
    return of_schema(spec.json_schema) if spec.json_schema is not None else UNKNOWN


def path_places(context: Context, path: Path) -> list[Place]:
    """What is known of the value at each segment of a path, its root first; shorter where knowledge ends."""
    places, segments = _start(context, path)
    for segment in segments:
        following = _below(places[-1], segment)
        if following is None:
            break
        places.append(following)
    return places


def _below(here: Place, segment: str | int) -> Place | None:
    if isinstance(segment, int):
        return of_schema(here.items) if here.items is not None else None
    if not here.fields or segment not in here.fields:
        return None
    return replace(of_schema(here.fields[segment]), present=segment in here.required)


def _start(context: Context, path: Path) -> tuple[list[Place], tuple[str | int, ...]]:
    if path.root == "input":
        return [input_place(context)], path.segments
    if path.root == "steps":
        return [_step_place(context, path.segments)], path.segments[2:]
    return [UNKNOWN], path.segments


def _step_place(context: Context, segments: tuple[str | int, ...]) -> Place:
    field = str(segments[1]) if len(segments) > 1 else "output"
    step = context.steps.get(str(segments[0])) if segments else None
    if step is not None and step.for_each is not None and field in ("output", "errors"):
        return Place(LIST, items=_item_schema(step) if field == "output" else None)
    if field == "output" and isinstance(step, AgentTask) and step.output is not None:
        return of_schema(step.output.json_schema)
    if field == "output" and isinstance(step, HumanApproval):
        return of_schema(_decided(step))
    if field == "output" and isinstance(step, Notification):
        return of_schema(_DELIVERED)
    if field == "output" and isinstance(step, Transform):
        return of_schema(_written(step.value))
    return Place(_OF_STEP_FIELD.get(field))


def _item_schema(step: Step) -> Schema | None:
    """The JSON Schema of what each item gives; null stands in its place where it was passed over."""
    if step.for_each is None or step.for_each.on_item_error == "collect":
        return None
    if isinstance(step, AgentTask) and step.output is not None:
        return step.output.json_schema
    return _written(step.value) if isinstance(step, Transform) else None


_DELIVERED: Schema = {
    "type": "object",
    "properties": {
        "deliveries": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "channel": {"type": "string"},
                    "status": {"type": "string"},
                    "recipients": {"type": "array"},
                    "message_id": {"type": "string"},
                    "http_status": {"type": "integer"},
                },
                "required": ["channel", "status"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["deliveries"],
    "additionalProperties": False,
}


def _decided(step: HumanApproval) -> Schema:
    """The JSON Schema of what an approval leaves behind; a name and a comment may be null."""
    return {
        "type": "object",
        "properties": {
            "decision": {"type": "string", "enum": ["approved", "rejected"]},
            "decided_by": {},
            "decided_at": {"type": "string"},
            "comment": {},
            "form": step.form or {},
            "approval_id": {"type": "string"},
        },
        "additionalProperties": False,
    }


def _written(value: object) -> Schema:
    """The JSON Schema of a value as far as it stands in the document; of an expression nothing is known."""
    match value:
        case str() if "{{" in value:
            return {}
        case dict():
            members = cast("Mapping[str, object]", value)
            fields = {name: _written(member) for name, member in members.items()}
            return {"type": "object", "properties": fields, "additionalProperties": False}
        case _:
            word = next((word for word, kind in _OF_SCHEMA.items() if kind == of_value(value)), None)
            return {"type": word} if word is not None else {}


def place_of(context: Context, node: Node) -> Place:
    """What is known of the value that an expression yields."""
    if isinstance(node, Path):
        places = path_places(context, node)
        read = node.segments if node.root == "input" else node.segments[2:]
        return places[-1] if len(places) == len(read) + 1 else UNKNOWN
    return Place(_kind(context, node))


def _kind(context: Context, node: Node) -> str | None:
    match node:
        case Literal():
            return of_value(node.value)
        case Compare() | Logic() | Not():
            return BOOLEAN
        case Negate():
            return NUMBER
        case Arithmetic():
            return None if node.op == "+" else NUMBER
        case Filter():
            return _OF_FILTER.get(node.name)
        case ListNode():
            return LIST
        case ObjectNode():
            return OBJECT
        case TextNode():
            return TEXT
        case _:
            return None


def of_value(value: object) -> str:
    """The kind of a plain value."""
    match value:
        case None:
            return NULL
        case bool():
            return BOOLEAN
        case int() | float():
            return NUMBER
        case str():
            return TEXT
        case list() | tuple():
            return LIST
        case _:
            return OBJECT
