"""Steps that the core decides by itself: their handlers only say so."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from process_engine.core.inline import INLINE
from process_engine.core.results import StepResult
from process_engine.definition.document import Step
from process_engine.definition.expressions import Scope


class DecidedInline:
    """Decides steps of `step_type` inside the transition that reaches them."""

    step_type: ClassVar[str]

    def decide(self, step: Step, scope: Scope, now: datetime) -> StepResult:
        """What becomes of the step, from what it can read and the time.

        Raises:
            ExpressionError: something it reads has no value.
        """
        return INLINE[self.step_type](step).decide(scope, now)
