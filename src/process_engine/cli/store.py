"""Looking into a store that another process may be writing to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from process_engine.clock import SystemClock
from process_engine.core.events import Event
from process_engine.core.evolve import restore
from process_engine.errors import NotFound, StorageUnavailable, StoreLocked
from process_engine.ids import ExecutionId
from process_engine.repositories import connection as disk
from process_engine.repositories import migrations
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.outputs import OutputStorage
from process_engine.runtime.plans import Plans
from process_engine.runtime.ports import ExecutionRepository
from process_engine.runtime.view import ProcessExecution, view

PAGE = 1000


def is_begun(db: Path) -> bool:
    """Whether somebody has begun a store there; where it cannot be told, whoever opens it will say so.

    Asked before a store is opened to write, so that nothing is put beside a file of another program.

    Raises:
        StorageIncompatible: there is a file, and it is none of ours, damaged, or of a newer version.
    """
    if not db.exists():
        return False
    disk.require_whole(db)
    with suppress(StorageUnavailable), disk.faults(nothing_written=True):
        connection = disk.connect(str(db), read_only=True)
        try:
            return migrations.version_of(connection) > 0
        finally:
            disk.close(connection)
    return True


@asynccontextmanager
async def reading(db: Path) -> AsyncGenerator[SqliteRepository]:
    """The store, open to look at and to leave commands in; whoever writes to it is not disturbed.

    Raises:
        NotFound: there is none.
    """
    repository = SqliteRepository(db)
    await repository.open(clock=SystemClock(), writer=False)
    try:
        yield repository
    finally:
        await repository.close()


@asynccontextmanager
async def changing(db: Path) -> AsyncGenerator[SqliteRepository]:
    """The store, open for small changes, begun if there is none; beside whoever runs executions on it.

    Raises:
        StorageIncompatible: the file is no store that can be used; nothing was put beside it.
    """
    is_begun(db)
    repository = SqliteRepository(db)
    try:
        await repository.open(clock=SystemClock())
    except StoreLocked:
        await repository.open(clock=SystemClock(), writer=False)
    try:
        yield repository
    finally:
        await repository.close()


async def resolve(repository: ExecutionRepository, prefix: str) -> ExecutionId:
    """The one execution whose id begins with `prefix`, or is it.

    Raises:
        NotFound: there is none, or there are several.
    """
    begin = prefix.strip().lower()
    found = await repository.resolve(begin) if begin else ()
    if len(found) == 1:
        return found[0]
    if not found:
        raise NotFound(
            f"there is no execution {prefix!r}.", remedy="`process-engine list` shows what there is."
        )
    listing = ", ".join(found[:5]) + (", …" if len(found) > 5 else "")
    raise NotFound(f"{prefix} begins several ids: {listing}.", remedy="Give more of the one you mean.")


async def load(
    repository: ExecutionRepository, execution_id: ExecutionId, plans: Plans | None = None
) -> ProcessExecution:
    """An execution as it stands; `plans` keeps definitions for those who load many.

    Raises:
        NotFound: there is none.
    """
    snapshot = await repository.load(execution_id)
    if snapshot is None:
        raise NotFound(f"there is no execution {execution_id}.")
    plan = await (plans or Plans(repository)).load(snapshot.created.definition_hash)
    return await view(plan, restore(plan, snapshot), OutputStorage(repository))


async def all_events(
    repository: ExecutionRepository, execution_id: ExecutionId, *, after: int = 0
) -> AsyncIterator[Event]:
    """Every event of an execution with `sequence > after` that is there by now, in order."""
    while page := await repository.events(execution_id, after=after, limit=PAGE):
        for event in page:
            yield event
        after = page[-1].sequence
