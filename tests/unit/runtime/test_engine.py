"""The engine as those who embed it use it, on a memory store and virtual time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from process_engine.app import ExecutionEngine
from process_engine.core.config import ExecutionConfig
from process_engine.core.state import ExecutionStatus, StepStatus
from process_engine.errors import (
    CommandRejected,
    ConfigurationInvalid,
    InputRejected,
    NotFound,
    ProcessEngineError,
)
from process_engine.ids import ExecutionId
from process_engine.repositories.memory import MemoryRepository
from process_engine.runtime.ports import AgentCallFailed, AgentRequest
from process_engine.testing.clock import VirtualClock
from tests.unit.runtime.fakes import ScriptedAgents, SlowRepository, UnreliableRepository, process, task


async def test_a_start_is_durable_when_it_returns():
    store = MemoryRepository()
    async with ExecutionEngine(store, ScriptedAgents(), clock=VirtualClock()) as engine:
        execution = await engine.start(process(task("a")))
        assert await store.load(execution.id) is not None


async def test_a_start_with_a_known_id_returns_the_execution_there_is():
    agents = ScriptedAgents()
    async with ExecutionEngine(MemoryRepository(), agents, clock=VirtualClock()) as engine:
        first = await engine.start(process(task("a")), execution_id=ExecutionId("order-7"))
        await engine.run_until_settled(first.id)
        again = await engine.start(process(task("a")), execution_id=ExecutionId("order-7"))
    assert again.status is ExecutionStatus.COMPLETED
    assert len(agents.calls) == 1


async def test_wrong_input_is_refused_and_nothing_is_written():
    store = MemoryRepository()
    definition = process(task("a"), input={"topic": {"type": "string", "required": True}})
    async with ExecutionEngine(store, ScriptedAgents(), clock=VirtualClock()) as engine:
        with pytest.raises(InputRejected, match="topic"):
            await engine.start(definition, {})
        assert await engine.list() == []


async def test_an_unknown_agent_is_refused_before_the_start():
    async with ExecutionEngine(MemoryRepository(), ScriptedAgents(), clock=VirtualClock()) as engine:
        with pytest.raises(ConfigurationInvalid, match="nobody"):
            await engine.start(process(task("a", agent="nobody")))
        assert await engine.list() == []


async def test_an_attempt_that_takes_too_long_is_ended_and_tried_again():
    clock = VirtualClock()
    ended: list[int] = []

    async def slow(request: AgentRequest) -> str:
        if request.context.attempt > 1:
            return "done"
        try:
            await clock.sleep_until(clock.now() + timedelta(hours=1))
        except asyncio.CancelledError:
            ended.append(request.context.attempt)
            raise
        return "too late"

    step = task("a", timeout="90s", retry={"max_attempts": 2, "initial_delay": "1s", "jitter": False})
    async with ExecutionEngine(MemoryRepository(), ScriptedAgents(slow), clock=clock) as engine:
        started = clock.now()
        execution = await engine.start(process(step))
        execution = await engine.run_until_settled(execution.id)
    assert execution.step_executions["a"].output == "done"
    assert ended == [1]
    assert clock.now() - started == timedelta(seconds=91)


async def test_an_exception_of_a_handler_becomes_a_recorded_failure():
    def explode(request: AgentRequest) -> object:
        raise RuntimeError("no\ud800 good")

    async with ExecutionEngine(MemoryRepository(), ScriptedAgents(explode), clock=VirtualClock()) as engine:
        execution = await engine.start(process(task("a")))
        execution = await engine.run_until_settled(execution.id)
    assert execution.status is ExecutionStatus.FAILED
    assert execution.error is not None
    assert execution.error.code == "HANDLER_ERROR"
    assert "RuntimeError: no? good" in execution.error.message


@pytest.mark.parametrize("output", [object(), {"a": "\ud800"}, {"nested": [object()]}])
async def test_an_output_without_json_form_fails_its_step(output: object):
    agents = ScriptedAgents(lambda request: output)
    async with ExecutionEngine(MemoryRepository(), agents, clock=VirtualClock()) as engine:
        execution = await engine.start(process(task("a")))
        execution = await engine.run_until_settled(execution.id)
    assert execution.error is not None
    assert execution.error.code == "INVALID_OUTPUT"


async def test_an_output_over_the_limit_fails_its_step():
    agents = ScriptedAgents(lambda request: "x" * (10 * 1024 * 1024 + 1))
    async with ExecutionEngine(MemoryRepository(), agents, clock=VirtualClock()) as engine:
        execution = await engine.start(process(task("a")))
        execution = await engine.run_until_settled(execution.id)
    assert execution.error is not None
    assert execution.error.code == "OUTPUT_TOO_LARGE"


async def test_a_large_output_reaches_the_next_step_and_the_reader():
    text = "tide " * 40_000
    agents = ScriptedAgents(
        lambda request: text if request.context.step_id == "a" else len(str(request.message))
    )
    definition = process(task("a"), task("b", "a", message="{{ steps.a.output }}"))
    async with ExecutionEngine(MemoryRepository(), agents, clock=VirtualClock()) as engine:
        execution = await engine.start(definition)
        execution = await engine.run_until_settled(execution.id)
        assert execution.step_executions["a"].output == text
        assert execution.step_executions["b"].output == len(text)
        assert await engine.outputs.retrieve(execution.id, execution.step_executions["a"].id) == text


async def test_cancelling_ends_the_running_attempt_and_its_late_answer_changes_nothing():
    begun, ended = asyncio.Event(), asyncio.Event()

    async def stubborn(request: AgentRequest) -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.set()
        return "I do not care"

    async with ExecutionEngine(MemoryRepository(), ScriptedAgents(stubborn), clock=VirtualClock()) as engine:
        execution = await engine.start(process(task("a")))
        await begun.wait()
        cancelled = await engine.cancel(execution.id, by="ann")
        await ended.wait()
        after = await engine.get(execution.id)
    assert cancelled.status is ExecutionStatus.CANCELLED
    assert after.step_executions["a"].status is StepStatus.CANCELLED
    assert after.step_executions["a"].output is None


async def test_a_refused_command_raises_and_changes_nothing():
    async with ExecutionEngine(MemoryRepository(), ScriptedAgents(), clock=VirtualClock()) as engine:
        execution = await engine.start(process(task("a")))
        await engine.run_until_settled(execution.id)
        with pytest.raises(CommandRejected, match="completed"):
            await engine.cancel(execution.id)
        with pytest.raises(NotFound):
            await engine.cancel("no-such-execution")
        with pytest.raises(NotFound):
            await engine.run_until_settled("no-such-execution")


async def test_waiting_can_stop_where_nothing_is_due():
    definition = process(task("a"), {"id": "t", "type": "timer", "delay": "30d", "depends_on": ["a"]})
    clock = VirtualClock()
    async with ExecutionEngine(MemoryRepository(), ScriptedAgents(), clock=clock) as engine:
        started = clock.now()
        execution = await engine.start(definition)
        execution = await engine.run_until_settled(execution.id, wait_for_timers=False)
        assert execution.step_executions["t"].status is StepStatus.WAITING
        assert clock.now() == started
        assert [blocker.kind for blocker in await engine.explain(execution.id)] == ["timer"]


async def test_a_pause_holds_what_is_next_and_a_resume_starts_it():
    gate = asyncio.Event()

    async def wait(request: AgentRequest) -> str:
        await gate.wait()
        return "done"

    agents = ScriptedAgents(wait)
    async with ExecutionEngine(MemoryRepository(), agents, clock=VirtualClock()) as engine:
        execution = await engine.start(process(task("a"), task("b", "a")))
        await engine.pause(execution.id)
        gate.set()
        execution = await engine.run_until_settled(execution.id)
        assert execution.status is ExecutionStatus.PAUSED
        assert execution.step_executions["b"].status is StepStatus.READY
        await engine.resume(execution.id)
        execution = await engine.run_until_settled(execution.id)
    assert execution.status is ExecutionStatus.COMPLETED
    assert [call.context.step_id for call in agents.calls] == ["a", "b"]


# ---------------------------------------------------------------- a store that fails


@pytest.mark.parametrize("fault", [True, "lost"])
@pytest.mark.parametrize("commit", range(4))
async def test_a_failed_commit_is_repeated_without_doing_anything_twice(fault: object, commit: int):
    agents = ScriptedAgents()
    store = UnreliableRepository([None] * commit + [fault])
    definition = process(task("a"), task("b", "a"), task("c", "b"))
    async with ExecutionEngine(store, agents, clock=VirtualClock()) as engine:
        execution = await engine.start(definition)
        execution = await engine.run_until_settled(execution.id)
        events = await store.events(execution.id)
    assert execution.status is ExecutionStatus.COMPLETED
    assert [call.context.step_id for call in agents.calls] == ["a", "b", "c"]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))


@pytest.mark.parametrize("fault", [True, "lost"])
async def test_a_command_whose_commit_failed_once_is_answered_as_if_it_had_not(fault: object):
    store = UnreliableRepository([None, fault])
    definition = process({"id": "t", "type": "timer", "delay": "1h"}, task("a", "t"))
    async with ExecutionEngine(store, ScriptedAgents(), clock=VirtualClock()) as engine:
        execution = await engine.start(definition)
        cancelled = await engine.cancel(execution.id)
    assert cancelled.status is ExecutionStatus.CANCELLED


async def test_a_bug_in_one_command_costs_that_command_and_not_its_neighbours():
    store = UnreliableRepository([ValueError("no such codec"), None, ValueError("no such codec")])
    async with ExecutionEngine(store, ScriptedAgents(), clock=VirtualClock()) as engine:
        starts = [
            engine.start(process(task("a")), execution_id=ExecutionId(name))
            for name in ("one", "two", "three")
        ]
        results = await asyncio.gather(*starts, return_exceptions=True)
        failed = [result for result in results if isinstance(result, ProcessEngineError)]
        assert [error.code for error in failed] == ["INTERNAL_ERROR"]
        for result in results:
            if not isinstance(result, BaseException):
                assert (await engine.run_until_settled(result.id)).status is ExecutionStatus.COMPLETED


async def test_nothing_is_called_before_its_start_is_committed():
    store, agents = SlowRepository(), ScriptedAgents()
    async with ExecutionEngine(store, agents, clock=VirtualClock()) as engine:
        store.gate.clear()
        start = asyncio.create_task(engine.start(process(task("a"))))
        for _ in range(20):
            await asyncio.sleep(0)
        assert agents.calls == []
        store.gate.set()
        await engine.run_until_settled((await start).id)
    assert len(agents.calls) == 1


# ---------------------------------------------------------------- taking over


async def test_an_interrupted_attempt_is_repeated_with_the_same_key_and_others_are_not():
    tables = MemoryRepository().tables
    hung = asyncio.Event()

    async def hang(request: AgentRequest) -> str:
        if request.context.step_id == "b":
            hung.set()
            await asyncio.Event().wait()
        return "done"

    first, second = ScriptedAgents(hang), ScriptedAgents()
    clock = VirtualClock()
    async with ExecutionEngine(MemoryRepository(tables), first, clock=clock) as engine:
        execution = await engine.start(process(task("a"), task("b", "a")))
        await hung.wait()
    async with ExecutionEngine(MemoryRepository(tables), second, clock=clock) as engine:
        execution = await engine.run_until_settled(execution.id)
    assert execution.status is ExecutionStatus.COMPLETED
    assert [call.context.step_id for call in second.calls] == ["b"]
    assert second.calls[0].idempotency_key == first.calls[1].idempotency_key
    assert second.calls[0].context.attempt == 2


async def test_executions_whose_agents_are_missing_are_left_as_they_are():
    class Missing(ScriptedAgents):
        def knows(self, agent: str) -> bool:
            return False

    tables = MemoryRepository().tables
    clock = VirtualClock()
    definition = process({"id": "t", "type": "timer", "delay": "1h"}, task("a", "t"))
    async with ExecutionEngine(MemoryRepository(tables), ScriptedAgents(), clock=clock) as engine:
        execution = await engine.start(definition)
    store = MemoryRepository(tables)
    async with ExecutionEngine(store, Missing(), clock=clock) as engine:
        assert set(engine.left_alone) == {execution.id}
        await clock.sleep(7200)
        settled = await engine.run_until_settled(execution.id)
    assert settled.status is ExecutionStatus.RUNNING
    assert settled.step_executions["t"].status is StepStatus.WAITING


async def test_draining_records_what_is_under_way_and_starts_nothing_more():
    gate, begun = asyncio.Event(), asyncio.Event()

    async def wait(request: AgentRequest) -> str:
        begun.set()
        await gate.wait()
        return "done"

    tables = MemoryRepository().tables
    agents = ScriptedAgents(wait)
    async with ExecutionEngine(MemoryRepository(tables), agents, clock=VirtualClock()) as engine:
        execution = await engine.start(process(task("a"), task("b", "a")))
        await begun.wait()
        asyncio.get_running_loop().call_later(0.01, gate.set)
        assert await engine.drain(10) == 0
        drained = await engine.get(execution.id)
    assert drained.step_executions["a"].status is StepStatus.COMPLETED
    assert [call.context.step_id for call in agents.calls] == ["a"]


async def test_slots_are_shared_first_in_first_out():
    running: list[str] = []
    most = 0

    async def work(request: AgentRequest) -> str:
        nonlocal most
        running.append(request.context.step_id)
        most = max(most, len(running))
        await asyncio.sleep(0)
        running.remove(request.context.step_id)
        return "done"

    agents = ScriptedAgents(work)
    config = ExecutionConfig(max_concurrent_steps=2)
    async with ExecutionEngine(MemoryRepository(), agents, config, clock=VirtualClock()) as engine:
        execution = await engine.start(process(*(task(f"s{n}") for n in range(7))))
        await engine.run_until_settled(execution.id)
    assert most == 2
    assert [call.context.step_id for call in agents.calls] == [f"s{n}" for n in range(7)]


# ---------------------------------------------------------------- structured output


@pytest.mark.parametrize(
    ("answer", "status"),
    [({"score": 7}, ExecutionStatus.COMPLETED), ({"score": "high"}, ExecutionStatus.FAILED)],
)
async def test_an_answer_must_fit_the_schema_of_its_step(answer: object, status: ExecutionStatus):
    schema = {"type": "object", "properties": {"score": {"type": "integer"}}, "required": ["score"]}
    definition = process(task("a", output={"schema": schema}))
    agents = ScriptedAgents(lambda request: answer)
    async with ExecutionEngine(MemoryRepository(), agents, clock=VirtualClock()) as engine:
        execution = await engine.start(definition)
        execution = await engine.run_until_settled(execution.id)
    assert execution.status is status
    assert len(agents.calls) == 1
    if execution.error is not None:
        assert execution.error.code == "INVALID_OUTPUT"
        assert "output.score" in execution.error.message


async def test_a_retry_with_other_input_asks_again_under_a_new_key():
    def moody(request: AgentRequest) -> object:
        if request.message == "bad":
            raise AgentCallFailed("AGENT_ERROR", "I do not like that")
        return request.message

    agents = ScriptedAgents(moody)
    definition = process(
        task("a"), task("b", "a", message="{{ input.word }}"), input={"word": {"type": "string"}}
    )
    async with ExecutionEngine(MemoryRepository(), agents, clock=VirtualClock()) as engine:
        execution = await engine.start(definition, {"word": "bad"})
        execution = await engine.run_until_settled(execution.id)
        assert execution.status is ExecutionStatus.FAILED
        execution = await engine.retry(execution.id, input={"word": "good"})
        execution = await engine.run_until_settled(execution.id)
    assert execution.status is ExecutionStatus.COMPLETED
    assert execution.input == {"word": "good"}
    assert [call.context.step_id for call in agents.calls] == ["a", "b", "b"]
    assert agents.calls[1].idempotency_key != agents.calls[2].idempotency_key
