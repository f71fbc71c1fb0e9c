"""The syntax tree of an expression.

Every node knows its `offset` into the whole source; of an operation that is where its operator stands.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from process_engine.definition.paths import Segments


class Literal(msgspec.Struct, frozen=True):
    """A number, text, boolean or null as written."""

    value: bool | int | float | str | None
    offset: int


class Path(msgspec.Struct, frozen=True):
    """A root and what is read below it: `steps.review.output.score` is `steps` and three segments."""

    root: str
    segments: Segments
    offset: int


class Index(msgspec.Struct, frozen=True):
    """A field or item of something that is no plain path: `input.prices[item.id]`, `(…).name`."""

    operand: Node
    key: Node
    offset: int


class Compare(msgspec.Struct, frozen=True):
    """One comparison: `== != < <= > >= in`, `not in`, `contains` or `matches` (`right` is then a literal)."""

    op: str
    left: Node
    right: Node
    offset: int


class Logic(msgspec.Struct, frozen=True):
    """`and` or `or` over two or more operands; the offset is that of the first operator."""

    op: str
    operands: tuple[Node, ...]
    offset: int


class Not(msgspec.Struct, frozen=True):
    """The opposite of a boolean."""

    operand: Node
    offset: int


class Arithmetic(msgspec.Struct, frozen=True):
    """`+ - * / %`; `+` also joins texts."""

    op: str
    left: Node
    right: Node
    offset: int


class Negate(msgspec.Struct, frozen=True):
    """Unary minus."""

    operand: Node
    offset: int


class Filter(msgspec.Struct, frozen=True):
    """`operand | name(args)`; name and number of arguments are known to be right."""

    name: str
    operand: Node
    args: tuple[Node, ...]
    offset: int


class ListNode(msgspec.Struct, frozen=True):
    """`[a, b]`."""

    items: tuple[Node, ...]
    offset: int


class ObjectNode(msgspec.Struct, frozen=True):
    """`{"a": b}`; keys are literal and differ."""

    members: tuple[tuple[str, Node], ...]
    offset: int


class Hole(msgspec.Struct, frozen=True):
    """One `{{ node }}` of a text; `source[offset:end]` is all of it, braces included."""

    node: Node
    offset: int
    end: int


class TextNode(msgspec.Struct, frozen=True):
    """A text with holes; what stands between them is literal."""

    parts: tuple[str | Hole, ...]
    offset: int


Node = (
    Literal
    | Path
    | Index
    | Compare
    | Logic
    | Not
    | Arithmetic
    | Negate
    | Filter
    | ListNode
    | ObjectNode
    | TextNode
)


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below, in the order of the source."""
    match node:
        case Literal() | Path():
            return ()
        case Index():
            return (node.operand, node.key)
        case Compare() | Arithmetic():
            return (node.left, node.right)
        case Logic():
            return node.operands
        case Not() | Negate():
            return (node.operand,)
        case Filter():
            return (node.operand, *node.args)
        case ListNode():
            return node.items
        case ObjectNode():
            return tuple(member for _, member in node.members)
        case TextNode():
            return tuple(part.node for part in node.parts if isinstance(part, Hole))


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it, each before what it contains."""
    pending = [node]
    while pending:
        current = pending.pop()
        yield current
        pending.extend(reversed(children(current)))


def first_below(node: Node, depth: int) -> Node | None:
    """The first node that stands `depth` levels below this one; None where the tree is not that deep."""
    level = [node]
    for _ in range(depth):
        level = [below for current in level for below in children(current)]
        if not level:
            return None
    return level[0]
