"""Agents behind an HTTP address: one POST per call, JSON there, JSON or text back."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from yarl import URL

from process_engine.agents.answers import read_answer
from process_engine.agents.requests import encoded
from process_engine.agents.transport import Address, HttpConnectionSettings, Transport
from process_engine.runtime.ports import AgentReply, AgentRequest


class HttpSettings(HttpConnectionSettings, frozen=True):
    """An agent that is called by HTTP POST."""

    kind: Literal["http"] = Field(default="http", description="Called by HTTP POST.")
    url: Address = Field(description="Where calls are sent.")

    def connect(self) -> HttpAgent:
        return HttpAgent(self)


class HttpAgent:
    """Calls one address; its connections belong to the loop of the first call."""

    def __init__(self, settings: HttpSettings) -> None:
        self._transport = Transport(URL(settings.url), settings)

    async def call(self, request: AgentRequest) -> AgentReply:
        """Send one POST and read its answer; as `AgentGateway.call`."""
        answer = await self._transport.post(encoded(request), request)
        if answer.status in (204, 205):
            return AgentReply(output=None)
        kind = answer.media_type
        is_json = kind == "application/json" or kind.endswith("+json")
        return read_answer(answer.body, json=is_json, charset=answer.charset)

    async def aclose(self) -> None:
        await self._transport.aclose()
