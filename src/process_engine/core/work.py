"""What must be done after a commit, derived from the state alone.

A step that runs owes an attempt, one that waits owes a wake-up, an execution owes its deadlines. Because the
work follows from the state by a function, no transition can forget to schedule or to withdraw it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec

from process_engine.core.children import Recall
from process_engine.core.events import Waiting
from process_engine.core.items import Items, OpenItem
from process_engine.core.state import FINAL, RUNNING, WAITING, WAITING_APPROVAL, Head, StepState
from process_engine.core.undo import Undoing
from process_engine.ids import ExecutionId, StepId


class WorkKind(StrEnum):
    """What is to be done: run an attempt now, put together what the items of a step gave, or send a command
    when something is due.

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
    COLLECT = "collect"


_ATTEMPT = WorkKind.ATTEMPT
_AT_ONCE = (WorkKind.ATTEMPT, WorkKind.COLLECT)
_EVENT = Waiting.EVENT


class WorkItem(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One open piece of work. An execution has at most one for each `key`: a step id, that of an item as
    `step[17]`, `:undo:` and the id of the step that is being undone, `:deadline`, `:grace`, or `:child/ID`
    for a child to cancel.

    `due` is None for what runs at once, and for what waits for an event without a timeout.
    """

    execution_id: ExecutionId
    key: str
    kind: WorkKind
    visit: int = 0
    attempt: int = 0
    due: datetime | None = None

    @property
    def runs_at_once(self) -> bool:
        """Whether it is an attempt, or putting together what items gave: what a crash interrupts."""
        return self.kind in _AT_ONCE

    @property
    def step_id(self) -> StepId:
        """The step whose work it is, or that it undoes."""
        return place_of(self.key).step_id

    @property
    def item(self) -> int | None:
        """The item whose work it is, None where it is that of the step as a whole."""
        return place_of(self.key).item

    @property
    def undoes(self) -> bool:
        """Whether it takes back what a visit did."""
        return self.key.startswith(_UNDO_PREFIX)


class Place(NamedTuple):
    """What a piece of work is about: a step, one of its items, or the undoing of a visit of it."""

    step_id: StepId
    item: int | None
    undo: bool


DEADLINE_KEY = ":deadline"
GRACE_KEY = ":grace"
CHILD_KEY = ":child/"
_UNDO_PREFIX = ":undo:"


def undo_key(step_id: str) -> str:
    """The key of the work that undoes a visit of the step."""
    return f"{_UNDO_PREFIX}{step_id}"


def item_key(step_id: str, index: int) -> str:
    """The key of what is to be done for one item."""
    return f"{step_id}[{index}]"


def work_key(step_id: str, item: int | None = None, *, undo: bool = False) -> str:
    """The key of what is to be done for a step, for one of its items, or to undo a visit of it."""
    if undo:
        return undo_key(step_id)
    return step_id if item is None else item_key(step_id, item)


def place_of(key: str) -> Place:
    """What a piece of work with this key is about, where it is about a step at all."""
    step_id, bracket, number = key.removeprefix(_UNDO_PREFIX).partition("[")
    return Place(StepId(step_id), int(number[:-1]) if bracket else None, key.startswith(_UNDO_PREFIX))


def step_work(execution_id: ExecutionId, step_id: str, step: StepState) -> WorkItem | None:
    """The work that a step in this state owes as a whole, if any; see `item_work` for that of its items."""
    status = step.status
    if status is RUNNING:
        if step.items is not None:
            return _collection(execution_id, step_id, step, step.items)
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


def _collection(execution_id: ExecutionId, step_id: str, step: StepState, items: Items) -> WorkItem | None:
    if not items.is_complete:
        return None
    return WorkItem(execution_id, step_id, WorkKind.COLLECT, step.visit, step.attempt)


def item_work(execution_id: ExecutionId, step_id: str, step: StepState) -> list[WorkItem]:
    """The work that the items of a step in this state owe, in the order of their keys' numbers."""
    if step.items is None or step.status is not RUNNING:
        return []
    items = sorted(step.items.open, key=lambda item: item.index)
    owed = (_work_of_item(execution_id, step_id, step.visit, item) for item in items)
    return [work for work in owed if work is not None]


def _work_of_item(
    execution_id: ExecutionId, step_id: str, visit: int, item: OpenItem | None
) -> WorkItem | None:
    if item is None:
        return None
    key = item_key(step_id, item.index)
    if item.running:
        return WorkItem(execution_id, key, _ATTEMPT, visit, item.attempt)
    if item.due is not None:
        return WorkItem(execution_id, key, WorkKind.RETRY, visit, item.attempt, item.due)
    return None


def item_work_between(
    execution_id: ExecutionId,
    step_id: str,
    before: StepState | None,
    after: StepState,
    touched: Iterable[int],
) -> tuple[list[WorkItem], list[WorkItem]]:
    """What the items of a step owe now and did not before, and what they owed and do not any more.

    `touched` are those that something happened to while the step ran on: nobody looks at a thousand others.
    """
    if before is None or before.items is None or before.status is not RUNNING:
        return item_work(execution_id, step_id, after), []
    if after.items is None or after.status is not RUNNING or after.visit != before.visit:
        return item_work(execution_id, step_id, after), item_work(execution_id, step_id, before)
    work: list[WorkItem] = []
    done: list[WorkItem] = []
    for index in dict.fromkeys(touched):
        old = _work_of_item(execution_id, step_id, before.visit, before.items.find(index))
        new = _work_of_item(execution_id, step_id, after.visit, after.items.find(index))
        if old == new:
            continue
        if old is not None:
            done.append(old)
        if new is not None:
            work.append(new)
    return work, done


def work_of(execution_id: ExecutionId, step_id: str, step: StepState) -> list[WorkItem]:
    """All work that a step in this state owes, that of its items included."""
    own = step_work(execution_id, step_id, step)
    return ([own] if own is not None else []) + item_work(execution_id, step_id, step)


def execution_work(execution_id: ExecutionId, head: Head) -> tuple[WorkItem, ...]:
    """The deadlines that an execution in this state owes, or the undo that is under way in their place.

    Beside them the children that it has to cancel, whatever has become of it.
    """
    recalls = tuple(_recall(execution_id, recall) for recall in head.recalls) if head.recalls else ()
    if head.status in FINAL:
        return recalls
    if head.stopping is not None and head.stopping.undoing is not None:
        return (*recalls, _undo_work(execution_id, head.stopping.undoing))
    if head.stopping is not None:
        return (*recalls, WorkItem(execution_id, GRACE_KEY, WorkKind.GRACE, due=head.stopping.due))
    if head.deadline is not None:
        return (*recalls, WorkItem(execution_id, DEADLINE_KEY, WorkKind.DEADLINE, due=head.deadline))
    return recalls


def _recall(execution_id: ExecutionId, recall: Recall) -> WorkItem:
    key = CHILD_KEY + recall.id
    return WorkItem(execution_id, key, WorkKind.RECALL, recall.visit, recall.attempt, recall.at)


def _undo_work(execution_id: ExecutionId, undoing: Undoing) -> WorkItem:
    kind = WorkKind.ATTEMPT if undoing.due is None else WorkKind.RETRY
    key = undo_key(undoing.step_id)
    return WorkItem(execution_id, key, kind, undoing.visit, undoing.attempt, undoing.due)
