"""Measures the engine beside the raw limit of the same disk, in interleaved rounds.

It prints and saves, and decides nothing: the exit code is 0 whatever the figures are.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import TypeVar, cast

import machine
import msgspec
import ours
import raw
import recording
from cells import CONTENDERS, LENGTH, OURS, SAME_ROWS, THROUGHPUT, TWO_ROWS, VALIDATION, Cell, Place
from definitions import RESULT
from measure import Limits, Sample, rotated
from report import Run, missed, place_name, render

Answer = TypeVar("Answer")

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
SAVED = HERE / "RESULTS.md"


@dataclass(frozen=True)
class Plan:
    """How much is measured, and how long it may take on the slowest disk.

    No measurement begins after `last_start_seconds`; one that takes longer than `longest_seconds` is given up
    and reported as missing.
    """

    rounds: int
    seconds: float
    longest_chain_rounds: int
    validations: int
    last_start_seconds: float
    longest_seconds: float


# Many short rounds rather than a few long ones: disks change their pace within seconds, and only what was
# measured right after each other is compared.
FULL = Plan(
    rounds=12, seconds=0.3, longest_chain_rounds=3, validations=2, last_start_seconds=215, longest_seconds=20
)
QUICK = Plan(
    rounds=3, seconds=0.15, longest_chain_rounds=1, validations=2, last_start_seconds=20, longest_seconds=7
)


class Benchmark:
    """One run: every place once in each round, contenders of a cell one right after the other."""

    def __init__(self, plan: Plan, run: Run, directory: Path) -> None:
        self._plan = plan
        self._run = run
        self._directory = directory
        self._began = perf_counter()
        self._scripts: dict[Place, raw.Script] = {}

    def go(self) -> None:
        """Measure; what cannot be measured is noted and left out."""
        for cell in THROUGHPUT:
            self._prepare(cell)
        for round in range(self._plan.rounds):
            _tell(f"round {round + 1} of {self._plan.rounds}, {perf_counter() - self._began:.0f} s")
            for place, measure in self._round(round):
                self._try(place, measure)
        self._run.seconds = perf_counter() - self._began

    def _prepare(self, cell: Cell) -> None:
        """Learn what the engine writes, so that the bare store writes the same."""
        scripts = {TWO_ROWS: raw.two_rows(cell.waves, msgspec.json.encode(RESULT).decode())}
        try:
            with self._folder() as folder:
                scripts[SAME_ROWS] = self._run_bounded(recording.record(cell, folder))
        except Exception as error:
            # Whatever goes wrong costs this place, never the report.
            self._note(Place(cell.name, SAME_ROWS), error)
        self._scripts |= {Place(cell.name, who): script for who, script in scripts.items()}
        self._run.rows_per_commit[cell.name] = {who: script.rows for who, script in scripts.items()}

    def _round(self, round: int) -> Iterator[tuple[Place, Callable[[Path], Sample]]]:
        with self._folder() as folder:
            self._run.syncs_per_second.append(machine.syncs_per_second(folder, self._plan.seconds))
        # First what has a bar: where time runs out, the rest is left out.
        yield Place(VALIDATION), lambda _: self._validate(round)
        for cell in LENGTH[:2]:
            yield Place(cell.name), self._ours(cell, round)
        for cell in sorted(THROUGHPUT, key=lambda cell: cell.steps):
            for contender in rotated(CONTENDERS, round):
                place = Place(cell.name, contender)
                if contender == OURS:
                    yield place, self._ours(cell, round)
                elif place in self._scripts:
                    yield place, self._raw(cell, contender, round)
        if round < self._plan.longest_chain_rounds:
            yield from ((Place(cell.name), self._ours(cell, round)) for cell in LENGTH[2:])

    def _validate(self, round: int) -> Sample:
        if round == 0:
            ours.validate(round, 1, serial=0)
        return ours.validate(round, self._plan.validations, serial=1 + round * self._plan.validations)

    def _ours(self, cell: Cell, round: int) -> Callable[[Path], Sample]:
        limits = self._limits(cell)
        return lambda folder: self._run_bounded(ours.measure(cell, round, limits, folder))

    def _raw(self, cell: Cell, contender: str, round: int) -> Callable[[Path], Sample]:
        limits, script = self._limits(cell), self._scripts[Place(cell.name, contender)]
        return lambda folder: self._run_bounded(raw.measure(cell, contender, script, round, limits, folder))

    def _run_bounded(self, measurement: Coroutine[None, None, Answer]) -> Answer:
        async def bounded() -> Answer:
            async with asyncio.timeout(self._plan.longest_seconds):
                return await measurement

        return asyncio.run(bounded())

    def _limits(self, cell: Cell) -> Limits:
        if cell.most_executions:
            return Limits(self._plan.longest_seconds, cell.most_executions)
        return Limits(self._plan.seconds)

    def _try(self, place: Place, measure: Callable[[Path], Sample]) -> None:
        if perf_counter() - self._began > self._plan.last_start_seconds:
            if not self._run.of(place):
                self._run.problems.setdefault(place_name(place), "no time was left")
            return
        try:
            with self._folder() as folder:
                self._run.samples.append(measure(folder))
        except Exception as error:
            # As above: one place, never the report.
            self._note(place, error)

    def _note(self, place: Place, error: Exception) -> None:
        if isinstance(error, ExceptionGroup):
            error = cast("ExceptionGroup[Exception]", error).exceptions[0]
        late = isinstance(error, TimeoutError)
        reason = (
            f"took longer than {self._plan.longest_seconds:g} s"
            if late
            else f"{type(error).__name__}: {error}"
        )
        self._run.problems[place_name(place)] = reason

    def _folder(self) -> _Folder:
        return _Folder(self._directory)


class _Folder:
    """A new directory for one measurement, removed with all that is in it."""

    def __init__(self, parent: Path) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="bench-", dir=parent)

    def __enter__(self) -> Path:
        return Path(self._directory.__enter__())

    def __exit__(self, *reason: object) -> None:
        self._directory.cleanup()


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="at most 30 s, coarser figures (else 4 min)")
    parser.add_argument("--save", action="store_true", help="write benchmarks/RESULTS.md as well")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds, at most as many as without")
    parser.add_argument("--dir", type=Path, default=RESULTS, help="a directory on the disk to measure")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    directory: Path = arguments.dir
    RESULTS.mkdir(exist_ok=True)
    if not directory.is_dir() or machine.is_in_memory(directory):
        _tell(f"{directory} is no directory on a disk; name one with --dir.")
        return 2
    plan = QUICK if arguments.quick else FULL
    if arguments.rounds is not None:
        plan = replace(plan, rounds=min(plan.rounds, max(1, arguments.rounds)))
    run = Run(machine.facts(directory), {"quick": arguments.quick, **asdict(plan)})
    before = machine.load()
    Benchmark(plan, run, directory).go()
    run.facts["load average"] = f"{before} before, {machine.load()} after"
    _publish(run, save=arguments.save)
    return 0


def _publish(run: Run, *, save: bool) -> None:
    name = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ") + ".json"
    (RESULTS / name).write_text(run.as_json(), encoding="utf-8")
    text = render(run)
    print(text)
    _tell(f"bars missed: {missed(run)}; raw samples: benchmarks/results/{name}")
    if save:
        head = "# Results\n\nWritten by `python3 dev.py bench --save`; what it means is in README.md.\n\n"
        SAVED.write_text(head + text, encoding="utf-8")
        _tell("wrote benchmarks/RESULTS.md")


if __name__ == "__main__":
    sys.exit(main())
