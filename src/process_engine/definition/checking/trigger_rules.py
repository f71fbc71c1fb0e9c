"""Rules about triggers."""

from __future__ import annotations

from collections.abc import Iterator

from process_engine.definition.checking.context import Context
from process_engine.definition.problems import Problem


def duplicate_triggers(context: Context) -> Iterator[Problem]:
    """P701: two triggers of a process have the same id."""
    seen: set[str] = set()
    for number, trigger in enumerate(context.definition.triggers):
        if trigger.id in seen:
            message = f"The id `{trigger.id}` belongs to a trigger above already."
            yield context.problem(
                "P701", "error", ("triggers", number, "id"), message, "Give it another one."
            )
        seen.add(trigger.id)
