"""What invariants look at, and how they say that one is broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from process_engine.core import events as e
from process_engine.core.evolve import restore
from process_engine.core.plan import Plan
from process_engine.core.state import (
    Execution,
    Snapshot,
)
from process_engine.core.work import WorkItem
from process_engine.ids import ExecutionId


class BrokenInvariant(AssertionError):
    """An invariant does not hold: `number` says which, the text what was found."""

    def __init__(self, number: str, execution_id: ExecutionId, found: str) -> None:
        super().__init__(f"{number} broken in {execution_id}: {found}")
        self.number = number


@dataclass(frozen=True)
class Audit:
    """One execution as a store holds it: its snapshot, its whole history, its open work."""

    plan: Plan
    stored: Snapshot
    events: Sequence[e.Event]
    work: Sequence[WorkItem]

    @property
    def execution(self) -> Execution:
        """The stored state with what is derived from it."""
        return restore(self.plan, self.stored)

    def demand(self, number: str, holds: bool, found: str) -> None:
        """Raise unless `holds`."""
        if not holds:
            raise BrokenInvariant(number, self.stored.created.execution_id, found)
