"""Strict YAML 1.2: text in, plain values and the place of each of them out.

Driven by the parser's events, because nothing else of a YAML library is wanted here: no tags, no dates, no
merge keys, no objects; and because an event can be refused before the next one is read, so that a bomb costs
no more than its first harmful piece.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from process_engine.definition.positions import Mark, Node, Path, Positions
from process_engine.definition.problems import Problem
from process_engine.definition.yaml_events import (
    MAX_NESTING,
    Event,
    Refused,
    YAMLError,
    events,
    syntax_problem,
    too_deep,
)

# 1 MiB: a definition of 2,000 steps has a third of it.
MAX_TEXT_BYTES = 1024 * 1024
# Aliases count once for each use, so that nine lines cannot stand for a billion values.
MAX_NODES = 100_000
MAX_NUMBER_DIGITS = 100
# A text with more repeated keys, tags and the like was not written by hand; the rest of it tells nothing new.
MAX_TEXT_PROBLEMS = 100


@dataclass(frozen=True)
class LoadedText:
    """The plain value of a text (None also where it could not be read), its places and its faults."""

    value: object
    positions: Positions
    problems: tuple[Problem, ...]

    @property
    def readable(self) -> bool:
        """Whether the value stands for the whole text; a repeated key or a tag does not hinder that."""
        return not any(problem.code in _FATAL for problem in self.problems)


_FATAL = {"P001", "P002", "P003", "P004", "P007", "P008", "P012", "P013", "P105"}


def load(text: str | bytes, *, longest: Mapping[str, int] | None = None) -> LoadedText:
    """Read one YAML document. Never raises for what the text holds; faults are problems with a place.

    `longest` says how many items the list under a key of the document may have; reading stops behind them.
    """
    positions = Positions()
    reader = _Reader(positions, longest or {})
    try:
        source = _decode(text)
        positions.lines = re.split(r"\r\n|\r|\n", source)
        _refuse_control_characters(source)
        value = reader.read(source)
    except Refused as refusal:
        return LoadedText(None, positions, (*reader.problems, refusal.problem))
    except YAMLError as fault:
        return LoadedText(None, positions, (*reader.problems, syntax_problem(fault, positions.lines)))
    return LoadedText(value, positions, tuple(reader.problems))


def _decode(text: str | bytes) -> str:
    size = len(text) if isinstance(text, bytes) else len(text.encode(errors="replace"))
    if size > MAX_TEXT_BYTES:
        message = f"The document has {size:,} bytes; at most {MAX_TEXT_BYTES:,} are read."
        raise Refused(
            "P002", message, Mark(1, 1), "Split it into sub-processes, or move data into the input."
        )
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        before = text[: fault.start].decode(errors="replace")
        mark = Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))
        message = f"The byte 0x{text[fault.start]:02x} is not UTF-8."
        raise Refused("P001", message, mark, "Save the file as UTF-8.") from None


_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


def _refuse_control_characters(source: str) -> None:
    found = _CONTROL.search(source)
    if found:
        start = found.start()
        mark = Mark(source.count("\n", 0, start) + 1, start - source.rfind("\n", 0, start))
        message = f"The character U+{ord(found[0]):04X} cannot stand in a document."
        raise Refused("P008", message, mark, 'Remove it, or write it as an escape in a "quoted" text.')


class _Reader:
    """Builds nodes from events, then values and places from nodes."""

    def __init__(self, positions: Positions, longest: Mapping[str, int]) -> None:
        self.problems: list[Problem] = []
        self._positions = positions
        self._longest = longest
        self._anchors: dict[str, Node] = {}
        self._open_anchors: set[str] = set()
        self._count = 0
        self._events: Iterator[Event] = iter(())

    def read(self, source: str) -> object:
        self._events = events(source)
        root: Node | None = None
        for event in self._events:
            if event.kind in ("StreamStart", "DocumentStart", "DocumentEnd", "StreamEnd"):
                continue
            if root is not None:
                message = "A second document begins here."
                raise Refused("P012", message, event.mark, "Put each process into a file of its own.")
            root = self._node(event, 1)
        self._count = 0
        return None if root is None else self._value(root, (), None)

    # Events to nodes

    def _node(self, event: Event, depth: int, most: int = MAX_NODES) -> Node:
        if event.kind == "Alias":
            return self._aliased(event)
        self._count_node(event.mark)
        if event.tagged:
            self._problem(
                "P006", "A tag has no meaning here.", event.mark, "Remove it; values are typed as written."
            )
        if event.kind == "Scalar":
            return self._anchored(event, self._scalar(event))
        if depth > MAX_NESTING:
            raise too_deep(event.mark)
        if event.anchor:
            self._open_anchors.add(event.anchor)
        content = self._items(depth, most) if event.kind == "SequenceStart" else self._pairs(depth)
        if event.anchor:
            self._open_anchors.discard(event.anchor)
        return self._anchored(event, Node(content, event.mark))

    def _aliased(self, event: Event) -> Node:
        name = event.anchor or ""
        if name in self._open_anchors:
            raise Refused("P007", f"The alias *{name} holds itself.", event.mark, "Write the value out.")
        if name not in self._anchors:
            suggestion = "Quote the value if the `*` is meant as a character."
            raise Refused("P004", f"The alias *{name} has no anchor above it.", event.mark, suggestion)
        return self._anchors[name]

    def _anchored(self, event: Event, node: Node) -> Node:
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _items(self, depth: int, most: int) -> list[Node]:
        items: list[Node] = []
        for event in self._events:
            if event.kind == "SequenceEnd":
                break
            if len(items) == most:
                message = f"This list has more than {most:,} items."
                raise Refused("P105", message, event.mark, "Divide it among several documents.")
            items.append(self._node(event, depth + 1))
        return items

    def _pairs(self, depth: int) -> dict[str, tuple[Node, Node]]:
        pairs: dict[str, tuple[Node, Node]] = {}
        for event in self._events:
            if event.kind == "MappingEnd":
                break
            key = self._node(event, depth + 1)
            most = self._longest.get(str(key.value), MAX_NODES) if depth == 1 else MAX_NODES
            value = self._node(next(self._events), depth + 1, most)
            name = self._key_text(key)
            if name in pairs:
                first = pairs[name][0].mark.line
                message = f"The key `{name}` is given twice, first in line {first}."
                self._problem("P005", message, key.mark, "Keep one of them.")
            elif name is not None:
                pairs[name] = (key, value)
        return pairs

    def _key_text(self, key: Node) -> str | None:
        if isinstance(key.value, str):
            return key.value
        if isinstance(key.value, (list, dict)):
            suggestion = "Quote a text that begins with `{{` or `[`."
            self._problem("P009", "A list or mapping stands where a key must be.", key.mark, suggestion)
            return None
        word = "null" if key.value is None else str(key.value).lower()
        self._problem("P009", f"The key `{word}` is not text.", key.mark, f'Write `"{word}":`.')
        return word

    def _scalar(self, event: Event) -> Node:
        value: object = event.value
        unreadable = False
        if event.plain and event.style in (None, ""):
            try:
                value = plain_value(event.value)
            except ValueError as fault:
                self._problem("P010", str(fault), event.mark, "Quote it if it is meant as text.")
                value, unreadable = None, True
        elif event.style == '"':
            _refuse_half_characters(event)
        return Node(value, event.mark, event.style, unreadable, event.end)

    # Nodes to values

    def _value(self, node: Node, path: Path, key: Mark | None) -> object:
        self._count_node(node.mark)
        if len(path) > MAX_NESTING:
            raise too_deep(node.mark)
        self._positions.add(path, node, key)
        content = node.value
        if isinstance(content, list):
            items = cast("list[Node]", content)
            return [self._value(item, (*path, index), None) for index, item in enumerate(items)]
        if isinstance(content, dict):
            pairs = cast("Mapping[str, tuple[Node, Node]]", content)
            return {name: self._value(item, (*path, name), at.mark) for name, (at, item) in pairs.items()}
        return content

    def _count_node(self, mark: Mark) -> None:
        self._count += 1
        if self._count > MAX_NODES:
            message = f"The document stands for more than {MAX_NODES:,} values."
            raise Refused("P007", message, mark, "Use fewer aliases; move data into the input.")

    def _problem(self, code: str, message: str, mark: Mark, suggestion: str) -> None:
        if len(self.problems) == MAX_TEXT_PROBLEMS:
            message = f"There are more than {MAX_TEXT_PROBLEMS} problems in the text; the rest is not read."
            raise Refused("P013", message, mark, "Correct the others first.")
        self.problems.append(Problem(code, "error", message, *mark, suggestion))


_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


def _refuse_half_characters(event: Event) -> None:
    """Refuse an escape such as `\\ud800` in a quoted text: it has no UTF-8, so nothing could store it."""
    found = _HALF_CHARACTER.search(event.value)
    if found:
        message = f"The escape of U+{ord(found[0]):04X} is half a character."
        raise Refused("P008", message, event.mark, "Write the character itself, or `\\U` with eight digits.")


_WORDS: dict[str, object] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def plain_value(text: str) -> object:
    """The value of an unquoted scalar by the core schema of YAML 1.2: null, booleans, numbers, else text.

    Raises:
        ValueError: a number that is not finite or longer than `MAX_NUMBER_DIGITS`.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "-+.0123456789":
        return text
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"The number {text} is not finite; JSON has no such value.")
    is_number = _INTEGER.fullmatch(text) or _BASED.fullmatch(text) or _FLOAT.fullmatch(text)
    if is_number and len(text) > MAX_NUMBER_DIGITS:
        raise ValueError(f"A number of more than {MAX_NUMBER_DIGITS} digits.")
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(f"The number {text} is too large.")
        return number
    return text
