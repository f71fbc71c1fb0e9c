"""What must hold of starts: edges allow them, and nobody gets around a condition or a gateway."""

from __future__ import annotations

from collections.abc import Mapping

from process_engine.core import events as e
from process_engine.core.edges import EdgeState, edge_state, tally_all
from process_engine.core.evolve import replay
from process_engine.core.inline import GatewayStep
from process_engine.core.invariants.audit import Audit
from process_engine.core.plan import StepPlan
from process_engine.core.state import (
    UNTOUCHED,
    SkipReason,
    StepState,
    StepStatus,
)
from process_engine.ids import StepId


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


def edges_are_derived(audit: Audit) -> None:
    """I2, second half: the tallies carried along equal those counted afresh."""
    replayed = replay(audit.plan, audit.events)
    fresh = tally_all(audit.plan, replayed.steps)
    audit.demand("I2", replayed.progress.tallies == fresh, "the edges were counted wrongly")


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
