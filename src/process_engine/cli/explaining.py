"""`explain`: why an execution has not ended, in a sentence, and what to do about it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from rich.text import Text

from process_engine.cli import outcomes
from process_engine.cli.holder import Holder, holder_of
from process_engine.cli.printing import print_document
from process_engine.cli.screen import Screen
from process_engine.cli.store import all_events, load, reading, resolve
from process_engine.cli.story import WIDTH, clock_time, decision_text, failure_text, items_text, names_text
from process_engine.cli.summary import command_line, moment, until
from process_engine.cli.text import printable, shortened, span
from process_engine.cli.tools import Tools
from process_engine.clock import SystemClock
from process_engine.core.blockers import Blocker, BlockerKind
from process_engine.core.events import (
    AttemptStarted,
    CompensationAttemptStarted,
    CompensationRetrying,
    CompensationStarted,
    Event,
    ItemStarted,
    ProcessPaused,
    StepEvent,
    StepRetrying,
)
from process_engine.core.state import ExecutionStatus, StepStatus
from process_engine.ids import ExecutionId
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.plans import Plans
from process_engine.runtime.view import ProcessExecution, StepExecution

# A wake-up comes within milliseconds of its time; after this long nobody is going to come.
OVERDUE = timedelta(seconds=2)
# What stands in the way where no process does the work.
NOBODY = "nobody"
# The state does not say since when, or by whom.
_TOLD_BY_EVENTS = (BlockerKind.PAUSE, BlockerKind.ATTEMPT, BlockerKind.UNDO, BlockerKind.RETRY)
_UNDOING = (CompensationStarted, CompensationAttemptStarted, CompensationRetrying)


class Reason(NamedTuple):
    """The one thing between an execution and its end; `kind` is None once it has ended."""

    execution: ProcessExecution
    kind: str | None
    sentence: str
    remedy: str
    step: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    by: str | None = None


def explain(tools: Tools, *, execution: str | None, db: Path, as_json: bool, no_color: bool) -> int:
    """The reason of one execution, or of each that has not ended, the oldest first."""
    reasons = asyncio.run(_reasons(db, execution))
    if as_json:
        told = [_document(reason) for reason in reasons]
        print_document(told if execution is None else told[0])
        return outcomes.COMPLETED
    screen = Screen(no_color=no_color)
    for reason in reasons:
        found = reason.execution
        head = (f"{found.process_name} {found.version}  ", (found.id, "dim"), "  ")
        screen.say(Text.assemble(*head, screen.status(found.status)))
        screen.say(f"  {reason.sentence}")
        if reason.remedy:
            screen.say(f"  {reason.remedy}", "dim")
    if not reasons:
        screen.say(f"Nothing is open in {db}.")
    return outcomes.COMPLETED


def _document(reason: Reason) -> dict[str, object]:
    found = reason.execution
    blocker = {"kind": reason.kind, "step_id": reason.step}
    times = {"since": reason.since, "until": reason.until, "by": reason.by}
    return {
        "id": found.id,
        "process": found.process_name,
        "version": found.version,
        "status": found.status,
        "blocker": None if reason.kind is None else blocker | times,
        "sentence": reason.sentence,
        "remedy": reason.remedy,
    }


async def _reasons(db: Path, prefix: str | None) -> list[Reason]:
    async with reading(db) as reader:
        if prefix is None:
            ids: Sequence[ExecutionId] = [id for id, _ in await reader.open_executions()]
        else:
            ids = [await resolve(reader, prefix)]
        plans = Plans(reader)
        return [await _reason(reader, db, await load(reader, id, plans)) for id in ids]


async def _reason(reader: SqliteRepository, db: Path, execution: ProcessExecution) -> Reason:
    blockers = execution.blockers
    if not blockers:
        return _ended(execution, db)
    events: list[Event] = []
    if any(blocker.kind in _TOLD_BY_EVENTS for blocker in blockers):
        events = [event async for event in all_events(reader, execution.id)]
    now, holder = SystemClock().now(), holder_of(db)
    explainer = Explainer(execution, db, events, now)
    reason = explainer.reason(blockers[0])
    if reason.kind in (BlockerKind.HELD, BlockerKind.PAUSE):
        return reason
    if reason.kind == BlockerKind.CHILD:
        child = await _child_of(reader, blockers[0])
        if child is not None:
            return await _reason_below(reader, db, reason, child)
    if reason.kind != BlockerKind.APPROVAL or reason.until is None or reason.until <= now:
        return _of_absence(reason, holder, db, now) or reason
    # People need no process to decide; what else is to be done does, and they cannot make up for it.
    others = (explainer.reason(blocker) for blocker in blockers if blocker.kind is not BlockerKind.APPROVAL)
    absences = (_of_absence(other, holder, db, now) for other in others)
    return next((absence for absence in absences if absence is not None), reason)


async def _child_of(reader: SqliteRepository, blocker: Blocker) -> ProcessExecution | None:
    """The execution that a blocker is; None where it has not begun."""
    id = ExecutionId(blocker.detail or "")
    return await load(reader, id) if await reader.load(id) is not None else None


async def _reason_below(
    reader: SqliteRepository, db: Path, reason: Reason, child: ProcessExecution
) -> Reason:
    """What a child waits for is what its parent waits for. One that has ended has yet to tell that."""
    if child.status.is_final:
        return _of_absence(reason, holder_of(db), db, SystemClock().now()) or reason
    below = await _reason(reader, db, child)
    return reason._replace(
        sentence=f"{reason.sentence} There, {below.sentence}", remedy=below.remedy, by=below.by
    )


def _ended(execution: ProcessExecution, db: Path) -> Reason:
    """Nothing stands in its way: it has ended."""
    ended = execution.completed_at
    when = f" at {clock_time(ended)}" if ended is not None else ""
    status = execution.status
    if status is not ExecutionStatus.FAILED:
        remedy = f"`{command_line('output', execution.id, db=db)}` prints what it gave."
        told = f"it was cancelled{when}." if status is ExecutionStatus.CANCELLED else f"it completed{when}."
        return Reason(execution, None, told, "" if status is ExecutionStatus.CANCELLED else remedy)
    assert execution.error is not None
    if any(step.undos for step in execution.step_executions.values()):
        told = f"it failed{when}, and what it did was undone: {failure_text(execution.error)}"
        return Reason(execution, None, told, "", step=execution.error.step_id)
    return Reason(
        execution,
        None,
        f"it failed{when}: {failure_text(execution.error)}",
        f"`{command_line('retry', execution.id, db=db)}` goes on where it failed.",
        step=execution.error.step_id,
    )


def _of_absence(reason: Reason, holder: Holder | None, db: Path, now: datetime) -> Reason | None:
    """That nobody does the work, where that is so."""
    line = command_line("resume", reason.execution.id, db=db)
    remedy = f"`{line}` goes on with it."
    if holder is None:
        sentence = f"no process runs it. {_then(reason.sentence)}"
        return reason._replace(kind=NOBODY, sentence=sentence, remedy=remedy)
    # Attempts of the process that has the store begin after it took it; what is due is done at once.
    left_behind = (
        reason.kind in (BlockerKind.ATTEMPT, BlockerKind.UNDO)
        and reason.since is not None
        and reason.since < holder.since
    )
    overdue = reason.until is not None and reason.until < now - OVERDUE
    stuck = reason.kind == BlockerKind.SLOT and not _runs_anything(reason.execution)
    if not (left_behind or overdue or stuck):
        return None
    sentence = f"{holder} has the store, but does not run it. {_then(reason.sentence)}"
    return reason._replace(kind=NOBODY, sentence=sentence, remedy=remedy)


def _then(sentence: str) -> str:
    return f"Beyond that: {sentence}"


def _runs_anything(execution: ProcessExecution) -> bool:
    return any(blocker.kind is BlockerKind.ATTEMPT for blocker in execution.blockers)


class Explainer:
    """Makes a reason of a blocker, from everything that was recorded about the execution."""

    def __init__(self, execution: ProcessExecution, db: Path, events: Sequence[Event], now: datetime) -> None:
        self._execution = execution
        self._db = db
        self._events = events
        self._now = now

    def reason(self, blocker: Blocker) -> Reason:
        """The reason that this blocker is."""
        match blocker.kind:
            case BlockerKind.HELD:
                return self._held()
            case BlockerKind.PAUSE:
                return self._paused(blocker)
            case BlockerKind.ATTEMPT | BlockerKind.RETRY | BlockerKind.SLOT if self._runs_items(blocker):
                return self._items(blocker, self._step(blocker))
            case BlockerKind.ATTEMPT:
                return self._attempt(self._step(blocker))
            case BlockerKind.UNDO:
                return self._undo(self._step(blocker), blocker)
            case BlockerKind.APPROVAL:
                return self._approval(self._step(blocker))
            case BlockerKind.CHILD:
                return self._child(self._step(blocker), blocker)
            case BlockerKind.SLOT:
                return self._slot(self._step(blocker))
            case BlockerKind.TIMER:
                return self._timer(self._step(blocker), blocker.due)
            case BlockerKind.RETRY:
                return self._retry(self._step(blocker), blocker.due)
            case BlockerKind.EVENT:
                return self._event(self._step(blocker), blocker)

    def _step(self, blocker: Blocker) -> StepExecution:
        assert blocker.step_id is not None
        return self._execution.step_executions[blocker.step_id]

    def _line(self, *words: str) -> str:
        return f"`{command_line(*words, self._execution.id, db=self._db)}`"

    def _held(self) -> Reason:
        since = self._execution.created_at
        sentence = f"it is held and has not begun{self._since(since)}."
        return self._made(BlockerKind.HELD, sentence, f"{self._line('resume')} begins it.", since=since)

    def _paused(self, blocker: Blocker) -> Reason:
        pause = next((event for event in reversed(self._events) if isinstance(event, ProcessPaused)), None)
        since, by = (pause.timestamp, pause.by) if pause is not None else (None, None)
        why = "" if blocker.detail in (None, "operator") else f" ({shortened(str(blocker.detail), WIDTH)})"
        who = f" by {printable(by)}" if by else ""
        sentence = f"it is paused{who}{why}{self._since(since)}."
        return self._made(
            BlockerKind.PAUSE, sentence, f"{self._line('resume')} goes on with it.", since=since, by=by
        )

    def _attempt(self, step: StepExecution) -> Reason:
        begun = self._latest(AttemptStarted, step.id)
        since = begun.timestamp if begun is not None and step.attempts > 1 else step.started_at
        agent = next((b.detail for b in self._execution.blockers if b.step_id == step.id), None)
        until = self._limit(step.id, since)
        who = f"agent {printable(agent)}" if agent else "its handler"
        which = f", attempt {step.attempts}" if step.attempts > 1 else ""
        limit = f" It may take until {clock_time(until)}." if until is not None else ""
        sentence = f"step {step.id} waits for {who}{which}{self._since(since)}.{limit}"
        remedy = f"Wait, or {self._line('cancel')} ends it."
        if self._execution.status is ExecutionStatus.COMPENSATING:
            remedy = "Wait: it is cancelled, and undone once this has ended."
        return self._made(
            BlockerKind.ATTEMPT, sentence, remedy, step=step.id, since=since, until=until, by=agent
        )

    def _undo(self, step: StepExecution, blocker: Blocker) -> Reason:
        begun = self._latest(_UNDOING, step.id)
        since = begun.timestamp if begun is not None else None
        who = f" by agent {printable(blocker.detail)}" if blocker.detail else ""
        sentence = f"step {step.id} is being undone{who}{self._since(since)}."
        if blocker.due is not None:
            failed = self._latest(CompensationRetrying, step.id)
            why = f": {failure_text(failed.failure)}" if isinstance(failed, CompensationRetrying) else ""
            sentence = f"undoing step {step.id} is tried again {moment(blocker.due, self._now)}{why}"
        return self._made(
            BlockerKind.UNDO,
            sentence if sentence.endswith(".") else f"{sentence}.",
            "Wait: nothing stops it, and the execution ends once everything is undone.",
            step=step.id,
            since=since,
            until=blocker.due,
            by=blocker.detail,
        )

    def _runs_items(self, blocker: Blocker) -> bool:
        step = self._step(blocker)
        return step.items is not None and step.status is StepStatus.RUNNING

    def _items(self, blocker: Blocker, step: StepExecution) -> Reason:
        items = step.items
        assert items is not None
        begun = self._latest(ItemStarted, step.id)
        since = begun.timestamp if begun is not None else step.started_at
        waiting = len(items.open) - items.running
        parts = [f"{items.running} run"] if items.running else []
        parts += [f"{waiting} wait to be tried again"] if waiting else []
        if blocker.kind is BlockerKind.SLOT:
            parts.append("the next one waits for a free slot")
        if blocker.due is not None:
            parts.append(f"the next one is due {moment(blocker.due, self._now)}")
        told = items_text(items.done, items.total, items.failed)
        remedy = f"Wait, or {self._line('cancel')} ends it."
        if self._execution.status is ExecutionStatus.COMPENSATING:
            remedy = "Wait: it is cancelled, and undone once what runs has ended."
        sentence = f"step {step.id} has got through {told}{'; ' if parts else ''}{', '.join(parts)}."
        return self._made(
            blocker.kind,
            sentence,
            remedy,
            step=step.id,
            since=since,
            until=blocker.due,
            by=blocker.detail,
        )

    def _approval(self, step: StepExecution) -> Reason:
        request = step.approval
        assert request is not None
        told = "; ".join(decision_text(decision) for decision in request.decisions)
        so_far = f" So far: {told}." if told else ""
        return self._made(
            BlockerKind.APPROVAL,
            f"step {step.id} waits for {names_text(request.assignees)} to decide"
            f"{self._since(request.asked_at)}, {until(request.deadline, self._now)}.{so_far}",
            f"{self._decide('approve', step)} or {self._decide('reject', step)} decides it.",
            step=step.id,
            since=request.asked_at,
            until=request.deadline,
            by=", ".join(request.assignees) or None,
        )

    def _child(self, step: StepExecution, blocker: Blocker) -> Reason:
        begun = step.started_at
        sentence = (
            f"step {step.id} waits for its sub-process, execution {blocker.detail}{self._since(begun)}, "
            f"{until(blocker.due, self._now)}."
            if begun is not None
            else f"step {step.id} waits for its sub-process."
        )
        remedy = f"Wait, or {self._line('cancel')} ends both."
        return self._made(BlockerKind.CHILD, sentence, remedy, step=step.id, since=begun, until=blocker.due)

    def _decide(self, word: str, step: StepExecution) -> str:
        return f"`{command_line(word, self._execution.id, step.id, '--as', 'USER', db=self._db)}`"

    def _slot(self, step: StepExecution) -> Reason:
        running = [b.step_id for b in self._execution.blockers if b.kind is BlockerKind.ATTEMPT and b.step_id]
        ahead = f": {', '.join(running)} must end first" if running else ""
        sentence = f"step {step.id} is ready and waits for a free slot{ahead}."
        remedy = "Wait, or raise `limits.max_concurrent_steps` for the next execution."
        return self._made(BlockerKind.SLOT, sentence, remedy, step=step.id)

    def _timer(self, step: StepExecution, due: datetime | None) -> Reason:
        begun = step.started_at
        begin = f", set at {clock_time(begun)}," if begun is not None else ""
        sentence = f"the timer of step {step.id}{begin} is due {moment(due, self._now)}."
        remedy = f"Wait, or {self._line('cancel')} ends it."
        return self._made(BlockerKind.TIMER, sentence, remedy, step=step.id, since=step.started_at, until=due)

    def _retry(self, step: StepExecution, due: datetime | None) -> Reason:
        failed = self._latest(StepRetrying, step.id)
        since = failed.timestamp if failed is not None else None
        why = f" after {failure_text(step.error)}" if step.error is not None else ""
        sentence = f"step {step.id} is tried again {moment(due, self._now)}{why}"
        return self._made(
            BlockerKind.RETRY,
            sentence if sentence.endswith(".") else f"{sentence}.",
            f"Wait, or {self._line('cancel')} ends it.",
            step=step.id,
            since=since,
            until=due,
        )

    def _event(self, step: StepExecution, blocker: Blocker) -> Reason:
        name = printable(blocker.detail or "")
        end = f", {until(blocker.due, self._now)}" if blocker.due is not None else ""
        since = step.started_at
        return self._made(
            BlockerKind.EVENT,
            f"step {step.id} waits for event {shortened(name, WIDTH)}{self._since(since)}{end}.",
            f"`{command_line('publish-event', name, db=self._db)}` publishes it.",
            step=step.id,
            since=since,
            until=blocker.due,
        )

    def _latest(self, kind: type[StepEvent] | tuple[type[StepEvent], ...], step_id: str) -> StepEvent | None:
        events = (event for event in reversed(self._events) if isinstance(event, kind))
        return next((event for event in events if event.step_id == step_id), None)

    def _limit(self, step_id: str, since: datetime | None) -> datetime | None:
        """When the attempt times out, where the process says so."""
        definition = self._execution.definition
        step = definition.step(step_id)
        timeout = (step.timeout if step is not None else None) or definition.defaults.timeout
        return since + timeout.timedelta if timeout is not None and since is not None else None

    def _since(self, since: datetime | None) -> str:
        return "" if since is None else f" since {clock_time(since)} ({span(self._now - since)})"

    def _made(
        self,
        kind: BlockerKind,
        sentence: str,
        remedy: str,
        *,
        step: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        by: str | None = None,
    ) -> Reason:
        return Reason(self._execution, kind, sentence, remedy, step, since, until, by)
