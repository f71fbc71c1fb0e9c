"""What is measured, and what is expected of it. A cell without a measurement counts as missed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from definitions import FAN, chain, fan_out

from process_engine.definition.document import ProcessDefinition

OURS = "ours"
SAME_ROWS = "raw, same rows"
TWO_ROWS = "raw, two rows"
CONTENDERS = (OURS, SAME_ROWS, TWO_ROWS)

Figure = Literal["steps_per_second", "wall_per_step", "cpu_per_step", "median_seconds"]


@dataclass(frozen=True)
class Cell:
    """One workload at one load, run by one or several contenders.

    `waves` are the numbers of steps that can run together, in order: what a bare store commits in one go.
    `most_executions` bounds one measurement beside its time; 0 leaves it to the time.
    """

    name: str
    title: str
    process: Callable[[], ProcessDefinition]
    waves: tuple[int, ...]
    concurrency: int
    contenders: tuple[str, ...] = CONTENDERS
    most_executions: int = 0

    @property
    def steps(self) -> int:
        """Steps of one execution."""
        return sum(self.waves)


def _chain_cell(length: int, concurrency: int) -> Cell:
    load = "alone" if concurrency == 1 else f"{concurrency} at once"
    name = f"chain{length}-x{concurrency}"
    return Cell(name, f"{length} steps, {load}", lambda: chain(length), (1,) * length, concurrency)


def _fan_cell(concurrency: int) -> Cell:
    load = "alone" if concurrency == 1 else f"{concurrency} at once"
    return Cell(f"fan{FAN}-x{concurrency}", f"1→{FAN}→1, {load}", fan_out, (1, FAN, 1), concurrency)


def _length_cell(length: int, executions: int) -> Cell:
    return Cell(
        f"length{length}",
        f"chain of {length} steps",
        lambda: chain(length),
        (1,) * length,
        concurrency=1,
        contenders=(OURS,),
        most_executions=executions,
    )


THROUGHPUT = (
    _chain_cell(3, 1),
    _chain_cell(10, 1),
    _fan_cell(1),
    _chain_cell(3, 50),
    _chain_cell(10, 50),
    _fan_cell(50),
)
# 10 and 500 take as many steps each, so that a slow moment of the disk weighs the same.
LENGTH = (_length_cell(10, 50), _length_cell(500, 1), _length_cell(2000, 1))
VALIDATION = "validate40"


@dataclass(frozen=True)
class Place:
    """Who was measured doing what."""

    cell: str
    contender: str = OURS


@dataclass(frozen=True)
class Bar:
    """A bound on a figure, or, where `over` is set, on its ratio to another one of the same round."""

    title: str
    figure: Figure
    place: Place
    bound: float
    at_least: bool
    over: Place | None = None

    def is_met(self, value: float) -> bool:
        """Whether a measured value is on the right side of the bound."""
        return value >= self.bound if self.at_least else value <= self.bound


def _share(cell: str, raw: str, bound: float, title: str) -> Bar:
    return Bar(f"{title} ({raw})", "steps_per_second", Place(cell), bound, True, Place(cell, raw))


BARS = (
    _share("chain3-x1", SAME_ROWS, 0.25, "alone, share of one commit per step"),
    _share("chain3-x1", TWO_ROWS, 0.25, "alone, share of one commit per step"),
    _share("chain3-x50", SAME_ROWS, 0.12, "50 × 3 steps, share of group commit"),
    _share("chain3-x50", TWO_ROWS, 0.12, "50 × 3 steps, share of group commit"),
    Bar("time per step, 500 over 10", "wall_per_step", Place("length500"), 1.3, False, Place("length10")),
    Bar("CPU per step, 500 over 10", "cpu_per_step", Place("length500"), 1.3, False, Place("length10")),
    Bar("validation of 40 steps, seconds", "median_seconds", Place(VALIDATION), 0.1, False),
)
