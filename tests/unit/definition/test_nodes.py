"""The syntax tree: in which order it is walked, and how deep it is."""

from __future__ import annotations

from process_engine.definition.nodes import (
    Path,
    children,
    first_below,
    walk,
)
from process_engine.definition.syntax import parse


def test_walking_visits_every_node_before_what_it_contains():
    node = parse("[a, {b: not c}, -d[e], f | default(g), h and i == j]")

    assert [part.root for part in walk(node) if isinstance(part, Path)] == list("acdefghij")
    assert next(walk(node)) is node
    assert all(below in list(walk(node)) for part in walk(node) for below in children(part))


def test_the_first_node_at_a_depth_is_found():
    node = parse("[a, [b, -c]]")

    assert first_below(node, 0) is node
    assert first_below(node, 2) == Path("b", (), 5)
    assert first_below(node, 3) == Path("c", (), 9)
    assert first_below(node, 4) is None
