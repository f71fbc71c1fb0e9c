"""Which steps can run together: every way an execution may go, worked through at once.

A *world* is one outcome of all decisions around some steps: each condition true or false, each gateway's
choice, each failure that `on_error` handles. A set of worlds is a bit mask, so that one operation on integers
decides a step in all worlds. The same condition text decides alike everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from process_engine.definition.checking.constants import constant_of
from process_engine.definition.checking.context import Context
from process_engine.definition.document import Gateway, HumanApproval, Step, WaitForEvent

# 2**14 worlds are 2 KiB a mask. Beyond that nothing is said, rather than something guessed.
MAX_WORLDS = 2**14


@dataclass(frozen=True, slots=True)
class _Fate:
    """In which worlds a step starts, passes its condition, lets its dependants live, and has an output."""

    starts: int
    runs: int
    lives: int
    completes: int


class Worlds:
    """All worlds around some steps; made by `around`."""

    def __init__(self, context: Context, members: frozenset[str]) -> None:
        self._context = context
        self._members = members
        self._count = 1
        # A decision's outcomes as (first bit weight, number of outcomes).
        self._decisions: dict[object, tuple[int, int]] = {}
        self._fates: dict[str, _Fate] = {}

    @classmethod
    def around(cls, context: Context, steps: Iterable[str]) -> Worlds | None:
        """The worlds of these steps and all their ancestors, None where there are too many of them."""
        graph = context.graph
        members = set(steps)
        for step_id in tuple(members):
            members |= graph.ancestors(step_id)
        worlds = cls(context, frozenset(members))
        for step_id in members:
            for key, outcomes in worlds._decisions_of(context.steps[step_id]):
                if key not in worlds._decisions:
                    worlds._decisions[key] = (worlds._count, outcomes)
                    worlds._count *= outcomes
                if worlds._count > MAX_WORLDS:
                    return None
        for step_id in sorted(members, key=context.level.__getitem__):
            worlds._fates[step_id] = worlds._fate(step_id)
        return worlds

    # Questions

    def may_start(self, step_id: str) -> bool:
        """Whether the edges of the step allow it in some world, whatever its own condition says."""
        return bool(self._fates[step_id].starts)

    def may_lack(self, source: str, reader: str, *, in_condition: bool) -> bool:
        """Whether `reader` may evaluate its expressions in a world where `source` has no output."""
        reads = self._fates[reader].starts if in_condition else self._fates[reader].runs
        return bool(reads & ~self._fates[source].completes)

    def most_live_edges(self, step_id: str) -> int:
        """The largest number of edges to the step that are live in one world."""
        edges = self._live_edges(step_id)
        return next((n for n in range(len(edges), 0, -1) if _at_least(n, edges)), 0)

    # Decisions

    def _decisions_of(self, step: Step) -> Iterable[tuple[object, int]]:
        if step.condition is not None and constant_of(step.condition) is None:
            yield ("condition", step.condition), 2
        if self._survives_failure(step):
            yield ("failure", step.id), 2
        if isinstance(step, Gateway):
            if step.gateway_type == "exclusive":
                yield ("choice", step.id), max(1, len(self._choices(step)))
            elif step.gateway_type == "inclusive":
                for target in self._routed(step):
                    yield ("taken", step.id, target), 2

    def _survives_failure(self, step: Step) -> bool:
        """Whether the execution goes on without an output of the step once it has failed for good."""
        if _goes_on(self._context, step):
            return True
        return any(edge.kind == "goto" for edge in self._context.graph.outgoing[step.id])

    def _choices(self, gateway: Gateway) -> list[str]:
        """The targets an exclusive gateway may lead to in the end: loops back are left again."""
        targets: list[str] = []
        for route in gateway.routes:
            holds = constant_of(route.condition)
            if holds is not False:
                targets.append(route.target)
            if holds:
                break
        else:
            targets += [gateway.default_route] if gateway.default_route is not None else []
        back = {loop.target for loop in self._context.graph.loops if loop.source == gateway.id}
        return list(dict.fromkeys(target for target in targets if target not in back))

    def _routed(self, gateway: Gateway) -> list[str]:
        """The targets of the routes of an inclusive gateway that may hold."""
        routes = (route for route in gateway.routes if constant_of(route.condition) is not False)
        return list(dict.fromkeys(route.target for route in routes))

    def _all(self) -> int:
        return (1 << self._count) - 1

    def _outcome(self, key: object, number: int) -> int:
        """The worlds in which a decision came out that way."""
        weight, outcomes = self._decisions[key]
        block = ((1 << weight) - 1) << (number * weight)
        period = weight * outcomes
        mask, width = block, period
        while width < self._count:
            mask |= mask << width
            width *= 2
        return mask & self._all()

    def _holds(self, condition: str | None) -> int:
        if condition is None:
            return self._all()
        constant = constant_of(condition)
        if constant is not None:
            return self._all() if constant else 0
        return self._outcome(("condition", condition), 1)

    # Fates

    def _fate(self, step_id: str) -> _Fate:
        step = self._context.steps[step_id]
        starts = self._starts(step)
        runs = starts & self._holds(step.condition)
        if isinstance(step, Gateway) and step.gateway_type == "inclusive" and step.default_route is None:
            # Without any route the gateway fails, and the execution with it.
            runs &= self._any_route(step)
        failed = self._outcome(("failure", step_id), 1) & runs if self._survives_failure(step) else 0
        lives = runs if _goes_on(self._context, step) else runs & ~failed
        return _Fate(starts, runs, lives, runs & ~failed)

    def _starts(self, step: Step) -> int:
        edges = self._live_edges(step.id)
        if not edges:
            return self._all()
        need = step.join if isinstance(step.join, int) else 1
        return _at_least(need, edges) & self._chosen(step.id)

    def _live_edges(self, step_id: str) -> list[int]:
        found: list[int] = []
        for edge in self._context.graph.incoming[step_id]:
            if edge.kind == "ordering" or edge.source not in self._fates:
                continue
            source = self._fates[edge.source]
            if edge.kind == "goto":
                found.append(source.runs & self._outcome(("failure", edge.source), 1))
            elif edge.kind == "route":
                found.append(source.lives & self._takes(edge.source, step_id))
            else:
                found.append(source.lives)
        return found

    def _chosen(self, step_id: str) -> int:
        """The worlds in which a gateway that routes to the step, or what comes after it, leads here."""
        graph = self._context.graph
        gateways = [edge.source for edge in graph.incoming[step_id] if edge.kind == "route"]
        if not gateways:
            return self._all()
        allowed = 0
        for edge in graph.incoming[step_id]:
            if edge.source not in self._fates or edge.kind == "ordering":
                continue
            lives = self._fates[edge.source].lives
            if edge.kind == "route":
                allowed |= lives & self._takes(edge.source, step_id)
            elif any(graph.is_ancestor(gateway, edge.source) for gateway in gateways):
                allowed |= lives
        return allowed

    def _takes(self, gateway_id: str, target: str) -> int:
        """The worlds in which the gateway, if it runs, leads to the target."""
        gateway = self._context.steps[gateway_id]
        if not isinstance(gateway, Gateway) or gateway.gateway_type == "parallel":
            return self._all()
        if gateway.gateway_type == "exclusive":
            choices = self._choices(gateway)
            return self._outcome(("choice", gateway_id), choices.index(target)) if target in choices else 0
        taken = self._route_holds(gateway, target)
        if target == gateway.default_route:
            taken |= self._all() & ~self._any_route(gateway)
        return taken

    def _any_route(self, gateway: Gateway) -> int:
        taken = 0
        for target in self._routed(gateway):
            taken |= self._route_holds(gateway, target)
        return taken

    def _route_holds(self, gateway: Gateway, target: str) -> int:
        if any(route.target == target and constant_of(route.condition) for route in gateway.routes):
            return self._all()
        key = ("taken", gateway.id, target)
        return self._outcome(key, 1) if key in self._decisions else 0


def _goes_on(context: Context, step: Step) -> bool:
    """Whether what comes after the step goes on as if it were done, once it has failed for good."""
    expires = isinstance(step, HumanApproval | WaitForEvent) and step.timeout_action == "skip"
    return expires or _action(context, step) == "skip_step"


def _action(context: Context, step: Step) -> str | None:
    policy = step.on_error
    if policy is None and step.takes_defaults:
        policy = context.definition.defaults.on_error
    return policy.action if policy is not None else None


def _at_least(need: int, edges: list[int]) -> int:
    """The worlds in which at least so many of the edges are live."""
    # reached[n]: the worlds with n live edges or more among those looked at.
    reached = [0] * (need + 1)
    for live in edges:
        for count in range(need, 1, -1):
            reached[count] |= reached[count - 1] & live
        reached[1] |= live
    return reached[need]
