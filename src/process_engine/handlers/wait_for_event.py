"""Waits for events: somebody outside goes on with the process."""

from __future__ import annotations

from process_engine.handlers.inline import DecidedInline


class WaitForEventHandler(DecidedInline):
    """Says which event is waited for, and until when; the wait itself is part of the state."""

    step_type = "wait_for_event"
