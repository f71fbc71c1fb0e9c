"""Facts about an execution, in the past tense. Events alone change state (`core/evolve/`).

Every event is a row with a sequence number without gaps. Public events tell the story to people;
bookkeeping events share log and sequence and are shown on request.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

import msgspec

from process_engine.core.approvals import Decision, Request
from process_engine.core.children import ChildOutcome, Parent
from process_engine.core.config import ExecutionConfig
from process_engine.core.failures import Failure
from process_engine.core.results import NO_USAGE, Usage
from process_engine.core.values import NULL, Value
from process_engine.ids import DefinitionHash, ExecutionId, StepId


class Waiting(StrEnum):
    """What a step of status `waiting` waits for."""

    TIMER = "timer"
    RETRY = "retry"
    EVENT = "event"
    CHILD = "child"


class Event(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag_field="type", tag=True
):
    """What every event carries.

    `sequence` is 1, 2, 3 … within the execution; all events of one transition share `timestamp` (UTC);
    `correlation_id` is shared by an execution and its children.
    """

    execution_id: ExecutionId
    sequence: int
    timestamp: datetime
    process_name: str
    correlation_id: str

    public: ClassVar[bool] = True

    @property
    def id(self) -> str:
        """Unique over all events, the same in every store."""
        return f"{self.execution_id}/{self.sequence}"

    @property
    def type(self) -> str:
        """The event's name, as in the log."""
        return type(self).__name__


class StepEvent(Event, frozen=True, kw_only=True):
    """An event about one step. `visit` counts from 1; `attempt` is 0 where no attempt was begun."""

    step_id: StepId
    visit: int = 1
    attempt: int = 0


class ExecutionCreated(Event, frozen=True, kw_only=True):
    """The execution exists, with everything about it that never changes (bookkeeping)."""

    definition_hash: DefinitionHash
    version: str
    input: Value
    config: ExecutionConfig
    started_by: str | None = None
    parent: Parent | None = None
    public: ClassVar[bool] = False


class ProcessStarted(Event, frozen=True, kw_only=True):
    """Steps start from now on. `deadline` is when the whole execution times out, if it does."""

    deadline: datetime | None = None


class ProcessPaused(Event, frozen=True, kw_only=True):
    """Nothing new starts until it is resumed."""

    reason: str
    by: str | None = None


class ProcessResumed(Event, frozen=True, kw_only=True):
    """What was held starts again, first in first out."""

    by: str | None = None


class ProcessReopened(Event, frozen=True, kw_only=True):
    """A failed execution goes on. `steps` are as if never started; those in `again` begin a new visit.

    `input` replaces the execution's input where it is given; `deadline` is when it times out now.
    """

    steps: tuple[StepId, ...]
    again: tuple[StepId, ...] = ()
    input: Value | None = None
    deadline: datetime | None = None
    by: str | None = None


class ProcessStopping(Event, frozen=True, kw_only=True):
    """The execution is about to fail; running attempts may answer until `due` (bookkeeping)."""

    failure: Failure
    due: datetime
    public: ClassVar[bool] = False


class ProcessCancelling(Event, frozen=True, kw_only=True):
    """The execution is cancelled once it has undone what it did; attempts may answer until `due`
    (bookkeeping)."""

    due: datetime
    reason: str | None = None
    by: str | None = None
    public: ClassVar[bool] = False


class ProcessCompleted(Event, frozen=True, kw_only=True):
    """Every step is settled and none failed for good."""

    outputs: Value


class ProcessFailed(Event, frozen=True, kw_only=True):
    """The execution ended by a failure; steps that never started are cancelled by this event."""

    failure: Failure


class ProcessCancelled(Event, frozen=True, kw_only=True):
    """The execution was cancelled; steps that never started are cancelled by this event."""

    reason: str | None = None
    by: str | None = None


class StepQueued(StepEvent, frozen=True, kw_only=True):
    """The step, or its next attempt, may run and waits in line for a slot or a resume (bookkeeping)."""

    public: ClassVar[bool] = False


class StepStarted(StepEvent, frozen=True, kw_only=True):
    """The visit began, with its first attempt. `request` was rendered for it, and every attempt gets it.

    A step that runs once for each item of a list has `items` of them, and `request` holds the list.
    """

    step_type: str
    agent: str | None = None
    request: Value | None = None
    items: int | None = None


class AttemptStarted(StepEvent, frozen=True, kw_only=True):
    """Another attempt of the visit began (bookkeeping; the first is told by `StepStarted`)."""

    public: ClassVar[bool] = False


class StepRetrying(StepEvent, frozen=True, kw_only=True):
    """Attempt `attempt` failed; the next one is due at `due`, `delay_seconds` from then.

    `progress` is what the attempt did all the same: the next one is told.
    """

    failure: Failure
    delay_seconds: float
    due: datetime
    usage: Usage = NO_USAGE
    progress: object = None


class StepWaiting(StepEvent, frozen=True, kw_only=True):
    """The step waits, holding nothing: until `due`, or until `event` is published, without `due` for ever."""

    waiting_for: Waiting
    due: datetime | None = None
    event: str | None = None


class EventReceived(StepEvent, frozen=True, kw_only=True):
    """The step has taken an event of the mailbox; its payload is what the step completes with.

    `position` is its place in the mailbox, `by` who published it.
    """

    event: str
    event_id: str
    position: int
    published_at: datetime
    by: str | None = None


class StepWaitingApproval(StepEvent, frozen=True, kw_only=True):
    """The step waits, holding nothing, until people have decided or `due` is reached."""

    due: datetime


class ApprovalRequested(StepEvent, frozen=True, kw_only=True):
    """People are asked to decide what `request` shows; it names who may, and until when."""

    request: Request


class ApprovalDecided(StepEvent, frozen=True, kw_only=True):
    """Somebody has approved or rejected; whether that is enough is told by what follows."""

    approval_id: str
    decision: Decision


class ApprovalDelegated(StepEvent, frozen=True, kw_only=True):
    """`by` handed the decision on to `to`: in place of the assignee `instead_of`, or beside their group."""

    approval_id: str
    by: str
    to: str
    instead_of: str | None = None
    comment: str | None = None


class ApprovalReminded(StepEvent, frozen=True, kw_only=True):
    """It is time to remind those who have not decided; `number` counts from 1."""

    approval_id: str
    number: int


class ApprovalEscalated(StepEvent, frozen=True, kw_only=True):
    """Nobody decided for a while: `to` may decide as well."""

    approval_id: str
    to: tuple[str, ...]


class ApprovalExpired(StepEvent, frozen=True, kw_only=True):
    """The deadline passed without enough decisions; `action` says what that means."""

    approval_id: str
    action: str


class ChildStarted(StepEvent, frozen=True, kw_only=True):
    """The step has a sub-process started, an execution under the id `child_id`; no `version`: the latest."""

    child_id: ExecutionId
    process: str
    version: str | None = None


class ChildRecalled(StepEvent, frozen=True, kw_only=True):
    """The step's time is up: its child is told to cancel, and the step fails once it has (bookkeeping)."""

    child_id: ExecutionId
    failure: Failure
    public: ClassVar[bool] = False


class ChildEnded(StepEvent, frozen=True, kw_only=True):
    """A child has ended; `usage` is what it and its own children cost (bookkeeping).

    The only event that may come after the end: what was told to cancel is paid for when it has.
    """

    child_id: ExecutionId
    outcome: ChildOutcome
    usage: Usage = NO_USAGE
    public: ClassVar[bool] = False


class StepCompleted(StepEvent, frozen=True, kw_only=True):
    """The visit succeeded. `routes` are the targets that a gateway chose; `errors` a list of `{index, code,
    message}` where the step ran once for each item of a list."""

    output: Value
    routes: tuple[str, ...] | None = None
    usage: Usage = NO_USAGE
    errors: Value | None = None


class StepFailed(StepEvent, frozen=True, kw_only=True):
    """The visit failed for good. `handled_by` is the step that its `on_error` goes to, if it does.

    `output` is what can be read of it all the same: how people have decided. `progress` is what the last
    attempt did all the same: one that somebody asks for is told.
    """

    failure: Failure
    handled_by: StepId | None = None
    usage: Usage = NO_USAGE
    output: Value = NULL
    progress: object = None


class StepSkipped(StepEvent, frozen=True, kw_only=True):
    """The visit does not take place (`reason` of `SkipReason`); `failure` where an error was skipped.

    `output` is what can be read of it all the same: how people have decided.
    """

    reason: str
    failure: Failure | None = None
    usage: Usage = NO_USAGE
    output: Value = NULL


class StepCancelled(StepEvent, frozen=True, kw_only=True):
    """The visit was ended from outside while it was running or waiting."""

    reason: str


class ItemEvent(StepEvent, frozen=True, kw_only=True):
    """An event about one item of a step that runs once for each item (bookkeeping).

    `item` counts from 0 in the list; `attempt` is that of the item.
    """

    item: int
    public: ClassVar[bool] = False


class ItemStarted(ItemEvent, frozen=True, kw_only=True):
    """An attempt of the item began (bookkeeping)."""


class ItemRetrying(ItemEvent, frozen=True, kw_only=True):
    """The attempt failed; the next one is due at `due`, `delay_seconds` from then (bookkeeping)."""

    failure: Failure
    delay_seconds: float
    due: datetime
    usage: Usage = NO_USAGE


class ItemCompleted(ItemEvent, frozen=True, kw_only=True):
    """The item succeeded: its place in the step's output is filled (bookkeeping)."""

    output: Value
    usage: Usage = NO_USAGE


class ItemFailed(ItemEvent, frozen=True, kw_only=True):
    """The item failed for good: it is passed over, or fails the step (bookkeeping)."""

    failure: Failure
    usage: Usage = NO_USAGE


class StepsReopened(Event, frozen=True, kw_only=True):
    """A loop went back to `target`: it and all its descendants begin a new visit (bookkeeping)."""

    target: StepId
    by: StepId
    steps: tuple[StepId, ...]
    public: ClassVar[bool] = False


class CompensationPrepared(StepEvent, frozen=True, kw_only=True):
    """What undoing this visit would ask was rendered, or could not be: `failure` (bookkeeping)."""

    agent: str | None = None
    request: Value | None = None
    failure: Failure | None = None
    public: ClassVar[bool] = False


class CompensationStarted(StepEvent, frozen=True, kw_only=True):
    """A completed visit is being undone. `attempt` counts the attempts to undo it."""

    agent: str | None = None


class CompensationAttemptStarted(StepEvent, frozen=True, kw_only=True):
    """Another attempt to undo the visit began (bookkeeping; the first is told by `CompensationStarted`)."""

    public: ClassVar[bool] = False


class CompensationRetrying(StepEvent, frozen=True, kw_only=True):
    """Attempt `attempt` to undo the visit failed; the next one is due at `due`."""

    failure: Failure
    delay_seconds: float
    due: datetime
    usage: Usage = Usage()


class CompensationCompleted(StepEvent, frozen=True, kw_only=True):
    """The visit is undone. `output` is what was answered to that."""

    output: Value = NULL
    usage: Usage = Usage()


class CompensationFailed(StepEvent, frozen=True, kw_only=True):
    """The visit could not be undone and stays as it is; the others are undone all the same."""

    failure: Failure
    usage: Usage = Usage()


AnyEvent = (
    ExecutionCreated
    | ProcessStarted
    | ProcessPaused
    | ProcessResumed
    | ProcessReopened
    | ProcessStopping
    | ProcessCancelling
    | ProcessCompleted
    | ProcessFailed
    | ProcessCancelled
    | StepQueued
    | StepStarted
    | AttemptStarted
    | StepRetrying
    | StepWaiting
    | EventReceived
    | StepWaitingApproval
    | ApprovalRequested
    | ApprovalDecided
    | ApprovalDelegated
    | ApprovalReminded
    | ApprovalEscalated
    | ApprovalExpired
    | ChildStarted
    | ChildRecalled
    | ChildEnded
    | StepCompleted
    | StepFailed
    | StepSkipped
    | StepCancelled
    | StepsReopened
    | CompensationPrepared
    | CompensationStarted
    | CompensationAttemptStarted
    | CompensationRetrying
    | CompensationCompleted
    | CompensationFailed
    | ItemStarted
    | ItemRetrying
    | ItemCompleted
    | ItemFailed
)
"""Every event there is; the store decodes with it."""
