"""The step type `agent_task`: one call of an agent per attempt."""

from __future__ import annotations

from typing import Required, TypedDict, cast

from process_engine.core.failures import CODES
from process_engine.core.results import Completed, Failed
from process_engine.runtime.ports import (
    AgentCallFailed,
    AgentContext,
    AgentGateway,
    AgentReply,
    AgentRequest,
    StepContext,
)

# Characters of a failure that are recorded: the story of it, not the page that came with it.
MESSAGE_CHARACTERS = 2_000


class _Fields(TypedDict, total=False):
    """What a step asks of an agent, rendered."""

    agent: Required[str]
    message: Required[object]
    model: str
    temperature: float
    system: str


class AgentTaskHandler:
    """Calls the step's agent and records what it answered.

    `context.request` holds `agent` and `message`, and where the step sets them `model`, `temperature` and
    `system`. The effect key goes along as idempotency key: all attempts of a visit carry the same.
    """

    def __init__(self, agents: AgentGateway) -> None:
        self._agents = agents

    async def execute(self, context: StepContext) -> Completed | Failed:
        try:
            reply: AgentReply = await self._agents.call(_request(context))
        except AgentCallFailed as error:
            return _failed(error)
        except Exception as error:
            return Failed("HANDLER_ERROR", _recordable(f"{type(error).__name__}: {error}"))
        return Completed(output=reply.output, usage=reply.usage)


def _request(context: StepContext) -> AgentRequest:
    fields = cast("_Fields", context.request)
    return AgentRequest(
        agent=fields["agent"],
        message=fields["message"],
        context=AgentContext(
            execution_id=context.execution_id,
            process=context.process_name,
            version=context.version,
            step_id=context.step_id,
            visit=context.visit,
            attempt=context.attempt,
            correlation_id=context.correlation_id,
            item=context.item,
            undo=context.undo,
        ),
        idempotency_key=context.effect_key,
        model=fields.get("model"),
        temperature=fields.get("temperature"),
        system=fields.get("system"),
    )


def _failed(error: AgentCallFailed) -> Failed:
    message = _recordable(error.message)
    if error.code not in CODES:
        unknown = f"the agent failed with the unknown code {error.code}: {message}"
        return Failed("HANDLER_ERROR", unknown, usage=error.usage)
    return Failed(
        error.code, message, transient=error.transient, retry_after=error.retry_after, usage=error.usage
    )


def _recordable(text: str) -> str:
    """`text` cut to what is recorded, without lone surrogates, which no store takes."""
    shown = text if len(text) <= MESSAGE_CHARACTERS else text[: MESSAGE_CHARACTERS - 1] + "…"
    return shown.encode("utf-8", "replace").decode()
