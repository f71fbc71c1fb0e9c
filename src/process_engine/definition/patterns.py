"""Regular expressions in RE2 syntax, whose matching takes time linear in the text."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol, cast

import re2  # pyright: ignore[reportMissingTypeStubs]

from process_engine.definition.values import ValueFault, needed_text, utf8

MAX_PATTERN_CHARACTERS = 1000
# Enough for patterns of some thousand states; the library's own default is 8 MiB for each pattern.
PATTERN_MEMORY_BYTES = 2**20


class Pattern(Protocol):
    """A compiled regular expression; takes UTF-8, answers None where nothing matches."""

    def search(self, text: bytes) -> object: ...


class _PatternOptions(Protocol):
    log_errors: bool
    max_mem: int


class _PatternLibrary(Protocol):
    """The part of google-re2, which comes without types, that is used here."""

    error: type[Exception]
    Options: Callable[[], _PatternOptions]

    def compile(self, pattern: str, options: _PatternOptions) -> Pattern: ...


_RE2 = cast("_PatternLibrary", re2)


@functools.lru_cache(maxsize=64)
def compile_pattern(pattern: str) -> Pattern:
    """The pattern, ready for use; matching takes time linear in the text.

    Raises:
        ValueFault: it is too long, needs too much memory, or is not RE2 syntax.
    """
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise ValueFault(f"a pattern has at most {MAX_PATTERN_CHARACTERS} characters")
    options = _RE2.Options()
    options.log_errors = False
    options.max_mem = PATTERN_MEMORY_BYTES
    try:
        return _RE2.compile(pattern, options)
    except _RE2.error as fault:
        # The library's messages are bytes.
        reason = b"".join(part for part in fault.args if isinstance(part, bytes)).decode("utf-8", "replace")
        raise ValueFault(f"the pattern is not valid: {reason[:200]}") from None


def matches(text: object, pattern: Pattern) -> bool:
    """Whether the pattern is found anywhere in the text; `^` and `$` tie it to the ends."""
    return pattern.search(utf8(needed_text(text, "matches"))) is not None
