"""The input of a start as it is given on a command line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import msgspec

from process_engine.core.values import VALUE_LIMIT_BYTES
from process_engine.definition.document import ProcessDefinition
from process_engine.definition.input_schema import accept_input, json_schema_of
from process_engine.errors import InputRejected

# Text that is laid out for people may be several times as long as what it says.
MOST_TEXT_BYTES = 4 * VALUE_LIMIT_BYTES


def gather_input(
    definition: ProcessDefinition,
    document: str | None,
    fields: Sequence[str],
    present: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """The input that `--input` and `-i` give together; a field given by `-i` wins.

    `present` stands in for `--input` where that is not given. Whether it fits the process is not looked at
    here.

    Raises:
        InputRejected: what was given cannot be read, with every fault.
    """
    faults: list[tuple[str, str]] = []
    gathered = read_object(document, "input", faults) if document is not None else dict(present or {})
    schema = json_schema_of(definition.input)
    declared = schema.get("properties")
    given: set[str] = set()
    for field in fields:
        key, equals, text = field.partition("=")
        if not equals or not key:
            faults.append((f"-i {field}", "must be KEY=VALUE"))
            continue
        if key in given:
            faults.append((f"-i {key}", "is given twice"))
        given.add(key)
        try:
            gathered[key] = _typed(text, _kinds(declared, key))
        except ValueError as error:
            faults.append((f"input.{key}", str(error)))
    if faults:
        raise InputRejected(definition.name, faults)
    return gathered


def checked_input(definition: ProcessDefinition, given: Mapping[str, object]) -> dict[str, object]:
    """The input an execution starts with, as `accept_input` has it, once it is known that it can be recorded.

    Raises:
        InputRejected: it breaks the schema, or is too large.
    """
    accepted = accept_input(definition, given)
    size = len(msgspec.json.encode(accepted))
    if size > VALUE_LIMIT_BYTES:
        raise InputRejected(definition.name, [("input", _too_large(size, VALUE_LIMIT_BYTES))])
    return accepted


def _too_large(size: int, limit: int) -> str:
    return f"is {size:,} bytes of JSON, the limit is {limit:,}: store it elsewhere and pass a link on"


def read_object(document: str, option: str, faults: list[tuple[str, str]]) -> dict[str, object]:
    """A JSON object, as `read_json` reads it; empty where something is wrong."""
    before = len(faults)
    value = read_json(document, option, faults)
    if not isinstance(value, dict):
        if len(faults) == before:
            faults.append((_place(document, option), "must be a JSON object"))
        return {}
    return cast("dict[str, object]", value)


def _place(document: str, option: str) -> str:
    return f"{option} {document[1:]}" if document.startswith("@") and document[1:] else f"--{option}"


def read_json(document: str, option: str, faults: list[tuple[str, str]]) -> object:
    """A JSON value, or that of the file behind `@`; what is wrong is added to `faults` with its place.

    `option` is what it was given with, without its dashes.
    """
    place = f"--{option}"
    try:
        if document.startswith("@"):
            place = f"{option} {document[1:]}" if document[1:] else f"--{option} @"
            content, size = _read_text(Path(document[1:]))
            if size > MOST_TEXT_BYTES:
                faults.append((place, _too_large(size, MOST_TEXT_BYTES)))
                return None
        else:
            content = document.encode()
        return msgspec.json.decode(content)
    except OSError as error:
        faults.append((place, f"cannot be read: {error.strerror}"))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        faults.append((place, f"is not JSON: {error}"))
    return None


def _read_text(path: Path) -> tuple[bytes, int]:
    """What a file holds, but not much more than is accepted, and how much it is: of a pipe as far as read."""
    with path.open("rb") as file:
        content = file.read(MOST_TEXT_BYTES + 1)
        return content, max(len(content), os.fstat(file.fileno()).st_size)


def _kinds(declared: object, key: str) -> Sequence[str]:
    """The JSON types that a field may have; none where the process does not say."""
    if not isinstance(declared, Mapping):
        return ()
    schema = cast("Mapping[str, object]", declared).get(key)
    kinds = cast("Mapping[str, object]", schema).get("type") if isinstance(schema, Mapping) else None
    if isinstance(kinds, str):
        return (kinds,)
    return cast("Sequence[str]", kinds) if isinstance(kinds, (list, tuple)) else ()


def _typed(text: str, kinds: Sequence[str]) -> object:
    """`text` as the first of `kinds` that can read it; as itself where none is asked for, or text is one.

    Raises:
        ValueError: none can; says what was expected.
    """
    for kind in kinds:
        read = _READERS.get(kind)
        if read is not None:
            try:
                return read(text)
            except ValueError:
                continue
    if not kinds or "string" in kinds:
        return text
    expected = " or ".join(_EXPECTED.get(kind, kind) for kind in kinds)
    shown = text if len(text) <= 40 else text[:39] + "…"
    raise ValueError(f"{json.dumps(shown, ensure_ascii=False)} is not {expected}")


def _boolean(text: str) -> bool:
    words = {"true": True, "false": False}
    if text.lower() not in words:
        raise ValueError(text)
    return words[text.lower()]


def _number(text: str) -> object:
    value = _json(text)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(text)
    return value


def _integer(text: str) -> object:
    value = _number(text)
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(text)
    return value


def _null(text: str) -> None:
    if text != "null":
        raise ValueError(text)


def _json(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _container(kind: type) -> Callable[[str], object]:
    def read(text: str) -> object:
        value = _json(text)
        if not isinstance(value, kind):
            raise ValueError(text)
        return value

    return read


_READERS: Mapping[str, Callable[[str], object]] = {
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "null": _null,
    "array": _container(list),
    "object": _container(dict),
}
_EXPECTED: Mapping[str, str] = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
    "array": "a JSON list",
    "object": "a JSON object",
}
