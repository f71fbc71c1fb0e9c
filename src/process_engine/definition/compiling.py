"""Nodes become closures, and a closure asks a `Scope` for the values it reads, nothing else.

Whatever has no value fails with `ExpressionError`; an exception that the scope itself raises passes through
untouched.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Protocol, cast

from process_engine.definition import arithmetic, filters, patterns, values
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
    walk,
)
from process_engine.definition.paths import Segments, did_you_mean, format_path
from process_engine.definition.reads import step_read
from process_engine.definition.syntax import parse_segments
from process_engine.definition.values import MISSING, ValueFault
from process_engine.errors import ExpressionError

# Definitions have at most a few hundred expressions; a service runs some dozens of definitions at a time.
CACHED_SOURCES = 2048
# A run-time error shows the text around an expression only while a person can take it in.
MAX_SHOWN_CHARACTERS = 300


class Scope(Protocol):
    """Where an expression's values come from: JSON values, or decimals, or `MISSING`.

    May raise what it likes (a value that must be loaded first, say): it reaches the caller of `evaluate`.
    """

    def root(self, name: str) -> object:
        """The value of a root other than `steps`; `MISSING` if it has none here."""
        ...

    def step(self, step_id: str, field: str) -> object:
        """The value of `steps.<step_id>.<field>`: `MISSING` if there is none yet, None if it was skipped."""
        ...


Run = Callable[[Scope], object]


class Compiler:
    """Turns nodes into closures whose errors name the source.

    `source` is what errors show; `shift` is where it begins in the text that the nodes' offsets count in.
    """

    def __init__(self, source: str, shift: int = 0) -> None:
        self._source = source
        self._shift = shift

    def error(self, message: str, node: Node, offset: int | None = None) -> ExpressionError:
        """The error to raise for the node; its path is the first one the node reads."""
        path = next((part for part in walk(node) if isinstance(part, Path)), None)
        return ExpressionError(
            message,
            expression=self._source,
            path=format_path(path.root, path.segments) if path else "",
            position=(node.offset if offset is None else offset) - self._shift,
        )

    # Values

    def value(self, node: Node) -> Run:
        """The closure that gives the node's value, and fails where it is missing."""
        match node:
            case Literal():
                return constant(node.value)
            case Path() | Index():
                return self._required(node)
            case Filter():
                return self._required(node) if node.name == "default" else self._filter(node)
            case Compare():
                return self._compare(node)
            case Logic():
                return self._logic(node)
            case Not():
                operand = self._boolean(node.operand, "not")
                return lambda scope: not operand(scope)
            case Arithmetic():
                return self._guarded(
                    node, arithmetic.ARITHMETIC[node.op], [self.value(node.left), self.value(node.right)]
                )
            case Negate():
                return self._guarded(node, arithmetic.negate, [self.value(node.operand)])
            case ListNode():
                items = [self.value(item) for item in node.items]
                return lambda scope: [item(scope) for item in items]
            case ObjectNode():
                members = [(key, self.value(member)) for key, member in node.members]
                return lambda scope: {key: member(scope) for key, member in members}
            case TextNode():
                return self.text(node)

    def truth(self, node: Node) -> Run:
        """The closure of a whole condition."""
        run = self.value(node)

        def decide(scope: Scope) -> object:
            answer = run(scope)
            if answer is True or answer is False:
                return answer
            if isinstance(answer, str) and answer in ("true", "false"):
                return answer == "true"
            raise self.error(f"a condition must be true or false, not {values.kind(answer)}", node)

        return decide

    # Missing values

    def _required(self, node: Node) -> Run:
        lenient = self._lenient(node)

        def read(scope: Scope) -> object:
            value = lenient(scope)
            if value is MISSING:
                raise self._missing(node, scope)
            return value

        return read

    def _lenient(self, node: Node) -> Run:
        """The closure that gives `MISSING` where there is no value, instead of failing."""
        match node:
            case Path(root="steps"):
                return _step_reader(*step_read(node))
            case Path():
                return _root_reader(node.root, node.segments)
            case Index():
                return self._index(node)
            case Filter(name="default"):
                return self._default(node)
            case _:
                return self.value(node)

    def _index(self, node: Index) -> Run:
        operand, key = self._lenient(node.operand), self.value(node.key)

        def read(scope: Scope) -> object:
            value = operand(scope)
            if value is MISSING:
                return MISSING
            wanted = key(scope)
            if isinstance(wanted, bool) or not isinstance(wanted, (str, int)):
                raise self.error(f"in `[ ]` stands an integer or a text, not {values.kind(wanted)}", node)
            return values.child(value, wanted)

        return read

    def _default(self, node: Filter) -> Run:
        operand, other = self._lenient(node.operand), self._lenient(node.args[0])

        def choose(scope: Scope) -> object:
            value = operand(scope)
            return other(scope) if value is None or value is MISSING else value

        return choose

    def _missing(self, node: Node, scope: Scope) -> ExpressionError:
        match node:
            case Path():
                return self.error(f"{_explained(node, scope)}; if that may be, use `| default(…)`", node)
            case Filter(name="default"):
                return self._missing(node.args[0], scope)
            case Index() if self._lenient(node.operand)(scope) is MISSING:
                return self._missing(node.operand, scope)
            case _:
                return self.error("there is nothing of that name or index; see `| default(…)`", node)

    # Operations

    def _guarded(self, node: Node, operation: Callable[..., object], operands: list[Run]) -> Run:
        """The closure that works out the operands, then the operation; what it refuses becomes an error."""

        def run(scope: Scope) -> object:
            worked_out = [operand(scope) for operand in operands]
            # Only the operation is guarded: what the scope raises is none of our business.
            try:
                return operation(*worked_out)
            except ValueFault as fault:
                raise self.error(str(fault), node) from None

        return run

    def _filter(self, node: Filter) -> Run:
        operation = functools.partial(filters.apply, node.name)
        arguments = [self.value(argument) for argument in node.args]
        if filters.FILTERS[node.name].takes_path:
            path = cast("str", cast("Literal", node.args[0]).value)
            arguments[0] = constant(parse_segments(path))
        return self._guarded(node, operation, [self.value(node.operand), *arguments])

    def _compare(self, node: Compare) -> Run:
        left = self.value(node.left)
        match node:
            case Compare(op="matches", right=Literal(value=str(pattern))):
                found = functools.partial(patterns.matches, pattern=patterns.compile_pattern(pattern))
                return self._guarded(node, found, [left])
            case _ if _regardless_of_case(node):
                return self._guarded(
                    node, _COMPARISONS[node.op], [_folded(left), _folded(self.value(node.right))]
                )
            case Compare(op="==", right=Literal(value=str(text))):
                return lambda scope: left(scope) == text
            case _:
                return self._guarded(node, _COMPARISONS[node.op], [left, self.value(node.right)])

    def _logic(self, node: Logic) -> Run:
        operands = [self._boolean(operand, node.op) for operand in node.operands]
        decisive = node.op == "or"

        def decide(scope: Scope) -> object:
            for operand in operands:
                if operand(scope) is decisive:
                    return decisive
            return not decisive

        return decide

    def _boolean(self, node: Node, operator: str) -> Run:
        run = self.value(node)
        if isinstance(node, (Compare, Logic, Not)):
            return run

        def check(scope: Scope) -> object:
            value = run(scope)
            if value is True or value is False:
                return value
            raise self.error(f"`{operator}` needs true or false, not {values.kind(value)}", node)

        return check

    # Texts

    def text(self, node: TextNode) -> Run:
        """The closure that puts the values of the holes into the text."""
        writers = [
            constant(part) if isinstance(part, str) else self.around(part).written(part.node)
            for part in node.parts
        ]

        def write(scope: Scope) -> object:
            pieces = [cast("str", writer(scope)) for writer in writers]
            if sum(map(len, pieces)) > values.MAX_TEXT_CHARACTERS:
                raise self.error(
                    f"the text would have more than {values.MAX_TEXT_CHARACTERS:,} characters", node
                )
            return "".join(pieces)

        return write

    def written(self, node: Node) -> Run:
        """The closure that gives the node's value as it stands inside a text."""
        return self._guarded(node, values.as_text, [self.value(node)])

    def around(self, hole: Hole) -> Compiler:
        """The compiler for a hole: errors in a long text show the hole alone."""
        if len(self._source) <= MAX_SHOWN_CHARACTERS:
            return self
        start = hole.offset - self._shift
        return Compiler(self._source[start : hole.end - self._shift], hole.offset)


_COMPARISONS: Mapping[str, Callable[[object, object], bool]] = {
    "==": values.equal,
    "!=": lambda left, right: not values.equal(left, right),
    **{sign: functools.partial(values.compare, sign) for sign in ("<", "<=", ">", ">=")},
    "in": lambda left, right: values.contains(right, left),
    "not in": lambda left, right: not values.contains(right, left),
    "contains": values.contains,
}


def _regardless_of_case(node: Compare) -> bool:
    """Whether a step's status is compared with literal text."""
    if node.op not in ("==", "!=", "in", "not in"):
        return False
    sides = (node.left, node.right)
    return any(_is_status(side) for side in sides) and any(_is_text(side) for side in sides)


def _is_status(node: Node) -> bool:
    while isinstance(node, Filter) and node.name == "default":
        node = node.operand
    return isinstance(node, Path) and node.root == "steps" and step_read(node)[1:] == ("status", ())


def _is_text(node: Node) -> bool:
    if isinstance(node, ListNode):
        return all(_is_text(item) for item in node.items)
    return isinstance(node, Literal) and isinstance(node.value, str)


def _folded(run: Run) -> Run:
    return lambda scope: values.folded(run(scope))


def constant(value: object) -> Run:
    """The closure that gives this value whatever the scope."""
    return lambda _: value


def _step_reader(step: str, field: str, path: Segments) -> Run:
    if not path:
        return lambda scope: scope.step(step, field)
    return lambda scope: values.fetch(scope.step(step, field), path)


def _root_reader(root: str, path: Segments) -> Run:
    if not path:
        return lambda scope: scope.root(root)
    return lambda scope: values.fetch(scope.root(root), path)


def _explained(path: Path, scope: Scope) -> str:
    """Why there is no value at the path: the first segment that leads nowhere."""
    if path.root == "steps":
        step, field, rest = step_read(path)
        base, value = format_path("steps", (step, field)), scope.step(step, field)
    else:
        base, value, rest = path.root, scope.root(path.root), path.segments
    if value is MISSING:
        return f"`{base}` has no value here"
    for position, key in enumerate(rest):
        below = values.child(value, key)
        if below is MISSING:
            return _nothing_below(format_path(base, rest[:position]), value, key)
        value = below
    return f"`{format_path(base, rest)}` has no value"


def _nothing_below(path: str, value: object, key: str | int) -> str:
    if values.is_list(value):
        return f"`{path}` is a list of {len(value)}, and has no `{key}`"
    if not values.is_object(value):
        return f"`{path}` is {values.kind(value)}, and has no `{key}`"
    near = did_you_mean(str(key), [name for name, _ in zip(value, range(100), strict=False)])
    return f"`{path}` has no `{key}`" + (f", but `{near}`" if near else "")
