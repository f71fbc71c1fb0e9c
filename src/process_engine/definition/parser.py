"""The grammar itself: a Pratt parser over tokens.

Precedence, rising: `or`; `and`; `not`; one comparison, which does not chain; `+ -`; `* / %`; unary minus;
filters; path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from process_engine.definition.filters import FILTERS
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
from process_engine.definition.paths import PLAIN_SEGMENT, Segments, did_you_mean, misread_step
from process_engine.definition.patterns import compile_pattern
from process_engine.definition.tokens import (
    MAX_SOURCE_CHARACTERS,
    ExpressionSyntaxError,
    Tokens,
    check_text,
)
from process_engine.definition.values import ValueFault, is_number

# Brackets, `not`, unary minus and arguments within one another.
MAX_NESTING = 64
# Levels of the tree, operators in a row included: the evaluator needs one or two of Python's frames a level.
MAX_DEPTH = 128
MAX_NUMBER_CHARACTERS = 100

_POWERS = {
    "or": 10,
    "and": 20,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in", "not in", "contains", "matches"), 40),
    "+": 50,
    "-": 50,
    "*": 60,
    "/": 60,
    "%": 60,
    "|": 80,
}
_NOT_POWER = 30
_COMPARING_POWER = 40
_MINUS_POWER = 70
_SPELLINGS = {"||": "or", "&&": "and", "!": "not"}
_CONSTANTS = {"true": True, "false": False, "null": None}

# Reads `source[start:end]`, text and holes, inside that many brackets.
HolesReader = Callable[[str, int, int, int], TextNode]


class Parser:
    """Reads one expression from `source[start:end]`.

    `hole` is where the `{{` stands whose content is read; outside a hole braces count as parentheses.
    `read_holes`: a quoted text that holds `{{ }}` is a template, read by this; if None it is only a text.
    """

    def __init__(
        self,
        source: str,
        start: int,
        end: int,
        *,
        hole: int | None = None,
        read_holes: HolesReader | None = None,
        nesting: int = 0,
    ) -> None:
        self._source = source
        self._end = end
        self._hole = hole
        self._read_holes = read_holes
        self._nesting = nesting
        self._depth = 0
        self._tokens = Tokens(source, start, end, hole=hole, quoted_holes=read_holes is not None)

    def whole(self) -> Node:
        """The expression, which nothing may follow."""
        node = self.expression()
        self._tokens.expect_end()
        return node

    def in_braces(self, opening: int) -> Hole:
        """The expression and the `}}` behind it; the `{{` stands at `opening`."""
        node = self.expression()
        return Hole(node, opening, self._tokens.close_braces(opening))

    # Operators

    def expression(self, power: int = 0) -> Node:
        """The longest expression whose operators bind more tightly than `power`."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._too_deep()
        left = self._operand(power)
        while (operator := self._operator()) and _POWERS[operator] > power:
            left = self._operation(operator, left)
        self._depth -= 1
        return left

    def _too_deep(self) -> ExpressionSyntaxError:
        return self._tokens.fault(
            f"nested deeper than {MAX_NESTING} levels",
            self._tokens.next.start,
            "Split the expression, or compute the value in a step of its own.",
        )

    def _operator(self) -> str:
        """The binary operator at the next token, by its canonical name; empty if there is none."""
        text = _SPELLINGS.get(self._tokens.next.text, self._tokens.next.text)
        if text == "not" and self._tokens.next.text == "not" and self._tokens.following().text == "in":
            return "not in"
        return text if self._tokens.next.kind in ("sign", "word") and text in _POWERS else ""

    def _operation(self, operator: str, left: Node) -> Node:
        offset = self._tokens.advance().start
        if operator == "|":
            return self._filter(left, offset)
        if operator == "not in":
            self._tokens.advance()
        if operator == "matches":
            return self._matches(left, offset)
        right = self.expression(_POWERS[operator])
        if operator in ("and", "or"):
            return _joined(operator, left, right, offset)
        if _POWERS[operator] == _COMPARING_POWER:
            self._refuse_chain()
            return Compare(operator, left, right, offset)
        return Arithmetic(operator, left, right, offset)

    def _refuse_chain(self) -> None:
        following = self._operator()
        if following and _POWERS[following] == _COMPARING_POWER:
            raise self._tokens.fault(
                "comparisons do not chain",
                self._tokens.next.start,
                "Write `a < b and b < c`, or use parentheses.",
            )

    def _matches(self, left: Node, offset: int) -> Node:
        token = self._tokens.next
        if token.kind != "text":
            raise self._tokens.unexpected('`matches` takes a quoted pattern, as in `matches "^v[0-9]+$"`')
        # In a pattern a backslash that begins no escape of ours belongs to the regular expression.
        pattern = self._tokens.unescaped(token.start + 1, token.end - 1, lenient=True)
        try:
            compile_pattern(pattern)
        except ValueFault as fault:
            raise self._tokens.fault(str(fault), token.start, "Patterns are written in RE2 syntax.") from None
        self._tokens.advance()
        self._refuse_chain()
        return Compare("matches", left, Literal(pattern, token.start), offset)

    # Filters

    def _filter(self, operand: Node, bar: int) -> Node:
        token = self._tokens.next
        if token.kind not in ("name", "word"):
            raise self._tokens.unexpected("the name of a filter is missing after `|`")
        if token.text not in FILTERS:
            near = did_you_mean(token.text, list(FILTERS))
            advice = f"Did you mean `{near}`?" if near else f"The filters are {', '.join(FILTERS)}."
            raise self._tokens.fault(f"there is no filter `{token.text}`", token.start, advice)
        self._tokens.advance()
        node = Filter(token.text, operand, self._arguments(), token.start)
        self._check_arguments(node)
        return node

    def _arguments(self) -> tuple[Node, ...]:
        if self._tokens.at("("):
            return self._sequence("(", ")")
        if self._tokens.at(":"):
            self._tokens.advance()
            return (self._literal(),)
        return ()

    def _literal(self) -> Node:
        if self._tokens.at("-"):
            offset = self._tokens.advance().start
            number = self._operand(_MINUS_POWER)
            if isinstance(number, Literal) and is_number(number.value):
                return Literal(-cast("int | float", number.value), offset)
        node = self._operand(_MINUS_POWER)
        if not all(isinstance(part, (Literal, ListNode, ObjectNode)) for part in walk(node)):
            advice = "Write other arguments in brackets."
            raise self._tokens.fault("after `:` stands one literal", node.offset, advice)
        return node

    def _check_arguments(self, node: Filter) -> None:
        spec, count = FILTERS[node.name], len(node.args)
        if not spec.least <= count <= spec.most:
            wanted = str(spec.least) if spec.least == spec.most else f"{spec.least} to {spec.most}"
            example = f"{node.name}({', '.join(['…'] * spec.least)})" if spec.least else node.name
            message = f"`{node.name}` takes {wanted} arguments, not {count}"
            raise self._tokens.fault(message, node.offset, f"Write `| {example}`.")
        if not spec.takes_path:
            return
        path = node.args[0]
        if not (isinstance(path, Literal) and isinstance(path.value, str) and parse_segments(path.value)):
            advice = f'Write a quoted path into each item, as in `{node.name}("author.name")`.'
            raise self._tokens.fault(f"`{node.name}` needs a path", path.offset, advice)

    # Operands

    def _operand(self, power: int) -> Node:
        token = self._tokens.next
        if token.kind in ("sign", "word") and token.text in ("not", "!"):
            return self._not(power)
        match token.kind:
            case "number":
                return self._number()
            case "text":
                return self._text()
            case "name":
                return self._path()
            case "word":
                return self._word()
            case "sign":
                return self._bracketed()
            case _:
                raise self._tokens.unexpected("" if token.start else "a value is missing")

    def _number(self) -> Node:
        token = self._tokens.advance()
        if len(token.text) > MAX_NUMBER_CHARACTERS:
            message = f"a number has at most {MAX_NUMBER_CHARACTERS} characters"
            raise self._tokens.fault(message, token.start, "Quote it if it is meant as text.")
        value = int(token.text) if token.text.isdigit() else float(token.text)
        if value == float("inf"):
            raise self._tokens.fault("the number is too large", token.start, "Write a smaller one.")
        return Literal(value, token.start)

    def _word(self) -> Node:
        if self._tokens.next.text in _CONSTANTS:
            token = self._tokens.advance()
            return Literal(_CONSTANTS[token.text], token.start)
        raise self._tokens.unexpected("a value is missing before it")

    def _not(self, power: int) -> Node:
        if power > _NOT_POWER:
            raise self._tokens.fault(
                "`not` needs parentheses here", self._tokens.next.start, "Write `(not …)`."
            )
        offset = self._tokens.advance().start
        return Not(self._nested(_NOT_POWER), offset)

    def _minus(self) -> Node:
        offset = self._tokens.advance().start
        operand = self._nested(_MINUS_POWER)
        if isinstance(operand, Literal) and is_number(operand.value):
            return Literal(-cast("int | float", operand.value), offset)
        return Negate(operand, offset)

    def _nested(self, power: int = 0) -> Node:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise self._too_deep()
        node = self.expression(power)
        self._nesting -= 1
        return node

    def _bracketed(self) -> Node:
        token = self._tokens.next
        match token.text:
            case "-":
                return self._minus()
            case "(":
                self._tokens.advance()
                node = self._nested()
                self._tokens.expect(")", token)
                return self._below(node)
            case "[":
                return self._below(ListNode(self._sequence("[", "]"), token.start))
            case "{" if self._source.startswith("{{", token.start):
                return self._braced()
            case "{":
                return self._below(self._object())
            case _:
                raise self._tokens.unexpected("a value is missing before it")

    def _braced(self) -> Node:
        opening = self._tokens.advance()
        if self._hole is not None:
            advice = 'Leave the inner braces out; a literal `{{` is `"{{"`.'
            raise self._tokens.fault("`{{` inside `{{ … }}`", opening.start, advice)
        self._tokens.advance()
        node = self._nested()
        self._tokens.go_to(self._tokens.close_braces(opening.start))
        return self._below(node)

    def _sequence(self, opening: str, closing: str) -> tuple[Node, ...]:
        """What stands between the brackets, separated by commas."""
        start = self._tokens.advance()
        items: list[Node] = []
        while not self._tokens.at(closing):
            items.append(self._nested())
            if not self._tokens.at(","):
                break
            self._tokens.advance()
            if self._tokens.at(closing):
                raise self._tokens.unexpected("a value is missing after the comma")
        self._tokens.expect(closing, start)
        return tuple(items)

    def _object(self) -> Node:
        start = self._tokens.advance()
        members: dict[str, Node] = {}
        while not self._tokens.at("}"):
            key = self._key()
            if key in members:
                raise self._tokens.unexpected(f"the key `{key}` is there twice")
            if not self._tokens.at(":"):
                raise self._tokens.unexpected(f"`:` is missing after the key `{key}`")
            self._tokens.advance()
            members[key] = self._nested()
            if not self._tokens.at(","):
                break
            self._tokens.advance()
        self._tokens.expect("}", start)
        return ObjectNode(tuple(members.items()), start.start)

    def _key(self) -> str:
        if self._tokens.next.kind not in ("name", "word", "text"):
            raise self._tokens.unexpected("the key of an object is a name or a quoted text")
        token = self._tokens.advance()
        return self._tokens.unescaped(token.start + 1, token.end - 1) if token.kind == "text" else token.text

    # Texts

    def _text(self) -> Node:
        token = self._tokens.next
        start, end = token.start + 1, token.end - 1
        opening = self._source.find("{{", start, end)
        if self._read_holes and opening >= 0 and self._source.find("}}", opening, end) >= 0:
            template = self._read_holes(self._source, start, end, self._nesting + 1)
            node: Node = TextNode(self._unescaped_parts(template), token.start)
        else:
            node = Literal(self._tokens.unescaped(start, end), token.start)
        self._tokens.advance()
        return node

    def _unescaped_parts(self, template: TextNode) -> tuple[str | Hole, ...]:
        position, parts = template.offset, list[str | Hole]()
        for part in template.parts:
            if isinstance(part, Hole):
                parts.append(part)
                position = part.end
            else:
                parts.append(self._tokens.unescaped(position, position + len(part)))
                position += len(part)
        return tuple(parts)

    # Paths

    def _path(self) -> Node:
        token = self._tokens.next
        if self._source.startswith("(", token.end, self._end):
            near = token.text if token.text in FILTERS else did_you_mean(token.text, list(FILTERS))
            raise self._tokens.fault(
                "there are no function calls", token.start, f"Write `value | {near or 'filter'}`."
            )
        self._tokens.advance()
        segments: list[str | int] = []
        while (key := self._key_below()) is not None:
            if not isinstance(key, Literal):
                path = self._checked(Path(token.text, tuple(segments), token.start), open_end=True)
                return self._below(Index(path, key, key.offset))
            segments.append(cast("str | int", key.value))
        return self._checked(Path(token.text, tuple(segments), token.start))

    def _below(self, node: Node) -> Node:
        """The node, and what the segments that follow read of it."""
        while (key := self._key_below()) is not None:
            node = Index(node, key, key.offset)
        return node

    def _key_below(self) -> Node | None:
        """The next `.name` or `[…]`: a literal of text or integer, or what must be worked out."""
        if self._tokens.at("."):
            return self._name_below()
        if not self._tokens.at("["):
            return None
        opening = self._tokens.advance()
        key = self._nested()
        self._tokens.expect("]", opening)
        if isinstance(key, Literal) and not (type(key.value) is int or isinstance(key.value, str)):
            raise self._tokens.fault("in `[ ]` stands an integer or a quoted name", key.offset)
        return key

    def _name_below(self) -> Node:
        start = self._tokens.next.end
        found = PLAIN_SEGMENT.match(self._source, start, self._end)
        if not found:
            advice = 'Write other names in brackets: `input["odd key"]`.'
            raise self._tokens.fault("a name must follow the `.` directly", start, advice)
        self._tokens.go_to(found.end())
        return Literal(found[0], start)

    def _checked(self, path: Path, *, open_end: bool = False) -> Path:
        if path.root != "steps":
            return path
        message, advice = misread_step(path.segments, open_end=open_end)
        if message:
            raise self._tokens.fault(message, path.offset, advice)
        return path


def _joined(operator: str, left: Node, right: Node, offset: int) -> Logic:
    """`left and right`; a row of the same operator becomes one node, however long it is."""
    if isinstance(left, Logic) and left.op == operator:
        return Logic(operator, (*left.operands, right), left.offset)
    return Logic(operator, (left, right), offset)


def parse_segments(text: str) -> Segments | None:
    """The segments of a relative path such as `author.name` or `tags[0]`; None if it is not one."""
    source = f"item.{text}"
    try:
        check_text(source, MAX_SOURCE_CHARACTERS, "a path")
        node = Parser(source, 0, len(source)).whole()
    except ExpressionSyntaxError:
        return None
    return node.segments if isinstance(node, Path) else None
