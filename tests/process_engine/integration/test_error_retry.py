"""Retries, what is recorded of them, and what happens when they are used up."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from process_engine.core.events import StepFailed, StepRetrying, StepSkipped
from process_engine.core.state import ExecutionStatus, StepStatus
from process_engine.runtime.engine import Engine
from tests.process_engine.integration.conftest import (
    ALWAYS,
    START,
    CapturingEventBus,
    IntegrationClock,
    IntegrationRepos,
    MockAgentGateway,
    agent_task,
    assert_event_sequence,
    assert_stored_as,
    process,
    retrying,
    run,
)


async def test_retry_succeeds_on_third_attempt(
    integration_engine: Engine,
    integration_agents: MockAgentGateway,
    integration_repos: IntegrationRepos,
    integration_event_bus: CapturingEventBus,
):
    """Two refusals are forgiven; each attempt asks the same, under the same idempotency key."""
    integration_agents.fail_count = {"write": 2}
    definition = process(
        agent_task("write", "Write about {{input.topic}}.", retry=retrying(3)),
        agent_task("publish", "{{steps.write.output}}"),
    )

    execution = await run(integration_engine, definition, topic="tides")

    step = execution.step_executions["write"]
    assert (execution.status, step.status) == (ExecutionStatus.COMPLETED, StepStatus.COMPLETED)
    assert (step.output, step.attempts, step.retry_count, step.error) == ("write done", 3, 2, None)
    calls = integration_agents.calls_of("write")
    assert [call.attempt for call in calls] == [1, 2, 3]
    assert {call.message for call in calls} == {"Write about tides."}
    assert {call.idempotency_key for call in calls} == {f"{execution.id}/write/1"}
    assert [call.attempt for call in integration_agents.calls_of("publish")] == [1]
    assert_event_sequence(
        integration_event_bus.about("write"),
        ["StepStarted", "StepRetrying", "StepRetrying", "StepCompleted"],
    )
    first, second = (event for event in integration_event_bus.public if isinstance(event, StepRetrying))
    assert (first.attempt, first.failure.code, first.failure.step_id) == (1, "AGENT_UNAVAILABLE", "write")
    assert (second.attempt, second.failure.message) == (2, "worker refused attempt 2 of write")
    stored = await assert_stored_as(integration_repos, execution)
    assert (stored.step("write").attempt, stored.outputs["write"]) == (3, "write done")


async def test_retry_exhausted_fails_execution(
    integration_engine: Engine,
    integration_agents: MockAgentGateway,
    integration_repos: IntegrationRepos,
    integration_event_bus: CapturingEventBus,
):
    """`max_attempts` counts every try: the last refusal fails the step and with it the execution."""
    integration_agents.fail_count = {"write": ALWAYS}
    definition = process(
        agent_task("write", retry=retrying(3)),
        agent_task("publish", after=["write"]),
    )

    execution = await run(integration_engine, definition)

    step = execution.step_executions["write"]
    assert (execution.status, step.status, step.attempts) == ("failed", "failed", 3)
    assert execution.error is not None
    assert (execution.error.code, execution.error.message) == (
        "AGENT_UNAVAILABLE",
        "worker refused attempt 3 of write",
    )
    assert integration_agents.called == ["write"] * 3
    expected = [
        "ProcessStarted",
        "StepStarted write",
        "StepRetrying write",
        "StepRetrying write",
        "StepFailed write",
        "ProcessFailed",
    ]
    assert_event_sequence(integration_event_bus.captured, expected)
    stored = await assert_stored_as(integration_repos, execution)
    assert_event_sequence(stored.events, expected)
    assert (stored.step("write").error, stored.step("publish").status) == (step.error, "cancelled")

    integration_agents.calls.clear()
    integration_agents.fail_code = "AGENT_ERROR"
    refused = await run(integration_engine, definition)

    assert (refused.status, integration_agents.called) == ("failed", ["write"])


async def test_skip_step_on_error_continues(
    integration_engine: Engine,
    integration_agents: MockAgentGateway,
    integration_repos: IntegrationRepos,
    integration_event_bus: CapturingEventBus,
):
    """With `on_error: skip_step` what comes after a failed step goes on without its output."""
    integration_agents.fail_count = {"enrich": ALWAYS}
    definition = process(
        agent_task("enrich", retry=retrying(2), on_error="skip_step"),
        agent_task("write", '{{steps.enrich.output | default("nothing")}}', after=["enrich"]),
    )

    execution = await run(integration_engine, definition)

    skipped = execution.step_executions["enrich"]
    assert (execution.status, execution.error) == (ExecutionStatus.COMPLETED, None)
    assert (skipped.status, skipped.reason, skipped.output) == (StepStatus.SKIPPED, "error", None)
    assert skipped.error is not None
    assert (skipped.error.code, skipped.attempts) == ("AGENT_UNAVAILABLE", 2)
    assert integration_agents.called == ["enrich", "enrich", "write"]
    assert integration_agents.call_of("write").message == "nothing"
    assert_event_sequence(
        integration_event_bus.captured,
        [
            "ProcessStarted",
            "StepStarted enrich",
            "StepRetrying enrich",
            "StepSkipped enrich",
            "StepStarted write",
            "StepCompleted write",
            "ProcessCompleted",
        ],
    )
    [event] = (event for event in integration_event_bus.public if isinstance(event, StepSkipped))
    assert (event.reason, event.failure, event.attempt) == ("error", skipped.error, 2)
    assert not any(isinstance(event, StepFailed) for event in integration_event_bus.captured)
    stored = await assert_stored_as(integration_repos, execution)
    assert (stored.step("enrich").status, stored.step("enrich").error) == ("skipped", skipped.error)


async def test_retry_count_persisted(
    integration_engine: Engine,
    integration_agents: MockAgentGateway,
    integration_repos: IntegrationRepos,
    integration_clock: IntegrationClock,
):
    """The store counts retries while they happen and keeps the count; a step without any has 0."""
    integration_agents.fail_count = {"write": 2}
    policy = retrying(3, initial_delay="10s", backoff="fixed")
    definition = process(agent_task("research"), agent_task("write", after=["research"], retry=policy))
    execution = await integration_engine.start(definition)

    seen = []
    for _ in range(3):
        await integration_clock.sleep(8)
        stored = await assert_stored_as(integration_repos, await integration_engine.get(execution.id))
        step = stored.step("write")
        seen.append((integration_clock.elapsed, str(step.status), step.retry_count, step.due))
    execution = await integration_engine.run_until_settled(execution.id)

    assert seen == [
        (8, "waiting", 0, START + timedelta(seconds=10)),
        (16, "waiting", 1, START + timedelta(seconds=20)),
        (24, "completed", 2, None),
    ]
    assert execution.step_executions["write"].retry_count == 2
    assert execution.step_executions["research"].retry_count == 0
    stored = await assert_stored_as(integration_repos, execution)
    assert (stored.step("write").retry_count, stored.step("research").retry_count) == (2, 0)
    assert [call.started for call in integration_agents.calls_of("write")] == [0, 10, 20]


async def test_retry_with_exponential_backoff(
    integration_engine: Engine,
    integration_agents: MockAgentGateway,
    integration_repos: IntegrationRepos,
    integration_event_bus: CapturingEventBus,
):
    """Waits grow by the multiplier up to `max_delay`; jitter spreads them, by a half at most."""
    integration_agents.fail_count = {"write": 4}
    policy = {"initial_delay": "2s", "backoff": "exponential", "backoff_multiplier": 3, "max_delay": "30s"}

    exact = await run(integration_engine, process(agent_task("write", retry=retrying(5, **policy))))
    waits = _waits(integration_agents)
    retrials = [event for event in integration_event_bus.public if isinstance(event, StepRetrying)]

    assert exact.status == ExecutionStatus.COMPLETED
    assert waits == [2, 6, 18, 30]
    assert [event.delay_seconds for event in retrials] == waits
    assert [(event.due - event.timestamp).total_seconds() for event in retrials] == waits
    stored = await assert_stored_as(integration_repos, exact)
    assert [event.due for event in stored.events if isinstance(event, StepRetrying)] == [
        event.due for event in retrials
    ]

    integration_agents.calls.clear()
    policy = policy | {"max_delay": "5m", "jitter": True}
    spread = await run(integration_engine, process(agent_task("write", retry=retrying(5, **policy))))
    waits = _waits(integration_agents)

    assert spread.status == ExecutionStatus.COMPLETED
    factors = [wait / base for wait, base in zip(waits, [2, 6, 18, 54], strict=True)]
    assert all(0.5 <= factor < 1.5 for factor in factors)
    assert len({round(factor, 6) for factor in [1, *factors]}) == 5
    await assert_stored_as(integration_repos, spread)


def _waits(agents: MockAgentGateway) -> list[float]:
    """Virtual seconds between the end of each call and the beginning of the next."""
    return [later.started - earlier.ended for earlier, later in pairwise(agents.calls)]
