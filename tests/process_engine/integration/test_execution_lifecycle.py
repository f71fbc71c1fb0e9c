"""Starting, finishing, failing and cancelling an execution."""

from __future__ import annotations

import pytest

from process_engine.core.state import ExecutionStatus, StepStatus
from process_engine.core.work import WorkKind
from process_engine.errors import CommandRejected
from process_engine.runtime.engine import Engine
from process_engine.runtime.ports import AgentCallFailed
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
    fully_wired,
    process,
    run,
)


async def test_single_step_completes(
    integration_engine: Engine,
    integration_agents: MockAgentGateway,
    integration_repos: IntegrationRepos,
    integration_event_bus: CapturingEventBus,
):
    """One step is asked once, and its answer is the outcome of the process."""
    integration_agents.responses["write"] = "A text about tides."

    execution = await run(integration_engine, process(agent_task("write", "Write about tides.")))

    step = execution.step_executions["write"]
    assert (execution.status, step.status) == (ExecutionStatus.COMPLETED, StepStatus.COMPLETED)
    assert (step.output, step.attempts, step.error) == ("A text about tides.", 1, None)
    assert execution.outputs == {"write": "A text about tides."}
    assert (execution.error, execution.started_at, execution.blockers) == (None, START, ())
    call = integration_agents.call_of("write")
    assert (call.agent, call.message, call.attempt) == ("worker", "Write about tides.", 1)
    assert_event_sequence(
        integration_event_bus.captured,
        ["ProcessStarted", "StepStarted write", "StepCompleted write", "ProcessCompleted"],
    )
    stored = await assert_stored_as(integration_repos, execution)
    assert (stored.status, stored.result) == ("completed", {"write": "A text about tides."})


async def test_execution_persisted_to_database(
    integration_repos: IntegrationRepos,
    integration_agents: MockAgentGateway,
    integration_event_bus: CapturingEventBus,
    integration_clock: IntegrationClock,
):
    """The store knows at each moment where the execution stands, and still knows it for the next engine."""
    integration_agents.delays = 60
    definition = chain("research", "write")
    async with fully_wired(integration_repos, integration_agents, integration_event_bus) as engine:
        execution = await engine.start(definition, {"topic": "tides"})
        begun = await assert_stored_as(integration_repos, execution)
        await integration_clock.sleep(90)
        halfway = await assert_stored_as(integration_repos, await engine.get(execution.id))
        finished = await engine.run_until_settled(execution.id)

    assert [(item.key, item.kind) for item in begun.attempts] == [("research", WorkKind.ATTEMPT)]
    assert (begun.status, begun.step("research").status) == ("running", "running")
    assert begun.snapshot.created.input.data == {"topic": "tides"}
    assert begun.snapshot.created.definition_hash == definition.content_hash
    assert [item.key for item in halfway.attempts] == ["write"]
    assert (halfway.outputs["research"], halfway.step("write").status) == ("research done", "running")

    async with fully_wired(integration_repos, integration_agents, integration_event_bus) as engine:
        again = await engine.get(execution.id)
        [summary] = await engine.list()
        stored = await assert_stored_as(integration_repos, again)

    assert (again.status, again.outputs) == (ExecutionStatus.COMPLETED, {"write": "write done"})
    assert (again.input, again.completed_at) == ({"topic": "tides"}, finished.completed_at)
    assert again.definition == definition
    assert (summary.id, summary.status, summary.process) == (execution.id, "completed", "integration")
    assert (stored.status, stored.outputs) == (
        "completed",
        {"research": "research done", "write": "write done"},
    )
    assert integration_agents.called == ["research", "write"]


async def test_failed_step_fails_execution(
    integration_engine: Engine,
    integration_agents: MockAgentGateway,
    integration_repos: IntegrationRepos,
    integration_event_bus: CapturingEventBus,
):
    """A refusal that is not worth another attempt ends the execution; what comes after it is never asked."""
    integration_agents.responses["write"] = AgentCallFailed("AGENT_ERROR", "cannot write about that")

    execution = await run(integration_engine, chain("write", "publish"))

    step, later = execution.step_executions["write"], execution.step_executions["publish"]
    assert (execution.status, step.status, later.status) == ("failed", "failed", "cancelled")
    assert execution.error == step.error
    assert execution.error is not None
    assert (execution.error.code, execution.error.message, execution.error.step_id) == (
        "AGENT_ERROR",
        "cannot write about that",
        "write",
    )
    assert (step.attempts, step.output, later.attempts, execution.outputs) == (1, None, 0, None)
    assert integration_agents.called == ["write"]
    assert_event_sequence(
        integration_event_bus.captured,
        ["ProcessStarted", "StepStarted write", "StepFailed write", "ProcessFailed"],
    )
    stored = await assert_stored_as(integration_repos, execution)
    assert (stored.status, stored.snapshot.head.failure) == ("failed", execution.error)


async def test_cancel_pending_execution(
    integration_engine: Engine,
    integration_agents: MockAgentGateway,
    integration_repos: IntegrationRepos,
    integration_event_bus: CapturingEventBus,
    integration_clock: IntegrationClock,
):
    """An execution that is cancelled while it is held never starts a step, whatever comes later."""
    held = await integration_engine.start(chain("write", "publish"), hold=True)
    await integration_clock.sleep(3600)
    waiting = await assert_stored_as(integration_repos, await integration_engine.get(held.id))
    assert (waiting.status, waiting.attempts, integration_event_bus.public) == ("pending", [], [])

    cancelled = await integration_engine.cancel(held.id, reason="not needed", by="ada")
    await integration_clock.sleep(3600)
    with pytest.raises(CommandRejected):
        await integration_engine.resume(held.id)
    execution = await integration_engine.run_until_settled(held.id)

    assert (cancelled.status, execution.status) == ("cancelled", "cancelled")
    assert (execution.started_at, execution.outputs, execution.error) == (None, None, None)
    assert [step.status for step in execution.step_executions.values()] == ["cancelled", "cancelled"]
    assert [step.attempts for step in execution.step_executions.values()] == [0, 0]
    assert integration_agents.calls == []
    assert_event_sequence(integration_event_bus.captured, ["ProcessCancelled"])
    [event] = integration_event_bus.public
    assert (getattr(event, "reason", None), getattr(event, "by", None)) == ("not needed", "ada")
    stored = await assert_stored_as(integration_repos, execution)
    assert_event_sequence(stored.events, ["ProcessCancelled"])
