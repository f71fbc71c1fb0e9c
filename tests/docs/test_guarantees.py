"""Each promise names tests that exist, and each invariant has its line."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from process_engine.core import invariants
from tests.architecture.places import ROOT

PAGE = (ROOT / "docs" / "explanation" / "guarantees.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`([\w/.]+\.py)::(\w+)`", PAGE)
# A promise: bold words at the beginning of a paragraph, up to the list of its tests or the next paragraph.
PROMISE = re.compile(r"^\*\*([^*]+)\*\*[^\n]*\n\n(.*\n)", re.MULTILINE)
NUMBER = re.compile(r"\bI\d+b?\b")


@cache
def functions_of(path: str) -> frozenset[str]:
    """The test functions of a file, also those of classes. The file is read, not imported."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_every_test_that_is_named_exists(path, name):
    assert name.startswith("test_")
    assert (ROOT / path).is_file()
    assert name in functions_of(path)


def test_every_promise_names_a_test():
    promised = PAGE.split("## What is not promised")[0]

    without = [words for words, next_line in PROMISE.findall(promised) if not next_line.startswith("- `")]

    assert len(PROMISE.findall(promised)) > 25
    assert without == []


def test_a_reference_without_its_file_is_none():
    """Every mention of a test is one that the other tests look at."""
    assert PAGE.count("::") == len(NAMED)


def test_every_invariant_has_its_line():
    """Those of one execution by their table, those over several by the docstring that names them."""
    functions = [kind for name, kind in vars(invariants).items() if callable(kind) and name[0].islower()]
    numbers = {number for kind in functions for number in NUMBER.findall(kind.__doc__ or "")}
    rows = set(re.findall(r"^\| (I\d+b?) \|", PAGE, re.MULTILINE))

    assert {"I10", "I13"} <= numbers
    assert numbers | set(invariants.ALL) == rows


def test_the_other_numbers_are_told_to_be_missing():
    known = {int(number[1:]) for number in re.findall(r"^\| (I\d+) \|", PAGE, re.MULTILINE)}
    told = {int(number[1:]) for number in NUMBER.findall(PAGE) if not number.endswith("b")}

    assert told == set(range(1, max(known) + 1))
