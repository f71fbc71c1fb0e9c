"""The loop: gather what has arrived, decide it, commit it, release what follows from it.

Everything durable happens in one call per turn. While a commit is on its way to disk, commands collect; the
next turn takes them all. Nothing leaves before its commit returned; nothing that was committed is forgotten.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

from process_engine.core.commands import AnyCommand, RecordResult
from process_engine.core.decide import record_results, transition
from process_engine.core.evolve import restore
from process_engine.core.plan import Plan
from process_engine.core.state import Execution
from process_engine.core.transition import Needs, Transition
from process_engine.errors import (
    InternalError,
    NotFound,
    ProcessEngineError,
    StorageError,
    StorageIncompatible,
    StorageUnavailable,
)
from process_engine.ids import ExecutionId
from process_engine.runtime.outputs import OutputStorage
from process_engine.runtime.plans import Plans
from process_engine.runtime.ports import Clock, ExecutionRepository, Fence

log = logging.getLogger(__name__)

# Commands in one commit. Enough to share a sync among many, few enough to keep the event loop responsive:
# about 10 ms of work.
MOST_COMMANDS = 100
# Executions kept in memory; others are loaded when something happens to them.
MOST_EXECUTIONS = 2000
# Tries of one commit while the store does not answer, with growing pauses: about 6 s together.
COMMIT_TRIES = 8
FIRST_PAUSE_SECONDS = 0.05

Outcome = Transition | ProcessEngineError


class _Entry:
    """A command on its way, and who waits for its outcome."""

    __slots__ = ("command", "future", "is_new", "outcome", "plan")

    def __init__(
        self,
        command: AnyCommand,
        future: asyncio.Future[Execution] | None,
        plan: Plan | None = None,
        *,
        is_new: bool = False,
    ) -> None:
        self.command = command
        self.future = future
        self.plan = plan
        self.is_new = is_new
        self.outcome: Outcome | None = None


class Loop:
    """One writer for all executions of a store.

    `on_release` is called after each commit with every transition of it that changed something, in order;
    `on_unchanged` with each command that changed nothing, and the execution as it stands.
    `on_failure` is called once, when the store has failed for good.
    """

    def __init__(
        self,
        *,
        repository: ExecutionRepository,
        fence: Fence,
        clock: Clock,
        plans: Plans,
        outputs: OutputStorage,
        on_release: Callable[[Sequence[Transition]], None],
        on_unchanged: Callable[[AnyCommand, Execution], None],
        on_failure: Callable[[ProcessEngineError], None],
    ) -> None:
        self._repository = repository
        self._fence = fence
        self._clock = clock
        self._plans = plans
        self._outputs = outputs
        self._on_release = on_release
        self._on_unchanged = on_unchanged
        self._on_failure = on_failure
        self._inbox: deque[_Entry] = deque()
        self._arrived = asyncio.Event()
        self._executions: OrderedDict[ExecutionId, Execution] = OrderedDict()
        self._failure: ProcessEngineError | None = None

    # ------------------------------------------------------------ sending commands

    async def submit(
        self, command: AnyCommand, plan: Plan | None = None, *, is_new: bool = False
    ) -> Execution:
        """Carry out a command; returns the execution once what the command caused is durable.

        `plan` is that of an execution which the command begins; `is_new` says that its id was never used.

        Raises:
            CommandRejected: it does not fit the execution's state. Nothing was written.
            StorageError: the store failed for good; the engine has stopped.
        """
        if self._failure is not None:
            raise self._failure
        future: asyncio.Future[Execution] = asyncio.get_running_loop().create_future()
        self._put(_Entry(command, future, plan, is_new=is_new))
        with self._clock.idle():
            return await future

    def post(self, command: AnyCommand) -> None:
        """Send a command whose outcome nobody waits for."""
        if self._failure is None:
            self._put(_Entry(command, None))

    def _put(self, entry: _Entry) -> None:
        self._inbox.append(entry)
        self._arrived.set()

    @property
    def is_empty(self) -> bool:
        """No command is on its way."""
        return not self._arrived.is_set()

    async def fetch(self, execution_id: ExecutionId) -> Execution | None:
        """The committed state as of now or a moment ago; None if there is none.

        What was read from the store is not kept: it may be older than what the loop commits meanwhile.
        """
        return self._executions.get(execution_id) or await self._stored(execution_id)

    async def require(self, execution_id: ExecutionId) -> Execution:
        """As `fetch`.

        Raises:
            NotFound: there is no such execution.
        """
        execution = await self.fetch(execution_id)
        if execution is None:
            raise NotFound(f"there is no execution {execution_id}.")
        return execution

    @property
    def failure(self) -> ProcessEngineError | None:
        """Why the loop has stopped for good, if it has."""
        return self._failure

    # ------------------------------------------------------------ the loop

    async def run(self) -> None:
        """Turn after turn until cancelled, or until the store fails for good."""
        while self._failure is None:
            await self._arrived.wait()
            with self._clock.outstanding():
                while self._inbox:
                    await self._turn()
                    if self._inbox:
                        # A fast commit waits for nothing: others would not get a turn until nothing is left.
                        await asyncio.sleep(0)
                self._arrived.clear()

    async def _turn(self) -> None:
        batch = [self._inbox.popleft() for _ in range(min(len(self._inbox), MOST_COMMANDS))]
        await self._carry_out(batch)

    async def _carry_out(self, batch: list[_Entry]) -> None:
        try:
            transitions = await self._decide_and_commit(batch)
        except asyncio.CancelledError:
            # The engine is left while this is under way: written or not, nobody will hear of it from here.
            self._refuse(batch, self._failure or _closed())
            raise
        except StorageError as error:
            self._fail(error, batch)
            return
        except Exception as error:
            await self._isolate(batch, error)
            return
        for done in transitions:
            self._remember(done.execution)
        if transitions:
            self._on_release(transitions)
        for entry in batch:
            self._answer(entry)

    async def _decide_and_commit(self, batch: list[_Entry]) -> list[Transition]:
        """Decide the batch and write it; after a failed commit, decide it again from the state there is."""
        pause = FIRST_PAUSE_SECONDS
        doubtful: list[Transition] = []
        for attempt in range(1, COMMIT_TRIES + 1):
            transitions: list[Transition] = []
            try:
                if doubtful and await self._is_written(doubtful):
                    return doubtful
                transitions = await self._decide(batch)
                if transitions:
                    await self._repository.commit(transitions, self._fence)
            except StorageUnavailable as error:
                log.warning(
                    "no commit try=%d nothing_written=%s error=%s", attempt, error.nothing_written, error
                )
                if attempt == COMMIT_TRIES:
                    raise
                if transitions:
                    doubtful = [] if error.nothing_written is True else transitions
                for done in transitions:
                    self._executions.pop(done.execution.id, None)
                await self._clock.sleep_until(self._clock.now() + timedelta(seconds=pause))
                pause *= 2
            else:
                return transitions
        raise AssertionError("the last try returns or raises")

    async def _is_written(self, transitions: Sequence[Transition]) -> bool:
        """Whether a commit whose answer was lost has been written: all of it is there, or nothing.

        Nobody else writes under this fence, so the last event of an execution tells.
        """
        last = transitions[-1].execution
        stored = await self._stored(last.id)
        if stored is None or stored.head.sequence < last.head.sequence:
            return False
        # Refused where somebody has taken the store over meanwhile: then what is there may be theirs.
        await self._repository.commit((), self._fence)
        return True

    # ------------------------------------------------------------ deciding

    async def _decide(self, batch: list[_Entry]) -> list[Transition]:
        """Decide every command of the batch in order; each sees what those before it did."""
        await self._load_together(batch)
        latest: dict[ExecutionId, Execution] = {}
        transitions: list[Transition] = []
        left = deque(batch)
        while left:
            done = self._decide_results(left, latest) or await self._decide_next(left.popleft(), latest)
            if done is not None and done.events:
                latest[done.execution.id] = done.execution
                transitions.append(done)
        return transitions

    async def _decide_next(self, entry: _Entry, latest: dict[ExecutionId, Execution]) -> Transition | None:
        """Decide one command; None where it is refused, or cannot be decided."""
        try:
            done = self._decide_at_once(entry, latest) or await self._decide_one(entry, latest)
        except ProcessEngineError as error:
            if isinstance(error, StorageUnavailable):
                raise
            if isinstance(error, StorageError):
                log.error("not decided execution=%s error=%s", entry.command.execution_id, error)
            entry.outcome = error
            return None
        except Exception as error:
            # A bug of the engine must cost one command, not every execution.
            log.exception("a command could not be decided execution=%s", entry.command.execution_id)
            entry.outcome = InternalError(f"{type(error).__name__}: {error}")
            return None
        entry.outcome = done
        return done

    def _decide_results(self, left: deque[_Entry], latest: dict[ExecutionId, Execution]) -> Transition | None:
        """Decide the answers of one execution at the front of `left` together, and take them from it.

        None, and nothing taken, where there is only one, or together is no way: then they go one by one.
        """
        id = left[0].command.execution_id
        results: list[RecordResult] = []
        for entry in left:
            if type(entry.command) is not RecordResult or entry.command.execution_id != id:
                break
            results.append(entry.command)
        execution = latest.get(id) or self._executions.get(id)
        plan = self._plans.known(execution.created.definition_hash) if execution is not None else None
        if len(results) < 2 or execution is None or plan is None:
            return None
        try:
            done = record_results(plan, execution, results, self._clock.now())
        except Exception as error:
            # Whichever it was, the others must not suffer: one by one, each has an outcome of its own.
            log.warning("not decided together execution=%s error=%r", id, error)
            return None
        if isinstance(done, Needs) or not done.events:
            return None
        for _ in results:
            left.popleft().outcome = done
        return done

    def _decide_at_once(self, entry: _Entry, latest: dict[ExecutionId, Execution]) -> Transition | None:
        """Decide a command about an execution in memory, as nearly all are; None if more is needed."""
        command = entry.command
        id = command.execution_id
        execution = latest.get(id) or self._executions.get(id)
        if execution is None:
            return None
        plan = self._plans.known(execution.created.definition_hash)
        if plan is None:
            return None
        answer = transition(plan, execution, command, self._clock.now())
        return None if isinstance(answer, Needs) else answer

    async def _decide_one(self, entry: _Entry, latest: dict[ExecutionId, Execution]) -> Transition:
        command = entry.command
        execution = latest.get(command.execution_id) or self._executions.get(command.execution_id)
        if execution is None and not entry.is_new:
            execution = await self._load(command.execution_id)
        plan = entry.plan
        if execution is not None:
            known = execution.created.definition_hash
            plan = self._plans.known(known) or await self._plans.load(known)
        if plan is None:
            raise NotFound(
                f"there is no execution {command.execution_id}.", remedy="`list` shows what there is."
            )
        answer = transition(plan, execution, command, self._clock.now())
        blobs: dict[str, bytes] = {}
        while isinstance(answer, Needs):
            await self._load_values(answer, blobs)
            answer = transition(plan, execution, command, self._clock.now(), blobs)
        return answer

    async def _load_values(self, needs: Needs, into: dict[str, bytes]) -> None:
        for ref in needs.refs:
            into[ref.sha256] = await self._outputs.text(ref)

    async def _load(self, execution_id: ExecutionId) -> Execution | None:
        """The committed state from the store, kept from now on. For the loop alone: it is the only writer."""
        execution = await self._stored(execution_id)
        return self._remember(execution) if execution is not None else None

    async def _load_together(self, batch: list[_Entry]) -> None:
        """Load what several commands are about at once: after a crash that is every open execution."""
        missing = {
            entry.command.execution_id
            for entry in batch
            if not entry.is_new and entry.command.execution_id not in self._executions
        }
        if len(missing) < 2:
            return
        try:
            for snapshot in await self._repository.load_many(missing):
                plan = await self._plans.load(snapshot.created.definition_hash)
                self._remember(restore(plan, snapshot))
        except StorageIncompatible as error:
            # One of them is damaged: loaded one by one, it costs its own commands and no others.
            log.warning("not loaded together: %s", error)

    async def _stored(self, execution_id: ExecutionId) -> Execution | None:
        snapshot = await self._repository.load(execution_id)
        if snapshot is None:
            return None
        return restore(await self._plans.load(snapshot.created.definition_hash), snapshot)

    def _remember(self, execution: Execution) -> Execution:
        self._executions[execution.id] = execution
        self._executions.move_to_end(execution.id)
        while len(self._executions) > MOST_EXECUTIONS:
            self._executions.popitem(last=False)
        return execution

    def _answer(self, entry: _Entry) -> None:
        """Tell the caller what became of the command."""
        outcome, future = entry.outcome, entry.future
        if isinstance(outcome, Transition):
            if not outcome.events:
                self._on_unchanged(entry.command, outcome.execution)
            if future is not None and not future.done():
                future.set_result(outcome.execution)
        elif outcome is not None and future is not None and not future.done():
            future.set_exception(outcome)

    # ------------------------------------------------------------ failing

    async def _isolate(self, batch: list[_Entry], error: Exception) -> None:
        """Something could not be written that should have been: a bug may cost one command, not all."""
        if len(batch) > 1:
            log.error("a batch was not recorded, its commands go one by one error=%r", error)
            for entry in batch:
                await self._carry_out([entry])
            return
        log.error("not recorded execution=%s error=%r", batch[0].command.execution_id, error)
        batch[0].outcome = InternalError(f"{type(error).__name__}: {error}")
        self._answer(batch[0])

    def close(self) -> None:
        """Tell everybody who still waits that nothing more will happen here."""
        if self._failure is None:
            self._fail(_closed(), [])

    def _fail(self, error: ProcessEngineError, batch: list[_Entry]) -> None:
        """The store failed for good: everybody who waits is told, nothing more is accepted."""
        self._failure = error
        self._refuse((*batch, *self._inbox), error)
        self._inbox.clear()
        self._on_failure(error)

    def _refuse(self, entries: Iterable[_Entry], error: ProcessEngineError) -> None:
        for entry in entries:
            if entry.future is not None and not entry.future.done():
                entry.future.set_exception(error)


def _closed() -> ProcessEngineError:
    return ProcessEngineError("the engine was closed.", code="ENGINE_CLOSED")
