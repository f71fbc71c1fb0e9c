"""A disk that fails at any write: nothing is lost, and what is said about it is true."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import apsw
import pytest

from process_engine.core.state import StepState, StepStatus
from process_engine.core.transition import Transition
from process_engine.errors import StorageUnavailable
from process_engine.ids import ExecutionId
from process_engine.repositories.sqlite import SqliteRepository
from tests.contract.samples import begun, execution, timer, transition
from tests.contract.stores import StillClock
from tests.unit.repositories.faulty_vfs import NAME, Faults, faulty_vfs

A = ExecutionId("a")
# More than any transaction here needs; a loop that gets here tests nothing.
MOST_OPERATIONS = 400
SMALL = b"1"
# Over the size from which a whole transaction runs in the thread.
LARGE = b"[" + b"1," * 140_000 + b"1]"


@pytest.fixture
def faults() -> Iterator[Faults]:
    with faulty_vfs() as injected:
        yield injected


def integrity(path: Path) -> object:
    connection = apsw.Connection(str(path))
    try:
        return connection.pragma("integrity_check")
    finally:
        connection.close()


def as_a_crash_leaves_it(path: Path) -> Path:
    """A copy of the store as it lies on the disk now."""
    copy = path.with_name("crashed.db")
    for ending in ("", "-wal"):
        shutil.copy(f"{path}{ending}", f"{copy}{ending}")
    return copy


async def nothing_written(store: SqliteRepository, change: Transition) -> bool:
    """What a commit said of its outcome: False for one that returned."""
    said: bool | None = False
    try:
        await store.commit([change], store.fence)
    except StorageUnavailable as error:
        said = error.nothing_written
    assert said is not None
    return said


@pytest.mark.parametrize("kind", [apsw.FullError, apsw.IOError], ids=["full", "io"])
@pytest.mark.parametrize("blob", [SMALL, LARGE], ids=["small", "large"])
async def test_a_fault_at_any_write_of_a_commit_is_told_truly_and_leaves_the_store_usable(
    tmp_path, faults, kind, blob
):
    path = tmp_path / "store.db"
    store = SqliteRepository(path, vfs=NAME)
    await store.open(clock=StillClock())
    await store.commit([begun("a")], store.fence)
    refused = 0

    for at in range(1, MOST_OPERATIONS):
        later = transition(
            execution("a", sequence=at + 1, steps={f"s{at}": StepState(StepStatus.RUNNING)}),
            work=[timer("a", f"t{at}", seconds=at)],
            blobs={f"{at:064}": blob},
        )
        faults.arm(at, kind)
        nothing = await nothing_written(store, later)
        faults.disarm()

        loaded = await store.load(A)
        assert loaded is not None
        assert (loaded.head.sequence == at) is nothing
        if nothing:
            refused += 1
            await store.commit([later], store.fence)
        assert len(await store.events(A)) == at + 1
        assert len([item async for item in store.attempts()]) == at
        assert len(await store.timers(after=None, limit=MOST_OPERATIONS)) == at
        if not faults.raised:
            break
    else:
        pytest.fail("the faults never ended")

    assert refused
    await store.close()
    assert integrity(path) == "ok"


async def test_a_commit_that_was_reported_as_not_written_stays_so_when_the_process_dies_next(
    tmp_path, faults
):
    path = tmp_path / "store.db"
    store = SqliteRepository(path, vfs=NAME)
    await store.open(clock=StillClock())
    await store.commit([begun("a")], store.fence)
    refused = 0

    for at in range(1, MOST_OPERATIONS):
        faults.arm(at, apsw.IOError)
        nothing = await nothing_written(store, transition(execution("a", sequence=at + 1)))
        faults.disarm()
        left = SqliteRepository(as_a_crash_leaves_it(path))
        await left.open(clock=StillClock())
        loaded = await left.load(A)
        await left.close()

        assert loaded is not None
        assert (loaded.head.sequence == at) is nothing
        refused += nothing
        if not faults.raised:
            break
        if nothing:
            await store.commit([transition(execution("a", sequence=at + 1))], store.fence)

    assert refused
    await store.close()


async def test_where_the_disk_stays_broken_the_outcome_of_a_commit_is_unknown(tmp_path, faults):
    path = tmp_path / "store.db"
    store = SqliteRepository(path, vfs=NAME)
    await store.open(clock=StillClock())
    await store.commit([begun("a")], store.fence)

    faults.arm(1, apsw.IOError, lasting=True)
    with pytest.raises(StorageUnavailable) as refusal:
        await store.commit([transition(execution("a", sequence=2))], store.fence)
    faults.disarm()

    assert refusal.value.nothing_written is None
    await store.commit([transition(execution("a", sequence=2))], store.fence)
    assert [event.sequence for event in await store.events(A)] == [1, 2]
    await store.close()
    assert integrity(path) == "ok"


async def test_a_fault_at_any_write_of_the_first_opening_leaves_a_file_that_opens_the_next_time(
    tmp_path, faults
):
    for at in range(1, MOST_OPERATIONS):
        path = tmp_path / f"{at}.db"
        store = SqliteRepository(path, vfs=NAME)
        faults.arm(at, apsw.IOError)
        with suppress(StorageUnavailable):
            await store.open(clock=StillClock())
        faults.disarm()

        again = SqliteRepository(path)
        await store.close()
        await again.open(clock=StillClock())
        await again.commit([begun("a")], again.fence)
        await again.close()
        assert integrity(path) == "ok"
        if not faults.raised:
            return
    pytest.fail("the faults never ended")
