"""Mutants of the engine against the simulation and the engine's tests: a table of who killed each, and when.

Both are tried on every mutant, so that the table shows what either would miss alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.mutants.killers import KILLERS, SHARE_SECONDS, UNBROKEN_SECONDS, Hunt, Kind, NotRun, Verdict
from tests.mutants.patches import Mutant, copied_source, copied_tree

# On a quiet core, from the first killer's beginning to the kill.
LONGEST_LIFE_SECONDS = 60.0


@dataclass(frozen=True)
class Result:
    """What the killers found about a mutant, by killer, in the order in which they were asked.

    `broken` says that the mutant could not be judged, and why.
    """

    mutant: Mutant
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    broken: str = ""

    def is_kill(self, verdict: Verdict) -> bool:
        """Waiting for ever is a way to notice only where the mutant says so."""
        return verdict.kind is Kind.KILLED or (verdict.kind is Kind.HUNG and self.mutant.hangs)

    @property
    def seconds(self) -> float | None:
        """How long it lived: until the first killer was done with it; None for a survivor."""
        passed = 0.0
        for verdict in self.verdicts.values():
            passed += verdict.seconds
            if self.is_kill(verdict):
                return passed
        return None


@dataclass(frozen=True)
class Options:
    """How to hunt: so many mutants at a time, each with all `killers`, or until the first kill if `fast`."""

    killers: tuple[str, ...] = tuple(KILLERS)
    workers: int = 2
    patience: float = 1.0
    fast: bool = False


# ---- running ---------------------------------------------------------------------------------------


def run_all(mutants: Sequence[Mutant], options: Options, report: Path | None = None) -> int:
    """Run the killers unbroken, then on each mutant; the exit code."""
    with copied_tree() as tree:
        sound = hunt_unbroken(tree, options)
        told = ", ".join(f"{name} {verdict.seconds:.1f} s" for name, verdict in sound.verdicts.items())
        print(f"Unbroken: {told or sound.broken}", flush=True)
        if red := reasons_to_stop(sound):
            print_list("Red without a mutant; nothing was broken yet", red)
            return 1
        limits = limits_after(sound, options)
        results = list(print_rows(hunt_all(tree, mutants, limits, options), mutants))
    if report is not None:
        report.write_text(markdown(results, sound), encoding="utf-8")
        print(f"\nWrote {report}")
    return judge(results, longest_life=LONGEST_LIFE_SECONDS * options.patience)


def hunt_unbroken(tree: Path, options: Options) -> Result:
    """What the killers say about the source as it is; leaves compiled files for the copies of it."""
    limits = dict.fromkeys(KILLERS, UNBROKEN_SECONDS * options.patience)
    whole = Hunt(tree, tree / "src", limits, options.patience, keep_compiled=True)
    return _ask(Mutant("", ()), whole, options)


def limits_after(sound: Result, options: Options) -> dict[str, float]:
    """How long each killer may take: who needs more than twice as long as unbroken does not end."""
    least = SHARE_SECONDS * options.patience
    return {name: max(least, 2 * verdict.seconds) for name, verdict in sound.verdicts.items()}


def reasons_to_stop(sound: Result) -> list[str]:
    """What the killers found although nothing was broken."""
    told = [
        f"{name}: {verdict.kind} {verdict.by}"
        for name, verdict in sound.verdicts.items()
        if verdict.kind is not Kind.SURVIVED
    ]
    return [*told, sound.broken] if sound.broken else told


def hunt_all(
    tree: Path, mutants: Sequence[Mutant], limits: Mapping[str, float], options: Options
) -> Iterator[Result]:
    """Each mutant's result, in the order of the mutants."""
    with ThreadPoolExecutor(options.workers) as pool:
        yield from pool.map(lambda mutant: hunt_one(tree, mutant, limits, options), mutants)


def hunt_one(tree: Path, mutant: Mutant, limits: Mapping[str, float], options: Options) -> Result:
    """Break a copy of the source and ask the killers; each has so many seconds."""
    try:
        with copied_source(tree, mutant.patches) as source:
            return _ask(mutant, Hunt(tree, source, limits, options.patience), options)
    except ValueError as fault:
        return Result(mutant, broken=str(fault))


def _ask(mutant: Mutant, hunt: Hunt, options: Options) -> Result:
    verdicts: dict[str, Verdict] = {}
    for name in options.killers:
        try:
            verdicts[name] = KILLERS[name](hunt)
        except NotRun as fault:
            return Result(mutant, verdicts, f"{name}: {fault}")
        if options.fast and Result(mutant, verdicts).seconds is not None:
            break
    return Result(mutant, verdicts)


# ---- reporting -------------------------------------------------------------------------------------

MARKS = {Kind.SURVIVED: "·", Kind.KILLED: "yes", Kind.HUNG: "hung"}


def print_rows(results: Iterator[Result], mutants: Sequence[Mutant]) -> Iterator[Result]:
    """The results as they come, each with its line in the table."""
    width = max(len(mutant.name) for mutant in mutants)
    columns = "".join(f"{name:<12}" for name in KILLERS)
    print(f"\n{'mutant':<{width}}  {columns}killed after, by")
    for result in results:
        marks = "".join(f"{_mark(result, name):<12}" for name in KILLERS)
        print(f"{result.mutant.name:<{width}}  {marks}{_end(result)}", flush=True)
        yield result


def _mark(result: Result, killer: str) -> str:
    verdict = result.verdicts.get(killer)
    return "-" if verdict is None else MARKS[verdict.kind]


def _end(result: Result) -> str:
    if result.broken:
        return "cannot be judged"
    if result.seconds is None:
        return "SURVIVED"
    return f"{result.seconds:5.1f} s  {'; '.join(_killers_of(result))}"


def _killers_of(result: Result) -> list[str]:
    return [verdict.by for verdict in result.verdicts.values() if result.is_kill(verdict)]


def print_list(title: str, items: Sequence[str]) -> None:
    print(f"\n{title}: {'' if items else 'none'}")
    for item in items:
        print(f"  {item}")


def judge(results: Sequence[Result], *, longest_life: float = LONGEST_LIFE_SECONDS) -> int:
    """Print what is missing; 0 if nothing is and no mutant lived longer than so many seconds."""
    broken = [f"{result.mutant.name}: {result.broken}" for result in results if result.broken]
    survivors = [result.mutant.name for result in results if result.seconds is None and not result.broken]
    late = [result.mutant.name for result in results if (result.seconds or 0) > longest_life]
    print(f"\n{summary(results)}")
    print_list("Mutants that nobody noticed", survivors)
    print_list("Mutants that cannot be judged", broken)
    print_list(f"Mutants that lived longer than {longest_life:g} s", late)
    return 1 if survivors or broken or late else 0


def summary(results: Sequence[Result]) -> str:
    """One line: how many were killed, by whom, and how long the longest lived."""
    lived = [result.seconds for result in results if result.seconds is not None]
    kills = {name: sum(_is_killed_by(result, name) for result in results) for name in KILLERS}
    counts = ", ".join(f"{count} by the {name}" for name, count in kills.items())
    slowest = f"the slowest kill took {max(lived, default=0):.1f} s"
    return f"{len(lived)} of {len(results)} mutants killed: {counts}; {slowest}."


def _is_killed_by(result: Result, killer: str) -> bool:
    verdict = result.verdicts.get(killer)
    return verdict is not None and result.is_kill(verdict)


def markdown(results: Sequence[Result], sound: Result) -> str:
    """The table as a page."""
    times = ", ".join(f"{name} {verdict.seconds:.1f} s" for name, verdict in sound.verdicts.items())
    heads = ["mutant", "what a user would suffer", *KILLERS, "killed after"]
    lines = [
        "# Mutants of the engine",
        "",
        summary(results),
        "",
        f"Without a mutant, both find nothing: {times}.",
        "",
        f"| {' | '.join(heads)} |",
        f"|{'---|' * len(heads)}",
        *map(_markdown_row, results),
    ]
    return "\n".join(lines) + "\n"


def _markdown_row(result: Result) -> str:
    told = [_markdown_verdict(result.verdicts.get(name)) for name in KILLERS]
    end = (
        "not judged" if result.broken else "SURVIVED" if result.seconds is None else f"{result.seconds:.1f} s"
    )
    cells = [result.mutant.name, result.mutant.suffers, *told, end]
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _markdown_verdict(verdict: Verdict | None) -> str:
    match verdict:
        case None:
            return "not asked"
        case Verdict(kind=Kind.SURVIVED):
            return "no"
        case Verdict(kind=kind, by=by, seconds=seconds):
            return f"{MARKS[kind]}: `{by}`, {seconds:.1f} s"
