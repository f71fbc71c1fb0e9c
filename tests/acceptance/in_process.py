"""The pipeline inside the test's own process: virtual time, and agents that remember what they did."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from process_engine.app import ExecutionEngine
from process_engine.core.events import Event
from process_engine.ids import ExecutionId
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.feed import InMemoryEventBus
from process_engine.runtime.ports import AgentCallFailed, AgentReply, AgentRequest
from process_engine.testing.clock import VirtualClock
from tests.acceptance.evidence import Call, Found, broken_promises, integrity, look, unrecorded
from tests.acceptance.pipeline import BEHAVIOURS, pipeline

# Real seconds; on virtual time a run takes some hundredths of one.
STUCK_SECONDS = 20.0

EXECUTION = ExecutionId("pipeline-1")


class RememberingAgents:
    """The pipeline's agents without a network: `calls` so far, in order; refusals are counted by key."""

    def __init__(self, calls: Collection[Call] = ()) -> None:
        self.calls = list(calls)

    def as_they_are(self) -> RememberingAgents:
        """The same agents at this moment: what they are asked from now on is not seen here."""
        return RememberingAgents(self.calls)

    async def call(self, request: AgentRequest) -> AgentReply:
        context = request.context
        call = Call(context.step_id, context.visit, context.attempt, request.idempotency_key)
        self.calls.append(call)
        behaviour = BEHAVIOURS[request.agent]
        if Counter(one.key for one in self.calls)[call.key] <= behaviour.fail_first:
            raise AgentCallFailed("AGENT_UNAVAILABLE", "not now", transient=True)
        return AgentReply(output=behaviour.reply)

    def knows(self, agent: str) -> bool:
        return agent in BEHAVIOURS

    def names(self) -> Collection[str]:
        return BEHAVIOURS

    async def aclose(self) -> None:
        return None


class Run:
    """One engine on a store: whom it asked, and which events it told somebody of (`acknowledged`, by id)."""

    def __init__(self, clock: VirtualClock | None = None, agents: RememberingAgents | None = None) -> None:
        self.clock = clock or VirtualClock()
        self.agents = agents or RememberingAgents()
        self.acknowledged: list[str] = []

    async def to_its_end(self, store: SqliteRepository) -> str:
        """Start the execution, or find it, and wait until it has ended; its status.

        Raises:
            ProcessEngineError: the store failed.
            TimeoutError: the execution is stuck.
        """
        bus = InMemoryEventBus()
        bus.subscribe(self._note)
        async with ExecutionEngine(store, self.agents, clock=self.clock, event_bus=bus) as engine:
            started = await engine.start(pipeline(), execution_id=EXECUTION)
            self.acknowledged.append(f"{started.id}/1")
            async with asyncio.timeout(STUCK_SECONDS):
                ended = await engine.run_until_settled(started.id)
        return ended.status.value

    def _note(self, event: Event) -> None:
        self.acknowledged.append(event.id)


async def wrong_after(
    store: Path, acknowledged: Collection[str], agents: RememberingAgents, clock: VirtualClock
) -> list[str]:
    """What a fault broke: looks at the store it left, resumes it on an ordinary disk, and looks again.

    `agents` are as the fault found them, `clock` is the time then.
    """
    before: Found | None = await look(store, EXECUTION, pipeline())
    # Not before: SQLite mends on opening what a crash has left, and it is the store that has to open it.
    wrong = [] if (found := integrity(store)) == "ok" else [f"integrity_check: {found}"]
    calls_before = list(agents.calls)
    wrong += unrecorded(before, calls_before)
    await Run(clock, agents).to_its_end(SqliteRepository(store, synchronous="OFF"))
    after = await look(store, EXECUTION, pipeline())
    return wrong + broken_promises(
        before, after, acknowledged=acknowledged, calls_before=calls_before, calls=agents.calls
    )
