"""Real engine, real store, real events; only the agents are played, and time is virtual."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TypeVar, cast

import pytest

from process_engine.core.config import ExecutionConfig
from process_engine.core.events import Event
from process_engine.core.failures import TRANSIENT
from process_engine.core.state import UNTOUCHED, Snapshot, StepState
from process_engine.core.work import WorkItem
from process_engine.definition.checking import check
from process_engine.definition.document import ProcessDefinition
from process_engine.errors import NotFound
from process_engine.handlers.agent_task import AgentTaskHandler
from process_engine.handlers.gateway import GatewayHandler
from process_engine.handlers.timer import TimerHandler
from process_engine.ids import ExecutionId, StepId
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.engine import Engine
from process_engine.runtime.feed import InMemoryEventBus
from process_engine.runtime.outputs import OutputStorage
from process_engine.runtime.ports import AgentCallFailed, AgentGateway, AgentReply, AgentRequest
from process_engine.runtime.registry import StepHandlerRegistry
from process_engine.runtime.view import ProcessExecution
from process_engine.testing.clock import VirtualClock

# A `fail_count` that no retry policy outlasts.
ALWAYS = math.inf
START = datetime(2026, 1, 1, tzinfo=UTC)

Spec = dict[str, object]
Response = object | Callable[[AgentRequest], object]
Chosen = TypeVar("Chosen", float, str)


# ---------------------------------------------------------------- time


class IntegrationClock(VirtualClock):
    """Virtual time that can also be set back, as the clock of a machine can."""

    def __init__(self) -> None:
        super().__init__(START)
        self._lag = timedelta(0)

    def now(self) -> datetime:
        return super().now() - self._lag

    async def sleep_until(self, due: datetime) -> None:
        await super().sleep_until(due + self._lag)

    def set_back(self, seconds: float) -> None:
        """From now on the clock shows so much less."""
        self._lag += timedelta(seconds=seconds)

    @property
    def elapsed(self) -> float:
        """Virtual seconds since the test began."""
        return (self.now() - START).total_seconds()


# ---------------------------------------------------------------- agents


@dataclass
class AgentCall:
    """One call as the agent saw it; times are virtual seconds since the test began."""

    step_id: str
    agent: str
    message: object
    execution_id: str
    visit: int
    attempt: int
    idempotency_key: str
    started: float
    ended: float = math.inf

    def overlaps(self, other: AgentCall) -> bool:
        """Whether both were under way at the same time."""
        return max(self.started, other.started) < min(self.ended, other.ended)


class MockAgentGateway:
    """Plays every agent and keeps each call in `calls`, in the order in which they began.

    `responses` by step id, or else by agent: a value, a function of the request, or an exception to raise;
    without one the answer is "<step> done". `fail_count` is how many attempts fail before the first answer,
    for all steps or by step, with the code of `fail_code`; `delays` are virtual seconds before the end of
    each call. All three may be changed between calls.
    """

    def __init__(
        self,
        responses: Mapping[str, Response] | None = None,
        fail_count: float | Mapping[str, float] = 0,
        *,
        fail_code: str | Mapping[str, str] = "AGENT_UNAVAILABLE",
        delays: float | Mapping[str, float] = 0,
        clock: IntegrationClock | None = None,
    ) -> None:
        self.responses = dict(responses or {})
        self.fail_count = fail_count
        self.fail_code = fail_code
        self.delays = delays
        self.calls: list[AgentCall] = []
        self._clock = clock or IntegrationClock()

    async def call(self, request: AgentRequest) -> AgentReply:
        call = self._record(request)
        delay = timedelta(seconds=_of(self.delays, call.step_id, 0.0))
        await self._clock.sleep_until(self._clock.now() + delay)
        call.ended = self._clock.elapsed
        if call.attempt <= _of(self.fail_count, call.step_id, 0.0):
            raise _refusal(_of(self.fail_code, call.step_id, "AGENT_UNAVAILABLE"), call)
        return AgentReply(output=self._answer(request))

    def _record(self, request: AgentRequest) -> AgentCall:
        about = request.context
        call = AgentCall(
            step_id=about.step_id,
            agent=request.agent,
            message=request.message,
            execution_id=about.execution_id,
            visit=about.visit,
            attempt=about.attempt,
            idempotency_key=request.idempotency_key,
            started=self._clock.elapsed,
        )
        self.calls.append(call)
        return call

    def _answer(self, request: AgentRequest) -> object:
        step_id = request.context.step_id
        default = self.responses.get(request.agent, f"{step_id} done")
        response = self.responses.get(step_id, default)
        answer = response(request) if callable(response) else response
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def knows(self, agent: str) -> bool:
        return True

    def names(self) -> Collection[str]:
        return ()

    async def aclose(self) -> None:
        pass

    @property
    def called(self) -> list[str]:
        """The step ids of all calls, in order."""
        return [call.step_id for call in self.calls]

    def calls_of(self, step_id: str) -> list[AgentCall]:
        """The calls of one step, in order."""
        return [call for call in self.calls if call.step_id == step_id]

    def call_of(self, step_id: str) -> AgentCall:
        """The only call of a step."""
        [call] = self.calls_of(step_id)
        return call


def _of(choice: Chosen | Mapping[str, Chosen], step_id: str, default: Chosen) -> Chosen:
    return choice.get(step_id, default) if isinstance(choice, Mapping) else choice


def _refusal(code: str, call: AgentCall) -> AgentCallFailed:
    message = f"{call.agent} refused attempt {call.attempt} of {call.step_id}"
    return AgentCallFailed(code, message, transient=code in TRANSIENT)


# ---------------------------------------------------------------- events


class CapturingEventBus(InMemoryEventBus):
    """Keeps every event it delivers, with what tests ask about them."""

    def __init__(self) -> None:
        super().__init__()
        self.captured: list[Event] = []
        self.subscribe(self.captured.append)

    @property
    def public(self) -> list[Event]:
        """What the engine tells people, in order."""
        return public(self.captured)

    def of(self, event_type: str, step_id: str | None = None) -> list[Event]:
        """The events of one type, of one step if it is named."""
        return [
            event
            for event in self.captured
            if event.type == event_type and step_id in (None, getattr(event, "step_id", None))
        ]

    def about(self, step_id: str) -> list[Event]:
        """The public events of one step."""
        return [event for event in self.public if getattr(event, "step_id", None) == step_id]

    def clear(self) -> None:
        """Forget what was captured so far."""
        self.captured.clear()


def public(events: Iterable[Event]) -> list[Event]:
    """Those events that are no bookkeeping."""
    return [event for event in events if event.public]


def named(event: Event) -> str:
    """An event as tests write it: `StepStarted write`, `ProcessCompleted`."""
    return " ".join(filter(None, (event.type, getattr(event, "step_id", None))))


def assert_event_sequence(events: Iterable[Event], expected_types: Sequence[str]) -> None:
    """The public events among `events` are exactly these, in this order.

    An expected type may name its step: `StepStarted write`.
    """
    expected = list(expected_types)
    found = [named(event) for event in public(events)]
    for place, (event, wanted) in enumerate(zip(public(events), expected, strict=False)):
        if wanted == event.type:
            found[place] = wanted
    assert found == expected


# ---------------------------------------------------------------- stores


@dataclass(frozen=True)
class Stored:
    """An execution as it lies in the store, read by somebody else than the engine."""

    snapshot: Snapshot
    outputs: Mapping[str, object]
    result: object
    events: Sequence[Event]
    attempts: Sequence[WorkItem]
    timers: Sequence[WorkItem]

    @property
    def status(self) -> str:
        """The stored status of the execution."""
        return self.snapshot.head.status

    def step(self, step_id: str) -> StepState:
        """The stored state of a step; untouched if it has no row."""
        return self.snapshot.steps.get(StepId(step_id), UNTOUCHED)


@dataclass
class IntegrationRepos:
    """A real SQLite store, and a way to look into it past the engine.

    `path` is None for `:memory:`, which has one connection only: there one looks through the engine's own.
    """

    path: Path | None
    clock: IntegrationClock
    executions: SqliteRepository = field(init=False)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self.executions = SqliteRepository(self.path or ":memory:")

    def new_id(self) -> ExecutionId:
        """`run-1`, `run-2`, …: the jitter of a retry depends on the id, so ids must not be random here."""
        return ExecutionId(f"run-{next(self._numbers)}")

    @asynccontextmanager
    async def look(self) -> AsyncIterator[SqliteRepository]:
        """A repository of one's own that may only read."""
        if self.path is None:
            yield self.executions
            return
        reader = SqliteRepository(self.path)
        await reader.open(clock=self.clock, writer=False)
        try:
            yield reader
        finally:
            await reader.close()

    async def stored(self, execution_id: str) -> Stored:
        """Everything the store holds about an execution, read afresh."""
        key = ExecutionId(execution_id)
        async with self.look() as repository:
            snapshot = await repository.load(key)
            assert snapshot is not None
            storage = OutputStorage(repository)
            result = snapshot.head.outputs
            return Stored(
                snapshot=snapshot,
                outputs={step: await _retrieved(storage, key, step) for step in snapshot.steps},
                result=await storage.unpack(result) if result is not None else None,
                events=await repository.events(key),
                attempts=[item async for item in repository.attempts() if item.execution_id == key],
                timers=await repository.timers(after=None, limit=100),
            )


async def _retrieved(storage: OutputStorage, execution_id: ExecutionId, step_id: StepId) -> object:
    try:
        return await storage.retrieve(execution_id, step_id)
    except NotFound:
        return None


async def assert_stored_as(repos: IntegrationRepos, execution: ProcessExecution) -> Stored:
    """The store says of the execution and of each of its steps what the engine says; returns the former."""
    stored = await repos.stored(execution.id)
    head = stored.snapshot.head
    assert (stored.status, head.started_at, head.completed_at) == (
        execution.status,
        execution.started_at,
        execution.completed_at,
    )
    assert stored.result == execution.outputs
    for step_id, step in execution.step_executions.items():
        kept = stored.step(step_id)
        assert (kept.status, kept.attempt, kept.retry_count) == (step.status, step.attempts, step.retry_count)
        assert (kept.error, kept.reason, kept.due) == (step.error, step.reason, step.due)
        assert (kept.started_at, kept.completed_at) == (step.started_at, step.completed_at)
        assert stored.outputs.get(step_id) == step.output
    if execution.status.is_final:
        assert (stored.attempts, stored.timers) == ([], [])
    return stored


# ---------------------------------------------------------------- definitions


def process(*steps: Spec, **fields: object) -> ProcessDefinition:
    """A process of these steps that passes every static check."""
    definition = ProcessDefinition.model_validate({"name": "integration", "steps": list(steps), **fields})
    assert [problem for problem in check(definition) if problem.level == "error"] == []
    return definition


def agent_task(step_id: str, message: object = None, *, after: Iterable[str] = (), **fields: object) -> Spec:
    """A step that asks the agent `worker`, unless `fields` name another one."""
    spec: Spec = {"id": step_id, "type": "agent_task", "agent": "worker", "depends_on": list(after)}
    return spec | {"message": f"Do {step_id}." if message is None else message} | fields


def timer(step_id: str, delay: str, *, after: Iterable[str] = ()) -> Spec:
    """A step that waits."""
    return {"id": step_id, "type": "timer", "delay": delay, "depends_on": list(after)}


def gateway(
    step_id: str, routes: Mapping[str, str], *, default: str | None = None, after: Iterable[str] = ()
) -> Spec:
    """An exclusive gateway; `routes` are conditions by target, in order."""
    spec: Spec = {"id": step_id, "type": "gateway", "gateway_type": "exclusive", "depends_on": list(after)}
    spec["routes"] = [{"condition": condition, "target": target} for target, condition in routes.items()]
    return spec if default is None else spec | {"default_route": default}


def chain(*step_ids: str) -> ProcessDefinition:
    """Agent tasks one after the other."""
    before = [(), *((step_id,) for step_id in step_ids)]
    pairs = zip(step_ids, before, strict=False)
    return process(*(agent_task(step_id, after=after) for step_id, after in pairs))


def diamond(join_message: str = "Join.") -> ProcessDefinition:
    """`root`, then `left` beside `right`, then `join`."""
    return process(
        agent_task("root"),
        agent_task("left", after=["root"]),
        agent_task("right", after=["root"]),
        agent_task("join", join_message, after=["left", "right"]),
    )


def retrying(max_attempts: int, **fields: object) -> Spec:
    """A retry policy without jitter, unless `fields` ask for it."""
    return {"max_attempts": max_attempts, "jitter": False, **fields}


# ---------------------------------------------------------------- wiring


def fully_wired(
    repos: IntegrationRepos,
    agents: AgentGateway,
    bus: InMemoryEventBus,
    config: ExecutionConfig | None = None,
) -> Engine:
    """An engine as the application makes it, with only the agents replaced; enter it to run it."""
    registry = StepHandlerRegistry()
    registry.register("agent_task", AgentTaskHandler(agents))
    registry.register("gateway", GatewayHandler())
    registry.register("timer", TimerHandler())
    return Engine(
        repos.executions,
        registry,
        config or ExecutionConfig(parallel_execution=True),
        clock=repos.clock,
        event_bus=bus,
        new_id=repos.new_id,
    )


async def run(engine: Engine, definition: ProcessDefinition, **input: object) -> ProcessExecution:
    """Start an execution and wait for its end."""
    execution = await engine.start(definition, input)
    return await engine.run_until_settled(execution.id)


@pytest.fixture
def integration_clock() -> IntegrationClock:
    """The time of everything in the test."""
    return IntegrationClock()


@pytest.fixture
def integration_agents(integration_clock: IntegrationClock) -> MockAgentGateway:
    """The agents behind `integration_engine`."""
    return MockAgentGateway(clock=integration_clock)


@pytest.fixture(params=["memory", "file"])
def integration_repos(
    request: pytest.FixtureRequest, tmp_path: Path, integration_clock: IntegrationClock
) -> IntegrationRepos:
    """A store in memory, and the same test once more on a file."""
    on_file = cast("str", request.param) == "file"
    return IntegrationRepos(tmp_path / "process-engine.db" if on_file else None, integration_clock)


@pytest.fixture
def integration_event_bus() -> CapturingEventBus:
    """The bus of `integration_engine`; it keeps what it delivers."""
    return CapturingEventBus()


@pytest.fixture
async def integration_engine(
    integration_repos: IntegrationRepos,
    integration_agents: MockAgentGateway,
    integration_event_bus: CapturingEventBus,
) -> AsyncIterator[Engine]:
    """A running engine, every part of it real but the agents."""
    async with fully_wired(integration_repos, integration_agents, integration_event_bus) as engine:
        yield engine
