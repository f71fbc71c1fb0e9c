"""Rules about the kinds of values that expressions compare, order and add."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from process_engine.definition.checking.context import Context
from process_engine.definition.checking.types import BOOLEAN, LIST, NULL, NUMBER, TEXT, of_value, place_of
from process_engine.definition.problems import Level, Problem, closest
from process_engine.definition.syntax import (
    Arithmetic,
    Compare,
    ListNode,
    Literal,
    Logic,
    Negate,
    Node,
    Not,
    TextNode,
    walk,
)

_ORDERING = ("<", "<=", ">", ">=")
_ADVICE = {TEXT: "Use `| number` to make a number of a text.", LIST: "Use `| length` for how many there are."}


class _Finding(NamedTuple):
    level: Level
    offset: int
    message: str
    advice: str


def types(context: Context) -> Iterator[Problem]:
    """P307: an operator gets values that it cannot work with, or that can never be equal."""
    for site in context.sites:
        for node in (below for root in site.nodes for below in walk(root)):
            found = _fault(context, node)
            if found is not None:
                level, offset, message, advice = found
                yield context.problem_in("P307", level, site, offset, message, advice)


def condition_kinds(context: Context) -> Iterator[Problem]:
    """P311: a condition that is neither true nor false, whatever it reads."""
    for site in context.sites:
        if site.kind != "condition" or not site.nodes:
            continue
        node = site.nodes[0]
        kind = place_of(context, node).kind
        if kind is None or kind == BOOLEAN or (kind == TEXT and not isinstance(node, Literal)):
            continue
        if (
            isinstance(node, Literal)
            and isinstance(node.value, str)
            and node.value.lower() in ("true", "false")
        ):
            continue
        message = f"A condition must be true or false; this is {kind}."
        yield context.problem_in("P311", "error", site, node.offset, message, "Compare it with something.")


def _fault(context: Context, node: Node) -> _Finding | None:
    match node:
        case Compare() if node.op in _ORDERING:
            return _ordering(context, node)
        case Compare() if node.op in ("==", "!="):
            return _equality(context, node, node.left, node.right)
        case Compare() if node.op in ("in", "not in") and isinstance(node.right, ListNode):
            return _membership(context, node, node.right)
        case Arithmetic():
            return _arithmetic(context, node)
        case Logic():
            return _logic(context, node.op, node.operands)
        case Not():
            return _logic(context, "not", (node.operand,))
        case Negate():
            return _number_only(context, node, "-", node.operand)
        case _:
            return None


def _ordering(context: Context, node: Compare) -> _Finding | None:
    left, right = place_of(context, node.left).kind, place_of(context, node.right).kind
    for kind, other in ((left, right), (right, left)):
        if kind is not None and kind not in (NUMBER, TEXT):
            message = f"`{node.op}` orders two numbers or two texts, not {kind}."
            return _Finding("error", node.offset, message, _ADVICE.get(kind, "Compare by `==`."))
        if kind == TEXT and other == NUMBER:
            message = f"`{node.op}` cannot order a text and a number."
            return _Finding("error", node.offset, message, _ADVICE[TEXT])
    return None


def _equality(context: Context, node: Compare, left: Node, right: Node) -> _Finding | None:
    places = place_of(context, left), place_of(context, right)
    kinds = {place.kind for place in places}
    if None not in kinds and NULL not in kinds and len(kinds) == 2:
        message = f"{_capital(str(places[0].kind))} never equals {places[1].kind}."
        return _Finding("warning", node.offset, message, _equality_advice(kinds))
    for place, other in ((places[0], right), (places[1], left)):
        if place.choices is not None and isinstance(other, Literal) and other.value is not None:
            return _not_a_choice(place.choices, other)
    return None


def _equality_advice(kinds: set[str | None]) -> str:
    if BOOLEAN in kinds:
        return "Write `true` or `false` without quotes."
    return _ADVICE[TEXT] if kinds == {TEXT, NUMBER} else ""


def _not_a_choice(choices: tuple[object, ...], literal: Literal) -> _Finding | None:
    same = [
        choice
        for choice in choices
        if choice == literal.value and of_value(choice) == of_value(literal.value)
    ]
    if same:
        return None
    words = [str(choice) for choice in choices]
    near = closest(str(literal.value), words)
    shown = ", ".join(f"`{word}`" for word in words[:8])
    message = f"`{literal.value}` is not among the allowed values {shown}."
    return _Finding("warning", literal.offset, message, f"Did you mean `{near}`?" if near else "")


def _membership(context: Context, node: Compare, members: ListNode) -> _Finding | None:
    place = place_of(context, node.left)
    for member in members.items:
        if place.choices is not None and isinstance(member, Literal):
            found = _not_a_choice(place.choices, member)
            if found is not None:
                return found
    return None


def _arithmetic(context: Context, node: Arithmetic) -> _Finding | None:
    kinds = [place_of(context, side).kind for side in (node.left, node.right)]
    if node.op == "+" and NUMBER not in kinds and set(kinds) <= {TEXT, None}:
        return None
    for side, kind in zip((node.left, node.right), kinds, strict=True):
        if kind is not None and kind != NUMBER:
            wanted = "two numbers or two texts" if node.op == "+" else "two numbers"
            advice = _ADVICE.get(kind, "")
            offset = side.offset if not isinstance(side, TextNode) else node.offset
            return _Finding("error", offset, f"`{node.op}` needs {wanted}; this is {kind}.", advice)
    return None


def _number_only(context: Context, node: Negate, sign: str, operand: Node) -> _Finding | None:
    kind = place_of(context, operand).kind
    if kind is None or kind == NUMBER:
        return None
    return _Finding("error", node.offset, f"`{sign}` needs a number; this is {kind}.", _ADVICE.get(kind, ""))


def _logic(context: Context, word: str, operands: tuple[Node, ...]) -> _Finding | None:
    for operand in operands:
        kind = place_of(context, operand).kind
        if kind is not None and kind != BOOLEAN:
            message = f"`{word}` needs true or false; this is {kind}."
            return _Finding("error", operand.offset, message, "Compare it with something.")
    return None


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
