"""Outputs in the store, and out of it again."""

from __future__ import annotations

import pytest

from process_engine.core.state import ExecutionStatus
from process_engine.core.values import INLINE_LIMIT_BYTES
from process_engine.errors import NotFound
from process_engine.ids import StepId
from process_engine.runtime.engine import Engine
from process_engine.runtime.outputs import OutputStorage
from tests.process_engine.integration.conftest import (
    CapturingEventBus,
    IntegrationClock,
    IntegrationRepos,
    MockAgentGateway,
    agent_task,
    assert_stored_as,
    fully_wired,
    process,
    run,
    timer,
)

LARGE = {"text": "ebb and flow, " * 10_000}


async def test_step_output_stored_and_retrievable(
    integration_engine: Engine, integration_agents: MockAgentGateway, integration_repos: IntegrationRepos
):
    """Whatever an agent answered comes back from the store as it was, large values too."""
    answers = {
        "text": 'Gezeiten – 潮汐 – \u0000 and "quotes"',
        "number": 12345678901234567890,
        "nothing": None,
        "list": [1, 2.5, {"a": [True, None]}],
        "large": LARGE,
    }
    integration_agents.responses |= answers

    execution = await run(integration_engine, process(*(agent_task(step_id) for step_id in answers)))

    assert execution.status == ExecutionStatus.COMPLETED
    assert {step_id: step.output for step_id, step in execution.step_executions.items()} == answers
    stored = await assert_stored_as(integration_repos, execution)
    assert stored.outputs == answers
    reference = stored.step("large").output.ref
    assert reference is not None
    assert reference.size_bytes > INLINE_LIMIT_BYTES
    async with integration_repos.look() as repository:
        storage = OutputStorage(repository)
        kept = await storage.store(LARGE)
        assert (kept.value, list(kept.blobs)) == (stored.step("large").output, [reference.sha256])
        assert await OutputStorage(repository).unpack(kept.value) == LARGE
        with pytest.raises(NotFound):
            await storage.retrieve(execution.id, StepId("never"))


async def test_output_available_for_next_step_substitution(
    integration_repos: IntegrationRepos,
    integration_agents: MockAgentGateway,
    integration_event_bus: CapturingEventBus,
    integration_clock: IntegrationClock,
):
    """A later step reads an output from the store when the engine that got the answer is gone."""
    integration_agents.responses["research"] = LARGE
    definition = process(
        agent_task("research"),
        timer("wait", "1d", after=["research"]),
        agent_task("write", "Shorten: {{steps.research.output.text}}", after=["wait"]),
    )
    async with fully_wired(integration_repos, integration_agents, integration_event_bus) as engine:
        execution = await engine.start(definition)
        await integration_clock.sleep(60)
        waiting = await assert_stored_as(integration_repos, await engine.get(execution.id))
    assert (waiting.outputs["research"], waiting.step("wait").status) == (LARGE, "waiting")

    async with fully_wired(integration_repos, integration_agents, integration_event_bus) as engine:
        execution = await engine.run_until_settled(execution.id)
        stored = await assert_stored_as(integration_repos, execution)

    assert execution.status == ExecutionStatus.COMPLETED
    assert integration_agents.call_of("write").message == f"Shorten: {LARGE['text']}"
    assert integration_agents.called == ["research", "write"]
    assert stored.outputs["research"] == execution.step_executions["research"].output == LARGE


async def test_multiple_output_references(
    integration_engine: Engine, integration_agents: MockAgentGateway, integration_repos: IntegrationRepos
):
    """One message may read several steps, the same step twice, and the input beside them."""
    integration_agents.responses |= {"facts": {"title": "Tides", "year": 1687}, "style": "calm"}
    message = (
        "{{steps.facts.output.title}} ({{steps.facts.output.year}}), {{steps.style.output}}, "
        "for {{input.reader}}: {{steps.facts.output.title | upper}}"
    )
    definition = process(
        agent_task("facts"),
        agent_task("style"),
        agent_task("write", message, after=["facts", "style"]),
        outputs={
            "text": "{{steps.write.output}}",
            "sources": ["{{steps.facts.output}}", "{{steps.style.output}}"],
        },
    )

    execution = await run(integration_engine, definition, reader="sailors")

    assert integration_agents.call_of("write").message == "Tides (1687), calm, for sailors: TIDES"
    outputs = {"text": "write done", "sources": [{"title": "Tides", "year": 1687}, "calm"]}
    assert (execution.status, execution.outputs) == (ExecutionStatus.COMPLETED, outputs)
    stored = await assert_stored_as(integration_repos, execution)
    assert stored.result == outputs
