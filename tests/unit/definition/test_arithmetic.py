"""Arithmetic: what each operation gives, what it refuses, and the limits of numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest

from process_engine.definition.arithmetic import ARITHMETIC, add, multiply, negate
from process_engine.definition.values import MAX_TEXT_CHARACTERS, ValueFault


@pytest.mark.parametrize(
    ("left", "sign", "right", "result"),
    [
        (1, "+", 2, 3),
        (1, "+", 0.5, 1.5),
        ("a", "+", "b", "ab"),
        (Decimal("0.1"), "+", 0.2, Decimal("0.3")),
        (5, "-", 7, -2),
        (6, "*", 7, 42),
        (6, "/", 3, 2),
        (7, "/", 2, 3.5),
        (6.0, "/", 3, 2.0),
        (-7, "/", 7, -1),
        (7, "%", 3, 1),
        (-1, "%", 3, 2),
        (Decimal(-1), "%", 3, Decimal(2)),
        (2**100, "+", 1, 2**100 + 1),
    ],
)
def test_arithmetic_gives(left: object, sign: str, right: object, result: object):
    answer = ARITHMETIC[sign](left, right)

    assert answer == result
    assert type(answer) is type(result)


@pytest.mark.parametrize("sign", ["+", "-", "*", "/", "%"])
@pytest.mark.parametrize(
    ("left", "right"), [(1, "1"), ("1", 1), (True, 1), (1, None), ([1], [2]), ({}, 1), (None, None)]
)
def test_arithmetic_needs_two_numbers(sign: str, left: object, right: object):
    with pytest.raises(ValueFault, match="two numbers"):
        ARITHMETIC[sign](left, right)


@pytest.mark.parametrize("sign", ["-", "*", "/", "%"])
def test_only_plus_takes_texts(sign: str):
    with pytest.raises(ValueFault, match="two numbers"):
        ARITHMETIC[sign]("a", "b")


def test_a_text_is_never_repeated():
    with pytest.raises(ValueFault, match="two numbers"):
        multiply("a", 1_000_000_000)


@pytest.mark.parametrize("sign", ["/", "%"])
@pytest.mark.parametrize("zero", [0, 0.0, Decimal(0)])
def test_nothing_is_divided_by_zero(sign: str, zero: object):
    with pytest.raises(ValueFault, match="division by zero"):
        ARITHMETIC[sign](1, zero)


@pytest.mark.parametrize(
    ("left", "sign", "right"),
    [
        (2**4000, "*", 2**4000),
        (2**4095, "+", 2**4095),
        (1e308, "*", 10),
        (1e308, "+", 1e308),
        (2**4000, "*", 1.5),
        (2**4000, "/", 3),
        (Decimal("9e999999"), "*", Decimal("9e999999")),
    ],
)
def test_a_number_over_the_limit_is_refused(left: object, sign: str, right: object):
    with pytest.raises(ValueFault, match=r"too large|bits"):
        ARITHMETIC[sign](left, right)


def test_a_sum_of_texts_over_the_limit_is_refused():
    with pytest.raises(ValueFault, match="characters"):
        add("x" * MAX_TEXT_CHARACTERS, "y")


def test_the_sign_of_a_number_can_be_changed():
    assert negate(5) == -5
    with pytest.raises(ValueFault, match="needs a number"):
        negate("5")
    with pytest.raises(ValueFault, match="needs a number"):
        negate(True)
