"""Promises about commits: what is written is there, all of it or nothing, and only by who owns the store."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from process_engine.core.state import Snapshot, StepState
from process_engine.core.transition import Transition
from process_engine.core.values import BlobRef, Value
from process_engine.core.work import WorkItem
from process_engine.errors import InternalError, OwnershipLost, StorageUnavailable
from process_engine.ids import DefinitionHash, ExecutionId
from process_engine.runtime.ports import ExecutionRepository, InboxAnswer, StoredDefinition
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
    begun,
    cancel,
    created,
    event_types,
    every_event,
    execution,
    full_execution,
    transition,
    waiting,
)

A, B, C = ExecutionId("a"), ExecutionId("b"), ExecutionId("c")
DEFINITION = StoredDefinition(hash=DefinitionHash("1" * 64), name="p", version="1", document=b"{}")
EARLIER = BlobRef("0" * 64, 1)


async def attempts_of(store: ExecutionRepository) -> list[tuple[str, str]]:
    """Execution and key of every open attempt, in order."""
    return [(item.execution_id, item.key) async for item in store.attempts()]


async def timers_of(store: ExecutionRepository) -> list[WorkItem]:
    """Everything that is due at a time, in order."""
    return list(await store.timers(after=None, limit=1000))


async def sequences_of(store: ExecutionRepository, id: ExecutionId) -> list[int]:
    """The numbers of an execution's events."""
    return [event.sequence for event in await store.events(id)]


async def expect_nothing(store: ExecutionRepository, *ids: str) -> None:
    """Nothing at all is stored about these executions, nor any work."""
    for id in map(ExecutionId, ids):
        expect(await store.load(id), None, f"what is stored of {id}")
        expect(await sequences_of(store, id), [], f"the events of {id}")
    expect(await attempts_of(store), [], "the open attempts")
    expect(await timers_of(store), [], "the timers")


def unwritable() -> Sequence[tuple[str, Transition]]:
    """Transitions of execution b that have no JSON form, each with the reason."""
    good = begun("b", steps={"s": RUNNING})
    values: tuple[tuple[str, object], ...] = (
        ("half a surrogate pair", "\ud800"),
        ("an object", {"x": object()}),
        ("a complex number", 1j),
    )
    steps = [
        (f"{what} in a step", begun("b", steps={"s": StepState(output=Value(value))}))
        for what, value in values
    ]
    head = msgspec.structs.replace(good.execution.head, outputs=Value("\ud800"))
    state = msgspec.structs.replace(good.execution, head=head)
    event = msgspec.structs.replace(created("b"), input=Value(object()))
    return (
        *steps,
        ("half a surrogate pair in the head", msgspec.structs.replace(good, execution=state)),
        ("an object in an event", msgspec.structs.replace(good, events=(event,))),
    )


class CommitPromises(StoreUnderContract):
    """What was committed is there, unchanged."""

    @on_a_store
    async def test_an_execution_with_every_field_set_is_loaded_as_it_was_committed(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        state = full_execution("a")

        await store.commit([transition(state, every_event("a"))], store.fence)

        expect(await store.load(A), Snapshot(state.created, state.head, state.steps))

    @on_a_store
    async def test_events_of_every_type_come_back_equal_and_in_order(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        events = every_event("a")
        expect({type(event) for event in events}, event_types(), "the sample")

        await store.commit([transition(full_execution("a"), events)], store.fence)

        expect(tuple(await store.events(A)), events)

    @on_a_store
    async def test_only_the_last_state_of_a_batch_counts_and_all_its_events_do(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        first = begun("a", steps={"s": RUNNING})
        later = execution("a", sequence=2, steps={"s": DONE})
        second = transition(later, before=first.execution)

        await store.commit([first, second], store.fence)

        expect(await store.load(A), Snapshot(later.created, later.head, later.steps))
        expect(await sequences_of(store, A), [1, 2])
        expect(await attempts_of(store), [])

    @on_a_store
    async def test_a_later_transition_changes_only_the_steps_that_it_names(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        first = begun("a", steps={"s": DONE, "t": DONE})
        await store.commit([first], store.fence)
        other = StepState(status=DONE.status, output=Value("y"), has_output=True)
        later = transition(execution("a", sequence=2, steps={"s": other, "t": other}))

        await store.commit([msgspec.structs.replace(later, changed=("s",))], store.fence)

        loaded = await store.load(A)
        expect(loaded and loaded.steps, {"s": other, "t": DONE})

    @on_a_store
    async def test_many_executions_are_loaded_together_as_each_by_itself(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        ids = [ExecutionId(id) for id in ("b", "a", "c")]
        await store.commit([begun(id, steps={"z": DONE, "b": RUNNING}) for id in ids], store.fence)
        await store.commit([begun("d")], store.fence)

        for wanted in ([], ids[:1], ids, [*ids, ExecutionId("nobody")]):
            together = {one.created.execution_id: one for one in await store.load_many(wanted)}
            alone = {id: await store.load(id) for id in wanted}
            expect(together, {id: one for id, one in alone.items() if one is not None})
            expect([list(one.steps) for one in together.values()], [["b", "z"]] * len(together))

    @on_a_store
    async def test_steps_are_loaded_in_the_order_of_their_ids(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        await store.commit([begun("a", steps={"z": DONE, "b": DONE, "m": DONE})], store.fence)

        loaded = await store.load(A)

        expect(loaded and list(loaded.steps), ["b", "m", "z"])

    @on_a_store
    async def test_what_a_caller_changes_afterwards_does_not_reach_the_store(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        data = {"list": [1]}
        blobs = {EARLIER.sha256: b"[]"}
        state = execution("a", steps={"s": StepState(DONE.status, output=Value(data))}, input=data)
        await store.commit([transition(state, [created("a", input=data)], blobs=blobs)], store.fence)

        data["list"].append(2)
        state.steps.clear()
        blobs.clear()
        loaded = await store.load(A)
        if loaded is not None:
            loaded.steps.clear()

        again = await store.load(A)
        expect(again and {step: kept.output.data for step, kept in again.steps.items()}, {"s": {"list": [1]}})
        expect(again and again.created.input.data, {"list": [1]})
        expect(await store.load_blob(EARLIER), b"[]")

    @on_a_store
    async def test_an_empty_batch_is_accepted_and_changes_nothing(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        await store.commit([], store.fence)

        expect(list(await store.feed()), [])

    @on_a_store
    async def test_large_values_come_back_byte_for_byte_and_those_already_there_stay(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        text = b'"' + "ü".encode() * 1_000_000 + b'"'
        name = hashlib.sha256(text).hexdigest()
        await store.commit([begun("a", blobs={name: text})], store.fence)
        await store.commit([transition(execution("a", sequence=2), blobs={name: b"other"})], store.fence)

        expect(await store.load_blob(BlobRef(name, len(text))), text)


class AtomicityPromises(StoreUnderContract):
    """All of a batch is written, or nothing."""

    @on_a_store
    async def test_a_record_without_a_json_form_in_the_middle_of_a_batch_leaves_nothing(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        good = begun("a", steps={"s": RUNNING}, blobs={EARLIER.sha256: b"1"})
        last = begun("c", steps={"s": waiting(1)})
        for _what, bad in unwritable():
            with refused(InternalError):
                await store.commit([good, bad, last], store.fence)

            await expect_nothing(store, "a", "b", "c")
            expect(await store.load_blob(EARLIER), None)

    @on_a_store
    async def test_an_event_that_is_there_already_refuses_the_whole_batch(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        first = begun("a")
        await store.commit([first], store.fence)
        again = transition(execution("a", sequence=9), [created("a")])

        with refused(InternalError):
            await store.commit([begun("b", steps={"s": RUNNING}), again], store.fence)

        await expect_nothing(store, "b")
        loaded = await store.load(A)
        expect(loaded and loaded.head, first.execution.head)

    @on_a_store
    async def test_the_same_event_twice_in_a_batch_refuses_the_whole_batch(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        with refused(InternalError):
            await store.commit([begun("a"), begun("a")], store.fence)

        await expect_nothing(store, "a")

    @on_a_store
    async def test_a_store_works_on_after_a_refused_batch(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        with refused(InternalError):
            await store.commit([begun("b"), begun("b")], store.fence)

        await store.commit([begun("b")], store.fence)
        await store.commit([transition(execution("b", sequence=2))], store.fence)

        expect(await sequences_of(store, B), [1, 2])
        expect([line.id for line in await store.list()], ["b"])


class OwnershipPromises(StoreUnderContract):
    """Who does not own the store writes nothing; what was written is there at the next opening."""

    @on_a_store
    async def test_a_commit_under_another_epoch_is_refused_and_writes_nothing(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        for error in (-1, 1):
            with refused(OwnershipLost):
                await store.commit([begun("a", steps={"s": RUNNING})], store.fence + error)

            await expect_nothing(store, "a")

    @on_a_store
    async def test_who_held_the_store_before_it_was_opened_again_is_refused(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        old = store.fence
        await store.open(clock=clock)

        with refused(OwnershipLost):
            await store.commit([begun("a")], old)

        await expect_nothing(store, "a")
        await store.commit([begun("a")], store.fence)
        expect(await sequences_of(store, A), [1])

    @on_a_store
    async def test_each_opening_has_a_higher_epoch_and_finds_everything(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        text = b"[" + b"1," * 40_000 + b"1]"
        first = begun("a", steps={"s": RUNNING}, deadline=NOON, blobs={EARLIER.sha256: text})
        await store.commit([first], store.fence)
        await store.save_definition(DEFINITION)
        entry = await store.submit(cancel("a"))
        before = store.fence
        await store.close()

        await store.open(clock=clock)

        state = first.execution
        expect(store.fence > before, True, "that the epoch is higher")
        expect(await store.load(A), Snapshot(state.created, state.head, state.steps))
        expect(list(await store.events(A)), [created("a")])
        expect(await attempts_of(store), [("a", "s")])
        expect([item.key for item in await timers_of(store)], [":deadline"])
        expect(await store.load_blob(BlobRef(EARLIER.sha256, len(text))), text)
        expect(await store.load_definition(DEFINITION.hash), DEFINITION)
        expect([waiting.id for waiting in await store.inbox()], [entry])

    @on_a_store
    async def test_positions_and_the_order_of_a_list_go_on_after_opening_again(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        await store.commit([begun("a"), begun("b")], store.fence)
        last = (await store.feed())[-1].position
        await store.open(clock=clock)

        await store.commit([transition(execution("a", sequence=2)), begun("c")], store.fence)

        events = [entry.event for entry in await store.feed(after=last)]
        expect([(event.execution_id, event.sequence) for event in events], [("a", 2), ("c", 1)])
        expect([line.id for line in await store.list()], ["c", "b", "a"])

    @on_a_store
    async def test_a_closed_store_refuses_everything_and_may_be_closed_twice(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        fence = store.fence
        await store.close()
        await store.close()

        for call in (
            store.commit([], fence),
            store.load(A),
            store.list(),
            store.feed(),
            store.inbox(),
            store.submit(cancel("a")),
            store.timers(after=None, limit=1),
            store.approvals(limit=1),
            store.read_answer(1),
            attempts_of(store),
        ):
            with refused(StorageUnavailable) as refusal:
                await call
            expect(refusal.error.nothing_written, True, "nothing_written")
            expect(bool(refusal.error.remedy), True, "that the error says what to do")
        with refused(StorageUnavailable):
            _ = store.fence

    @on_a_store
    async def test_a_reader_reads_and_leaves_commands_but_commits_nothing(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        await store.commit([begun("a")], store.fence)
        epoch = store.fence
        await store.close()
        await store.open(clock=clock, writer=False)

        expect(await sequences_of(store, A), [1])
        entry = await store.submit(cancel("a"))
        for call in (
            store.commit([begun("b")], epoch),
            store.answer(entry, InboxAnswer()),
            store.save_definition(DEFINITION),
        ):
            with refused(StorageUnavailable) as refusal:
                await call
            expect(refusal.error.nothing_written, True, "nothing_written")
        await store.close()
        await store.open(clock=clock)

        expect(await store.load(B), None)
        expect([waiting.id for waiting in await store.inbox()], [entry])

    @on_a_store
    async def test_nothing_is_outstanding_when_a_store_has_answered(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        await store.commit([begun("a")], store.fence)
        await store.list()
        await store.submit(cancel("a"))

        expect(clock.busy, 0, "what is outstanding")
