"""The one place where an execution's state changes: by applying an event.

`apply` follows tables of allowed moves; an event that does not fit is a bug of the engine and raises
`InternalError` before anything has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import cast

from msgspec.structs import replace

from process_engine.core import events as e
from process_engine.core.approvals import Request
from process_engine.core.edges import add_edge, edge_state, tally_all, tally_edges
from process_engine.core.plan import Plan
from process_engine.core.results import Usage
from process_engine.core.state import (
    EXECUTION_MOVES,
    SETTLED,
    STEP_MOVES,
    UNTOUCHED,
    Execution,
    ExecutionStatus,
    Head,
    Progress,
    Snapshot,
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
        self.cost = head.cost
        self.tokens = head.tokens
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
        self.cost = Decimal(0)
        self.tokens = 0
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
            cost=self.cost,
            tokens=self.tokens,
        )
        progress = Progress(self._tallies, self.queue, self.running, self.unsettled)
        return Execution(self.created, head, self.steps, progress)

    # ------------------------------------------------------------ changing

    def apply(self, event: e.Event) -> None:
        """Change the state by one event.

        Raises:
            InternalError: the event is not the next one, or its move is not in the tables.
        """
        if event.sequence != self.sequence + 1:
            raise InternalError(f"event {event.id} follows number {self.sequence}.")
        _APPLY[type(event)](self, event)
        self.sequence = event.sequence
        self.timestamp = event.timestamp

    def become(self, status: ExecutionStatus) -> None:
        """Change the execution's status along its table."""
        if status not in EXECUTION_MOVES[self.status]:
            raise InternalError(
                f"execution {self.created.execution_id}: {self.status} cannot become {status}."
            )
        self.status = status

    def set_step(self, step_id: StepId, new: StepState) -> None:
        """Put a step into a new state along its table, and settle or forget its edges."""
        before, after = self.steps.get(step_id, UNTOUCHED).status, new.status
        if after not in STEP_MOVES[before]:
            place = f"execution {self.created.execution_id}, step {step_id}"
            raise InternalError(f"{place}: {before} cannot become {after}.")
        self.steps[step_id] = new
        self.changed[step_id] = None
        if before is StepStatus.RUNNING:
            self.running -= 1
        elif before is StepStatus.READY:
            self._leave_queue(step_id)
        if after is StepStatus.RUNNING:
            self.running += 1
        elif after is StepStatus.READY:
            self.queue = (*self.queue, step_id)
        if after in SETTLED:
            self.unsettled -= 1
            self._settle_edges(step_id, new)
        elif before in SETTLED:
            self.unsettled += 1

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
        self.cost += usage.cost
        self.tokens += usage.tokens


def _new_visit(old: StepState) -> StepState:
    """The step as it is read until its new visit ends: the output of the last one stays."""
    return StepState(
        visit=old.visit + 1,
        output=old.output,
        has_output=old.has_output,
        cost=old.cost,
        tokens=old.tokens,
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
        cost=old.cost,
        tokens=old.tokens,
    )


# ---------------------------------------------------------------- one function per event


def _process_started(evolution: Evolution, event: e.ProcessStarted) -> None:
    evolution.become(ExecutionStatus.RUNNING)
    evolution.started_at = event.timestamp
    evolution.deadline = event.deadline


def _process_paused(evolution: Evolution, event: e.ProcessPaused) -> None:
    evolution.become(ExecutionStatus.PAUSED)
    evolution.pause_reason = event.reason


def _process_resumed(evolution: Evolution, event: e.ProcessResumed) -> None:
    evolution.become(ExecutionStatus.RUNNING)
    evolution.pause_reason = None


def _process_reopened(evolution: Evolution, event: e.ProcessReopened) -> None:
    evolution.become(ExecutionStatus.RUNNING)
    evolution.completed_at = None
    evolution.failure = None
    evolution.deadline = event.deadline
    evolution.input = event.input or evolution.input
    evolution.reopen(event.steps, event.again)


def _process_stopping(evolution: Evolution, event: e.ProcessStopping) -> None:
    evolution.stopping = Stopping(event.failure, event.due)


def _process_completed(evolution: Evolution, event: e.ProcessCompleted) -> None:
    evolution.outputs = event.outputs
    evolution.end(ExecutionStatus.COMPLETED, event.timestamp)


def _process_failed(evolution: Evolution, event: e.ProcessFailed) -> None:
    evolution.failure = event.failure
    evolution.end(ExecutionStatus.FAILED, event.timestamp)


def _process_cancelled(evolution: Evolution, event: e.ProcessCancelled) -> None:
    evolution.end(ExecutionStatus.CANCELLED, event.timestamp)


def _step_queued(evolution: Evolution, event: e.StepQueued) -> None:
    state = evolution.step(event.step_id)
    queued = replace(state, status=StepStatus.READY, queued=event.sequence, waiting_for=None, due=None)
    evolution.set_step(event.step_id, queued)


def _step_started(evolution: Evolution, event: e.StepStarted) -> None:
    state = evolution.step(event.step_id)
    started = StepState(
        status=StepStatus.RUNNING,
        visit=event.visit,
        attempt=event.attempt,
        interruptions=state.interruptions,
        forgiven=state.forgiven,
        started_at=event.timestamp,
        agent=event.agent,
        request=event.request,
        output=state.output,
        has_output=state.has_output,
        cost=state.cost,
        tokens=state.tokens,
    )
    evolution.set_step(event.step_id, started)


def _attempt_started(evolution: Evolution, event: e.AttemptStarted) -> None:
    state = evolution.step(event.step_id)
    running = replace(
        state, status=StepStatus.RUNNING, attempt=event.attempt, waiting_for=None, due=None, queued=0
    )
    evolution.set_step(event.step_id, running)


def _step_retrying(evolution: Evolution, event: e.StepRetrying) -> None:
    state = evolution.step(event.step_id)
    waiting = replace(
        state,
        status=StepStatus.WAITING,
        waiting_for=e.Waiting.RETRY,
        due=event.due,
        error=event.failure,
        interruptions=state.interruptions + (event.failure.code == "INTERRUPTED"),
        cost=state.cost + event.usage.cost,
        tokens=state.tokens + event.usage.tokens,
    )
    evolution.set_step(event.step_id, waiting)
    evolution.spend(event.usage)


def _step_waiting(evolution: Evolution, event: e.StepWaiting) -> None:
    state = evolution.step(event.step_id)
    waiting = replace(state, status=StepStatus.WAITING, waiting_for=event.waiting_for, due=event.due)
    evolution.set_step(event.step_id, waiting)


def _step_waiting_approval(evolution: Evolution, event: e.StepWaitingApproval) -> None:
    state = evolution.step(event.step_id)
    evolution.set_step(event.step_id, replace(state, status=StepStatus.WAITING_APPROVAL, due=event.due))


def _approval_requested(evolution: Evolution, event: e.ApprovalRequested) -> None:
    _ask(evolution, event.step_id, event.request)


def _approval_decided(evolution: Evolution, event: e.ApprovalDecided) -> None:
    request = _request(evolution, event)
    _ask(evolution, event.step_id, replace(request, decisions=(*request.decisions, event.decision)))


def _approval_delegated(evolution: Evolution, event: e.ApprovalDelegated) -> None:
    request = _request(evolution, event)
    kept = [name for name in request.assignees if name != event.instead_of]
    _ask(evolution, event.step_id, replace(request, assignees=(*kept, event.to)))


def _approval_reminded(evolution: Evolution, event: e.ApprovalReminded) -> None:
    _ask(evolution, event.step_id, replace(_request(evolution, event), reminded=event.number))


def _approval_escalated(evolution: Evolution, event: e.ApprovalEscalated) -> None:
    request = _request(evolution, event)
    # Nobody named means that anybody may decide already.
    named = tuple(dict.fromkeys((*request.assignees, *event.to))) if request.assignees else ()
    _ask(evolution, event.step_id, replace(request, assignees=named, escalated=True))


def _approval_expired(evolution: Evolution, event: e.ApprovalExpired) -> None:
    _request(evolution, event)


def _request(evolution: Evolution, event: e.StepEvent) -> Request:
    request = evolution.step(event.step_id).approval
    if request is None:
        raise InternalError(f"event {event.id}: {event.step_id} asks for no approval.")
    return request


def _ask(evolution: Evolution, step_id: StepId, request: Request) -> None:
    """Keep the request as it stands now, and when something happens to it by itself."""
    rules = evolution.plan.steps[step_id].approval
    if rules is None:
        raise InternalError(f"step {step_id} is no approval.")
    state = replace(evolution.step(step_id), approval=request, due=rules.next_moment(request))
    evolution.steps[step_id] = state
    evolution.changed[step_id] = None


def _settled(state: StepState, event: e.StepEvent, status: StepStatus, usage: Usage) -> StepState:
    """What every end of a visit has in common: its result replaces that of the visit before."""
    return StepState(
        status=status,
        visit=state.visit,
        attempt=state.attempt,
        interruptions=state.interruptions,
        forgiven=state.forgiven,
        started_at=state.started_at,
        completed_at=event.timestamp,
        agent=state.agent,
        has_output=True,
        cost=state.cost + usage.cost,
        tokens=state.tokens + usage.tokens,
    )


def _step_completed(evolution: Evolution, event: e.StepCompleted) -> None:
    settled = _settled(evolution.step(event.step_id), event, StepStatus.COMPLETED, event.usage)
    completed = replace(
        settled,
        output=event.output,
        routes=event.routes,
    )
    evolution.set_step(event.step_id, completed)
    evolution.spend(event.usage)


def _step_failed(evolution: Evolution, event: e.StepFailed) -> None:
    state = evolution.step(event.step_id)
    settled = _settled(state, event, StepStatus.FAILED, event.usage)
    # A retry asks the same again, whatever has settled since.
    request = state.request if event.handled_by is None else None
    failed = replace(
        settled, error=event.failure, handled_by=event.handled_by, request=request, output=event.output
    )
    evolution.set_step(event.step_id, failed)
    evolution.spend(event.usage)
    if event.handled_by is None and evolution.failure is None:
        evolution.failure = event.failure


def _step_skipped(evolution: Evolution, event: e.StepSkipped) -> None:
    settled = _settled(evolution.step(event.step_id), event, StepStatus.SKIPPED, event.usage)
    skipped = replace(settled, error=event.failure, reason=event.reason, output=event.output)
    evolution.set_step(event.step_id, skipped)
    evolution.spend(event.usage)


def _step_cancelled(evolution: Evolution, event: e.StepCancelled) -> None:
    state = evolution.step(event.step_id)
    cancelled = replace(
        state,
        status=StepStatus.CANCELLED,
        completed_at=event.timestamp,
        reason=event.reason,
        waiting_for=None,
        due=None,
        approval=None,
        queued=0,
    )
    evolution.set_step(event.step_id, cancelled)


def _steps_reopened(evolution: Evolution, event: e.StepsReopened) -> None:
    evolution.reopen(event.steps, event.steps)


_APPLY: Mapping[type[e.Event], Callable[[Evolution, e.Event], None]] = MappingProxyType(
    cast(
        "dict[type[e.Event], Callable[[Evolution, e.Event], None]]",
        {
            e.ProcessStarted: _process_started,
            e.ProcessPaused: _process_paused,
            e.ProcessResumed: _process_resumed,
            e.ProcessReopened: _process_reopened,
            e.ProcessStopping: _process_stopping,
            e.ProcessCompleted: _process_completed,
            e.ProcessFailed: _process_failed,
            e.ProcessCancelled: _process_cancelled,
            e.StepQueued: _step_queued,
            e.StepStarted: _step_started,
            e.AttemptStarted: _attempt_started,
            e.StepRetrying: _step_retrying,
            e.StepWaiting: _step_waiting,
            e.StepWaitingApproval: _step_waiting_approval,
            e.ApprovalRequested: _approval_requested,
            e.ApprovalDecided: _approval_decided,
            e.ApprovalDelegated: _approval_delegated,
            e.ApprovalReminded: _approval_reminded,
            e.ApprovalEscalated: _approval_escalated,
            e.ApprovalExpired: _approval_expired,
            e.StepCompleted: _step_completed,
            e.StepFailed: _step_failed,
            e.StepSkipped: _step_skipped,
            e.StepCancelled: _step_cancelled,
            e.StepsReopened: _steps_reopened,
        },
    )
)


# ---------------------------------------------------------------- whole executions


def replay(plan: Plan, events: Iterable[e.Event]) -> Execution:
    """The execution that these events, all from the first on, lead to."""
    history = iter(events)
    created = next(history)
    if not isinstance(created, e.ExecutionCreated):
        raise InternalError(f"a history begins with ExecutionCreated, not with {created.type}.")
    evolution = Evolution(plan, None, created)
    for event in history:
        evolution.apply(event)
    return evolution.freeze()


def restore(plan: Plan, snapshot: Snapshot) -> Execution:
    """The execution behind a stored snapshot: what is derived is counted afresh."""
    steps = snapshot.steps
    ready = [step_id for step_id, state in steps.items() if state.status is StepStatus.READY]
    settled = sum(1 for state in steps.values() if state.status.is_settled)
    progress = Progress(
        tallies=tally_all(plan, steps),
        queue=tuple(sorted(ready, key=lambda step_id: steps[step_id].queued)),
        running=sum(1 for state in steps.values() if state.status is StepStatus.RUNNING),
        unsettled=len(plan.order) - settled,
    )
    return Execution(snapshot.created, snapshot.head, steps, progress)
