"""Published events on their way to those who wait for them.

The mailbox itself is in the store, and so is every wait: what is kept here, by name, is who waits in this
process. Each wait that begins looks into the mailbox; each event that is published is offered to the waits of
its name. One that looks when an event comes looks once more: none is missed, and all come in their order.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from process_engine.core.commands import AnyCommand, DeliverEvents, PublishEvent, WakeStep
from process_engine.core.mailbox import NewEvent, PublishedEvent, name_fault
from process_engine.core.state import Execution
from process_engine.core.values import pack
from process_engine.core.work import WorkItem, WorkKind
from process_engine.errors import CommandRejected, ProcessEngineError, StorageUnavailable
from process_engine.ids import ExecutionId, StepId, new_event_id
from process_engine.runtime.ports import Clock, ExecutionRepository, Fence, OpenWait, Posted

log = logging.getLogger(__name__)

# Events are kept for a week: longer than a weekend in which nothing runs that would take them.
KEPT = timedelta(days=7)
# Old events removed in one transaction: some 10 ms of work.
CLEARED_AT_ONCE = 1000
# Events read for a wait, or written, in one go: at 64 KiB each they stay below 10 MiB.
MOST_EVENTS = 100
# Waits that look at the same time; what they take is committed together.
MOST_LOOKS = 100
# Tries of one publication while the store does not answer, with growing pauses: about 6 s together.
PUBLISH_TRIES = 8
FIRST_PAUSE_SECONDS = 0.05
# How long a wait that could not look pauses before it tries again.
LOOK_AGAIN_SECONDS = 1.0

Submit = Callable[[AnyCommand], Awaitable[object]]
Key = tuple[ExecutionId, StepId]


class _Wait:
    """One wait: it has seen everything up to `position`, and is idle or `looking`.

    `again` says that there is more to be read than it knew when it began to look; `expiring` that its time is
    over once it has looked.
    """

    __slots__ = ("again", "expiring", "handed", "looking", "open", "position")

    def __init__(self, open: OpenWait) -> None:
        self.open = open
        self.position = 0
        self.looking = False
        self.again = False
        self.expiring = False
        self.handed: PublishedEvent | None = None

    @property
    def key(self) -> Key:
        return self.open.execution_id, self.open.step_id


class _Letter:
    """An event on its way to the store, and who waits for it to be there."""

    __slots__ = ("blobs", "event", "future")

    def __init__(self, event: NewEvent, blobs: Mapping[str, bytes], future: asyncio.Future[Posted]) -> None:
        self.event = event
        self.blobs = blobs
        self.future = future


class Mailbox:
    """Publishes events, and brings them to the waits of this process.

    `submit` carries out a command and returns once it is durable. `on_quiet` is told each execution one of
    whose waits has looked, and knows of nothing more for it.
    """

    def __init__(
        self,
        *,
        repository: ExecutionRepository,
        fence: Fence,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        submit: Submit,
        on_quiet: Callable[[ExecutionId], Awaitable[None]],
    ) -> None:
        self._repository = repository
        self._fence = fence
        self._clock = clock
        self._tasks = tasks
        self._submit = submit
        self._on_quiet = on_quiet
        self._waits: dict[ExecutionId, dict[StepId, _Wait]] = {}
        self._by_name: dict[str, dict[Key, _Wait]] = {}
        self._to_look: deque[_Wait] = deque()
        self._outbox: deque[_Letter] = deque()
        self._posting = False
        self._running: set[asyncio.Task[None]] = set()
        self._lookers = 0
        self._stopped = False
        self._closed: ProcessEngineError | None = None

    # ------------------------------------------------------------ waits

    def expect(self, open: OpenWait) -> None:
        """A wait has begun, or goes on in this process: it looks for what is there already."""
        self.forget(open.execution_id, open.step_id)
        if self._stopped:
            return
        wait = _Wait(open)
        self._waits.setdefault(open.execution_id, {})[open.step_id] = wait
        self._by_name.setdefault(open.event, {})[wait.key] = wait
        self._look_soon(wait)

    def forget(self, execution_id: ExecutionId, step_id: StepId) -> None:
        """A wait has ended, if there was one."""
        own = self._waits.get(execution_id, {})
        wait = own.pop(step_id, None)
        if wait is None:
            return
        if not own:
            del self._waits[execution_id]
        named = self._by_name[wait.open.event]
        del named[wait.key]
        if not named:
            del self._by_name[wait.open.event]

    def expire(self, item: WorkItem) -> bool:
        """The time of a wait is over: it looks a last time, then its step is woken. False: no such wait."""
        wait = self._waits.get(item.execution_id, {}).get(StepId(item.key))
        if wait is None or item.kind is not WorkKind.EVENT:
            return False
        wait.expiring = True
        wait.again = True
        self._look_soon(wait)
        return True

    def is_busy(self, execution_id: ExecutionId) -> bool:
        """Whether something that is there already may still reach the execution."""
        return any(wait.looking for wait in self._waits.get(execution_id, {}).values())

    # ------------------------------------------------------------ publishing

    async def publish(self, event: NewEvent, blobs: Mapping[str, bytes]) -> Posted:
        """Put an event into the mailbox, durable on return, and on its way to who waits for it.

        Raises:
            StorageError: the store refuses it, or did not answer for a while.
        """
        if self._closed is not None:
            raise self._closed
        future: asyncio.Future[Posted] = asyncio.get_running_loop().create_future()
        self._outbox.append(_Letter(event, blobs, future))
        if not self._posting:
            self._posting = True
            self._begin(self._post)
        with self._clock.idle():
            return await future

    async def _post(self) -> None:
        """Write what is in the outbox; what comes meanwhile goes together."""
        batch: list[_Letter] = []
        try:
            with self._clock.outstanding():
                while self._outbox:
                    count = min(len(self._outbox), MOST_EVENTS)
                    batch = [self._outbox.popleft() for _ in range(count)]
                    await self._write(batch)
        except asyncio.CancelledError:
            _refuse(batch, self._closed or _closed())
            raise
        finally:
            self._posting = False

    async def _write(self, batch: Sequence[_Letter]) -> None:
        events = [letter.event for letter in batch]
        blobs = {sha256: content for letter in batch for sha256, content in letter.blobs.items()}
        pause = FIRST_PAUSE_SECONDS
        doubtful = False
        for attempt in range(1, PUBLISH_TRIES + 1):
            try:
                posted = await self._repository.post(events, blobs, self._fence)
            except StorageUnavailable as error:
                log.warning("nothing published try=%d error=%s", attempt, error)
                doubtful = doubtful or error.nothing_written is not True
                if attempt == PUBLISH_TRIES:
                    _refuse(batch, error)
                    return
                await self._clock.sleep_until(self._clock.now() + timedelta(seconds=pause))
                pause *= 2
            except ProcessEngineError as error:
                _refuse(batch, error)
                return
            else:
                self._told(batch, posted, doubtful=doubtful)
                return

    def _told(self, batch: Sequence[_Letter], posted: Sequence[Posted], *, doubtful: bool) -> None:
        for letter, answer in zip(batch, posted, strict=True):
            if not answer.repeated:
                self._offer(answer.published)
            elif doubtful:
                # It may be there since a moment ago, and nobody has been told.
                for wait in list(self._by_name.get(letter.event.name, {}).values()):
                    wait.again = True
                    self._look_soon(wait)
            if not letter.future.done():
                # Whether it was there before the first try is not known after a doubtful one.
                letter.future.set_result(answer)

    def _offer(self, published: PublishedEvent) -> None:
        event = published.event
        if event.execution_id is None:
            waits = list(self._by_name.get(event.name, {}).values())
        else:
            own = self._waits.get(event.execution_id, {}).values()
            waits = [wait for wait in own if wait.open.event == event.name]
        for wait in waits:
            if wait.looking:
                wait.again = True
            else:
                wait.handed = published
                self._look_soon(wait)

    # ------------------------------------------------------------ looking

    def _look_soon(self, wait: _Wait) -> None:
        if wait.looking or self._closed is not None:
            return
        wait.looking = True
        self._to_look.append(wait)
        if self._lookers < MOST_LOOKS:
            self._lookers += 1
            self._begin(self._look_for_all)

    async def _look_for_all(self) -> None:
        try:
            with self._clock.outstanding():
                while self._to_look:
                    await self._look(self._to_look.popleft())
        finally:
            self._lookers -= 1

    async def _look(self, wait: _Wait) -> None:
        """Offer a wait what it has not seen, until it takes something or there is nothing more."""
        try:
            while self._is_open(wait):
                if not await self._look_once(wait) and not wait.again:
                    break
        except StorageUnavailable as error:
            log.warning("no look execution=%s step=%s error=%s", *wait.key, error)
            await self._clock.sleep_until(self._clock.now() + timedelta(seconds=LOOK_AGAIN_SECONDS))
            wait.again = True
            self._to_look.append(wait)
            return
        except ProcessEngineError as error:
            # The engine has come to its end, or the execution cannot be read: the event stays where it is.
            log.warning("no look execution=%s step=%s error=%s", *wait.key, error)
        wait.looking = False
        if wait.expiring and self._is_open(wait):
            wait.expiring = False
            await self._wake(wait.open)
        await self._tell_quiet(wait.open.execution_id)

    async def _tell_quiet(self, execution_id: ExecutionId) -> None:
        while self._closed is None:
            try:
                await self._on_quiet(execution_id)
            except StorageUnavailable:
                await self._clock.sleep_until(self._clock.now() + timedelta(seconds=LOOK_AGAIN_SECONDS))
            except ProcessEngineError as error:
                log.warning("not told execution=%s error=%s", execution_id, error)
                return
            else:
                return

    def _is_open(self, wait: _Wait) -> bool:
        return self._closed is None and self._waits.get(wait.key[0], {}).get(wait.key[1]) is wait

    async def _look_once(self, wait: _Wait) -> bool:
        """Offer the next events; whether there may be more."""
        found: Sequence[PublishedEvent]
        if wait.handed is not None and not wait.again:
            found, wait.handed = [wait.handed], None
        else:
            wait.handed, wait.again = None, False
            open = wait.open
            found = await self._repository.mail(
                open.event, open.execution_id, after=wait.position, limit=MOST_EVENTS
            )
        if not found or not self._is_open(wait):
            return False
        await self._submit(_delivery(wait.open, found))
        wait.position = found[-1].position
        return len(found) == MOST_EVENTS

    async def _wake(self, open: OpenWait) -> None:
        command = WakeStep(
            execution_id=open.execution_id, step_id=open.step_id, visit=open.visit, attempt=open.attempt
        )
        try:
            await self._submit(command)
        except ProcessEngineError as error:
            log.warning("not woken execution=%s step=%s error=%s", open.execution_id, open.step_id, error)

    # ------------------------------------------------------------ life

    async def clear(self) -> int:
        """Remove what is older than `KEPT`, piece by piece; how many events."""
        before, removed = self._clock.now() - KEPT, 0
        while count := await self._repository.clear_mail(before, limit=CLEARED_AT_ONCE):
            removed += count
            if count < CLEARED_AT_ONCE:
                break
        return removed

    def stop(self) -> None:
        """Bring nothing to anybody any more; what is published is kept for the next process."""
        self._stopped = True
        self._waits.clear()
        self._by_name.clear()

    def close(self) -> None:
        """End whatever is under way."""
        self._closed = _closed()
        _refuse(list(self._outbox), self._closed)
        for task in self._running:
            task.cancel()

    def _begin(self, work: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            await work()

        task = self._tasks.create_task(run())
        self._running.add(task)
        task.add_done_callback(self._running.discard)


# Of an event that nobody has stored yet: when it is published is said by whoever stores it.
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def publication(
    name: str,
    payload: object,
    *,
    execution_id: ExecutionId | None = None,
    id: str | None = None,
    by: str | None = None,
) -> PublishEvent:
    """The command that publishes an event, with a fresh id if none is given.

    Raises:
        CommandRejected: the payload has no JSON form.
        OutputTooLarge: it is over the limit of values.
    """
    try:
        value, blobs = pack(payload)
    except TypeError as error:
        raise CommandRejected(f"the payload of event {name!r} is no JSON: {error}.") from error
    event = NewEvent(
        id=new_event_id() if id is None else id,
        name=name,
        payload=value,
        published_at=_NEVER,
        execution_id=execution_id,
        by=by,
    )
    return PublishEvent(event=event, blobs=blobs)


def require_publishable(event: NewEvent) -> None:
    """Refuse an event whose name or id is none.

    Raises:
        CommandRejected: it says which, and why.
    """
    for what, text in (("name", event.name), ("id", event.id)):
        if (fault := name_fault(text)) is not None:
            raise CommandRejected(
                f"an event cannot be published: its {what} {str(text)[:100]!r} {fault}.",
                remedy="Nothing was published: give it another one.",
            )


def wait_of(item: WorkItem, execution: Execution) -> OpenWait:
    """What the step of a piece of work waits for."""
    step_id = StepId(item.key)
    event = execution.steps[step_id].event
    assert event is not None
    return OpenWait(item.execution_id, step_id, item.visit, item.attempt, event, item.due)


def _delivery(open: OpenWait, found: Sequence[PublishedEvent]) -> DeliverEvents:
    return DeliverEvents(
        execution_id=open.execution_id,
        step_id=open.step_id,
        visit=open.visit,
        attempt=open.attempt,
        events=tuple(found),
    )


def _refuse(letters: Sequence[_Letter], error: ProcessEngineError) -> None:
    for letter in letters:
        if not letter.future.done():
            letter.future.set_exception(error)


def _closed() -> ProcessEngineError:
    return ProcessEngineError("the engine was closed.", code="ENGINE_CLOSED")
