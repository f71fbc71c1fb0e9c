"""Every filter: what it gives, what it refuses, and its limits."""

from __future__ import annotations

import contextlib
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from process_engine.definition.filters import FILTERS, apply
from process_engine.definition.values import (
    MAX_INTEGER_BITS,
    MAX_ITEMS,
    MAX_TEXT_CHARACTERS,
    MISSING,
    ValueFault,
    equal,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("name", "value", "arguments", "result"),
    [
        ("json", {"a": [1, None]}, (), '{"a":[1,null]}'),
        ("json", None, (), "null"),
        ("json", "a", (), '"a"'),
        ("from_json", '{"a": [1.5, true]}', (), {"a": [1.5, True]}),
        ("from_json", "12345678901234567890123", (), 12345678901234567890123),
        ("length", "äöü", (), 3),
        ("length", [1, 2], (), 2),
        ("length", {"a": 1}, (), 1),
        ("upper", "aé", (), "AÉ"),
        ("lower", "AÉ", (), "aé"),
        ("trim", "  a b\n", (), "a b"),
        ("first", [1, 2], (), 1),
        ("first", [], (), None),
        ("last", [1, 2], (), 2),
        ("last", [], (), None),
        ("join", ["a", 1, True, [2]], (), "a, 1, true, [2]"),
        ("join", ["a", "b"], ("-",), "a-b"),
        ("join", [], ("-",), ""),
        ("split", "a,b,,c", (",",), ["a", "b", "", "c"]),
        ("split", "  a  b\n", (), ["a", "b"]),
        ("round", 2.5, (), 3),
        ("round", -2.5, (), -3),
        ("round", 2.675, (2,), 2.68),
        ("round", 7, (2,), 7),
        ("round", Decimal("1.005"), (2,), Decimal("1.01")),
        ("round", 1e300, (), int(Decimal("1e300"))),
        ("int", 3.9, (), 3),
        ("int", -3.9, (), -3),
        ("int", " 42 ", (), 42),
        ("int", "3.9", (), 3),
        ("int", Decimal("3.9"), (), 3),
        ("number", "42", (), 42),
        ("number", " -1.5e2 ", (), -150.0),
        ("number", 7, (), 7),
        ("string", 7, (), "7"),
        ("string", [1], (), "[1]"),
        ("truncate", "abcdef", (4,), "abc…"),
        ("truncate", "abcd", (4,), "abcd"),
        ("truncate", "abcdef", (4, ""), "abcd"),
        ("truncate", "abcdef", (2, "..."), ".."),
        ("truncate", "abcdef", (0,), ""),
        ("keys", {"b": 1, "a": 2}, (), ["b", "a"]),
        ("values", {"b": 1, "a": 2}, (), [1, 2]),
        ("unique", [1, 1.0, "1", True, None, None, [1], [1.0]], (), [1, "1", True, None, [1]]),
        ("unique", [{"a": 1}, {"a": 1.0}, "list", [], 0.5, Decimal("0.5")], (), [{"a": 1}, "list", [], 0.5]),
        ("sort", [3, 1.5, 2], (), [1.5, 2, 3]),
        ("sort", ["b", "a"], (), ["a", "b"]),
        ("sort", [], (), []),
        ("map", [{"a": {"b": 1}}, {"a": None}], (("a", "b"),), [1, None]),
        (
            "where",
            [{"a": 1}, {"a": 1.0, "b": 2}, {"a": "1"}, {}, 5],
            (("a",), 1),
            [{"a": 1}, {"a": 1.0, "b": 2}],
        ),
        ("sum", [1, 2.5], (), 3.5),
        ("sum", [], (), 0),
        ("min", [3, 1, 2], (), 1),
        ("max", ["a", "c", "b"], (), "c"),
        ("min", [], (), None),
        ("max", [], (), None),
        ("date", "2026-05-07T09:08:07Z", (), "2026-05-07"),
        ("date", "2026-05-07T09:08:07+02:00", ("%H:%M:%S %z",), "09:08:07 +0200"),
        (
            "date",
            "2026-05-07",
            ("%A, %d %B %Y (%a %b %j) 100%%",),
            "Thursday, 07 May 2026 (Thu May 127) 100%",
        ),
        ("date", 0, ("%Y-%m-%dT%H:%M:%S%z",), "1970-01-01T00:00:00+0000"),
        ("default", None, ("x",), "x"),
        ("default", MISSING, ("x",), "x"),
        ("default", "", ("x",), ""),
        ("default", False, ("x",), False),
        ("default", 0, ("x",), 0),
    ],
)
def test_a_filter_gives(name: str, value: object, arguments: tuple[object, ...], result: object):
    answer = apply(name, value, *arguments)

    assert equal(answer, result), answer


@pytest.mark.parametrize(
    ("name", "value", "arguments"),
    [
        ("from_json", "{", ()),
        ("from_json", "[" * 100_000, ()),
        ("from_json", "NaN", ()),
        ("from_json", 5, ()),
        ("from_json", "\ud800", ()),
        ("json", object(), ()),
        ("length", 5, ()),
        ("length", None, ()),
        ("upper", 5, ()),
        ("upper", None, ()),
        ("lower", [], ()),
        ("trim", {}, ()),
        ("first", "abc", ()),
        ("last", None, ()),
        ("join", "abc", ()),
        ("join", ["a", None], ()),
        ("join", ["a"], (5,)),
        ("split", "a", ("",)),
        ("split", 5, ()),
        ("round", "5", ()),
        ("round", True, ()),
        ("round", 1.5, (16,)),
        ("round", 1.5, (-1,)),
        ("round", 1.5, (True,)),
        ("round", float("inf"), ()),
        ("int", "four", ()),
        ("int", "", ()),
        ("int", True, ()),
        ("int", None, ()),
        ("int", "1e999", ()),
        ("int", Decimal("1e1000000"), ()),
        ("int", Decimal("NaN"), ()),
        ("number", "1,5", ()),
        ("number", "٣", ()),
        ("number", "0x10", ()),
        ("number", "9" * 2000, ()),
        ("number", "1e999", ()),
        ("number", True, ()),
        ("string", None, ()),
        ("truncate", "abc", (-1,)),
        ("truncate", "abc", ("2",)),
        ("truncate", 5, (2,)),
        ("keys", [], ()),
        ("values", "a", ()),
        ("unique", "aab", ()),
        ("sort", [1, "a"], ()),
        ("sort", [True, False], ()),
        ("sort", [None], ()),
        ("sort", 5, ()),
        ("min", [1, None], ()),
        ("max", [[1]], ()),
        ("sum", [1, "2"], ()),
        ("sum", [True], ()),
        ("map", [{"a": 1}, {}], (("a",),)),
        ("map", {"a": 1}, (("a",),)),
        ("where", None, (("a",), 1)),
        ("date", "tomorrow", ()),
        ("date", None, ()),
        ("date", 1e300, ()),
        ("date", 10**400, ()),
        ("date", 0, ("%q",)),
        ("date", 0, ("%",)),
        ("date", 0, ("%Y" * 200,)),
        ("date", 0, (5,)),
    ],
)
def test_a_filter_refuses(name: str, value: object, arguments: tuple[object, ...]):
    with pytest.raises(ValueFault):
        apply(name, value, *arguments)


def test_a_join_over_the_limit_is_refused_before_it_is_built():
    megabyte = "x" * 1_000_000

    with pytest.raises(ValueFault, match="characters"):
        apply("join", [megabyte] * 100)
    with pytest.raises(ValueFault, match="characters"):
        apply("join", [""] * 100, megabyte)


@pytest.mark.parametrize(
    ("name", "value", "arguments"),
    [
        ("split", "," * (MAX_ITEMS + 5), (",",)),
        ("values", {str(key): 1 for key in range(MAX_ITEMS + 1)}, ()),
        ("unique", list(range(MAX_ITEMS + 1)), ()),
        ("upper", "ß" * (MAX_TEXT_CHARACTERS // 2 + 1), ()),
        ("json", "\n" * (MAX_TEXT_CHARACTERS // 2 + 1), ()),
        ("from_json", " " * MAX_TEXT_CHARACTERS + "1", ()),
        ("sum", [2 ** (MAX_INTEGER_BITS - 1)] * 3, ()),
    ],
)
def test_a_result_over_the_limit_is_refused(name: str, value: object, arguments: tuple[object, ...]):
    with pytest.raises(ValueFault, match=r"more than"):
        apply(name, value, *arguments)


@pytest.mark.parametrize("value", [[i % 7 for i in range(MAX_ITEMS)], [str(i) for i in range(MAX_ITEMS)]])
@pytest.mark.parametrize("name", ["unique", "sort", "json", "min", "first", "length"])
def test_the_largest_list_is_filtered_in_linear_time(name: str, value: object):
    apply(name, value)


def test_values_nested_too_deeply_are_not_made_unique():
    value: object = 1
    for _ in range(1000):
        value = [value]

    with pytest.raises(ValueFault, match="nested"):
        apply("unique", [value])


def test_every_filter_is_one_that_the_language_names():
    named = (
        "default json from_json length upper lower trim first last join split round int number string "
        "truncate keys values unique sort map where sum min max date"
    )

    assert set(FILTERS) == set(named.split())
    assert all(spec.summary and 0 <= spec.least <= spec.most for spec in FILTERS.values())


@given(json_values, json_values)
def test_comparing_never_fails_and_unique_agrees_with_it(left: object, right: object):
    assert equal(left, left)
    assert equal(left, right) is equal(right, left)
    assert (len(apply("unique", [left, right])) == 1) is equal(left, right)  # type: ignore[arg-type]


@given(json_values)
def test_json_reads_back_as_the_same_value(value: object):
    assert json.loads(str(apply("json", value))) == value


@given(
    st.sampled_from(sorted(set(FILTERS) - {"map", "where", "default"})),
    json_values,
    st.lists(json_values, max_size=2),
)
def test_a_filter_gives_a_value_or_a_fault(name: str, value: object, arguments: list[object]):
    spec = FILTERS[name]
    given_arguments = arguments[: spec.most] + [1] * (spec.least - len(arguments))
    # Anything else that is raised fails the test.
    with contextlib.suppress(ValueFault):
        apply(name, value, *given_arguments)
