"""Approvals: people are asked, and the step waits for what they decide."""

from __future__ import annotations

from datetime import datetime

from process_engine.core.inline import INLINE
from process_engine.core.results import StepResult
from process_engine.definition.document import Step
from process_engine.definition.expressions import Scope


class HumanApprovalHandler:
    """Renders what people are shown, once; their decisions come as commands, not as answers of a handler."""

    def decide(self, step: Step, scope: Scope, now: datetime) -> StepResult:
        """What is asked, and whom."""
        return INLINE["human_approval"](step).decide(scope, now)
