"""Gateways: which steps run next."""

from __future__ import annotations

from datetime import datetime

from process_engine.core.inline import INLINE
from process_engine.core.results import StepResult
from process_engine.definition.document import Step
from process_engine.definition.expressions import Scope


class GatewayHandler:
    """Decides gateways inside the transition that reaches them."""

    def decide(self, step: Step, scope: Scope, now: datetime) -> StepResult:
        """The routes that the gateway takes, from what its conditions read."""
        return INLINE["gateway"](step).decide(scope, now)
