"""What every store does alike, seen from outside."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import msgspec
import pytest

from process_engine.core.commands import CancelExecution, InterruptAttempt, RecordResult, StartExecution
from process_engine.core.config import ExecutionConfig
from process_engine.core.results import Completed
from process_engine.core.state import ExecutionStatus, Snapshot, StepState, StepStatus
from process_engine.core.values import BlobRef, Value
from process_engine.core.work import WorkKind
from process_engine.errors import InternalError, NotFound, OwnershipLost, StorageUnavailable
from process_engine.ids import DefinitionHash, ExecutionId, StepId
from process_engine.runtime.ports import ExecutionRepository, InboxAnswer, InboxEntry, StoredDefinition
from tests.contract.samples import (
    NOON,
    attempt,
    begun,
    created,
    event_types,
    every_event,
    execution,
    full_execution,
    started,
    timer,
    transition,
)
from tests.contract.stores import StillClock

A, B, C = ExecutionId("a"), ExecutionId("b"), ExecutionId("c")
RUNNING = StepState(StepStatus.RUNNING, attempt=1, started_at=NOON)
DONE = StepState(StepStatus.COMPLETED, attempt=1, output=Value("x"), has_output=True)


async def all_attempts(store: ExecutionRepository) -> list[tuple[str, str]]:
    return [(item.execution_id, item.key) async for item in store.attempts()]


async def all_timers(store: ExecutionRepository) -> list[tuple[str, str]]:
    return [(item.execution_id, item.key) for item in await store.timers(after=None, limit=1000)]


def cancel(id: str) -> CancelExecution:
    return CancelExecution(execution_id=ExecutionId(id), reason="enough", by="ann")


# ---------------------------------------------------------------- what is committed is there


async def test_an_execution_with_every_field_set_is_loaded_as_it_was_committed(store):
    state = full_execution("a")

    await store.commit([transition(state, every_event("a"))], store.fence)

    assert await store.load(A) == Snapshot(state.created, state.head, state.steps)


async def test_events_of_every_type_come_back_equal_and_in_order(store):
    events = every_event("a")
    assert {type(event) for event in events} == event_types()

    await store.commit([transition(full_execution("a"), events)], store.fence)

    assert tuple(await store.events(A)) == events


async def test_only_the_last_state_of_a_batch_counts_and_all_its_events_do(store):
    first = transition(execution("a", steps={"s": RUNNING}), [created("a")], work=[attempt("a", "s")])
    second = transition(execution("a", sequence=2, steps={"s": DONE, "t": RUNNING}), done=["s"])

    await store.commit([first, second], store.fence)

    loaded = await store.load(A)
    assert loaded is not None
    assert loaded.head.sequence == 2
    assert loaded.steps == {"s": DONE, "t": RUNNING}
    assert [event.sequence for event in await store.events(A)] == [1, 2]
    assert await all_attempts(store) == []


async def test_a_later_transition_changes_only_the_steps_that_it_names(store):
    await store.commit([transition(execution("a", steps={"s": RUNNING, "t": DONE}))], store.fence)
    later = execution("a", sequence=2, steps={"s": DONE, "t": RUNNING})

    await store.commit([msgspec.structs.replace(transition(later), changed=("s",))], store.fence)

    loaded = await store.load(A)
    assert loaded is not None
    assert loaded.steps == {"s": DONE, "t": DONE}


async def test_steps_are_loaded_in_the_order_of_their_ids(store):
    await store.commit([transition(execution("a", steps={"z": DONE, "b": DONE, "m": DONE}))], store.fence)

    loaded = await store.load(A)

    assert loaded is not None
    assert list(loaded.steps) == ["b", "m", "z"]


async def test_what_a_caller_changes_afterwards_does_not_reach_the_store(store):
    data = {"list": [1]}
    blobs = {"f" * 64: b"[]"}
    state = execution("a", steps={"s": StepState(StepStatus.COMPLETED, output=Value(data))}, input=data)
    await store.commit([transition(state, [created("a", input=data)], blobs=blobs)], store.fence)

    data["list"].append(2)
    state.steps.clear()
    blobs.clear()
    loaded = await store.load(A)
    loaded.steps["s"].output.data["list"].append(3)

    again = await store.load(A)
    assert again.steps["s"].output.data == {"list": [1]}
    assert again.created.input.data == {"list": [1]}
    assert await store.load_blob(BlobRef("f" * 64, 2)) == b"[]"


async def test_nothing_is_found_where_nothing_was_written(store):
    assert await store.load(A) is None
    assert await store.load_definition(DefinitionHash("0" * 64)) is None
    assert await store.load_blob(BlobRef("0" * 64, 1)) is None
    assert await store.load_blob(BlobRef("0" * 64, 1_000_000)) is None
    assert list(await store.list()) == []
    assert list(await store.resolve("")) == []
    assert list(await store.events(A)) == []
    assert list(await store.feed()) == []
    assert await all_attempts(store) == []
    assert await all_timers(store) == []
    assert list(await store.inbox()) == []
    assert await store.read_answer(1) is None


async def test_an_empty_batch_is_accepted_and_changes_nothing(store):
    await store.commit([], store.fence)

    assert list(await store.feed()) == []


async def test_large_values_come_back_byte_for_byte_and_those_already_there_stay(store):
    text = b'"' + "ü".encode() * 1_000_000 + b'"'
    name = hashlib.sha256(text).hexdigest()
    await store.commit([transition(execution("a"), blobs={name: text})], store.fence)
    await store.commit([transition(execution("a", sequence=2), blobs={name: b"other"})], store.fence)

    assert await store.load_blob(BlobRef(name, len(text))) == text


# ---------------------------------------------------------------- all or nothing


async def nothing_of(store: ExecutionRepository, *ids: str) -> bool:
    loaded = [await store.load(ExecutionId(id)) for id in ids]
    told = [event for id in ids for event in await store.events(ExecutionId(id))]
    return not any(loaded) and not told and not await all_attempts(store) and not await all_timers(store)


@pytest.mark.parametrize("value", ["\ud800", {"x": object()}, 1j], ids=["surrogate", "object", "complex"])
async def test_a_record_without_a_json_form_in_the_middle_of_a_batch_leaves_nothing(store, value):
    good = transition(execution("a"), [created("a")], work=[attempt("a", "s")], blobs={"0" * 64: b"1"})
    bad = transition(execution("b", steps={"s": StepState(output=Value(value))}), [created("b")])
    last = transition(execution("c"), [created("c")], work=[timer("c", "s", seconds=1)])

    with pytest.raises(InternalError, match="JSON"):
        await store.commit([good, bad, last], store.fence)

    assert await nothing_of(store, "a", "b", "c")
    assert await store.load_blob(BlobRef("0" * 64, 1)) is None


async def test_an_event_that_is_there_already_refuses_the_whole_batch(store):
    await store.commit([begun("a")], store.fence)

    with pytest.raises(InternalError):
        await store.commit([begun("b"), transition(execution("a", sequence=9), [created("a")])], store.fence)

    assert await nothing_of(store, "b")
    loaded = await store.load(A)
    assert loaded is not None
    assert loaded.head.sequence == 1


async def test_the_same_event_twice_in_a_batch_refuses_the_whole_batch(store):
    with pytest.raises(InternalError):
        await store.commit([begun("a"), begun("a")], store.fence)

    assert await nothing_of(store, "a")


async def test_a_store_works_on_after_a_refused_batch(store):
    with pytest.raises(InternalError):
        await store.commit([begun("b"), begun("b")], store.fence)

    await store.commit([begun("b")], store.fence)
    await store.commit([transition(execution("b", sequence=2))], store.fence)

    assert [event.sequence for event in await store.events(B)] == [1, 2]
    assert [line.id for line in await store.list()] == ["b"]


# ---------------------------------------------------------------- fence


@pytest.mark.parametrize("error", [-1, 1])
async def test_a_commit_under_another_epoch_is_refused_and_writes_nothing(store, error):
    with pytest.raises(OwnershipLost):
        await store.commit([begun("a")], store.fence + error)

    assert await nothing_of(store, "a")


async def test_who_held_the_store_before_it_was_opened_again_is_refused(store, clock):
    old = store.fence
    await store.open(clock=clock)

    with pytest.raises(OwnershipLost):
        await store.commit([begun("a")], old)

    await store.commit([begun("a")], store.fence)
    assert await store.load(A) is not None


async def test_each_opening_has_a_higher_epoch_and_finds_everything(store, clock):
    text = b"[" + b"1," * 40_000 + b"1]"
    definition = StoredDefinition(hash=DefinitionHash("1" * 64), name="p", version="1", document=b"{}")
    state = execution("a", steps={"s": RUNNING})
    work = [attempt("a", "s"), timer("a", ":deadline", seconds=9, kind=WorkKind.DEADLINE)]
    await store.commit([transition(state, [created("a")], work=work, blobs={"2" * 64: text})], store.fence)
    await store.save_definition(definition)
    entry = await store.submit(cancel("a"))
    before = store.fence
    await store.close()

    await store.open(clock=clock)

    assert store.fence > before
    assert await store.load(A) == Snapshot(state.created, state.head, state.steps)
    assert list(await store.events(A)) == [created("a")]
    assert [item async for item in store.attempts()] == [attempt("a", "s")]
    assert await all_timers(store) == [("a", ":deadline")]
    assert await store.load_blob(BlobRef("2" * 64, len(text))) == text
    assert await store.load_definition(definition.hash) == definition
    assert [waiting.id for waiting in await store.inbox()] == [entry]


async def test_positions_and_numbers_go_on_after_opening_again(store, clock):
    await store.commit([begun("a"), begun("b")], store.fence)
    last = (await store.feed())[-1].position
    await store.open(clock=clock)

    await store.commit([transition(execution("a", sequence=2)), begun("c")], store.fence)

    assert [(entry.event.execution_id, entry.event.sequence) for entry in await store.feed(after=last)] == [
        ("a", 2),
        ("c", 1),
    ]
    assert [line.id for line in await store.list()] == ["c", "b", "a"]


async def test_a_closed_store_refuses_everything_and_may_be_closed_twice(store):
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
        store.read_answer(1),
    ):
        with pytest.raises(StorageUnavailable) as refusal:
            await call
        assert refusal.value.nothing_written is True
        assert refusal.value.remedy
    with pytest.raises(StorageUnavailable):
        _ = store.fence


async def test_a_reader_reads_and_leaves_commands_but_commits_nothing(store, clock):
    await store.commit([begun("a")], store.fence)
    epoch = store.fence
    await store.close()
    await store.open(clock=clock, writer=False)

    assert await store.load(A) is not None
    entry = await store.submit(cancel("a"))
    for call in (
        store.commit([begun("b")], epoch),
        store.answer(entry, InboxAnswer()),
        store.save_definition(
            StoredDefinition(hash=DefinitionHash("1"), name="p", version="1", document=b"1")
        ),
    ):
        with pytest.raises(StorageUnavailable, match="reading"):
            await call
    await store.close()
    await store.open(clock=clock)

    assert store.fence == epoch + 1
    assert [waiting.id for waiting in await store.inbox()] == [entry]


# ---------------------------------------------------------------- events and feed


async def test_events_are_read_in_pages_from_a_cursor(store):
    events = [created("a"), *(started("a", n) for n in range(2, 8))]
    await store.commit([transition(execution("a", sequence=7), events), begun("b")], store.fence)

    assert [event.sequence for event in await store.events(A, limit=3)] == [1, 2, 3]
    assert [event.sequence for event in await store.events(A, after=3, limit=3)] == [4, 5, 6]
    assert [event.sequence for event in await store.events(A, after=6)] == [7]
    assert list(await store.events(A, after=7)) == []
    assert list(await store.events(A, limit=0)) == []


async def test_the_feed_tells_all_events_in_the_order_of_commit(store):
    await store.commit([begun("b"), begun("a")], store.fence)
    await store.commit([transition(execution("a", sequence=2))], store.fence)
    await store.commit(
        [transition(execution("b", sequence=2)), begun("c"), transition(execution("b", sequence=3))],
        store.fence,
    )

    entries = await store.feed()

    told = [(entry.event.execution_id, entry.event.sequence) for entry in entries]
    assert told == [("b", 1), ("a", 1), ("a", 2), ("b", 2), ("c", 1), ("b", 3)]
    positions = [entry.position for entry in entries]
    assert positions == sorted(set(positions))


async def test_the_feed_goes_on_behind_any_of_its_positions(store):
    await store.commit([begun("a"), begun("b"), begun("c")], store.fence)
    entries = list(await store.feed())

    for seen in range(len(entries) + 1):
        after = entries[seen - 1].position if seen else 0
        assert list(await store.feed(after=after)) == entries[seen:]
    assert list(await store.feed(limit=2)) == entries[:2]
    assert list(await store.feed(limit=0)) == []


# ---------------------------------------------------------------- work


async def test_settled_work_goes_and_new_work_under_the_same_key_stays(store):
    await store.commit(
        [transition(execution("a"), work=[attempt("a", "s"), attempt("a", "t"), attempt("a", "u")])],
        store.fence,
    )
    retry = timer("a", "s", seconds=5, kind=WorkKind.RETRY)

    await store.commit(
        [transition(execution("a", sequence=2), done=["s", "t"], work=[retry, attempt("a", "v")])],
        store.fence,
    )

    assert await all_attempts(store) == [("a", "u"), ("a", "v")]
    assert list(await store.timers(after=None, limit=10)) == [retry]


async def test_new_work_replaces_what_is_open_under_its_key(store):
    await store.commit([transition(execution("a"), work=[timer("a", "s", seconds=5)])], store.fence)

    await store.commit(
        [transition(execution("a", sequence=2), work=[attempt("a", "s", number=2)])], store.fence
    )

    assert list(await store.timers(after=None, limit=10)) == []
    assert [item async for item in store.attempts()] == [attempt("a", "s", number=2)]


async def test_work_that_is_settled_in_the_batch_that_made_it_never_shows(store):
    made = transition(execution("a"), work=[attempt("a", "s"), timer("a", "t", seconds=1)])
    settled = transition(execution("a", sequence=2), done=["s", "t"])
    revived = transition(execution("a", sequence=3), work=[attempt("a", "t")])

    await store.commit([made, settled, revived], store.fence)

    assert await all_attempts(store) == [("a", "t")]
    assert await all_timers(store) == []


async def test_settling_work_that_is_not_there_is_no_error(store):
    await store.commit([transition(execution("a"), done=["nothing"])], store.fence)

    assert await all_attempts(store) == []


async def test_timers_are_paged_by_due_time_then_execution_then_key(store):
    made = [
        timer("b", "y", seconds=1),
        timer("a", "z", seconds=1),
        timer("a", "x", seconds=1),
        timer("c", "x", seconds=0.000001),
        timer("c", "late", seconds=86_400 * 365),
        timer("c", "past", seconds=-(86_400 * 365 * 100)),
    ]
    await store.commit(
        [
            transition(
                execution(id), work=[item for item in made if item.execution_id == id] + [attempt(id, "q")]
            )
            for id in ("c", "b", "a")
        ],
        store.fence,
    )

    seen = []
    after = None
    while page := await store.timers(after=after, limit=2):
        assert len(page) <= 2
        seen += page
        after = (page[-1].due, page[-1].execution_id, page[-1].key)

    assert [(item.execution_id, item.key) for item in seen] == [
        ("c", "past"),
        ("c", "x"),
        ("a", "x"),
        ("a", "z"),
        ("b", "y"),
        ("c", "late"),
    ]
    assert sorted(seen, key=made.index) == made
    assert list(await store.timers(after=None, limit=0)) == []


async def test_every_open_attempt_is_told_once_however_many_there_are(store):
    ids = [f"e{n:04}" for n in range(1_100)]
    await store.commit(
        [
            transition(execution(id), work=[attempt(id, "s"), attempt(id, "t"), timer(id, "u", seconds=1)])
            for id in ids
        ],
        store.fence,
    )

    assert await all_attempts(store) == [(id, key) for id in ids for key in ("s", "t")]


# ---------------------------------------------------------------- lists


async def test_executions_are_listed_newest_first_in_pages(store):
    for id in ("m", "z", "a", "k"):
        await store.commit([begun(id)], store.fence)
    await store.commit([transition(execution("z", sequence=2))], store.fence)

    assert [line.id for line in await store.list(limit=3)] == ["k", "a", "z"]
    assert [line.id for line in await store.list(limit=3, before=ExecutionId("z"))] == ["m"]
    assert list(await store.list(before=ExecutionId("m"))) == []
    assert list(await store.list(before=ExecutionId("unknown"))) == []
    assert list(await store.list(limit=0)) == []


async def test_executions_are_listed_by_status_and_process(store):
    await store.commit(
        [begun("a"), begun("b", process="other"), begun("c", status=ExecutionStatus.PENDING)], store.fence
    )
    done = execution("a", sequence=2, status=ExecutionStatus.COMPLETED)
    await store.commit([transition(done)], store.fence)

    by_status = {
        status: [line.id for line in await store.list(status=status)]
        for status in (ExecutionStatus.RUNNING, ExecutionStatus.COMPLETED, ExecutionStatus.PENDING)
    }
    assert by_status == {"running": ["b"], "completed": ["a"], "pending": ["c"]}
    assert [line.id for line in await store.list(process="content")] == ["c", "a"]
    assert list(await store.list(process="other", status=ExecutionStatus.COMPLETED)) == []
    line = (await store.list(status=ExecutionStatus.COMPLETED))[0]
    assert (line.process, line.version, line.created_at) == ("content", "1.2", NOON)
    assert (line.started_at, line.completed_at) == (NOON, NOON + timedelta(hours=1))


async def test_a_reopened_execution_is_listed_as_it_stands(store):
    await store.commit([transition(execution("a", status=ExecutionStatus.FAILED))], store.fence)
    await store.commit([transition(execution("a", sequence=2))], store.fence)

    (line,) = await store.list()

    assert (line.status, line.completed_at) == (ExecutionStatus.RUNNING, None)
    assert list(await store.list(status=ExecutionStatus.FAILED)) == []


async def test_a_prefix_finds_at_most_ten_ids_that_begin_with_it(store):
    ids = ["ab", "abc", "abd", "a%", "a_", "b", *(f"zz{n:02}" for n in range(12))]
    await store.commit([begun(id) for id in ids], store.fence)

    assert list(await store.resolve("ab")) == ["ab", "abc", "abd"]
    assert list(await store.resolve("abc")) == ["abc"]
    assert list(await store.resolve("a%")) == ["a%"]
    assert list(await store.resolve("a_")) == ["a_"]
    assert list(await store.resolve("AB")) == []
    assert list(await store.resolve("zz")) == [f"zz{n:02}" for n in range(10)]
    assert len(await store.resolve("")) == 10


# ---------------------------------------------------------------- definitions


async def test_a_definition_is_kept_once_under_its_hash(store):
    first = StoredDefinition(
        hash=DefinitionHash("9" * 64), name="p", version="1", document='{"ä":1}'.encode()
    )
    await store.save_definition(first)
    await store.save_definition(first)
    await store.save_definition(StoredDefinition(hash=first.hash, name="q", version="2", document=b"{}"))

    assert await store.load_definition(first.hash) == first


# ---------------------------------------------------------------- inbox


async def test_commands_wait_in_the_inbox_in_their_order_until_they_are_answered(store):
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
            execution_id=C, step_id=StepId("s"), visit=1, attempt=2, result=Completed({"x": 1}, routes=("y",))
        ),
        InterruptAttempt(execution_id=C, step_id=StepId("s"), visit=1, attempt=2),
    )
    ids = [await store.submit(command) for command in commands]
    assert ids == sorted(set(ids))

    entries = [InboxEntry(id, command) for id, command in zip(ids, commands, strict=True)]
    assert list(await store.inbox()) == entries
    assert list(await store.inbox(limit=1)) == entries[:1]

    await store.answer(ids[1], InboxAnswer(ExecutionStatus.PENDING))

    assert list(await store.inbox()) == [entries[0], *entries[2:]]
    assert await store.read_answer(ids[1]) == InboxAnswer(ExecutionStatus.PENDING)
    assert await store.read_answer(ids[0]) is None


async def test_the_first_answer_to_a_command_stays(store):
    entry = await store.submit(cancel("a"))
    refused = InboxAnswer(error_code="NOT_FOUND", error_message="no such execution", error_remedy="Look.")
    await store.answer(entry, refused)
    await store.answer(entry, InboxAnswer(ExecutionStatus.CANCELLED))

    assert await store.read_answer(entry) == refused


async def test_a_command_that_does_not_exist_cannot_be_answered(store):
    with pytest.raises(NotFound):
        await store.answer(7, InboxAnswer())


async def test_nothing_is_outstanding_when_a_store_has_answered(store, clock: StillClock):
    await store.commit([begun("a")], store.fence)
    await store.list()
    await store.submit(cancel("a"))

    assert clock.busy == 0
