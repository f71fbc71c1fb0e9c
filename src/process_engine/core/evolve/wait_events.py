"""What events about published events do to the execution that takes them."""

from __future__ import annotations

from types import MappingProxyType
from typing import cast

from process_engine.core import events as e
from process_engine.core.evolve.evolution import Effect, Effects, Evolution


def _event_received(evolution: Evolution, event: e.EventReceived) -> None:
    evolution.received = evolution.received.with_event(event.position)


WAIT_EVENTS: Effects = MappingProxyType(
    cast("dict[type[e.Event], Effect]", {e.EventReceived: _event_received})
)
"""By the kind of event."""
