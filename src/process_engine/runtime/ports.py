"""Every interface that an outsider implements: step handlers, agents, stores, clocks."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol, runtime_checkable

import msgspec

from process_engine.core.approvals import Request
from process_engine.core.commands import InboxCommand
from process_engine.core.events import Event
from process_engine.core.mailbox import NewEvent, PublishedEvent
from process_engine.core.results import NO_USAGE, Completed, Failed, StepResult, Usage
from process_engine.core.state import ExecutionStatus, Snapshot
from process_engine.core.transition import Transition
from process_engine.core.values import BlobRef
from process_engine.core.work import WorkItem
from process_engine.definition.document import Step
from process_engine.definition.expressions import Scope
from process_engine.ids import DefinitionHash, ExecutionId, StepId


class Clock(Protocol):
    """Where the runtime gets the time from, and how it waits."""

    def now(self) -> datetime:
        """The time in UTC, aware."""
        ...

    async def sleep_until(self, due: datetime) -> None:
        """Return once `now() >= due`. A virtual clock may jump there when nothing is outstanding."""
        ...

    def outstanding(self) -> AbstractContextManager[None]:
        """While entered, something real is under way (a commit, a thread, a socket): time must not jump.

        A task that sleeps on this clock counts as nothing under way while it sleeps.
        """
        ...

    def idle(self) -> AbstractContextManager[None]:
        """While entered, a caller waits for the engine to get on: a virtual clock may jump meanwhile."""
        ...


# ---------------------------------------------------------------- agents


class AgentContext(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which attempt a call belongs to; `item` where the step runs once for each item of a list. With `undo`
    it takes back what that visit did."""

    execution_id: ExecutionId
    process: str
    version: str
    step_id: StepId
    visit: int
    attempt: int
    correlation_id: str
    item: int | None = None
    undo: bool = False


class AgentRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One call of an agent.

    `message` is text, or any JSON value where the process gives one. `idempotency_key` is the same for
    every attempt of a visit: an agent that keeps it never does the same work twice.
    """

    agent: str
    message: object
    context: AgentContext
    idempotency_key: str
    model: str | None = None
    temperature: float | None = None
    system: str | None = None

    @property
    def traceparent(self) -> str:
        """The W3C trace context of the attempt: one trace per execution tree, one span per attempt.

        Derived from the ids alone, so that a repeated attempt and a replay carry the same.
        """
        trace = hashlib.sha256(self.context.correlation_id.encode()).hexdigest()[:32]
        attempt = f"{self.idempotency_key}#{self.context.attempt}"
        span = hashlib.sha256(attempt.encode()).hexdigest()[:16]
        return f"00-{trace}-{span}-01"


class AgentReply(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent answered: `output` is any JSON value; `usage` what it consumed."""

    output: object
    usage: Usage = NO_USAGE


class AgentCallFailed(Exception):
    """A call that did not succeed, as a fact to record.

    `code` is one of `core.failures.CODES`; `transient` says that another attempt may succeed;
    `retry_after` is the least wait in seconds that the agent asked for; `usage` what the call cost all the
    same.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        transient: bool = False,
        retry_after: float | None = None,
        usage: Usage = NO_USAGE,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.transient = transient
        self.retry_after = retry_after
        self.usage = usage


class AgentGateway(Protocol):
    """The way to all agents of a configuration."""

    async def call(self, request: AgentRequest) -> AgentReply:
        """Call the agent once and return its answer.

        Cancelling the task ends the call. Retries are the engine's: never retry here.

        Raises:
            AgentCallFailed: the call did not succeed; anything else is recorded as HANDLER_ERROR.
        """
        ...

    def knows(self, agent: str) -> bool:
        """Whether a call to `agent` can be tried at all; asked before an execution starts."""
        ...

    def names(self) -> Collection[str]:
        """The agents that can be named in an error message; may be empty where any name is accepted."""
        ...

    async def aclose(self) -> None:
        """Give up connections. Called once, when nothing is under way."""
        ...


# ---------------------------------------------------------------- channels


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be told over one channel.

    `message` is text, or any JSON value where the process gives one. `key` is the same for every attempt of
    a visit: who gets a notice twice knows it by that. `reached` are the recipients who have it already, from
    an attempt before this one. `at` is the time of the attempt, in UTC.
    """

    channel: str
    message: object
    subject: str
    recipients: tuple[str, ...]
    url: str | None
    urgency: str
    context: AgentContext
    key: str
    at: datetime
    reached: tuple[str, ...] = ()


class Delivery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A notice that was taken, as the other side confirmed it.

    `recipients` are those it was taken for, `message_id` names it at the other side, `http_status` is what
    that answered; each is left out where the channel has no such thing.
    """

    recipients: tuple[str, ...] = ()
    message_id: str | None = None
    http_status: int | None = None


class DeliveryFailed(Exception):
    """A notice that was not taken, or not for everybody, as a fact to record.

    `code` is one of `core.failures.CODES`; `transient` says that another attempt may succeed; `retry_after`
    is the least wait in seconds that was asked for; `reached` are the recipients who have it all the same.
    The message is for people, and holds no secret.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        transient: bool = False,
        retry_after: float | None = None,
        reached: tuple[str, ...] = (),
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.transient = transient
        self.retry_after = retry_after
        self.reached = reached


class Channels(Protocol):
    """The ways to tell somebody something."""

    async def deliver(self, notice: Notice) -> Delivery:
        """Hand a notice over, once; return when the other side has confirmed that it has it.

        Cancelling the task ends it. Retries are the engine's: never retry here.

        Raises:
            DeliveryFailed: it was not taken by everybody; anything else is recorded as HANDLER_ERROR.
        """
        ...

    def lacks(self, channel: str, *, url: bool, recipients: bool) -> str | None:
        """What a channel needs to be used by a step that gives a `url` or `recipients`, or does not; None
        where nothing is missing. Asked before an execution starts."""
        ...


# ---------------------------------------------------------------- step handlers


class StepContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a handler gets to see of its attempt.

    `request` holds the step's rendered fields by name. `item` is the place in the list of a step that runs
    once for each item. `effect_key` is the same for every attempt of the visit, or of the item.
    `timeout_seconds` is enforced by the runner; it is here for those who pass it on. `progress` is
    what failed attempts of the visit told that they did all the same (`Failed.progress`), None for nothing.
    With `undo` the attempt takes back what the visit did: `request` and `step_type` are those of its
    `compensation`.
    """

    execution_id: ExecutionId
    process_name: str
    version: str
    correlation_id: str
    step_id: StepId
    step_type: str
    visit: int
    attempt: int
    effect_key: str
    request: dict[str, object]
    timeout_seconds: float | None
    clock: Clock
    item: int | None = None
    progress: object = None
    undo: bool = False


@runtime_checkable
class StepHandler(Protocol):
    """Runs one type of step outside the core.

    It describes what happened and changes nothing by itself. An exception becomes
    `Failed("HANDLER_ERROR")`; cancellation must end the work.
    """

    async def execute(self, context: StepContext) -> Completed | Failed:
        """Carry out one attempt."""
        ...


@runtime_checkable
class InlineHandler(Protocol):
    """Marks a step type as decided inside the core; the decision itself lives in `core/inline.py`."""

    def decide(self, step: Step, scope: Scope, now: datetime) -> StepResult:
        """What becomes of the step; pure, at once, the same for the same arguments."""
        ...


# ---------------------------------------------------------------- stores


class ExecutionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a list of executions."""

    id: ExecutionId
    process: str
    version: str
    status: ExecutionStatus
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None


class StoredDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """A definition as the store keeps it: `document` is its canonical JSON."""

    hash: DefinitionHash
    name: str
    version: str
    document: bytes


class PublishedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a process that stands for one definition, for good: the one with this hash.

    An archived version is found by no new start; executions that run it go on.
    """

    process: str
    version: str
    hash: DefinitionHash
    published_at: datetime
    published_by: str | None = None
    archived_at: datetime | None = None

    @property
    def is_archived(self) -> bool:
        return self.archived_at is not None


class OpenApproval(msgspec.Struct, frozen=True, kw_only=True):
    """A question that people have not answered yet: which step of which execution asks, and what."""

    execution_id: ExecutionId
    process: str
    step_id: StepId
    visit: int
    request: Request


class OpenWait(msgspec.Struct, frozen=True):
    """A visit of a step that waits for an event of this name; `due` is when it stops to, if it does."""

    execution_id: ExecutionId
    step_id: StepId
    visit: int
    attempt: int
    event: str
    due: datetime | None = None


class Posted(msgspec.Struct, frozen=True):
    """An event as the mailbox holds it; `repeated` says that it was there already, under the same id."""

    published: PublishedEvent
    repeated: bool = False


class FeedEntry(msgspec.Struct, frozen=True):
    """An event with its place in the order of all events of a store; positions grow and may have gaps."""

    position: int
    event: Event


class InboxEntry(msgspec.Struct, frozen=True):
    """A command that another process left; `id` grows with the order of arrival."""

    id: int
    command: InboxCommand


class InboxAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a command from the inbox: the status after it, or why it was refused.

    `repeated` says that an event was published already, under the same id.
    """

    status: ExecutionStatus | None = None
    error_code: str | None = None
    error_message: str | None = None
    error_remedy: str = ""
    repeated: bool = False


Fence = int
"""The epoch under which the store was taken over; a commit with an older one is refused."""


class ExecutionRepository(Protocol):
    """One database that holds definitions, executions, events, work, values and the command inbox.

    A store is a dumb, exact thing: atomic, durable, fenced, ordered. It must not look inside events,
    requests or outputs, create events, or decide anything about an execution. Every method may raise
    `StorageUnavailable`. `process_engine.repositories.memory` is the reference.
    """

    # life cycle
    async def open(self, *, clock: Clock, writer: bool = True) -> None:
        """Make the store ready; create or migrate it if need be. A reader never writes nor blocks the writer.

        Raises:
            StorageIncompatible: of another program, damaged, or newer than this version.
            StoreLocked: `writer` is asked for and another process runs executions on it.
        """
        ...

    async def close(self) -> None:
        """Release everything; what was committed stays. May be called twice."""
        ...

    @property
    def fence(self) -> Fence:
        """The epoch of this opening; greater than that of every opening before."""
        ...

    # writing
    async def commit(self, transitions: Sequence[Transition], fence: Fence) -> None:
        """Write all transitions, in order, or none.

        Durable on return. Several transitions of one execution may be in one call; only its last state
        counts, all their events do. Each has at least one event; the first of an execution begins with
        event 1. Blobs that are there already stay.

        Raises:
            OwnershipLost: `fence` is stale. Nothing was written.
            StorageUnavailable: `.nothing_written` is True, False, or None (unknown: reload).
            InternalError: a record has no JSON form, or an event is there already. Nothing was written.
        """
        ...

    async def save_definition(self, definition: StoredDefinition) -> None:
        """Keep a definition as an unpublished draft under its hash; again is no change."""
        ...

    async def publish(
        self, definition: StoredDefinition, *, at: datetime, by: str | None = None
    ) -> PublishedVersion:
        """Let the name and version of a definition stand for it, for good; durable on return.

        The definition is kept as `save_definition` does. With the same content again nothing changes, and
        the answer is what is there. Works from a reader, beside the process that runs executions.

        Raises:
            VersionExists: the version is published with other content. Nothing was written.
            ValueError: the version is none, which no checked definition has.
        """
        ...

    async def archive(self, name: str, version: str, *, at: datetime | None) -> PublishedVersion:
        """Take a published version out of use, or, with None, back into it. Works from a reader.

        Archiving an archived one changes nothing.

        Raises:
            NotFound: it was never published.
        """
        ...

    # reading, one thing
    async def load(self, execution_id: ExecutionId) -> Snapshot | None:
        """The committed state of an execution, None if there is none."""
        ...

    async def load_many(self, execution_ids: Collection[ExecutionId]) -> Sequence[Snapshot]:
        """The committed states of those executions that there are, in any order, as `load` gives each."""
        ...

    async def load_definition(self, hash: DefinitionHash) -> StoredDefinition | None:
        """The definition with this content hash."""
        ...

    async def find_definition(self, name: str, version: str | None) -> StoredDefinition | None:
        """The definition that a name stands for: the newest version that is published and not archived.

        With a `version` only that one. Where nothing of the name was ever published, the draft that was kept
        last, of that version if one is named. Versions compare as numbers: 1.10 comes after 1.9.
        """
        ...

    async def load_blob(self, ref: BlobRef) -> bytes | None:
        """The JSON text of a large value."""
        ...

    # reading, many things
    async def list(
        self,
        *,
        status: ExecutionStatus | None = None,
        process: str | None = None,
        limit: int = 100,
        before: ExecutionId | None = None,
    ) -> Sequence[ExecutionSummary]:
        """Executions, newest first; `before` continues after the last one of a page (none after an unknown
        one)."""
        ...

    async def versions(self, name: str | None = None, *, limit: int = 1000) -> Sequence[PublishedVersion]:
        """The published versions of one process, or of all by name; the newest first, archived ones too."""
        ...

    async def resolve(self, prefix: str) -> Sequence[ExecutionId]:
        """Ids that begin with `prefix`, in their order, at most 10: people type the first characters."""
        ...

    async def events(
        self, execution_id: ExecutionId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[Event]:
        """Events of one execution with `sequence > after`, in order."""
        ...

    async def feed(self, *, after: int = 0, limit: int = 1000) -> Sequence[FeedEntry]:
        """Events of all executions with `position > after`, in order of commit."""
        ...

    # open work
    async def open_executions(self) -> Sequence[tuple[ExecutionId, DefinitionHash]]:
        """Every execution that has not ended, oldest first, with the definition it runs."""
        ...

    def attempts(self) -> AsyncIterator[WorkItem]:
        """Every attempt that was to run when the store was last written: that of each running step of an
        execution which has not ended, the oldest execution first, its steps in the order of their ids; and
        before those of its steps the attempt to undo one, where that is under way. A step that runs once for
        each item has one for each item that runs, in the order of the list."""
        ...

    async def timers(
        self, *, after: tuple[datetime, ExecutionId, str] | None, limit: int
    ) -> Sequence[WorkItem]:
        """Work that is due at a time, ordered by (due, execution id, key), strictly after the place given."""
        ...

    async def approvals(self, *, limit: int) -> Sequence[OpenApproval]:
        """What people are asked in executions that have not ended: the oldest execution first, its steps in
        the order of their ids."""
        ...

    # mailbox
    async def post(
        self, events: Sequence[NewEvent], blobs: Mapping[str, bytes], fence: Fence
    ) -> Sequence[Posted]:
        """Put events into the mailbox, in this order, or none; durable on return.

        One whose id is there already, or comes twice, is not put there again: what is told is the first.
        `blobs` are the payloads that are large; those that are there already stay.

        Raises:
            OwnershipLost: `fence` is stale. Nothing was written.
            StorageUnavailable: as `commit`.
            InternalError: a payload has no JSON form. Nothing was written.
        """
        ...

    async def mail(
        self, name: str, execution_id: ExecutionId, *, after: int = 0, limit: int = 100
    ) -> Sequence[PublishedEvent]:
        """Events of a name that an execution may take, with `position > after`, in the order of publishing.

        That is each one addressed to it, and of those addressed to nobody each that was published after the
        execution was first committed; an execution that does not exist has none of these.
        """
        ...

    def waits(self) -> AsyncIterator[OpenWait]:
        """Every wait for an event in executions that have not ended: the oldest execution first, its steps in
        the order of their ids."""
        ...

    async def clear_mail(self, before: datetime, *, limit: int) -> int:
        """Remove the oldest events that were published before a moment, at most `limit`; how many.

        Raises:
            OwnershipLost: the store was taken over since this opening.
        """
        ...

    # inbox
    async def submit(self, command: InboxCommand) -> int:
        """Leave a command for the process that runs executions; durable on return. Works from a reader."""
        ...

    async def inbox(self, *, limit: int = 100) -> Sequence[InboxEntry]:
        """Commands without an answer, oldest first."""
        ...

    async def answer(self, entry_id: int, answer: InboxAnswer) -> None:
        """Record what became of a command; the first answer stays.

        Raises:
            OwnershipLost: the store was taken over since this opening.
            NotFound: there is no such command.
        """
        ...

    async def read_answer(self, entry_id: int) -> InboxAnswer | None:
        """The answer, None while there is none."""
        ...
