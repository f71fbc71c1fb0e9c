import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta

import pytest

from process_engine.agents import EchoSettings, connect, limits
from process_engine.agents.connecting import connected
from process_engine.agents.limits import Bucket, Gate, LimitedAgent, Rate, parse_rate
from process_engine.app import ExecutionEngine
from process_engine.clock import SystemClock
from process_engine.definition import load_definition
from process_engine.repositories.memory import MemoryRepository
from process_engine.runtime.ports import AgentReply, AgentRequest
from process_engine.testing.agent_server import AgentServer, Behaviour
from process_engine.testing.clock import VirtualClock
from tests.unit.agents.support import a_request, eventually, http_agent

START = datetime(2026, 1, 1, tzinfo=UTC)


class Sleepy:
    """An agent that takes some virtual seconds, and notes when it was called for what."""

    def __init__(self, clock: VirtualClock, seconds: float = 0) -> None:
        self.calls: list[tuple[object, float]] = []
        self.at_once = self.most = 0
        self._clock, self._seconds = clock, seconds

    async def call(self, request: AgentRequest) -> AgentReply:
        self.calls.append((request.message, (self._clock.now() - START).total_seconds()))
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await self._clock.sleep_until(self._clock.now() + timedelta(seconds=self._seconds))
        finally:
            self.at_once -= 1
        return AgentReply(output=request.message)

    async def aclose(self) -> None:
        pass

    @property
    def starts(self) -> list[float]:
        return [start for _, start in self.calls]

    @property
    def messages(self) -> list[object]:
        return [message for message, _ in self.calls]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


def limited(agent: Sleepy, clock: VirtualClock, places: int | None = None, rate: str | None = None):
    return LimitedAgent(agent, Gate(clock, places=places, rate=None if rate is None else parse_rate(rate)))


async def under_way(clock: VirtualClock, work: Callable[[], Awaitable[object]]) -> object:
    """As the engine runs an attempt: time stands still unless it sleeps on the clock."""
    with clock.outstanding():
        return await work()


def begin(clock: VirtualClock, agent: LimitedAgent, messages: Iterable[object]) -> list[asyncio.Task[object]]:
    return [
        asyncio.create_task(under_way(clock, lambda message=message: agent.call(a_request(message))))
        for message in messages
    ]


async def all_of(clock: VirtualClock, tasks: Iterable[asyncio.Task[object]]) -> list[object]:
    with clock.idle():
        return await asyncio.gather(*tasks, return_exceptions=True)


# ---------------------------------------------------------------- at once


async def test_no_more_calls_at_once_than_there_are_places(clock: VirtualClock):
    agent = Sleepy(clock, seconds=10)

    await all_of(clock, begin(clock, limited(agent, clock, places=2), range(5)))

    assert agent.starts == [0, 0, 10, 10, 20]
    assert agent.most == 2


async def test_calls_wait_in_the_order_they_came(clock: VirtualClock):
    agent = Sleepy(clock, seconds=1)

    replies = await all_of(clock, begin(clock, limited(agent, clock, places=1), range(50)))

    assert agent.messages == list(range(50))
    assert [reply.output for reply in replies] == list(range(50))


async def test_a_newcomer_does_not_overtake_who_was_let_in_but_is_not_awake_yet(clock: VirtualClock):
    agent = Sleepy(clock, seconds=1)
    gate = Gate(clock, places=1)
    behind = LimitedAgent(agent, gate)
    async with gate.passed():
        first = begin(clock, behind, ["first"])
        await eventually(lambda: gate.waiting == 1)
    second = begin(clock, behind, ["second"])

    await all_of(clock, [*first, *second])

    assert agent.messages == ["first", "second"]


async def test_who_is_cancelled_in_the_queue_leaves_no_gap(clock: VirtualClock):
    agent = Sleepy(clock, seconds=10)
    tasks = begin(clock, limited(agent, clock, places=1), range(4))
    await eventually(lambda: agent.calls)

    tasks[1].cancel()
    await all_of(clock, tasks)

    assert agent.calls == [(0, 0), (2, 10), (3, 20)]


async def test_who_is_cancelled_inside_gives_the_place_back(clock: VirtualClock):
    agent = Sleepy(clock, seconds=10)
    tasks = begin(clock, limited(agent, clock, places=1), range(2))
    await eventually(lambda: agent.calls)

    tasks[0].cancel()
    await all_of(clock, tasks)

    assert agent.calls == [(0, 0), (1, 0)]


@pytest.mark.parametrize("turns", range(8))
async def test_who_is_cancelled_while_being_let_in_passes_the_place_on(clock: VirtualClock, turns: int):
    """At whatever turn of the loop between admission and the call the cancellation comes."""
    agent = Sleepy(clock, seconds=5)
    gate = Gate(clock, places=1, rate=parse_rate("100/s"))
    behind = LimitedAgent(agent, gate)
    async with gate.passed():
        tasks = begin(clock, behind, ["cancelled", "next"])
        await eventually(lambda: gate.waiting == 2)
    for _ in range(turns):
        await asyncio.sleep(0)

    tasks[0].cancel()
    cancelled, reply = await all_of(clock, tasks)

    assert isinstance(cancelled, asyncio.CancelledError)
    assert reply.output == "next"
    async with gate.passed():
        assert gate.waiting == 0


async def test_a_call_that_fails_gives_the_place_back(clock: VirtualClock):
    class Failing(Sleepy):
        async def call(self, request: AgentRequest) -> AgentReply:
            await super().call(request)
            raise OSError("no")

    agent = Failing(clock, seconds=1)

    await all_of(clock, begin(clock, limited(agent, clock, places=1), range(3)))

    assert agent.starts == [0, 1, 2]


async def test_a_thousand_in_the_queue_can_be_cancelled(clock: VirtualClock):
    agent = Sleepy(clock, seconds=10)
    tasks = begin(clock, limited(agent, clock, places=1), range(1000))
    await eventually(lambda: agent.calls)

    for task in tasks[1:]:
        task.cancel()
    await all_of(clock, tasks)

    assert agent.messages == [0]


# ---------------------------------------------------------------- per time


async def test_a_rate_lets_its_number_pass_and_then_one_per_interval(clock: VirtualClock):
    agent = Sleepy(clock)

    await all_of(clock, begin(clock, limited(agent, clock, rate="3/m"), range(6)))

    assert agent.starts == [0, 0, 0, 20, 40, 60]
    assert agent.messages == list(range(6))


async def test_a_rest_fills_the_bucket_up_to_its_number_and_no_further(clock: VirtualClock):
    agent = Sleepy(clock)
    behind = limited(agent, clock, rate="2/10s")
    await all_of(clock, begin(clock, behind, range(2)))
    await clock.sleep(1000)

    await all_of(clock, begin(clock, behind, range(4)))

    assert agent.starts == [0, 0, 1000, 1000, 1005, 1010]


async def test_tokens_do_not_pile_up_while_all_places_are_held(clock: VirtualClock):
    """Ten calls wait out a slow one; then they pass as the rate has it, not in one burst."""
    agent = Sleepy(clock, seconds=0)
    gate = Gate(clock, places=1, rate=parse_rate("1/s"))
    async with gate.passed():
        tasks = begin(clock, LimitedAgent(agent, gate), range(3))
        await clock.sleep(100)

    await all_of(clock, tasks)

    assert agent.starts == [100, 101, 102]


async def test_who_is_cancelled_while_waiting_for_a_token_takes_none(clock: VirtualClock):
    agent = Sleepy(clock)
    behind = limited(agent, clock, rate="1/m")
    tasks = begin(clock, behind, range(4))
    await clock.sleep(30)

    tasks[1].cancel()
    await all_of(clock, tasks)

    assert agent.calls == [(0, 0), (2, 60), (3, 120)]


async def test_a_clock_that_is_set_back_by_an_hour_holds_nobody_for_an_hour(monkeypatch: pytest.MonkeyPatch):
    class Adjusted(SystemClock):
        offset = timedelta()

        def now(self) -> datetime:
            return super().now() - self.offset

    monkeypatch.setattr(limits, "SECOND_LOOK_SECONDS", 0.0)
    clock = Adjusted()
    gate = Gate(clock, rate=parse_rate("1/20ms"))

    async def enter() -> None:
        async with gate.passed():
            pass

    await enter()
    clock.offset = timedelta(hours=1)
    await enter()
    waits = asyncio.create_task(enter())
    await asyncio.sleep(0)
    clock.offset = timedelta(hours=2)

    async with asyncio.timeout(10):
        await waits


def test_a_bucket_asks_for_exactly_the_time_after_which_there_is_a_token():
    """Whatever the rate: a wait that is a hair too short would be asked for again and again."""
    for count, seconds in [(7, 1.0), (3, 60.0), (1000, 1.0), (1, 0.000001), (999_999, 1.0), (11, 86_400.0)]:
        bucket, now = Bucket(Rate(count, seconds)), START
        for _ in range(count if count < 2000 else 5):
            assert not bucket.missing(now)
            bucket.take(now)
        for _ in range(5):
            now += bucket.missing(now)
            assert not bucket.missing(now)
            bucket.take(now)


# ---------------------------------------------------------------- in a configuration


async def test_through_the_engine_a_rate_costs_virtual_time_alone(clock: VirtualClock):
    steps = ", ".join(f"{{id: s{number}, type: agent_task, message: m}}" for number in range(4))
    definition, problems = load_definition(
        f"name: p\ndefaults: {{agent: mirror}}\nsteps: [{{id: week, type: timer, duration: 7d}}, {steps}]"
    )
    assert definition is not None, problems
    agents = connect({"mirror": EchoSettings.model_validate({"rate": "1/m", "max_concurrent": 1})}, clock)

    async with ExecutionEngine(MemoryRepository(), agents, clock=clock) as engine:
        execution = await engine.run_until_settled((await engine.start(definition)).id)

    done = sorted(
        (execution.step_executions[f"s{number}"].completed_at - START).total_seconds() for number in range(4)
    )
    assert execution.status == "completed"
    assert done == [0, 60, 120, 180]


async def test_waiting_is_no_part_of_the_agents_own_timeout():
    async with (
        AgentServer({"slow": Behaviour(delay=0.2, reply="done")}) as server,
        http_agent(server.url_of("slow"), timeout="500ms") as agent,
    ):
        behind = LimitedAgent(agent, Gate(SystemClock(), places=1))
        replies = await asyncio.gather(*(behind.call(a_request(key=f"k{n}")) for n in range(3)))

    assert [reply.output for reply in replies] == ["done"] * 3


async def test_an_agent_without_limits_stands_behind_no_gate():
    assert not isinstance(connected("a", EchoSettings(), SystemClock()), LimitedAgent)
    assert isinstance(connected("a", EchoSettings(max_concurrent=3), SystemClock()), LimitedAgent)


async def test_an_agent_behind_a_gate_is_closed_with_it(clock: VirtualClock):
    closed = []

    class Closing(Sleepy):
        async def aclose(self) -> None:
            closed.append(True)

    await limited(Closing(clock), clock, places=1).aclose()

    assert closed


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("60/m", Rate(60, 60)),
        ("5/s", Rate(5, 1)),
        (" 10 / 30s ", Rate(10, 30)),
        ("1000/h", Rate(1000, 3600)),
        ("1/d", Rate(1, 86_400)),
        ("2/1m30s", Rate(2, 90)),
        (Rate(1, 1), Rate(1, 1)),
    ],
)
def test_a_rate_is_a_number_of_calls_and_a_time(text: object, rate: Rate):
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "60", "60/", "/m", "0/m", "-1/m", "1.5/m", "60/min", "60/0s", "5/x", "9999999/s", 60, None]
)
def test_what_is_no_rate_is_refused_with_an_example(text: object):
    with pytest.raises(ValueError, match="such as 60/m"):
        parse_rate(text)
