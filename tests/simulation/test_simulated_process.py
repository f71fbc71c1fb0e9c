"""The parts of a simulation, used by hand: one process, and exactly one order of things."""

from collections.abc import Iterator

import pytest

from process_engine.core.config import ExecutionConfig
from process_engine.core.results import Completed, Failed
from process_engine.core.state import ExecutionStatus
from process_engine.definition.document import ProcessDefinition
from process_engine.errors import StorageUnavailable
from process_engine.ids import ExecutionId
from process_engine.runtime.ports import AgentCallFailed, AgentReply
from process_engine.testing.answers import LARGE, recorded
from process_engine.testing.disks import MemoryDisk, SqliteDisk, begin
from process_engine.testing.judge import Judge, PromiseBroken
from process_engine.testing.simulated_process import SimulatedProcess
from process_engine.testing.simulated_time import SimulatedClock, SimulatedTime
from process_engine.testing.telling import Teller

WAITS = ProcessDefinition.model_validate(
    {"name": "waits", "steps": [{"id": "wait", "type": "timer", "delay": "5s"}]}
)
ASKS = ProcessDefinition.model_validate(
    {"name": "asks", "steps": [{"id": "ask", "type": "agent_task", "agent": "writer", "message": "hello"}]}
)
ASKS_MUCH = ProcessDefinition.model_validate(
    {
        "name": "asks-much",
        "steps": [{"id": "ask", "type": "agent_task", "agent": "writer", "message": "{{ input.text }}"}],
    }
)
# `last` starts when either of the others is done, and reads the slower one.
RACES = ProcessDefinition.model_validate(
    {
        "name": "races",
        "steps": [
            {"id": "fast", "type": "agent_task", "agent": "writer", "message": "fast"},
            {"id": "slow", "type": "agent_task", "agent": "writer", "message": "slow"},
            {
                "id": "last",
                "type": "agent_task",
                "agent": "writer",
                "depends_on": ["fast", "slow"],
                "join": "any",
                "condition": "steps.slow.output.ok | default(true)",
                "message": "{{ steps.slow.output.text | default('nothing yet') }}",
            },
        ],
    }
)
REFUSED = AgentCallFailed("AGENT_ERROR", "no")
ID = ExecutionId("one")


class World:
    """A disk, a clock and a judge; processes come and go."""

    def __init__(self, disk) -> None:
        self.disk = disk
        self.time = SimulatedTime()
        self.judge = Judge(begin(disk, SimulatedClock(self.time)), self.time, Teller(self.time))
        for definition in (WAITS, ASKS, ASKS_MUCH, RACES):
            self.judge.adopt(definition)
        self.faults: list[BaseException] = []
        self.processes: list[SimulatedProcess] = []

    def process(self, name: str) -> SimulatedProcess:
        """A process that has taken the store over."""
        process = self.beginning(name)
        self.run(process)
        return process

    def beginning(self, name: str) -> SimulatedProcess:
        """A process that has not done anything yet."""
        process = SimulatedProcess(
            name,
            self.disk.repository(),
            self.judge,
            self.time,
            config=ExecutionConfig(),
            new_id=lambda: ID,
            recover=True,
            on_fault=self.faults.append,
        )
        self.processes.append(process)
        return process

    def run(self, process: SimulatedProcess, *, leave: object = None) -> None:
        """Let it go on, and every operation come about, apart from `leave`."""
        self.rest(process)
        while operations := [one for one in process.store.operations if one is not leave]:
            self.perform(operations[0])
            process.tell(operations[0])
            self.rest(process)

    def rest(self, process: SimulatedProcess) -> None:
        while process.loop.is_busy:
            process.loop.turn()

    def perform(self, operation) -> None:
        operation.perform()
        if operation.transitions and operation.written:
            self.judge.committed(operation.transitions)

    def start(self, process: SimulatedProcess, definition: ProcessDefinition, **given: object) -> None:
        process.request(lambda engine: engine.start(definition, given, execution_id=ID), lambda answer: None)
        self.run(process)

    def answer(self, process: SimulatedProcess, step_id: str, answer: AgentReply | Exception) -> None:
        """Let an agent answer, and the process notice."""
        call = next(call for call in process.agents.open if call.request.context.step_id == step_id)
        output = Completed(answer.output) if isinstance(answer, AgentReply) else Failed(answer.code, "no")
        self.judge.remember(recorded(call.key, output))
        process.agents.answer(call, answer)
        self.rest(process)


@pytest.fixture(params=[MemoryDisk, SqliteDisk])
def world(request) -> Iterator[World]:
    world = World(request.param())
    yield world
    for process in world.processes:
        if not process.loop.dead:
            process.kill()


def test_nothing_happens_by_itself(world: World):
    process = world.process("first")

    process.request(lambda engine: engine.start(ASKS, execution_id=ID), lambda answer: None)

    assert process.loop.is_busy
    assert world.judge.records == {}


def test_an_agent_is_called_only_after_the_commit_has_returned(world: World):
    process = world.process("first")
    process.request(lambda engine: engine.start(ASKS, execution_id=ID), lambda answer: None)
    world.rest(process)
    while process.store.operations[0].name != "commit":
        world.perform(process.store.operations[0])
        process.tell(process.store.operations[0])
        world.rest(process)
    commit = process.store.operations[0]

    world.perform(commit)
    world.rest(process)
    before = list(process.agents.open)
    process.tell(commit)
    world.rest(process)

    assert before == []
    assert [call.request.message for call in process.agents.open] == ["hello"]


def test_a_killed_process_leaves_what_is_stored_and_nothing_else(world: World):
    first = world.process("first")
    world.start(first, ASKS)
    call = first.agents.open[0]

    first.kill()
    first.loop.turn()
    second = world.process("second")

    assert [call.key for call in first.agents.given_up] == [call.key]
    assert [call.key for call in second.agents.open] == [(ID, "ask", 1, 2)]
    assert world.faults == []


def test_who_was_overtaken_is_refused(world: World):
    first = world.process("first")
    world.start(first, ASKS)
    second = world.process("second")
    before = world.judge.fingerprint()

    world.answer(first, "ask", AgentReply(output="late"))
    world.run(first)

    assert first.failure is not None
    assert first.failure.code == "OWNERSHIP_LOST"
    assert world.judge.fingerprint() == before
    assert len(second.agents.open) == 1


def test_what_ends_while_a_watcher_reads_an_older_state_is_told_as_it_is(world: World):
    first = world.process("first")
    world.start(first, WAITS)
    first.kill()
    process = world.process("second")
    answers: list[object] = []
    process.request(lambda engine: engine.run_until_settled(ID), answers.append)
    world.rest(process)
    reading = process.store.operations[0]
    world.perform(reading)

    world.time.advance(5)
    process.clock.ring()
    world.run(process, leave=reading)
    process.tell(reading)
    world.run(process)

    assert [answer.status for answer in answers] == [ExecutionStatus.COMPLETED]


def test_who_waits_for_a_commit_under_way_as_the_engine_is_left_is_told(world: World):
    process = world.process("first")
    world.start(process, ASKS)
    answers: list[object] = []
    process.request(lambda engine: engine.pause(ID), answers.append)
    world.rest(process)
    assert [operation.name for operation in process.store.operations] == ["commit"]

    process.stop(0)
    world.run(process)

    assert process.has_ended
    assert [answer.code for answer in answers] == ["ENGINE_CLOSED"]
    assert process.loop.open_tasks == []


def test_an_engine_that_cannot_take_over_leaves_nothing_running(world: World):
    first = world.process("first")
    world.start(first, ASKS)
    first.kill()
    second = world.beginning("second")
    world.rest(second)
    while (operation := second.store.operations[0]).name != "timers":
        world.perform(operation)
        second.tell(operation)
        world.rest(second)

    operation.fail(StorageUnavailable("away.", nothing_written=True))
    second.tell(operation)
    world.run(second)

    assert second.has_ended
    assert second.loop.open_tasks == []
    assert second.agents.open == []


def test_the_judge_objects_to_a_call_without_a_commit(world: World):
    process = world.process("first")
    world.start(process, ASKS)
    request = process.agents.open[0].request

    with pytest.raises(PromiseBroken, match="called twice"):
        process.called(request)
    assert len(world.faults) == 1


def test_a_retry_that_is_asked_for_before_its_failure_is_stored_runs_like_any_other(world: World):
    process = world.process("first")
    world.start(process, ASKS)
    world.answer(process, "ask", REFUSED)
    (failing,) = process.store.operations
    process.request(lambda engine: engine.retry(ID), lambda answer: None)
    world.rest(process)
    assert process.store.operations == [failing]

    world.run(process)
    answers: list[object] = []
    process.request(lambda engine: engine.run_until_settled(ID), answers.append)
    world.run(process)

    assert [call.key for call in process.agents.open] == [(ID, "ask", 1, 2)]
    assert answers == []


def test_who_was_overtaken_does_not_take_the_work_of_another_for_its_own(world: World):
    first = world.process("first")
    world.start(first, ASKS)
    world.answer(first, "ask", AgentReply(output="done"))
    (commit,) = first.store.operations
    commit.fail(StorageUnavailable("cut off.", nothing_written=None))
    first.tell(commit)
    world.rest(first)
    second = world.process("second")
    assert len(second.agents.open) == 1

    world.time.advance(1)
    first.clock.ring()
    world.run(first)

    assert first.failure is not None
    assert first.failure.code == "OWNERSHIP_LOST"
    assert world.faults == []


def test_a_store_that_is_away_for_a_moment_costs_no_attempt(world: World):
    process = world.process("first")
    process.request(
        lambda engine: engine.start(ASKS_MUCH, {"text": LARGE}, execution_id=ID), lambda answer: None
    )
    world.rest(process)
    while (operation := process.store.operations[0]).name != "load_blob":
        world.perform(operation)
        process.tell(operation)
        world.rest(process)

    operation.fail(StorageUnavailable("away.", nothing_written=True))
    process.tell(operation)
    world.run(process)
    world.time.advance(1)
    process.clock.ring()
    world.run(process)

    assert [call.key for call in process.agents.open] == [(ID, "ask", 1, 1)]


def test_a_retried_visit_asks_the_same_whatever_has_settled_since(world: World):
    process = world.process("first")
    world.start(process, RACES)
    world.answer(process, "fast", AgentReply(output="done"))
    world.run(process)
    (first,) = [call.request for call in process.agents.open if call.request.context.step_id == "last"]
    world.answer(process, "slow", AgentReply(output={"text": "something", "ok": False}))
    world.run(process)
    world.answer(process, "last", REFUSED)
    world.run(process)

    process.request(lambda engine: engine.retry(ID), lambda answer: None)
    world.run(process)

    (again,) = [call.request for call in process.agents.open]
    assert (again.idempotency_key, again.message) == (first.idempotency_key, "nothing yet")
    assert world.faults == []
