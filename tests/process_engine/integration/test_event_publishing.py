"""What the event bus hears: everything that was committed, complete and in order."""

from __future__ import annotations

from datetime import UTC, timedelta
from itertools import pairwise

from process_engine.core.events import ProcessFailed, StepCompleted, StepEvent, StepFailed, StepStarted
from process_engine.core.failures import Failure
from process_engine.core.state import ExecutionStatus
from process_engine.runtime.engine import Engine
from process_engine.runtime.ports import AgentCallFailed, AgentRequest
from tests.process_engine.integration.conftest import (
    START,
    CapturingEventBus,
    IntegrationClock,
    IntegrationRepos,
    MockAgentGateway,
    agent_task,
    assert_event_sequence,
    assert_stored_as,
    chain,
    process,
    retrying,
    run,
)


async def test_event_sequence_for_successful_execution(
    integration_engine: Engine,
    integration_agents: MockAgentGateway,
    integration_repos: IntegrationRepos,
    integration_event_bus: CapturingEventBus,
):
    """The story of two steps, exactly; each event is in the store before anybody hears of it."""
    integration_agents.delays = 10
    expected = [
        "ProcessStarted",
        "StepStarted a",
        "StepCompleted a",
        "StepStarted b",
        "StepCompleted b",
        "ProcessCompleted",
    ]

    execution = await run(integration_engine, chain("a", "b"))

    assert execution.status == ExecutionStatus.COMPLETED
    assert_event_sequence(integration_event_bus.captured, expected)
    stored = await assert_stored_as(integration_repos, execution)
    assert_event_sequence(stored.events, expected)
    assert integration_event_bus.captured == stored.events
    assert integration_agents.called == ["a", "b"]


async def test_step_failed_event_contains_error(
    integration_engine: Engine,
    integration_agents: MockAgentGateway,
    integration_repos: IntegrationRepos,
    integration_event_bus: CapturingEventBus,
):
    """`StepFailed` and `ProcessFailed` name code, message and step of the last attempt's error."""
    integration_agents.responses["write"] = AgentCallFailed("INVALID_OUTPUT", "no JSON: '<html>'")
    policy = retrying(2, retry_on=["INVALID_OUTPUT"])

    execution = await run(integration_engine, process(agent_task("write", retry=policy)))

    failure = Failure("INVALID_OUTPUT", "no JSON: '<html>'", "write")
    [failed] = (event for event in integration_event_bus.public if isinstance(event, StepFailed))
    assert (failed.step_id, failed.failure, failed.attempt, failed.visit) == ("write", failure, 2, 1)
    assert failed.handled_by is None
    [last] = (event for event in integration_event_bus.public if isinstance(event, ProcessFailed))
    assert (last.failure, last) == (failure, integration_event_bus.captured[-1])
    assert (execution.error, execution.step_executions["write"].error) == (failure, failure)
    assert integration_agents.called == ["write", "write"]
    stored = await assert_stored_as(integration_repos, execution)
    assert [event for event in stored.events if isinstance(event, StepFailed)] == [failed]


async def test_events_contain_execution_context(
    integration_engine: Engine,
    integration_agents: MockAgentGateway,
    integration_repos: IntegrationRepos,
    integration_event_bus: CapturingEventBus,
):
    """Every event says which execution, process, step, visit and attempt it is about, and when it was."""
    integration_agents.delays = 10
    integration_agents.fail_count = {"b": 1}
    definition = process(agent_task("a"), agent_task("b", after=["a"], retry=retrying(2, initial_delay="5s")))

    one = await run(integration_engine, definition)
    two = await run(integration_engine, definition)

    captured = integration_event_bus.captured
    assert len({event.id for event in captured}) == len(captured)
    assert {event.execution_id for event in captured} == {one.id, two.id}
    for execution in (one, two):
        own = [event for event in captured if event.execution_id == execution.id]
        assert [event.sequence for event in own] == list(range(1, len(own) + 1))
        assert {event.process_name for event in own} == {"integration"}
        assert {event.correlation_id for event in own} == {execution.id}
        assert {event.timestamp.tzinfo for event in own} == {UTC}
        about = [(e.type, e.step_id, e.visit, e.attempt) for e in own if isinstance(e, StepEvent)]
        assert about == [
            ("StepStarted", "a", 1, 1),
            ("StepCompleted", "a", 1, 1),
            ("StepStarted", "b", 1, 1),
            ("StepRetrying", "b", 1, 1),
            ("AttemptStarted", "b", 1, 2),
            ("StepCompleted", "b", 1, 2),
        ]
        assert {event.agent for event in own if isinstance(event, StepStarted)} == {"worker"}
        stored = await assert_stored_as(integration_repos, execution)
        assert stored.events == own
    times = [(event.timestamp - START).total_seconds() for event in captured if event.execution_id == one.id]
    assert times == [0, 0, 0, 10, 10, 20, 25, 35, 35]


async def test_failed_sequence_includes_partial_success_events(
    integration_engine: Engine,
    integration_agents: MockAgentGateway,
    integration_repos: IntegrationRepos,
    integration_event_bus: CapturingEventBus,
):
    """A failed execution tells what succeeded before, outputs included, and nothing of what never began."""
    integration_agents.responses |= {"research": {"score": 9}, "write": AgentCallFailed("AGENT_ERROR", "no")}
    expected = [
        "ProcessStarted",
        "StepStarted research",
        "StepCompleted research",
        "StepStarted write",
        "StepFailed write",
        "ProcessFailed",
    ]

    execution = await run(integration_engine, chain("research", "write", "publish"))

    assert execution.status == ExecutionStatus.FAILED
    assert_event_sequence(integration_event_bus.captured, expected)
    [completed] = (event for event in integration_event_bus.public if isinstance(event, StepCompleted))
    assert (completed.step_id, completed.output.data) == ("research", {"score": 9})
    assert integration_agents.called == ["research", "write"]
    stored = await assert_stored_as(integration_repos, execution)
    assert_event_sequence(stored.events, expected)
    assert stored.outputs["research"] == {"score": 9}


async def test_events_ordered_by_timestamp(
    integration_engine: Engine,
    integration_agents: MockAgentGateway,
    integration_repos: IntegrationRepos,
    integration_event_bus: CapturingEventBus,
    integration_clock: IntegrationClock,
):
    """Timestamps never go back within an execution, not even when the machine's clock is set back."""
    integration_agents.delays = {"a": 60, "b": 10, "c": 60}

    def set_back(request: AgentRequest) -> object:
        integration_clock.set_back(30)
        return "b done"

    integration_agents.responses["b"] = set_back

    execution = await run(integration_engine, chain("a", "b", "c"))

    assert execution.status == ExecutionStatus.COMPLETED
    stored = await assert_stored_as(integration_repos, execution)
    for events in (integration_event_bus.captured, stored.events):
        assert all(
            earlier.timestamp <= later.timestamp and earlier.sequence + 1 == later.sequence
            for earlier, later in pairwise(events)
        )
    ended = {e.step_id: e.timestamp for e in integration_event_bus.captured if isinstance(e, StepCompleted)}
    # b ends at 70 s by a clock that shows 40 s then: its event keeps the 60 s of the event before it.
    assert ended == {step: START + timedelta(seconds=at) for step, at in (("a", 60), ("b", 60), ("c", 100))}
    assert execution.completed_at == START + timedelta(seconds=100)
