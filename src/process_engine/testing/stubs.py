"""Values made up in place of answers that nobody has given: they fit, and say where they come from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import cast

from process_engine.definition.document import AgentTask, ProcessDefinition, Step
from process_engine.definition.expressions import (
    ExpressionSyntaxError,
    compile_template,
    parse_condition,
    parse_expression,
)
from process_engine.definition.graph import step_reads
from process_engine.definition.json_schema import CompiledSchema, Schema
from process_engine.definition.nodes import Compare, Literal, Logic, Node, Not, Path, walk
from process_engine.definition.reads import Read, step_read

# A schema may refer to itself; deeper than this a value made up tells nobody more.
MAX_DEPTH = 16
# A schema may ask for any number of items and characters.
MAX_ITEMS = 100
MAX_CHARACTERS = 10_000
# Parts of one value: a schema of ten references to itself would have millions at that depth.
MAX_PARTS = 10_000

_FORMATS: Mapping[str, str] = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "somebody@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.org/",
    "uri-reference": "https://example.org/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


class Stubs:
    """What agents could have answered to the steps of one process."""

    def __init__(self, definition: ProcessDefinition) -> None:
        self._definition = definition
        self._uses = _Uses(definition)

    def answer(self, step_id: str, agent: str) -> object:
        """What this agent could have answered to this step.

        By the step's `output.schema` where it has one; else with the fields that the process reads of it,
        numbers where it puts them in order with something; else a text.
        """
        step = self._definition.step(step_id)
        whose = f"answer of {agent}"
        if isinstance(step, AgentTask) and step.output is not None:
            return fitting(step.output.json_schema, whose)
        return self._uses.made_up(step_id, whose)


def fitting(schema: Schema, whose: str = "value") -> object:
    """A small value with every field that the schema names; texts tell that they are made up, and for what.

    It fits wherever the schema is about kinds, bounds, choices, formats and required fields. Patterns and
    negations are not looked at: `fits` tells.
    """
    return _Maker(schema).value(schema, whose, 0)


def fits(schema: Schema, value: object) -> bool:
    """Whether the value fits the schema, which has passed its own checks."""
    return CompiledSchema(schema).accepts(value)


class _Maker:
    """Makes values for the parts of one schema; `#/…` leads into its root."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._parts = 0

    def value(self, schema: object, whose: str, depth: int) -> object:
        self._parts += 1
        if not isinstance(schema, Mapping) or depth > MAX_DEPTH or self._parts > MAX_PARTS:
            return f"({whose})"
        plain = self._resolved(cast("Schema", schema), depth)
        for key in ("const", "default"):
            if key in plain:
                return plain[key]
        for key in ("enum", "examples"):
            given = plain.get(key)
            if isinstance(given, Sequence) and not isinstance(given, str) and given:
                return cast("Sequence[object]", given)[0]
        return self._of_kind(_kind(plain), plain, whose, depth)

    def _resolved(self, schema: Schema, depth: int) -> Schema:
        """The schema with what it refers to, all of `allOf` and the first of its choices, in one mapping."""
        parts: list[object] = list(cast("Sequence[object]", schema.get("allOf", ())))
        for choice in ("anyOf", "oneOf"):
            parts += cast("Sequence[object]", schema.get(choice, ()))[:1]
        reference = schema.get("$ref")
        if isinstance(reference, str):
            parts.insert(0, self._at(reference))
        merged: dict[str, object] = {}
        for part in parts if depth <= MAX_DEPTH else ():
            if isinstance(part, Mapping):
                _merge(merged, self._resolved(cast("Schema", part), depth + 1))
        return _merge(merged, {key: item for key, item in schema.items() if key != "$ref"})

    def _at(self, reference: str) -> object:
        found: object = self._root
        for word in reference.removeprefix("#").split("/")[1:]:
            key = word.replace("~1", "/").replace("~0", "~")
            found = _field(found, key)
        return found

    def _of_kind(self, kind: object, schema: Schema, whose: str, depth: int) -> object:
        match kind:
            case "object":
                return self._object(schema, whose, depth)
            case "array":
                return self._array(schema, whose, depth)
            case "integer" | "number":
                return _number(schema, whole=kind == "integer")
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return _text(schema, whose)

    def _object(self, schema: Schema, whose: str, depth: int) -> dict[str, object]:
        properties = cast("Mapping[str, object]", schema.get("properties", {}))
        required = cast("Sequence[str]", schema.get("required", ()))
        # A schema that holds itself ends where what it holds may be left out.
        named = required if depth >= MAX_DEPTH // 2 else dict.fromkeys((*properties, *required))
        return {name: self.value(properties.get(name), f"{name} of {whose}", depth + 1) for name in named}

    def _array(self, schema: Schema, whose: str, depth: int) -> list[object]:
        first = cast("Sequence[object]", schema.get("prefixItems", ()))[:MAX_ITEMS]
        fewest = min(max(_at_least(schema, "minItems"), 0 if depth >= MAX_DEPTH // 2 else 1), MAX_ITEMS)
        most = schema.get("maxItems")
        count = min(fewest, most) if isinstance(most, int) else fewest
        items = [self.value(item, f"item {n} of {whose}", depth + 1) for n, item in enumerate(first, 1)]
        rest = range(len(items) + 1, count + 1)
        return items + [self.value(schema.get("items"), f"item {n} of {whose}", depth + 1) for n in rest]


def _field(value: object, key: str) -> object:
    return cast("Mapping[str, object]", value).get(key) if isinstance(value, Mapping) else None


def _merge(into: dict[str, object], other: Schema) -> dict[str, object]:
    for key, item in other.items():
        known = into.get(key)
        if key == "properties" and isinstance(known, Mapping) and isinstance(item, Mapping):
            into[key] = {**cast("Schema", known), **cast("Schema", item)}
        elif key == "required" and isinstance(known, Sequence) and isinstance(item, Sequence):
            into[key] = [*cast("Sequence[object]", known), *cast("Sequence[object]", item)]
        else:
            into[key] = item
    return into


def _kind(schema: Schema) -> object:
    kind = schema.get("type")
    if isinstance(kind, Sequence) and not isinstance(kind, str):
        kinds = cast("Sequence[object]", kind)
        return next((one for one in kinds if one != "null"), "null")
    if kind is None:
        by_key = {"properties": "object", "required": "object", "items": "array", "prefixItems": "array"}
        by_key |= {"minimum": "number", "maximum": "number"}
        return next((of for key, of in by_key.items() if key in schema), "string")
    return kind


def _at_least(schema: Schema, key: str) -> int:
    bound = schema.get(key)
    return bound if isinstance(bound, int) else 0


def _number(schema: Schema, *, whole: bool) -> int | float:
    """The smallest number that the bounds allow, 1 where there are none, as a whole one where that fits."""
    step = schema.get("multipleOf")
    unit = step if isinstance(step, (int, float)) and step > 0 else 1
    low = _bound(schema, "minimum", "exclusiveMinimum", unit)
    high = _bound(schema, "maximum", "exclusiveMaximum", -unit)
    if low is None and high is None:
        return unit
    if low is None:
        return min(unit, math.floor(cast("float", high) / unit) * unit)
    number = math.ceil(low / unit) * unit
    if high is not None and number > high and not whole:
        # Between bounds that no whole number fits: the middle.
        lowest = cast("float", schema.get("minimum", schema.get("exclusiveMinimum")))
        highest = cast("float", schema.get("maximum", schema.get("exclusiveMaximum")))
        return (lowest + highest) / 2
    return number


def _bound(schema: Schema, inclusive: str, exclusive: str, beyond: float) -> float | None:
    """The bound as an inclusive one; beyond an exclusive one by `beyond`."""
    outer, inner = schema.get(exclusive), schema.get(inclusive)
    if isinstance(outer, (int, float)) and not isinstance(outer, bool):
        return outer + beyond
    return inner if isinstance(inner, (int, float)) else None


def _text(schema: Schema, whose: str) -> str:
    known = _FORMATS.get(str(schema.get("format")))
    if known is not None:
        return known
    text = f"({whose})".ljust(min(_at_least(schema, "minLength"), MAX_CHARACTERS), ".")
    most = schema.get("maxLength")
    return text[:most] if isinstance(most, int) else text


# ---------------------------------------------------------------- without a schema

_Path = tuple[str | int, ...]
_ORDERS = frozenset({"<", "<=", ">", ">="})


class _Uses:
    """What a process does with the outputs of its steps: which parts it reads, and what must stand there."""

    def __init__(self, definition: ProcessDefinition) -> None:
        self._paths: dict[str, list[_Path]] = {}
        self._known: dict[tuple[str, _Path], object] = {}
        for read in _reads(definition):
            if read.step is not None and read.field == "output":
                self._paths.setdefault(read.step, []).append(tuple(read.path))
        for step in definition.steps:
            self._learn(step)

    def made_up(self, step_id: str, whose: str) -> object:
        """An object or a list with something wherever the process looks; a text where it does not look in."""
        return self._below(step_id, (), self._paths.get(step_id, []), whose)

    def _below(self, step_id: str, place: _Path, paths: Sequence[_Path], whose: str) -> object:
        firsts = dict.fromkeys(path[0] for path in paths if path)
        names = [name for name in firsts if isinstance(name, str)]
        numbers = [min(abs(number), MAX_ITEMS) for number in firsts if isinstance(number, int)]

        def part(first: str | int, told: str) -> object:
            inner = [path[1:] for path in paths if path[:1] == (first,)]
            return self._below(step_id, (*place, first), inner, f"{told} of {whose}")

        if names:
            return {name: part(name, name) for name in names}
        if numbers:
            return [part(item, f"item {item + 1}") for item in range(max(numbers) + 1)]
        return self._known.get((step_id, place), f"({whose})")

    def _learn(self, step: Step) -> None:
        for site in step.expressions():
            if site.kind == "condition":
                with suppress(ExpressionSyntaxError):
                    self._learn_from_condition(parse_condition(str(site.source)).node)
        if step.for_each is not None and isinstance(step.for_each.items, str):
            source = step.for_each.items.strip().removeprefix("{{").removesuffix("}}")
            with suppress(ExpressionSyntaxError):
                self._note(parse_expression(source).node, ["(item 1)"])

    def _learn_from_condition(self, condition: Node) -> None:
        """What is put in order is a number, unless beside a text; what decides alone is a boolean."""
        for node in walk(condition):
            match node:
                case Compare(op=op, left=left, right=right) if op in _ORDERS:
                    for one, other in ((left, right), (right, left)):
                        if not (isinstance(other, Literal) and isinstance(other.value, str)):
                            self._note(one, 1)
                case Logic(operands=operands):
                    for operand in operands:
                        self._note(operand, True)
                case Not(operand=operand):
                    self._note(operand, True)
                case _:
                    continue
        self._note(condition, True)

    def _note(self, node: Node, value: object) -> None:
        if isinstance(node, Path) and node.root == "steps":
            step, field, path = step_read(node)
            if field == "output":
                self._known.setdefault((step, path), value)


def _reads(definition: ProcessDefinition) -> Iterator[Read]:
    for step in definition.steps:
        yield from step_reads(step)
    for output in definition.outputs:
        with suppress(ExpressionSyntaxError):
            yield from compile_template(output.source).reads
