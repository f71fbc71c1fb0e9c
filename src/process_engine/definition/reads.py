"""What an expression reads, found without evaluating it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import msgspec

from process_engine.definition.nodes import Filter, Index, Node, Path, children
from process_engine.definition.paths import Segments, format_path


class Read(msgspec.Struct, frozen=True):
    """One place an expression reads.

    `step` and `field` are set exactly where `root` is "steps" (`steps.x` alone reads its output); `path` is
    what follows. `has_default`: the read stands directly under `| default(…)`. `offset` is where it begins in
    the expression or the string; `location` is that string's path inside a template's value.
    """

    root: str
    step: str | None
    field: str | None
    path: Segments
    offset: int
    has_default: bool
    location: Segments = ()

    @property
    def text(self) -> str:
        """The path as one would write it."""
        named = () if self.step is None or self.field is None else (self.step, self.field)
        return format_path(self.root, (*named, *self.path))


def reads_of(node: Node, location: Segments = ()) -> Iterator[Read]:
    """What the tree reads, in the order of the source."""
    pending = [(node, False)]
    while pending:
        current, has_default = pending.pop()
        if isinstance(current, Path):
            yield _read(current, has_default, location)
            continue
        below = children(current)
        lenient = _lenient_children(current, has_default)
        pending.extend((child, position in lenient) for position, child in reversed(list(enumerate(below))))


def _lenient_children(node: Node, has_default: bool) -> tuple[int, ...]:
    """Which children may be missing without a fault: those directly under a `default`."""
    if isinstance(node, Filter) and node.name == "default":
        return (0, 1) if has_default else (0,)
    return (0,) if isinstance(node, Index) and has_default else ()


def _read(path: Path, has_default: bool, location: Segments) -> Read:
    if path.root != "steps":
        return Read(path.root, None, None, path.segments, path.offset, has_default, location)
    step, field, rest = step_read(path)
    return Read("steps", step, field, rest, path.offset, has_default, location)


def step_read(path: Path) -> tuple[str, str, Segments]:
    """Step, field and what follows; the parser has made sure that they are texts."""
    step, field, *rest = path.segments if len(path.segments) > 1 else (*path.segments, "output")
    return cast("str", step), cast("str", field), tuple(rest)
