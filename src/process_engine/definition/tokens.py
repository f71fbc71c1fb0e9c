"""The tokens of expressions, and the one error for a source that is none.

Tokens are read one at a time, because where a `{{ … }}` ends is known only to the grammar.
"""

from __future__ import annotations

import re

import msgspec

from process_engine.errors import ProcessEngineError

MAX_SOURCE_CHARACTERS = 16 * 1024

_SPACE = re.compile(r"[ \t\r\n]*")
# Longer signs come before those they begin with. Signs that no expression has are read to say what it has.
_TOKEN = re.compile(
    r"(?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<sign>===|!==|==|!=|<=|>=|&&|\|\||\*\*|//|\?\?|\?\.|[-<>+*/%!()\[\]{},:.|=&?`])"
)
_NAME_CHARACTER = re.compile(r"[A-Za-z0-9_]")
_QUOTED = {
    '"': re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL),
    "'": re.compile(r"'[^'\\]*(?:\\.[^'\\]*)*'", re.DOTALL),
}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "/": "/"}
_KEYWORDS = frozenset({"or", "and", "not", "in", "contains", "matches", "true", "false", "null"})
_MISTAKES = {
    "=": "Equality is `==`.",
    "===": "Equality is `==`.",
    "!==": "Inequality is `!=`.",
    "&": "Write `and`.",
    "**": "There is no power operator.",
    "//": "Divide by `/`, and cut the fraction by `| int`.",
    "?": 'There is no `? :`; for a value that may be missing use `| default("…")`.',
    "??": 'For a value that may be missing use `| default("…")`.',
    "?.": 'For a value that may be missing use `| default("…")`.',
    "`": "Quote texts by \" or '.",
}


class ExpressionSyntaxError(ProcessEngineError):
    """A source that is not an expression.

    `offset` counts characters from 0 in `source`; `suggestion` says what to write instead, or is empty.
    """

    code = "EXPRESSION_SYNTAX"

    def __init__(self, message: str, *, source: str, offset: int, suggestion: str = "") -> None:
        shown = source if len(source) <= 200 else source[max(0, offset - 100) : offset + 100]
        super().__init__(f"{message} (at {offset} in `{shown}`).", remedy=suggestion)
        self.message = message
        self.source = source
        self.offset = offset
        self.suggestion = suggestion


def check_text(source: str, limit: int, what: str) -> None:
    """Refuses a source that is too long, or that holds half a character."""
    if len(source) > limit:
        advice = "Divide it, or compute parts of it in steps of their own."
        raise ExpressionSyntaxError(
            f"{what} has at most {limit:,} characters", source=source, offset=limit, suggestion=advice
        )
    try:
        source.encode()
    except UnicodeEncodeError as fault:
        raise ExpressionSyntaxError(
            "half a character (a lone surrogate)", source=source, offset=fault.start
        ) from None


class Token(msgspec.Struct, frozen=True):
    """One token as written; `kind` is number, text, name, word (a keyword), sign or end."""

    kind: str
    text: str
    start: int
    end: int


class Tokens:
    """The tokens of `source[start:end]`; `next` is the first that is not yet consumed.

    `hole` is where the `{{` stands whose content is read, None outside a hole. `quoted_holes`: quoted texts
    may hold `{{ }}`, which one of the messages explains.
    """

    def __init__(
        self, source: str, start: int, end: int, *, hole: int | None = None, quoted_holes: bool = False
    ) -> None:
        self._source = source
        self._end = end
        self._hole = hole
        self._quoted_holes = quoted_holes
        self.next = self._read(start)

    def fault(self, message: str, offset: int, suggestion: str = "") -> ExpressionSyntaxError:
        """The error to raise for what stands at the offset."""
        return ExpressionSyntaxError(message, source=self._source, offset=offset, suggestion=suggestion)

    def _read(self, position: int) -> Token:
        space = _SPACE.match(self._source, position, self._end)
        start = space.end() if space else position
        if start >= self._end:
            return Token("end", "", start, start)
        if self._source[start] in _QUOTED:
            return self._read_text(start)
        found = _TOKEN.match(self._source, start, self._end)
        if not found:
            raise self._strange_character(start)
        kind, text = str(found.lastgroup), found[0]
        if text in _MISTAKES:
            raise self.fault(f"unexpected `{text}`", start, _MISTAKES[text])
        if kind == "number" and _NAME_CHARACTER.match(self._source, found.end(), self._end):
            raise self.fault("a number runs into a name", start, "Put a space or an operator between them.")
        if text in _KEYWORDS:
            kind = "word"
        return Token(kind, text, start, found.end())

    def _read_text(self, start: int) -> Token:
        found = _QUOTED[self._source[start]].match(self._source, start, self._end)
        if not found:
            raise self.fault("this quoted text is never closed", start, "Add the closing quote.")
        return Token("text", found[0], start, found.end())

    def _strange_character(self, offset: int) -> ExpressionSyntaxError:
        character = self._source[offset]
        shown = f"`{character}`" if character.isprintable() else f"U+{ord(character):04X}"
        advice = "Remove it, or write it inside a quoted text."
        if character.isalnum():
            advice = 'Write a name that has other letters than a to z in brackets: `input["größe"]`.'
        return self.fault(f"unexpected character {shown}", offset, advice)

    def advance(self) -> Token:
        """Consumes the next token and gives it."""
        token = self.next
        self.next = self._read(token.end)
        return token

    def at(self, *signs: str) -> bool:
        """Whether the next token is one of these signs."""
        return self.next.kind == "sign" and self.next.text in signs

    def go_to(self, position: int) -> None:
        """Goes on with the token at or behind the position."""
        self.next = self._read(position)

    def following(self) -> Token:
        """The token behind the next one."""
        return self._read(self.next.end)

    def expect(self, sign: str, opening: Token) -> None:
        """Consumes the closing sign, which must be next."""
        if not self.at(sign):
            raise self.unexpected(f"`{sign}` is missing for the `{opening.text}` at {opening.start}")
        self.advance()

    def unexpected(self, wanted: str = "") -> ExpressionSyntaxError:
        """The fault that the next token is not what was wanted there."""
        token = self.next
        if token.kind == "end" and self._hole is not None:
            return self._unclosed(self._hole)
        found = "the expression ends too early" if token.kind == "end" else f"unexpected `{token.text[:40]}`"
        before = self._source[: token.start].rstrip()
        quoted_hole = (
            self._quoted_holes and before.endswith(('"', "'")) and before.rfind("{{") > before.rfind("}}")
        )
        advice = "Inside a quoted text use the other kind of quotes." if quoted_hole else ""
        return self.fault(f"{found}: {wanted}" if wanted else found, token.start, advice)

    def expect_end(self) -> None:
        """Refuses anything that follows the expression."""
        if self.next.kind == "end":
            return
        if self.next.kind in ("name", "word", "number", "text"):
            raise self.unexpected("an operator is missing before it")
        raise self.unexpected()

    def close_braces(self, opening: int) -> int:
        """The position behind the `}}` that must be next; the `{{` stands at `opening`."""
        start = self.next.start
        if not self._source.startswith("}}", start) or start + 2 > self._end:
            if self.next.kind == "end":
                raise self._unclosed(opening)
            raise self.unexpected(f"`}}}}` is missing for the `{{{{` at {opening}")
        return start + 2

    def _unclosed(self, opening: int) -> ExpressionSyntaxError:
        too_long = self._end - opening >= MAX_SOURCE_CHARACTERS
        where = f"not closed within {MAX_SOURCE_CHARACTERS:,} characters" if too_long else "never closed"
        return self.fault(f"this `{{{{` is {where}", opening, 'A literal `{{` is `{{ "{{" }}`.')

    def unescaped(self, start: int, end: int, *, lenient: bool = False) -> str:
        """The text that `source[start:end]` stands for; unknown escapes stay as they are if `lenient`."""

        def meaning(found: re.Match[str]) -> str:
            sequence = found[1]
            if len(sequence) == 5:
                return chr(int(sequence[1:], 16))
            if sequence not in _ESCAPES and not lenient:
                advice = "A literal backslash is written `\\\\`."
                raise self.fault(f"unknown escape `{found[0]}`", found.start() + start, advice)
            return _ESCAPES.get(sequence, found[0])

        text = _ESCAPE.sub(meaning, self._source[start:end])
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16") if "\\u" in self._source else text
        except UnicodeDecodeError:
            raise self.fault("half a character (a lone surrogate)", start) from None
