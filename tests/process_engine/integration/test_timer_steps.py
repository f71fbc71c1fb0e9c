"""Timers: virtual days pass in real milliseconds."""

from __future__ import annotations

from datetime import timedelta

from process_engine.core.events import StepWaiting
from process_engine.core.state import ExecutionStatus
from process_engine.core.work import WorkKind
from process_engine.runtime.engine import Engine
from tests.process_engine.integration.conftest import (
    START,
    CapturingEventBus,
    IntegrationClock,
    IntegrationRepos,
    MockAgentGateway,
    agent_task,
    assert_event_sequence,
    assert_stored_as,
    process,
    run,
    timer,
)

DAY = 86_400


async def test_timer_step_completes(
    integration_engine: Engine,
    integration_agents: MockAgentGateway,
    integration_repos: IntegrationRepos,
    integration_event_bus: CapturingEventBus,
    integration_clock: IntegrationClock,
):
    """A timer of seven days waits in the store and completes after seven days, not before."""
    due = START + timedelta(days=7)
    execution = await integration_engine.start(process(timer("wait", "7d")))
    await integration_clock.sleep(7 * DAY - 1)

    waiting = await integration_engine.get(execution.id)
    step = waiting.step_executions["wait"]
    assert (waiting.status, step.status, step.due) == ("running", "waiting", due)
    stored = await assert_stored_as(integration_repos, waiting)
    assert [(item.key, item.kind, item.due) for item in stored.timers] == [("wait", WorkKind.TIMER, due)]
    assert stored.attempts == []

    execution = await integration_engine.run_until_settled(execution.id)

    assert (execution.status, integration_clock.elapsed) == (ExecutionStatus.COMPLETED, 7 * DAY)
    assert execution.step_executions["wait"].completed_at == due
    assert integration_agents.calls == []
    assert_event_sequence(
        integration_event_bus.captured,
        ["ProcessStarted", "StepStarted wait", "StepWaiting wait", "StepCompleted wait", "ProcessCompleted"],
    )
    [event] = (event for event in integration_event_bus.public if isinstance(event, StepWaiting))
    assert (event.due, event.timestamp) == (due, START)
    await assert_stored_as(integration_repos, execution)


async def test_timer_output_includes_waited_seconds(
    integration_engine: Engine, integration_repos: IntegrationRepos
):
    """The output says how long the timer waited, in seconds, and when it was due."""
    definition = process(timer("long", "1m30s"), timer("short", "250ms"), timer("no", "0s"))

    execution = await run(integration_engine, definition)

    expected = {
        "long": {"waited_seconds": 90, "due_at": (START + timedelta(seconds=90)).isoformat()},
        "short": {"waited_seconds": 0.25, "due_at": (START + timedelta(milliseconds=250)).isoformat()},
        "no": {"waited_seconds": 0, "due_at": START.isoformat()},
    }
    assert (execution.status, execution.outputs) == (ExecutionStatus.COMPLETED, expected)
    stored = await assert_stored_as(integration_repos, execution)
    assert stored.outputs == expected


async def test_timer_delays_dependent_steps(
    integration_engine: Engine,
    integration_agents: MockAgentGateway,
    integration_repos: IntegrationRepos,
    integration_event_bus: CapturingEventBus,
):
    """What depends on a timer starts when it is due; what does not is not delayed."""
    integration_agents.delays = {"first": 30, "beside": 15}
    definition = process(
        agent_task("first"),
        timer("wait", "1h", after=["first"]),
        agent_task("last", "{{steps.wait.output.waited_seconds}} s", after=["wait"]),
        agent_task("beside", after=["first"]),
    )

    execution = await run(integration_engine, definition)

    assert execution.status == ExecutionStatus.COMPLETED
    times = {call.step_id: (call.started, call.ended) for call in integration_agents.calls}
    assert times == {"first": (0, 30), "beside": (30, 45), "last": (3630, 3630)}
    assert integration_agents.call_of("last").message == "3600 s"
    steps = execution.step_executions
    assert steps["last"].started_at == steps["wait"].completed_at == START + timedelta(seconds=3630)
    assert_event_sequence(
        integration_event_bus.public[3:],
        [
            "StepStarted wait",
            "StepWaiting wait",
            "StepStarted beside",
            "StepCompleted beside",
            "StepCompleted wait",
            "StepStarted last",
            "StepCompleted last",
            "ProcessCompleted",
        ],
    )
    await assert_stored_as(integration_repos, execution)
