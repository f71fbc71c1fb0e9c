"""The store and the agents as one simulated process sees them: every answer comes when somebody lets it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeVar, cast

from process_engine.core.commands import InboxCommand
from process_engine.core.events import Event
from process_engine.core.mailbox import NewEvent, PublishedEvent
from process_engine.core.state import ExecutionStatus, Snapshot
from process_engine.core.transition import Transition
from process_engine.core.values import BlobRef
from process_engine.core.work import WorkItem, work_key
from process_engine.errors import ProcessEngineError, StorageUnavailable
from process_engine.ids import DefinitionHash, ExecutionId
from process_engine.runtime.ports import (
    AgentReply,
    AgentRequest,
    Clock,
    ExecutionRepository,
    ExecutionSummary,
    FeedEntry,
    InboxAnswer,
    InboxEntry,
    OpenApproval,
    OpenWait,
    Posted,
    PublishedVersion,
    StoredDefinition,
)
from process_engine.testing.disks import all_of, run_now

T = TypeVar("T")
AttemptKey = tuple[ExecutionId, str, int, int]
"""Execution, key of the work (a step, one of its items, or the undoing of a visit), visit and attempt."""

COMMIT = "commit"
# Versions are published by hand, not in a storm: their promises are those of the contract.
WRITES = frozenset({COMMIT, "save_definition", "post", "clear_mail", "answer", "open"})


class ProcessGone(BaseException):
    """The process that asks was killed; whatever its remains do has no effect."""


class Operation:
    """Something asked of the store: first it comes about (`perform`), then who asked hears of it (`tell`)."""

    def __init__(
        self,
        name: str,
        call: Callable[[], Coroutine[object, object, object]],
        waiter: asyncio.Future[object],
        transitions: Sequence[Transition] = (),
    ) -> None:
        self.name = name
        self.transitions = transitions
        self.performed = False
        self.written = False
        self._call = call
        self._waiter = waiter
        self._value: object = None
        self._error: ProcessEngineError | None = None

    @property
    def error(self) -> ProcessEngineError | None:
        """What the process will hear of, or heard of, instead of a value."""
        return self._error

    def perform(self) -> None:
        """Let it come about; what the store refuses is an answer as well."""
        self.performed = True
        try:
            self._value = run_now(self._call())
            self.written = True
        except ProcessEngineError as error:
            self._error = error

    def fail(self, error: ProcessEngineError) -> None:
        """Let the process hear of this instead."""
        self.performed = True
        self._error = error

    def tell(self) -> None:
        """Answer whoever still waits."""
        if self._waiter.done():
            return
        if self._error is not None:
            self._waiter.set_exception(self._error)
        else:
            self._waiter.set_result(self._value)


class SimulatedStore:
    """A repository whose every operation waits in `operations` until the simulation lets it come about."""

    def __init__(self, repository: ExecutionRepository) -> None:
        self.operations: list[Operation] = []
        self.gone = False
        self._closed = False
        self._repository = repository

    async def _ask(
        self,
        name: str,
        call: Callable[[], Coroutine[object, object, T]],
        transitions: Sequence[Transition] = (),
    ) -> T:
        if self.gone:
            raise ProcessGone
        if self._closed:
            raise StorageUnavailable("the store is closed.", nothing_written=True)
        waiter: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.operations.append(Operation(name, call, waiter, transitions))
        return cast("T", await waiter)

    # life cycle

    async def open(self, *, clock: Clock, writer: bool = True) -> None:
        """As the repository."""
        await self._ask("open", lambda: self._repository.open(clock=clock, writer=writer))

    async def close(self) -> None:
        """Close at once; what was asked for and has not come about will not."""
        if self.gone:
            raise ProcessGone
        for operation in self.operations:
            if not operation.performed:
                operation.fail(StorageUnavailable("the store is closed.", nothing_written=True))
            operation.tell()
        self.operations.clear()
        self._closed = True
        run_now(self._repository.close())

    def kill(self) -> None:
        """The process is gone; its files are closed by the system, and nothing waits any more."""
        self.gone = True
        self.operations.clear()
        run_now(self._repository.close())

    @property
    def fence(self) -> int:
        """As the repository."""
        return self._repository.fence

    # writing

    async def commit(self, transitions: Sequence[Transition], fence: int) -> None:
        """As the repository."""
        made = tuple(transitions)
        await self._ask(COMMIT, lambda: self._repository.commit(made, fence), made)

    async def save_definition(self, definition: StoredDefinition) -> None:
        """As the repository."""
        await self._ask("save_definition", lambda: self._repository.save_definition(definition))

    async def publish(
        self, definition: StoredDefinition, *, at: datetime, by: str | None = None
    ) -> PublishedVersion:
        """As the repository."""
        return await self._ask("publish", lambda: self._repository.publish(definition, at=at, by=by))

    async def archive(self, name: str, version: str, *, at: datetime | None) -> PublishedVersion:
        """As the repository."""
        return await self._ask("archive", lambda: self._repository.archive(name, version, at=at))

    # reading, one thing

    async def load(self, execution_id: ExecutionId) -> Snapshot | None:
        """As the repository."""
        return await self._ask("load", lambda: self._repository.load(execution_id))

    async def load_many(self, execution_ids: Collection[ExecutionId]) -> Sequence[Snapshot]:
        """As the repository, in a fixed order: a set has none that is the same in every process."""
        wanted = sorted(execution_ids)
        found = await self._ask("load_many", lambda: self._repository.load_many(wanted))
        return sorted(found, key=lambda snapshot: snapshot.created.execution_id)

    async def load_definition(self, hash: DefinitionHash) -> StoredDefinition | None:
        """As the repository."""
        return await self._ask("load_definition", lambda: self._repository.load_definition(hash))

    async def find_definition(self, name: str, version: str | None) -> StoredDefinition | None:
        """As the repository."""
        return await self._ask("find_definition", lambda: self._repository.find_definition(name, version))

    async def load_blob(self, ref: BlobRef) -> bytes | None:
        """As the repository."""
        return await self._ask("load_blob", lambda: self._repository.load_blob(ref))

    # reading, many things

    async def list(
        self,
        *,
        status: ExecutionStatus | None = None,
        process: str | None = None,
        limit: int = 100,
        before: ExecutionId | None = None,
    ) -> Sequence[ExecutionSummary]:
        """As the repository."""
        return await self._ask(
            "list",
            lambda: self._repository.list(status=status, process=process, limit=limit, before=before),
        )

    async def versions(self, name: str | None = None, *, limit: int = 1000) -> Sequence[PublishedVersion]:
        """As the repository."""
        return await self._ask("versions", lambda: self._repository.versions(name, limit=limit))

    async def resolve(self, prefix: str) -> Sequence[ExecutionId]:
        """As the repository."""
        return await self._ask("resolve", lambda: self._repository.resolve(prefix))

    async def events(
        self, execution_id: ExecutionId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[Event]:
        """As the repository."""
        return await self._ask(
            "events", lambda: self._repository.events(execution_id, after=after, limit=limit)
        )

    async def feed(self, *, after: int = 0, limit: int = 1000) -> Sequence[FeedEntry]:
        """As the repository."""
        return await self._ask("feed", lambda: self._repository.feed(after=after, limit=limit))

    # open work

    async def open_executions(self) -> Sequence[tuple[ExecutionId, DefinitionHash]]:
        """As the repository."""
        return await self._ask("open_executions", self._repository.open_executions)

    async def attempts(self) -> AsyncIterator[WorkItem]:
        """As the repository, all read at once."""
        for item in await self._ask("attempts", lambda: all_of(self._repository.attempts())):
            yield item

    async def timers(
        self, *, after: tuple[datetime, ExecutionId, str] | None, limit: int
    ) -> Sequence[WorkItem]:
        """As the repository."""
        return await self._ask("timers", lambda: self._repository.timers(after=after, limit=limit))

    # mailbox

    async def post(
        self, events: Sequence[NewEvent], blobs: Mapping[str, bytes], fence: int
    ) -> Sequence[Posted]:
        """As the repository."""
        made, large = tuple(events), dict(blobs)
        return await self._ask("post", lambda: self._repository.post(made, large, fence))

    async def mail(
        self, name: str, execution_id: ExecutionId, *, after: int = 0, limit: int = 100
    ) -> Sequence[PublishedEvent]:
        """As the repository."""
        return await self._ask(
            "mail", lambda: self._repository.mail(name, execution_id, after=after, limit=limit)
        )

    async def waits(self) -> AsyncIterator[OpenWait]:
        """As the repository, all read at once."""
        for wait in await self._ask("waits", lambda: all_of(self._repository.waits())):
            yield wait

    async def clear_mail(self, before: datetime, *, limit: int) -> int:
        """As the repository."""
        return await self._ask("clear_mail", lambda: self._repository.clear_mail(before, limit=limit))

    # inbox

    async def approvals(self, *, limit: int = 1000) -> Sequence[OpenApproval]:
        """As the repository."""
        return await self._ask("approvals", lambda: self._repository.approvals(limit=limit))

    async def submit(self, command: InboxCommand) -> int:
        """As the repository."""
        return await self._ask("submit", lambda: self._repository.submit(command))

    async def inbox(self, *, limit: int = 100) -> Sequence[InboxEntry]:
        """As the repository. An empty inbox is seen at once: it is looked into all the time."""
        if self.gone:
            raise ProcessGone
        if not run_now(self._repository.inbox(limit=1)):
            return ()
        return await self._ask("inbox", lambda: self._repository.inbox(limit=limit))

    async def answer(self, entry_id: int, answer: InboxAnswer) -> None:
        """As the repository."""
        await self._ask("answer", lambda: self._repository.answer(entry_id, answer))

    async def read_answer(self, entry_id: int) -> InboxAnswer | None:
        """As the repository."""
        return await self._ask("read_answer", lambda: self._repository.read_answer(entry_id))


class Call:
    """An attempt that an agent works on, asked for by one process."""

    def __init__(self, request: AgentRequest, waiter: asyncio.Future[AgentReply]) -> None:
        self.request = request
        self._waiter = waiter

    @property
    def key(self) -> AttemptKey:
        """Which attempt it is."""
        return key_of(self.request)

    def answer(self, answer: AgentReply | Exception) -> None:
        """Let the process hear it, if it still listens."""
        if self._waiter.done():
            return
        if isinstance(answer, AgentReply):
            self._waiter.set_result(answer)
        else:
            self._waiter.set_exception(answer)


def key_of(request: AgentRequest) -> AttemptKey:
    """Execution, key of the work, visit and attempt of a call."""
    context = request.context
    key = work_key(context.step_id, context.item, undo=context.undo)
    return (context.execution_id, key, context.visit, context.attempt)


class Listener(Protocol):
    """Who looks at calls as the agents get them."""

    def called(self, request: AgentRequest) -> None:
        """An agent is asked; the last moment to find out that it should not be."""
        ...


class SimulatedAgents:
    """All agents of one process: calls wait in `open` until the simulation lets them be answered.

    `given_up` are those that the engine does not listen to any more; an agent may answer them all the same.
    """

    def __init__(self, listener: Listener) -> None:
        self.open: list[Call] = []
        self.given_up: list[Call] = []
        self._listener = listener
        self._gone = False

    async def call(self, request: AgentRequest) -> AgentReply:
        """As the port."""
        if self._gone:
            raise ProcessGone
        self._listener.called(request)
        waiter: asyncio.Future[AgentReply] = asyncio.get_running_loop().create_future()
        call = Call(request, waiter)
        self.open.append(call)
        try:
            return await waiter
        finally:
            if call in self.open:
                self.open.remove(call)
                self.given_up.append(call)

    def answer(self, call: Call, answer: AgentReply | Exception) -> None:
        """Answer an open call."""
        self.open.remove(call)
        call.answer(answer)

    def kill(self) -> None:
        """The process is gone: nobody listens any more."""
        self._gone = True
        self.given_up.extend(self.open)
        self.open.clear()

    def knows(self, agent: str) -> bool:
        """Every agent that has a name."""
        return bool(agent)

    def names(self) -> Collection[str]:
        """Any name will do."""
        return ()

    async def aclose(self) -> None:
        """Nothing to give up."""
