"""What must hold after every commit, as code. Simulation, contract tests and debug mode check it.

Each function takes an `Audit` and raises `BrokenInvariant`; `ALL` lists them by their number in the
specification of behaviour. They are written from the history alone where that is possible, so that a fault in
`decide` or `evolve` cannot hide behind itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from process_engine.core import events as e
from process_engine.core.approvals import ApprovalRules, Request, Ruling
from process_engine.core.blockers import blockers
from process_engine.core.edges import EdgeState, edge_state, tally_all
from process_engine.core.evolve import replay, restore
from process_engine.core.inline import GatewayStep
from process_engine.core.plan import Plan, StepPlan
from process_engine.core.state import (
    UNTOUCHED,
    Execution,
    ExecutionStatus,
    SkipReason,
    Snapshot,
    StepState,
    StepStatus,
)
from process_engine.core.work import WorkItem, execution_work, step_work
from process_engine.ids import ExecutionId, StepId


class BrokenInvariant(AssertionError):
    """An invariant does not hold: `number` says which, the text what was found."""

    def __init__(self, number: str, execution_id: ExecutionId, found: str) -> None:
        super().__init__(f"{number} broken in {execution_id}: {found}")
        self.number = number


@dataclass(frozen=True)
class Audit:
    """One execution as a store holds it: its snapshot, its whole history, its open work."""

    plan: Plan
    stored: Snapshot
    events: Sequence[e.Event]
    work: Sequence[WorkItem]

    @property
    def execution(self) -> Execution:
        """The stored state with what is derived from it."""
        return restore(self.plan, self.stored)

    def demand(self, number: str, holds: bool, found: str) -> None:
        """Raise unless `holds`."""
        if not holds:
            raise BrokenInvariant(number, self.stored.created.execution_id, found)


def replay_equals_state(audit: Audit) -> None:
    """I1: replaying the events gives the stored state, and the work that it owes is what is stored."""
    replayed, stored = replay(audit.plan, audit.events), audit.execution
    audit.demand("I1", replayed.head == stored.head, f"head {replayed.head} replayed, {stored.head} stored")
    for step_id in audit.plan.order:
        audit.demand(
            "I1",
            replayed.step(step_id) == stored.step(step_id),
            f"{step_id}: {replayed.step(step_id)} replayed, {stored.step(step_id)} stored",
        )
    audit.demand("I1", replayed.progress == stored.progress, f"{replayed.progress} is not {stored.progress}")
    owed = {item.key: item for item in _owed(stored)}
    kept = {item.key: item for item in audit.work}
    audit.demand("I1", owed == kept, f"work owed {owed}, stored {kept}")


def _owed(execution: Execution) -> list[WorkItem]:
    steps = (step_work(execution.id, step_id, state) for step_id, state in execution.steps.items())
    return [item for item in steps if item is not None] + list(execution_work(execution.id, execution.head))


def edges_allow_starts(audit: Audit) -> None:
    """I2: no step starts before its edges allow it; none runs on a dead or failed path."""
    for step, states in _starts(audit):
        edges = [
            (edge, edge_state(edge, states.get(StepId(edge.source), UNTOUCHED))) for edge in step.incoming
        ]
        waited = [
            edge for edge, at in edges if at is EdgeState.OPEN and (step.need == 0 or edge.kind == "ordering")
        ]
        audit.demand("I2", not waited, f"{step.id} started before {[edge.source for edge in waited]} settled")
        counting = [at for edge, at in edges if edge.kind != "ordering"]
        live = counting.count(EdgeState.LIVE)
        if step.need:
            audit.demand(
                "I2", live >= step.need, f"{step.id} needs {step.need} live edges and started with {live}"
            )
        elif counting:
            audit.demand("I2", EdgeState.FAILED not in counting, f"{step.id} started behind a failure")
            audit.demand("I2", live > 0, f"{step.id} started on a dead path")


def no_way_around(audit: Audit) -> None:
    """I3: no path around a condition or a gateway (around an approval: `approvals_bind`)."""
    for step, states in _starts(audit):
        if step.guards:
            audit.demand("I3", _was_let_through(step, states), f"{step.id} started around its gateway")
    for event in audit.events:
        if isinstance(event, e.StepCompleted):
            _check_routes(audit, event)
    skipped = {
        (event.step_id, event.visit)
        for event in audit.events
        if isinstance(event, e.StepSkipped) and event.reason == SkipReason.CONDITION_FALSE
    }
    started = {(event.step_id, event.visit) for event in audit.events if isinstance(event, e.StepStarted)}
    audit.demand("I3", not skipped & started, f"{skipped & started} ran although the condition was false")


def approvals_bind(audit: Audit) -> None:
    """I3, for people: a step that asks them completes only as they, or their deadline, decided; I8: an
    approval ends once, and nobody decides after its deadline, twice, or about another request."""
    open_requests: dict[StepId, Request] = {}
    expired: dict[StepId, str] = {}
    for event in audit.events:
        rules = audit.plan.steps[event.step_id].approval if isinstance(event, e.StepEvent) else None
        if rules is None:
            continue
        match event:
            case e.ApprovalRequested(step_id=step_id, request=request):
                open_requests[step_id] = request
                expired.pop(step_id, None)
            case e.ApprovalDecided(step_id=step_id):
                request = open_requests.get(step_id)
                audit.demand("I8", request is not None, f"{step_id}: a decision about nothing")
                assert request is not None
                audit.demand("I8", step_id not in expired, f"{step_id}: decided after it expired")
                audit.demand(
                    "I8", event.approval_id == request.id, f"{step_id}: decided about another request"
                )
                late = event.timestamp >= request.deadline
                audit.demand("I8", not late, f"{step_id}: decided at {event.timestamp}, after its deadline")
                twice = any(event.decision.by == before.by for before in request.decisions)
                audit.demand("I8", not twice, f"{step_id}: {event.decision.by} decided twice")
                decisions = (*request.decisions, event.decision)
                open_requests[step_id] = msgspec.structs.replace(request, decisions=decisions)
            case e.ApprovalExpired(step_id=step_id, action=action):
                request = open_requests.get(step_id)
                audit.demand("I8", request is not None, f"{step_id}: nothing there to expire")
                audit.demand("I8", step_id not in expired, f"{step_id}: expired twice")
                early = request is not None and event.timestamp < request.deadline
                audit.demand("I8", not early, f"{step_id}: expired before its deadline")
                expired[step_id] = action
            case e.StepCompleted(step_id=step_id):
                _check_completed(audit, rules, open_requests.pop(step_id, None), event, expired.get(step_id))
            case e.StepSkipped(step_id=step_id) if event.reason == SkipReason.ERROR:
                skips = audit.plan.steps[step_id].on_error.action == "skip_step"
                allowed = skips or expired.get(step_id) == "skip"
                audit.demand("I3", allowed, f"{step_id} was passed over, and nothing allows it")
                open_requests.pop(step_id, None)
            case (
                e.StepFailed(step_id=step_id)
                | e.StepSkipped(step_id=step_id)
                | e.StepCancelled(step_id=step_id)
            ):
                open_requests.pop(step_id, None)
            case _:
                pass


def _check_completed(
    audit: Audit, rules: ApprovalRules, request: Request | None, event: e.StepCompleted, expired: str | None
) -> None:
    audit.demand("I3", request is not None, f"{event.step_id} completed and asked nobody")
    assert request is not None
    if expired is not None:
        passes = expired == "approve" or (expired == "reject" and not rules.fails_on_reject)
        audit.demand("I3", passes, f"{event.step_id} completed by expiring")
        return
    rejections = sum(1 for decision in request.decisions if decision.ruling is Ruling.REJECTED)
    approvals = len(request.decisions) - rejections
    enough = approvals >= rules.required or (rejections >= rules.rejections and not rules.fails_on_reject)
    audit.demand(
        "I3", enough, f"{event.step_id} completed with {approvals} approvals, {rejections} rejections"
    )


def _was_let_through(step: StepPlan, states: Mapping[StepId, StepState]) -> bool:
    for edge in step.incoming:
        if edge_state(edge, states.get(StepId(edge.source), UNTOUCHED)) is not EdgeState.LIVE:
            continue
        if edge.kind == "route" or any(edge.source in below for _, below in step.guards):
            return True
    return False


def _check_routes(audit: Audit, event: e.StepCompleted) -> None:
    inline = audit.plan.steps[event.step_id].inline
    if not isinstance(inline, GatewayStep):
        audit.demand("I3", event.routes is None, f"{event.step_id} is no gateway and routed")
        return
    known = {route.target for route in inline.routes} | {inline.default}
    routes = event.routes or ()
    audit.demand("I3", bool(routes) and set(routes) <= known, f"{event.step_id} routed to {routes}")
    audit.demand("I3", inline.kind != "exclusive" or len(routes) == 1, f"{event.step_id} chose {routes}")
    if inline.kind == "parallel":
        audit.demand(
            "I3", len(routes) == len({route.target for route in inline.routes}), f"{event.step_id} left some"
        )


def results_are_final(audit: Audit) -> None:
    """I4: a visit ends once, and its result never changes; only one that failed can be taken back."""
    ended: dict[tuple[str, int], str] = {}
    visits: Counter[str] = Counter(audit.plan.order)
    for event in audit.events:
        match event:
            case e.StepCompleted() | e.StepFailed() | e.StepSkipped() | e.StepCancelled():
                key = (event.step_id, event.visit)
                before = ended.get(key)
                audit.demand("I4", before is None, f"{key} ended by {before} and again by {event.type}")
                ended[key] = event.type
            case e.StepsReopened():
                visits.update(event.steps)
            case e.ProcessReopened():
                for step_id in set(event.steps) - set(event.again):
                    before = ended.pop((step_id, visits[step_id]), None)
                    audit.demand(
                        "I4", before != "StepCompleted", f"{step_id} was completed and is taken back"
                    )
                visits.update(event.again)
            case _:
                pass
    for step_id, state in audit.stored.steps.items():
        result = _last_output(audit, step_id)
        if result is not None and state.status is StepStatus.COMPLETED:
            same = state.output == result.output
            audit.demand("I4", same, f"{step_id} has another output than was recorded")


def _last_output(audit: Audit, step_id: StepId) -> e.StepCompleted | None:
    found = None
    for event in audit.events:
        if isinstance(event, e.StepCompleted) and event.step_id == step_id:
            found = event
    return found


def sequences_have_no_gaps(audit: Audit) -> None:
    """I5: sequences count 1, 2, 3 …; timestamps never go back; the head knows the last ones."""
    for number, event in enumerate(audit.events, start=1):
        audit.demand("I5", event.sequence == number, f"number {event.sequence} at place {number}")
    stamps = [event.timestamp for event in audit.events]
    audit.demand("I5", stamps == sorted(stamps), "timestamps go back")
    head = audit.stored.head
    audit.demand("I5", head.sequence == len(stamps), f"head is at {head.sequence}, the log at {len(stamps)}")


def nothing_starts_after_the_end(audit: Audit) -> None:
    """I6: after a cancel, or any other end, nothing starts."""
    ended: str | None = None
    for event in audit.events:
        if isinstance(event, e.ProcessReopened):
            audit.demand("I6", ended == "ProcessFailed", f"reopened after {ended}")
            ended = None
        elif isinstance(event, (e.ProcessCancelled, e.ProcessFailed, e.ProcessCompleted)):
            audit.demand("I6", ended is None, f"ended by {ended} and again by {event.type}")
            ended = event.type
        elif ended is not None:
            audit.demand("I6", False, f"{event.type} after {ended}")
    if audit.stored.head.status.is_final:
        audit.demand("I6", not audit.work, f"work is left: {audit.work}")


def something_is_waited_for(audit: Audit) -> None:
    """I7: an execution that is not finished has a named blocker."""
    execution = audit.execution
    if execution.status.is_final:
        open_steps = [s for s in audit.plan.order if not execution.step(s).status.is_settled]
        audit.demand("I7", not open_steps, f"it is {execution.status} and {open_steps} are not settled")
    else:
        audit.demand("I7", bool(blockers(execution)), f"it is {execution.status} and waits for nothing")
    if execution.status is ExecutionStatus.RUNNING and execution.progress.queue:
        audit.demand("I7", execution.progress.running > 0, "steps stand in line, and every slot is free")


def timers_end_once(audit: Audit) -> None:
    """I8: a wait ends in one way: by its time, and never early, or from outside."""
    waiting: dict[str, e.StepWaiting] = {}
    for event in audit.events:
        if isinstance(event, e.StepWaiting):
            waiting[event.step_id] = event
        elif isinstance(event, (e.StepCompleted, e.StepCancelled, e.StepFailed, e.StepSkipped)):
            wait = waiting.pop(event.step_id, None)
            if wait is not None and isinstance(event, e.StepCompleted):
                audit.demand(
                    "I8",
                    event.timestamp >= wait.due,
                    f"{event.step_id} ended {event.timestamp}, due {wait.due}",
                )
    due = {event.step_id: event.due for event in audit.events if isinstance(event, e.StepRetrying)}
    for event in audit.events:
        if isinstance(event, e.AttemptStarted) and event.step_id in due:
            retry = _retry_before(audit, event)
            audit.demand("I8", retry is not None, f"{event.step_id} tried again without StepRetrying")
            if retry is not None:
                audit.demand(
                    "I8", event.timestamp >= retry.due, f"{event.step_id} tried again before {retry.due}"
                )


def _retry_before(audit: Audit, started: e.AttemptStarted) -> e.StepRetrying | None:
    for event in reversed(audit.events[: started.sequence - 1]):
        if isinstance(event, e.StepRetrying) and event.step_id == started.step_id:
            return event if (event.visit, event.attempt + 1) == (started.visit, started.attempt) else None
    return None


def slots_hold(audit: Audit) -> None:
    """I9: never more attempts at once than slots, and the count of running ones is right."""
    slots = audit.stored.created.config.max_concurrent_steps
    running: set[str] = set()
    for event in audit.events:
        if isinstance(event, (e.StepStarted, e.AttemptStarted)):
            if audit.plan.steps[event.step_id].inline is None:
                running.add(event.step_id)
            audit.demand("I9", not slots or len(running) <= slots, f"{running} run in {slots} slot(s)")
        elif isinstance(event, e.StepEvent) and not isinstance(event, e.StepQueued):
            running.discard(event.step_id)
    in_state = {
        step_id for step_id, state in audit.stored.steps.items() if state.status is StepStatus.RUNNING
    }
    audit.demand("I9", running == in_state, f"the log has {running} running, the state {in_state}")


def edges_are_derived(audit: Audit) -> None:
    """I2, second half: the tallies carried along equal those counted afresh."""
    replayed = replay(audit.plan, audit.events)
    fresh = tally_all(audit.plan, replayed.steps)
    audit.demand("I2", replayed.progress.tallies == fresh, "the edges were counted wrongly")


def costs_add_up(audit: Audit) -> None:
    """I13: total cost and tokens equal the sum over attempts."""
    spent = [
        event.usage
        for event in audit.events
        if isinstance(event, (e.StepCompleted, e.StepFailed, e.StepSkipped, e.StepRetrying))
    ]
    head = audit.stored.head
    audit.demand("I13", head.cost == sum(usage.cost for usage in spent), f"cost {head.cost} is not the sum")
    audit.demand(
        "I13", head.tokens == sum(usage.tokens for usage in spent), f"tokens {head.tokens} are not the sum"
    )


def starts_are_kept(acknowledged: Mapping[ExecutionId, object], stored: Mapping[ExecutionId, object]) -> None:
    """I10: a start that was answered with success is never lost."""
    for execution_id in acknowledged:
        if execution_id not in stored:
            raise BrokenInvariant(
                "I10", execution_id, "its start was acknowledged, and the store has no such execution"
            )


ALL: Mapping[str, Callable[[Audit], None]] = MappingProxyType(
    {
        "I1": replay_equals_state,
        "I2": edges_allow_starts,
        "I2b": edges_are_derived,
        "I3": no_way_around,
        "I3b": approvals_bind,
        "I4": results_are_final,
        "I5": sequences_have_no_gaps,
        "I6": nothing_starts_after_the_end,
        "I7": something_is_waited_for,
        "I8": timers_end_once,
        "I9": slots_hold,
        "I13": costs_add_up,
    }
)
"""Every invariant of one execution; I10 compares a store with what callers were told."""


def check(audit: Audit) -> None:
    """Check every invariant of one execution.

    Raises:
        BrokenInvariant: the first that does not hold.
    """
    for invariant in ALL.values():
        invariant(audit)


def _starts(audit: Audit) -> list[tuple[StepPlan, Mapping[StepId, StepState]]]:
    """Each start of a visit, with the states of all steps when its edges allowed it.

    That was as it was put in line, if it was: a loop may have reopened an ordering edge meanwhile.
    """
    found: list[tuple[StepPlan, Mapping[StepId, StepState]]] = []
    states: dict[StepId, StepState] = {}
    admitted: dict[StepId, Mapping[StepId, StepState]] = {}
    for event in audit.events:
        if isinstance(event, e.StepQueued):
            admitted[event.step_id] = dict(states)
        elif isinstance(event, e.StepStarted):
            found.append((audit.plan.steps[event.step_id], admitted.pop(event.step_id, dict(states))))
        elif isinstance(event, e.StepsReopened | e.ProcessReopened):
            for step_id in event.steps:
                admitted.pop(step_id, None)
        _follow(states, event)
    return found


def _follow(states: dict[StepId, StepState], event: e.Event) -> None:
    """What an edge can see of an event, told a second time without `evolve`."""
    match event:
        case e.StepCompleted(step_id=step_id):
            states[step_id] = StepState(status=StepStatus.COMPLETED, routes=event.routes)
        case e.StepFailed(step_id=step_id):
            states[step_id] = StepState(status=StepStatus.FAILED, handled_by=event.handled_by)
        case e.StepSkipped(step_id=step_id):
            states[step_id] = StepState(status=StepStatus.SKIPPED, reason=event.reason)
        case e.StepCancelled(step_id=step_id):
            states[step_id] = StepState(status=StepStatus.CANCELLED)
        case e.StepsReopened() | e.ProcessReopened():
            for step_id in event.steps:
                states.pop(step_id, None)
        case _:
            pass
