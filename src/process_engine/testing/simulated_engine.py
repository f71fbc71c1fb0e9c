"""A model of the engine's loop without asyncio: gather, decide, commit, release, around the real core.

Nothing here decides anything about an execution; it carries commands to `transition()`, transitions to the
store, and work to the outside, in the order that keeps the promise: nothing leaves before its commit
returned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

from process_engine.core.commands import (
    AnyCommand,
    InterruptAttempt,
    ReachDeadline,
    RecordResult,
    WakeStep,
)
from process_engine.core.decide import transition
from process_engine.core.evolve import restore
from process_engine.core.plan import Plan
from process_engine.core.state import Execution, StepStatus
from process_engine.core.transition import Transition
from process_engine.core.values import BlobRef
from process_engine.core.work import DEADLINE_KEY, GRACE_KEY, WorkItem, WorkKind
from process_engine.errors import CommandRejected, OwnershipLost, StorageUnavailable
from process_engine.ids import DefinitionHash, ExecutionId, StepId
from process_engine.repositories.memory import MemoryRepository
from process_engine.runtime.ports import InboxAnswer

T = TypeVar("T")

# A decision that asks for more large values than an execution can have goes round in circles.
MAX_LOADS_PER_DECISION = 200
# An end far beyond every timer of a simulation.
_PAGE = 1_000_000


def run_now(coroutine: Coroutine[object, object, T]) -> T:
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise AssertionError("a simulated store waited for something")


async def _gathered(items: AsyncIterator[T]) -> list[T]:
    return [item async for item in items]


@dataclass
class VirtualTime:
    """A clock that stands still until somebody moves it; simulated stores are opened with it."""

    moment: datetime = field(default=datetime(2026, 1, 1, tzinfo=UTC))

    def now(self) -> datetime:
        """The virtual time, in UTC."""
        return self.moment

    async def sleep_until(self, due: datetime) -> None:
        """Jump there at once."""
        self.moment = max(self.moment, due)

    def outstanding(self) -> AbstractContextManager[None]:
        """Nothing to wait for: all of a simulation is one thread."""
        return nullcontext()

    def idle(self) -> AbstractContextManager[None]:
        """Nobody waits either."""
        return nullcontext()

    def advance(self, seconds: float) -> None:
        """Move by `seconds`; a negative number is a machine clock that was set back."""
        self.moment += timedelta(seconds=seconds)


class EngineCrashed(BaseException):
    """The process that ran the engine is gone, wherever it was."""


class Outside(Protocol):
    """Where effects go: the agents of a simulation."""

    def call(self, engine: SimulatedEngine, item: WorkItem) -> None:
        """An attempt starts; this is the moment an agent would be called."""
        ...

    def hang_up(self, engine: SimulatedEngine, item: WorkItem) -> None:
        """The engine no longer wants the answer to this attempt."""
        ...


CommitFault = Callable[[Sequence[Transition]], str | None]


def no_fault(transitions: Sequence[Transition]) -> str | None:
    """Every commit does what it says."""
    return None


@dataclass
class Pending:
    """A command on its way; `answer` is told the state after it or the refusal, unless all is lost."""

    command: AnyCommand
    answer: Callable[[Execution | CommandRejected], None] | None = None
    inbox_id: int | None = None


class SimulatedEngine:
    """One process that runs executions on a store, until it crashes or loses the store to another."""

    def __init__(
        self,
        repository: MemoryRepository,
        time: VirtualTime,
        plans: Mapping[DefinitionHash, Plan],
        outside: Outside,
        counts: Counter[str],
    ) -> None:
        self.repository = repository
        self.time = time
        self.plans = plans
        self.outside = outside
        self.counts = counts
        self.waiting: list[Pending] = []
        self.executions: dict[ExecutionId, Execution] = {}
        self.running: dict[tuple[ExecutionId, str], WorkItem] = {}
        self.timers: dict[tuple[ExecutionId, str], WorkItem] = {}
        self.taken: set[int] = set()
        self.blobs: dict[str, bytes] = {}
        self.starting: dict[ExecutionId, Plan] = {}
        self.commit_fault: CommitFault = no_fault
        self.after_commit: Callable[[Sequence[Transition]], object] = no_fault
        run_now(repository.open(clock=time))
        self.fence = repository.fence

    # ------------------------------------------------------------ start

    def recover(self) -> None:
        """Take up what the process before left: its attempts are interrupted, its timers armed again."""
        for item in run_now(_gathered(self.repository.attempts())):
            self.submit(
                InterruptAttempt(
                    execution_id=item.execution_id,
                    step_id=StepId(item.key),
                    visit=item.visit,
                    attempt=item.attempt,
                )
            )
            self.counts["attempt interrupted"] += 1
        for item in run_now(self.repository.timers(after=None, limit=_PAGE)):
            self.timers[(item.execution_id, item.key)] = item

    # ------------------------------------------------------------ 1 gather

    def submit(
        self, command: AnyCommand, answer: Callable[[Execution | CommandRejected], None] | None = None
    ) -> None:
        """Put a command in line."""
        self.waiting.append(Pending(command, answer))

    def poll_inbox(self) -> None:
        """Take up the commands that other processes left in the store."""
        for entry in run_now(self.repository.inbox()):
            if entry.id not in self.taken:
                self.taken.add(entry.id)
                self.waiting.append(Pending(entry.command, inbox_id=entry.id))

    def fire_due(self) -> int:
        """Send a command for everything that is due; it stays armed until its work is settled."""
        due = sorted(
            (item for item in self.timers.values() if item.due is not None and item.due <= self.time.moment),
            key=lambda item: (item.due, item.execution_id, item.key),
        )
        for item in due:
            self.submit(wake_up(item))
        self.counts["timer fired"] += len(due)
        return len(due)

    def next_due(self) -> datetime | None:
        """When the earliest timer is due."""
        return min((item.due for item in self.timers.values() if item.due is not None), default=None)

    # ------------------------------------------------------------ 2 decide, 3 commit, 4 release

    def turn(self, size: int) -> None:
        """Work off up to `size` commands in one commit.

        Raises:
            OwnershipLost: another engine has the store; nothing was written, and this one must stop.
            EngineCrashed: a fault killed the process.
        """
        batch = self.waiting[:size]
        drafts: dict[ExecutionId, Execution] = {}
        transitions: list[Transition] = []
        answers: list[Execution | CommandRejected] = []
        for pending in batch:
            answers.append(self._decide(pending.command, drafts, transitions))
        if transitions:
            try:
                self.commit(transitions)
            except StorageUnavailable as problem:
                if problem.nothing_written is None:
                    self._reload(drafts)
                return
        del self.waiting[: len(batch)]
        self.executions.update(drafts)
        self.release(transitions)
        for pending, answer in zip(batch, answers, strict=True):
            self._reply(pending, answer)

    def _decide(
        self, command: AnyCommand, drafts: dict[ExecutionId, Execution], transitions: list[Transition]
    ) -> Execution | CommandRejected:
        execution = drafts.get(command.execution_id) or self.known(command.execution_id)
        plan = (
            self.starting[command.execution_id]
            if execution is None
            else self.plans[execution.definition_hash]
        )
        self.counts[f"command {type(command).__name__}"] += 1
        try:
            decided = self._decide_with_values(plan, execution, command, transitions)
        except CommandRejected as refusal:
            self.counts["command refused"] += 1
            return refusal
        if decided.events:
            drafts[command.execution_id] = decided.execution
            transitions.append(decided)
        elif isinstance(command, RecordResult):
            self.counts["late answer ignored"] += 1
        return decided.execution

    def _decide_with_values(
        self, plan: Plan, execution: Execution | None, command: AnyCommand, batch: Sequence[Transition]
    ) -> Transition:
        values: dict[str, bytes] = {}
        for _ in range(MAX_LOADS_PER_DECISION):
            decided = transition(plan, execution, command, self.time.now(), values)
            if isinstance(decided, Transition):
                return decided
            self.counts["large value loaded"] += 1
            for ref in decided.refs:
                assert ref.sha256 not in values, "a value was asked for that had been given"
                values[ref.sha256] = self._value(ref, batch)
        raise AssertionError("a decision never had enough values")

    def _value(self, ref: BlobRef, batch: Sequence[Transition]) -> bytes:
        """A large value: from earlier in the batch, from the cache, or from the store."""
        for made in batch:
            if ref.sha256 in made.blobs:
                return made.blobs[ref.sha256]
        if ref.sha256 in self.blobs:
            return self.blobs[ref.sha256]
        content = run_now(self.repository.load_blob(ref))
        assert content is not None, f"value {ref.sha256} is referred to and was never stored"
        assert len(content) == ref.size_bytes, f"value {ref.sha256} has another size"
        return content

    def known(self, execution_id: ExecutionId) -> Execution | None:
        """The state in memory, or else in the store."""
        if execution_id not in self.executions:
            snapshot = run_now(self.repository.load(execution_id))
            if snapshot is None:
                return None
            plan = self.plans[snapshot.created.definition_hash]
            self.executions[execution_id] = restore(plan, snapshot)
        return self.executions[execution_id]

    def commit(self, transitions: Sequence[Transition]) -> None:
        """Write the batch; the fault of the moment happens before, after, or instead."""
        fault = self.commit_fault(transitions)
        if fault is not None:
            self.counts[f"fault: {fault}"] += 1
        if fault == "crash before commit":
            raise EngineCrashed(fault)
        if fault == "commit refused":
            raise StorageUnavailable("disk full.", nothing_written=True)
        run_now(self.repository.commit(transitions, self.fence))
        self.after_commit(transitions)
        if fault == "crash after commit":
            raise EngineCrashed(fault)
        if fault == "acknowledgement lost":
            raise StorageUnavailable("the connection broke.", nothing_written=None)

    def release(self, transitions: Sequence[Transition]) -> None:
        """Start and stop outside what the committed transitions say."""
        wanted: dict[tuple[ExecutionId, str], WorkItem | None] = {}
        for made in transitions:
            # New values are in the store by now; the cache keeps the latest few, so that some must be loaded.
            self.blobs = dict([*self.blobs.items(), *made.blobs.items()][-4:])
            wanted.update({(work.execution_id, work.key): None for work in made.done})
            wanted.update({(item.execution_id, item.key): item for item in made.work})
        for key, item in wanted.items():
            self._want(key, item)

    def _want(self, key: tuple[ExecutionId, str], item: WorkItem | None) -> None:
        self.timers.pop(key, None)
        former = self.running.get(key)
        if former is not None and former != item:
            del self.running[key]
            self.outside.hang_up(self, former)
        if item is None or former == item:
            return
        if item.kind is WorkKind.ATTEMPT:
            self.running[key] = item
            self.outside.call(self, item)
        else:
            self.timers[key] = item

    def _reload(self, doubtful: Mapping[ExecutionId, Execution]) -> None:
        """Nobody knows what was written: believe the store, and take up the work that it holds."""
        for execution_id in doubtful:
            self.forget(execution_id)
        attempts = run_now(_gathered(self.repository.attempts()))
        timers = run_now(self.repository.timers(after=None, limit=_PAGE))
        stored = {(i.execution_id, i.key): i for i in [*attempts, *timers] if i.execution_id in doubtful}
        held = [key for key in (*self.running, *self.timers) if key[0] in doubtful]
        orphans = self._orphans()
        for key in dict.fromkeys([*held, *stored]):
            if stored.get(key) not in orphans:
                self._want(key, stored.get(key))

    def _orphans(self) -> list[WorkItem]:
        """Attempts of the process before that nobody runs, and whose interruption is still in line."""
        commands = (pending.command for pending in self.waiting)
        return [
            WorkItem(c.execution_id, c.step_id, WorkKind.ATTEMPT, c.visit, c.attempt)
            for c in commands
            if isinstance(c, InterruptAttempt)
        ]

    def forget(self, execution_id: ExecutionId) -> None:
        """Drop an execution from memory; the next command for it reads the store."""
        self.executions.pop(execution_id, None)

    def _reply(self, pending: Pending, answer: Execution | CommandRejected) -> None:
        if pending.inbox_id is not None:
            refused = isinstance(answer, CommandRejected)
            told = InboxAnswer(error_code=answer.code) if refused else InboxAnswer(status=answer.status)
            run_now(self.repository.answer(pending.inbox_id, told))
        if pending.answer is not None:
            pending.answer(answer)


def wake_up(item: WorkItem) -> AnyCommand:
    """The command that says that a timer, a retry or a deadline is due."""
    if item.key == DEADLINE_KEY:
        return ReachDeadline(execution_id=item.execution_id)
    if item.key == GRACE_KEY:
        return ReachDeadline(execution_id=item.execution_id, grace=True)
    return WakeStep(
        execution_id=item.execution_id, step_id=StepId(item.key), visit=item.visit, attempt=item.attempt
    )


def is_running(execution: Execution, item: WorkItem) -> bool:
    """Whether the state shows exactly this attempt as running."""
    step = execution.step(StepId(item.key))
    return (step.status, step.visit, step.attempt) == (StepStatus.RUNNING, item.visit, item.attempt)


__all__ = [
    "EngineCrashed",
    "OwnershipLost",
    "Pending",
    "SimulatedEngine",
    "VirtualTime",
    "is_running",
    "run_now",
    "wake_up",
]
