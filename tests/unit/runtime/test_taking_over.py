"""What waits when its engine stops is waited for by the next one, however much of it there is."""

from __future__ import annotations

from process_engine.app import ExecutionEngine
from process_engine.core.state import ExecutionStatus, StepStatus
from process_engine.repositories.memory import MemoryRepository
from process_engine.testing.clock import VirtualClock
from tests.unit.runtime.fakes import ScriptedAgents, process, task

# More than are read from a store at once.
MANY = 1100


async def test_the_time_limit_of_an_execution_holds_over_a_restart():
    tables, clock = MemoryRepository().tables, VirtualClock()
    definition = process({"id": "t", "type": "timer", "delay": "2h"}, limits={"timeout": "1h"})
    async with ExecutionEngine(MemoryRepository(tables), ScriptedAgents(), clock=clock) as engine:
        execution = await engine.start(definition)
        await clock.sleep(1200)
    async with ExecutionEngine(MemoryRepository(tables), ScriptedAgents(), clock=clock) as engine:
        await clock.sleep(2399)
        before = await engine.get(execution.id)
        await clock.sleep(2)
        after = await engine.get(execution.id)
    assert before.status is ExecutionStatus.RUNNING
    assert after.status is ExecutionStatus.FAILED


async def test_very_many_timers_are_all_waited_for_after_a_restart():
    tables, clock = MemoryRepository().tables, VirtualClock()
    timers = [{"id": f"t{number}", "type": "timer", "delay": f"{1 + number}s"} for number in range(MANY)]
    async with ExecutionEngine(MemoryRepository(tables), ScriptedAgents(), clock=clock) as engine:
        execution = await engine.start(process(*timers))
    async with ExecutionEngine(MemoryRepository(tables), ScriptedAgents(), clock=clock) as engine:
        await clock.sleep(MANY + 1)
        execution = await engine.get(execution.id)
    waiting = [id for id, step in execution.step_executions.items() if step.status is StepStatus.WAITING]
    assert waiting == []
    assert execution.status is ExecutionStatus.COMPLETED


async def test_an_execution_that_was_left_alone_goes_on_once_it_is_resumed():
    tables, clock = MemoryRepository().tables, VirtualClock()
    definition = process({"id": "t", "type": "timer", "delay": "1h"}, task("a", "t"))
    async with ExecutionEngine(MemoryRepository(tables), ScriptedAgents(), clock=clock) as engine:
        execution = await engine.start(definition)
        await engine.pause(execution.id)
    async with ExecutionEngine(
        MemoryRepository(tables), ScriptedAgents(), clock=clock, recover=False
    ) as engine:
        await engine.resume(execution.id)
        await clock.sleep(3600)
        await clock.sleep(1)
        execution = await engine.get(execution.id)
    assert execution.status is ExecutionStatus.COMPLETED
