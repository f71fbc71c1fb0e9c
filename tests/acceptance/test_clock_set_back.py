"""The machine's clock is set back by an hour while an execution runs: no wait ends early, none is lost."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from pathlib import Path

from process_engine.app import ExecutionEngine
from process_engine.core.events import AttemptStarted, StepCompleted, StepRetrying, StepWaiting
from process_engine.definition import load_definition
from process_engine.definition.document import ProcessDefinition
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.ports import AgentCallFailed, AgentReply, AgentRequest
from process_engine.testing.clock import VirtualClock
from tests.acceptance.evidence import Found, found_in

HOUR = timedelta(hours=1)

TEXT = """
name: patient
steps:
  - {id: wait, type: timer, delay: 2h}
  - id: flaky
    type: agent_task
    agent: flaky
    message: now
    retry: {max_attempts: 3, initial_delay: 10m, backoff: fixed, jitter: false}
  - {id: nap, type: timer, delay: 5m, depends_on: flaky}
  - {id: last, type: agent_task, agent: steady, message: done, depends_on: [wait, nap]}
"""


class AdjustableClock(VirtualClock):
    """A virtual clock that somebody sets."""

    def set_back(self, by: timedelta) -> None:
        self._now -= by


class Agents:
    """`flaky` fails once, and sets the clock back while it is at it."""

    def __init__(self, clock: AdjustableClock, back: timedelta) -> None:
        self._clock = clock
        self._back = back
        self.calls = 0

    async def call(self, request: AgentRequest) -> AgentReply:
        self.calls += 1
        if self.calls == 1:
            self._clock.set_back(self._back)
            raise AgentCallFailed("AGENT_UNAVAILABLE", "not now", transient=True)
        return AgentReply(output="done")

    def knows(self, agent: str) -> bool:
        return True

    def names(self) -> Collection[str]:
        return ("flaky", "steady")

    async def aclose(self) -> None:
        return None


def patient() -> ProcessDefinition:
    definition, problems = load_definition(TEXT)
    assert definition is not None, problems
    return definition


async def run(path: Path, back: timedelta) -> tuple[Found, AdjustableClock]:
    """What a run leaves during which the clock was set back, and the clock."""
    clock = AdjustableClock()
    store = SqliteRepository(path)
    async with ExecutionEngine(store, Agents(clock, back), clock=clock) as engine:
        execution = await engine.run_until_settled((await engine.start(patient())).id)
        found = await found_in(store, execution.id, patient())
    assert found is not None
    return found, clock


def moments(found: Found, kind: type) -> dict[str, object]:
    return {event.step_id: event for event in found.events if isinstance(event, kind)}


async def test_after_the_clock_was_set_back_by_an_hour_every_wait_ends_when_it_is_due(tmp_path):
    found, clock = await run(tmp_path / "store.db", HOUR)

    assert found.status == "completed"
    waits, ends = moments(found, StepWaiting), moments(found, StepCompleted)
    assert {step: ends[step].timestamp for step in waits} == {step: wait.due for step, wait in waits.items()}
    retry, again = moments(found, StepRetrying)["flaky"], moments(found, AttemptStarted)["flaky"]
    assert again.timestamp == retry.due
    assert clock.now() == max(wait.due for wait in waits.values())


async def test_the_history_tells_the_same_times_whether_the_clock_was_set_back_or_not(tmp_path):
    """The execution's own time never goes back: it stands until the clock has caught up."""
    disturbed, _ = await run(tmp_path / "disturbed.db", HOUR)
    undisturbed, _ = await run(tmp_path / "undisturbed.db", timedelta(0))

    times = [(event.type, event.timestamp) for event in disturbed.events]
    assert times == [(event.type, event.timestamp) for event in undisturbed.events]


async def test_a_store_that_is_taken_over_an_hour_before_it_was_left_goes_on(tmp_path):
    clock = AdjustableClock()
    agents = Agents(clock, timedelta(0))
    store = SqliteRepository(tmp_path / "store.db")
    async with ExecutionEngine(store, agents, clock=clock) as engine:
        execution = await engine.start(patient())
        await clock.sleep(60)
    clock.set_back(HOUR)

    async with ExecutionEngine(store, agents, clock=clock) as engine:
        await engine.run_until_settled(execution.id)
        found = await found_in(store, execution.id, patient())

    assert found is not None
    assert found.status == "completed"
    assert agents.calls == 3
    assert moments(found, StepCompleted)["wait"].timestamp == moments(found, StepWaiting)["wait"].due
