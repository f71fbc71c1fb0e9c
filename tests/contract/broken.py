"""Stores that do one thing wrong each. The contract has to find every one of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime

import msgspec

from process_engine.core.commands import AnyCommand
from process_engine.core.events import Event
from process_engine.core.mailbox import NewEvent, PublishedEvent
from process_engine.core.state import ExecutionStatus, Snapshot
from process_engine.core.transition import Transition
from process_engine.core.values import BlobRef
from process_engine.core.work import WorkItem
from process_engine.definition.versions import version_key
from process_engine.errors import InternalError, NotFound, OwnershipLost, VersionExists
from process_engine.ids import DefinitionHash, ExecutionId
from process_engine.repositories.memory import MemoryRepository
from process_engine.repositories.records import ANSWER
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
from process_engine.testing.repository_contract.samples import NOON

Place = tuple[datetime, ExecutionId, str]


class LosesATimer(MemoryRepository):
    """Of two timers that a transition brings, the second is not kept."""

    async def commit(self, transitions: Sequence[Transition], fence: Fence) -> None:
        kept = [msgspec.structs.replace(made, work=self._kept(made.work)) for made in transitions]
        await super().commit(kept, fence)

    def _kept(self, work: Sequence[WorkItem]) -> tuple[WorkItem, ...]:
        timers = [item for item in work if item.due]
        return tuple(item for item in work if item not in timers[1:2])


class KeepsASettledTimer(MemoryRepository):
    """What is settled stays, unless something else takes its place."""

    async def commit(self, transitions: Sequence[Transition], fence: Fence) -> None:
        await super().commit([msgspec.structs.replace(made, done=()) for made in transitions], fence)


class IgnoresTheFence(MemoryRepository):
    """Whoever writes is believed to own the store."""

    async def commit(self, transitions: Sequence[Transition], fence: Fence) -> None:
        await super().commit(transitions, self.tables.epoch)


class AcceptsLaterFences(MemoryRepository):
    """Only older epochs are refused."""

    async def commit(self, transitions: Sequence[Transition], fence: Fence) -> None:
        await super().commit(transitions, min(fence, self.tables.epoch))


class WritesHalfABatch(MemoryRepository):
    """Each transition is a transaction of its own."""

    async def commit(self, transitions: Sequence[Transition], fence: Fence) -> None:
        await super().commit([], fence)
        for made in transitions:
            await super().commit([made], fence)


class ForgetsABlob(MemoryRepository):
    """Of a batch only the first large value is kept."""

    async def commit(self, transitions: Sequence[Transition], fence: Fence) -> None:
        await super().commit(transitions, fence)
        names = [name for made in transitions for name in made.blobs]
        for name in names[1:]:
            self.tables.rows.blobs.pop(name, None)


class ForgetsValuesWhenClosed(MemoryRepository):
    """Large values were never written to the disk."""

    async def close(self) -> None:
        await super().close()
        self.tables.rows.blobs.clear()


class OrdersTimersByExecution(MemoryRepository):
    """Timers that are due together come in the order in which they were set."""

    async def timers(self, *, after: Place | None, limit: int) -> Sequence[WorkItem]:
        every = await super().timers(after=after, limit=10_000)
        by_due = sorted(every, key=lambda item: (item.due, item.key, item.execution_id))
        return by_due[:limit]


class RepeatsTheTimerBetweenPages(MemoryRepository):
    """The next page begins with what is due at the same moment as the last one of the page before."""

    async def timers(self, *, after: Place | None, limit: int) -> Sequence[WorkItem]:
        behind = None if after is None else (after[0], ExecutionId(""), "")
        return await super().timers(after=behind, limit=limit)


class AcceptsAWrongVersion(MemoryRepository):
    """An event that is there already is replaced, as is the state."""

    async def commit(self, transitions: Sequence[Transition], fence: Fence) -> None:
        try:
            await super().commit(transitions, fence)
        except InternalError as error:
            if "already" not in error.message:
                raise
            fresh = [msgspec.structs.replace(made, events=self._new(made.events)) for made in transitions]
            await super().commit(fresh, fence)

    def _new(self, events: tuple[Event, ...]) -> tuple[Event, ...]:
        held = self.tables.rows.events
        return tuple(event for event in events if event.sequence not in held.get(event.execution_id, ()))


class AnswersTwice(MemoryRepository):
    """The last answer to a command stays."""

    async def answer(self, entry_id: int, answer: InboxAnswer) -> None:
        await super().answer(entry_id, answer)
        self.tables.answers[entry_id] = ANSWER.encode(answer)


class AnswersNobody(MemoryRepository):
    """An answer to a command that nobody left is accepted."""

    async def answer(self, entry_id: int, answer: InboxAnswer) -> None:
        try:
            await super().answer(entry_id, answer)
        except NotFound:
            return


class LetsTheOvertakenAnswer(MemoryRepository):
    """Whoever was overtaken still answers commands."""

    async def answer(self, entry_id: int, answer: InboxAnswer) -> None:
        try:
            await super().answer(entry_id, answer)
        except OwnershipLost:
            self.tables.answers.setdefault(entry_id, ANSWER.encode(answer))


class TakesDuplicatesForOne(MemoryRepository):
    """A command that is there already gets its number, and is not left again."""

    async def submit(self, command: AnyCommand) -> int:
        waiting = await self.inbox(limit=10_000)
        same = [entry.id for entry in waiting if entry.command == command]
        return same[0] if same else await super().submit(command)


class ForgetsStepsThatDidNotChange(MemoryRepository):
    """Only the steps that the last commit changed are kept."""

    async def commit(self, transitions: Sequence[Transition], fence: Fence) -> None:
        await super().commit(transitions, fence)
        for made in transitions:
            steps = self.tables.rows.steps[made.execution.id]
            for step in [step for step in steps if step not in made.execution.steps or not made.changed]:
                del steps[step]
            while len(steps) > 3:
                del steps[min(steps)]


class RefusesAnEmptyBatch(MemoryRepository):
    """A commit of nothing is an error."""

    async def commit(self, transitions: Sequence[Transition], fence: Fence) -> None:
        await super().commit(transitions, fence)
        _ = transitions[0]


class KeepsItsEpoch(MemoryRepository):
    """Opening the store again does not raise the epoch."""

    async def open(self, *, clock: Clock, writer: bool = True) -> None:
        if writer and self.tables.epoch:
            self.tables.epoch -= 1
        await super().open(clock=clock, writer=writer)


class ReadsAfterClosing(MemoryRepository):
    """A closed store still answers."""

    async def load(self, execution_id: ExecutionId) -> Snapshot | None:
        if self._fence is None:
            return None
        return await super().load(execution_id)


class LetsReadersWrite(MemoryRepository):
    """A definition may be kept by who has opened the store to read."""

    async def save_definition(self, definition: StoredDefinition) -> None:
        _ = self.fence
        self.tables.definitions.setdefault(definition.hash, definition)


class ReplacesDefinitions(MemoryRepository):
    """The last definition under a hash stays."""

    async def save_definition(self, definition: StoredDefinition) -> None:
        await super().save_definition(definition)
        self.tables.definitions[definition.hash] = definition


class PublishesOver(MemoryRepository):
    """A version that is published with other content is replaced."""

    async def publish(
        self, definition: StoredDefinition, *, at: datetime, by: str | None = None
    ) -> PublishedVersion:
        try:
            return await super().publish(definition, at=at, by=by)
        except VersionExists:
            self.tables.versions.pop((definition.name, version_key(definition.version)))
            return await super().publish(definition, at=at, by=by)


class ComparesVersionsAsText(MemoryRepository):
    """1.9 is newer than 1.10."""

    async def versions(self, name: str | None = None, *, limit: int = 1000) -> Sequence[PublishedVersion]:
        every = await super().versions(name, limit=10_000)
        by_text = sorted(every, key=lambda one: one.version, reverse=True)
        return sorted(by_text, key=lambda one: one.process)[:limit]


class FindsArchivedOnes(MemoryRepository):
    """A version that is named is found though it is archived."""

    async def find_definition(self, name: str, version: str | None) -> StoredDefinition | None:
        for one in await self.versions(name):
            if version == one.version:
                return await self.load_definition(one.hash)
        return await super().find_definition(name, version)


class FindsDraftsOfWhatIsPublished(MemoryRepository):
    """Where no published version is in use, a draft will do."""

    async def find_definition(self, name: str, version: str | None) -> StoredDefinition | None:
        drafts = [one for one in self.tables.definitions.values() if one.name == name]
        return await super().find_definition(name, version) or (
            drafts[-1] if drafts and version is None else None
        )


class ForgetsWhoPublished(MemoryRepository):
    """Who published a version is not kept."""

    async def publish(
        self, definition: StoredDefinition, *, at: datetime, by: str | None = None
    ) -> PublishedVersion:
        return await super().publish(definition, at=at)


class ArchivesForGood(MemoryRepository):
    """An archived version is never taken back."""

    async def archive(self, name: str, version: str, *, at: datetime | None) -> PublishedVersion:
        return await super().archive(name, version, at=at or NOON)


class RepeatsTheLastEvent(MemoryRepository):
    """The feed goes on with the event at the cursor, not behind it."""

    async def feed(self, *, after: int = 0, limit: int = 1000) -> Sequence[FeedEntry]:
        return await super().feed(after=after - 1, limit=limit)


class CutsEventsShort(MemoryRepository):
    """A page of events is one shorter than asked for."""

    async def events(
        self, execution_id: ExecutionId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[Event]:
        return (await super().events(execution_id, after=after, limit=limit))[: max(limit - 1, 0)]


class ListsOldestFirst(MemoryRepository):
    """A list begins with the oldest execution."""

    async def list(
        self,
        *,
        status: ExecutionStatus | None = None,
        process: str | None = None,
        limit: int = 100,
        before: ExecutionId | None = None,
    ) -> Sequence[ExecutionSummary]:
        lines = await super().list(status=status, process=process, limit=limit, before=before)
        return lines[::-1]


class LosesOpenExecutions(MemoryRepository):
    """A paused execution is not open."""

    async def open_executions(self) -> Sequence[tuple[ExecutionId, DefinitionHash]]:
        summaries = self.tables.rows.summaries
        paused = {id for id, line in summaries.items() if line.status is ExecutionStatus.PAUSED}
        return [line for line in await super().open_executions() if line[0] not in paused]


class LosesTheLastAttempt(MemoryRepository):
    """The last open attempt is not told."""

    async def attempts(self) -> AsyncIterator[WorkItem]:
        items = [item async for item in super().attempts()]
        for item in items[: max(1, len(items) - 1)]:
            yield item


class ForgetsWhatIsUndone(MemoryRepository):
    """The attempt to undo something is not told: after a crash nobody would go on with it."""

    async def attempts(self) -> AsyncIterator[WorkItem]:
        async for item in super().attempts():
            if not item.key.startswith(":"):
                yield item


class AsksNothingWhilePaused(MemoryRepository):
    """What people are asked in an execution that is paused is not told."""

    async def approvals(self, *, limit: int = 1000) -> Sequence[OpenApproval]:
        lines = self.tables.rows.summaries
        found = await super().approvals(limit=10_000)
        return [asked for asked in found if lines[asked.execution_id].status is not ExecutionStatus.PAUSED][
            :limit
        ]


class AsksOncePerExecution(MemoryRepository):
    """Of the questions of one execution only the first is told."""

    async def approvals(self, *, limit: int = 1000) -> Sequence[OpenApproval]:
        found = {asked.execution_id: asked for asked in reversed(await super().approvals(limit=10_000))}
        return list(reversed(found.values()))[:limit]


class CutsApprovalsBeforeItSortsThem(MemoryRepository):
    """A page of approvals is sorted by id, execution by execution, after it was cut off."""

    async def approvals(self, *, limit: int = 1000) -> Sequence[OpenApproval]:
        return sorted(await super().approvals(limit=limit), key=lambda asked: asked.step_id)


class TakesPatternsForPrefixes(MemoryRepository):
    """`%` and `_` in a prefix stand for anything, as in SQL."""

    async def resolve(self, prefix: str) -> Sequence[ExecutionId]:
        if "%" in prefix or "_" in prefix:
            return await super().resolve(prefix.rstrip("%_"))
        return await super().resolve(prefix)


class AnswersOutOfOrder(MemoryRepository):
    """The newest command comes first."""

    async def inbox(self, *, limit: int = 100) -> Sequence[InboxEntry]:
        return (await super().inbox(limit=10_000))[::-1][:limit]


class RoundsLargeValues(MemoryRepository):
    """A large value comes back as text that means the same, byte by byte another."""

    async def load_blob(self, ref: BlobRef) -> bytes | None:
        text = await super().load_blob(ref)
        return None if text is None else text + b" "


class SaysThatItMayHaveWritten(MemoryRepository):
    """A refusal tells another code than it should."""

    async def commit(self, transitions: Sequence[Transition], fence: Fence) -> None:
        try:
            await super().commit(transitions, fence)
        except OwnershipLost as error:
            raise InternalError(error.message) from error


class ShowsOldMail(MemoryRepository):
    """An execution sees what was published before it began."""

    async def post(
        self, events: Sequence[NewEvent], blobs: Mapping[str, bytes], fence: Fence
    ) -> Sequence[Posted]:
        posted = await super().post(events, blobs, fence)
        for mail in self.tables.mailbox.values():
            mail.executions = 10**6
        return posted


class PublishesRepeatedEvents(MemoryRepository):
    """The last event under an id counts, not the first."""

    async def post(
        self, events: Sequence[NewEvent], blobs: Mapping[str, bytes], fence: Fence
    ) -> Sequence[Posted]:
        for event in events:
            self.tables.mailbox.pop(event.id, None)
        return await super().post(events, blobs, fence)


class LetsTheOvertakenPublish(MemoryRepository):
    """Whoever publishes is believed to own the store."""

    async def post(
        self, events: Sequence[NewEvent], blobs: Mapping[str, bytes], fence: Fence
    ) -> Sequence[Posted]:
        return await super().post(events, blobs, self.tables.epoch)


class SkipsAnEventBetweenPages(MemoryRepository):
    """The first event behind a place is left out."""

    async def mail(
        self, name: str, execution_id: ExecutionId, *, after: int = 0, limit: int = 100
    ) -> Sequence[PublishedEvent]:
        found = await super().mail(name, execution_id, after=after, limit=limit + 1)
        return found[1:] if after else found[:limit]


class ClearsTheNewest(MemoryRepository):
    """Of what is old, the newest goes first."""

    async def clear_mail(self, before: datetime, *, limit: int) -> int:
        self.tables.mailbox = dict(reversed(self.tables.mailbox.items()))
        old = [id for id, mail in self.tables.mailbox.items() if mail.published.event.published_at < before]
        for id in old[:limit]:
            del self.tables.mailbox[id]
        self.tables.mailbox = dict(reversed(self.tables.mailbox.items()))
        return len(old[:limit])


class LosesTheLastWait(MemoryRepository):
    """The last wait for an event is not told."""

    async def waits(self) -> AsyncIterator[OpenWait]:
        for wait in [wait async for wait in super().waits()][:-1]:
            yield wait


BROKEN: tuple[type[MemoryRepository], ...] = (
    LosesATimer,
    KeepsASettledTimer,
    IgnoresTheFence,
    AcceptsLaterFences,
    WritesHalfABatch,
    ForgetsABlob,
    ForgetsValuesWhenClosed,
    OrdersTimersByExecution,
    RepeatsTheTimerBetweenPages,
    AcceptsAWrongVersion,
    AnswersTwice,
    AnswersNobody,
    LetsTheOvertakenAnswer,
    TakesDuplicatesForOne,
    ForgetsStepsThatDidNotChange,
    RefusesAnEmptyBatch,
    KeepsItsEpoch,
    ReadsAfterClosing,
    LetsReadersWrite,
    ReplacesDefinitions,
    PublishesOver,
    ComparesVersionsAsText,
    FindsArchivedOnes,
    FindsDraftsOfWhatIsPublished,
    ForgetsWhoPublished,
    ArchivesForGood,
    RepeatsTheLastEvent,
    CutsEventsShort,
    ListsOldestFirst,
    LosesOpenExecutions,
    LosesTheLastAttempt,
    ForgetsWhatIsUndone,
    AsksNothingWhilePaused,
    AsksOncePerExecution,
    CutsApprovalsBeforeItSortsThem,
    TakesPatternsForPrefixes,
    AnswersOutOfOrder,
    RoundsLargeValues,
    SaysThatItMayHaveWritten,
    ShowsOldMail,
    PublishesRepeatedEvents,
    LetsTheOvertakenPublish,
    SkipsAnEventBetweenPages,
    ClearsTheNewest,
    LosesTheLastWait,
)
