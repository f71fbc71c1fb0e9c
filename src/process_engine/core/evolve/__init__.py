"""The one place where an execution's state changes: by applying an event.

`apply` follows tables of allowed moves; an event that does not fit is a bug of the engine and raises
`InternalError` before anything has changed. What each kind of event does stands in the module named like
what it is about.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from process_engine.core import events as e
from process_engine.core.edges import tally_all
from process_engine.core.evolve.approval_events import APPROVAL_EVENTS
from process_engine.core.evolve.child_events import CHILD_EVENTS
from process_engine.core.evolve.compensation_events import COMPENSATION_EVENTS
from process_engine.core.evolve.evolution import Effects, Evolution
from process_engine.core.evolve.item_events import ITEM_EVENTS
from process_engine.core.evolve.process_events import PROCESS_EVENTS
from process_engine.core.evolve.step_events import STEP_EVENTS
from process_engine.core.evolve.wait_events import WAIT_EVENTS
from process_engine.core.plan import Plan
from process_engine.core.state import Execution, Progress, Snapshot, StepStatus
from process_engine.errors import InternalError

__all__ = ["EFFECTS", "Evolution", "apply", "replay", "restore"]

EFFECTS: Effects = MappingProxyType(
    {
        **PROCESS_EVENTS,
        **STEP_EVENTS,
        **APPROVAL_EVENTS,
        **WAIT_EVENTS,
        **CHILD_EVENTS,
        **COMPENSATION_EVENTS,
        **ITEM_EVENTS,
    }
)
"""What every kind of event does."""


def apply(evolution: Evolution, event: e.Event) -> None:
    """Change the state by one event.

    Raises:
        InternalError: the event is not the next one, or its move is not in the tables.
    """
    if event.sequence != evolution.sequence + 1:
        raise InternalError(f"event {event.id} follows number {evolution.sequence}.")
    EFFECTS[type(event)](evolution, event)
    evolution.sequence = event.sequence
    evolution.timestamp = event.timestamp


def replay(plan: Plan, events: Iterable[e.Event]) -> Execution:
    """The execution that these events, all from the first on, lead to."""
    history = iter(events)
    created = next(history)
    if not isinstance(created, e.ExecutionCreated):
        raise InternalError(f"a history begins with ExecutionCreated, not with {created.type}.")
    evolution = Evolution(plan, None, created)
    for event in history:
        apply(evolution, event)
    return evolution.freeze()


def restore(plan: Plan, snapshot: Snapshot) -> Execution:
    """The execution behind a stored snapshot: what is derived is counted afresh."""
    steps = snapshot.steps
    ready = [step_id for step_id, state in steps.items() if state.status is StepStatus.READY]
    settled = sum(1 for state in steps.values() if state.status.is_settled)
    progress = Progress(
        tallies=tally_all(plan, steps),
        queue=tuple(sorted(ready, key=lambda step_id: steps[step_id].queued)),
        running=sum(state.slots for state in steps.values()),
        unsettled=len(plan.order) - settled,
    )
    return Execution(snapshot.created, snapshot.head, steps, progress)
