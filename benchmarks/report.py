"""Samples to tables: medians over the rounds, with the lowest and the highest in brackets."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from cells import (
    BARS,
    CONTENDERS,
    LENGTH,
    OURS,
    SAME_ROWS,
    THROUGHPUT,
    TWO_ROWS,
    VALIDATION,
    Bar,
    Cell,
    Place,
)
from measure import Sample, percentile

MISSING = "MISSING"
# Between the fastest and the slowest round, the rate of syncs of a disk that is left alone differs by less.
UNEVEN = 2.0


@dataclass
class Run:
    """All that one run has found out. `problems` says of each place why it was not measured."""

    facts: dict[str, str]
    options: dict[str, object]
    rows_per_commit: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    syncs_per_second: list[float] = field(default_factory=list[float])
    samples: list[Sample] = field(default_factory=list[Sample])
    problems: dict[str, str] = field(default_factory=dict[str, str])
    seconds: float = 0.0

    def of(self, place: Place) -> list[Sample]:
        """The samples of a place, round by round."""
        return [one for one in self.samples if (one.cell, one.contender) == (place.cell, place.contender)]

    def ratios(self, over: Place, under: Place, figure: str) -> list[float]:
        """A figure divided by another one, for each round in which both were measured."""
        bases = {one.round: getattr(one, figure) for one in self.of(under)}
        return [getattr(one, figure) / bases[one.round] for one in self.of(over) if one.round in bases]

    def as_json(self) -> str:
        """Everything, the raw samples included."""
        whole = asdict(self) | {"bars": [_judged(self, bar) for bar in BARS]}
        return json.dumps(whole, ensure_ascii=False)


def _values(run: Run, bar: Bar) -> list[float]:
    if bar.over is None:
        return [getattr(one, bar.figure) for one in run.of(bar.place)]
    return run.ratios(bar.place, bar.over, bar.figure)


def _judged(run: Run, bar: Bar) -> dict[str, object]:
    values = _values(run, bar)
    value = statistics.median(values) if values else None
    return {
        "title": bar.title,
        "bound": bar.bound,
        "at_least": bar.at_least,
        "value": value,
        "met": value is not None and bar.is_met(value),
    }


def render(run: Run) -> str:
    """The whole report as Markdown that reads well as plain text."""
    parts = [
        _facts(run),
        "Durable steps per second\n\n" + _throughput(run),
        "One step of ours, and one execution from start to completed\n\n" + _steps(run),
        "Long chains, alone\n\n" + _length(run),
        "Bars\n\n" + _bars(run),
        _problems(run),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(run: Run) -> str:
    syncs = run.syncs_per_second
    facts = {**run.facts, "fdatasync of 4 KiB": f"{_spread(syncs, '{:,.0f}')} per second"}
    facts["rounds"] = f"{len(syncs)} in {run.seconds:.0f} s; figures are: median (lowest–highest round)"
    if max(syncs) > UNEVEN * min(syncs):
        facts["uneven disk"] = "its pace changed by more than half: speeds mean little, shares are rough"
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def _throughput(run: Run) -> str:
    head = ("", *CONTENDERS, "of same rows", "of two rows", "rows a commit")
    return _table(head, [_throughput_row(run, cell) for cell in THROUGHPUT])


def _throughput_row(run: Run, cell: Cell) -> list[str]:
    speeds = [_figure(run, Place(cell.name, who), "steps_per_second", "{:,.0f}") for who in CONTENDERS]
    shares = [
        _spread(run.ratios(Place(cell.name), Place(cell.name, raw), "steps_per_second"), "{:.1%}", short=True)
        for raw in (SAME_ROWS, TWO_ROWS)
    ]
    rows = run.rows_per_commit.get(cell.name, {}).get(SAME_ROWS)
    return [cell.title, *speeds, *shares, MISSING if rows is None else f"{rows:.1f}"]


def _steps(run: Run) -> str:
    head = ("", "CPU µs", "CPU µs, same rows", "commits", "p50 ms", "p99 ms")
    return _table(head, [_step_row(run, cell) for cell in THROUGHPUT])


def _step_row(run: Run, cell: Cell) -> list[str]:
    ours = run.of(Place(cell.name))
    latencies = [1e3 * seconds for one in ours for seconds in one.latencies]
    return [
        cell.title,
        _micro(run, Place(cell.name), "cpu_per_step"),
        _micro(run, Place(cell.name, SAME_ROWS), "cpu_per_step"),
        _figure(run, Place(cell.name), "commits_per_step", "{:.3f}", short=True),
        *(f"{percentile(latencies, share):,.2f}" if latencies else MISSING for share in (0.5, 0.99)),
    ]


def _length(run: Run) -> str:
    head = ("", "µs a step", "CPU µs a step", "time over 10 steps", "CPU over 10 steps")
    short = Place(LENGTH[0].name)
    rows = [
        [
            cell.title,
            _micro(run, Place(cell.name), "wall_per_step"),
            _micro(run, Place(cell.name), "cpu_per_step"),
            *(
                _spread(run.ratios(Place(cell.name), short, figure), "{:.2f}")
                for figure in ("wall_per_step", "cpu_per_step")
            ),
        ]
        for cell in LENGTH
    ]
    documents = run.of(Place(VALIDATION))
    times = [1e3 * one.median_seconds for one in documents]
    cpu = [1e3 * one.cpu_per_step for one in documents]
    took = f"{_spread(times, '{:.1f}')} ms, CPU {_spread(cpu, '{:.1f}')} ms"
    return _table(head, rows) + f"\n\nValidation of a new document of 40 steps: {took}."


def _bars(run: Run) -> str:
    return _table(("", "bound", "measured", ""), [_bar_row(run, bar) for bar in BARS])


def _bar_row(run: Run, bar: Bar) -> list[str]:
    values = _values(run, bar)
    form = "{:.1%}" if bar.at_least else "{:.3f}"
    verdict = "met" if values and bar.is_met(statistics.median(values)) else "missed"
    bound = ("≥ " if bar.at_least else "≤ ") + form.format(bar.bound)
    return [bar.title, bound, _spread(values, form), verdict]


def missed(run: Run) -> int:
    """How many bars are missed, those without a measurement included."""
    return sum(not _judged(run, bar)["met"] for bar in BARS)


def _problems(run: Run) -> str:
    if not run.problems:
        return ""
    return "Not measured, or not in every round\n\n" + "\n".join(
        f"- {place}: {reason}" for place, reason in run.problems.items()
    )


# ---------------------------------------------------------------- numbers and tables


def _micro(run: Run, place: Place, figure: str) -> str:
    return _spread([1e6 * getattr(one, figure) for one in run.of(place)], "{:,.0f}")


def _figure(run: Run, place: Place, figure: str, form: str, *, short: bool = False) -> str:
    return _spread([getattr(one, figure) for one in run.of(place)], form, short=short)


def _spread(values: Sequence[float], form: str, *, short: bool = False) -> str:
    if not values:
        return MISSING
    middle = form.format(statistics.median(values))
    return middle if short else f"{middle} ({form.format(min(values))}–{form.format(max(values))})"


def _table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    cells = [list(head), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    first, *others = widths
    rule = f"|{'-' * (first + 2)}|" + "".join(f"{'-' * (width + 1)}:|" for width in others)
    lines = [_line(row, widths) for row in cells]
    return "\n".join([lines[0], rule, *lines[1:]])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    numbers = (text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))
    return f"| {' | '.join((row[0].ljust(widths[0]), *numbers))} |"


def place_name(place: Place) -> str:
    """A place in words."""
    return place.cell if place.contender == OURS else f"{place.cell} ({place.contender})"
