"""Notifications in a simulation: calls like those of agents, whose failures leave something done."""

from __future__ import annotations

from collections.abc import Callable

from process_engine.core.results import Completed, Failed
from process_engine.runtime.ports import AgentCallFailed, AgentContext, AgentRequest, StepContext
from process_engine.testing.simulated_ports import SimulatedAgents

# Whom the simulation lets answer.
CHANNEL = "channel"


def progress_of(attempt: int) -> object:
    """What an attempt that was refused says that it did all the same."""
    return {"told by": attempt}


class SimulatedNotificationHandler:
    """Asks the simulation as an agent task does; `begun` hears what each attempt is told of those before."""

    def __init__(self, agents: SimulatedAgents, begun: Callable[[StepContext], None]) -> None:
        self._agents = agents
        self._begun = begun

    async def execute(self, context: StepContext) -> Completed | Failed:
        """One call; a refusal has progress."""
        self._begun(context)
        try:
            reply = await self._agents.call(_request(context))
        except AgentCallFailed as error:
            return Failed(
                error.code,
                error.message,
                transient=error.transient,
                retry_after=error.retry_after,
                usage=error.usage,
                progress=progress_of(context.attempt),
            )
        return Completed(output=reply.output, usage=reply.usage)


def _request(context: StepContext) -> AgentRequest:
    return AgentRequest(
        agent=CHANNEL,
        message=context.request,
        context=AgentContext(
            execution_id=context.execution_id,
            process=context.process_name,
            version=context.version,
            step_id=context.step_id,
            visit=context.visit,
            attempt=context.attempt,
            correlation_id=context.correlation_id,
        ),
        idempotency_key=context.effect_key,
    )
