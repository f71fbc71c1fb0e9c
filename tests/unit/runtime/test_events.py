"""Events that somebody publishes, and executions that wait for them: early, late, over restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from process_engine.app import ExecutionEngine
from process_engine.core import events as e
from process_engine.core.commands import PublishEvent
from process_engine.core.mailbox import NewEvent, PublishedEvent
from process_engine.core.state import ExecutionStatus
from process_engine.core.values import Value
from process_engine.errors import CommandRejected, NotFound, OutputTooLarge, StorageUnavailable
from process_engine.ids import ExecutionId
from process_engine.repositories.memory import MemoryRepository, Tables
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime import inbox
from process_engine.runtime.engine import Engine
from process_engine.runtime.mailbox import KEPT
from process_engine.runtime.ports import ExecutionRepository, Posted
from process_engine.testing.clock import VirtualClock
from tests.unit.runtime.fakes import ScriptedAgents, process, task

RACES = 1_000
MICROSECOND = timedelta(microseconds=1)
Store = Callable[[], ExecutionRepository]


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Another way to the same data, each time it is asked."""
    tables = Tables()
    if request.param == "memory":
        return lambda: MemoryRepository(tables)
    return lambda: SqliteRepository(tmp_path / "engine.db")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def wait(step_id: str = "w", *depends_on: str, **fields: object) -> dict[str, object]:
    """A step that waits for `go`."""
    return {"id": step_id, "type": "wait_for_event", "event": "go", "depends_on": list(depends_on)} | fields


def engine_on(store: ExecutionRepository, clock: VirtualClock) -> Engine:
    return ExecutionEngine(store, ScriptedAgents(), clock=clock)


async def test_an_event_that_comes_first_is_kept(store: Store, clock: VirtualClock):
    async with engine_on(store(), clock) as engine:
        execution = await engine.start(process(wait(event="before"), wait("v", "w")))
        await engine.publish_event("go", {"n": 1})
        await engine.publish_event("before")

        execution = await engine.run_until_settled(execution.id)

        assert execution.status is ExecutionStatus.COMPLETED
        assert execution.step_executions["v"].output == {"n": 1}


async def test_an_execution_does_not_see_what_was_published_before_it(store: Store, clock: VirtualClock):
    async with engine_on(store(), clock) as engine:
        await engine.publish_event("go", "old")
        execution = await engine.start(process(wait()))

        execution = await engine.run_until_settled(execution.id)
        assert (execution.status, execution.blockers[0].detail) == (ExecutionStatus.RUNNING, "go")

        await engine.publish_event("go", "new")
        execution = await engine.run_until_settled(execution.id)
        assert execution.step_executions["w"].output == "new"


async def test_one_event_serves_every_execution_and_an_addressed_one_only_its_own(
    store: Store, clock: VirtualClock
):
    async with engine_on(store(), clock) as engine:
        definition = process(wait(), wait("v", "w"))
        one, other = await engine.start(definition), await engine.start(definition)
        await engine.publish_event("go", "for other", execution_id=other.id)
        await engine.publish_event("go", "for all")
        await engine.publish_event("go", "last")

        one, other = [await engine.run_until_settled(one.id) for one in (one, other)]

    assert [one.step_executions[step].output for step in "wv"] == ["for all", "last"]
    assert [other.step_executions[step].output for step in "wv"] == ["for other", "for all"]


async def test_events_are_taken_in_the_order_of_publishing_however_many_there_are(
    store: Store, clock: VirtualClock
):
    async with engine_on(store(), clock) as engine:
        execution = await engine.start(process(wait(event="begin"), wait("v", "w", match="event == 250")))
        for number in range(300):
            await engine.publish_event("go", number)
        await engine.publish_event("begin")

        execution = await engine.run_until_settled(execution.id)

    assert execution.step_executions["v"].output == 250


async def test_a_second_event_under_the_same_id_is_no_change(store: Store, clock: VirtualClock):
    async with engine_on(store(), clock) as engine:
        execution = await engine.start(process(wait(), wait("v", "w")))
        first = await engine.publish_event("go", 1, id="x")
        again = await engine.publish_event("go", 2, id="x")
        execution = await engine.run_until_settled(execution.id)

    assert (first.repeated, again.repeated) == (False, True)
    assert again.published == first.published
    assert execution.step_executions["w"].output == 1
    assert execution.step_executions["v"].status == "waiting"


async def test_many_publish_at_once_and_all_of_it_is_there(store: Store, clock: VirtualClock):
    async with engine_on(store(), clock) as engine:
        execution = await engine.start(process(*(wait(f"w{n}") for n in range(50))))
        posted = await asyncio.gather(*(engine.publish_event("go", n) for n in range(50)))
        execution = await engine.run_until_settled(execution.id)

    assert len({one.published.position for one in posted}) == 50
    assert sorted(step.output for step in execution.step_executions.values()) == list(range(50))


async def test_a_large_payload_arrives_whole_and_is_matched(store: Store, clock: VirtualClock):
    large = {"n": 7, "pad": "x" * 100_000}
    async with engine_on(store(), clock) as engine:
        execution = await engine.start(process(wait(match="event.n == 7")))
        await engine.publish_event("go", {**large, "n": 8})
        await engine.publish_event("go", large)
        execution = await engine.run_until_settled(execution.id)

    assert execution.step_executions["w"].output == large


@pytest.mark.parametrize(
    ("name", "payload", "id", "error"),
    [
        ("", 1, None, CommandRejected),
        ("a\nb", 1, None, CommandRejected),
        ("x" * 201, 1, None, CommandRejected),
        ("go", object(), None, CommandRejected),
        ("go", "\ud800", None, CommandRejected),
        ("go", 1, "", CommandRejected),
        ("go", "x" * (11 * 1024 * 1024), None, OutputTooLarge),
    ],
)
async def test_what_cannot_be_published_is_refused(name, payload, id, error, clock: VirtualClock):
    tables = Tables()
    async with engine_on(MemoryRepository(tables), clock) as engine:
        with pytest.raises(error):
            await engine.publish_event(name, payload, id=id)
    assert tables.mailbox == {}


async def test_an_event_for_an_execution_that_there_is_not_is_refused(clock: VirtualClock):
    async with engine_on(MemoryRepository(), clock) as engine:
        with pytest.raises(NotFound):
            await engine.publish_event("go", execution_id="nobody")


# ---------------------------------------------------------------- over restarts


async def test_what_was_published_while_nobody_waited_here_is_taken_after_a_restart(
    store: Store, clock: VirtualClock
):
    async with engine_on(store(), clock) as engine:
        execution = await engine.start(process(wait(), task("next", "w")))
    # Whoever publishes now runs nothing: it only puts the event into the mailbox.
    async with ExecutionEngine(store(), ScriptedAgents(), clock=clock, recover=False) as engine:
        await engine.publish_event("go", 1)
        assert (await engine.get(execution.id)).step_executions["w"].status == "waiting"

    async with engine_on(store(), clock) as engine:
        execution = await engine.run_until_settled(execution.id)
    assert execution.status is ExecutionStatus.COMPLETED
    assert execution.step_executions["w"].output == 1


async def test_an_event_in_time_wins_over_a_timeout_that_fell_due_while_nothing_ran(
    store: Store, clock: VirtualClock
):
    async with engine_on(store(), clock) as engine:
        execution = await engine.start(process(wait(timeout="1h")))
    async with ExecutionEngine(store(), ScriptedAgents(), clock=clock, recover=False) as engine:
        await engine.publish_event("go", 1)
        await clock.sleep(2 * 3_600)

    async with engine_on(store(), clock) as engine:
        execution = await engine.run_until_settled(execution.id)
    assert execution.step_executions["w"].output == 1


async def test_an_event_after_the_timeout_is_too_late(store: Store, clock: VirtualClock):
    async with engine_on(store(), clock) as engine:
        execution = await engine.start(process(wait(timeout="1h")))
    async with ExecutionEngine(store(), ScriptedAgents(), clock=clock, recover=False) as engine:
        await clock.sleep(2 * 3_600)
        await engine.publish_event("go", 1)

    async with engine_on(store(), clock) as engine:
        execution = await engine.run_until_settled(execution.id)
    assert execution.error is not None
    assert execution.error.code == "TIMEOUT"


async def test_old_events_go_when_the_store_is_taken_over(store: Store, clock: VirtualClock):
    async with engine_on(store(), clock) as engine:
        execution = await engine.start(process(wait("first", event="never")))
        for number in range(1_500):
            await engine.publish_event("go", number, id=f"old-{number}")
        await clock.sleep(KEPT.total_seconds() + 1)
        await engine.publish_event("go", "new")
    async with engine_on(here := store(), clock):
        kept = await here.mail("go", execution.id, limit=10_000)
    assert [one.event.payload.data for one in kept] == ["new"]


async def test_an_engine_that_is_drained_brings_nothing_any_more(clock: VirtualClock):
    tables = Tables()
    async with engine_on(MemoryRepository(tables), clock) as engine:
        execution = await engine.start(process(wait()))
        await engine.drain(0)
        await engine.publish_event("go", 1)
        assert (await engine.get(execution.id)).step_executions["w"].status == "waiting"
    async with engine_on(MemoryRepository(tables), clock) as engine:
        assert (await engine.run_until_settled(execution.id)).status is ExecutionStatus.COMPLETED


# ---------------------------------------------------------------- the store does not answer


class Shaky(MemoryRepository):
    """Loses the acknowledgement of the first publication, and refuses the first look."""

    def __init__(self) -> None:
        super().__init__()
        self.troubles = ["post", "mail"]

    async def post(
        self, events: Sequence[NewEvent], blobs: Mapping[str, bytes], fence: int
    ) -> Sequence[Posted]:
        posted = await super().post(events, blobs, fence)
        self._trouble("post", nothing_written=None)
        return posted

    async def mail(
        self, name: str, execution_id: ExecutionId, *, after: int = 0, limit: int = 100
    ) -> Sequence[PublishedEvent]:
        self._trouble("mail", nothing_written=True)
        return await super().mail(name, execution_id, after=after, limit=limit)

    def _trouble(self, what: str, *, nothing_written: bool | None) -> None:
        if what in self.troubles:
            self.troubles.remove(what)
            raise StorageUnavailable("gone for a moment", nothing_written=nothing_written)


async def test_a_lost_acknowledgement_and_a_look_that_failed_lose_nothing(clock: VirtualClock):
    async with engine_on(shaky := Shaky(), clock) as engine:
        execution = await engine.start(process(wait()))
        await engine.publish_event("go", 1)
        execution = await engine.run_until_settled(execution.id)

    assert shaky.troubles == []
    assert execution.step_executions["w"].output == 1


async def test_a_store_that_never_answers_is_told_to_who_publishes(clock: VirtualClock):
    async with engine_on(shaky := Shaky(), clock) as engine:
        shaky.troubles = ["post"] * 8
        with pytest.raises(StorageUnavailable):
            await engine.publish_event("go", 1)
        assert (await engine.publish_event("go", 2)).repeated is False


# ---------------------------------------------------------------- time, pauses, the inbox


async def test_a_pause_takes_events_and_a_cancel_none(store: Store, clock: VirtualClock):
    async with engine_on(store(), clock) as engine:
        paused, gone = [await engine.start(process(wait(), task("next", "w"))) for _ in range(2)]
        await engine.pause(paused.id)
        await engine.cancel(gone.id)
        await engine.publish_event("go", 1)
        paused = await engine.run_until_settled(paused.id)
        assert paused.step_executions["w"].status == "completed"
        assert paused.step_executions["next"].attempts == 0
        await engine.resume(paused.id)
        assert (await engine.run_until_settled(paused.id)).status is ExecutionStatus.COMPLETED
        assert (await engine.get(gone.id)).step_executions["w"].status == "cancelled"


async def test_who_waits_for_the_end_waits_through_a_timeout(clock: VirtualClock):
    async with engine_on(MemoryRepository(), clock) as engine:
        execution = await engine.start(process(wait(timeout="30d", timeout_action="continue")))
        here = await engine.run_until_settled(execution.id, wait_for_timers=False)
        assert here.status is ExecutionStatus.RUNNING
        assert (await engine.run_until_settled(execution.id)).status is ExecutionStatus.COMPLETED


async def test_another_process_publishes_through_the_inbox(store: Store, clock: VirtualClock):
    async with engine_on(here := store(), clock) as engine:
        execution = await engine.start(process(wait()))
        event = NewEvent(id="x", name="go", payload=Value(1), published_at=clock.now() - timedelta(days=9))
        for repeated in (False, True):
            command = PublishEvent(event=event)
            with clock.idle():
                answer = await inbox.ask(here, command, clock=clock, timeout_seconds=5)
            assert answer is not None
            assert (answer.error_code, answer.repeated) == (None, repeated)
        execution = await engine.run_until_settled(execution.id)
        (mail,) = await here.mail("go", execution.id)

    assert execution.step_executions["w"].output == 1
    assert mail.event.published_at == clock.now()


async def test_event_and_timeout_at_the_same_moment_end_a_wait_once(clock: VirtualClock):
    """In 1,000 races, each with another order of who comes first."""
    rng = Random(5)
    async with engine_on(repository := MemoryRepository(), clock) as engine:
        definition = process(wait(timeout="10s", timeout_action="continue", match="event != null"))
        ids = [(await engine.start(definition)).id for _ in range(RACES)]

        async def publish(execution_id: ExecutionId) -> None:
            await clock.sleep_until(clock.now() + timedelta(seconds=10) - rng.choice((0, 0, 1)) * MICROSECOND)
            for _ in range(rng.randint(0, 3)):
                await asyncio.sleep(0)
            await engine.publish_event("go", "event", execution_id=execution_id)

        async with asyncio.TaskGroup() as tasks:
            for execution_id in ids:
                tasks.create_task(publish(execution_id))
            ended = [await engine.run_until_settled(execution_id) for execution_id in ids]
        histories = [await repository.events(execution_id) for execution_id in ids]

    outputs = [execution.step_executions["w"].output for execution in ended]
    for events, output in zip(histories, outputs, strict=True):
        received = [event for event in events if isinstance(event, e.EventReceived)]
        assert sum(isinstance(event, e.StepCompleted) for event in events) == 1
        assert bool(received) is (output == "event")
    assert set(outputs) == {"event", None}


async def test_an_event_costs_those_who_wait_for_another_nothing(clock: VirtualClock):
    asked: list[str] = []

    class Counting(MemoryRepository):
        async def mail(
            self, name: str, execution_id: ExecutionId, *, after: int = 0, limit: int = 100
        ) -> Sequence[PublishedEvent]:
            asked.append(name)
            return await super().mail(name, execution_id, after=after, limit=limit)

    async with engine_on(Counting(), clock) as engine:
        for number in range(100):
            await engine.start(process(wait(event=f"other-{number}")))
        one = await engine.start(process(wait()))
        await engine.run_until_settled(one.id)
        asked.clear()
        await engine.publish_event("go", 1)
        assert (await engine.run_until_settled(one.id)).status is ExecutionStatus.COMPLETED
    assert asked == []
