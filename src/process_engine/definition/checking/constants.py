"""Conditions that always come out the same."""

from __future__ import annotations

from functools import lru_cache

from process_engine.definition.expressions import ExpressionSyntaxError, MappingScope, parse_condition
from process_engine.errors import ExpressionError

_NOTHING = MappingScope({})


@lru_cache(maxsize=2048)
def constant_of(condition: str | None) -> bool | None:
    """What the condition always yields (no condition: True), None if that depends on something."""
    if condition is None:
        return True
    try:
        parsed = parse_condition(condition)
        return None if parsed.reads else parsed.evaluate(_NOTHING) is True
    except (ExpressionSyntaxError, ExpressionError):
        return None
