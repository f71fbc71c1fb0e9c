"""A call as JSON, for agents that are given all of it."""

from __future__ import annotations

import msgspec

from process_engine.runtime.ports import AgentContext, AgentRequest


class _Body(msgspec.Struct, frozen=True, omit_defaults=True):
    message: object
    context: AgentContext
    model: str | None = None
    temperature: float | None = None
    system: str | None = None


def encoded(request: AgentRequest) -> bytes:
    """`{"message": …, "context": {…}}` with model, temperature and system where the step sets them."""
    return msgspec.json.encode(
        _Body(request.message, request.context, request.model, request.temperature, request.system)
    )


def message_text(request: AgentRequest) -> str:
    """The message as it is if it is text, else its JSON."""
    message = request.message
    return message if isinstance(message, str) else msgspec.json.encode(message).decode()
