"""One execution that is to go on and is then driven to its end, by us or by whoever holds its store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import cast

from process_engine.cli import documents, outcomes
from process_engine.cli.asking import Request, user
from process_engine.cli.board import Board
from process_engine.cli.displays import Display
from process_engine.cli.driving import (
    Driving,
    display_of,
    drive_one,
    engine_on,
    remark,
    tell,
    tell_one,
)
from process_engine.cli.following import Follower, has_settled
from process_engine.cli.holder import Holder, holder_of
from process_engine.cli.interruption import Interruption, Stopped
from process_engine.cli.printing import print_document
from process_engine.cli.store import load, reading, resolve
from process_engine.cli.summary import command_line
from process_engine.core.commands import AnyCommand, ResumeExecution, RetryStep
from process_engine.core.state import ExecutionStatus
from process_engine.core.values import pack
from process_engine.errors import CommandRejected, StoreLocked
from process_engine.ids import StepId
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.engine import Engine
from process_engine.runtime.feed import InMemoryEventBus
from process_engine.runtime.view import APPROVAL, ProcessExecution

_UNDER_WAY = (ExecutionStatus.RUNNING, ExecutionStatus.COMPENSATING)


def _is_under_way(execution: ProcessExecution) -> bool:
    """Whether there is nothing to resume: it only has to be driven, whatever people think over meanwhile."""
    return execution.status in _UNDER_WAY or execution.pause_reason == APPROVAL


@dataclass(frozen=True)
class Order:
    """What makes an execution go on: by an engine of our own, or as a command to another process."""

    here: Callable[[Engine], Awaitable[object]]
    there: AnyCommand


def resumption(found: ProcessExecution) -> Order:
    """Go on with a paused or held execution, or with one that nobody drives."""
    by = user()

    async def here(engine: Engine) -> None:
        if _is_under_way(await engine.get(found.id)):
            await _adopt(engine, found)
        else:
            await engine.resume(found.id, by=by)

    return Order(here, ResumeExecution(execution_id=found.id, by=by))


def retrial(found: ProcessExecution, step: str | None, changed: dict[str, object] | None) -> Order:
    """Take a failed execution back; `changed` is another input, checked before."""
    by = user()
    value, blobs = pack(changed) if changed is not None else (None, {})
    return Order(
        lambda engine: engine.retry(found.id, from_step=step, input=changed, by=by),
        RetryStep(
            execution_id=found.id,
            step_id=StepId(step) if step is not None else None,
            input=value,
            blobs=blobs,
            by=by,
        ),
    )


async def go_on_with(driving: Driving, prefix: str, order_for: Callable[[ProcessExecution], Order]) -> int:
    """Carry out an order, and stay until the execution has ended or waits; the exit code.

    Raises:
        ProcessEngineError: it was refused.
    """
    async with reading(driving.db) as reader:
        found = await load(reader, await resolve(reader, prefix))
        return await _GoingOn(driving, reader, found, order_for(found)).to_its_end()


async def _adopt(engine: Engine, found: ProcessExecution) -> None:
    # A start that is repeated changes nothing, and drives what it finds.
    given = cast("Mapping[str, object]", found.input)
    await engine.start(found.definition, given, execution_id=found.id)


class _GoingOn:
    """The order, and the execution after it. Whoever drives it may leave: then the next one is asked."""

    def __init__(
        self, driving: Driving, reader: SqliteRepository, found: ProcessExecution, order: Order
    ) -> None:
        self._driving = driving
        self._reader = reader
        self._found = found
        self._order = order
        self._request: Request | None = None
        self._carried_out = False

    async def to_its_end(self) -> int:
        while True:
            code = await self._here()
            if code is None:
                code = await self._there()
            if code is not None:
                return code

    async def _here(self) -> int | None:
        """Drive it ourselves; None where another process has the store."""
        driving, bus = self._driving, InMemoryEventBus()
        async with AsyncExitStack() as stack:
            try:
                engine = await stack.enter_async_context(engine_on(driving, bus))
            except StoreLocked:
                return None
            board = Board.of_execution(await engine.get(self._found.id))
            ended, stopped = await drive_one(driving, engine, bus, board, lambda: self._begin(engine))
        return tell_one(driving, ended, stopped)

    async def _begin(self, engine: Engine) -> None:
        if self._request is None and not self._carried_out:
            await self._order.here(engine)
            return
        if self._request is not None:
            # It lies in the inbox, which our own engine serves now: doing it here would do it twice.
            await self._obeyed(self._request)
        await _adopt(engine, await load(self._reader, self._found.id))

    async def _there(self) -> int | None:
        """Have the process that has the store go on with it, and watch; None once that has left."""
        driver = holder_of(self._driving.db)
        snapshot = await self._reader.load(self._found.id)
        found = await load(self._reader, self._found.id)
        if driver is None or snapshot is None:
            return None
        if self._carried_out and has_settled(found):
            return tell_one(self._driving, found, None)
        display = display_of(self._driving, [Board.of_execution(found)])
        follower = Follower(self._reader, self._driving.db, found.id, display, snapshot.head.sequence)
        with Interruption(on_first=lambda: None, last_words=display.close) as interruption:
            try:
                watched = await interruption.guard(self._ask_and_watch(follower, display))
            except Stopped as stopped:
                return self._tell(await follower.look(), stopped, driver)
        if watched is None:
            return None
        if self._driving.no_wait:
            return self._tell(watched, None, driver)
        return tell_one(self._driving, watched, None)

    async def _ask_and_watch(self, follower: Follower, display: Display) -> ProcessExecution | None:
        """The execution once it has ended or waits, or without waiting; None once nobody drives it."""
        if self._request is None:
            self._request = await Request.leave(self._reader, self._order.there)
        if not await self._obeyed(self._request):
            return None
        if self._driving.no_wait:
            return await follower.look()
        # Nothing moves on the screen before: it may be refused.
        with display:
            return await follower.until_settled()

    async def _obeyed(self, request: Request) -> bool:
        """Whether the command was carried out; False where nobody is there to do it."""
        try:
            answered = await request.answer(self._driving.db) is not None
        except CommandRejected:
            found = await load(self._reader, self._found.id)
            if not isinstance(self._order.there, ResumeExecution) or not _is_under_way(found):
                raise
            # Nothing to resume, but whoever was asked drives it from now on.
            answered = True
        if answered:
            self._request, self._carried_out = None, True
            self._order = resumption(self._found)
        return answered

    def _tell(self, found: ProcessExecution, stopped: Stopped | None, driver: Holder) -> int:
        """How it stands while another process drives it."""
        if self._driving.as_json:
            print_document(documents.execution_document(found))
        else:
            tell(self._driving, found)
        if not found.status.is_final or not self._carried_out:
            watch = command_line("events", found.id, "--follow", db=self._driving.db)
            does = "goes on with it" if self._carried_out else "has been asked to go on with it"
            remark(self._driving, f"{str(driver).capitalize()} {does}. Watch it with: {watch}")
        if stopped is None or found.status.is_final:
            return outcomes.of_status(found.status)
        return stopped.exit_code
