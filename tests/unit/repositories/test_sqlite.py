"""What only the SQLite store does: files, threads, other processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import apsw
import pytest

from process_engine.core.commands import CancelExecution
from process_engine.core.state import ExecutionStatus, StepState, StepStatus
from process_engine.core.values import BlobRef, Value
from process_engine.errors import NotFound, StorageIncompatible, StorageUnavailable, StoreLocked
from process_engine.ids import ExecutionId
from process_engine.repositories import migrations, queries, rows, writer
from process_engine.repositories.connection import BUSY_TIMEOUT_MILLISECONDS
from process_engine.repositories.records import CREATED, HEAD, STEP
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.repositories.writer import Pace
from process_engine.runtime.ports import InboxAnswer
from tests.contract.samples import begun, created, execution, timer, transition
from tests.contract.stores import StillClock
from tests.unit.repositories.processes import line_of, process

A = ExecutionId("a")
LARGE = b'"' + b"x" * 300_000 + b'"'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
async def store(path: Path, clock: StillClock) -> AsyncIterator[SqliteRepository]:
    made = SqliteRepository(path)
    await made.open(clock=clock)
    yield made
    await made.close()


@pytest.fixture
async def reader(store: SqliteRepository, path: Path) -> AsyncIterator[SqliteRepository]:
    made = SqliteRepository(path)
    await made.open(clock=StillClock(), writer=False)
    yield made
    await made.close()


def log_size(path: Path) -> int:
    return os.path.getsize(f"{path}-wal")


def shell(path: Path, sql: str, values: Sequence[str] = ()) -> list[tuple[object, ...]]:
    """What somebody sees who opens the file with another program."""
    connection = apsw.Connection(str(path))
    try:
        return connection.execute(sql, values or None).fetchall()
    finally:
        connection.close()


async def opening(path: Path, *, writer: bool = True) -> Exception:
    """The error with which the file is refused; the lock must be free again."""
    store = SqliteRepository(path)
    with pytest.raises((StorageIncompatible, StorageUnavailable, NotFound)) as refusal:
        await store.open(clock=StillClock(), writer=writer)
    assert refusal.value.remedy
    with pytest.raises(StorageUnavailable, match="closed"):
        _ = store.fence
    return refusal.value


# ---------------------------------------------------------------- the file


async def test_the_file_is_marked_as_ours_and_writes_a_log_ahead(store, path):
    await store.commit([begun("a")], store.fence)

    assert shell(path, "PRAGMA application_id") == [(migrations.APPLICATION_ID,)]
    assert shell(path, "PRAGMA user_version") == [(migrations.NEWEST,)]
    assert shell(path, "PRAGMA journal_mode") == [("wal",)]
    assert shell(path, "PRAGMA integrity_check") == [("ok",)]


def test_the_migrations_that_are_listed_are_those_that_are_shipped():
    folder = Path(migrations.__file__).parent / "sql"

    assert tuple(sorted(file.name for file in folder.iterdir())) == migrations.MIGRATIONS


async def test_the_file_makes_sense_in_the_shell(store, path):
    state = execution("a", steps={"s": StepState(StepStatus.RUNNING), "t": StepState()})
    await store.commit([transition(state, [created("a")], work=[timer("a", "t", seconds=1)])], store.fence)

    assert shell(path, "SELECT id, status, started_at FROM execution_list") == [
        ("a", "running", "2026-03-01T12:00:00.123456Z")
    ]
    assert shell(path, "SELECT step_id, status FROM step_list ORDER BY 1") == [
        ("s", "running"),
        ("t", "pending"),
    ]
    assert shell(path, "SELECT sequence, type, step_id FROM event_log") == [(1, "ExecutionCreated", None)]
    assert shell(path, "SELECT kind, key FROM timers") == [("timer", "t")]
    ((text,),) = shell(path, "SELECT sql FROM sqlite_schema WHERE name = 'timers'")
    assert "microseconds since 1970" in str(text)


async def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(store, path):
    await store.close()
    shell(path, f"PRAGMA user_version = {migrations.NEWEST + 1}")
    before = path.read_bytes()

    for to_write in (True, False):
        refusal = await opening(path, writer=to_write)
        assert isinstance(refusal, StorageIncompatible)
        assert str(migrations.NEWEST + 1) in str(refusal)

    assert path.read_bytes() == before


@pytest.mark.parametrize("writer", [True, False])
@pytest.mark.parametrize(
    "sql", ["CREATE TABLE cats (name)", "PRAGMA application_id = 7", "PRAGMA user_version = 1"]
)
async def test_a_database_of_another_program_is_refused_and_left_as_it_is(path, writer, sql):
    shell(path, f"CREATE TABLE t (x); DROP TABLE t; {sql}")
    before = path.read_bytes()

    assert isinstance(await opening(path, writer=writer), StorageIncompatible)

    assert path.read_bytes() == before


@pytest.mark.parametrize("writer", [True, False])
@pytest.mark.parametrize(
    "content", [b"steps:\n  - id: a\n" * 500, b"SQLite format 3\x00" + b"\xff" * 5000, b"x"]
)
async def test_a_file_that_is_no_database_is_refused(path, writer, content):
    path.write_bytes(content)

    assert isinstance(await opening(path, writer=writer), StorageIncompatible)


@pytest.mark.parametrize("writer", [True, False])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
async def test_a_truncated_file_is_refused(store, path, writer, share):
    await store.commit([begun(f"e{n}") for n in range(100)], store.fence)
    await store.close()
    os.truncate(path, int(path.stat().st_size * share))

    assert isinstance(await opening(path, writer=writer), StorageIncompatible)


@pytest.mark.parametrize("writer", [True, False])
async def test_a_file_cut_to_nothing_beside_its_log_is_refused_and_the_log_is_kept(
    store, path, tmp_path, writer
):
    await store.commit([begun("a")], store.fence)
    left = tmp_path / "left.db"
    shutil.copy(f"{path}-wal", f"{left}-wal")
    left.touch()

    assert isinstance(await opening(left, writer=writer), StorageIncompatible)

    assert log_size(left) > 0


async def test_damage_that_shows_only_later_is_reported_as_such(store, path):
    await store.commit([begun(f"e{n}") for n in range(2_000)], store.fence)
    await store.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xa5" * (size - 8192))
    await store.open(clock=StillClock(), writer=False)

    with pytest.raises(StorageIncompatible) as refusal:
        await store.feed(limit=10_000)

    assert refusal.value.remedy
    await store.close()


async def test_reading_where_there_is_no_store_says_how_to_start_one(path):
    for content in (None, b""):
        if content is not None:
            path.write_bytes(content)
        refusal = await opening(path, writer=False)
        assert isinstance(refusal, NotFound)
        assert "process-engine run" in str(refusal)
    assert isinstance(await opening(path.parent / "nowhere" / "s.db", writer=False), NotFound)


async def test_reading_a_memory_store_that_was_never_begun_finds_nothing(clock):
    with pytest.raises(NotFound):
        await SqliteRepository().open(clock=clock, writer=False)


async def test_a_migration_that_fails_leaves_the_file_as_it_was(store, path, monkeypatch, clock):
    await store.commit([begun("a")], store.fence)
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, "next.sql"))
    monkeypatch.setattr(migrations, "NEWEST", migrations.NEWEST + 1)
    monkeypatch.setattr(
        migrations, "_script", lambda name: "CREATE TABLE half (x); INSERT INTO nowhere VALUES (1)"
    )

    with pytest.raises(StorageIncompatible):
        await store.open(clock=clock)

    assert shell(path, "PRAGMA user_version") == [(migrations.NEWEST - 1,)]
    assert shell(path, "SELECT count(*) FROM sqlite_schema WHERE name = 'half'") == [(0,)]
    monkeypatch.undo()
    await store.open(clock=clock)
    assert await store.load(A) is not None


async def test_a_file_of_the_first_version_keeps_its_executions_and_its_timers(path, clock):
    shell(path, migrations._script(migrations.MIGRATIONS[0]))
    shell(path, "PRAGMA user_version = 1")
    first = begun("a")
    shell(
        path,
        "INSERT INTO executions VALUES (7, 'a', 'content', '1.2', 'd', '2026-01-01T00:00:00+00:00', ?)",
        (CREATED.encode(first.execution.created),),
    )
    shell(
        path, "INSERT INTO heads VALUES (7, 'running', NULL, NULL, ?)", (HEAD.encode(first.execution.head),)
    )
    shell(path, "INSERT INTO steps VALUES (7, 's', ?)", (STEP.encode(StepState(StepStatus.RUNNING)),))
    shell(path, "INSERT INTO work_items VALUES ('a', 's', 'attempt', 1, 1, NULL)")
    shell(path, "INSERT INTO work_items VALUES ('a', 't', 'timer', 1, 1, 1000000)")
    store = SqliteRepository(path)

    await store.open(clock=clock)

    assert [(item.execution_id, item.key) async for item in store.attempts()] == [("a", "s")]
    assert [(item.key, item.due) for item in await store.timers(after=None, limit=9)] == [
        ("t", datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    ]
    (line,) = await store.list()
    assert (line.id, line.started_at) == ("a", first.execution.head.started_at)
    await store.commit([begun("b")], store.fence)
    assert [line.id for line in await store.list()] == ["b", "a"]
    await store.close()


async def test_a_migration_brings_an_older_file_up_to_date_once(store, path, monkeypatch, clock):
    await store.close()
    script = "CREATE TABLE extra (x TEXT) STRICT"
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, "next.sql"))
    monkeypatch.setattr(migrations, "NEWEST", migrations.NEWEST + 1)
    monkeypatch.setattr(migrations, "_script", lambda name: script)
    assert isinstance(await opening(path, writer=False), StorageIncompatible)

    await store.open(clock=clock)
    await store.open(clock=clock)

    assert shell(path, "PRAGMA user_version") == [(migrations.NEWEST,)]
    await store.close()
    await store.open(clock=clock, writer=False)


# ---------------------------------------------------------------- who may write


async def test_a_second_store_on_the_same_file_is_locked_out(store, path):
    second = SqliteRepository(path)

    with pytest.raises(StoreLocked) as refusal:
        await second.open(clock=StillClock())
    assert refusal.value.holder == os.getpid()

    await store.close()
    await second.open(clock=StillClock())
    await second.close()


async def test_a_store_that_could_not_be_opened_gives_its_lock_back(path, clock):
    path.write_text("not a database" * 100)
    await opening(path)
    path.unlink()

    store = SqliteRepository(path)
    await store.open(clock=clock)
    await store.close()


OPEN_AND_TELL = """
import asyncio, concurrent.futures.thread, os, sys
from process_engine.errors import ProcessEngineError
from process_engine.ids import ExecutionId
from process_engine.repositories.records import CREATED, HEAD, STEP
from process_engine.repositories.sqlite import SqliteRepository
from tests.contract.stores import StillClock

if os.geteuid() == 0:  # to whom no file is read-only
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)

async def main():
    store = SqliteRepository(sys.argv[1])
    try:
        await store.open(clock=StillClock(), writer=sys.argv[2] == "write")
        print("found" if await store.load(ExecutionId("a")) else "empty", flush=True)
        await store.close()
    except ProcessEngineError as error:
        print(error.code, error.remedy != "", getattr(error, "nothing_written", ""), flush=True)

asyncio.run(main())
"""


# Readers of a log share memory in a file beside it, so the directory has to be writable for them, too.
@pytest.mark.parametrize(
    ("directory_mode", "seen"),
    [(0o777, "found"), (0o555, "STORAGE_UNAVAILABLE True True")],
    ids=["file", "directory"],
)
async def test_a_read_only_file_can_be_read_but_not_run_on(directory_mode, seen):
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "store.db"
        store = SqliteRepository(path)
        await store.open(clock=StillClock())
        await store.commit([begun("a")], store.fence)
        await store.close()
        os.chmod(path, 0o444)
        os.chmod(f"{path}.lock", 0o666)
        os.chmod(name, directory_mode)

        with process(OPEN_AND_TELL, path, "write") as child:
            written = line_of(child)
        with process(OPEN_AND_TELL, path, "read") as child:
            read = line_of(child)

    assert written == "STORAGE_UNAVAILABLE True True"
    assert read == seen


# ---------------------------------------------------------------- readers


async def test_a_reader_sees_what_is_committed_and_holds_nobody_up(store, reader, path):
    await store.commit([begun("a")], store.fence)
    other = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    cursor = other.execute("BEGIN; SELECT * FROM events")
    cursor.fetchone()

    await store.commit([transition(execution("a", sequence=2))], store.fence)

    assert [event.sequence for event in await reader.events(A)] == [1, 2]
    loaded = await reader.load(A)
    assert loaded is not None
    assert loaded.head.sequence == 2
    other.close()


async def test_a_reader_finds_what_a_killed_process_has_committed(path):
    script = """
import asyncio
from tests.contract.samples import begun
from tests.contract.stores import StillClock
from process_engine.repositories.records import CREATED, HEAD, STEP
from process_engine.repositories.sqlite import SqliteRepository
async def main():
    global store
    store = SqliteRepository(sys.argv[1])
    await store.open(clock=StillClock())
    await store.commit([begun("a")], store.fence)
    print(store.fence, flush=True)
asyncio.run(main())
"""
    with process(script, path) as child:
        epoch = int(line_of(child))
        child.kill()
        child.wait()
    store = SqliteRepository(path)

    await store.open(clock=StillClock(), writer=False)
    assert await store.load(A) is not None
    await store.open(clock=StillClock())
    assert store.fence == epoch + 1
    await store.close()


async def test_what_was_acknowledged_before_a_kill_is_there_afterwards(path, clock):
    script = """
import asyncio
from tests.contract.samples import begun, execution, transition
from tests.contract.stores import StillClock
from process_engine.repositories.records import CREATED, HEAD, STEP
from process_engine.repositories.sqlite import SqliteRepository
async def main():
    store = SqliteRepository(sys.argv[1])
    await store.open(clock=StillClock())
    await store.commit([begun("a")], store.fence)
    sequence = 1
    while True:
        sequence += 1
        await store.commit([transition(execution("a", sequence=sequence))], store.fence)
        print(sequence, flush=True)
asyncio.run(main())
"""
    for acknowledged in (1, 10, 60):
        path.unlink(missing_ok=True)
        with process(script, path) as child:
            lines = [line_of(child) for _ in range(acknowledged)]
            child.kill()
            child.wait()
        store = SqliteRepository(path)
        await store.open(clock=clock)

        loaded = await store.load(A)
        assert loaded is not None
        assert loaded.head.sequence >= int(lines[-1])
        assert len(await store.events(A, limit=100_000)) == loaded.head.sequence
        await store.close()
        assert shell(path, "PRAGMA integrity_check") == [("ok",)]


async def test_long_queries_of_the_writer_run_elsewhere_and_are_counted_as_outstanding(store, clock):
    await store.commit([transition(execution("a"), blobs={"0" * 64: LARGE})], store.fence)

    for query in (
        store.list(),
        store.events(A),
        store.feed(),
        store.timers(after=None, limit=1),
        store.load_blob(BlobRef("0" * 64, len(LARGE))),
    ):
        before = clock.calls
        await query
        assert clock.calls == before + 1
    assert clock.busy == 0


async def test_quick_look_ups_of_the_writer_need_no_thread(store, clock):
    await store.commit([begun("a")], store.fence)
    before = clock.calls

    await store.load(A)
    await store.inbox()
    await store.resolve("a")
    await store.read_answer(1)

    assert clock.calls == before


async def test_in_memory_nothing_ever_needs_a_thread(clock):
    store = SqliteRepository()
    await store.open(clock=clock)
    store.pace.note(10.0)

    await store.commit([transition(execution("a"), blobs={"0" * 64: LARGE})], store.fence)
    await store.list()
    await store.feed()

    assert clock.calls == 0


# ---------------------------------------------------------------- other processes


SUBMIT = """
import asyncio
from process_engine.core.commands import CancelExecution
from process_engine.repositories.records import CREATED, HEAD, STEP
from process_engine.repositories.sqlite import SqliteRepository
from tests.contract.stores import StillClock
async def main():
    store = SqliteRepository(sys.argv[1])
    await store.open(clock=StillClock(), writer=False)
    for n in range(20):
        await store.submit(CancelExecution(execution_id=f"{sys.argv[2]}{n}"))
    await store.close()
    print("done", flush=True)
asyncio.run(main())
"""


async def test_two_processes_leave_commands_while_a_third_runs_executions(store, path):
    with process(SUBMIT, path, "x") as one, process(SUBMIT, path, "y") as two:
        lines = asyncio.gather(asyncio.to_thread(line_of, one), asyncio.to_thread(line_of, two))
        sequence = 0
        while not lines.done():
            sequence += 1
            event = [created("a")] if sequence == 1 else None
            await store.commit([transition(execution("a", sequence=sequence), event)], store.fence)
            await asyncio.sleep(0)
        assert await lines == ["done", "done"]

    entries = await store.inbox()
    for process_name in "xy":
        own = [
            entry.command.execution_id for entry in entries if entry.command.execution_id[0] == process_name
        ]
        assert own == [f"{process_name}{n}" for n in range(20)]
    assert len(await store.events(A, limit=sequence + 1)) == sequence


async def test_a_command_left_by_a_reader_is_answered_by_the_writer(store, reader):
    entry = await reader.submit(CancelExecution(execution_id=A))
    assert await reader.read_answer(entry) is None

    ((waiting),) = await store.inbox()
    await store.answer(waiting.id, InboxAnswer(ExecutionStatus.CANCELLED))

    assert await reader.read_answer(entry) == InboxAnswer(ExecutionStatus.CANCELLED)


async def test_while_another_program_writes_the_event_loop_goes_on_and_the_commit_waits(store, path, clock):
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")

    commit = asyncio.ensure_future(store.commit([begun("a")], store.fence))
    await clock.until_busy()
    assert not commit.done()
    other.execute("COMMIT")
    await commit

    assert await store.load(A) is not None
    other.close()


async def test_a_program_that_never_lets_go_makes_the_store_unavailable(store, path, monkeypatch):
    monkeypatch.setattr("process_engine.repositories.connection.BUSY_TIMEOUT_MILLISECONDS", 20)
    assert BUSY_TIMEOUT_MILLISECONDS >= 1_000
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StorageUnavailable) as refusal:
        await store.commit([begun("a")], store.fence)

    assert refusal.value.nothing_written is True
    assert refusal.value.remedy
    other.close()
    await store.commit([begun("a")], store.fence)


async def test_old_answers_go_when_the_store_is_taken_over(store, path, monkeypatch, clock):
    monkeypatch.setattr("process_engine.repositories.sqlite._ANSWERS_KEPT", 2)
    ids = [await store.submit(CancelExecution(execution_id=A)) for _ in range(5)]
    for entry in ids[1:]:
        await store.answer(entry, InboxAnswer())

    await store.open(clock=clock)

    assert shell(path, "SELECT id FROM inbox") == [(ids[0],), (ids[3],), (ids[4],)]


# ---------------------------------------------------------------- where a commit runs


def test_a_few_slow_commits_send_the_next_to_the_thread_and_fast_ones_bring_them_back():
    pace = Pace()
    pace.note(0.001)
    assert not pace.slow

    pace.note(0.030)
    assert pace.slow

    fast = 0
    while pace.slow:
        pace.note(0.0005)
        fast += 1
    assert 3 <= fast <= 15
    for _ in range(100):
        pace.note(0.0015)
    assert not pace.slow


async def test_fast_commits_run_where_they_are_asked_for(store, clock):
    store.pace.mean_seconds = 0.0
    before = clock.calls

    await store.commit([begun("a")], store.fence)

    assert clock.calls == before


async def test_slow_commits_run_in_the_thread_and_the_clock_knows(store, clock):
    store.pace.note(1.0)
    before = clock.calls

    commit = asyncio.ensure_future(store.commit([begun("a")], store.fence))
    await asyncio.sleep(0)
    assert clock.busy == 1
    await commit

    assert clock.calls == before + 1
    assert await store.load(A) is not None


async def test_many_calls_at_once_take_turns_while_commits_run_in_the_thread(store):
    store.pace.note(1000.0)

    await asyncio.gather(
        *(store.commit([begun(f"e{n}")], store.fence) for n in range(20)),
        *(store.load(ExecutionId(f"e{n}")) for n in range(20)),
        *(store.submit(CancelExecution(execution_id=A)) for _ in range(5)),
        *(store.inbox() for _ in range(5)),
    )

    assert len(await store.list()) == 20
    assert len(await store.inbox()) == 5


async def test_large_values_are_written_in_the_thread(store, clock):
    before = clock.calls

    await store.commit([transition(execution("a"), blobs={"0" * 64: LARGE})], store.fence)

    assert clock.calls == before + 1
    assert await store.load_blob(BlobRef("0" * 64, len(LARGE))) == LARGE


async def test_a_commit_that_is_cancelled_while_the_disk_is_busy_still_ends_before_it_raises(store):
    store.pace.note(1000.0)
    commit = asyncio.ensure_future(store.commit([begun("a")], store.fence))
    await asyncio.sleep(0)

    commit.cancel()
    await asyncio.sleep(0)
    commit.cancel()
    with pytest.raises(asyncio.CancelledError):
        await commit

    assert await store.load(A) is not None
    await store.commit([transition(execution("a", sequence=2))], store.fence)
    assert len(await store.events(A)) == 2


async def test_a_commit_that_is_cancelled_while_it_waits_for_its_turn_writes_nothing(store, path, clock):
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    commit = asyncio.ensure_future(store.commit([begun("a")], store.fence))
    await clock.until_busy()

    commit.cancel()
    await asyncio.sleep(0)
    other.execute("COMMIT")
    with pytest.raises(asyncio.CancelledError):
        await commit

    assert await store.load(A) is None
    await store.commit([begun("a")], store.fence)
    other.close()


async def test_closing_waits_for_the_commit_that_is_under_way(store, clock):
    store.pace.note(1000.0)
    commit = asyncio.ensure_future(store.commit([begun("a")], store.fence))
    await asyncio.sleep(0)

    await store.close()
    await commit

    await store.open(clock=clock)
    assert await store.load(A) is not None


# ---------------------------------------------------------------- bounds


async def test_the_log_starts_over_instead_of_growing_for_ever(store, path, monkeypatch, clock):
    monkeypatch.setattr(writer, "LOG_PAGES", 50)
    await store.open(clock=clock)
    for n in range(300):
        await store.commit([begun(f"e{n}")], store.fence)

    assert log_size(path) < 100 * 4096
    assert len(await store.feed()) == 300


async def test_the_log_starts_over_once_a_long_query_has_ended(store, path, monkeypatch, clock):
    monkeypatch.setattr(writer, "LOG_PAGES", 20)
    await store.open(clock=clock)
    await store.commit([begun("first")], store.fence)
    other = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    other.execute("BEGIN; SELECT * FROM events").fetchall()
    for n in range(100):
        await store.commit([begun(f"e{n}")], store.fence)
    grown = log_size(path)
    other.close()

    for n in range(100, 200):
        await store.commit([begun(f"e{n}")], store.fence)

    assert log_size(path) <= grown + 50 * 4096
    assert len(await store.list(limit=1000)) == 201


async def test_more_executions_than_are_remembered_are_written_all_the_same(store, monkeypatch):
    monkeypatch.setattr(rows, "_REMEMBERED", 3)
    ids = [f"e{n}" for n in range(10)]
    await store.commit([begun(id) for id in ids], store.fence)

    for sequence in (2, 3):
        batch = [
            transition(
                execution(id, sequence=sequence, steps={"s": StepState(output=Value(sequence))}),
                work=[timer(id, "s", seconds=sequence)],
            )
            for id in ids
        ]
        await store.commit(batch, store.fence)

    for id in ids:
        loaded = await store.load(ExecutionId(id))
        assert loaded is not None
        assert loaded.steps["s"].output == Value(3)
        assert [event.sequence for event in await store.events(ExecutionId(id))] == [1, 2, 3]


@pytest.mark.parametrize("count", [1, 2, 3, 63, 64, 65, 129, 200])
async def test_any_number_of_rows_is_written_completely(count, clock):
    store = SqliteRepository()
    await store.open(clock=clock)
    ids = [f"e{n:04}" for n in range(count)]

    begun_running = [
        transition(
            execution(id, steps={"s": StepState(StepStatus.RUNNING)}),
            [created(id)],
            work=[timer(id, "t", seconds=1)],
        )
        for id in ids
    ]
    await store.commit(begun_running, store.fence)
    assert [item.execution_id async for item in store.attempts()] == ids
    assert [item.execution_id for item in await store.timers(after=None, limit=1000)] == ids

    ended = [
        transition(execution(id, sequence=2, steps={"s": StepState(StepStatus.COMPLETED)}), done=["t"])
        for id in ids
    ]
    await store.commit(ended, store.fence)
    assert [item async for item in store.attempts()] == []
    assert list(await store.timers(after=None, limit=1000)) == []
    assert len(await store.feed()) == 2 * count


async def test_queries_use_their_indexes(store, path):
    def plan(sql: str) -> str:
        return " | ".join(str(row[3]) for row in shell(path, f"EXPLAIN QUERY PLAN {sql}"))

    work = "SELECT * FROM timers WHERE (due, execution_id, key) > (1, 'a', 'k')"
    assert "timers_by_due" in plan(f"{work} ORDER BY due, execution_id, key LIMIT 10")
    assert "TEMP B-TREE" not in plan(f"{work} ORDER BY due, execution_id, key LIMIT 10")
    running = plan(queries.RUNNING.replace("?", "'[1, 2]'"))
    assert "SEARCH steps" in running
    assert "SEARCH executions" in running
    assert "inbox_open" in plan("SELECT id, command FROM inbox WHERE answer IS NULL ORDER BY id LIMIT 100")
    assert "sqlite_autoindex_executions" in plan(
        "SELECT id FROM executions WHERE id BETWEEN 'a' AND 'a' || char(0x10ffff) ORDER BY id LIMIT 10"
    )
    deletion = "DELETE FROM timers WHERE (execution_id, key) IN (VALUES ('a', 'b'), ('c', 'd'))"
    assert "USING PRIMARY KEY (execution_id=? AND key=?)" in plan(deletion)
