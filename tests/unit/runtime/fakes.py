"""Agents, definitions and stores for the tests of the runtime."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from process_engine.core.transition import Transition
from process_engine.definition.document import ProcessDefinition
from process_engine.errors import StorageUnavailable
from process_engine.repositories.memory import MemoryRepository, Tables
from process_engine.runtime.ports import AgentReply, AgentRequest, Clock, Fence
from process_engine.testing.clock import VirtualClock


class ScriptedAgents:
    """Answers each call by a function of the request; keeps every request."""

    def __init__(self, answer: Callable[[AgentRequest], object] = lambda request: request.message) -> None:
        self._answer = answer
        self.calls: list[AgentRequest] = []

    async def call(self, request: AgentRequest) -> AgentReply:
        self.calls.append(request)
        answer = self._answer(request)
        if asyncio.iscoroutine(answer):
            answer = await answer
        return AgentReply(output=answer)

    def knows(self, agent: str) -> bool:
        return agent != "nobody"

    def names(self) -> Collection[str]:
        return ("somebody",)

    async def aclose(self) -> None:
        return None


class UnreliableRepository(MemoryRepository):
    """A memory store whose commits fail as planned: one entry of `faults` for each commit, then none.

    `None` lets the commit through, True fails it with nothing written, "lost" writes it and loses the
    answer, an exception is raised as it is.
    """

    def __init__(self, faults: Sequence[object] = (), tables: Tables | None = None) -> None:
        super().__init__(tables)
        self.faults = list(faults)
        self.commits = 0

    async def commit(self, transitions: Sequence[Transition], fence: Fence) -> None:
        self.commits += 1
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, Exception):
            raise fault
        if fault is True:
            raise StorageUnavailable("the disk is full", nothing_written=True)
        await super().commit(transitions, fence)
        if fault == "lost":
            raise StorageUnavailable("the answer was lost", nothing_written=None)


class SlowRepository(MemoryRepository):
    """A memory store whose commits wait until they are let through."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()

    async def open(self, *, clock: Clock, writer: bool = True) -> None:
        await super().open(clock=clock, writer=writer)

    async def commit(self, transitions: Sequence[Transition], fence: Fence) -> None:
        await self.gate.wait()
        await super().commit(transitions, fence)


def task(step_id: str, *depends_on: str, **fields: object) -> dict[str, object]:
    """An agent task that says its own name."""
    return {
        "id": step_id,
        "type": "agent_task",
        "agent": "somebody",
        "message": step_id,
        "depends_on": list(depends_on),
        **fields,
    }


def process(*steps: dict[str, object], **fields: object) -> ProcessDefinition:
    """A definition of these steps."""
    return ProcessDefinition.model_validate({"name": "process", "steps": list(steps), **fields})


def clock() -> VirtualClock:
    """A virtual clock at its usual start."""
    return VirtualClock()
