"""The integration suite of the first requirements against its mutants: a matrix of who notices what.

Every mutant has to be noticed, by the tests that it names, and every test has to notice one; a test that
notices nothing proves nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as xml
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.mutants.patches import ROOT, Mutant, Patch, copied_source

TESTS = "tests/process_engine/integration"

# Seconds. A test of the suite takes 0.1 s; one that waits for ever has noticed something as well.
TEST_TIMEOUT = 5
# Seconds for all tests against one mutant.
RUN_TIMEOUT = 300
# The exit codes of pytest that mean it ran the tests: passed, failed.
RAN = (0, 1)


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


# ---- running ---------------------------------------------------------------------------------------


def run_suite(patches: Sequence[Patch] = ()) -> Outcome:
    """Run the tests against a copy of the source with these patches.

    Raises:
        RuntimeError: pytest did not get as far as running them.
    """
    with copied_source(ROOT, patches) as source:
        report = source.parent / "report.xml"
        options = ["-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov"]
        limits = [f"--timeout={TEST_TIMEOUT}", f"--junitxml={report}", f"--basetemp={source.parent / 'tmp'}"]
        environment = os.environ | {
            "PYTHONPATH": str(source),
            "SOURCE_UNDER_TEST": str(source),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [sys.executable, "-m", "pytest", TESTS, *options, *limits]
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


def run_all(mutants: Sequence[Mutant], *, workers: int, all_mutants: bool) -> int:
    """Run the suite unbroken, then against each mutant; the exit code."""
    sound = run_suite()
    if sound.is_noticed:
        print_list("The suite fails on the source as it is; nothing was broken yet", sorted(sound.failed))
        return 1
    width = max(len(mutant.name) for mutant in mutants)
    print_legend(sound.tests)
    print_header(sound.tests, width)
    outcomes: list[tuple[Mutant, Outcome]] = []
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(lambda mutant: run_suite(mutant.patches), mutants)
        for mutant, outcome in zip(mutants, results, strict=True):
            outcomes.append((mutant, outcome))
            print_row(mutant, outcome, sound.tests, width)
    print(f"\n{len(mutants)} mutants, {len(sound.tests)} tests.")
    return judge(outcomes, sound.tests, all_mutants=all_mutants)


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
