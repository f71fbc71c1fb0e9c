"""The gateway to all agents of a configuration."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from process_engine.runtime.ports import AgentCallFailed, AgentReply, AgentRequest


class Agent(Protocol):
    """One agent that can be called."""

    async def call(self, request: AgentRequest) -> AgentReply:
        """Call it once; as `AgentGateway.call`."""
        ...

    async def aclose(self) -> None:
        """Give up what the agent holds. May be called without a call before, and twice."""
        ...


class ConfiguredAgents:
    """An `AgentGateway` over named agents."""

    def __init__(self, agents: Mapping[str, Agent]) -> None:
        self._agents = dict(agents)

    async def call(self, request: AgentRequest) -> AgentReply:
        agent = self._agents.get(request.agent)
        if agent is None:
            raise AgentCallFailed("AGENT_ERROR", f"the configuration has no agent `{request.agent}`")
        return await agent.call(request)

    def knows(self, agent: str) -> bool:
        return agent in self._agents

    def names(self) -> Collection[str]:
        return tuple(self._agents)

    async def aclose(self) -> None:
        """Close every agent, also when closing one fails; the failures are raised at the end."""
        failures: list[Exception] = []
        for agent in self._agents.values():
            try:
                await agent.aclose()
            except Exception as error:
                failures.append(error)
        if failures:
            raise ExceptionGroup("agents that could not be closed", failures)
