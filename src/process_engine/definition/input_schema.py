"""The input of a start, held against what the process says about it."""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import cast

from process_engine.definition.document import InputSpec, ProcessDefinition
from process_engine.definition.json_schema import (
    CompiledSchema,
    SchemaFault,
    SchemaInvalid,
    describe,
    spelled,
    unknown_field,
)
from process_engine.definition.positions import Path
from process_engine.errors import InputRejected
from process_engine.ids import DefinitionHash

# A service runs some dozens of processes at a time; a compiled schema is a few KiB.
CACHED_SCHEMAS = 256
# As for the answers of agents: far more than inputs have, far less than the recursion of an encoder takes.
MAX_NESTING = 100
# The same fault more often than that is one mistake of a program that made the input.
MAX_FAULTS = 100

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


def accept_input(definition: ProcessDefinition, value: object) -> dict[str, object]:
    """The input an execution starts with: `value`, checked, with defaults; `value` itself stays as it is.

    None counts as no fields. A declared field that is optional, absent and without default becomes None, and
    None for an optional field counts as absent; so what was accepted once is accepted again, unchanged.

    Raises:
        InputRejected: with every fault, each as the path and what is wrong there.
    """
    given: object = {} if value is None else value
    if not isinstance(given, Mapping):
        raise InputRejected(definition.name, [("input", f"must be an object, not {describe(given)}")])
    fields = cast("Mapping[object, object]", given)
    odd = [key for key in fields if not isinstance(key, str)]
    if odd:
        raise InputRejected(
            definition.name, [("input", f"has the key {key!r}, which is not text") for key in odd]
        )
    found = _impossible(cast("Mapping[str, object]", fields)) if fields else ()
    impossible = list(itertools.islice(found, MAX_FAULTS))
    if impossible:
        raise InputRejected(definition.name, impossible)
    form = _form(_ByHash(definition.content_hash, definition.input))
    return form.accept(definition.name, cast("Mapping[str, object]", fields))


def _impossible(fields: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """What JSON in UTF-8 cannot say, wherever it is; level by level, since the value may be of any depth."""
    layer: list[tuple[Path, object]] = [((), fields)]
    for _ in range(MAX_NESTING + 1):
        below: list[tuple[Path, object]] = []
        for path, value in layer:
            fault = _fault_of(value)
            if fault:
                yield spelled("input", path), fault
            below.extend(_members(path, value))
        if not below:
            return
        layer = below
    deep = next((path for path, value in layer if isinstance(value, (Mapping, list, tuple))), None)
    if deep is not None:
        yield spelled("input", deep[:1]), f"is nested over {MAX_NESTING} levels"


def _fault_of(value: object) -> str:
    if isinstance(value, str) and not value.isascii() and _HALF_CHARACTER.search(value):
        return "holds half a character (a lone surrogate), which is no text"
    if isinstance(value, Mapping):
        keys = cast("Mapping[object, object]", value).keys()
        if any(isinstance(key, str) and _HALF_CHARACTER.search(key) for key in keys):
            return "has a key that holds half a character (a lone surrogate)"
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number; JSON has no such value"
    return ""


def _members(path: Path, value: object) -> Iterator[tuple[Path, object]]:
    if isinstance(value, Mapping):
        for key, item in cast("Mapping[object, object]", value).items():
            yield (*path, str(key)), item
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(cast("Sequence[object]", value)):
            yield (*path, index), item


def json_schema_of(spec: InputSpec) -> dict[str, object]:
    """The JSON Schema that an input must fit, for forms and documentation too."""
    if spec.json_schema is not None:
        return dict(spec.json_schema)
    if spec.fields is None:
        return {"type": "object"}
    return {
        "type": "object",
        "properties": {name: declared.schema_of_value() for name, declared in spec.fields.items()},
        "required": [
            name for name, declared in spec.fields.items() if declared.required and not declared.has_default
        ],
        "additionalProperties": False,
    }


@dataclass(frozen=True)
class _ByHash:
    """The input's description, compared by the hash of its definition."""

    hash: DefinitionHash
    spec: InputSpec = field(compare=False)


@lru_cache(maxsize=CACHED_SCHEMAS)
def _form(key: _ByHash) -> _Form:
    return _Form(key.spec)


class _Form:
    """What a process says about its input, compiled."""

    def __init__(self, spec: InputSpec) -> None:
        schema = json_schema_of(spec)
        properties = schema.get("properties")
        declared: Mapping[str, object] = {}
        if isinstance(properties, Mapping):
            declared = cast("Mapping[str, object]", properties)
        required = schema.get("required")
        needed = set(cast("list[str]", required)) if isinstance(required, (list, tuple)) else set[str]()
        self._known = list(declared)
        self._optional = [name for name in declared if name not in needed]
        self._defaults = _defaults(spec, declared)
        self._schema: CompiledSchema | None = None
        self._fault: SchemaInvalid | None = None
        try:
            self._schema = CompiledSchema(schema)
        except SchemaInvalid as fault:
            self._fault = fault

    def accept(self, process: str, given: Mapping[str, object]) -> dict[str, object]:
        if self._schema is None:
            raise InputRejected(process, [("input", f"has a schema that is not valid: {self._fault}")])
        present = {key: item for key, item in given.items() if item is not None or key not in self._optional}
        for name, default in self._defaults.items():
            if name not in present:
                present[name] = copy.deepcopy(default)
        faults = self._faults(self._schema, present)
        if faults:
            raise InputRejected(process, [(spelled("input", path), message) for path, message in faults])
        return present | {name: None for name in self._optional if name not in present}

    def _faults(self, schema: CompiledSchema, present: dict[str, object]) -> list[SchemaFault]:
        try:
            found = schema.faults(present)
        except ValueError as error:
            return [SchemaFault((), f"holds what JSON cannot: {error}")]
        return [self._explained(fault) for fault in found]

    def _explained(self, fault: SchemaFault) -> SchemaFault:
        if fault.message == "is not known here" and len(fault.path) == 1:
            return SchemaFault(fault.path, unknown_field(str(fault.path[0]), self._known))
        return fault


def _defaults(spec: InputSpec, declared: Mapping[str, object]) -> dict[str, object]:
    if spec.fields is not None:
        return {name: item.default for name, item in spec.fields.items() if item.default is not None}
    found: dict[str, object] = {}
    for name, schema in declared.items():
        default = cast("Mapping[str, object]", schema).get("default") if isinstance(schema, Mapping) else None
        if default is not None:
            found[name] = default
    return found
