"""The agent that answers what it was asked: to try a process out, and to measure the engine alone."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from process_engine.agents.settings import AgentSettings
from process_engine.runtime.ports import AgentReply, AgentRequest


class EchoAgent:
    """Answers the message itself, as it is, at once and at no cost."""

    async def call(self, request: AgentRequest) -> AgentReply:
        return AgentReply(output=request.message)

    async def aclose(self) -> None:
        pass


class EchoSettings(AgentSettings, frozen=True):
    """An agent that answers the message itself."""

    kind: Literal["echo"] = Field(default="echo", description="Answers the message itself.")

    def connect(self) -> EchoAgent:
        return EchoAgent()
