"""Comments of a YAML text: which there are, and how far those on lines of their own are indented."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from process_engine.definition.yaml_events import events

# What a line of comment belongs to, told by its indentation.
Side = Literal["next", "inside", "before"]


class _Line(NamedTuple):
    """A line outside of texts that span several: how far it is indented, and where its content begins behind
    the dashes of lists; `comment` where it is nothing else."""

    number: int
    indent: int
    content: int
    comment: str | None


def comments(source: str) -> Iterator[str]:
    """Every comment of a text that can be read, without its `#` and what surrounds it."""
    for line in _masked(source):
        found = re.search(r"(?:^|\s)#(.*)", line)
        if found is not None and found[1].strip():
            yield found[1].strip()


def aligned(source: str, made: str) -> str:
    """The text `made` of `source`, where comments on lines of their own stand with what they stood with."""
    lines = made.split("\n")
    before, after = list(_lines(source)), list(_lines(made))
    sides = _sides(before)
    for place, line in enumerate(after):
        if line.comment is None:
            continue
        known = sides.get(line.comment)
        side = known.pop(0) if known else "next"
        lines[line.number] = " " * _column(after, place, side) + lines[line.number].lstrip()
    return "\n".join(lines)


def _sides(lines: Sequence[_Line]) -> dict[str, list[Side]]:
    """What each comment belongs to, in order; those with the same words one after the other."""
    found: dict[str, list[Side]] = {}
    for place, line in enumerate(lines):
        if line.comment is not None:
            found.setdefault(line.comment, []).append(_side(lines, place))
    return found


def _side(lines: Sequence[_Line], place: int) -> Side:
    before, behind = _around(lines, place)
    here = lines[place].indent
    if before is None or (behind is not None and behind.indent == here):
        return "next"
    return "inside" if here == before.content else "before" if here == before.indent else "next"


def _column(lines: Sequence[_Line], place: int, side: Side) -> int:
    before, behind = _around(lines, place)
    if side == "next" or before is None:
        return behind.indent if behind is not None else 0
    return before.content if side == "inside" else before.indent


def _around(lines: Sequence[_Line], place: int) -> tuple[_Line | None, _Line | None]:
    """The nearest lines before and behind that are no comments."""
    before = next((line for line in reversed(lines[:place]) if line.comment is None), None)
    behind = next((line for line in lines[place + 1 :] if line.comment is None), None)
    return before, behind


def _lines(source: str) -> Iterator[_Line]:
    for number, line in enumerate(_masked(source)):
        bare = line.lstrip(" ")
        if not bare or bare.startswith(_WITHIN):
            continue
        indent = len(line) - len(bare)
        dashes = re.match(r"(?:- +)*", bare)
        comment = bare[1:].strip() if bare.startswith("#") else None
        yield _Line(number, indent, indent + (dashes.end() if dashes is not None else 0), comment)


# Stands for what lies within a text: no line that can be told apart begins with it.
_WITHIN = "\x00"


def _masked(source: str) -> list[str]:
    """The lines, every scalar blanked out: a `#` that is left begins a comment."""
    lines = source.split("\n")
    for event in events(source):
        if event.kind != "Scalar":
            continue
        (first, begin), (last, end) = event.mark, event.end
        is_block = event.style in ("|", ">")
        for number in range(first - 1, min(last, len(lines))):
            start = begin - 1 if number == first - 1 else 0
            stop = end - 1 if number == last - 1 else len(lines[number])
            if is_block and number == first - 1:
                # Behind the sign of a block there may be a comment.
                stop = begin
            blank = "x" if number == first - 1 else _WITHIN
            lines[number] = lines[number][:start] + blank * (stop - start) + lines[number][stop:]
    return lines
