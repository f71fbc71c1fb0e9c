"""Values: what is equal, what has an order, what contains, what lies below, and how they read as text."""

from __future__ import annotations

from decimal import Decimal

import pytest

from process_engine.definition.values import (
    MISSING,
    ValueFault,
    as_text,
    child,
    compare,
    contains,
    equal,
    fetch,
)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (1, 1.0, True),
        (1, Decimal("1.00"), True),
        (0.1, Decimal("0.1"), True),
        (1, True, False),
        (0, False, False),
        (True, True, True),
        (None, None, True),
        (None, False, False),
        (None, "", False),
        ("1", 1, False),
        ("a", "a", True),
        ("a", "A", False),
        ([1, 2], [1.0, 2], True),
        ([1], [True], False),
        ([1, 2], [2, 1], False),
        ([1], [1, 1], False),
        ((1,), [1], True),
        ({"a": 1, "b": [2]}, {"b": [2.0], "a": 1}, True),
        ({"a": 1}, {"a": "1"}, False),
        ({"a": 1}, {"b": 1}, False),
        ({}, [], False),
        ([], "", False),
        (2**80, float(2**80), True),
    ],
)
def test_values_are_equal_only_within_their_type(left: object, right: object, same: bool):
    assert equal(left, right) is same
    assert equal(right, left) is same


def test_values_nested_deeper_than_the_stack_can_be_compared():
    def deep(innermost: object) -> object:
        value = innermost
        for _ in range(50_000):
            value = [value]
        return value

    assert equal(deep(1), deep(1.0))
    assert not equal(deep(1), deep(2))


@pytest.mark.parametrize(
    ("left", "sign", "right", "answer"),
    [
        (1, "<", 2, True),
        (2, "<=", 2.0, True),
        (3, ">", 2.5, True),
        (2, ">=", 3, False),
        (Decimal("0.1"), "<=", 0.1, True),
        ("a", "<", "b", True),
        ("Z", "<", "a", True),
        ("b", ">=", "b", True),
    ],
)
def test_two_numbers_or_two_texts_have_an_order(left: object, sign: str, right: object, answer: bool):
    assert compare(sign, left, right) is answer


@pytest.mark.parametrize(
    ("left", "right"),
    [(1, "1"), (True, 1), (1, False), (None, 1), (None, None), ([1], [2]), ({}, {}), ("a", 1)],
)
def test_nothing_else_has_an_order(left: object, right: object):
    with pytest.raises(ValueFault, match="two numbers or two texts"):
        compare("<", left, right)


@pytest.mark.parametrize(
    ("container", "item", "answer"),
    [
        ([1, 2], 2.0, True),
        ([1], True, False),
        ([[1]], [1], True),
        ([], 1, False),
        ("hello", "ell", True),
        ("hello", "", True),
        ("hello", "H", False),
        ({"a": 1}, "a", True),
        ({"a": 1}, "b", False),
    ],
)
def test_a_list_a_text_and_an_object_can_contain(container: object, item: object, answer: bool):
    assert contains(container, item) is answer


@pytest.mark.parametrize(("container", "item"), [(None, 1), (5, 5), ("5", 5), ({"1": 1}, 1), (True, "a")])
def test_nothing_else_can_contain(container: object, item: object):
    with pytest.raises(ValueFault, match="cannot be looked for"):
        contains(container, item)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        ("", ""),
        (True, "true"),
        (False, "false"),
        (1, "1"),
        (1.5, "1.5"),
        (2.0, "2.0"),
        (Decimal("0.10"), "0.10"),
        ([1, True, None, "é"], '[1,true,null,"é"]'),
        ({"a": {"b": 0.5}}, '{"a":{"b":0.5}}'),
        ({"cost": Decimal("0.10")}, '{"cost":0.10}'),
        (2**200, str(2**200)),
    ],
)
def test_inside_a_text_a_value_reads(value: object, text: str):
    assert as_text(value) == text


def test_null_has_no_text():
    with pytest.raises(ValueFault, match="null has no text"):
        as_text(None)


@pytest.mark.parametrize("value", [object(), [object()], 2**5000, float("nan"), ["\ud800"]])
def test_what_json_cannot_hold_has_no_text(value: object):
    with pytest.raises(ValueFault):
        as_text(value)


def test_a_value_nested_too_deeply_has_no_text():
    value: object = 1
    for _ in range(100_000):
        value = [value]

    with pytest.raises(ValueFault, match="JSON"):
        as_text(value)


@pytest.mark.parametrize(
    ("value", "key", "below"),
    [
        ({"a": 1}, "a", 1),
        ({"a": None}, "a", None),
        ({"a": 1}, "b", MISSING),
        ({"a": 1}, 0, MISSING),
        ([1, 2], 0, 1),
        ([1, 2], -1, 2),
        ([1, 2], 2, MISSING),
        ([1, 2], -3, MISSING),
        ([1, 2], "1", 2),
        ([1, 2], "x", MISSING),
        ([1, 2], "9" * 30, MISSING),
        (None, "a", None),
        (None, 0, None),
        ("text", "upper", MISSING),
        ("text", 0, MISSING),
        (5, "real", MISSING),
        (True, "real", MISSING),
        (MISSING, "a", MISSING),
        ({}, "keys", MISSING),
        ([], "append", MISSING),
    ],
)
def test_below_a_value_lies(value: object, key: str | int, below: object):
    assert child(value, key) is below or child(value, key) == below


def test_a_path_is_followed_to_its_end():
    assert fetch({"a": [{"b-c": 5}]}, ("a", 0, "b-c")) == 5
    assert fetch({"a": [{"b-c": 5}]}, ("a", 1, "b-c")) is MISSING
    assert fetch({"a": None}, ("a", 1, "b-c")) is None
