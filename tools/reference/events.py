"""The events with their fields, and the reasons of skips."""

from __future__ import annotations

from typing import get_args, get_type_hints

import msgspec

from process_engine.core import events
from process_engine.core.state import SkipReason
from tools.reference.markdown import code, table, words_of

_COMMON = {*events.Event.__struct_fields__, *events.StepEvent.__struct_fields__}
_REASONS = {
    SkipReason.CONDITION_FALSE: ("its `condition` was false", "dead"),
    SkipReason.ROUTE_NOT_TAKEN: ("a gateway before it chose other routes", "dead"),
    SkipReason.DEAD_PATH: ("no way that leads to it was taken", "dead"),
    SkipReason.DEPENDENCY_FAILED: ("a step it depends on failed", "failed"),
    SkipReason.ERROR: ("it failed and says `on_error: skip_step`", "live"),
}


def table_of(group: str) -> str:
    """The events that are `public`, or those that are `bookkeeping`."""
    kinds = (kind for kind in get_args(events.AnyEvent) if kind.public is (group == "public"))
    return table(("event", "own fields", "meaning"), map(_row, kinds))


def _row(kind: type[events.Event]) -> tuple[str, str, str]:
    told = " ".join((kind.__doc__ or "").split()).replace(" (bookkeeping)", "").replace("(bookkeeping; ", "(")
    return code(kind.__name__), "<br>".join(_fields(kind)), told


def _fields(kind: type[events.Event]) -> list[str]:
    """Each own field with its kind; what has a default may be missing in the stored JSON."""
    hints = get_type_hints(kind)
    return [
        f"{code(field.name)} {words_of(hints[field.name])}{'' if field.required else ', optional'}"
        for field in msgspec.structs.fields(kind)
        if field.name not in _COMMON
    ]


def reasons_of_skips() -> str:
    """Why a step is skipped, and what its own edges say then."""
    return table(
        ("reason", "why", "its edges"),
        ((code(reason), *_REASONS[reason]) for reason in SkipReason),
    )
