"""What a run has found out, and whether it meets what is expected."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from benchmarks.cells import BEST_PEER, OURS, Bar, Cells
from benchmarks.throughput import percentile

Verdict = Literal["met", "missed", "MISSING"]
MISSING: Verdict = "MISSING"

# Of all executions of all rounds together: a single short round has too few for a percentile.
_POOLED = {"p50_ms": 0.5, "p99_ms": 0.99}


@dataclass(frozen=True)
class Sample:
    """One measurement of one engine in one round. `latencies` are seconds, of every single execution."""

    cell: str
    engine: str
    round: int
    figures: dict[str, float]
    latencies: list[float] = field(default_factory=list[float])


@dataclass(frozen=True)
class Judgement:
    """A bar beside what was measured: the values of the rounds, and in `note` what the verdict rests on."""

    bar: Bar
    verdict: Verdict
    values: list[float]
    note: str = ""


@dataclass
class Run:
    """All that one run has found out. `problems` says of `cell/engine` why it was not measured."""

    cells: Cells
    facts: dict[str, str]
    options: dict[str, object]
    about: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    syncs_per_second: list[float] = field(default_factory=list[float])
    samples: list[Sample] = field(default_factory=list[Sample])
    problems: dict[str, str] = field(default_factory=dict[str, str])
    seconds: float = 0.0

    def of(self, cell: str, engine: str) -> list[Sample]:
        """The samples of one engine at one cell, round by round."""
        return [one for one in self.samples if (one.cell, one.engine) == (cell, engine)]

    def values(self, cell: str, engine: str, figure: str) -> list[float]:
        """A figure of each round; a percentile of executions is one value over all rounds."""
        samples = self.of(cell, engine)
        if figure in _POOLED:
            pooled = [1e3 * seconds for one in samples for seconds in one.latencies]
            return [percentile(pooled, _POOLED[figure])] if pooled else []
        return [one.figures[figure] for one in samples if figure in one.figures]

    def ratios(self, over: tuple[str, str], under: tuple[str, str], figure: str) -> list[float]:
        """A figure divided by another one, for each round in which both `(cell, engine)` were measured."""
        if figure in _POOLED:
            above, below = self.values(*over, figure), self.values(*under, figure)
            return [above[0] / below[0]] if above and below else []
        bases = {one.round: one.figures[figure] for one in self.of(*under) if figure in one.figures}
        return [one.figures[figure] / bases[one.round] for one in self.of(*over) if one.round in bases]

    def best_peer(self, cell: str, figure: str, *, highest: bool) -> str | None:
        """The peer with the best median there; None if none was measured."""
        found = {peer: self.values(cell, peer, figure) for peer in self.cells.peers_of(cell)}
        medians = {peer: statistics.median(values) for peer, values in found.items() if values}
        if not medians:
            return None
        return (max if highest else min)(medians, key=lambda peer: medians[peer])

    def problem(self, cell: str, engine: str) -> str:
        """Why something was not measured."""
        return self.problems.get(f"{cell}/{engine}", "it was not measured")

    def judged(self) -> list[Judgement]:
        """Every bar of the list, those of cells without a measurement included."""
        return [self._judge(bar) for bar in self.cells.bars]

    def _judge(self, bar: Bar) -> Judgement:
        if bar.over == BEST_PEER:
            return self._judge_against_peers(bar)
        here = (bar.cell, OURS)
        if not bar.over:
            return self._verdict(bar, self.values(*here, bar.figure), [here])
        there = (bar.over, OURS) if bar.over in self.cells.cells else (bar.cell, bar.over)
        return self._verdict(bar, self.ratios(here, there, bar.figure), [here, there])

    def _judge_against_peers(self, bar: Bar) -> Judgement:
        """A bar over the best peer is met only where every peer was measured."""
        best = self.best_peer(bar.cell, bar.figure, highest=bar.at_least)
        here = (bar.cell, OURS)
        if best is None:
            peers = self.cells.peers_of(bar.cell)
            return self._verdict(bar, [], [here, *((bar.cell, peer) for peer in peers)])
        found = self._verdict(bar, self.ratios(here, (bar.cell, best), bar.figure), [here])
        absent = [p for p in self.cells.peers_of(bar.cell) if not self.values(bar.cell, p, bar.figure)]
        if absent and found.verdict == "met":
            return Judgement(bar, MISSING, found.values, f"not measured: {', '.join(absent)}")
        return Judgement(bar, found.verdict, found.values, found.note or f"best: {best}")

    def _verdict(self, bar: Bar, values: Sequence[float], needs: Sequence[tuple[str, str]]) -> Judgement:
        if values:
            met = bar.is_met(statistics.median(values))
            return Judgement(bar, "met" if met else "missed", [*values])
        reasons = [self.problem(*place) for place in needs if not self.of(*place)]
        return Judgement(bar, MISSING, [], next(iter(reasons), "no round has both"))

    def as_json(self) -> str:
        """Everything, the raw samples included."""
        whole: dict[str, Any] = {
            "facts": self.facts,
            "options": self.options,
            "engines": self.about,
            "seconds": self.seconds,
            "syncs_per_second": self.syncs_per_second,
            "problems": self.problems,
            "bars": [asdict(one) for one in self.judged()],
            "samples": [asdict(one) for one in self.samples],
        }
        return json.dumps(whole, ensure_ascii=False)
