"""Regular expressions: found anywhere, refused where not RE2, linear in the text."""

from __future__ import annotations

import pytest

from process_engine.definition.patterns import compile_pattern, matches
from process_engine.definition.values import ValueFault


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("^v[0-9]+$", "v12", True),
        ("^v[0-9]+$", "xv12", False),
        ("b", "abc", True),
        ("(?i)B", "abc", True),
        ("ü.", "grün", True),
        (r"\bcat\b", "a cat!", True),
    ],
)
def test_a_pattern_is_found_anywhere(pattern: str, text: str, found: bool):
    assert matches(text, compile_pattern(pattern)) is found


@pytest.mark.parametrize(
    "pattern", ["(", "(?=a)", r"(a)\1", "[", "a" * 1001, "(" * 900, "(a{1000}){1000}", "\\"]
)
def test_a_pattern_that_is_not_re2_or_too_large_is_refused(pattern: str):
    with pytest.raises(ValueFault, match="pattern"):
        compile_pattern(pattern)


def test_a_pattern_that_is_exponential_elsewhere_is_linear_here():
    assert not matches("a" * 100_000 + "b", compile_pattern("^(a+)+$"))


@pytest.mark.parametrize("value", [5, None, [], "\ud800"])
def test_only_texts_match(value: object):
    with pytest.raises(ValueFault):
        matches(value, compile_pattern("a"))
