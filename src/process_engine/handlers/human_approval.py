"""Approvals: people are asked, and the step waits for what they decide."""

from __future__ import annotations

from process_engine.handlers.inline import DecidedInline


class HumanApprovalHandler(DecidedInline):
    """Renders what people are shown, once; their decisions come as commands, not as answers of a handler."""

    step_type = "human_approval"
