"""The state of an execution, and the tables of allowed moves.

Two rules. Everything that decides how an execution proceeds lives in this package. Nothing in it knows a
database, an agent, a clock or a network.

An `Execution` has three parts: `created`, the facts that never change (the first event itself); `head`, the
small record that changes with every transition; `steps`, one record per step that has left `pending`. The
fourth, `progress`, is derived from them and from the plan: it is never stored, and makes each transition
O(1).
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

import msgspec

from process_engine.core.approvals import Request
from process_engine.core.children import Child, Recall
from process_engine.core.events import ExecutionCreated, Waiting
from process_engine.core.failures import Failure
from process_engine.core.items import Items
from process_engine.core.mailbox import NOTHING_RECEIVED, Received
from process_engine.core.undo import Undo, Undoing
from process_engine.core.values import NULL, Value
from process_engine.ids import DefinitionHash, ExecutionId, StepId


class ExecutionStatus(StrEnum):
    """Where an execution stands; the last three are final."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Nothing starts any more (a failed execution can be reopened by command)."""
        return self in FINAL


FINAL = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED})


class StepStatus(StrEnum):
    """Where the current visit of a step stands; the last four are settled."""

    PENDING = "pending"
    READY = "ready"
    RUNNING = "running"
    WAITING_APPROVAL = "waiting_approval"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    @property
    def is_settled(self) -> bool:
        """The visit has ended."""
        return self in SETTLED


# The members under names of their own: the class is asked ten times as long for one of them, and what happens
# at every step asks forty times.
PENDING = StepStatus.PENDING
READY = StepStatus.READY
RUNNING = StepStatus.RUNNING
WAITING = StepStatus.WAITING
WAITING_APPROVAL = StepStatus.WAITING_APPROVAL
COMPLETED = StepStatus.COMPLETED
SKIPPED = StepStatus.SKIPPED
FAILED = StepStatus.FAILED

SETTLED = frozenset({StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.CANCELLED})

_E, _S = ExecutionStatus, StepStatus

EXECUTION_MOVES = MappingProxyType(
    {
        _E.PENDING: frozenset({_E.RUNNING, _E.CANCELLED}),
        _E.RUNNING: frozenset({_E.PAUSED, _E.COMPENSATING, _E.COMPLETED, _E.FAILED, _E.CANCELLED}),
        _E.PAUSED: frozenset({_E.RUNNING, _E.COMPENSATING, _E.COMPLETED, _E.FAILED, _E.CANCELLED}),
        _E.COMPENSATING: frozenset({_E.FAILED, _E.CANCELLED}),
        _E.COMPLETED: frozenset[ExecutionStatus](),
        _E.FAILED: frozenset({_E.RUNNING}),
        _E.CANCELLED: frozenset[ExecutionStatus](),
    }
)
"""From each status to those it may change to. FAILED to RUNNING is the reopening by a retry."""

STEP_MOVES = MappingProxyType(
    {
        _S.PENDING: frozenset({_S.READY, _S.RUNNING, _S.FAILED, _S.SKIPPED, _S.CANCELLED}),
        _S.READY: frozenset({_S.RUNNING, _S.PENDING, _S.FAILED, _S.SKIPPED, _S.CANCELLED}),
        _S.RUNNING: frozenset(
            {
                _S.WAITING,
                _S.WAITING_APPROVAL,
                _S.COMPLETED,
                _S.FAILED,
                _S.SKIPPED,
                _S.CANCELLED,
            }
        ),
        _S.WAITING: frozenset(
            {_S.WAITING, _S.READY, _S.RUNNING, _S.COMPLETED, _S.FAILED, _S.SKIPPED, _S.CANCELLED}
        ),
        _S.WAITING_APPROVAL: frozenset({_S.COMPLETED, _S.FAILED, _S.SKIPPED, _S.CANCELLED}),
        _S.COMPLETED: frozenset({_S.PENDING}),
        _S.FAILED: frozenset({_S.PENDING}),
        _S.SKIPPED: frozenset({_S.PENDING}),
        _S.CANCELLED: frozenset({_S.PENDING}),
    }
)
"""From each status to those it may change to. Back to PENDING is a new visit, or a reopened execution."""


class SkipReason(StrEnum):
    """Why a step was skipped; decides how its own edges settle."""

    CONDITION_FALSE = "condition_false"
    ROUTE_NOT_TAKEN = "route_not_taken"
    DEAD_PATH = "dead_path"
    DEPENDENCY_FAILED = "dependency_failed"
    ERROR = "error"


class StepState(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One step: its current visit, and the output of the latest settled one.

    `attempt` counts the attempts begun in this visit; `interruptions` are those among them that ended with
    the process, `forgiven` those before somebody asked to try again: neither counts against
    `max_attempts`. `request` is what was rendered at the first start, reused by every attempt and dropped
    when the visit ends well: a retry asks the same. `progress` is what failed attempts of the visit did all
    the same, as the last of them told. `queued` is the sequence number of the event that put a
    `ready` step in line, `event` the name of the published event that a `waiting` one waits for. `child` is
    its latest sub-process, whatever became of it. `items` is how far a step has got that runs once for each
    item of a list (`request` is that list), `errors` what went wrong with items that were passed over.
    `undos` are the completed visits of a step with `compensation`, oldest first.
    """

    status: StepStatus = StepStatus.PENDING
    visit: int = 1
    attempt: int = 0
    interruptions: int = 0
    forgiven: int = 0
    started_at: datetime | None = None
    completed_at: datetime | None = None
    agent: str | None = None
    request: Value | None = None
    output: Value = NULL
    has_output: bool = False
    error: Failure | None = None
    reason: str | None = None
    handled_by: StepId | None = None
    routes: tuple[str, ...] | None = None
    waiting_for: Waiting | None = None
    due: datetime | None = None
    event: str | None = None
    approval: Request | None = None
    child: Child | None = None
    items: Items | None = None
    errors: Value | None = None
    queued: int = 0
    cost: Decimal = Decimal(0)
    tokens: int = 0
    progress: object = None
    undos: tuple[Undo, ...] = ()

    @property
    def retry_count(self) -> int:
        """Attempts after the first one of this visit."""
        return max(0, self.attempt - 1)

    def undo_of(self, visit: int) -> Undo | None:
        """How to undo a completed visit, and what became of that; None where there is nothing to undo."""
        return next((undo for undo in self.undos if undo.visit == visit), None)

    @property
    def slots(self) -> int:
        """How many slots it holds: one while it runs, or one for each of its items that does."""
        if self.status is not StepStatus.RUNNING:
            return 0
        return 1 if self.items is None else self.items.slots


UNTOUCHED = StepState()
"""The state of a step that has no record yet."""


def waits_for_child(state: StepState, child_id: ExecutionId) -> bool:
    """Whether the step waits for the end of just this child."""
    child = state.child
    waits = state.status is StepStatus.WAITING and state.waiting_for is Waiting.CHILD
    return waits and child is not None and child.id == child_id


class Stopping(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The execution is about to fail with `failure`, or to be cancelled where there is none.

    Running attempts may answer until `due`; then what was done is undone, one visit at a time: `undoing` is
    the one under way. `reason` and `by` are those of the cancel.
    """

    failure: Failure | None
    due: datetime
    reason: str | None = None
    by: str | None = None
    undoing: Undoing | None = None


class Head(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What changes about an execution as a whole.

    `sequence` and `timestamp` are those of its last event; `failure` is the first failure that nothing
    handled, and becomes the execution's error when it ends. `input` replaces the one it was created with,
    once a retry has brought another. `received` are the published events that its steps have taken,
    `recalls` the children to cancel whose end is not known yet, also after the end.
    """

    status: ExecutionStatus
    sequence: int
    timestamp: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    pause_reason: str | None = None
    stopping: Stopping | None = None
    failure: Failure | None = None
    outputs: Value | None = None
    deadline: datetime | None = None
    input: Value | None = None
    recalls: tuple[Recall, ...] = ()
    cost: Decimal = Decimal(0)
    tokens: int = 0
    received: Received = NOTHING_RECEIVED


class Tally(msgspec.Struct, frozen=True, gc=False):
    """How a step's incoming edges stand. Ordering edges count apart: they are only waited for."""

    open: int
    ordering: int
    live: int = 0
    dead: int = 0
    failed: int = 0


class Progress(msgspec.Struct, frozen=True, gc=False):
    """Derived from steps and plan: edge tallies, the line of ready steps, running and unsettled counts."""

    tallies: dict[StepId, Tally]
    queue: tuple[StepId, ...]
    running: int
    unsettled: int


class Execution(msgspec.Struct, frozen=True, gc=False):
    """One run of one published version of a process."""

    created: ExecutionCreated
    head: Head
    steps: dict[StepId, StepState]
    progress: Progress

    @property
    def id(self) -> ExecutionId:
        """The execution's id."""
        return self.created.execution_id

    @property
    def definition_hash(self) -> DefinitionHash:
        """The content hash of the definition it runs."""
        return self.created.definition_hash

    @property
    def status(self) -> ExecutionStatus:
        """The stored status."""
        return self.head.status

    @property
    def input(self) -> Value:
        """What its steps read as `input`."""
        return self.head.input or self.created.input

    def step(self, step_id: StepId) -> StepState:
        """The state of a step of the plan; untouched if it has no record yet."""
        return self.steps.get(step_id, UNTOUCHED)


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """An execution as a store keeps it: everything but what is derived."""

    created: ExecutionCreated
    head: Head
    steps: dict[StepId, StepState]
