"""Committed events as listeners and readers get them."""

from __future__ import annotations

import asyncio

import pytest

from process_engine.app import ExecutionEngine
from process_engine.core.events import Event
from process_engine.repositories.memory import MemoryRepository
from process_engine.runtime.feed import InMemoryEventBus
from process_engine.testing.clock import VirtualClock
from tests.unit.runtime.fakes import ScriptedAgents, process, task


async def test_a_listener_hears_every_committed_event_in_order():
    store, bus = MemoryRepository(), InMemoryEventBus()
    heard: list[Event] = []
    bus.subscribe(heard.append)
    async with ExecutionEngine(store, ScriptedAgents(), clock=VirtualClock(), event_bus=bus) as engine:
        execution = await engine.start(process(task("a"), task("b", "a")))
        await engine.run_until_settled(execution.id)
        assert heard == list(await store.events(execution.id))


async def test_a_listener_that_fails_disturbs_nobody(caplog: pytest.LogCaptureFixture):
    bus = InMemoryEventBus()
    heard: list[str] = []

    def fail(event: Event) -> None:
        raise RuntimeError("listener")

    bus.subscribe(fail)
    unsubscribe = bus.subscribe(lambda event: heard.append(event.type))
    async with ExecutionEngine(
        MemoryRepository(), ScriptedAgents(), clock=VirtualClock(), event_bus=bus
    ) as engine:
        execution = await engine.start(process(task("a")))
        await engine.run_until_settled(execution.id)
        unsubscribe()
        await engine.start(process(task("a")))
    assert heard[-1] == "ProcessCompleted"
    assert "listener failed" in caplog.text


async def test_a_reader_with_a_cursor_misses_nothing_and_gets_nothing_twice():
    async with ExecutionEngine(MemoryRepository(), ScriptedAgents(), clock=VirtualClock()) as engine:
        positions: list[int] = []
        types: list[str] = []

        async def read(count: int, after: int) -> int:
            async for entry in engine.feed.follow(after=after):
                positions.append(entry.position)
                types.append(entry.event.type)
                after = entry.position
                if types.count("ProcessCompleted") == count:
                    break
            return after

        first = asyncio.create_task(read(1, 0))
        execution = await engine.start(process(task("a")))
        await engine.run_until_settled(execution.id)
        cursor = await first
        execution = await engine.start(process(task("a")))
        await engine.run_until_settled(execution.id)
        await read(2, cursor)
    assert positions == sorted(set(positions))
    assert types.count("StepStarted") == 2
