"""Executions told as a story, for tests of the core: each verb is a command, and all invariants are checked.

::

    run = execution_of("a", a={"retry": {"max_attempts": 2}}).started().failed("a").retried("a")
    after = run.answers("a", Completed("too late"), attempt=1)
    assert after.events == ()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from process_engine.core import commands as c
from process_engine.core.approvals import Ruling
from process_engine.core.children import ChildOutcome
from process_engine.core.config import ExecutionConfig
from process_engine.core.decide import transition
from process_engine.core.events import Event, ItemCompleted, ItemFailed, StepEvent
from process_engine.core.invariants import Audit, check
from process_engine.core.items import OpenItem
from process_engine.core.mailbox import NewEvent, PublishedEvent
from process_engine.core.plan import Plan, compile_plan
from process_engine.core.results import Completed, Failed, Usage
from process_engine.core.state import Execution, ExecutionStatus, Snapshot, StepState
from process_engine.core.transition import Needs
from process_engine.core.undo import Undoing
from process_engine.core.values import Value, pack
from process_engine.core.work import WorkItem
from process_engine.definition.document import ProcessDefinition
from process_engine.errors import CommandRejected
from process_engine.ids import ExecutionId, StepId
from process_engine.testing.drawing import process

EXECUTION_ID = ExecutionId("e1")
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


def execution_of(
    drawn: str | ProcessDefinition, *, config: ExecutionConfig | None = None, **keys: object
) -> Story:
    """An execution of a drawing (see `drawing.process`) or of a definition that has not been started yet."""
    definition = process(drawn, **keys) if isinstance(drawn, str) else drawn
    return Story(compile_plan(definition), config or ExecutionConfig())


@dataclass(frozen=True)
class Story:
    """An execution so far. Every verb gives a new story; `events` are those of the last command only.

    `history` holds all events, `work` what is owed, `values` every large value. With `loads_values=False` a
    command that needs a large value raises `LookupError` instead of being decided again with it.
    """

    plan: Plan
    config: ExecutionConfig
    now: datetime = BEGINNING
    known: Execution | None = None
    events: tuple[Event, ...] = ()
    history: tuple[Event, ...] = ()
    owed: Mapping[str, WorkItem] = field(default_factory=dict[str, WorkItem])
    values: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    loads_values: bool = True

    # ------------------------------------------------------------ reading

    @property
    def execution(self) -> Execution:
        """The state now."""
        assert self.known is not None, "the execution has not been started"
        return self.known

    @property
    def status(self) -> ExecutionStatus:
        """The stored status now."""
        return self.execution.status

    @property
    def work(self) -> Sequence[WorkItem]:
        """Everything that is to be done."""
        return tuple(self.owed.values())

    @property
    def told(self) -> list[str]:
        """The public events so far, as `StepStarted a` or `ProcessStarted`."""
        return [_line(event) for event in self.history if event.public]

    @property
    def told_now(self) -> list[str]:
        """The public events of the last command."""
        return [_line(event) for event in self.events if event.public]

    def step(self, step_id: str) -> StepState:
        """The state of a step."""
        return self.execution.step(StepId(step_id))

    def running(self) -> list[str]:
        """The steps with a running attempt, in definition order."""
        return [step for step in self.plan.order if self.step(step).status == "running"]

    @property
    def undoing(self) -> Undoing:
        """The compensation that is under way."""
        stopping = self.execution.head.stopping
        assert stopping is not None
        assert stopping.undoing is not None, "nothing is being undone"
        return stopping.undoing

    # ------------------------------------------------------------ verbs

    def after(self, seconds: float) -> Story:
        """Let time pass; nothing else happens."""
        return replace(self, now=self.now + timedelta(seconds=seconds), events=())

    def started(self, given: object = None, *, hold: bool = False, by: str | None = None) -> Story:
        """Start with an input (an empty object unless given)."""
        value, blobs = pack({} if given is None else given)
        return self.obeys(
            c.StartExecution(
                execution_id=EXECUTION_ID,
                input=value,
                blobs=blobs,
                config=self.config,
                hold=hold,
                started_by=by,
            )
        )

    def answers(
        self,
        step_id: str,
        result: Completed | Failed,
        *,
        visit: int | None = None,
        attempt: int | None = None,
    ) -> Story:
        """An attempt answers: the running one unless another is named."""
        state = self.step(step_id)
        return self.obeys(
            c.RecordResult(
                execution_id=EXECUTION_ID,
                step_id=StepId(step_id),
                visit=state.visit if visit is None else visit,
                attempt=state.attempt if attempt is None else attempt,
                result=result,
            )
        )

    def completed(self, step_id: str, output: object = None, *, usage: Usage | None = None) -> Story:
        """The running attempt succeeds."""
        return self.answers(step_id, Completed(output, usage=usage or Usage()))

    def failed(
        self,
        step_id: str,
        code: str = "AGENT_UNAVAILABLE",
        *,
        retry_after: float | None = None,
        usage: Usage | None = None,
    ) -> Story:
        """The running attempt fails; `AGENT_UNAVAILABLE` is transient, `AGENT_ERROR` is not."""
        return self.answers(step_id, Failed(code, "no", retry_after=retry_after, usage=usage or Usage()))

    def retried(self, step_id: str) -> Story:
        """Time goes on to when the step's retry or timer is due, and it is woken."""
        return self.at_due(step_id).woken(step_id)

    def at_due(self, step_id: str) -> Story:
        """Time goes on to when the step's retry or timer is due; nothing else happens."""
        due = self.step(step_id).due
        assert due is not None, f"{step_id} waits for no time"
        return replace(self, now=max(self.now, due), events=())

    def woken(self, step_id: str, *, visit: int | None = None, attempt: int | None = None) -> Story:
        """The step's timer fires now, be it due or not."""
        state = self.step(step_id)
        return self.obeys(
            c.WakeStep(
                execution_id=EXECUTION_ID,
                step_id=StepId(step_id),
                visit=state.visit if visit is None else visit,
                attempt=state.attempt if attempt is None else attempt,
            )
        )

    def interrupted(self, step_id: str) -> Story:
        """The process that ran the attempt is gone."""
        state = self.step(step_id)
        return self.obeys(
            c.InterruptAttempt(
                execution_id=EXECUTION_ID, step_id=StepId(step_id), visit=state.visit, attempt=state.attempt
            )
        )

    def item_answers(
        self,
        step_id: str,
        index: int,
        result: Completed | Failed,
        *,
        visit: int | None = None,
        attempt: int | None = None,
    ) -> Story:
        """An attempt of an item answers: the running one unless another is named."""
        return self.obeys(
            c.RecordResult(
                execution_id=EXECUTION_ID,
                step_id=StepId(step_id),
                visit=self.step(step_id).visit if visit is None else visit,
                attempt=self.item(step_id, index).attempt if attempt is None else attempt,
                item=index,
                result=result,
            )
        )

    def item(self, step_id: str, index: int) -> OpenItem:
        """An item that has begun and not ended."""
        items = self.step(step_id).items
        found = items.find(index) if items is not None else None
        assert found is not None, f"item {index} of {step_id} is not open"
        return found

    def item_woken(self, step_id: str, index: int) -> Story:
        """Time goes on to when the item is to be tried again, and it is woken."""
        item, visit = self.item(step_id, index), self.step(step_id).visit
        assert item.due is not None, f"item {index} of {step_id} waits for no time"
        command = c.WakeStep(
            execution_id=EXECUTION_ID,
            step_id=StepId(step_id),
            visit=visit,
            attempt=item.attempt,
            item=index,
        )
        return replace(self, now=max(self.now, item.due), events=()).obeys(command)

    def item_interrupted(self, step_id: str, index: int) -> Story:
        """The process that ran the item is gone."""
        return self.obeys(
            c.InterruptAttempt(
                execution_id=EXECUTION_ID,
                step_id=StepId(step_id),
                visit=self.step(step_id).visit,
                attempt=self.item(step_id, index).attempt,
                item=index,
            )
        )

    def collected(self, step_id: str) -> Story:
        """What the items gave is put together, as the history tells it."""
        state = self.step(step_id)
        ended = {
            event.item: event
            for event in self.history
            if isinstance(event, ItemCompleted | ItemFailed)
            and (event.step_id, event.visit) == (step_id, state.visit)
        }
        outputs = [ended[index] for index in sorted(ended)]
        return self.obeys(
            c.RecordResult(
                execution_id=EXECUTION_ID,
                step_id=StepId(step_id),
                visit=state.visit,
                attempt=state.attempt,
                result=Completed(),
                value=Value([one.output.data if isinstance(one, ItemCompleted) else None for one in outputs]),
                errors=Value(
                    [
                        {"index": one.item, "code": one.failure.code, "message": one.failure.message}
                        for one in outputs
                        if isinstance(one, ItemFailed)
                    ]
                ),
            )
        )

    def approved(
        self,
        step_id: str,
        by: str = "ann",
        *,
        groups: tuple[str, ...] = (),
        comment: str | None = None,
        form: object = None,
        sha256: str | None = None,
    ) -> Story:
        """Somebody approves what a step asks."""
        return self.obeys(decision(step_id, by, Ruling.APPROVED, groups, comment, form, sha256))

    def rejected(
        self, step_id: str, by: str = "ann", *, groups: tuple[str, ...] = (), comment: str | None = "no"
    ) -> Story:
        """Somebody rejects what a step asks."""
        return self.obeys(decision(step_id, by, Ruling.REJECTED, groups, comment))

    def offered(self, step_id: str, *events: PublishedEvent, visit: int | None = None) -> Story:
        """Events of the mailbox are brought to a step."""
        state = self.step(step_id)
        return self.obeys(
            c.DeliverEvents(
                execution_id=EXECUTION_ID,
                step_id=StepId(step_id),
                visit=visit or state.visit,
                attempt=state.attempt,
                events=events,
            )
        )

    def child(self, step_id: str) -> ExecutionId:
        """The id of the step's latest child."""
        child = self.step(step_id).child
        assert child is not None, f"{step_id} has no child"
        return child.id

    def child_began(self, step_id: str) -> Story:
        """The child of the step is recorded."""
        return self.obeys(
            c.ChildBegan(execution_id=EXECUTION_ID, step_id=StepId(step_id), child_id=self.child(step_id))
        )

    def child_ended(
        self,
        step_id: str,
        outcome: ChildOutcome = ChildOutcome.COMPLETED,
        outputs: object = None,
        *,
        child_id: ExecutionId | None = None,
        message: str | None = None,
        usage: Usage | None = None,
    ) -> Story:
        """A child of the step ends: the latest one unless another is named."""
        value, blobs = pack({} if outputs is None else outputs)
        told = replace(self, values={**self.values, **blobs})
        return told.obeys(
            c.ChildFinished(
                execution_id=EXECUTION_ID,
                step_id=StepId(step_id),
                child_id=child_id or self.child(step_id),
                outcome=outcome,
                outputs=value,
                message=message,
                usage=usage or Usage(),
            )
        )

    def paused(self) -> Story:
        """An operator pauses."""
        return self.obeys(c.PauseExecution(execution_id=EXECUTION_ID))

    def resumed(self) -> Story:
        """An operator resumes."""
        return self.obeys(c.ResumeExecution(execution_id=EXECUTION_ID))

    def cancelled(self) -> Story:
        """An operator cancels."""
        return self.obeys(c.CancelExecution(execution_id=EXECUTION_ID))

    def retried_as_a_whole(self, step_id: str | None = None, *, given: object = None) -> Story:
        """An operator takes a failed execution back, from `step_id` on if named, with new input if given."""
        value, blobs = (None, {}) if given is None else pack(given)
        return self.obeys(
            c.RetryStep(
                execution_id=EXECUTION_ID,
                step_id=None if step_id is None else StepId(step_id),
                input=value,
                blobs=blobs,
            )
        )

    def undone(self, output: object = None, *, usage: Usage | None = None) -> Story:
        """The attempt to undo that is under way succeeds."""
        return self.answers_undo(Completed(output, usage=usage or Usage()))

    def undo_failed(
        self, code: str = "AGENT_UNAVAILABLE", *, usage: Usage | None = None, retry_after: float | None = None
    ) -> Story:
        """The attempt to undo that is under way fails; `AGENT_UNAVAILABLE` is transient."""
        return self.answers_undo(Failed(code, "no", retry_after=retry_after, usage=usage or Usage()))

    def answers_undo(self, result: Completed | Failed, *, of: Undoing | None = None) -> Story:
        """An attempt to undo answers: the one under way unless another is named."""
        undoing = of or self.undoing
        return self.obeys(
            c.RecordResult(
                execution_id=EXECUTION_ID,
                step_id=undoing.step_id,
                visit=undoing.visit,
                attempt=undoing.attempt,
                result=result,
                undo=True,
            )
        )

    def undo_retried(self, *, after: float | None = None) -> Story:
        """The timer of the next attempt to undo fires: when it is due, or so many seconds from now."""
        undoing = self.undoing
        assert undoing.due is not None, "it waits for no time"
        now = max(self.now, undoing.due) if after is None else self.now + timedelta(seconds=after)
        return replace(self, now=now).obeys(
            c.WakeStep(
                execution_id=EXECUTION_ID,
                step_id=undoing.step_id,
                visit=undoing.visit,
                attempt=undoing.attempt,
                undo=True,
            )
        )

    def undo_interrupted(self) -> Story:
        """The process that ran the attempt to undo is gone."""
        undoing = self.undoing
        return self.obeys(
            c.InterruptAttempt(
                execution_id=EXECUTION_ID,
                step_id=undoing.step_id,
                visit=undoing.visit,
                attempt=undoing.attempt,
                undo=True,
            )
        )

    def deadline_reached(self, *, grace: bool = False) -> Story:
        """The timer of the execution's timeout, or of its grace, fires now, be it due or not."""
        return self.obeys(c.ReachDeadline(execution_id=EXECUTION_ID, grace=grace))

    def obeys(self, command: c.AnyCommand) -> Story:
        """Decide any command and check every invariant on what comes of it.

        Raises:
            CommandRejected: the command does not fit; nothing has changed.
        """
        decided = transition(
            self.plan, self.known, command, self.now, self.values if self.loads_values else {}
        )
        if isinstance(decided, Needs):
            raise LookupError(f"needs {[ref.sha256 for ref in decided.refs]}")
        owed = dict(self.owed)
        for done in decided.done:
            del owed[done.key]
        owed.update((item.key, item) for item in decided.work)
        after = replace(
            self,
            known=decided.execution,
            events=decided.events,
            history=(*self.history, *decided.events),
            owed=owed,
            values={**self.values, **decided.blobs},
        )
        after.checked()
        return after

    def refuses(self, command: c.AnyCommand) -> CommandRejected:
        """The refusal of a command that does not fit."""
        try:
            self.obeys(command)
        except CommandRejected as refusal:
            return refusal
        raise AssertionError(f"{command} was not refused")

    def checked(self) -> Story:
        """This story, after every invariant was checked.

        Raises:
            BrokenInvariant: one does not hold.
        """
        execution = self.execution
        stored = Snapshot(execution.created, execution.head, execution.steps)
        check(Audit(self.plan, stored, self.history, self.work))
        return self


def published(
    position: int,
    payload: object = None,
    *,
    name: str = "go",
    to: str | None = None,
    seconds: float = 0.0,
) -> PublishedEvent:
    """An event in the mailbox, published so many seconds after `BEGINNING`."""
    made = NewEvent(
        id=f"p{position}",
        name=name,
        payload=pack(payload)[0],
        published_at=BEGINNING + timedelta(seconds=seconds),
        execution_id=None if to is None else ExecutionId(to),
    )
    return PublishedEvent(position, made)


def decision(
    step_id: str,
    by: str = "ann",
    ruling: Ruling = Ruling.APPROVED,
    groups: tuple[str, ...] = (),
    comment: str | None = None,
    form: object = None,
    sha256: str | None = None,
) -> c.DecideApproval:
    """The command with which `by` decides about a step."""
    return c.DecideApproval(
        execution_id=EXECUTION_ID,
        step_id=StepId(step_id),
        by=by,
        ruling=ruling,
        groups=groups,
        comment=comment,
        form=Value(form) if form is not None else None,
        sha256=sha256,
    )


def _line(event: Event) -> str:
    return f"{event.type} {event.step_id}" if isinstance(event, StepEvent) else event.type
