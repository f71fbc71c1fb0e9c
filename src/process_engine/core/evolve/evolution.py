"""An execution in the middle of a transition, and the ways in which events may change it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import cast

from msgspec.structs import replace

from process_engine.core import events as e
from process_engine.core.children import Recall
from process_engine.core.edges import add_edge, edge_state, tally_edges
from process_engine.core.mailbox import NOTHING_RECEIVED
from process_engine.core.plan import Plan
from process_engine.core.results import NO_USAGE, Usage
from process_engine.core.state import (
    EXECUTION_MOVES,
    READY,
    RUNNING,
    SETTLED,
    STEP_MOVES,
    UNTOUCHED,
    Execution,
    ExecutionStatus,
    Head,
    Progress,
    StepState,
    StepStatus,
    Stopping,
    Tally,
)
from process_engine.core.values import Value
from process_engine.errors import InternalError
from process_engine.ids import StepId


class Evolution:
    """An execution in the middle of a transition: applies events to a private copy of what they change.

    `changed` collects the ids of the steps whose records have changed, in order.
    """

    __slots__ = (
        "_execution",
        "_tallies",
        "changed",
        "completed_at",
        "cost",
        "created",
        "deadline",
        "failure",
        "input",
        "outputs",
        "pause_reason",
        "plan",
        "queue",
        "recalls",
        "received",
        "running",
        "sequence",
        "started_at",
        "status",
        "steps",
        "stopping",
        "timestamp",
        "tokens",
        "unsettled",
    )

    def __init__(
        self, plan: Plan, execution: Execution | None, created: e.ExecutionCreated | None = None
    ) -> None:
        self.plan = plan
        self.changed: dict[StepId, None] = {}
        self._execution = execution
        if execution is None:
            assert created is not None
            self._begin(created)
            return
        head, progress = execution.head, execution.progress
        self.created = execution.created
        self.status = head.status
        self.sequence = head.sequence
        self.timestamp = head.timestamp
        self.started_at = head.started_at
        self.completed_at = head.completed_at
        self.pause_reason = head.pause_reason
        self.stopping = head.stopping
        self.failure = head.failure
        self.outputs = head.outputs
        self.deadline = head.deadline
        self.input = head.input
        self.recalls = head.recalls
        self.cost = head.cost
        self.tokens = head.tokens
        self.received = head.received
        # One copy of each table per transition, at the speed of memcpy: about 4 ns a step.
        self.steps = dict(execution.steps)
        self._tallies = dict(progress.tallies)
        self.queue = progress.queue
        self.running = progress.running
        self.unsettled = progress.unsettled

    def _begin(self, created: e.ExecutionCreated) -> None:
        self.created = created
        self.status = ExecutionStatus.PENDING
        self.sequence: int = created.sequence
        self.timestamp = created.timestamp
        self.started_at: datetime | None = None
        self.completed_at: datetime | None = None
        self.pause_reason: str | None = None
        self.stopping: Stopping | None = None
        self.failure = None
        self.outputs: Value | None = None
        self.deadline: datetime | None = None
        self.input: Value | None = None
        self.recalls: tuple[Recall, ...] = ()
        self.cost = Decimal(0)
        self.tokens = 0
        self.received = NOTHING_RECEIVED
        self.steps: dict[StepId, StepState] = {}
        self._tallies: dict[StepId, Tally] = dict(self.plan.tallies)
        self.queue: tuple[StepId, ...] = ()
        self.running = 0
        self.unsettled = len(self.plan.order)

    # ------------------------------------------------------------ reading

    def step(self, step_id: StepId) -> StepState:
        """The state of a step as it stands now."""
        return self.steps.get(step_id, UNTOUCHED)

    def tally(self, step_id: StepId) -> Tally:
        """How the edges into a step stand now."""
        return self._tallies[step_id]

    def freeze(self) -> Execution:
        """The execution as it stands now."""
        head = Head(
            status=self.status,
            sequence=self.sequence,
            timestamp=self.timestamp,
            started_at=self.started_at,
            completed_at=self.completed_at,
            pause_reason=self.pause_reason,
            stopping=self.stopping,
            failure=self.failure,
            outputs=self.outputs,
            deadline=self.deadline,
            input=self.input,
            recalls=self.recalls,
            cost=self.cost,
            tokens=self.tokens,
            received=self.received,
        )
        progress = Progress(self._tallies, self.queue, self.running, self.unsettled)
        return Execution(self.created, head, self.steps, progress)

    # ------------------------------------------------------------ changing

    def become(self, status: ExecutionStatus) -> None:
        """Change the execution's status along its table."""
        if status not in EXECUTION_MOVES[self.status]:
            raise InternalError(
                f"execution {self.created.execution_id}: {self.status} cannot become {status}."
            )
        self.status = status

    def set_step(self, step_id: StepId, new: StepState) -> None:
        """Put a step into a new state along its table, and settle or forget its edges."""
        old = self.steps.get(step_id, UNTOUCHED)
        before, after = old.status, new.status
        if after not in STEP_MOVES[before]:
            place = f"execution {self.created.execution_id}, step {step_id}"
            raise InternalError(f"{place}: {before} cannot become {after}.")
        self.steps[step_id] = new
        self.changed[step_id] = None
        if before is RUNNING:
            self.running -= old.slots
        elif before is READY:
            self._leave_queue(step_id)
        if after is RUNNING:
            self.running += new.slots
        elif after is READY:
            self.queue = (*self.queue, step_id)
        if after in SETTLED:
            self.unsettled -= 1
            self._settle_edges(step_id, new)
        elif before in SETTLED:
            self.unsettled += 1

    def put_step(self, step_id: StepId, new: StepState) -> None:
        """Keep something else about a step, whose status stays as it is."""
        self.steps[step_id] = new
        self.changed[step_id] = None

    def _leave_queue(self, step_id: StepId) -> None:
        if self.queue[0] == step_id:
            self.queue = self.queue[1:]
        else:
            self.queue = tuple(queued for queued in self.queue if queued != step_id)

    def _settle_edges(self, step_id: StepId, state: StepState) -> None:
        tallies = self._tallies
        for edge in self.plan.steps[step_id].outgoing:
            target = cast("StepId", edge.target)
            tallies[target] = add_edge(tallies[target], edge_state(edge, state))

    def reopen(self, steps: Iterable[StepId], again: Collection[StepId]) -> None:
        """Put steps back to pending, those in `again` with a new visit.

        Edges among them are open again, others keep their state.
        """
        region = tuple(steps)
        for step_id in region:
            old = self.step(step_id)
            fresh = _new_visit(old) if step_id in again else _same_visit(old)
            if old.status is StepStatus.PENDING:
                self.steps[step_id] = fresh
                self.changed[step_id] = None
            else:
                self.set_step(step_id, fresh)
        # Ordering edges may lead out of the region: their targets wait again.
        targets = [StepId(edge.target) for step_id in region for edge in self.plan.steps[step_id].outgoing]
        for step_id in dict.fromkeys((*region, *targets)):
            self._tallies[step_id] = tally_edges(self.plan, step_id, self.steps)

    def end(self, status: ExecutionStatus, at: datetime) -> None:
        """Finish the execution: what never started is cancelled."""
        self.become(status)
        self.completed_at = at
        self.stopping = None
        if not self.unsettled:
            return
        for step_id in self.plan.order:
            state = self.step(step_id)
            if not state.status.is_settled:
                self.set_step(step_id, replace(state, status=StepStatus.CANCELLED, reason=str(status)))

    def spend(self, usage: Usage) -> None:
        """Add what an attempt consumed to the execution's totals."""
        if usage is NO_USAGE:
            return
        self.cost += usage.cost
        self.tokens += usage.tokens


def _new_visit(old: StepState) -> StepState:
    """The step as it is read until its new visit ends: the output of the last one stays."""
    return StepState(
        visit=old.visit + 1,
        output=old.output,
        has_output=old.has_output,
        child=old.child,
        errors=old.errors,
        cost=old.cost,
        tokens=old.tokens,
        undos=old.undos,
    )


def _same_visit(old: StepState) -> StepState:
    """The visit as if it had not ended: it asks the same, its attempts are counted on, and forgiven."""
    return StepState(
        visit=old.visit,
        attempt=old.attempt,
        agent=old.agent,
        request=old.request,
        interruptions=old.interruptions,
        forgiven=old.attempt - old.interruptions,
        child=old.child,
        items=old.items,
        cost=old.cost,
        tokens=old.tokens,
        progress=old.progress,
        undos=old.undos,
    )


Effect = Callable[[Evolution, e.Event], None]
Effects = Mapping[type[e.Event], Effect]
"""What kinds of events do to an execution."""
