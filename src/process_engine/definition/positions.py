"""Where each value of a document stands in its text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, cast

Path = tuple[str | int, ...]


class Mark(NamedTuple):
    """A place in the text, both counted from 1; a column is a character."""

    line: int
    column: int


@dataclass(slots=True)
class Node:
    """A scalar, list or mapping of the text; an alias is the node itself.

    Lists hold nodes, mappings hold pairs of nodes by the text of the key.
    """

    value: object
    mark: Mark
    style: str | None = None
    unreadable: bool = False
    end: Mark | None = None


@dataclass(slots=True)
class _Place:
    value: Node
    key: Mark | None = None


@dataclass
class Positions:
    """Where each value stands, by its path; an unknown path leads to the nearest part around it."""

    lines: list[str] = field(default_factory=list[str])
    _places: dict[Path, _Place] = field(default_factory=dict[Path, _Place])
    _moved: dict[Path, Path] = field(default_factory=dict[Path, Path])

    def add(self, path: Path, value: object, key: Mark | None) -> None:
        """Record a node of the text; for `load` only."""
        self._places[path] = _Place(cast("Node", value), key)

    @property
    def unreadable(self) -> set[Path]:
        """The values that stand there but could not be read; their faults have been told."""
        return {path for path, place in self._places.items() if place.value.unreadable}

    def move(self, path: Path, origin: Path) -> None:
        """Let `path`, which stands nowhere in the text, and what is below it lead to `origin`."""
        self._moved[path] = origin

    def of_value(self, path: Path) -> Mark:
        """The first character of the value; of its key where it is empty."""
        place = self._find(path)[0]
        return place.key if place.key is not None and place.value.value is None else place.value.mark

    def of_key(self, path: Path) -> Mark:
        """The first character of the key; of the value where it has none (items, the whole)."""
        place, exact = self._find(path)
        return place.key or place.value.mark if exact else place.value.mark

    def text_at(self, path: Path) -> str | None:
        """The text that stands exactly there, None if it is no text."""
        place, exact = self._find(path)
        return place.value.value if exact and isinstance(place.value.value, str) else None

    def within(self, path: Path, offset: int) -> Mark:
        """The character at `offset` of a text; the start of the text where its spelling hides that."""
        place, exact = self._find(path)
        node = place.value
        if not exact or not isinstance(node.value, str) or not 0 <= offset <= len(node.value):
            return node.mark
        found = (
            _in_block(self.lines, node, offset) if node.style == "|" else _in_line(self.lines, node, offset)
        )
        return found or node.mark

    def _find(self, path: Path) -> tuple[_Place, bool]:
        here = self._origin(path)
        for length in range(len(here), -1, -1):
            place = self._places.get(here[:length])
            if place is not None:
                return place, length == len(here)
        return _Place(Node(None, Mark(1, 1))), False

    def _origin(self, path: Path) -> Path:
        for length in range(len(path), 0, -1):
            origin = self._moved.get(path[:length])
            if origin is not None:
                return self._origin(origin + path[length:])
        return path


def _in_line(lines: list[str], node: Node, offset: int) -> Mark | None:
    if node.end is None or node.end.line != node.mark.line:
        return None
    quotes = 1 if node.style in ("'", '"') else 0
    start = node.mark.column - 1 + quotes
    text = cast("str", node.value)
    if lines[node.mark.line - 1][start : start + len(text)] != text:
        return None
    return Mark(node.mark.line, start + offset + 1)


def _in_block(lines: list[str], node: Node, offset: int) -> Mark | None:
    before = cast("str", node.value)[:offset]
    row = node.mark.line + before.count("\n")
    text = cast("str", node.value).split("\n")[before.count("\n")]
    if row >= len(lines) or not lines[row].endswith(text):
        return None
    indent = len(lines[row]) - len(text)
    return Mark(row + 1, indent + len(before) - before.rfind("\n"))
