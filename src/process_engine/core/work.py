"""What must be done after a commit, derived from the state alone.

A step that runs owes an attempt, one that waits owes a wake-up, an execution owes its deadlines. Because the
work follows from the state by a function, no transition can forget to schedule or to withdraw it.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from process_engine.core.children import Recall
from process_engine.core.events import Waiting
from process_engine.core.state import FINAL, RUNNING, WAITING, WAITING_APPROVAL, Head, StepState
from process_engine.ids import ExecutionId


class WorkKind(StrEnum):
    """What is to be done: run an attempt now, or send a command when something is due.

    CHILD: see to a step's child, which is to have ended when it is due. RECALL: cancel one, now.
    """

    ATTEMPT = "attempt"
    TIMER = "timer"
    RETRY = "retry"
    DEADLINE = "deadline"
    GRACE = "grace"
    APPROVAL = "approval"
    EVENT = "event"
    CHILD = "child"
    RECALL = "recall"


_ATTEMPT = WorkKind.ATTEMPT
_EVENT = Waiting.EVENT


class WorkItem(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One open piece of work. An execution has at most one for each `key`: a step id, or `:deadline`,
    `:grace`, `:child/ID` for a child to cancel.

    `due` is None for attempts, which run at once, and for what waits for an event without a timeout.
    """

    execution_id: ExecutionId
    key: str
    kind: WorkKind
    visit: int = 0
    attempt: int = 0
    due: datetime | None = None


DEADLINE_KEY = ":deadline"
GRACE_KEY = ":grace"
CHILD_KEY = ":child/"


def step_work(execution_id: ExecutionId, step_id: str, step: StepState) -> WorkItem | None:
    """The work that a step in this state owes, if any."""
    status = step.status
    if status is RUNNING:
        return WorkItem(execution_id, step_id, _ATTEMPT, step.visit, step.attempt)
    if step.due is None and step.waiting_for is not _EVENT:
        return None
    if status is WAITING_APPROVAL:
        return WorkItem(execution_id, step_id, WorkKind.APPROVAL, step.visit, step.attempt, step.due)
    if status is WAITING and step.waiting_for is not None:
        kind = WorkKind.RECALL if _is_recalled(step) else WorkKind(step.waiting_for)
        return WorkItem(execution_id, step_id, kind, step.visit, step.attempt, step.due)
    return None


def _is_recalled(step: StepState) -> bool:
    waits = step.waiting_for is Waiting.CHILD and step.child is not None
    return waits and step.child is not None and step.child.recalled is not None


def execution_work(execution_id: ExecutionId, head: Head) -> tuple[WorkItem, ...]:
    """The deadlines that an execution in this state owes, and the children that it has to cancel."""
    recalls = tuple(_recall(execution_id, recall) for recall in head.recalls) if head.recalls else ()
    if head.status in FINAL:
        return recalls
    if head.stopping is not None:
        return (*recalls, WorkItem(execution_id, GRACE_KEY, WorkKind.GRACE, due=head.stopping.due))
    if head.deadline is not None:
        return (*recalls, WorkItem(execution_id, DEADLINE_KEY, WorkKind.DEADLINE, due=head.deadline))
    return recalls


def _recall(execution_id: ExecutionId, recall: Recall) -> WorkItem:
    key = CHILD_KEY + recall.id
    return WorkItem(execution_id, key, WorkKind.RECALL, recall.visit, recall.attempt, recall.at)
