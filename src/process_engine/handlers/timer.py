"""Timers: waiting for a span or for a moment."""

from __future__ import annotations

from process_engine.handlers.inline import DecidedInline


class TimerHandler(DecidedInline):
    """Decides when a timer is due; the wait itself is a durable piece of work, not a sleeping task."""

    step_type = "timer"
