"""Requests to an execution: each may be refused (`CommandRejected`), or change nothing if it is too late."""

from __future__ import annotations

import msgspec

from process_engine.core.approvals import Ruling
from process_engine.core.children import ChildOutcome, Parent
from process_engine.core.config import ExecutionConfig
from process_engine.core.mailbox import NewEvent, PublishedEvent
from process_engine.core.results import NO_USAGE, Completed, Failed, Usage
from process_engine.core.values import NULL, Value
from process_engine.ids import ExecutionId, StepId


class Command(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag_field="type", tag=True
):
    """What every command carries: the execution it is for."""

    execution_id: ExecutionId


class StartExecution(Command, frozen=True, kw_only=True):
    """Begin the execution; with `hold` it stays `pending` until it is resumed. Again is no change.

    A child names its `parent`, and the `correlation_id` of the tree.
    """

    input: Value
    blobs: dict[str, bytes] = {}
    config: ExecutionConfig = ExecutionConfig()
    started_by: str | None = None
    hold: bool = False
    parent: Parent | None = None
    correlation_id: str | None = None


class RecordResult(Command, frozen=True, kw_only=True):
    """An attempt has ended. A result of a superseded visit or attempt changes nothing.

    Where the output is large, `result.output` is None and `value` with `blobs` holds it; the step runner
    packs it off the event loop. `item` names the item of a step that runs once for each; without it such a
    step gets what its items gave, put together, and `errors` is what went wrong with those passed over. With
    `undo` it is an attempt to undo the visit.
    """

    step_id: StepId
    visit: int
    attempt: int
    result: Completed | Failed
    value: Value | None = None
    blobs: dict[str, bytes] = {}
    item: int | None = None
    errors: Value | None = None
    undo: bool = False


class WakeStep(Command, frozen=True, kw_only=True):
    """A timer or a retry of this visit and attempt, of the step or of one of its items, is due.

    With `undo` it is a retry of the attempt to undo the visit.
    """

    step_id: StepId
    visit: int
    attempt: int
    item: int | None = None
    undo: bool = False


class InterruptAttempt(Command, frozen=True, kw_only=True):
    """The process that ran this attempt, of the step or of one of its items, is gone, without a result.

    With `undo` it was an attempt to undo the visit.
    """

    step_id: StepId
    visit: int
    attempt: int
    item: int | None = None
    undo: bool = False


class ReachDeadline(Command, frozen=True, kw_only=True):
    """The execution's timeout, or the grace of one that is about to fail, is over."""

    grace: bool = False


class PauseExecution(Command, frozen=True, kw_only=True):
    """Let running attempts finish and start nothing new."""

    reason: str = "operator"
    by: str | None = None


class ResumeExecution(Command, frozen=True, kw_only=True):
    """Start what was held: a `pending` execution as a whole, a `paused` one where it stopped."""

    by: str | None = None


class CancelExecution(Command, frozen=True, kw_only=True):
    """End the execution, at once or after it has undone what it did. No step starts any more."""

    reason: str | None = None
    by: str | None = None


class RetryStep(Command, frozen=True, kw_only=True):
    """Go on with a failed execution: what failed or was cancelled runs again, what completed is kept.

    With `step_id` that step and everything after it run again too, from the beginning. `input` replaces
    the execution's input; the steps that failed then begin a new visit.
    """

    step_id: StepId | None = None
    input: Value | None = None
    blobs: dict[str, bytes] = {}
    by: str | None = None


class DecideApproval(Command, frozen=True, kw_only=True):
    """`by`, a member of `groups`, approves or rejects what a step asks.

    `sha256` is the hash of what they were shown; a decision about something else is refused. Without it,
    it is about whatever is asked now.
    """

    step_id: StepId
    by: str
    ruling: Ruling
    groups: tuple[str, ...] = ()
    comment: str | None = None
    form: Value | None = None
    blobs: dict[str, bytes] = {}
    sha256: str | None = None


class DelegateApproval(Command, frozen=True, kw_only=True):
    """`by`, a member of `groups`, hands the decision on to the user or group `to`."""

    step_id: StepId
    by: str
    to: str
    groups: tuple[str, ...] = ()
    comment: str | None = None


class DeliverEvents(Command, frozen=True, kw_only=True):
    """These events of the mailbox, in their order, may be what this visit of the step waits for.

    It takes the first that fits and that the execution has not taken yet; a superseded visit takes none.
    """

    step_id: StepId
    visit: int
    attempt: int
    events: tuple[PublishedEvent, ...]


class ChildBegan(Command, frozen=True, kw_only=True):
    """The child of a step is recorded. Without a step that waits for just that nothing changes."""

    step_id: StepId
    child_id: ExecutionId


class ChildFinished(Command, frozen=True, kw_only=True):
    """A child of a step has ended, or cannot begin (`refused`). Again is no change.

    `outputs` is what it gave, `message` why it gave nothing, `usage` what it and its own children cost.
    """

    step_id: StepId
    child_id: ExecutionId
    outcome: ChildOutcome
    outputs: Value = NULL
    message: str | None = None
    usage: Usage = NO_USAGE


AnyCommand = (
    StartExecution
    | RecordResult
    | WakeStep
    | InterruptAttempt
    | ReachDeadline
    | PauseExecution
    | ResumeExecution
    | CancelExecution
    | RetryStep
    | DecideApproval
    | DelegateApproval
    | DeliverEvents
    | ChildBegan
    | ChildFinished
)
"""Every command to an execution."""


class PublishEvent(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag_field="type", tag=True
):
    """Put an event into the mailbox, for whoever waits for it now or later. Again is no change.

    `blobs` holds the payload where it is large.
    """

    event: NewEvent
    blobs: dict[str, bytes] = {}


InboxCommand = AnyCommand | PublishEvent
"""Every command that another process may leave in a store; the durable inbox decodes with it."""
