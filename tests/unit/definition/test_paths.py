"""Paths: how they are written, and what is said about a wrong one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from process_engine.definition.nodes import Path
from process_engine.definition.paths import did_you_mean, format_path, hint_for_hyphen
from process_engine.definition.syntax import ExpressionSyntaxError, parse


@pytest.mark.parametrize(
    ("root", "segments", "text"),
    [
        ("input", (), "input"),
        ("steps", ("analyze-data", "output", 0, "b"), "steps.analyze-data.output[0].b"),
        ("input", ("odd key", "", "a-", 'q"\\'), 'input["odd key"][""]["a-"]["q\\"\\\\"]'),
    ],
)
def test_a_path_is_written_as_one_would_write_it(root: str, segments: tuple[str | int, ...], text: str):
    assert format_path(root, segments) == text


@given(st.lists(st.text(max_size=5) | st.integers(-99, 99), max_size=4))
def test_a_written_path_reads_back_as_the_same_path(segments: list[str | int]):
    try:
        node = parse(format_path("input", tuple(segments)))
    except ExpressionSyntaxError as fault:
        assert "surrogate" in fault.message or "\\" in repr(segments)  # noqa: PT017
        return
    assert isinstance(node, Path)
    assert node.segments == tuple(segments)


def test_a_hyphen_is_explained_where_a_minus_may_be_meant():
    assert "`input.a - b`" in hint_for_hyphen("input.a-b")
    assert hint_for_hyphen("input.a") == ""


def test_the_nearest_word_is_suggested():
    assert did_you_mean("inptu", ["input", "steps"]) == "input"
    assert did_you_mean("zzz", ["input", "steps"]) == ""
