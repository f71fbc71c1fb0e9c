"""What the tests of agents share."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from process_engine.agents.gateway import Agent
from process_engine.agents.http import HttpAgent, HttpSettings
from process_engine.ids import ExecutionId, StepId
from process_engine.runtime.ports import AgentCallFailed, AgentContext, AgentReply, AgentRequest

CONTEXT = AgentContext(
    execution_id=ExecutionId("e1"),
    process="tides",
    version="2",
    step_id=StepId("write"),
    visit=1,
    attempt=3,
    correlation_id="root",
)


def a_request(
    message: object = "tides", *, agent: str = "writer", key: str = "e1/write/1", **more
) -> AgentRequest:
    return AgentRequest(agent=agent, message=message, context=CONTEXT, idempotency_key=key, **more)


@asynccontextmanager
async def http_agent(url: str, **settings: object) -> AsyncIterator[HttpAgent]:
    agent = HttpSettings.model_validate({"kind": "http", "url": url, **settings}).connect()
    try:
        yield agent
    finally:
        await agent.aclose()


async def answer(url: str, request: AgentRequest | None = None, **settings: object) -> AgentReply:
    async with http_agent(url, **settings) as agent:
        return await agent.call(request or a_request())


async def failure(url: str, request: AgentRequest | None = None, **settings: object) -> AgentCallFailed:
    with pytest.raises(AgentCallFailed) as caught:
        await answer(url, request, **settings)
    return caught.value


async def failure_of(agent: Agent, request: AgentRequest | None = None) -> AgentCallFailed:
    with pytest.raises(AgentCallFailed) as caught:
        await agent.call(request or a_request())
    return caught.value


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until something that another task is about to do has been done; the test's timeout bounds it."""
    while not condition():  # noqa: ASYNC110 - what is waited for knows no event
        await asyncio.sleep(0.001)


@asynccontextmanager
async def raw_server(answer: bytes, *, reset: bool = False) -> AsyncIterator[str]:
    """A server that reads a request's head, sends these bytes and hangs up; gives its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if reset:
            writer.transport.abort()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
