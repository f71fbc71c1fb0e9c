"""Steps one after the other, and what they pass on."""

from __future__ import annotations

from process_engine.core.state import ExecutionStatus
from process_engine.runtime.engine import Engine
from process_engine.runtime.ports import AgentCallFailed
from tests.process_engine.integration.conftest import (
    CapturingEventBus,
    IntegrationRepos,
    MockAgentGateway,
    agent_task,
    assert_event_sequence,
    assert_stored_as,
    chain,
    process,
    run,
)


async def test_three_step_sequential_completes(
    integration_engine: Engine,
    integration_agents: MockAgentGateway,
    integration_repos: IntegrationRepos,
    integration_event_bus: CapturingEventBus,
):
    """Each step begins the moment the one before it has ended, whatever their order on paper."""
    integration_agents.delays = {"research": 30, "write": 20, "publish": 10}
    definition = process(
        agent_task("publish", after=["write"]),
        agent_task("write", after=["research"]),
        agent_task("research"),
    )

    execution = await run(integration_engine, definition)

    assert execution.status == ExecutionStatus.COMPLETED
    assert execution.outputs == {"publish": "publish done"}
    times = [(call.step_id, call.started, call.ended) for call in integration_agents.calls]
    assert times == [("research", 0, 30), ("write", 30, 50), ("publish", 50, 60)]
    assert_event_sequence(
        integration_event_bus.captured,
        [
            "ProcessStarted",
            "StepStarted research",
            "StepCompleted research",
            "StepStarted write",
            "StepCompleted write",
            "StepStarted publish",
            "StepCompleted publish",
            "ProcessCompleted",
        ],
    )
    stored = await assert_stored_as(integration_repos, execution)
    assert stored.outputs == {step: f"{step} done" for step in ("research", "write", "publish")}


async def test_output_passed_between_steps(
    integration_engine: Engine, integration_agents: MockAgentGateway, integration_repos: IntegrationRepos
):
    """An output reaches a later step: inside a text as text, alone as the value it is."""
    findings = {"title": "Tides", "score": 87, "sources": ["a", "b"]}
    integration_agents.responses |= {"research": findings, "write": "A long text."}
    definition = process(
        agent_task("research"),
        agent_task("write", "Write {{steps.research.output.title}}: {{ steps.research.output.score }}."),
        agent_task("check", "{{steps.research.output}}", after=["write"]),
        agent_task("publish", {"text": "{{steps.write.output}}", "score": "{{steps.research.output.score}}"}),
    )

    execution = await run(integration_engine, definition)

    assert execution.status == ExecutionStatus.COMPLETED
    assert integration_agents.call_of("write").message == "Write Tides: 87."
    assert integration_agents.call_of("check").message == findings
    assert integration_agents.call_of("publish").message == {"text": "A long text.", "score": 87}
    stored = await assert_stored_as(integration_repos, execution)
    assert stored.outputs["research"] == findings


async def test_input_data_available_in_first_step(
    integration_engine: Engine, integration_agents: MockAgentGateway, integration_repos: IntegrationRepos
):
    """What the execution was started with is there from the first step on, with its types."""
    definition = process(
        agent_task("first", "Write {{input.words}} words about {{input.topic}}."),
        agent_task("second", "{{input.audience}}", after=["first"]),
        input={"topic": {"type": "string", "required": True}, "words": {"type": "integer", "default": 300}}
        | {"audience": {"type": "array"}},
    )

    execution = await run(integration_engine, definition, topic="tides", audience=["sailors", 2])

    given = {"topic": "tides", "words": 300, "audience": ["sailors", 2]}
    assert (execution.status, execution.input) == (ExecutionStatus.COMPLETED, given)
    assert integration_agents.call_of("first").message == "Write 300 words about tides."
    assert integration_agents.call_of("second").message == ["sailors", 2]
    stored = await assert_stored_as(integration_repos, execution)
    assert stored.snapshot.created.input.data == given


async def test_middle_step_failure_stops_execution(
    integration_engine: Engine,
    integration_agents: MockAgentGateway,
    integration_repos: IntegrationRepos,
    integration_event_bus: CapturingEventBus,
):
    """A failure in the middle keeps what came before it and starts nothing after it."""
    integration_agents.responses["write"] = AgentCallFailed("AGENT_ERROR", "out of ink")

    execution = await run(integration_engine, chain("research", "write", "publish"))

    steps = execution.step_executions
    assert {step_id: step.status for step_id, step in steps.items()} == {
        "research": "completed",
        "write": "failed",
        "publish": "cancelled",
    }
    assert execution.status == ExecutionStatus.FAILED
    assert execution.error is not None
    assert (execution.error.step_id, execution.error.message) == ("write", "out of ink")
    assert (steps["research"].output, steps["publish"].started_at) == ("research done", None)
    assert integration_agents.called == ["research", "write"]
    assert integration_event_bus.about("publish") == []
    assert_event_sequence(integration_event_bus.public[-2:], ["StepFailed write", "ProcessFailed"])
    stored = await assert_stored_as(integration_repos, execution)
    assert (stored.outputs["research"], stored.result) == ("research done", None)
