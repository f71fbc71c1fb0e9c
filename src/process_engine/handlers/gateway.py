"""Gateways: which steps run next."""

from __future__ import annotations

from process_engine.handlers.inline import DecidedInline


class GatewayHandler(DecidedInline):
    """Chooses the routes, from what the conditions read."""

    step_type = "gateway"
