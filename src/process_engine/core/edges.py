"""How a settled step settles the edges that leave it, and what that means for the step they lead to.

Dead-path elimination as in WS-BPEL 2.0: a path that is not taken settles its edges as dead, and a join waits
for what can still come and for nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from process_engine.core.plan import Plan, StepPlan
from process_engine.core.state import COMPLETED, SETTLED, UNTOUCHED, SkipReason, StepState, StepStatus, Tally
from process_engine.definition.graph import Edge
from process_engine.ids import StepId

Steps = Mapping[StepId, StepState]


class EdgeState(Enum):
    """How an edge stands; an ordering edge is `SETTLED` and counts neither way."""

    OPEN = "open"
    LIVE = "live"
    DEAD = "dead"
    FAILED = "failed"
    SETTLED = "settled"


_LIVE = EdgeState.LIVE


def edge_state(edge: Edge, source: StepState) -> EdgeState:
    """How `edge` stands, by the state of its source. Derived, never recorded: a loop need not forget it."""
    status = source.status
    if status is COMPLETED and edge.kind == "depends":
        return _LIVE
    if status not in SETTLED:
        return EdgeState.OPEN
    if edge.kind == "ordering":
        return EdgeState.SETTLED
    match status:
        case StepStatus.COMPLETED:
            return _after_completion(edge, source)
        case StepStatus.SKIPPED:
            return _after_skip(edge, source)
        case StepStatus.FAILED:
            return EdgeState.LIVE if source.handled_by == edge.target else EdgeState.FAILED
        case _:
            return EdgeState.DEAD


def _after_completion(edge: Edge, source: StepState) -> EdgeState:
    chosen = edge.kind == "route" and source.routes is not None and edge.target in source.routes
    return EdgeState.LIVE if chosen else EdgeState.DEAD


def _after_skip(edge: Edge, source: StepState) -> EdgeState:
    match source.reason:
        case SkipReason.ERROR:
            # Skipped by on_error: downstream goes on, except along routes that nobody chose.
            return EdgeState.LIVE if edge.kind == "depends" else EdgeState.DEAD
        case SkipReason.DEPENDENCY_FAILED:
            return EdgeState.FAILED
        case _:
            return EdgeState.DEAD


def add_edge(tally: Tally, state: EdgeState) -> Tally:
    """`tally` after one of its open edges has come to `state`."""
    if state is _LIVE:
        return Tally(tally.open - 1, tally.ordering, tally.live + 1, tally.dead, tally.failed)
    match state:
        case EdgeState.OPEN:
            return tally
        case EdgeState.DEAD:
            return Tally(tally.open - 1, tally.ordering, tally.live, tally.dead + 1, tally.failed)
        case EdgeState.FAILED:
            return Tally(tally.open - 1, tally.ordering, tally.live, tally.dead, tally.failed + 1)
        case EdgeState.SETTLED:
            return Tally(tally.open, tally.ordering - 1, tally.live, tally.dead, tally.failed)


def tally_edges(plan: Plan, step_id: StepId, steps: Steps) -> Tally:
    """Count the edges into a step afresh from the states of their sources."""
    tally = plan.tallies[step_id]
    for edge in plan.steps[step_id].incoming:
        tally = add_edge(tally, edge_state(edge, steps.get(StepId(edge.source), UNTOUCHED)))
    return tally


class Verdict(Enum):
    """What a step's edges say about it."""

    WAIT = "wait"
    RUN = "run"
    ROUTE_NOT_TAKEN = SkipReason.ROUTE_NOT_TAKEN
    DEAD_PATH = SkipReason.DEAD_PATH
    DEPENDENCY_FAILED = SkipReason.DEPENDENCY_FAILED


_RUN = Verdict.RUN


def join_verdict(plan: StepPlan, tally: Tally, steps: Steps) -> Verdict:
    """Whether the step may run, must be skipped, or must wait, by its `join` and the state of its edges."""
    return _all_verdict(plan, tally, steps) if plan.need == 0 else _count_verdict(plan, tally, steps)


def _all_verdict(plan: StepPlan, tally: Tally, steps: Steps) -> Verdict:
    if tally.open or tally.ordering:
        return Verdict.WAIT
    if tally.failed:
        return Verdict.DEPENDENCY_FAILED
    if tally.dead and not tally.live:
        return _dead_verdict(plan, steps)
    return _RUN if not plan.guards or _guarded(plan, steps) else _dead_verdict(plan, steps)


def _count_verdict(plan: StepPlan, tally: Tally, steps: Steps) -> Verdict:
    if tally.live >= plan.need and _guarded(plan, steps):
        return Verdict.WAIT if tally.ordering else Verdict.RUN
    if tally.open and tally.live + tally.open >= plan.need:
        return Verdict.WAIT
    return _dead_verdict(plan, steps)


def _guarded(plan: StepPlan, steps: Steps) -> bool:
    """A route target lives only by a route chosen to it, or by a descendant of a gateway that did not
    choose it.

    Another live dependency is no way around the gateway.
    """
    if not plan.guards:
        return True
    for edge in plan.incoming:
        if edge_state(edge, steps.get(StepId(edge.source), UNTOUCHED)) is not EdgeState.LIVE:
            continue
        if edge.kind == "route" or any(
            edge.source in descendants and steps.get(gateway, UNTOUCHED).status.is_settled
            for gateway, descendants in plan.guards
        ):
            return True
    return False


def _dead_verdict(plan: StepPlan, steps: Steps) -> Verdict:
    sources = ((edge, steps.get(StepId(edge.source), UNTOUCHED)) for edge in plan.incoming)
    not_chosen = any(
        edge.kind == "route"
        and source.status is StepStatus.COMPLETED
        and edge_state(edge, source) is EdgeState.DEAD
        for edge, source in sources
    )
    return Verdict.ROUTE_NOT_TAKEN if not_chosen else Verdict.DEAD_PATH


def tally_all(plan: Plan, steps: Steps) -> dict[StepId, Tally]:
    """The tallies of every step, counted afresh."""
    return {step_id: tally_edges(plan, step_id, steps) for step_id in plan.order}
