"""Breaks the engine on purpose, one way at a time, and shows which tests notice.

A mutant is an exact text in the source and what to put in its place (`<suite>.toml`). Each is applied to a
copy of `src`, against which the suite runs. Every mutant has to be noticed, by the tests that it names, and
every test has to notice one; a test that notices nothing proves nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import xml.etree.ElementTree as xml
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SOURCE = ROOT / "src"
PACKAGE = "process_engine"

SUITES = {"backlog": "tests/process_engine/integration"}
"""The directory of each suite; its mutants are in the file of the same name."""

# Seconds. A test of the suite takes 0.1 s; one that waits for ever has noticed something as well.
TEST_TIMEOUT = 5
# Seconds for all tests against one mutant.
RUN_TIMEOUT = 300
# The exit codes of pytest that mean it ran the tests: passed, failed.
RAN = (0, 1)


@dataclass(frozen=True)
class Patch:
    """A text that stands exactly once in a file of the package, and what to put in its place."""

    file: str
    old: str
    new: str

    def apply(self, source: Path) -> None:
        """Change the file below `source`.

        Raises:
            ValueError: the text is not there, or more than once.
        """
        path = source / PACKAGE / self.file
        text = path.read_text(encoding="utf-8")
        found = text.count(self.old)
        if found != 1:
            raise ValueError(f"{self.file} holds the text {found} times, not once: {self.old.strip()!r}")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


@dataclass(frozen=True)
class Mutant:
    """One way to break the engine, and the tests that have to notice it."""

    name: str
    patches: tuple[Patch, ...]
    noticed_by: frozenset[str]


@dataclass
class Outcome:
    """What became of the suite: its tests, those that failed, and those of them that ran out of time."""

    tests: list[str] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    timed_out: set[str] = field(default_factory=set)
    given_up: bool = False

    @property
    def is_noticed(self) -> bool:
        return bool(self.failed) or self.given_up


def load_mutants(suite: str) -> list[Mutant]:
    """The mutants of a suite, in the order of its file."""
    document = tomllib.loads((HERE / f"{suite}.toml").read_text(encoding="utf-8"))
    return [_mutant(entry) for entry in document["mutant"]]


def _mutant(entry: dict) -> Mutant:
    patches = [entry, *entry.get("also", [])]
    return Mutant(
        name=entry["name"],
        patches=tuple(Patch(patch["file"], patch["old"], patch["new"]) for patch in patches),
        noticed_by=frozenset(entry["noticed_by"]),
    )


# ---- running ---------------------------------------------------------------------------------------


@contextmanager
def copied_source(patches: Sequence[Patch] = ()) -> Iterator[Path]:
    """A copy of `src` with the patches applied."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as place:
        copy = Path(place).resolve() / "src"
        # With the compiled files: those of unchanged modules stay valid and save most of the start-up.
        shutil.copytree(SOURCE, copy)
        for patch in patches:
            patch.apply(copy)
            broken = copy / PACKAGE / patch.file
            for compiled in broken.parent.glob(f"__pycache__/{broken.stem}.*"):
                compiled.unlink()
        yield copy


def run_suite(tests: str, patches: Sequence[Patch] = ()) -> Outcome:
    """Run the tests against a copy of the source with these patches.

    Raises:
        RuntimeError: pytest did not get as far as running them.
    """
    with copied_source(patches) as source:
        report = source.parent / "report.xml"
        options = ["-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov"]
        limits = [f"--timeout={TEST_TIMEOUT}", f"--junitxml={report}", f"--basetemp={source.parent / 'tmp'}"]
        environment = os.environ | {
            "PYTHONPATH": str(source),
            "SOURCE_UNDER_TEST": str(source),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [sys.executable, "-m", "pytest", tests, *options, *limits]
        try:
            answer = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=RUN_TIMEOUT
            )
        except subprocess.TimeoutExpired:
            return Outcome(given_up=True)
        if answer.returncode not in RAN:
            raise RuntimeError(f"pytest ended with {answer.returncode}:\n{answer.stdout}{answer.stderr}")
        return read_report(report)


def read_report(report: Path) -> Outcome:
    """The outcome in a report of pytest; a test with parameters failed if it failed with any of them."""
    outcome = Outcome()
    for case in xml.parse(report).iter("testcase"):
        name = case.get("name", "").partition("[")[0]
        if name not in outcome.tests:
            outcome.tests.append(name)
        for fault in (*case.iter("failure"), *case.iter("error")):
            outcome.failed.add(name)
            if "Timeout" in (fault.get("message") or ""):
                outcome.timed_out.add(name)
    return outcome


# ---- reporting -------------------------------------------------------------------------------------


def print_legend(tests: Sequence[str]) -> None:
    print("\nThe tests, by column:")
    for number, test in enumerate(tests, 1):
        print(f"  {number:>2}  {test}")


def print_header(tests: Sequence[str], width: int) -> None:
    numbers = range(1, len(tests) + 1)
    print()
    print(" " * width, "".join(str(number // 10 or " ") for number in numbers))
    print(f"{'mutant':<{width}}", "".join(str(number % 10) for number in numbers), " killed by")


def print_row(mutant: Mutant, outcome: Outcome, tests: Sequence[str], width: int) -> None:
    row = "".join(_mark(test, mutant, outcome) for test in tests)
    remark = f", {len(outcome.timed_out)} by timeout" if outcome.timed_out else ""
    remark = f", given up after {RUN_TIMEOUT} s" if outcome.given_up else remark
    print(f"{mutant.name:<{width}} {row}  {len(outcome.failed)}{remark}", flush=True)


def _mark(test: str, mutant: Mutant, outcome: Outcome) -> str:
    if test in outcome.failed:
        return "X" if test in mutant.noticed_by else "x"
    return "?" if test in mutant.noticed_by else "·"


def print_list(title: str, items: Sequence[str]) -> None:
    print(f"\n{title}: {'' if items else 'none'}")
    for item in items:
        print(f"  {item}")


def judge(outcomes: Sequence[tuple[Mutant, Outcome]], tests: Sequence[str], *, all_mutants: bool) -> int:
    """Print what is missing; 0 if nothing is."""
    unnoticed = [mutant.name for mutant, outcome in outcomes if not outcome.is_noticed]
    missed = [
        f"{mutant.name}: {test}"
        for mutant, outcome in outcomes
        if outcome.is_noticed and not outcome.given_up
        for test in sorted(mutant.noticed_by - outcome.failed)
    ]
    kills = {test: [m.name for m, outcome in outcomes if test in outcome.failed] for test in tests}
    idle = [test for test, names in kills.items() if not names] if all_mutants else []
    print_list("Mutants that no test noticed", unnoticed)
    print_list("Tests that had to notice a mutant and did not (?)", missed)
    if all_mutants:
        print_list("Tests that noticed no mutant", idle)
    return 1 if unnoticed or missed or idle else 0


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="dev.py mutants", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--suite", choices=sorted(SUITES), default="backlog", help="which tests and mutants")
    parser.add_argument("--only", metavar="NAME", help="only the mutants whose names hold this text")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (2)")
    options = parser.parse_args(arguments)
    known = load_mutants(options.suite)
    chosen = [mutant for mutant in known if options.only is None or options.only in mutant.name]
    if not chosen:
        parser.error(f"no mutant is named so; there are: {', '.join(mutant.name for mutant in known)}")
    return run_all(SUITES[options.suite], chosen, jobs=options.jobs, all_mutants=len(chosen) == len(known))


def run_all(directory: str, mutants: Sequence[Mutant], *, jobs: int, all_mutants: bool) -> int:
    """Run the suite unbroken, then against each mutant; the exit code."""
    sound = run_suite(directory)
    if sound.is_noticed:
        print_list("The suite fails on the source as it is; nothing was broken yet", sorted(sound.failed))
        return 1
    width = max(len(mutant.name) for mutant in mutants)
    print_legend(sound.tests)
    print_header(sound.tests, width)
    outcomes: list[tuple[Mutant, Outcome]] = []
    with ThreadPoolExecutor(jobs) as pool:
        results = pool.map(lambda mutant: run_suite(directory, mutant.patches), mutants)
        for mutant, outcome in zip(mutants, results, strict=True):
            outcomes.append((mutant, outcome))
            print_row(mutant, outcome, sound.tests, width)
    print(f"\n{len(mutants)} mutants, {len(sound.tests)} tests.")
    return judge(outcomes, sound.tests, all_mutants=all_mutants)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
