"""The list of cells, read from cells.toml and checked: what is measured, by whom, and what is expected."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

LIST = Path(__file__).resolve().parent / "cells.toml"
OURS = "ours"
SAME_ROWS = "same-rows"
TWO_ROWS = "two-rows"
BEST_PEER = "best-peer"

Tier = Literal["bench", "proof"]
TIERS = ("bench", "proof")
# Where cells.toml does not say it.
LONGEST_SECONDS = 30.0


@dataclass(frozen=True)
class Unit:
    """What a figure is called and counted in, and how many digits are shown after the point."""

    title: str
    unit: str
    digits: int


@dataclass(frozen=True)
class Engine:
    """A program that does the work, in a process of its own; a `peer` has its own packages as well."""

    name: str
    title: str
    module: str
    peer: bool = False
    packages: tuple[str, ...] = ()
    npm: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bar:
    """A bound on a figure of ours, or, where `over` is set, on its ratio to the same figure elsewhere."""

    cell: str
    figure: str
    bound: float
    at_least: bool
    tier: Tier
    over: str = ""

    def is_met(self, value: float) -> bool:
        """Whether a measured value is on the right side of the bound."""
        return value >= self.bound if self.at_least else value <= self.bound


@dataclass(frozen=True)
class Cell:
    """One measurement. `rounds` are those with --quick and those without; None: as many as the run has."""

    name: str
    title: str
    what: str
    measure: str
    parameters: Mapping[str, Any]
    engines: tuple[str, ...]
    figures: tuple[str, ...]
    rounds: tuple[int, int] | None = None
    longest_seconds: float = LONGEST_SECONDS
    bars: tuple[Bar, ...] = ()

    def rounds_of(self, *, quick: bool) -> int | None:
        """In how many rounds it is measured; None: in all."""
        return None if self.rounds is None else self.rounds[0 if quick else 1]


@dataclass(frozen=True)
class Cells:
    """All cells, engines and figures of a file, each by its name, in the order of the file."""

    cells: Mapping[str, Cell]
    engines: Mapping[str, Engine]
    figures: Mapping[str, Unit] = field(default_factory=dict[str, Unit])

    @property
    def bars(self) -> tuple[Bar, ...]:
        """Every bar, cell by cell."""
        return tuple(bar for cell in self.cells.values() for bar in cell.bars)

    def peers_of(self, cell: str) -> tuple[str, ...]:
        """The other engines that do a cell's work."""
        return tuple(name for name in self.cells[cell].engines if self.engines[name].peer)


def read_cells(path: Path = LIST) -> Cells:
    """The list as the file has it.

    Raises:
        ValueError: the file names something that it does not have; the message says what and where.
    """
    with path.open("rb") as file:
        document = tomllib.load(file)
    engines = [Engine(**_frozen(entry)) for entry in document["engine"]]
    cells = [_cell(entry) for entry in document["cell"]]
    figures = {name: Unit(**entry) for name, entry in document["figures"].items()}
    found = Cells({one.name: one for one in cells}, {one.name: one for one in engines}, figures)
    faults = [*_doubles(cells, engines), *_faults(found)]
    if faults:
        raise ValueError(f"{path.name}: {'; '.join(faults)}")
    return found


def _cell(entry: dict[str, Any]) -> Cell:
    bars = tuple(_bar(entry["name"], bar) for bar in entry.get("bars", ()))
    return Cell(**_frozen({**entry, "bars": bars}))


def _bar(cell: str, entry: dict[str, Any]) -> Bar:
    at_least = "at_least" in entry
    return Bar(
        cell=cell,
        figure=entry["figure"],
        bound=float(entry["at_least" if at_least else "at_most"]),
        at_least=at_least,
        tier=entry["tier"],
        over=entry.get("over", ""),
    )


def _frozen(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        key: tuple(cast("list[Any]", value)) if isinstance(value, list) else value
        for key, value in entry.items()
    }


def _doubles(cells: list[Cell], engines: list[Engine]) -> Iterator[str]:
    names = [one.name for one in (*cells, *engines)]
    yield from (
        f"the name {name} is given twice" for name in sorted({n for n in names if names.count(n) > 1})
    )


def _faults(found: Cells) -> Iterator[str]:
    for cell in found.cells.values():
        yield from (f"{cell.name}: no engine {name}" for name in cell.engines if name not in found.engines)
        yield from (f"{cell.name}: no unit for {name}" for name in cell.figures if name not in found.figures)
        if cell.bars and OURS not in cell.engines:
            yield f"{cell.name}: bars without a figure of ours"
        for bar in cell.bars:
            yield from _faults_of_bar(found, cell, bar)


def _faults_of_bar(found: Cells, cell: Cell, bar: Bar) -> Iterator[str]:
    if bar.figure not in cell.figures:
        yield f"{cell.name}: a bar on {bar.figure}, which it does not yield"
    if bar.tier not in TIERS:
        yield f"{cell.name}: no tier {bar.tier}"
    if bar.over == BEST_PEER and bar.tier != "proof":
        yield f"{cell.name}: peers are measured in the proof only"
    other = found.cells.get(bar.over)
    if not (
        not bar.over
        or bar.over == BEST_PEER
        or bar.over in cell.engines
        or (other is not None and bar.figure in other.figures)
    ):
        yield f"{cell.name}: nothing to compare {bar.figure} with at {bar.over}"
