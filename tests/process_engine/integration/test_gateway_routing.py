"""Gateways: which branch runs, and which does not."""

from __future__ import annotations

from process_engine.core.events import StepSkipped
from process_engine.core.state import ExecutionStatus
from process_engine.runtime.engine import Engine
from process_engine.runtime.ports import AgentRequest
from tests.process_engine.integration.conftest import (
    CapturingEventBus,
    IntegrationRepos,
    MockAgentGateway,
    agent_task,
    assert_event_sequence,
    assert_stored_as,
    gateway,
    process,
    run,
)


async def test_exclusive_gateway_takes_first_match(
    integration_engine: Engine,
    integration_agents: MockAgentGateway,
    integration_repos: IntegrationRepos,
    integration_event_bus: CapturingEventBus,
):
    """Where several conditions hold the first one decides, and the others' targets are skipped."""
    routes = {"low": "input.score < 50", "fair": "input.score >= 50", "good": "input.score >= 80"}
    definition = process(
        gateway("decide", routes, default="low"),
        *(agent_task(step_id) for step_id in routes),
        agent_task("after-good", after=["good"]),
        agent_task("finish", after=["low", "fair", "good"]),
    )

    execution = await run(integration_engine, definition, score=90)

    steps = execution.step_executions
    assert execution.status == ExecutionStatus.COMPLETED
    assert {step_id: str(step.status) for step_id, step in steps.items()} == {
        "decide": "completed",
        "low": "skipped",
        "fair": "completed",
        "good": "skipped",
        "after-good": "skipped",
        "finish": "completed",
    }
    assert integration_agents.called == ["fair", "finish"]
    assert steps["decide"].output == {
        "route": "fair",
        "routes": ["fair"],
        "evaluated": [
            {"condition": "input.score < 50", "target": "low", "result": False},
            {"condition": "input.score >= 50", "target": "fair", "result": True},
        ],
    }
    skipped = [event for event in integration_event_bus.public if isinstance(event, StepSkipped)]
    assert [(event.step_id, event.reason) for event in skipped] == [
        ("low", "route_not_taken"),
        ("good", "route_not_taken"),
        ("after-good", "dead_path"),
    ]
    stored = await assert_stored_as(integration_repos, execution)
    assert stored.step("decide").routes == ("fair",)
    assert_event_sequence(
        stored.events[:6],
        [
            "ProcessStarted",
            "StepStarted decide",
            "StepCompleted decide",
            "StepSkipped low",
            "StepStarted fair",
        ],
    )


async def test_gateway_uses_default_route(
    integration_engine: Engine, integration_agents: MockAgentGateway, integration_repos: IntegrationRepos
):
    """Where no condition holds the default is taken; without a default that is a failure."""
    definition = process(
        gateway("decide", {"express": 'input.tier == "gold"'}, default="standard"),
        agent_task("express"),
        agent_task("standard"),
    )

    execution = await run(integration_engine, definition, tier="tin")

    steps = execution.step_executions
    assert (execution.status, execution.outputs) == ("completed", {"standard": "standard done"})
    assert (steps["express"].status, steps["express"].reason) == ("skipped", "route_not_taken")
    assert integration_agents.called == ["standard"]
    stored = await assert_stored_as(integration_repos, execution)
    assert (stored.step("decide").routes, stored.step("express").attempt) == (("standard",), 0)

    without = process(gateway("decide", {"express": 'input.tier == "gold"'}), agent_task("express"))
    failed = await run(integration_engine, without, tier="tin")

    assert failed.error is not None
    assert (failed.status, failed.error.code, failed.error.step_id) == ("failed", "NO_ROUTE", "decide")
    assert integration_agents.called == ["standard"]
    await assert_stored_as(integration_repos, failed)


async def test_gateway_routes_based_on_step_output(
    integration_engine: Engine, integration_agents: MockAgentGateway, integration_repos: IntegrationRepos
):
    """The same process goes different ways, by what an agent answered this time."""
    scores = {"tides": 92, "sand": 31}

    def review(request: AgentRequest) -> object:
        return {"score": scores[str(request.message)]}

    integration_agents.responses["review"] = review
    definition = process(
        agent_task("review", "{{input.topic}}"),
        gateway("decide", {"publish": "steps.review.output.score >= 80"}, default="rework", after=["review"]),
        agent_task("publish"),
        agent_task("rework"),
    )

    for topic, chosen, left in (("tides", "publish", "rework"), ("sand", "rework", "publish")):
        integration_agents.calls.clear()
        execution = await run(integration_engine, definition, topic=topic)

        steps = execution.step_executions
        assert execution.status == ExecutionStatus.COMPLETED
        assert (steps[chosen].status, steps[left].status) == ("completed", "skipped")
        assert execution.outputs == {chosen: f"{chosen} done"}
        assert integration_agents.called == ["review", chosen]
        stored = await assert_stored_as(integration_repos, execution)
        assert stored.outputs["review"] == {"score": scores[topic]}
        assert stored.step("decide").routes == (chosen,)


async def test_gateway_with_complex_condition(
    integration_engine: Engine, integration_agents: MockAgentGateway, integration_repos: IntegrationRepos
):
    """`and` binds tighter than `or`, `not` tighter than both, and parentheses tighter than all."""
    integration_agents.responses["review"] = {"score": 85}
    bound = 'input.vip or steps.review.output.score >= 80 and not (input.tier == "tin" or input.held)'
    definition = process(
        agent_task("review"),
        gateway("decide", {"approve": bound}, default="reject", after=["review"]),
        agent_task("approve"),
        agent_task("reject"),
    )
    cases = {
        ("gold", False, False): "approve",
        ("gold", False, True): "reject",
        ("tin", False, False): "reject",
        ("tin", True, True): "approve",
        ("gold", True, True): "approve",
    }

    for (tier, vip, held), chosen in cases.items():
        integration_agents.calls.clear()
        execution = await run(integration_engine, definition, tier=tier, vip=vip, held=held)

        assert (execution.status, integration_agents.called) == ("completed", ["review", chosen])
        stored = await assert_stored_as(integration_repos, execution)
        assert stored.step("decide").routes == (chosen,)

    integration_agents.responses["review"] = {"score": 10}
    execution = await run(integration_engine, definition, tier="gold", vip=False, held=False)

    assert list(execution.outputs or {}) == ["reject"]
    await assert_stored_as(integration_repos, execution)
