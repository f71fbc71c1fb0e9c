"""What events about the items of a step do to its state."""

from __future__ import annotations

from types import MappingProxyType
from typing import cast

from msgspec.structs import replace

from process_engine.core import events as e
from process_engine.core.evolve.evolution import Effect, Effects, Evolution
from process_engine.core.items import Items
from process_engine.core.results import NO_USAGE, Usage
from process_engine.core.state import StepStatus
from process_engine.errors import InternalError


def _item_started(evolution: Evolution, event: e.ItemStarted) -> None:
    _keep(evolution, event, _items(evolution, event).begun(event.item, event.attempt))


def _item_retrying(evolution: Evolution, event: e.ItemRetrying) -> None:
    interrupted = event.failure.code == "INTERRUPTED"
    items = _items(evolution, event).repeated(event.item, event.due, interrupted=interrupted)
    _keep(evolution, event, items, event.usage)


def _item_completed(evolution: Evolution, event: e.ItemCompleted) -> None:
    _keep(evolution, event, _items(evolution, event).ended(event.item, done=True), event.usage)


def _item_failed(evolution: Evolution, event: e.ItemFailed) -> None:
    items = _items(evolution, event)
    rules = evolution.plan.steps[event.step_id].items
    if rules is not None and rules.collects:
        _keep(evolution, event, items.ended(event.item, done=False), event.usage)
    else:
        # It fails the step; a retry of the step begins with it.
        _keep(evolution, event, items.repeated(event.item, None), event.usage)


def _items(evolution: Evolution, event: e.ItemEvent) -> Items:
    state = evolution.step(event.step_id)
    if state.items is None or state.status is not StepStatus.RUNNING or state.visit != event.visit:
        raise InternalError(f"event {event.id}: {event.step_id} runs no items.")
    return state.items


def _keep(evolution: Evolution, event: e.ItemEvent, items: Items, usage: Usage = NO_USAGE) -> None:
    """Put the items in place; the step runs on, and holds as many slots as they do."""
    old = evolution.step(event.step_id)
    if usage is NO_USAGE:
        new = replace(old, items=items)
    else:
        new = replace(old, items=items, cost=old.cost + usage.cost, tokens=old.tokens + usage.tokens)
        evolution.spend(usage)
    evolution.steps[event.step_id] = new
    evolution.changed[event.step_id] = None
    evolution.running += new.slots - old.slots


ITEM_EVENTS: Effects = MappingProxyType(
    cast(
        "dict[type[e.Event], Effect]",
        {
            e.ItemStarted: _item_started,
            e.ItemRetrying: _item_retrying,
            e.ItemCompleted: _item_completed,
            e.ItemFailed: _item_failed,
        },
    )
)
"""By the kind of event."""
