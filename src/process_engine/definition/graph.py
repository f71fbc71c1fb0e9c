"""How the steps of a process hang together: edges, loops, ancestors, levels.

Four kinds of edge lead from a source to a target that waits for it:

- `depends`: named in the target's `depends_on`;
- `route`: the target is a route of the gateway;
- `goto`: the target is the step that the source's `on_error` goes to;
- `ordering`: the target reads the source, which is no ancestor of it otherwise. Waited for, never decisive.

A route or a goto to an ancestor is no edge but a loop back. Between two steps there is at most one edge;
where several kinds meet, `route` counts before `depends` before `goto` before `ordering`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from process_engine.definition.document import Gateway, ProcessDefinition, Step
from process_engine.definition.expressions import (
    ExpressionSyntaxError,
    Read,
    compile_template,
    parse_condition,
)

EdgeKind = Literal["depends", "route", "goto", "ordering"]


@dataclass(frozen=True, slots=True)
class Edge:
    """`target` waits for `source`; `kind` says why."""

    source: str
    target: str
    kind: EdgeKind


@dataclass(frozen=True, slots=True)
class LoopBack:
    """`source` may go back to its ancestor (or itself) `target`, which then begins a new visit.

    `max_visits` bounds the visits of `target`; None where the document names no bound.
    """

    source: str
    target: str
    kind: Literal["route", "goto"]
    max_visits: int | None


def step_reads(step: Step) -> Iterator[Read]:
    """What the expressions of a step read before it runs; those that do not parse are left out.

    What undoes the step reads what there is when the step has completed, and waits for nobody.
    """
    for site in step.expressions():
        if site.path[:1] == ("compensation",):
            continue
        try:
            if site.kind == "condition":
                yield from parse_condition(str(site.source)).reads
            else:
                yield from compile_template(site.source).reads
        except ExpressionSyntaxError:
            continue


class DependencyResolver:
    """The graph of one definition. Edges that would close a cycle are left out and named in `cycle`.

    Sets of steps are kept as bit masks over the definition order: building is linear in the edges, a look-up
    is one operation. Unknown ids and expressions that do not parse are ignored; checks report them.
    """

    def __init__(self, definition: ProcessDefinition) -> None:
        self.order: tuple[str, ...] = tuple(dict.fromkeys(step.id for step in definition.steps))
        self.cycle: tuple[str, ...] | None = None
        self._index = {step_id: number for number, step_id in enumerate(self.order)}
        self._steps: dict[str, Step] = {}
        for step in definition.steps:
            self._steps.setdefault(step.id, step)
        self._sources: dict[str, dict[str, EdgeKind]] = {step_id: {} for step_id in self.order}
        self._targets: dict[str, list[str]] = {step_id: [] for step_id in self.order}
        self._loops: list[LoopBack] = []
        self._connect_dependencies()
        self._connect_routes()
        self._connect_gotos()
        self._connect_reads()
        self._freeze()

    # ------------------------------------------------------------ building

    def _connect_dependencies(self) -> None:
        self._add_all(
            [(source, step.id) for step in self._steps.values() for source in step.depends_on], "depends"
        )

    def _connect_routes(self) -> None:
        """A route with `max_visits` is a loop where its target leads to the gateway; others lead forward."""
        forward: list[tuple[str, str]] = []
        bounded: list[tuple[str, str, int]] = []
        for step in self._steps.values():
            if isinstance(step, Gateway):
                for target, max_visits in gateway_targets(step):
                    if target not in self._index:
                        continue
                    if max_visits is None:
                        forward.append((step.id, target))
                    else:
                        bounded.append((step.id, target, max_visits))
        reach = _Reach(self)
        for source, target in forward:
            if reach.leads(target, source):
                self._loops.append(LoopBack(source, target, "route", None))
            else:
                self._add(source, target, "route")
        for source, target, max_visits in bounded:
            if reach.leads(target, source):
                self._loops.append(LoopBack(source, target, "route", max_visits))
            else:
                self._add(source, target, "route")

    def _connect_gotos(self) -> None:
        reach = _Reach(self)
        for step in self._steps.values():
            policy = step.on_error
            if policy is None or policy.action != "goto_step" or policy.target_step not in self._index:
                continue
            target = str(policy.target_step)
            if reach.leads(target, step.id):
                self._loops.append(LoopBack(step.id, target, "goto", policy.max_visits))
            else:
                self._add(step.id, target, "goto")

    def _connect_reads(self) -> None:
        """Ordering edges, found against the ancestors and descendants by all other edges.

        Computed from the masks of the graph without them: a read along a path of ordering edges gets an
        edge of its own, which changes nothing (it is waited for anyway).
        """
        ancestors, descendants = self._masks()
        added: list[tuple[str, str]] = []
        for step in self._steps.values():
            for read in step_reads(step):
                source = read.step
                if source is None or source == step.id or source not in self._index:
                    continue
                bit = 1 << self._index[source]
                if not (ancestors[step.id] | descendants[step.id]) & bit:
                    added.append((source, step.id))
        self._add_all(added, "ordering")

    def _add_all(self, pairs: Iterable[tuple[str, str]], kind: EdgeKind) -> None:
        """Add edges; if together they close a cycle, leave out those that do, one by one."""
        known = [
            (s, t) for s, t in pairs if s in self._index and t in self._index and s not in self._sources[t]
        ]
        for source, target in known:
            self._add(source, target, kind)
        if self._topological() is not None:
            return
        for source, target in known:
            self._sources[target].pop(source, None)
            if target in self._targets[source]:
                self._targets[source].remove(target)
        reach = _Reach(self)
        for source, target in known:
            path = reach.path(target, source)
            if path is None:
                self._add(source, target, kind)
            elif self.cycle is None:
                self.cycle = (*path, target)

    def _add(self, source: str, target: str, kind: EdgeKind) -> None:
        present = self._sources[target].get(source)
        if present is None:
            self._targets[source].append(target)
        if present is None or kind == "route":
            self._sources[target][source] = kind

    def _topological(self) -> list[str] | None:
        """The steps so that sources come before targets (definition order where free), None on a cycle."""
        missing = {step_id: len(sources) for step_id, sources in self._sources.items()}
        ready = [step_id for step_id in self.order if not missing[step_id]]
        done = 0
        while done < len(ready):
            for target in self._targets[ready[done]]:
                missing[target] -= 1
                if not missing[target]:
                    ready.append(target)
            done += 1
        return ready if done == len(self.order) else None

    def _masks(self) -> tuple[dict[str, int], dict[str, int]]:
        """Ancestors and descendants of each step as bit masks; ordering edges do not count."""
        order = self._topological() or list(self.order)
        ancestors = dict.fromkeys(self.order, 0)
        descendants = dict.fromkeys(self.order, 0)
        for step_id in order:
            for source, kind in self._sources[step_id].items():
                if kind != "ordering":
                    ancestors[step_id] |= ancestors[source] | (1 << self._index[source])
        for step_id in reversed(order):
            for source, kind in self._sources[step_id].items():
                if kind != "ordering":
                    descendants[source] |= descendants[step_id] | (1 << self._index[step_id])
        return ancestors, descendants

    def _freeze(self) -> None:
        self._ancestors, self._descendants = self._masks()
        self.incoming: dict[str, tuple[Edge, ...]] = {
            target: tuple(Edge(source, target, kind) for source, kind in sources.items())
            for target, sources in self._sources.items()
        }
        self.outgoing: dict[str, tuple[Edge, ...]] = {
            source: tuple(
                Edge(source, target, self._sources[target][source])
                for target in sorted(targets, key=self._index.__getitem__)
            )
            for source, targets in self._targets.items()
        }
        self.edges: tuple[Edge, ...] = tuple(
            edge for step_id in self.order for edge in self.outgoing[step_id]
        )
        self.loops: tuple[LoopBack, ...] = tuple(self._loops)

    # ------------------------------------------------------------ reading

    def is_ancestor(self, ancestor: str, step_id: str) -> bool:
        """Whether `step_id` comes after `ancestor` on some path; ordering edges do not count."""
        return bool(self._ancestors[step_id] >> self._index[ancestor] & 1)

    def ancestors(self, step_id: str) -> set[str]:
        """Every step that comes before this one; ordering edges do not count."""
        return self._members(self._ancestors[step_id])

    def descendants(self, step_id: str) -> set[str]:
        """Every step that comes after this one; ordering edges do not count."""
        return self._members(self._descendants[step_id])

    def parallel_groups(self) -> list[list[str]]:
        """Levels for drawing and tests: each step one level after the last of its sources.

        The engine does not run in these levels: a step is ready as soon as its own dependencies are settled.
        """
        level: dict[str, int] = {}
        for step_id in self._topological() or ():
            level[step_id] = 1 + max((level[edge.source] for edge in self.incoming[step_id]), default=-1)
        groups: list[list[str]] = [[] for _ in range(1 + max(level.values(), default=-1))]
        for step_id in self.order:
            if step_id in level:
                groups[level[step_id]].append(step_id)
        return groups

    def _members(self, mask: int) -> set[str]:
        return {step_id for number, step_id in enumerate(self.order) if mask >> number & 1}

    def targets_of(self, step_id: str) -> tuple[str, ...]:
        """The steps that wait for this one, in the order in which they were connected."""
        return tuple(self._targets[step_id])


class _Reach:
    """Paths along the edges there are now; a depth-first search for each question."""

    def __init__(self, graph: DependencyResolver) -> None:
        self._graph = graph

    def leads(self, source: str, target: str) -> bool:
        return self.path(source, target) is not None

    def path(self, source: str, target: str) -> tuple[str, ...] | None:
        """The steps from `source` to `target`, both included, or None."""
        if source == target:
            return (source,)
        came_from: dict[str, str] = {source: source}
        stack = [source]
        while stack:
            here = stack.pop()
            for following in self._graph.targets_of(here):
                if following in came_from:
                    continue
                came_from[following] = here
                if following == target:
                    return _walk_back(came_from, source, target)
                stack.append(following)
        return None


def _walk_back(came_from: dict[str, str], source: str, target: str) -> tuple[str, ...]:
    path = [target]
    while path[-1] != source:
        path.append(came_from[path[-1]])
    return tuple(reversed(path))


def gateway_targets(gateway: Gateway) -> list[tuple[str, int | None]]:
    """The steps that a gateway can route to, each once, with the bound of its visits if one is given."""
    targets: dict[str, int | None] = {}
    for route in gateway.routes:
        targets[route.target] = targets.get(route.target) or route.max_visits
    if gateway.default_route is not None:
        targets.setdefault(gateway.default_route, None)
    return list(targets.items())
