"""Virtual time beside real work, and across restarts.

Where 50 ms of real time pass here, the test is about something that really takes that long.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from process_engine.agents.gateway import Agent, ConfiguredAgents
from process_engine.agents.http import HttpSettings
from process_engine.agents.python import PythonAgent
from process_engine.core.events import StepCompleted, StepRetrying, StepStarted
from process_engine.core.transition import Transition
from process_engine.definition.document import ProcessDefinition
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.engine import Engine
from process_engine.runtime.ports import Fence
from process_engine.runtime.view import ProcessExecution
from tests.process_engine.integration.conftest import (
    ALWAYS,
    START,
    CapturingEventBus,
    IntegrationClock,
    IntegrationRepos,
    MockAgentGateway,
    agent_task,
    fully_wired,
    process,
    retrying,
    run,
    timer,
)

REAL_SECONDS = 0.05
HOUR = 3_600
DAY = 24 * HOUR


class SlowRepository(SqliteRepository):
    """A store whose every commit takes 50 ms of real time, in a thread."""

    commits = 0

    async def commit(self, transitions: Sequence[Transition], fence: Fence) -> None:
        await asyncio.to_thread(time.sleep, REAL_SECONDS)
        await super().commit(transitions, fence)
        self.commits += 1


@pytest.fixture
def clock() -> IntegrationClock:
    return IntegrationClock()


@pytest.fixture
def bus() -> CapturingEventBus:
    return CapturingEventBus()


@pytest.fixture
def repos(tmp_path: Path, clock: IntegrationClock) -> IntegrationRepos:
    return IntegrationRepos(tmp_path / "process-engine.db", clock)


@pytest.fixture
def agents(clock: IntegrationClock) -> MockAgentGateway:
    return MockAgentGateway(clock=clock)


@pytest.fixture
def engine(repos: IntegrationRepos, agents: MockAgentGateway, bus: CapturingEventBus) -> Engine:
    return fully_wired(repos, agents, bus)


def beside_a_week(*step_ids: str) -> ProcessDefinition:
    """A chain of agent tasks beside a timer of seven days."""
    before = [(), *((step_id,) for step_id in step_ids)]
    steps = [agent_task(step_id, after=after) for step_id, after in zip(step_ids, before, strict=False)]
    return process(timer("week", "7d"), *steps)


def completion_times(bus: CapturingEventBus) -> dict[str, datetime]:
    return {event.step_id: event.timestamp for event in bus.captured if isinstance(event, StepCompleted)}


def assert_week_came_last(bus: CapturingEventBus, execution: ProcessExecution) -> None:
    """Everything but the timer happened at virtual 0, and the timer after exactly seven days."""
    times = completion_times(bus)
    assert list(times)[-1] == "week"
    assert times.pop("week") == START + timedelta(days=7)
    assert set(times.values()) == {START}
    assert execution.status == "completed"


# ---------------------------------------------------------------- real work under way


@pytest.mark.parametrize("place", ["memory", "file"])
async def test_a_commit_of_50_real_ms_comes_before_a_timer_of_seven_days(
    tmp_path: Path, place: str, repos: IntegrationRepos, agents: MockAgentGateway, bus: CapturingEventBus
):
    slow = SlowRepository(":memory:" if place == "memory" else tmp_path / "slow.db")
    repos.executions = slow
    began = time.perf_counter()

    async with fully_wired(repos, agents, bus) as engine:
        execution = await run(engine, beside_a_week("a", "b"))

    assert_week_came_last(bus, execution)
    assert slow.commits == 4
    assert time.perf_counter() - began >= 4 * REAL_SECONDS


async def test_a_call_in_a_thread_comes_before_a_timer_of_seven_days(
    repos: IntegrationRepos, bus: CapturingEventBus
):
    def think(message: str) -> str:
        time.sleep(REAL_SECONDS)
        return f"thought about: {message}"

    async with calling(PythonAgent(think)) as agents, fully_wired(repos, agents, bus) as engine:
        execution = await run(engine, beside_a_week("a", "b"))

    assert_week_came_last(bus, execution)
    assert execution.step_executions["b"].output == "thought about: Do b."


async def test_a_socket_that_answers_late_comes_before_a_timer_of_seven_days(
    repos: IntegrationRepos, bus: CapturingEventBus
):
    async with late_server() as url:
        agent = HttpSettings(url=url).connect()
        async with calling(agent) as agents, fully_wired(repos, agents, bus) as engine:
            execution = await run(engine, beside_a_week("a", "b"))

    assert_week_came_last(bus, execution)
    assert execution.step_executions["b"].output == "late"


@asynccontextmanager
async def calling(agent: Agent) -> AsyncIterator[ConfiguredAgents]:
    agents = ConfiguredAgents({"worker": agent})
    try:
        yield agents
    finally:
        await agents.aclose()


@asynccontextmanager
async def late_server() -> AsyncIterator[str]:
    """An HTTP agent on loopback that answers `late`, 50 ms of real time after it was asked."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(REAL_SECONDS)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nlate")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@pytest.mark.parametrize("place", ["memory", "file"])
async def test_no_time_passes_between_an_answer_and_what_follows_from_it(
    place: str, repos: IntegrationRepos, clock: IntegrationClock, bus: CapturingEventBus
):
    """Agents that answer at once are under way for less than a turn of the event loop."""
    repos = repos if place == "file" else IntegrationRepos(None, clock)
    async with fully_wired(repos, MockAgentGateway(clock=clock), bus) as engine:
        execution = await run(engine, beside_a_week(*(f"step-{number}" for number in range(30))))

    assert_week_came_last(bus, execution)


# ---------------------------------------------------------------- restarts


async def test_a_timer_of_thirty_days_survives_a_restart_without_starting_over(
    engine: Engine, repos: IntegrationRepos, agents: MockAgentGateway, clock: IntegrationClock
):
    bus = CapturingEventBus()
    definition = process(timer("month", "30d"), agent_task("last", after=["month"]))
    async with engine:
        execution = await engine.start(definition)
        await clock.sleep(10 * DAY)
    await clock.sleep(5 * DAY)

    async with fully_wired(repos, agents, bus) as engine:
        execution = await engine.run_until_settled(execution.id)

    assert (execution.status, clock.elapsed) == ("completed", 30 * DAY)
    assert execution.step_executions["month"].output == {
        "waited_seconds": 30 * DAY,
        "due_at": (START + timedelta(days=30)).isoformat(),
    }
    assert agents.call_of("last").started == 30 * DAY
    assert [event.step_id for event in bus.captured if isinstance(event, StepStarted)] == ["last"]


async def test_a_timer_that_fell_due_while_nothing_ran_is_due_at_once(
    engine: Engine, repos: IntegrationRepos, agents: MockAgentGateway, clock: IntegrationClock
):
    async with engine:
        execution = await engine.start(process(timer("month", "30d"), agent_task("last", after=["month"])))
    await clock.sleep(45 * DAY)
    assert agents.calls == []

    async with fully_wired(repos, agents, CapturingEventBus()) as engine:
        execution = await engine.run_until_settled(execution.id)

    assert (execution.status, clock.elapsed) == ("completed", 45 * DAY)
    assert agents.call_of("last").started == 45 * DAY


async def test_a_retry_delay_survives_a_restart_without_starting_over(
    engine: Engine, repos: IntegrationRepos, agents: MockAgentGateway, clock: IntegrationClock
):
    agents.fail_count = 2
    policy = retrying(3, initial_delay="1h", backoff="linear", max_delay="1d")
    async with engine:
        execution = await engine.start(process(agent_task("write", retry=policy)))
        await clock.sleep(1200)
    await clock.sleep(600)

    async with fully_wired(repos, agents, CapturingEventBus()) as engine:
        await clock.sleep(HOUR)
    async with fully_wired(repos, agents, CapturingEventBus()) as engine:
        execution = await engine.run_until_settled(execution.id)

    assert (execution.status, execution.step_executions["write"].retry_count) == ("completed", 2)
    assert [call.started for call in agents.calls] == [0, HOUR, 3 * HOUR]
    assert {call.idempotency_key for call in agents.calls} == {f"{execution.id}/write/1"}


async def test_an_attempt_that_died_with_its_engine_is_repeated_with_the_same_key(
    engine: Engine, repos: IntegrationRepos, agents: MockAgentGateway, clock: IntegrationClock
):
    """Leaving the engine records nothing, as a crash would not; the repetition does not count as a try."""
    bus = CapturingEventBus()
    agents.delays = {"write": 100}
    policy = retrying(2, initial_delay="10s")
    async with engine:
        execution = await engine.start(process(agent_task("write", retry=policy)))
        await clock.sleep(40)
    left = await _stored_state(repos, execution)
    await clock.sleep(10)
    agents.fail_count = {"write": 2}

    async with fully_wired(repos, agents, bus) as engine:
        execution = await engine.run_until_settled(execution.id)

    assert left == ("running", 1)
    first, again, last = agents.calls
    assert (first.started, first.ended) == (0, ALWAYS)
    assert (again.started, again.ended, again.attempt) == (50, 150, 2)
    assert (last.started, last.attempt) == (160, 3)
    assert {call.idempotency_key for call in agents.calls} == {f"{execution.id}/write/1"}
    assert {call.message for call in agents.calls} == {"Do write."}
    interrupted, refused = (event for event in bus.captured if isinstance(event, StepRetrying))
    assert (interrupted.failure.code, interrupted.attempt, interrupted.delay_seconds) == ("INTERRUPTED", 1, 0)
    assert interrupted.timestamp == START + timedelta(seconds=50)
    assert (refused.failure.code, refused.attempt, refused.delay_seconds) == ("AGENT_UNAVAILABLE", 2, 10)
    assert execution.status == "completed"


async def _stored_state(repos: IntegrationRepos, execution: ProcessExecution) -> tuple[str, int]:
    """Status and open attempts of an execution, read while no engine runs."""
    stored = await repos.stored(execution.id)
    return stored.status, len(stored.attempts)
