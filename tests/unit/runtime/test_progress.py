"""What a handler says that a failed attempt did all the same: bounded, and handed to the next attempt."""

from __future__ import annotations

import pytest

from process_engine.app import ExecutionEngine, built_in_handlers
from process_engine.core.results import PROGRESS_LIMIT_BYTES, Completed, Failed
from process_engine.repositories.memory import MemoryRepository
from process_engine.runtime.ports import StepContext
from process_engine.runtime.view import ProcessExecution
from process_engine.testing.clock import VirtualClock
from tests.unit.runtime.fakes import ScriptedAgents, process

STEP = {"id": "tell", "type": "notification", "channel": "log", "message": "m", "retry": {"max_attempts": 3}}


class Handler:
    """Fails twice, with this progress the first time; keeps what each attempt is told."""

    def __init__(self, progress: object) -> None:
        self.progress = progress
        self.told: list[object] = []

    async def execute(self, context: StepContext) -> Completed | Failed:
        self.told.append(context.progress)
        match context.attempt:
            case 1:
                return Failed("CHANNEL_UNAVAILABLE", "no", transient=True, progress=self.progress)
            case 2:
                return Failed("CHANNEL_UNAVAILABLE", "no", transient=True)
            case _:
                return Completed(output=None)


async def run(handler: Handler) -> ProcessExecution:
    agents = ScriptedAgents()
    registry = built_in_handlers(agents)
    registry.register("notification", handler)
    async with ExecutionEngine(MemoryRepository(), agents, registry=registry, clock=VirtualClock()) as engine:
        execution = await engine.start(process(STEP))
        return await engine.run_until_settled(execution.id)


async def test_every_attempt_hears_what_those_before_it_did():
    handler = Handler({"to": ("ann",)})
    execution = await run(handler)

    assert execution.status == "completed"
    assert handler.told == [None, {"to": ["ann"]}, {"to": ["ann"]}]


async def test_progress_of_the_size_that_is_allowed_is_recorded():
    handler = Handler("x" * (PROGRESS_LIMIT_BYTES - 2))

    assert (await run(handler)).status == "completed"
    assert len(str(handler.told[1])) == PROGRESS_LIMIT_BYTES - 2


@pytest.mark.parametrize(
    "progress",
    ["x" * (PROGRESS_LIMIT_BYTES - 1), "x" * 70_000, "x" * 11_000_000, "\ud800", object()],
    ids=["a byte too long", "a blob", "too large at all", "no text", "no JSON"],
)
async def test_progress_that_cannot_be_recorded_fails_the_step_rather_than_repeat_it_unnoticed(
    progress: object,
):
    handler = Handler(progress)
    execution = await run(handler)

    assert execution.status == "failed"
    assert len(handler.told) == 1
    assert execution.error is not None
    assert execution.error.code == "HANDLER_ERROR"
    assert "its progress cannot be recorded" in execution.error.message


class Twice:
    """Completes its first visit; the second fails and says what it did. Keeps what an undo is told."""

    def __init__(self) -> None:
        self.undos: list[object] = []

    async def execute(self, context: StepContext) -> Completed | Failed:
        if context.undo:
            self.undos.append(context.progress)
        elif context.visit == 2:
            return Failed("CHANNEL_UNAVAILABLE", "no", transient=True, progress={"to": ["ann"]})
        return Completed(output=None)


async def test_what_undoes_a_visit_hears_nothing_of_what_attempts_of_another_did():
    handler, agents = Twice(), ScriptedAgents()
    registry = built_in_handlers(agents)
    registry.register("notification", handler)
    registry.register("agent_task", handler)
    undo = {"compensation": {"agent": "undoer", "message": "take it back"}}
    retry = {"retry": {"max_attempts": 2, "initial_delay": "1h", "max_delay": "1h"}}
    back = {"id": "g", "type": "gateway", "depends_on": ["tell"]}
    back["routes"] = [{"target": "tell", "max_visits": 2}]
    definition = process(STEP | undo | retry, back)
    async with ExecutionEngine(MemoryRepository(), agents, registry=registry, clock=VirtualClock()) as engine:
        execution = await engine.start(definition)
        await engine.run_until_settled(execution.id, wait_for_timers=False)
        await engine.cancel(execution.id)
        done = await engine.run_until_settled(execution.id)

    assert done.status == "cancelled"
    assert handler.undos == [None]
