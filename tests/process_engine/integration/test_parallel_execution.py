"""Steps beside each other, and joins."""

from __future__ import annotations

import pytest

from process_engine.core.config import ExecutionConfig
from process_engine.core.state import ExecutionStatus
from process_engine.definition.graph import DependencyResolver
from process_engine.runtime.engine import Engine
from process_engine.runtime.ports import AgentCallFailed
from tests.process_engine.integration.conftest import (
    CapturingEventBus,
    IntegrationClock,
    IntegrationRepos,
    MockAgentGateway,
    agent_task,
    assert_event_sequence,
    assert_stored_as,
    diamond,
    fully_wired,
    process,
    run,
)


@pytest.fixture
def sequential_engine(
    integration_repos: IntegrationRepos,
    integration_agents: MockAgentGateway,
    integration_event_bus: CapturingEventBus,
) -> Engine:
    return fully_wired(
        integration_repos,
        integration_agents,
        integration_event_bus,
        ExecutionConfig(parallel_execution=False),
    )


async def test_parallel_steps_both_complete(
    integration_repos: IntegrationRepos,
    integration_agents: MockAgentGateway,
    integration_event_bus: CapturingEventBus,
    integration_clock: IntegrationClock,
    sequential_engine: Engine,
):
    """Independent steps run at the same time, and one by one only where that is asked for."""
    integration_agents.delays = {"left": 60, "right": 40}
    definition = process(agent_task("left"), agent_task("right"))
    parallel = ExecutionConfig(parallel_execution=True)
    async with fully_wired(integration_repos, integration_agents, integration_event_bus, parallel) as engine:
        together = await run(engine, definition)
        assert integration_clock.elapsed == 60
        left, right = integration_agents.call_of("left"), integration_agents.call_of("right")
        assert left.overlaps(right)
        assert (left.started, left.ended, right.started, right.ended) == (0, 60, 0, 40)
        stored = await assert_stored_as(integration_repos, together)

    assert together.status == ExecutionStatus.COMPLETED
    assert together.outputs == {"left": "left done", "right": "right done"}
    assert stored.outputs == {"left": "left done", "right": "right done"}

    integration_agents.calls.clear()
    async with sequential_engine as engine:
        one_by_one = await run(engine, definition)
        stored = await assert_stored_as(integration_repos, one_by_one)

    times = [(call.step_id, call.started, call.ended) for call in integration_agents.calls]
    assert times == [("left", 60, 120), ("right", 120, 160)]
    assert one_by_one.outputs == together.outputs
    assert stored.snapshot.created.config.max_concurrent_steps == 1


async def test_diamond_pattern(
    integration_engine: Engine, integration_agents: MockAgentGateway, integration_repos: IntegrationRepos
):
    """Fork, two branches at the same time, and a join that reads both."""
    integration_agents.delays = {"root": 10, "left": 20, "right": 30, "join": 5}
    integration_agents.responses |= {"left": "L", "right": "R"}
    definition = diamond("{{steps.left.output}} and {{steps.right.output}}")
    assert DependencyResolver(definition).parallel_groups() == [["root"], ["left", "right"], ["join"]]

    execution = await run(integration_engine, definition)

    assert (execution.status, execution.outputs) == (ExecutionStatus.COMPLETED, {"join": "join done"})
    root, left, right, join = (
        integration_agents.call_of(step_id) for step_id in ("root", "left", "right", "join")
    )
    assert left.overlaps(right)
    assert (root.started, root.ended, left.started, right.started) == (0, 10, 10, 10)
    assert (left.ended, right.ended, join.started, join.ended) == (30, 40, 40, 45)
    assert join.message == "L and R"
    stored = await assert_stored_as(integration_repos, execution)
    assert [stored.step(step_id).attempt for step_id in ("root", "left", "right", "join")] == [1, 1, 1, 1]


async def test_join_waits_for_all_dependencies(
    integration_engine: Engine,
    integration_agents: MockAgentGateway,
    integration_repos: IntegrationRepos,
    integration_clock: IntegrationClock,
):
    """As long as one branch is under way the join is neither started nor queued."""
    integration_agents.delays = {"left": 10, "right": 240}
    execution = await integration_engine.start(diamond())
    await integration_clock.sleep(120)

    halfway = await integration_engine.get(execution.id)
    steps = halfway.step_executions
    assert (steps["left"].status, steps["right"].status) == ("completed", "running")
    assert (steps["join"].status, steps["join"].visits, steps["join"].attempts) == ("pending", 0, 0)
    assert integration_agents.calls_of("join") == []
    stored = await assert_stored_as(integration_repos, halfway)
    assert "join" not in stored.snapshot.steps

    execution = await integration_engine.run_until_settled(execution.id)

    assert execution.status == ExecutionStatus.COMPLETED
    assert integration_agents.call_of("join").started == integration_agents.call_of("right").ended == 240
    assert execution.step_executions["join"].started_at == execution.step_executions["right"].completed_at
    await assert_stored_as(integration_repos, execution)


async def test_one_parallel_failure_behavior(
    integration_repos: IntegrationRepos,
    integration_agents: MockAgentGateway,
    integration_event_bus: CapturingEventBus,
):
    """A failure stops the other branch after what runs in it, or lets it run to its end, as configured."""
    integration_agents.delays = {"bad": 10, "good": 25}
    integration_agents.responses["bad"] = AgentCallFailed("AGENT_ERROR", "no")
    definition = process(
        agent_task("bad"),
        agent_task("good"),
        agent_task("after-bad", after=["bad"]),
        agent_task("after-good", after=["good"]),
    )
    outcomes = {}
    for stop in (True, False):
        integration_agents.calls.clear()
        config = ExecutionConfig(stop_on_failure=stop)
        async with fully_wired(
            integration_repos, integration_agents, integration_event_bus, config
        ) as engine:
            execution = await run(engine, definition)
            await assert_stored_as(integration_repos, execution)
        statuses = [str(step.status) for step in execution.step_executions.values()]
        outcomes[stop] = (execution.status, statuses, integration_agents.called)
        assert execution.error is not None
        assert (execution.error.code, execution.error.step_id) == ("AGENT_ERROR", "bad")
        assert execution.step_executions["good"].output == "good done"

    assert outcomes[True] == (
        "failed",
        ["failed", "completed", "cancelled", "cancelled"],
        ["bad", "good"],
    )
    assert outcomes[False] == (
        "failed",
        ["failed", "completed", "skipped", "completed"],
        ["bad", "good", "after-good"],
    )
    assert execution.step_executions["after-bad"].reason == "dependency_failed"
    assert_event_sequence(
        integration_event_bus.public[-6:],
        [
            "StepFailed bad",
            "StepSkipped after-bad",
            "StepCompleted good",
            "StepStarted after-good",
            "StepCompleted after-good",
            "ProcessFailed",
        ],
    )


async def test_parallel_events_sequence(
    integration_engine: Engine,
    integration_agents: MockAgentGateway,
    integration_repos: IntegrationRepos,
    integration_event_bus: CapturingEventBus,
):
    """Branches start in the order of the definition and complete in the order in which they end."""
    integration_agents.delays = {"left": 50, "right": 20}

    execution = await run(integration_engine, diamond())

    expected = [
        "ProcessStarted",
        "StepStarted root",
        "StepCompleted root",
        "StepStarted left",
        "StepStarted right",
        "StepCompleted right",
        "StepCompleted left",
        "StepStarted join",
        "StepCompleted join",
        "ProcessCompleted",
    ]
    assert_event_sequence(integration_event_bus.captured, expected)
    stored = await assert_stored_as(integration_repos, execution)
    assert_event_sequence(stored.events, expected)
    assert integration_event_bus.captured == stored.events
    assert [event.sequence for event in stored.events] == list(range(1, len(stored.events) + 1))
