"""The store in an SQLite file: one transaction for all that a batch of commands causes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeVar, cast

import apsw

from process_engine.core.commands import InboxCommand
from process_engine.core.events import Event
from process_engine.core.mailbox import NewEvent, PublishedEvent
from process_engine.core.state import ExecutionStatus, Snapshot
from process_engine.core.transition import Transition
from process_engine.core.values import INLINE_LIMIT_BYTES, BlobRef
from process_engine.core.work import WorkItem
from process_engine.definition.versions import version_key
from process_engine.errors import NotFound, OwnershipLost, StorageUnavailable
from process_engine.ids import DefinitionHash, ExecutionId
from process_engine.repositories import connection as disk
from process_engine.repositories import migrations, publications, queries
from process_engine.repositories.connection import MEMORY, Cursor, Row, SqlValue
from process_engine.repositories.lock import StoreLock
from process_engine.repositories.mail import Letters
from process_engine.repositories.reader import Reader
from process_engine.repositories.records import ANSWER, COMMAND, EVENT, to_microseconds
from process_engine.repositories.rows import Batch, Numbers
from process_engine.repositories.writer import Pace, Writer
from process_engine.runtime.ports import (
    Clock,
    ExecutionSummary,
    FeedEntry,
    Fence,
    InboxAnswer,
    InboxEntry,
    OpenApproval,
    OpenWait,
    Posted,
    PublishedVersion,
    StoredDefinition,
)

Synchronous = Literal["FULL", "NORMAL", "OFF"]
Answer = TypeVar("Answer")

# 256 KiB: from here on copying large values into the log takes milliseconds, which the event loop is spared.
_HEAVY_BYTES = 256 * 1024
# Open executions whose attempts or waits are fetched at a time: very many need no list of all.
_PAGE = 1_000
# Answered commands kept for whoever asks; older ones go when the store is taken over.
_ANSWERS_KEPT = 1_000

# The fence of an opening that may only read: below every epoch.
_READER: Fence = 0


class _Queries(Protocol):
    async def read(self, sql: str, values: Sequence[SqlValue] = ()) -> list[Row]: ...


class _Opening(NamedTuple):
    """What belongs to one opening. `near` is for quick look-ups, `far` for queries of any size."""

    fence: Fence
    clock: Clock
    near: _Queries
    far: _Queries
    writer: Writer | None
    reader: Reader | None
    resources: ExitStack


class SqliteRepository:
    """Keeps everything in one SQLite file, or, under `:memory:`, as long as this object lives.

    `synchronous` as in SQLite: with FULL a commit is on the disk when it returns; with NORMAL and OFF it
    survives the end of the process, and a power cut may take back the last ones. `vfs` names a registered
    SQLite VFS, to inject faults: it shares no memory, so the file is locked exclusively, everything runs on
    one connection, and nobody can read meanwhile.

    Opening it again, closed or not, takes the store over under a higher epoch.
    """

    def __init__(
        self, path: str | Path = MEMORY, *, synchronous: Synchronous = "FULL", vfs: str | None = None
    ) -> None:
        self._in_memory = str(path) == MEMORY
        self._path = Path(path)
        self._synchronous = synchronous
        self._vfs = vfs
        self._opening: _Opening | None = None
        self._memory: apsw.Connection | None = None
        self._numbers = Numbers()

    # life cycle

    async def open(self, *, clock: Clock, writer: bool = True) -> None:
        """Make the store ready; a writer creates or migrates the file and takes it over.

        Raises:
            NotFound: only to read, and there is no file.
            StorageIncompatible: of another program, damaged, or newer than this version.
            StoreLocked: `writer` is asked for and another process runs executions on it.
            StorageUnavailable: the file or its directory cannot be used.
        """
        await self.close()
        if writer:
            self._opening = self._open_to_write(clock)
        elif self._in_memory or self._vfs is not None:
            self._opening = self._open_shared(clock)
        else:
            self._opening = await self._open_to_read(clock)

    async def close(self) -> None:
        """Wait for what is under way, then release file and lock."""
        opening, self._opening = self._opening, None
        if opening is None:
            return
        if opening.writer is not None:
            await opening.writer.close()
        if opening.reader is not None:
            opening.reader.close()
        opening.resources.close()

    @property
    def fence(self) -> Fence:
        """The epoch of this opening; 0 for a reader."""
        return self._opened().fence

    @property
    def pace(self) -> Pace | None:
        """How long commits take of late; None for a reader."""
        writer = self._opened().writer
        return None if writer is None else writer.pace

    def _open_to_write(self, clock: Clock) -> _Opening:
        with ExitStack() as resources:
            if not self._in_memory:
                lock = StoreLock(self._path)
                lock.acquire()
                resources.callback(lock.release)
            connection = self._connect(resources)
            with disk.faults(nothing_written=True):
                # Looked at before anything is written: another program's file is left as it is.
                migrations.version_of(connection)
                disk.make_durable(connection, synchronous=self._synchronous, exclusive=self._vfs is not None)
                migrations.migrate(connection)
                fence = _take_over(connection)
            self._numbers = Numbers()
            return self._assemble(clock, fence, connection, resources.pop_all())

    def _open_shared(self, clock: Clock) -> _Opening:
        with ExitStack() as resources, disk.faults(nothing_written=True):
            if self._in_memory and self._memory is None:
                raise disk.nothing_there(MEMORY)
            connection = self._connect(resources)
            migrations.require_newest(connection)
            return self._assemble(clock, _READER, connection, resources.pop_all())

    async def _open_to_read(self, clock: Clock) -> _Opening:
        disk.require_there(self._path)
        disk.require_whole(self._path)
        reader = Reader(str(self._path), clock)
        try:
            await reader.prepare()
        except BaseException:
            reader.close()
            raise
        return _Opening(_READER, clock, reader, reader, None, reader, ExitStack())

    def _assemble(
        self, clock: Clock, fence: Fence, connection: apsw.Connection, resources: ExitStack
    ) -> _Opening:
        shared = self._in_memory or self._vfs is not None
        writer = Writer(connection, clock, shared=shared, in_memory=self._in_memory)
        reader = None if shared else Reader(str(self._path), clock)
        return _Opening(fence, clock, writer, reader or writer, writer, reader, resources)

    def _connect(self, resources: ExitStack) -> apsw.Connection:
        if self._in_memory:
            self._memory = self._memory or disk.connect(MEMORY, create=True)
            return self._memory
        disk.require_whole(self._path)
        with disk.faults(nothing_written=True):
            connection = disk.connect(str(self._path), create=True, vfs=self._vfs)
        resources.callback(disk.close, connection)
        return connection

    def _opened(self) -> _Opening:
        if self._opening is None:
            raise StorageUnavailable("the store is closed.", nothing_written=True, remedy="Open it first.")
        return self._opening

    def _writer(self) -> Writer:
        opening = self._opened()
        if opening.writer is None or opening.fence == _READER:
            raise StorageUnavailable(
                "the store is open for reading.", nothing_written=True, remedy="Open it with writer=True."
            )
        return opening.writer

    # writing

    async def commit(self, transitions: Sequence[Transition], fence: Fence) -> None:
        """Write all transitions, in order, or none; durable on return.

        Cancelled while the disk is busy, it still ends the transaction before it raises: reload then.

        Raises:
            OwnershipLost: `fence` is stale. Nothing was written.
            StorageUnavailable: `.nothing_written` is True, False, or None (unknown: reload).
            InternalError: a record has no JSON form, or an event is there already. Nothing was written.
        """
        writer = self._writer()
        batch = Batch(transitions)

        def write(cursor: Cursor) -> None:
            _require_epoch(cursor, fence)
            self._numbers.learn(batch.write(cursor, self._numbers))

        try:
            await writer.transact(write, written=batch.is_written, heavy=batch.blob_bytes > _HEAVY_BYTES)
        except BaseException:
            self._numbers.forget()
            raise

    async def save_definition(self, definition: StoredDefinition) -> None:
        """Keep a definition under its hash; again is no change."""
        await self._writer().transact(lambda cursor: publications.save(cursor, definition))

    async def publish(
        self, definition: StoredDefinition, *, at: datetime, by: str | None = None
    ) -> PublishedVersion:
        """Let the name and version of a definition stand for it, for good. Works from a reader.

        Raises:
            VersionExists: the version is published with other content. Nothing was written.
        """
        key = version_key(definition.version)
        return await self._change(lambda cursor: publications.publish(cursor, definition, key, at, by))

    async def archive(self, name: str, version: str, *, at: datetime | None) -> PublishedVersion:
        """Take a published version out of use, or, with None, back into it. Works from a reader.

        Raises:
            NotFound: it was never published.
        """
        return await self._change(lambda cursor: publications.archive(cursor, name, version, at))

    # reading, one thing

    async def load(self, execution_id: ExecutionId) -> Snapshot | None:
        """The committed state of an execution, None if there is none; steps in the order of their ids."""
        return queries.snapshot(await self._opened().near.read(queries.LOAD, (execution_id,)))

    async def load_many(self, execution_ids: Collection[ExecutionId]) -> Sequence[Snapshot]:
        """The committed states of those executions that there are."""
        ids = json.dumps(list(execution_ids))
        return queries.snapshots(await self._opened().near.read(queries.LOAD_MANY, (ids,)))

    async def load_definition(self, hash: DefinitionHash) -> StoredDefinition | None:
        """The definition with this content hash."""
        rows = await self._opened().near.read(queries.DEFINITION, (hash,))
        for name, version, document in cast("list[tuple[str, str, bytes]]", rows):
            return StoredDefinition(hash=hash, name=name, version=version, document=document)
        return None

    async def find_definition(self, name: str, version: str | None) -> StoredDefinition | None:
        """The definition that a name stands for: the newest published one in use, or the one of `version`."""
        opening, query = self._opened(), publications.found(name, version)
        rows = await opening.near.read(*query) if query is not None else []
        return publications.definition_of(rows[0]) if rows else None

    async def load_blob(self, ref: BlobRef) -> bytes | None:
        """The JSON text of a large value."""
        opening = self._opened()
        place = opening.near if ref.size_bytes < INLINE_LIMIT_BYTES else opening.far
        rows = await place.read(queries.BLOB, (ref.sha256,))
        return cast("bytes", rows[0][0]) if rows else None

    # reading, many things

    async def list(
        self,
        *,
        status: ExecutionStatus | None = None,
        process: str | None = None,
        limit: int = 100,
        before: ExecutionId | None = None,
    ) -> Sequence[ExecutionSummary]:
        """Executions, the one that was stored last first; none after a `before` that is unknown."""
        rows = await self._opened().far.read(*queries.executions(status, process, before, max(limit, 0)))
        return [queries.summary(row) for row in rows]

    async def versions(self, name: str | None = None, *, limit: int = 1000) -> Sequence[PublishedVersion]:
        """The published versions of one process, or of all by name; the newest first."""
        rows = await self._opened().far.read(*publications.versions(name, max(limit, 0)))
        return [publications.version_of(row) for row in rows]

    async def resolve(self, prefix: str) -> Sequence[ExecutionId]:
        """Ids that begin with `prefix`, in their order, at most 10."""
        rows = await self._opened().near.read(queries.RESOLVE, (prefix,))
        return [ExecutionId(cast("str", id)) for (id,) in rows]

    async def events(
        self, execution_id: ExecutionId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[Event]:
        """Events of one execution with `sequence > after`, in order."""
        rows = await self._opened().far.read(queries.EVENTS, (execution_id, after, max(limit, 0)))
        return [EVENT.decode(cast("str", body)) for (body,) in rows]

    async def feed(self, *, after: int = 0, limit: int = 1000) -> Sequence[FeedEntry]:
        """Events of all executions with `position > after`, in order of commit."""
        rows = await self._opened().far.read(queries.FEED, (after, max(limit, 0)))
        entries = cast("list[tuple[int, str]]", rows)
        return [FeedEntry(position, EVENT.decode(body)) for position, body in entries]

    # open work

    async def open_executions(self) -> Sequence[tuple[ExecutionId, DefinitionHash]]:
        """Every execution that has not ended, oldest first, with the definition it runs."""
        rows = await self._opened().far.read(queries.OPEN)
        return [(ExecutionId(id), DefinitionHash(hash)) for id, hash in cast("list[tuple[str, str]]", rows)]

    async def attempts(self) -> AsyncIterator[WorkItem]:
        """Every open attempt: the oldest execution first, its steps in the order of their ids."""
        async for row in self._open_steps(queries.RUNNING):
            for item in queries.attempts(row):
                yield item

    async def _open_steps(self, wanted: str) -> AsyncIterator[Row]:
        """The rows of a query about steps, for one page of open executions after the other."""
        last = 0
        while True:
            far = self._opened().far
            numbers = [
                cast("int", number) for (number,) in await far.read(queries.OPEN_NUMBERS, (last, _PAGE))
            ]
            for row in await far.read(wanted, (str(numbers),)):
                yield row
            if len(numbers) < _PAGE:
                return
            last = numbers[-1]

    async def timers(
        self, *, after: tuple[datetime, ExecutionId, str] | None, limit: int
    ) -> Sequence[WorkItem]:
        """Work that is due at a time, ordered by (due, execution id, key), strictly after the place given."""
        rows = await self._opened().far.read(*queries.timers(after, max(limit, 0)))
        return [queries.timer(row) for row in rows]

    async def approvals(self, *, limit: int = 1000) -> Sequence[OpenApproval]:
        """What people are asked: the oldest execution first, its steps in the order of their ids."""
        rows = await self._opened().far.read(queries.APPROVALS, (max(limit, 0),))
        return [asked for asked in map(queries.approval, rows) if asked is not None]

    # mailbox

    async def post(
        self, events: Sequence[NewEvent], blobs: Mapping[str, bytes], fence: Fence
    ) -> Sequence[Posted]:
        """Put events into the mailbox, in this order, or none; durable on return."""
        writer, letters = self._writer(), Letters(events, blobs)

        def write(cursor: Cursor) -> Sequence[Posted]:
            _require_epoch(cursor, fence)
            return letters.write(cursor)

        return await writer.transact(write, heavy=letters.blob_bytes > _HEAVY_BYTES)

    async def mail(
        self, name: str, execution_id: ExecutionId, *, after: int = 0, limit: int = 100
    ) -> Sequence[PublishedEvent]:
        """Events of a name that an execution may take, `position > after`, in the order of publishing."""
        values = (name, execution_id, after, max(limit, 0))
        return [queries.mail(row) for row in await self._opened().near.read(queries.MAIL, values)]

    async def waits(self) -> AsyncIterator[OpenWait]:
        """Every wait for an event: the oldest execution first, its steps in the order of their ids."""
        async for row in self._open_steps(queries.WAITS):
            wait = queries.wait(row)
            if wait is not None:
                yield wait

    async def clear_mail(self, before: datetime, *, limit: int) -> int:
        """Remove the oldest events that were published before a moment, at most `limit`; how many."""
        writer, fence = self._writer(), self.fence

        def clear(cursor: Cursor) -> int:
            _require_epoch(cursor, fence)
            values = (to_microseconds(before), max(limit, 0))
            return len(cursor.execute(f"{queries.CLEAR_MAIL} RETURNING position", values).fetchall())

        return await writer.transact(clear)

    # inbox

    async def submit(self, command: InboxCommand) -> int:
        """Leave a command for the process that runs executions; durable on return. Works from a reader."""
        opening = self._opened()
        row = (opening.clock.now().isoformat(timespec="microseconds"), COMMAND.encode(command))

        def add(cursor: Cursor) -> int:
            sql = "INSERT INTO inbox (arrived_at, command) VALUES (?, ?) RETURNING id"
            return cast("int", cursor.execute(sql, row).fetchall()[0][0])

        return await self._change(add)

    async def _change(self, write: Callable[[Cursor], Answer]) -> Answer:
        """One small transaction, of a reader too: beside the commits of whoever runs executions."""
        opening = self._opened()
        if opening.writer is not None:
            return await opening.writer.transact(write)
        assert opening.reader is not None
        return await opening.reader.write(write)

    async def inbox(self, *, limit: int = 100) -> Sequence[InboxEntry]:
        """Commands without an answer, oldest first. An empty inbox costs one look into a small index."""
        rows = await self._opened().near.read(queries.INBOX, (max(limit, 0),))
        return [InboxEntry(id, COMMAND.decode(text)) for id, text in cast("list[tuple[int, str]]", rows)]

    async def answer(self, entry_id: int, answer: InboxAnswer) -> None:
        """Record what became of a command; the first answer stays.

        Raises:
            OwnershipLost: the store was taken over since this opening.
            NotFound: there is no such command.
        """
        writer, fence = self._writer(), self.fence
        text = ANSWER.encode(answer)

        def record(cursor: Cursor) -> None:
            _require_epoch(cursor, fence)
            sql = "UPDATE inbox SET answer = coalesce(answer, ?) WHERE id = ? RETURNING id"
            if not cursor.execute(sql, (text, entry_id)).fetchall():
                raise NotFound(f"there is no command {entry_id} in the inbox.")

        await writer.transact(record)

    async def read_answer(self, entry_id: int) -> InboxAnswer | None:
        """The answer, None while there is none."""
        rows = await self._opened().near.read(queries.ANSWER, (entry_id,))
        text = rows[0][0] if rows else None
        return None if text is None else ANSWER.decode(cast("str", text))


def _take_over(connection: apsw.Connection) -> Fence:
    with disk.transaction(connection):
        disk.run(
            connection,
            "DELETE FROM inbox WHERE answer IS NOT NULL AND id <= (SELECT max(id) FROM inbox) - ?",
            (_ANSWERS_KEPT,),
        )
        rows = disk.run(connection, "UPDATE ownership SET epoch = epoch + 1 RETURNING epoch")
    return cast("int", rows[0][0])


def _require_epoch(cursor: Cursor, fence: Fence) -> None:
    ((epoch,),) = cursor.execute("SELECT epoch FROM ownership").fetchall()
    if epoch != fence:
        raise OwnershipLost(f"the store belongs to epoch {epoch}, this was asked for under {fence}.")
