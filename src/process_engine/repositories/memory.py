"""The reference store: plain dictionaries, no file, no thread.

It is written to be obviously right, and other stores are compared with it. Records are kept as JSON text,
so nothing that a caller changes later, in what it wrote or in what it read, can reach the store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

import msgspec

from process_engine.core.commands import InboxCommand
from process_engine.core.events import Event
from process_engine.core.mailbox import NewEvent, PublishedEvent
from process_engine.core.state import ExecutionStatus, Snapshot
from process_engine.core.transition import Transition
from process_engine.core.values import BlobRef
from process_engine.core.work import WorkItem, execution_work, work_of
from process_engine.definition.versions import VersionKey, version_key
from process_engine.errors import InternalError, NotFound, OwnershipLost, StorageUnavailable, VersionExists
from process_engine.ids import DefinitionHash, ExecutionId, StepId
from process_engine.repositories.records import (
    ANSWER,
    COMMAND,
    CREATED,
    EVENT,
    HEAD,
    MAIL,
    STEP,
    open_approval,
    open_wait,
    summary_of,
)
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

WorkKey = tuple[ExecutionId, str]
EventKey = tuple[ExecutionId, int]

# The fence of an opening that may only read: below every epoch.
_READER: Fence = 0


@dataclass
class Rows:
    """The rows that a commit writes, or that a store holds; a timer that is None is to be removed."""

    created: dict[ExecutionId, str] = field(default_factory=dict[ExecutionId, str])
    heads: dict[ExecutionId, str] = field(default_factory=dict[ExecutionId, str])
    summaries: dict[ExecutionId, ExecutionSummary] = field(
        default_factory=dict[ExecutionId, ExecutionSummary]
    )
    steps: dict[ExecutionId, dict[StepId, str]] = field(default_factory=dict[ExecutionId, dict[StepId, str]])
    events: dict[ExecutionId, dict[int, str]] = field(default_factory=dict[ExecutionId, dict[int, str]])
    log: list[EventKey] = field(default_factory=list[EventKey])
    timers: dict[WorkKey, WorkItem | None] = field(default_factory=dict[WorkKey, WorkItem | None])
    blobs: dict[str, bytes] = field(default_factory=dict[str, bytes])

    def add(self, transition: Transition) -> None:
        """Put a transition on top of what is here."""
        execution = transition.execution
        self.created[execution.id] = CREATED.encode(execution.created)
        self.heads[execution.id] = HEAD.encode(execution.head)
        self.summaries[execution.id] = summary_of(execution)
        changed = {step: STEP.encode(execution.steps[step]) for step in transition.changed}
        self.steps.setdefault(execution.id, {}).update(changed)
        for event in transition.events:
            self._add_event(event)
        # Settled ones first: a step whose timer is replaced by another has both under the same key.
        self.timers.update({(work.execution_id, work.key): None for work in transition.done})
        self.timers.update({(work.execution_id, work.key): work for work in transition.work if work.due})
        self.blobs.update(transition.blobs)

    def _add_event(self, event: Event) -> None:
        own = self.events.setdefault(event.execution_id, {})
        if event.sequence in own:
            raise _taken(event.execution_id, event.sequence)
        own[event.sequence] = EVENT.encode(event)
        self.log.append((event.execution_id, event.sequence))


@dataclass
class Mail:
    """An event in the mailbox; `executions` is how many there were when it was published."""

    position: int
    text: str
    executions: int

    @property
    def published(self) -> PublishedEvent:
        """The event with its place."""
        return PublishedEvent(self.position, MAIL.decode(self.text))


@dataclass
class Tables:
    """All that a memory store holds. Several stores over the same tables are like processes over one file."""

    epoch: Fence = 0
    rows: Rows = field(default_factory=Rows)
    definitions: dict[DefinitionHash, StoredDefinition] = field(
        default_factory=dict[DefinitionHash, StoredDefinition]
    )
    versions: dict[tuple[str, VersionKey], PublishedVersion] = field(
        default_factory=dict[tuple[str, VersionKey], PublishedVersion]
    )
    mailbox: dict[str, Mail] = field(default_factory=dict[str, Mail])
    published: int = 0
    inbox: list[str] = field(default_factory=list[str])
    answers: dict[int, str] = field(default_factory=dict[int, str])

    def merge(self, new: Rows) -> None:
        """Write the rows of one commit, all or, where an event is there already, none."""
        held = self.rows
        for execution, sequence in new.log:
            if sequence in held.events.get(execution, ()):
                raise _taken(execution, sequence)
        for execution, text in new.created.items():
            held.created.setdefault(execution, text)
        held.heads.update(new.heads)
        held.summaries.update(new.summaries)
        for execution, steps in new.steps.items():
            held.steps.setdefault(execution, {}).update(steps)
        for execution, events in new.events.items():
            held.events.setdefault(execution, {}).update(events)
        held.log.extend(new.log)
        held.timers.update(new.timers)
        for key in [key for key, item in new.timers.items() if item is None]:
            del held.timers[key]
        for sha256, text in new.blobs.items():
            held.blobs.setdefault(sha256, text)


class MemoryRepository:
    """Keeps everything as long as its `tables` live.

    Opening it again, closed or not, takes the store over: the epoch grows, all data stays, and who still
    commits under the older epoch is refused.
    """

    def __init__(self, tables: Tables | None = None) -> None:
        self.tables = tables or Tables()
        self._fence: Fence | None = None

    # life cycle

    async def open(self, *, clock: Clock, writer: bool = True) -> None:
        """Make the store ready; a writer takes it over from whoever had it."""
        if writer:
            self.tables.epoch += 1
        self._fence = self.tables.epoch if writer else _READER

    async def close(self) -> None:
        """Refuse everything until it is opened again."""
        self._fence = None

    @property
    def fence(self) -> Fence:
        """The epoch of this opening; 0 for a reader."""
        if self._fence is None:
            raise StorageUnavailable("the store is closed.", nothing_written=True, remedy="Open it first.")
        return self._fence

    def _writing(self) -> Tables:
        if self.fence == _READER:
            raise StorageUnavailable(
                "the store is open for reading.", nothing_written=True, remedy="Open it with writer=True."
            )
        return self.tables

    def _reading(self) -> Rows:
        _ = self.fence
        return self.tables.rows

    # writing

    async def commit(self, transitions: Sequence[Transition], fence: Fence) -> None:
        """Write all transitions, in order, or none."""
        tables = self._writing()
        if fence != tables.epoch:
            raise OwnershipLost(f"the store belongs to epoch {tables.epoch}, this commit to {fence}.")
        new = Rows()
        for transition in transitions:
            new.add(transition)
        tables.merge(new)

    async def save_definition(self, definition: StoredDefinition) -> None:
        """Keep a definition under its hash; again is no change."""
        self._writing().definitions.setdefault(definition.hash, definition)

    async def publish(
        self, definition: StoredDefinition, *, at: datetime, by: str | None = None
    ) -> PublishedVersion:
        """Let the name and version of a definition stand for it, for good."""
        _ = self.fence
        place = (definition.name, version_key(definition.version))
        there = self.tables.versions.get(place)
        if there is not None and there.hash != definition.hash:
            raise VersionExists(definition.name, definition.version, there.version)
        if there is not None:
            return there
        self.tables.definitions.setdefault(definition.hash, definition)
        made = PublishedVersion(
            process=definition.name,
            version=definition.version,
            hash=definition.hash,
            published_at=at,
            published_by=by,
        )
        self.tables.versions[place] = made
        return made

    async def archive(self, name: str, version: str, *, at: datetime | None) -> PublishedVersion:
        """Take a published version out of use, or, with None, back into it."""
        _ = self.fence
        key = _key(version)
        there = self.tables.versions.get((name, key)) if key is not None else None
        if key is None or there is None:
            raise NotFound(f"version {version} of process {name} was never published.")
        moment = (there.archived_at or at) if at is not None else None
        archived = msgspec.structs.replace(there, archived_at=moment)
        self.tables.versions[name, key] = archived
        return archived

    # reading, one thing

    async def load(self, execution_id: ExecutionId) -> Snapshot | None:
        """The committed state of an execution, None if there is none; steps in the order of their ids."""
        rows = self._reading()
        if execution_id not in rows.heads:
            return None
        return Snapshot(
            CREATED.decode(rows.created[execution_id]),
            HEAD.decode(rows.heads[execution_id]),
            {step: STEP.decode(text) for step, text in sorted(rows.steps[execution_id].items())},
        )

    async def load_many(self, execution_ids: Collection[ExecutionId]) -> Sequence[Snapshot]:
        """The committed states of those executions that there are."""
        _ = self.fence
        found = [await self.load(id) for id in dict.fromkeys(execution_ids)]
        return [snapshot for snapshot in found if snapshot is not None]

    async def load_definition(self, hash: DefinitionHash) -> StoredDefinition | None:
        """The definition with this content hash."""
        _ = self.fence
        return self.tables.definitions.get(hash)

    async def find_definition(self, name: str, version: str | None) -> StoredDefinition | None:
        """The definition that a name stands for: the newest published one in use, or the one of `version`."""
        _ = self.fence
        key = None if version is None else _key(version)
        if version is not None and key is None:
            return None
        own = {there: one for (process, there), one in self.tables.versions.items() if process == name}
        if own:
            usable = [there for there, one in own.items() if not one.is_archived and key in (None, there)]
            return self.tables.definitions[own[max(usable)].hash] if usable else None
        drafts = [
            one
            for one in self.tables.definitions.values()
            if one.name == name and version in (None, one.version)
        ]
        return drafts[-1] if drafts else None

    async def load_blob(self, ref: BlobRef) -> bytes | None:
        """The JSON text of a large value."""
        return self._reading().blobs.get(ref.sha256)

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
        newest_first = reversed(self._reading().summaries.values())
        if before is not None:
            newest_first = _after(newest_first, before)
        wanted = (
            line
            for line in newest_first
            if (status is None or line.status == status) and (process is None or line.process == process)
        )
        return list(islice(wanted, max(limit, 0)))

    async def versions(self, name: str | None = None, *, limit: int = 1000) -> Sequence[PublishedVersion]:
        """The published versions of one process, or of all by name; the newest first."""
        _ = self.fence
        wanted = [place for place in self.tables.versions if name in (None, place[0])]
        newest_first = sorted(wanted, key=lambda place: (place[0], *(-number for number in place[1])))
        return [self.tables.versions[place] for place in newest_first[: max(limit, 0)]]

    async def resolve(self, prefix: str) -> Sequence[ExecutionId]:
        """Ids that begin with `prefix`, in their order, at most 10."""
        return sorted(id for id in self._reading().heads if id.startswith(prefix))[:10]

    async def events(
        self, execution_id: ExecutionId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[Event]:
        """Events of one execution with `sequence > after`, in order."""
        events = self._reading().events.get(execution_id, {})
        sequences = sorted(sequence for sequence in events if sequence > after)
        return [EVENT.decode(events[sequence]) for sequence in sequences[: max(limit, 0)]]

    async def feed(self, *, after: int = 0, limit: int = 1000) -> Sequence[FeedEntry]:
        """Events of all executions with `position > after`, in order of commit."""
        rows = self._reading()
        start = max(after, 0)
        page = rows.log[start : start + max(limit, 0)]
        return [
            FeedEntry(position, EVENT.decode(rows.events[execution][sequence]))
            for position, (execution, sequence) in enumerate(page, start=start + 1)
        ]

    # open work

    async def open_executions(self) -> Sequence[tuple[ExecutionId, DefinitionHash]]:
        """Every execution that has not ended, oldest first, with the definition it runs."""
        rows = self._reading()
        return [
            (id, CREATED.decode(rows.created[id]).definition_hash)
            for id, line in rows.summaries.items()
            if not line.status.is_final
        ]

    async def attempts(self) -> AsyncIterator[WorkItem]:
        """Every open attempt: the oldest execution first, its steps in the order of their ids."""
        rows = self._reading()
        for execution, _ in await self.open_executions():
            for item in execution_work(execution, HEAD.decode(rows.heads[execution])):
                if item.runs_at_once:
                    yield item
            for step, text in sorted(rows.steps[execution].items()):
                for item in work_of(execution, step, STEP.decode(text)):
                    if item.runs_at_once:
                        yield item

    async def timers(
        self, *, after: tuple[datetime, ExecutionId, str] | None, limit: int
    ) -> Sequence[WorkItem]:
        """Work that is due at a time, ordered by (due, execution id, key), strictly after the place given."""
        items = (item for item in self._reading().timers.values() if item is not None)
        places = sorted(
            ((item.due, item.execution_id, item.key), item) for item in items if item.due is not None
        )
        later = (item for place, item in places if after is None or place > after)
        return list(islice(later, max(limit, 0)))

    async def approvals(self, *, limit: int = 1000) -> Sequence[OpenApproval]:
        """What people are asked: the oldest execution first, its steps in the order of their ids."""
        rows = self._reading()
        found: list[OpenApproval] = []
        for execution, _ in await self.open_executions():
            for step, text in sorted(rows.steps[execution].items()):
                process = rows.summaries[execution].process
                asked = open_approval(execution, process, step, STEP.decode(text))
                if asked is not None:
                    found.append(asked)
        return found[: max(limit, 0)]

    # mailbox

    async def post(
        self, events: Sequence[NewEvent], blobs: Mapping[str, bytes], fence: Fence
    ) -> Sequence[Posted]:
        """Put events into the mailbox, in this order, or none."""
        tables = self._writing()
        if tables.epoch != fence:
            raise OwnershipLost(f"the store belongs to epoch {tables.epoch}, this event to {fence}.")
        texts = [MAIL.encode(event) for event in events]
        posted: list[Posted] = []
        for event, text in zip(events, texts, strict=True):
            repeated = event.id in tables.mailbox
            if not repeated:
                tables.published += 1
                tables.mailbox[event.id] = Mail(tables.published, text, len(tables.rows.created))
            posted.append(Posted(tables.mailbox[event.id].published, repeated))
        for sha256, content in blobs.items():
            tables.rows.blobs.setdefault(sha256, content)
        return posted

    async def mail(
        self, name: str, execution_id: ExecutionId, *, after: int = 0, limit: int = 100
    ) -> Sequence[PublishedEvent]:
        """Events of a name that an execution may take, `position > after`, in the order of publishing."""
        rows = self._reading()
        numbers = {id: number for number, id in enumerate(rows.created, start=1)}
        found: list[PublishedEvent] = []
        for mail in self.tables.mailbox.values():
            event = mail.published.event
            seen = execution_id in numbers and numbers[execution_id] <= mail.executions
            addressed = event.execution_id == execution_id if event.execution_id is not None else seen
            if event.name == name and mail.position > after and addressed:
                found.append(mail.published)
        return found[: max(limit, 0)]

    async def waits(self) -> AsyncIterator[OpenWait]:
        """Every wait for an event: the oldest execution first, its steps in the order of their ids."""
        rows = self._reading()
        for execution, _ in await self.open_executions():
            for step, text in sorted(rows.steps[execution].items()):
                wait = open_wait(execution, step, STEP.decode(text))
                if wait is not None:
                    yield wait

    async def clear_mail(self, before: datetime, *, limit: int) -> int:
        """Remove the oldest events that were published before a moment, at most `limit`; how many."""
        tables = self._writing()
        if self.fence != tables.epoch:
            raise OwnershipLost(f"the store belongs to epoch {tables.epoch}, this opening to {self.fence}.")
        events = [(mail.published.event, mail.position) for mail in tables.mailbox.values()]
        old = sorted((event.published_at, position, event.id) for event, position in events)
        ids = [id for published_at, _, id in old if published_at < before][: max(limit, 0)]
        for id in ids:
            del tables.mailbox[id]
        return len(ids)

    # inbox

    async def submit(self, command: InboxCommand) -> int:
        """Leave a command for the process that runs executions."""
        _ = self.fence
        self.tables.inbox.append(COMMAND.encode(command))
        return len(self.tables.inbox)

    async def inbox(self, *, limit: int = 100) -> Sequence[InboxEntry]:
        """Commands without an answer, oldest first."""
        _ = self.fence
        waiting = (
            InboxEntry(id, COMMAND.decode(text))
            for id, text in enumerate(self.tables.inbox, start=1)
            if id not in self.tables.answers
        )
        return list(islice(waiting, max(limit, 0)))

    async def answer(self, entry_id: int, answer: InboxAnswer) -> None:
        """Record what became of a command; the first answer stays."""
        tables = self._writing()
        if self.fence != tables.epoch:
            raise OwnershipLost(f"the store belongs to epoch {tables.epoch}, this opening to {self.fence}.")
        if not 1 <= entry_id <= len(tables.inbox):
            raise NotFound(f"there is no command {entry_id} in the inbox.")
        tables.answers.setdefault(entry_id, ANSWER.encode(answer))

    async def read_answer(self, entry_id: int) -> InboxAnswer | None:
        """The answer, None while there is none."""
        _ = self.fence
        text = self.tables.answers.get(entry_id)
        return None if text is None else ANSWER.decode(text)


def _taken(execution: ExecutionId, sequence: int) -> InternalError:
    return InternalError(f"event {execution}/{sequence} is there already; nothing was written.")


def _key(version: str) -> VersionKey | None:
    try:
        return version_key(version)
    except ValueError:
        return None


def _after(lines: Iterable[ExecutionSummary], id: ExecutionId) -> Iterable[ExecutionSummary]:
    remaining = iter(lines)
    for line in remaining:
        if line.id == id:
            break
    return remaining
