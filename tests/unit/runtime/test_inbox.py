"""Commands that another opening of the store leaves behind."""

from __future__ import annotations

from process_engine.app import ExecutionEngine
from process_engine.core.commands import CancelExecution
from process_engine.core.state import ExecutionStatus
from process_engine.ids import ExecutionId
from process_engine.repositories.memory import MemoryRepository
from process_engine.runtime import inbox
from process_engine.testing.clock import VirtualClock
from tests.unit.runtime.fakes import ScriptedAgents, process, task


async def test_a_command_in_the_inbox_is_carried_out_and_answered():
    tables = MemoryRepository().tables
    clock = VirtualClock()
    definition = process({"id": "t", "type": "timer", "delay": "30d"}, task("a", "t"))
    async with ExecutionEngine(MemoryRepository(tables), ScriptedAgents(), clock=clock) as engine:
        execution = await engine.start(definition)
        other = MemoryRepository(tables)
        await other.open(clock=clock, writer=False)
        answer = await inbox.ask(
            other, CancelExecution(execution_id=execution.id), clock=clock, timeout_seconds=5
        )
        again = await inbox.ask(
            other, CancelExecution(execution_id=execution.id), clock=clock, timeout_seconds=5
        )
        unknown = CancelExecution(execution_id=ExecutionId("nowhere"))
        missing = await inbox.ask(other, unknown, clock=clock, timeout_seconds=5)
        assert (await engine.get(execution.id)).status is ExecutionStatus.CANCELLED
    assert answer is not None
    assert answer.status is ExecutionStatus.CANCELLED
    assert again is not None
    assert again.error_code == "COMMAND_REJECTED"
    assert missing is not None
    assert missing.error_code == "NOT_FOUND"


async def test_a_command_left_while_nobody_runs_is_carried_out_by_the_next_who_does():
    tables = MemoryRepository().tables
    clock = VirtualClock()
    definition = process({"id": "t", "type": "timer", "delay": "30d"}, task("a", "t"))
    async with ExecutionEngine(MemoryRepository(tables), ScriptedAgents(), clock=clock) as engine:
        execution = await engine.start(definition)
    other = MemoryRepository(tables)
    await other.open(clock=clock, writer=False)
    entry = await other.submit(CancelExecution(execution_id=execution.id))
    async with ExecutionEngine(MemoryRepository(tables), ScriptedAgents(), clock=clock) as engine:
        execution = await engine.run_until_settled(execution.id)
        assert execution.status is ExecutionStatus.CANCELLED
        assert entry >= 1
