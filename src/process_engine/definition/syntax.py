"""The syntax of expressions: source text in, syntax tree out.

The same parser reads three surroundings: a bare expression (braces count as parentheses), a condition
(besides, a quoted text that holds `{{ }}` is a template), and what stands between the braces of a template.
"""

from __future__ import annotations

from process_engine.definition.nodes import (
    Arithmetic,
    Compare,
    Filter,
    Hole,
    Index,
    ListNode,
    Literal,
    Logic,
    Negate,
    Node,
    Not,
    ObjectNode,
    Path,
    TextNode,
    children,
    first_below,
    walk,
)
from process_engine.definition.parser import MAX_DEPTH, MAX_NESTING, Parser, parse_segments
from process_engine.definition.paths import ROOTS, STEP_FIELDS, format_path
from process_engine.definition.tokens import MAX_SOURCE_CHARACTERS, ExpressionSyntaxError, check_text

__all__ = [
    "MAX_DEPTH",
    "MAX_HOLES",
    "MAX_NESTING",
    "MAX_SOURCE_CHARACTERS",
    "MAX_TEMPLATE_CHARACTERS",
    "ROOTS",
    "STEP_FIELDS",
    "Arithmetic",
    "Compare",
    "ExpressionSyntaxError",
    "Filter",
    "Hole",
    "Index",
    "ListNode",
    "Literal",
    "Logic",
    "Negate",
    "Node",
    "Not",
    "ObjectNode",
    "Path",
    "TextNode",
    "children",
    "format_path",
    "parse",
    "parse_segments",
    "parse_template",
    "walk",
]

# Templates hold prompts around their expressions; a whole document has at most 1 MiB.
MAX_TEMPLATE_CHARACTERS = 1024 * 1024
# Each takes some 40 microseconds to compile: at most half a second for one text.
MAX_HOLES = 10_000


def parse(source: str, *, condition: bool = False) -> Node:
    """The tree of a whole expression.

    Raises:
        ExpressionSyntaxError: nothing else is ever raised, whatever the text.
    """
    check_text(source, MAX_SOURCE_CHARACTERS, "an expression")
    parser = Parser(source, 0, len(source), read_holes=_holes if condition else None)
    return _of_bounded_depth(parser.whole(), source)


def parse_template(source: str) -> TextNode:
    """The parts of a text with `{{ … }}` in it; without any, its only part is the text.

    Raises:
        ExpressionSyntaxError: with `offset` into this text.
    """
    check_text(source, MAX_TEMPLATE_CHARACTERS, "a text with expressions")
    return _holes(source, 0, len(source), 0)


def _of_bounded_depth(node: Node, source: str) -> Node:
    """The node; refused where operators in a row or brackets make the tree deeper than the evaluator goes."""
    too_deep = first_below(node, MAX_DEPTH)
    if too_deep is None:
        return node
    raise ExpressionSyntaxError(
        f"more than {MAX_DEPTH} operations within one another",
        source=source,
        offset=too_deep.offset,
        suggestion="Split the expression, or compute the value in a step of its own.",
    )


def _holes(source: str, start: int, end: int, nesting: int) -> TextNode:
    """The parts of `source[start:end]`, its literal parts exactly as they stand there."""
    parts: list[str | Hole] = []
    position, holes = start, 0
    while (opening := source.find("{{", position, end)) >= 0:
        holes += 1
        if holes > MAX_HOLES:
            raise _too_many_holes(source, opening)
        if opening > position:
            parts.append(source[position:opening])
        hole = _hole(source, opening, end, nesting)
        parts.append(hole)
        position = hole.end
    if position < end or not parts:
        parts.append(source[position:end])
    return TextNode(tuple(parts), start)


def _too_many_holes(source: str, offset: int) -> ExpressionSyntaxError:
    return ExpressionSyntaxError(
        f"one text holds at most {MAX_HOLES:,} `{{{{ }}}}`",
        source=source,
        offset=offset,
        suggestion="Divide the text, or write the whole list in one `{{ … | join }}`.",
    )


def _hole(source: str, opening: int, end: int, nesting: int) -> Hole:
    limit = min(end, opening + MAX_SOURCE_CHARACTERS)
    parser = Parser(source, opening + 2, limit, hole=opening, nesting=nesting)
    hole = parser.in_braces(opening)
    _of_bounded_depth(hole.node, source)
    return hole
