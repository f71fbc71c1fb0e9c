"""The events of a YAML text, from the library that reads it: in our words, and bounded.

Everything that knows the library is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scanner import Scanner

from process_engine.definition.positions import Mark
from process_engine.definition.problems import Problem

__all__ = ["MAX_NESTING", "Event", "Refused", "YAMLError", "events", "syntax_problem", "too_deep"]

MAX_NESTING = 64


class Refused(Exception):
    """The text cannot be read further."""

    def __init__(self, code: str, message: str, mark: Mark, suggestion: str = "") -> None:
        self.problem = Problem(code, "error", message, *mark, suggestion)


_SYNTAX_WORDS = (
    (
        "cannot start any token",
        "A value cannot begin with this character.",
        "Quote the value; indent by spaces.",
    ),
    ("expected <block end>", "The indentation does not fit the lines above.", "Align it with its siblings."),
    (
        "mapping values are not allowed",
        "A `: ` is not allowed here.",
        "Quote the value, or check the indentation.",
    ),
    (
        "could not find expected ':'",
        "A key without `:`.",
        "Write `key: value`, or quote a text of several lines.",
    ),
    ("found unexpected end of stream", "A quote is not closed.", "Add the closing quote."),
    ("undefined alias", "An alias without anchor.", "Quote the value if the `*` is meant as a character."),
    ("expected ',' or ']'", "A list in brackets is not closed.", "Add `,` or `]`."),
    ("expected the node content", "A value is missing here.", "Close brackets and braces; quote `{{ … }}`."),
    ("expected ',' or '}'", "A mapping in braces is not closed.", "Quote a text that begins with `{{`."),
    ("unhashable", "A key in braces.", "Quote a text that begins with `{{`."),
    ("sequence entries are not allowed", "A `- ` is not allowed here.", "Put the list on lines of its own."),
)


def syntax_problem(fault: YAMLError, lines: Sequence[str]) -> Problem:
    """The library's fault in our words where it is a usual one, else in its own."""
    mark, said = Mark(1, 1), str(fault)
    if isinstance(fault, MarkedYAMLError):
        marked = cast("_LibraryFault", fault)
        said = marked.problem or marked.context or "it cannot be read"
        mark = _mark(marked.problem_mark or marked.context_mark)
    if lines[mark.line - 1 :] and lines[mark.line - 1][mark.column - 1 :].startswith("\t"):
        message = "A tab stands where only spaces can."
        return Problem("P004", "error", message, *mark, "Indent and separate by spaces.")
    for key, message, suggestion in _SYNTAX_WORDS:
        if key in said:
            return Problem("P004", "error", message, *mark, suggestion)
    said = " ".join(said.split())
    return Problem(
        "P004", "error", f"This is not YAML: {said[:200]}.", *mark, "Check quotes and indentation."
    )


class _LibraryMark(Protocol):
    """A place as the library counts it, from 0."""

    line: int
    column: int


class _LibraryFault(Protocol):
    problem: str | None
    context: str | None
    problem_mark: _LibraryMark | None
    context_mark: _LibraryMark | None


class _LibraryEvent(Protocol):
    start_mark: _LibraryMark
    end_mark: _LibraryMark


class _LibraryReader(Protocol):
    def get_mark(self) -> _LibraryMark: ...


def _mark(found: _LibraryMark | None) -> Mark:
    return Mark(1, 1) if found is None else Mark(found.line + 1, found.column + 1)


class Event(NamedTuple):
    """What is used of a parser's event."""

    kind: str
    value: str
    plain: bool
    style: str | None
    anchor: str | None
    tagged: bool
    mark: Mark
    end: Mark


class _BoundedScanner(Scanner):
    """Refuses too many open brackets at once; the library looks ahead behind them, which is quadratic.

    Numbers of the notation itself may be of any length, which the library does not expect.
    """

    def need_more_tokens(self) -> bool:
        """Whether the next token is still unknown; asked ten times a token, so the usual case is short."""
        if self.tokens and not self.possible_simple_keys:  # pyright: ignore[reportUnknownMemberType]
            return False
        return super().need_more_tokens()

    def fetch_flow_collection_start(self, TokenClass: object, to_push: str) -> None:
        if len(cast("list[str]", self.flow_context)) >= MAX_NESTING:  # pyright: ignore[reportUnknownMemberType]
            reader = cast("_LibraryReader", self.reader)  # pyright: ignore[reportUnknownMemberType]
            raise too_deep(_mark(reader.get_mark()))
        super().fetch_flow_collection_start(TokenClass, to_push)  # pyright: ignore[reportUnknownMemberType]

    def scan_flow_scalar_non_spaces(self, double: bool, start_mark: object) -> list[str]:
        try:
            found: object = super().scan_flow_scalar_non_spaces(double, start_mark)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        except (OverflowError, ValueError):
            message, suggestion = "This escape stands for no character.", "The last one is `\\U0010FFFF`."
            raise self._refused(message, suggestion) from None
        return cast("list[str]", found)

    def scan_yaml_directive_number(self, start_mark: object) -> int:
        try:
            found: object = super().scan_yaml_directive_number(start_mark)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        except ValueError:
            raise self._refused("There is no such version of YAML.", "Remove the line.") from None
        return cast("int", found)

    def _refused(self, message: str, suggestion: str) -> Refused:
        reader = cast("_LibraryReader", self.reader)  # pyright: ignore[reportUnknownMemberType]
        return Refused("P004", message, _mark(reader.get_mark()), suggestion)


def too_deep(mark: Mark) -> Refused:
    return Refused("P003", f"More than {MAX_NESTING} levels of nesting.", mark, "Flatten the value.")


def events(source: str) -> Iterator[Event]:
    reader = YAML(typ="safe", pure=True)
    reader.Scanner = _BoundedScanner
    for raw in cast("Iterator[_LibraryEvent]", reader.parse(source)):  # pyright: ignore[reportUnknownMemberType]
        implicit: object = getattr(raw, "implicit", None)
        yield Event(
            type(raw).__name__.removesuffix("Event"),
            getattr(raw, "value", "") or "",
            isinstance(implicit, tuple) and bool(cast("tuple[bool, bool]", implicit)[0]),
            getattr(raw, "style", None),
            getattr(raw, "anchor", None),
            getattr(raw, "ctag", None) is not None,
            _mark(raw.start_mark),
            _mark(raw.end_mark),
        )
