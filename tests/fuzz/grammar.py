"""Values, expressions and templates at random: by the grammar, and beside it."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from process_engine.definition.filters import FILTERS
from process_engine.definition.syntax import ROOTS, STEP_FIELDS
from tests.fuzz.targets import HOSTILE

Texts = st.SearchStrategy[str]

# ---------------------------------------------------------------- values

ODD_TEXTS = ["", "1s", "{{ input.n }}", "{{", "}}", "a" * 300, "\u202e", "\ud800", "\x00", "a.b"]
SCALARS: st.SearchStrategy[object] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 200),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(ODD_TEXTS),
)
VALUES: st.SearchStrategy[object] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)

# ---------------------------------------------------------------- expressions

_SIGNS = [
    "+",
    "-",
    "*",
    "/",
    "%",
    "==",
    "!=",
    "<",
    ">=",
    "in",
    "contains",
    "matches",
    "and",
    "or",
    "&&",
    "**",
    "not",
]
_BELOW = ["", "", "", ".a", "[0]", "[-1]", '["odd key"]', "[input.n]", ".a.b", "[1e9]", "?.a"]
_WORDS = ["true", "false", "null", "''", '"(a+)+$"', '"[a-z]{1,900}"', '"a.b"', "1e308", "0", '"%Y %j"']

_name = st.sampled_from(list(HOSTILE))
_step = st.tuples(_name, st.sampled_from(STEP_FIELDS)).map(lambda pair: f"steps.{pair[0]}.{pair[1]}")
_start = st.one_of(_name.map(lambda word: f"input.{word}"), _step, st.sampled_from([*ROOTS, "x", "steps.x"]))
# Reads of values that exist, and of some that do not.
_path = st.tuples(_start, st.sampled_from(_BELOW)).map("".join)
_literal = st.one_of(
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.text(max_size=8).map(json.dumps),
    st.sampled_from(_WORDS),
)


def _grown(inner: Texts) -> Texts:
    brackets = st.lists(inner, max_size=2).map(lambda items: f"({', '.join(items)})")
    filters = st.sampled_from([*FILTERS, "nope"])
    return st.one_of(
        st.tuples(inner, st.sampled_from(_SIGNS), inner).map(" ".join),
        st.tuples(inner, filters, brackets | st.just("")).map(lambda three: "{} | {}{}".format(*three)),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"not {text}"),
        inner.map(lambda text: f"-{text}"),
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.tuples(inner, inner).map(lambda pair: f'{{"a": {pair[0]}, "b": {pair[1]}}}'),
        st.tuples(inner, inner).map(lambda pair: f"{pair[0]}[{pair[1]}]"),
    )


EXPRESSIONS: Texts = st.recursive(_path | _path | _literal, _grown, max_leaves=6)
"""Texts by the grammar, most of them on values that exist."""

TEMPLATES: Texts = st.lists(
    EXPRESSIONS.map(lambda source: f"{{{{ {source} }}}}") | st.text(max_size=5), min_size=1, max_size=3
).map("".join)
"""Texts with expressions in them."""

_SCRAPS = [
    *"()[]{}|.,'\"\\-%e1?!=<",
    "{{",
    "}}",
    "not ",
    " in ",
    " and ",
    "input",
    "steps",
    "==",
    "\ud800",
    "\n",
]
_scraps = st.lists(st.sampled_from(_SCRAPS) | st.text(max_size=3), max_size=14).map("".join)
_repeated = st.tuples(st.sampled_from(_SCRAPS), st.integers(1, 3_000)).map(lambda pair: pair[0] * pair[1])

SCRAPS: Texts = _scraps | _repeated
"""Pieces of the grammar in any order, and one of them very often."""
