"""Which routes of a gateway can be taken, found by trying every kind of value that its conditions tell apart.

Conditions that compare paths with literals only change their outcome at these literals. So it is enough to
try each literal, one value between each two and beyond them, one text that is none of them, and the other
plain values. Conditions that do more are taken for neither true nor false: they hide nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from process_engine.definition.checking.constants import constant_of
from process_engine.definition.checking.context import Context
from process_engine.definition.checking.types import BOOLEAN, NUMBER, TEXT, place_of
from process_engine.definition.document import Gateway
from process_engine.definition.expressions import ExpressionSyntaxError, MappingScope, parse_condition
from process_engine.definition.syntax import (
    Compare,
    ListNode,
    Literal,
    Logic,
    Negate,
    Node,
    Not,
    Path,
    children,
    format_path,
    walk,
)
from process_engine.errors import ExpressionError

# Some ten paths with three values each; a table beyond that is not looked into.
MAX_TRIALS = 4096
_PLAIN_OPERATORS = ("==", "!=", "<", "<=", ">", ">=", "in", "not in")
_OTHER_TEXT = "\uffff another text"

Values = Mapping[Path, object]


class RouteTable:
    """The outcomes of a gateway's conditions over all values that matter."""

    def __init__(self, context: Context, gateway: Gateway) -> None:
        self._context = context
        self._gateway = gateway
        self._conditions = [route.condition for route in gateway.routes]
        self._plain = [_is_plain(condition) for condition in self._conditions]

    def never_taken(self) -> dict[int, str]:
        """The routes that are never taken, by index, with the reason."""
        exclusive = self._gateway.gateway_type == "exclusive"
        found = dict(self._never_by_text(exclusive))
        taken = self._taken(exclusive) if len(found) < len(self._conditions) else None
        if taken is not None:
            for number, plain in enumerate(self._plain):
                if plain and number not in found and number not in taken:
                    found[number] = (
                        "the routes before it take everything" if exclusive else "it is always false"
                    )
        return found

    def always_matches(self) -> bool:
        """Whether some route holds whatever is read; False where that is not known."""
        if not all(self._plain):
            return False
        trials = self._trials()
        return trials is not None and all(self._first(values) is not None for values in trials)

    def _never_by_text(self, exclusive: bool) -> Iterator[tuple[int, str]]:
        seen: set[str] = set()
        closed = False
        for number, condition in enumerate(self._conditions):
            holds = constant_of(condition)
            if closed:
                yield number, "a route before it always holds"
            elif holds is False:
                yield number, "its condition is always false"
            elif exclusive and condition in seen:
                yield number, "a route before it has the same condition"
            closed = closed or (exclusive and holds is True)
            seen.add(condition or "true")

    def _taken(self, exclusive: bool) -> set[int] | None:
        trials = self._trials()
        if trials is None:
            return None
        taken: set[int] = set()
        for values in trials:
            if exclusive:
                first = self._first(values)
                taken |= {first} if first is not None else set()
            else:
                taken |= {n for n in range(len(self._plain)) if self._outcome(n, values)}
        return taken

    def _first(self, values: Values) -> int | None:
        """The first plain route that holds; -1 where a condition before it fails, and the gateway with it."""
        for number, plain in enumerate(self._plain):
            outcome = self._outcome(number, values) if plain else False
            if outcome is None:
                return -1
            if outcome:
                return number
        return None

    def _outcome(self, number: int, values: Values) -> bool | None:
        condition = self._conditions[number]
        if condition is None:
            return True
        if not self._plain[number]:
            return False
        try:
            return parse_condition(condition).evaluate(_scope(values)) is True
        except ExpressionError:
            return None

    def _trials(self) -> list[Values] | None:
        """Every combination of the values to try, None where there are too many."""
        candidates: dict[str, tuple[Path, list[object]]] = {}
        for condition, plain in zip(self._conditions, self._plain, strict=True):
            if plain and condition is not None:
                self._gather(parse_condition(condition).node, candidates)
        paths = [path for path, _ in candidates.values()]
        choices = [self._points(path, literals) for path, literals in candidates.values()]
        count = 1
        for points in choices:
            count *= len(points)
        if count > MAX_TRIALS or _overlap(paths):
            return None
        return [dict(zip(paths, points, strict=True)) for points in itertools.product(*choices)]

    def _gather(self, root: Node, candidates: dict[str, tuple[Path, list[object]]]) -> None:
        literals = [value for node in walk(root) for value in _literal_values(node)]
        for node in walk(root):
            if isinstance(node, Path):
                entry = candidates.setdefault(format_path(node.root, node.segments), (node, []))
                entry[1].extend(literals)

    def _points(self, path: Path, literals: Sequence[object]) -> list[object]:
        place = place_of(self._context, path)
        # Outputs of steps are null where the step was skipped, whatever their schema says.
        points: list[object] = (
            [] if place.present and path.root == "input" and len(path.segments) == 1 else [None]
        )
        if place.choices is not None:
            return [*place.choices, *points]
        if place.kind in (None, BOOLEAN):
            points += [True, False]
        if place.kind in (None, TEXT):
            points += [*_texts(literals), _OTHER_TEXT]
        if place.kind in (None, NUMBER):
            points += _numbers(literals)
        return points


def _literal_values(node: Node) -> Iterator[object]:
    match node:
        case Literal():
            yield node.value
        case Negate(Literal(int() | float() as number)):
            yield -number
        case _:
            return


def _texts(literals: Sequence[object]) -> list[object]:
    """The texts, one between each two, and one before all of them."""
    texts = sorted({value for value in literals if isinstance(value, str)})
    return list(dict.fromkeys(["", *texts, *(f"{text}\x00" for text in texts)]))


def _numbers(literals: Sequence[object]) -> list[object]:
    """The numbers, one between each two, and one beyond each end."""
    given = {value for value in literals if isinstance(value, (int, float)) and not isinstance(value, bool)}
    numbers = sorted(given) or [0]
    between = [(low + high) / 2 for low, high in itertools.pairwise(numbers)]
    return [numbers[0] - 1, *numbers, *between, numbers[-1] + 1]


def _is_plain(condition: str | None) -> bool:
    """Whether a condition does no more than compare paths with literals."""
    if condition is None:
        return True
    try:
        return _plain_logic(parse_condition(condition).node)
    except ExpressionSyntaxError:
        return False


def _plain_logic(node: Node) -> bool:
    match node:
        case Logic() | Not():
            return all(_plain_logic(operand) for operand in children(node))
        case Compare():
            sides = (node.left, node.right)
            return (
                node.op in _PLAIN_OPERATORS
                and all(_plain_value(side) for side in sides)
                and _has_literal(node)
            )
        case Literal():
            return True
        case Path():
            return _plain_value(node)
        case _:
            return False


def _has_literal(node: Compare) -> bool:
    return not (isinstance(node.left, Path) and isinstance(node.right, Path))


def _plain_value(node: Node) -> bool:
    match node:
        case Literal():
            return True
        case Negate():
            return any(True for _ in _literal_values(node))
        case ListNode():
            return all(isinstance(item, Literal) for item in node.items)
        case Path():
            return all(isinstance(segment, str) for segment in node.segments) and bool(node.segments)
        case _:
            return False


def _overlap(paths: Sequence[Path]) -> bool:
    """Whether one path leads through another, so that their values are not independent."""
    spelled = [(path.root, *path.segments) for path in paths]
    return any(a != b and a == b[: len(a)] for a in spelled for b in spelled)


def _scope(values: Values) -> MappingScope:
    root: dict[str, object] = {}
    for path, value in values.items():
        segments = cast("tuple[str, ...]", path.segments)
        if path.root == "steps" and len(segments) == 1:
            segments = (*segments, "output")
        here = root.setdefault(path.root, {})
        for segment in segments[:-1]:
            here = cast("dict[str, object]", here).setdefault(segment, {})
        cast("dict[str, object]", here)[segments[-1]] = value
    return MappingScope(root)
