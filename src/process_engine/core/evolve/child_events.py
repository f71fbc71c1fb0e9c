"""What events about children do to the state of the step that has them."""

from __future__ import annotations

from types import MappingProxyType
from typing import cast

from msgspec.structs import replace

from process_engine.core import events as e
from process_engine.core.children import Child
from process_engine.core.evolve.evolution import Effect, Effects, Evolution
from process_engine.core.state import waits_for_child
from process_engine.errors import InternalError


def _child_started(evolution: Evolution, event: e.ChildStarted) -> None:
    state = evolution.step(event.step_id)
    evolution.put_step(event.step_id, replace(state, child=Child(event.child_id)))


def _child_recalled(evolution: Evolution, event: e.ChildRecalled) -> None:
    state = evolution.step(event.step_id)
    if not waits_for_child(state, event.child_id):
        raise InternalError(f"event {event.id}: {event.step_id} does not wait for {event.child_id}.")
    recalled = Child(event.child_id, recalled=event.failure)
    evolution.put_step(event.step_id, replace(state, child=recalled, due=event.timestamp))


def _child_ended(evolution: Evolution, event: e.ChildEnded) -> None:
    state, usage = evolution.step(event.step_id), event.usage
    paid = replace(state, cost=state.cost + usage.cost, tokens=state.tokens + usage.tokens)
    evolution.put_step(event.step_id, paid)
    evolution.recalls = tuple(recall for recall in evolution.recalls if recall.id != event.child_id)
    evolution.spend(usage)


CHILD_EVENTS: Effects = MappingProxyType(
    cast(
        "dict[type[e.Event], Effect]",
        {
            e.ChildStarted: _child_started,
            e.ChildRecalled: _child_recalled,
            e.ChildEnded: _child_ended,
        },
    )
)
"""By the kind of event."""
