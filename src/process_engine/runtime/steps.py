"""Runs attempts: from a committed work item to a result in the inbox."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar, cast

import msgspec
from msgspec.structs import replace

from process_engine.core.commands import RecordResult
from process_engine.core.failures import CODES
from process_engine.core.plan import TIMEOUT_OF_TYPE, Plan, StepPlan
from process_engine.core.results import NO_USAGE, PROGRESS_LIMIT_BYTES, Completed, Failed
from process_engine.core.state import Execution
from process_engine.core.undo import UndoPlan
from process_engine.core.values import Value, pack
from process_engine.core.work import WorkItem, WorkKind
from process_engine.errors import OutputTooLarge, ProcessEngineError, StorageUnavailable
from process_engine.ids import ExecutionId
from process_engine.runtime.items import ItemReader
from process_engine.runtime.outputs import OutputStorage
from process_engine.runtime.ports import Clock, StepContext
from process_engine.runtime.registry import StepHandlerRegistry
from process_engine.runtime.timers import Timers

log = logging.getLogger(__name__)

# Attempts of all executions that are under way at once in one process; more wait here, in order. A bound on
# sockets and memory: 1,000 open HTTP calls take about 50 MB.
MOST_ATTEMPTS = 1000

# Pauses between tries to read what an attempt is to ask, about 6 s together, as long as a commit is tried.
READ_PAUSES_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)

# What is kept of the text of a failure.
MESSAGE_CHARACTERS = 2000

Key = tuple[ExecutionId, str]
Answer = TypeVar("Answer")

_COMPLETED = Completed()


class _Attempt:
    """One attempt under way, or waiting for its turn."""

    __slots__ = ("begun", "body", "execution", "item", "key", "plan", "step", "task", "timed_out")

    def __init__(self, key: Key, item: WorkItem, execution: Execution, plan: Plan) -> None:
        self.key = key
        self.item = item
        self.execution = execution
        self.plan = plan
        self.step = plan.steps[item.step_id]
        # What is run: the step itself, or what undoes it.
        self.body: StepPlan | UndoPlan = _undo_of(self.step) if item.undoes else self.step
        self.begun = False
        self.task: asyncio.Task[None] | None = None
        self.timed_out = False


class StepRunner:
    """Starts attempts once they are committed, ends them when they are withdrawn, and sends in what they
    answer.

    An attempt is started at most once here; whatever its handler does, raises or answers becomes a result.

    It owns the tasks of its attempts itself: a task group would wake the event loop once more for each of
    them, 4 % of what a step costs.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        timers: Timers,
        registry: StepHandlerRegistry,
        outputs: OutputStorage,
        items: ItemReader,
        post: Callable[[RecordResult], None],
    ) -> None:
        self._clock = clock
        self._timers = timers
        self._registry = registry
        self._outputs = outputs
        self._items = items
        self._post = post
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._attempts: dict[Key, _Attempt] = {}
        self._waiting: deque[_Attempt] = deque()
        self._under_way = 0
        self._accepting = True

    @property
    def under_way(self) -> int:
        """Attempts that have begun and not ended."""
        return self._under_way

    def start(self, item: WorkItem, execution: Execution, plan: Plan) -> None:
        """Run an attempt that is committed. One that runs already is left alone; an older one is ended."""
        if not self._accepting:
            return
        key = (item.execution_id, item.key)
        running = self._attempts.get(key)
        if running is not None:
            if running.item == item:
                return
            self.cancel(item.execution_id, item.key)
        attempt = _Attempt(key, item, execution, plan)
        self._attempts[key] = attempt
        if self._under_way < MOST_ATTEMPTS:
            self._launch(attempt)
        else:
            self._waiting.append(attempt)

    def cancel(self, execution_id: ExecutionId, key: str) -> None:
        """End an attempt whose result is not wanted any more; one that has ended is no fault."""
        attempt = self._attempts.pop((execution_id, key), None)
        if attempt is not None and attempt.task is not None:
            attempt.task.cancel()
            if not attempt.begun:
                # A task that is cancelled before its first turn never gets one: nothing in it will do this.
                self._leave(attempt)

    def stop_accepting(self) -> None:
        """Start nothing more; what is under way goes on."""
        self._accepting = False
        for attempt in self._waiting:
            self._forget(attempt)
        self._waiting.clear()

    def abandon(self) -> None:
        """End everything without a result, as a crash would; the next start repeats it."""
        self.stop_accepting()
        for attempt in tuple(self._attempts.values()):
            self.cancel(attempt.item.execution_id, attempt.item.key)

    async def close(self) -> None:
        """End everything, and wait until nothing runs any more."""
        tasks = set(self._tasks)
        self.abandon()
        for task in tasks:
            task.cancel()
        while tasks := {task for task in tasks if not task.done()}:
            await asyncio.wait(tasks)

    def _launch(self, attempt: _Attempt) -> None:
        self._under_way += 1
        attempt.task = self._loop.create_task(self._run(attempt))
        self._tasks.add(attempt.task)

    async def _run(self, attempt: _Attempt) -> None:
        attempt.begun = True
        try:
            with self._clock.outstanding():
                if attempt.item.kind is WorkKind.COLLECT:
                    collected = await self._collected(attempt)
                    self._forget(attempt)
                    self._post(collected)
                    return
                result = await self._attempt_result(attempt)
                if self._attempts.get(attempt.key) is attempt:
                    del self._attempts[attempt.key]
                    self._post(await self._recordable(attempt.item, result))
        except asyncio.CancelledError:
            # Withdrawn: nobody waits for a result.
            return
        finally:
            self._leave(attempt)

    def _leave(self, attempt: _Attempt) -> None:
        """The attempt is not under way any more; another one may take its place."""
        self._under_way -= 1
        self._forget(attempt)
        if attempt.task is not None:
            self._tasks.discard(attempt.task)
        if self._waiting:
            self._launch_waiting()

    def _forget(self, attempt: _Attempt) -> None:
        if self._attempts.get(attempt.key) is attempt:
            del self._attempts[attempt.key]

    def _launch_waiting(self) -> None:
        while self._waiting and self._under_way < MOST_ATTEMPTS:
            attempt = self._waiting.popleft()
            if self._attempts.get(attempt.key) is attempt:
                self._launch(attempt)

    async def _attempt_result(self, attempt: _Attempt) -> Completed | Failed:
        """What the handler answers within its time; anything it raises is an answer too."""
        seconds = _timeout_seconds(attempt)
        alarm = None
        if seconds is not None:
            due = self._clock.now() + timedelta(seconds=seconds)
            alarm = self._timers.call_at(due, lambda: _time_out(attempt))
        try:
            context = await self._context(attempt, seconds)
            if not isinstance(context, StepContext):
                return context
            return await self._registry.outside(attempt.body.type).execute(context)
        except asyncio.CancelledError:
            if not attempt.timed_out or attempt.task is None or attempt.task.uncancel():
                raise
            return Failed("TIMEOUT", f"no answer within {seconds:g} s", transient=True)
        except ProcessEngineError as error:
            return Failed("HANDLER_ERROR", str(error))
        except Exception as error:
            # The edge of foreign code: what it raises is recorded, never re-raised into the engine.
            log.warning("handler failed execution=%s step=%s", attempt.item.execution_id, attempt.item.key)
            return Failed("HANDLER_ERROR", f"{type(error).__name__}: {error}")
        finally:
            if alarm is not None:
                alarm.cancel()

    async def _context(self, attempt: _Attempt, seconds: float | None) -> StepContext | Completed | Failed:
        """What the handler gets to see; of an item that asks nobody, or nothing, what becomes of it."""
        item, created, step = attempt.item, attempt.execution.created, attempt.step
        packed = _request_of(attempt)
        effect_key = f"{item.execution_id}/{step.id}/{item.visit}" + ("/undo" if item.undoes else "")
        request: object = None
        index = item.item
        if index is not None:
            asked = await self._patiently(
                lambda: self._items.request(attempt.plan, attempt.execution, step, index)
            )
            if not isinstance(asked, dict):
                return asked
            request, effect_key = asked, f"{effect_key}/{index}"
        elif packed is not None:
            request = packed.data if packed.ref is None else await self._read(packed)
        return StepContext(
            execution_id=item.execution_id,
            process_name=created.process_name,
            version=created.version,
            correlation_id=created.correlation_id,
            step_id=step.id,
            step_type=attempt.body.type,
            visit=item.visit,
            attempt=item.attempt,
            item=index,
            effect_key=effect_key,
            # A copy of its own: what a handler changes in it must not reach another attempt.
            request=dict(cast("dict[str, object]", request or {})),
            timeout_seconds=seconds,
            clock=self._clock,
            # What undoes a visit does something else: what attempts of a visit did is not its progress.
            progress=None if item.undoes else attempt.execution.step(step.id).progress,
            undo=item.undoes,
        )

    async def _read(self, packed: Value) -> object:
        """A large request."""
        return await self._patiently(lambda: self._outputs.unpack(packed))

    async def _patiently(self, read: Callable[[], Awaitable[Answer]]) -> Answer:
        """What is read. A store that does not answer for a moment must not cost the attempt."""
        for pause in READ_PAUSES_SECONDS:
            try:
                return await read()
            except StorageUnavailable:
                await self._clock.sleep_until(self._clock.now() + timedelta(seconds=pause))
        return await read()

    async def _collected(self, attempt: _Attempt) -> RecordResult:
        """The command that ends a step all of whose items have ended; what cannot be recorded fails it."""
        item = attempt.item
        try:
            gathered = await self._patiently(lambda: self._items.gather(attempt.execution, attempt.step))
            output = await self._outputs.store(gathered.outputs)
            errors = await self._outputs.store(gathered.errors)
        except ProcessEngineError as error:
            result = Failed(error.code if error.code in CODES else "HANDLER_ERROR", str(error))
            return RecordResult(
                execution_id=item.execution_id,
                step_id=item.step_id,
                visit=item.visit,
                attempt=item.attempt,
                result=result,
            )
        return RecordResult(
            execution_id=item.execution_id,
            step_id=item.step_id,
            visit=item.visit,
            attempt=item.attempt,
            result=Completed(),
            value=output.value,
            errors=errors.value,
            blobs={**output.blobs, **errors.blobs},
        )

    async def _recordable(self, item: WorkItem, result: Completed | Failed) -> RecordResult:
        """The command that records a result; an output that cannot be recorded is a failure."""
        if isinstance(result, Completed):
            try:
                stored = await self._outputs.store(result.output)
            except OutputTooLarge as error:
                result = Failed(error.code, str(error), usage=result.usage)
            except TypeError as error:
                result = Failed("INVALID_OUTPUT", f"the output has no JSON form: {error}", usage=result.usage)
            else:
                return RecordResult(
                    execution_id=item.execution_id,
                    step_id=item.step_id,
                    visit=item.visit,
                    attempt=item.attempt,
                    item=item.item,
                    result=_COMPLETED if result.usage is NO_USAGE else Completed(usage=result.usage),
                    value=stored.value,
                    blobs=stored.blobs,
                    undo=item.undoes,
                )
        return RecordResult(
            execution_id=item.execution_id,
            step_id=item.step_id,
            visit=item.visit,
            attempt=item.attempt,
            item=item.item,
            result=_recordable_failure(result),
            undo=item.undoes,
        )


def _recordable_failure(failed: Failed) -> Failed:
    """A failure as it can be recorded. What it did and cannot tell is not to be done twice unnoticed."""
    if failed.code not in CODES:
        told = f"the handler failed with the unknown code {failed.code}: {failed.message}"
        failed = replace(failed, code="HANDLER_ERROR", message=told, transient=False)
    failed = replace(failed, message=_recordable_text(failed.message))
    if failed.progress is None:
        return failed
    try:
        packed, _ = pack(failed.progress)
    except (TypeError, OutputTooLarge) as error:
        return _without_progress(failed, str(error))
    size = len(msgspec.json.encode(packed.data))
    if packed.ref is not None or size > PROGRESS_LIMIT_BYTES:
        return _without_progress(failed, f"the limit is {PROGRESS_LIMIT_BYTES:,} bytes of JSON")
    return replace(failed, progress=packed.data)


def _without_progress(failed: Failed, why: str) -> Failed:
    message = f"its progress cannot be recorded ({why}); it failed with {failed.code}: {failed.message}"
    return Failed("HANDLER_ERROR", _recordable_text(message), usage=failed.usage)


def _recordable_text(message: str) -> str:
    """A message as it can be recorded, whatever foreign code made of it: bounded, no lone surrogates."""
    return message[:MESSAGE_CHARACTERS].encode("utf-8", "replace").decode()


def _undo_of(step: StepPlan) -> UndoPlan:
    assert step.undo is not None
    return step.undo


def _request_of(attempt: _Attempt) -> Value | None:
    """What was rendered for the attempt: by the visit's first start, or, to undo it, at its end."""
    state = attempt.execution.step(attempt.step.id)
    if not attempt.item.undoes:
        return state.request
    kept = state.undo_of(attempt.item.visit)
    return kept.request if kept is not None else None


def _time_out(attempt: _Attempt) -> None:
    if attempt.task is not None:
        attempt.timed_out = True
        attempt.task.cancel()


def _timeout_seconds(attempt: _Attempt) -> float | None:
    """The step's own or its process's default, else the engine's, else the type's."""
    body = attempt.body
    if body.timeout_seconds is not None or not body.default_timeout_applies:
        return body.timeout_seconds
    configured = attempt.execution.created.config.default_step_timeout
    return configured if configured is not None else TIMEOUT_OF_TYPE[body.type]
