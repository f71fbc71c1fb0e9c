"""Transforms: values made of other values."""

from __future__ import annotations

from datetime import datetime

from process_engine.core.inline import INLINE
from process_engine.core.results import StepResult
from process_engine.definition.document import Step
from process_engine.definition.expressions import Scope


class TransformHandler:
    """Makes the value inside the transition that reaches the step."""

    def decide(self, step: Step, scope: Scope, now: datetime) -> StepResult:
        """The value, typed."""
        return INLINE["transform"](step).decide(scope, now)
