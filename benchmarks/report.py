"""A run as a page: figures are medians over the rounds, with the lowest and the highest in brackets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from benchmarks.cells import BEST_PEER, OURS, SAME_ROWS, TWO_ROWS, Cell, Unit
from benchmarks.results import MISSING, Judgement, Run
from benchmarks.rounds import KILL
from benchmarks.tables import median, spread, table

# Between the fastest and the slowest round, the rate of syncs of a disk that is left alone differs by less.
UNEVEN = 2.0


def render(run: Run) -> str:
    """The whole report."""
    parts = [
        _facts(run),
        "Bars: " + summary(run),
        "Engines\n\n" + _engines(run),
        "Durable steps per second, beside the raw limit of this disk\n\n" + _raw(run),
        "Durable steps per second, beside other engines\n\n" + _peers(run),
        *(f"{run.cells.figures[name].title}, {run.cells.figures[name].unit}\n\n" + _by_engine(run, name)
          for name in ("cpu_us_per_step", "p50_ms", "p99_ms")),
        "Ours alone\n\n" + _others(run),
        "Bars\n\n" + _bars(run),
        _problems(run),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def summary(run: Run) -> str:
    """How many bars were met, missed, and not measured."""
    found = Counter(one.verdict for one in run.judged())
    return f"{found['met']} met, {found['missed']} missed, {found[MISSING]} {MISSING} (which count as missed)"


def _facts(run: Run) -> str:
    syncs = run.syncs_per_second
    facts = dict(run.facts)
    if syncs:
        facts["fdatasync of 4 KiB"] = f"{spread(syncs, '{:,.0f}')} per second"
        facts["rounds"] = f"{len(syncs)} in {run.seconds:.0f} s; figures are: median (lowest–highest round)"
        if max(syncs) > UNEVEN * min(syncs):
            facts["uneven disk"] = "its pace changed by more than half: speeds mean little, shares are rough"
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


# ---------------------------------------------------------------- tables


def _engines(run: Run) -> str:
    rows: list[Sequence[str]] = []
    for engine in run.cells.engines.values():
        about = run.about.get(engine.name)
        told = (about["version"], about["guarantee"]) if about else (MISSING, MISSING)
        rows.append((engine.title, *told, _killed(run, engine.name)))
    return table(("", "version", "guarantee", "killed once"), rows, texts=4)


def _killed(run: Run, engine: str) -> str:
    cell = next((one for one in run.cells.cells.values() if one.measure == KILL), None)
    if cell is None or engine not in cell.engines:
        return "–"
    samples = run.of(cell.name, engine)
    if not samples:
        return MISSING
    acknowledged = sum(one.figures["acknowledged_steps"] for one in samples)
    lost = sum(one.figures["lost_steps"] for one in samples)
    if lost:
        return f"LOST {lost:.0f} of {acknowledged:.0f} acknowledged steps"
    return f"all {acknowledged:.0f} acknowledged steps there"


def _compared(run: Run) -> list[Cell]:
    """The cells that others do as well, before all timing apart."""
    return [one for one in run.cells.cells.values() if len(one.engines) > 1 and one.measure != KILL]


def _raw(run: Run) -> str:
    head = ("", "ours", "raw, same rows", "raw, two rows", "of same rows", "of two rows", "rows a commit")
    rows: list[Sequence[str]] = []
    for cell in _compared(run):
        speeds = [
            spread(run.values(cell.name, who, "steps_per_second"), "{:,.0f}")
            for who in (OURS, SAME_ROWS, TWO_ROWS)
        ]
        shares = [
            median(run.ratios((cell.name, OURS), (cell.name, raw), "steps_per_second"), "{:.1%}")
            for raw in (SAME_ROWS, TWO_ROWS)
        ]
        rows.append(
            (
                cell.title,
                *speeds,
                *shares,
                median(run.values(cell.name, SAME_ROWS, "rows_per_commit"), "{:.1f}"),
            )
        )
    return table(head, rows)


def _peers(run: Run) -> str:
    peers = [one for one in run.cells.engines.values() if one.peer]
    rows: list[Sequence[str]] = []
    for cell in _compared(run):
        speeds = [
            spread(run.values(cell.name, who, "steps_per_second"), "{:,.0f}")
            for who in (OURS, *(peer.name for peer in peers))
        ]
        best = run.best_peer(cell.name, "steps_per_second", highest=True)
        times = run.ratios((cell.name, OURS), (cell.name, best), "steps_per_second") if best else []
        rows.append((cell.title, *speeds, median(times, "{:.1f}")))
    return table(("", "ours", *(peer.title for peer in peers), "times the best"), rows)


def _by_engine(run: Run, figure: str) -> str:
    form = _form(run.cells.figures[figure])
    engines = list(run.cells.engines.values())
    rows = [
        (cell.title, *(median(run.values(cell.name, one.name, figure), form) for one in engines))
        for cell in _compared(run)
    ]
    return table(("", *(one.title for one in engines)), rows)


def _others(run: Run) -> str:
    rows: list[Sequence[str]] = []
    for cell in run.cells.cells.values():
        if len(cell.engines) > 1:
            continue
        for name in cell.figures:
            unit = run.cells.figures[name]
            values = run.values(cell.name, OURS, name)
            ending = f" {unit.unit}" if values and unit.unit else ""
            rows.append((cell.title, unit.title, spread(values, _form(unit)) + ending))
    return table(("", "figure", "measured"), rows, texts=2)


def _bars(run: Run) -> str:
    return table(("", "bound", "measured", "", "tier"), [_bar_row(run, one) for one in run.judged()])


def _bar_row(run: Run, one: Judgement) -> Sequence[str]:
    bar, unit = one.bar, run.cells.figures[one.bar.figure]
    cell = run.cells.cells[bar.cell]
    of = f" over {_other_name(run, bar.over)}" if bar.over else ""
    form = "{:.2f}" if bar.over else _form(unit)
    ending = "" if bar.over else f" {unit.unit}".rstrip()
    bound = ("≥ " if bar.at_least else "≤ ") + form.format(bar.bound) + ending
    note = f" ({one.note})" if one.note.startswith("best: ") else ""
    return (f"{cell.title}: {unit.title}{of}", bound, spread(one.values, form) + note, one.verdict, bar.tier)


def _other_name(run: Run, over: str) -> str:
    if over == BEST_PEER:
        return "the best peer"
    cells, engines = run.cells.cells, run.cells.engines
    return cells[over].title if over in cells else engines[over].title


def _form(unit: Unit) -> str:
    return f"{{:,.{unit.digits}f}}"


def _problems(run: Run) -> str:
    """Why what is MISSING is so, each reason once."""
    places: dict[str, list[tuple[str, str]]] = {}
    for place, why in run.problems.items():
        cell, _, engine = place.partition("/")
        places.setdefault(why, []).append((cell, engine))
    lines = [f"- {', '.join(_merged(run, found))}: {why}" for why, found in places.items()]
    return "Not measured, or not in every round\n\n" + "\n".join(lines) if lines else ""


def _merged(run: Run, places: Sequence[tuple[str, str]]) -> Iterator[str]:
    """The places, with one name for a cell of which all engines are concerned."""
    for cell in dict.fromkeys(cell for cell, _ in places):
        engines = [engine for other, engine in places if other == cell]
        everybody = len(engines) == len(run.cells.cells[cell].engines)
        yield cell if everybody else f"{cell} ({', '.join(engines)})"
