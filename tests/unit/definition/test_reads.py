"""What an expression reads: each place, whether it stands under a default, how it is written."""

from __future__ import annotations

import pytest

from process_engine.definition.expressions import Read, parse_expression


def test_an_expression_lists_what_it_reads():
    source = "steps.a-b.output.x[0] > 1 and (input.y | default(steps.c)) in [item, process.name]"

    assert parse_expression(source).reads == (
        Read("steps", "a-b", "output", ("x", 0), 0, False),
        Read("input", None, None, ("y",), source.index("input"), True),
        Read("steps", "c", "output", (), source.index("steps.c"), False),
        Read("item", None, None, (), source.index("item"), False),
        Read("process", None, None, ("name",), source.index("process"), False),
    )


@pytest.mark.parametrize(
    ("source", "flags"),
    [
        ("a | default(1)", [True]),
        ("a | upper | default(1)", [False]),
        ("(a) | default(1)", [True]),
        ("a + 1 | default(1)", [False]),
        ("a | default(b)", [True, False]),
        ("a | default(b) | default(c)", [True, True, False]),
        ("a[b] | default(1)", [True, False]),
        ("a[b | default(1)]", [False, True]),
        ("[a] | default(b)", [False, False]),
    ],
)
def test_a_read_knows_whether_it_stands_under_a_default(source: str, flags: list[bool]):
    assert [read.has_default for read in parse_expression(source).reads] == flags


def test_a_read_is_written_as_one_would_write_it():
    reads = parse_expression("[steps.a, steps.b.status, input.x['y z'][0], index]").reads

    assert [read.text for read in reads] == ["steps.a.output", "steps.b.status", 'input.x["y z"][0]', "index"]


def test_unknown_roots_are_read_too():
    assert [read.root for read in parse_expression("secrets.KEY == inptu.a").reads] == ["secrets", "inptu"]
