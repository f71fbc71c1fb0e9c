"""The step runner: attempts begin, end, and leave nothing behind."""

from __future__ import annotations

import asyncio

from process_engine.handlers.built_in import built_in_handlers
from process_engine.repositories.memory import MemoryRepository
from process_engine.runtime.items import ItemReader
from process_engine.runtime.outputs import OutputStorage
from process_engine.runtime.steps import StepRunner
from process_engine.runtime.timers import Timers
from process_engine.testing.clock import VirtualClock
from process_engine.testing.executions import execution_of
from tests.unit.runtime.fakes import ScriptedAgents


async def test_an_attempt_that_is_ended_before_its_first_turn_is_not_waited_for_and_holds_nothing():
    clock, run = VirtualClock(), execution_of("a").started()
    outputs = OutputStorage(MemoryRepository())
    runner = StepRunner(
        clock=clock,
        timers=Timers(clock),
        registry=built_in_handlers(ScriptedAgents()),
        outputs=outputs,
        items=ItemReader(MemoryRepository(), outputs, clock),
        post=lambda result: None,
    )
    runner.start(run.work[0], run.execution, run.plan)

    async with asyncio.timeout(5):
        await runner.close()

    assert runner.under_way == 0
