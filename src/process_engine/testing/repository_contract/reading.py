"""Promises about reading: events, feed, open work, lists, definitions, and the inbox."""

from __future__ import annotations

from datetime import timedelta

from process_engine.core.commands import InterruptAttempt, RecordResult, StartExecution
from process_engine.core.config import ExecutionConfig
from process_engine.core.events import Waiting
from process_engine.core.items import OpenItem
from process_engine.core.results import Completed
from process_engine.core.state import ExecutionStatus
from process_engine.core.values import BlobRef, Value
from process_engine.core.work import WorkItem
from process_engine.errors import NotFound
from process_engine.ids import DefinitionHash, ExecutionId, StepId
from process_engine.runtime.ports import (
    ExecutionRepository,
    InboxAnswer,
    InboxEntry,
    OpenApproval,
    StoredDefinition,
)
from process_engine.testing.repository_contract.expectations import (
    StillClock,
    StoreUnderContract,
    expect,
    on_a_store,
    refused,
)
from process_engine.testing.repository_contract.samples import (
    DONE,
    NOON,
    RUNNING,
    asking,
    begun,
    cancel,
    created,
    execution,
    listing,
    owed,
    request,
    started,
    transition,
    undone,
    waiting,
)
from process_engine.testing.repository_contract.writing import (
    A,
    B,
    C,
    attempts_of,
    timers_of,
)

# More than a store fetches at a time.
_MANY = 1_100


class EventPromises(StoreUnderContract):
    """Events are told in order, and from any place on."""

    @on_a_store
    async def test_nothing_is_found_where_nothing_was_written(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        expect(await store.load(A), None)
        expect(await store.load_definition(DefinitionHash("0" * 64)), None)
        expect(await store.load_blob(BlobRef("0" * 64, 1)), None)
        expect(await store.load_blob(BlobRef("0" * 64, 1_000_000)), None)
        expect(list(await store.list()), [])
        expect(list(await store.resolve("")), [])
        expect(list(await store.events(A)), [])
        expect(list(await store.feed()), [])
        expect(list(await store.open_executions()), [])
        expect(await attempts_of(store), [])
        expect(await timers_of(store), [])
        expect(list(await store.approvals(limit=10)), [])
        expect(list(await store.inbox()), [])
        expect(await store.read_answer(1), None)

    @on_a_store
    async def test_events_are_read_in_pages_from_a_cursor(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        events = [created("a"), *(started("a", n) for n in range(2, 8))]
        await store.commit([transition(execution("a", sequence=7), events), begun("b")], store.fence)

        expect([event.sequence for event in await store.events(A, limit=3)], [1, 2, 3])
        expect([event.sequence for event in await store.events(A, after=3, limit=3)], [4, 5, 6])
        expect([event.sequence for event in await store.events(A, after=6)], [7])
        expect(list(await store.events(A, after=7)), [])
        expect(list(await store.events(A, limit=0)), [])

    @on_a_store
    async def test_the_feed_tells_all_events_in_the_order_of_commit(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        await store.commit([begun("b"), begun("a")], store.fence)
        await store.commit([transition(execution("a", sequence=2))], store.fence)
        await store.commit(
            [transition(execution("b", sequence=2)), begun("c"), transition(execution("b", sequence=3))],
            store.fence,
        )

        entries = await store.feed()

        told = [(entry.event.execution_id, entry.event.sequence) for entry in entries]
        expect(told, [("b", 1), ("a", 1), ("a", 2), ("b", 2), ("c", 1), ("b", 3)])
        positions = [entry.position for entry in entries]
        expect(positions, sorted(set(positions)), "the positions")

    @on_a_store
    async def test_the_feed_goes_on_behind_any_of_its_positions(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        await store.commit([begun("a"), begun("b"), begun("c")], store.fence)
        entries = list(await store.feed())

        for seen in range(len(entries) + 1):
            after = entries[seen - 1].position if seen else 0
            expect(list(await store.feed(after=after)), entries[seen:])
        expect(list(await store.feed(limit=2)), entries[:2])
        expect(list(await store.feed(limit=0)), [])


class WorkPromises(StoreUnderContract):
    """Open work is what the states owe, no more and no less."""

    @on_a_store
    async def test_settled_work_goes_and_new_work_under_the_same_key_stays(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        first = begun("a", steps={"s": RUNNING, "t": RUNNING, "u": RUNNING})
        await store.commit([first], store.fence)
        retry = waiting(5, Waiting.RETRY)
        later = execution("a", sequence=2, steps={"s": retry, "t": DONE, "u": RUNNING, "v": RUNNING})

        await store.commit([transition(later, before=first.execution)], store.fence)

        expect(await attempts_of(store), [("a", "u"), ("a", "v")])
        expect(await timers_of(store), [owed(later)["s"]])

    @on_a_store
    async def test_new_work_replaces_what_is_open_under_its_key(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        first = begun("a", steps={"s": waiting(5)})
        await store.commit([first], store.fence)
        later = execution("a", sequence=2, steps={"s": RUNNING})

        await store.commit([transition(later, before=first.execution)], store.fence)

        expect(await timers_of(store), [])
        expect([item async for item in store.attempts()], [owed(later)["s"]])

    @on_a_store
    async def test_work_that_is_settled_in_the_batch_that_made_it_never_shows(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        made = begun("a", steps={"s": RUNNING, "t": waiting(1)})
        settled = execution("a", sequence=2, steps={"s": DONE, "t": DONE})
        revived = execution("a", sequence=3, steps={"s": DONE, "t": RUNNING})

        await store.commit(
            [
                made,
                transition(settled, before=made.execution),
                transition(revived, before=settled),
            ],
            store.fence,
        )

        expect(await attempts_of(store), [("a", "t")])
        expect(await timers_of(store), [])

    @on_a_store
    async def test_settling_work_that_is_not_there_is_no_error(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        nothing = owed(execution("a", steps={"s": waiting(1)}))["s"]
        await store.commit([transition(execution("a"), [created("a")], done=[nothing])], store.fence)

        expect(await attempts_of(store), [])

    @on_a_store
    async def test_timers_are_paged_by_due_time_then_execution_then_key(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        year = 86_400 * 365
        begin = [
            begun("c", steps={"x": waiting(0.000001), "late": waiting(year), "past": waiting(-100 * year)}),
            begun("b", steps={"y": waiting(1), "q": RUNNING}, deadline=NOON + timedelta(seconds=2)),
            begun("a", steps={"z": waiting(1), "x": waiting(1, Waiting.RETRY), "q": RUNNING}),
        ]
        await store.commit(begin, store.fence)

        seen: list[WorkItem] = []
        after = None
        while page := await store.timers(after=after, limit=2):
            expect(len(page) <= 2, True, "that a page is no longer than asked for")
            seen += page
            last = page[-1]
            after = (last.due or NOON, last.execution_id, last.key)

        order = (
            ("c", "past"),
            ("c", "x"),
            ("a", "x"),
            ("a", "z"),
            ("b", "y"),
            ("b", ":deadline"),
            ("c", "late"),
        )
        states = {transition.execution.id: transition.execution for transition in begin}
        expect(seen, [owed(states[ExecutionId(id)])[key] for id, key in order])
        expect(list(await store.timers(after=None, limit=0)), [])

    @on_a_store
    async def test_what_people_are_asked_is_told_by_the_age_of_executions_then_by_step(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        for id in ("b", "c", "a"):
            await store.commit(
                [begun(id, steps={"z": asking("r2"), "s": asking(), "t": RUNNING})], store.fence
            )
        ended = execution("c", sequence=2, status=ExecutionStatus.CANCELLED, steps={"z": DONE, "s": DONE})
        paused = execution("a", sequence=2, status=ExecutionStatus.PAUSED, steps={"z": DONE, "s": asking()})
        await store.commit([transition(ended), transition(paused)], store.fence)

        asked = await store.approvals(limit=10)

        expect([(one.execution_id, one.step_id) for one in asked], [("b", "s"), ("b", "z"), ("a", "s")])
        first = OpenApproval(
            execution_id=B, process="content", step_id=StepId("s"), visit=1, request=request("r1")
        )
        expect(asked[0], first)
        expect(list(await store.approvals(limit=2)), list(asked[:2]))
        expect(list(await store.approvals(limit=0)), [])

    @on_a_store
    async def test_open_attempts_are_told_by_the_age_of_their_executions_then_by_step(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        for id in ("b", "c", "a"):
            await store.commit([begun(id, steps={"z": RUNNING, "s": RUNNING})], store.fence)
        ended = execution("c", sequence=2, status=ExecutionStatus.CANCELLED, steps={"z": RUNNING, "s": DONE})
        await store.commit([transition(ended)], store.fence)

        expect(await attempts_of(store), [("b", "s"), ("b", "z"), ("a", "s"), ("a", "z")])

    @on_a_store
    async def test_what_is_being_undone_is_an_open_attempt_and_what_waits_for_that_a_timer(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        for id in ("b", "a", "c"):
            await store.commit([begun(id, steps={"s": RUNNING})], store.fence)
        running = execution("a", sequence=1, steps={"s": RUNNING})
        waits = undone("c", seconds=5)
        await store.commit([transition(undone("a"), before=running), transition(waits)], store.fence)

        expect(await attempts_of(store), [("b", "s"), ("a", ":undo:s")])
        expect([item async for item in store.attempts()][1].attempt, 2)
        expect(list(await store.timers(after=None, limit=10)), [owed(waits)[":undo:s"]])

    @on_a_store
    async def test_a_step_that_runs_for_items_has_an_attempt_for_each_that_runs(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        waits = OpenItem(2, 1, running=False, due=NOON + timedelta(seconds=5))
        steps = {"a": listing(OpenItem(10), waits, OpenItem(9)), "b": listing(done=4), "c": listing(done=3)}
        await store.commit([begun("e", steps=steps)], store.fence)

        expect(await attempts_of(store), [("e", "a[9]"), ("e", "a[10]"), ("e", "b")])
        (timer,) = await store.timers(after=None, limit=10)
        expect((timer.key, timer.step_id, timer.item, timer.due), ("a[2]", "a", 2, waits.due))

    @on_a_store
    async def test_every_open_attempt_is_told_once_however_many_there_are(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        ids = [f"e{n:04}" for n in range(_MANY)]
        steps = {"s": RUNNING, "t": RUNNING, "u": waiting(1)}
        await store.commit([begun(id, steps=steps) for id in ids], store.fence)

        expect(await attempts_of(store), [(id, key) for id in ids for key in ("s", "t")])

    @on_a_store
    async def test_executions_are_open_until_they_end_and_again_when_they_are_reopened(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        open_ones = (ExecutionStatus.PENDING, ExecutionStatus.RUNNING, ExecutionStatus.PAUSED)
        ended = (ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED)
        await store.commit([begun(status, status=status) for status in (*open_ones, *ended)], store.fence)
        again = execution("failed", sequence=2)
        await store.commit([transition(again)], store.fence)

        told = await store.open_executions()

        expect(sorted(id for id, _ in told), sorted([*open_ones, "failed"]))
        expect({hash for _, hash in told}, {again.definition_hash})


class ListPromises(StoreUnderContract):
    """People find executions by what they know of them."""

    @on_a_store
    async def test_executions_are_listed_newest_first_in_pages(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        for id in ("m", "z", "a", "k"):
            await store.commit([begun(id)], store.fence)
        await store.commit([transition(execution("z", sequence=2))], store.fence)

        expect([line.id for line in await store.list(limit=3)], ["k", "a", "z"])
        expect([line.id for line in await store.list(limit=3, before=ExecutionId("z"))], ["m"])
        expect(list(await store.list(before=ExecutionId("m"))), [])
        expect(list(await store.list(before=ExecutionId("unknown"))), [])
        expect(list(await store.list(limit=0)), [])

    @on_a_store
    async def test_executions_are_listed_by_status_and_process(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        await store.commit(
            [begun("a"), begun("b", process="other"), begun("c", status=ExecutionStatus.PENDING)], store.fence
        )
        done = execution("a", sequence=2, status=ExecutionStatus.COMPLETED)
        await store.commit([transition(done)], store.fence)

        for status, ids in (
            (ExecutionStatus.RUNNING, ["b"]),
            (ExecutionStatus.COMPLETED, ["a"]),
            (ExecutionStatus.PENDING, ["c"]),
        ):
            expect([line.id for line in await store.list(status=status)], ids, f"those that are {status}")
        expect([line.id for line in await store.list(process="content")], ["c", "a"])
        expect(list(await store.list(process="other", status=ExecutionStatus.COMPLETED)), [])
        (line,) = await store.list(status=ExecutionStatus.COMPLETED)
        expect((line.process, line.version, line.created_at), ("content", "1.2", NOON))
        expect((line.started_at, line.completed_at), (NOON, NOON + timedelta(hours=1)))

    @on_a_store
    async def test_a_reopened_execution_is_listed_as_it_stands(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        await store.commit([begun("a", status=ExecutionStatus.FAILED)], store.fence)
        await store.commit([transition(execution("a", sequence=2))], store.fence)

        (line,) = await store.list()

        expect((line.status, line.completed_at), (ExecutionStatus.RUNNING, None))
        expect(list(await store.list(status=ExecutionStatus.FAILED)), [])

    @on_a_store
    async def test_a_prefix_finds_at_most_ten_ids_that_begin_with_it(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        ids = ["ab", "abc", "abd", "a%", "a_", "b", *(f"zz{n:02}" for n in range(12))]
        await store.commit([begun(id) for id in ids], store.fence)

        expect(list(await store.resolve("ab")), ["ab", "abc", "abd"])
        expect(list(await store.resolve("abc")), ["abc"])
        expect(list(await store.resolve("a%")), ["a%"])
        expect(list(await store.resolve("a_")), ["a_"])
        expect(list(await store.resolve("AB")), [])
        expect(list(await store.resolve("zz")), [f"zz{n:02}" for n in range(10)])
        expect(len(await store.resolve("")), 10)

    @on_a_store
    async def test_a_definition_is_kept_once_under_its_hash(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        text = '{"ä":1}'.encode()
        first = StoredDefinition(hash=DefinitionHash("9" * 64), name="p", version="1", document=text)
        await store.save_definition(first)
        await store.save_definition(first)
        await store.save_definition(StoredDefinition(hash=first.hash, name="q", version="2", document=b"{}"))

        expect(await store.load_definition(first.hash), first)


class InboxPromises(StoreUnderContract):
    """Commands of other processes are kept in order and answered once."""

    @on_a_store
    async def test_commands_wait_in_the_inbox_in_their_order_until_they_are_answered(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        commands = (
            cancel("a"),
            StartExecution(
                execution_id=B,
                input=Value(ref=BlobRef("3" * 64, 70_000)),
                blobs={"3" * 64: b"\x00\xff[]"},
                config=ExecutionConfig(stop_on_failure=False),
                started_by="ann",
                hold=True,
            ),
            RecordResult(
                execution_id=C,
                step_id=StepId("s"),
                visit=1,
                attempt=2,
                result=Completed({"x": 1}, routes=("y",)),
            ),
            InterruptAttempt(execution_id=C, step_id=StepId("s"), visit=1, attempt=2),
        )
        ids = [await store.submit(command) for command in commands]
        expect(ids, sorted(set(ids)), "the numbers of the commands")

        entries = [InboxEntry(id, command) for id, command in zip(ids, commands, strict=True)]
        expect(list(await store.inbox()), entries)
        expect(list(await store.inbox(limit=1)), entries[:1])

        await store.answer(ids[1], InboxAnswer(ExecutionStatus.PENDING))

        expect(list(await store.inbox()), [entries[0], *entries[2:]])
        expect(await store.read_answer(ids[1]), InboxAnswer(ExecutionStatus.PENDING))
        expect(await store.read_answer(ids[0]), None)

    @on_a_store
    async def test_the_first_answer_to_a_command_stays(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        entry = await store.submit(cancel("a"))
        answer = InboxAnswer(error_code="NOT_FOUND", error_message="no such execution", error_remedy="Look.")
        await store.answer(entry, answer)
        await store.answer(entry, InboxAnswer(ExecutionStatus.CANCELLED))

        expect(await store.read_answer(entry), answer)

    @on_a_store
    async def test_a_command_that_does_not_exist_cannot_be_answered(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        with refused(NotFound):
            await store.answer(7, InboxAnswer())
