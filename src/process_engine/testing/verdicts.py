"""What the edges of a step say about it, told a second time from the document's own words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from process_engine.core.approvals import Decision, Request
from process_engine.definition.document import ProcessDefinition
from process_engine.definition.graph import DependencyResolver, Edge

SETTLED = frozenset({"completed", "failed", "skipped", "cancelled"})


class RuleBroken(AssertionError):
    """An event, or the lack of one, that the rules do not allow."""


@dataclass(frozen=True)
class Seen:
    """A step as its events tell it; `status` is the word of the last one."""

    status: str = "pending"
    visit: int = 1
    attempt: int = 0
    begun: bool = False
    retries: int = 0
    interruptions: int = 0
    interrupted: bool = False
    reason: str | None = None
    routes: tuple[str, ...] = ()
    handled_by: str | None = None
    due: datetime | None = None
    asked: Request | None = None
    decided: tuple[Decision, ...] = ()
    expired: bool = False
    received: bool = False


class Verdicts:
    """Reads the edges of a definition against `steps`, which the owner keeps up to date."""

    def __init__(self, definition: ProcessDefinition, steps: Mapping[str, Seen]) -> None:
        self.graph = DependencyResolver(definition)
        self.steps = steps
        self._joins = {step.id: step.join for step in definition.steps}
        self._guards = {
            step_id: [edge.source for edge in self.graph.incoming[step_id] if edge.kind == "route"]
            for step_id in self.graph.order
        }

    def verdict(self, step_id: str) -> str:
        """`wait`, `run`, `skip` or `dependency_failed`, by the document's own words."""
        edges = self.graph.incoming[step_id]
        if any(edge.kind == "ordering" and not self._settled(edge) for edge in edges):
            ordering = "wait"
        else:
            ordering = "run"
        counting = [edge for edge in edges if edge.kind != "ordering"]
        open_edges = [edge for edge in counting if not self._settled(edge)]
        live = [edge for edge in counting if self._live(edge)]
        let_through = self._let_through(step_id, live)
        join = self._joins[step_id]
        if join == "all" or not counting:
            if open_edges or ordering == "wait":
                return "wait"
            if any(self._failed(edge) for edge in counting):
                return "dependency_failed"
            return "run" if not counting or (live and let_through) else "skip"
        need = 1 if join == "any" else int(join)
        if len(live) >= need and let_through:
            return ordering
        return "wait" if open_edges and len(live) + len(open_edges) >= need else "skip"

    def _let_through(self, step_id: str, live: Sequence[Edge]) -> bool:
        if not self._guards[step_id]:
            return True
        # A gateway that has not decided yet has let nobody through, whatever its descendants did without it.
        decided = [gateway for gateway in self._guards[step_id] if self.steps[gateway].status in SETTLED]
        return any(
            edge.kind == "route" or any(self.graph.is_ancestor(gateway, edge.source) for gateway in decided)
            for edge in live
        )

    def _settled(self, edge: Edge) -> bool:
        return self.steps[edge.source].status in SETTLED

    def _live(self, edge: Edge) -> bool:
        source = self.steps[edge.source]
        match source.status:
            case "completed":
                return edge.kind == "depends" or (edge.kind == "route" and edge.target in source.routes)
            case "skipped":
                return source.reason == "error" and edge.kind == "depends"
            case "failed":
                return source.handled_by == edge.target
            case _:
                return False

    def _failed(self, edge: Edge) -> bool:
        source = self.steps[edge.source]
        failed = source.status == "failed" and source.handled_by != edge.target
        return failed or (source.status == "skipped" and source.reason == "dependency_failed")
