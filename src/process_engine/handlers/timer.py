"""Timers: waiting for a span or for a moment."""

from __future__ import annotations

from datetime import datetime

from process_engine.core.inline import INLINE
from process_engine.core.results import StepResult
from process_engine.definition.document import Step
from process_engine.definition.expressions import Scope


class TimerHandler:
    """Decides when a timer is due; the wait itself is a durable piece of work, not a sleeping task."""

    def decide(self, step: Step, scope: Scope, now: datetime) -> StepResult:
        """The moment at which the step completes."""
        return INLINE["timer"](step).decide(scope, now)
