"""What the loop makes of commits whose outcome is in doubt, and how commands share one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from process_engine.app import ExecutionEngine
from process_engine.core.events import StepCompleted
from process_engine.core.state import ExecutionStatus
from process_engine.core.transition import Transition
from process_engine.errors import OwnershipLost, StorageUnavailable
from process_engine.ids import ExecutionId
from process_engine.repositories.memory import MemoryRepository
from process_engine.runtime.ports import Fence
from process_engine.testing.clock import VirtualClock
from tests.unit.runtime.fakes import ScriptedAgents, SlowRepository, process, task


class DoubtfulRepository(MemoryRepository):
    """A memory store of which one commit, counted from 0, neither writes anything nor says so."""

    def __init__(self, doubtful: int) -> None:
        super().__init__()
        self._left = doubtful

    async def commit(self, transitions: Sequence[Transition], fence: Fence) -> None:
        self._left -= 1
        if self._left == -1:
            raise StorageUnavailable("nobody knows", nothing_written=None)
        await super().commit(transitions, fence)


class OvertakenRepository(MemoryRepository):
    """A memory store that is taken over while the answer to its first commit is on its way."""

    async def commit(self, transitions: Sequence[Transition], fence: Fence) -> None:
        await super().commit(transitions, fence)
        await MemoryRepository(self.tables).open(clock=VirtualClock())
        raise StorageUnavailable("the answer was lost", nothing_written=None)


class CountingRepository(SlowRepository):
    """A slow store that keeps how many answers each commit had."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    async def commit(self, transitions: Sequence[Transition], fence: Fence) -> None:
        await super().commit(transitions, fence)
        events = [event for transition in transitions for event in transition.events]
        self.sizes.append(sum(isinstance(event, StepCompleted) for event in events))


@pytest.mark.parametrize("commit", range(4))
async def test_a_commit_in_doubt_that_was_not_written_is_made_again(commit: int):
    store, agents = DoubtfulRepository(commit), ScriptedAgents()
    async with ExecutionEngine(store, agents, clock=VirtualClock()) as engine:
        execution = await engine.start(process(task("a"), task("b", "a"), task("c", "b")))
        assert await store.load(execution.id) is not None
        execution = await engine.run_until_settled(execution.id)
        events = await store.events(execution.id)
        stored = await store.load(execution.id)
    assert execution.status is ExecutionStatus.COMPLETED
    assert stored is not None
    assert stored.head.status is ExecutionStatus.COMPLETED
    assert [call.context.step_id for call in agents.calls] == ["a", "b", "c"]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))


async def test_what_was_written_is_not_carried_out_by_an_engine_that_has_lost_its_store():
    store, agents = OvertakenRepository(), ScriptedAgents()
    async with ExecutionEngine(store, agents, clock=VirtualClock(), serve_inbox=False) as engine:
        with pytest.raises(OwnershipLost):
            await engine.start(process(task("a")))
        assert len(await store.open_executions()) == 1
    assert agents.calls == []


async def test_answers_that_arrive_during_a_commit_share_the_next_one():
    store, together = CountingRepository(), asyncio.Event()

    async def wait(_: object) -> str:
        await together.wait()
        return "done"

    async with ExecutionEngine(store, ScriptedAgents(wait), clock=VirtualClock()) as engine:
        execution = await engine.start(process(task("a"), task("b"), task("c")))
        store.sizes.clear()
        store.gate.clear()
        together.set()
        for _ in range(50):
            await asyncio.sleep(0)
        store.gate.set()
        execution = await engine.run_until_settled(execution.id)
    assert execution.status is ExecutionStatus.COMPLETED
    # The first answer may have set out alone; those behind it wait together.
    assert sum(store.sizes) == 3
    assert len(store.sizes) <= 2


async def test_an_attempt_that_is_withdrawn_before_its_first_turn_leaves_its_place():
    store, agents = CountingRepository(), ScriptedAgents()
    engine = ExecutionEngine(store, agents, clock=VirtualClock())
    async with engine, asyncio.timeout(10):
        store.gate.clear()
        held = asyncio.create_task(engine.start(process(task("a"))))
        for _ in range(10):
            await asyncio.sleep(0)
        # Both wait behind the commit under way, and share the next one: what starts is withdrawn at once.
        starts = asyncio.create_task(engine.start(process(task("a")), execution_id=ExecutionId("mine")))
        cancels = asyncio.create_task(engine.cancel("mine"))
        for _ in range(10):
            await asyncio.sleep(0)
        store.gate.set()
        await asyncio.gather(held, starts, cancels)
        for _ in range(50):
            await asyncio.sleep(0)

        assert await engine.drain(5) == 0
    assert [call.context.execution_id for call in agents.calls] == [(await held).id]
