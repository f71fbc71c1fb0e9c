"""The two that hunt mutants of the engine: the simulation, and the tests that drive the engine.

Each runs against a copy of the source, in a process of its own, and stops at the first thing it notices.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as xml
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from time import perf_counter

# Which tests are asked, and in which order: what is quick comes first.
TESTS = (
    "tests/unit/core",
    "tests/unit/handlers",
    "tests/unit/channels",
    "tests/unit/runtime",
    "tests/unit/repositories",
    "tests/contract",
    "tests/process_engine",
)
# It tries the contract on stores that it breaks itself, and says nothing about the engine.
NOT_ASKED = "tests/contract/test_the_contract.py"

# Runs of seeds, as (first, how many), 300 together. Most mutants fall among the first few, and a run tells
# only at its end.
CHUNKS = ((0, 10), (10, 30), (40, 60), (100, 200))

# What a killer gets at least, in seconds of a quiet core; more where it needs more with nothing broken.
SHARE_SECONDS = 30.0
# For a killer on the source as it is: that does not end late, it is red.
UNBROKEN_SECONDS = 300.0
# No test of these takes longer than 6 s; one that waits for ever must not use up the share of the others.
TEST_SECONDS = 15.0
# 4 GiB: a mutant that goes round in circles ends as a failure, and not at the cost of its neighbours.
MEMORY_KIBIBYTES = 4 * 1024 * 1024

PASSED, FAILED = 0, 1
_FAILED_SEED = re.compile(r"^seed (\d+):", re.MULTILINE)
_RAN = re.compile(r"^\d+ seeds, \d+ failed", re.MULTILINE)


class Kind(StrEnum):
    """What a killer found: nothing, something that is wrong, or no end."""

    SURVIVED = "survived"
    KILLED = "killed"
    HUNG = "hung"


@dataclass(frozen=True)
class Verdict:
    """What one killer says about one copy of the source; `by` names the seed or the test."""

    kind: Kind
    by: str = ""
    seconds: float = 0.0


class NotRun(Exception):
    """The killer did not get as far as judging: the copy cannot be imported, or pytest was used wrongly."""


@dataclass(frozen=True)
class Hunt:
    """One copy of the source (`source`) and the tree whose tests it is given to (`tree`).

    `limits` are the seconds of each killer. `patience` is how many times slower than a quiet core this
    machine may be.
    """

    tree: Path
    source: Path
    limits: Mapping[str, float]
    patience: float = 1.0
    keep_compiled: bool = False


Killer = Callable[[Hunt], Verdict]


def simulate(hunt: Hunt) -> Verdict:
    """Let the simulation look for a seed that breaks a promise.

    Raises:
        NotRun: it ended without judging.
    """
    began = perf_counter()
    limit = hunt.limits["simulation"]
    for start, count in CHUNKS:
        module = "process_engine.testing.simulation"
        options = ["--start", str(start), "--seeds", str(count), "--workers", "1"]
        answer = _run(hunt, ["-m", module, *options], limit - (perf_counter() - began))
        seconds = perf_counter() - began
        if answer is None:
            return Verdict(Kind.HUNG, f"seeds {start}-{start + count - 1}", seconds)
        if answer.returncode == PASSED:
            continue
        if answer.returncode != FAILED or not _RAN.search(answer.stdout):
            raise NotRun(_tail(answer))
        seed = _FAILED_SEED.search(answer.stdout)
        return Verdict(Kind.KILLED, f"seed {seed.group(1)}" if seed else "no seed named", seconds)
    return Verdict(Kind.SURVIVED, seconds=perf_counter() - began)


def run_tests(hunt: Hunt) -> Verdict:
    """Let the tests look for the first that fails.

    Raises:
        NotRun: pytest ended without running them.
    """
    began = perf_counter()
    report = hunt.source.parent / "report.xml"
    quiet = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov"]
    places = [f"--junitxml={report}", f"--basetemp={hunt.source.parent / 'tmp'}"]
    limit = f"--timeout={TEST_SECONDS * hunt.patience:g}"
    tests = [*TESTS, f"--ignore={NOT_ASKED}"]
    answer = _run(hunt, ["-m", "pytest", *tests, *quiet, *places, limit], hunt.limits["suite"])
    seconds = perf_counter() - began
    if answer is None:
        return Verdict(Kind.HUNG, "the tests did not end", seconds)
    if answer.returncode == PASSED:
        return Verdict(Kind.SURVIVED, seconds=seconds)
    if answer.returncode != FAILED:
        raise NotRun(_tail(answer))
    name, message = first_failure(report)
    return Verdict(Kind.HUNG if "Timeout" in message else Kind.KILLED, name, seconds)


def first_failure(report: Path) -> tuple[str, str]:
    """The test that failed in a report of pytest, as `module::name`, and what it said.

    Raises:
        NotRun: none did.
    """
    for case in xml.parse(report).iter("testcase"):
        for fault in (*case.iter("failure"), *case.iter("error")):
            module = case.get("classname", "").rpartition(".")[2]
            return f"{module}::{case.get('name', '')}", fault.get("message") or ""
    raise NotRun("pytest failed and names no test")


KILLERS: dict[str, Killer] = {"simulation": simulate, "suite": run_tests}


def _run(hunt: Hunt, arguments: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str] | None:
    """Run Python against the copy; None if it did not end in time."""
    limited = ["sh", "-c", f'ulimit -v {MEMORY_KIBIBYTES} 2>/dev/null; exec "$@"', "sh"]
    child = subprocess.Popen(
        [*limited, sys.executable, *arguments],
        cwd=hunt.tree,
        env=_environment(hunt),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        stdout, stderr = child.communicate(timeout=max(seconds, 0.1))
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end_with_children(child)
    return subprocess.CompletedProcess(child.args, child.returncode, stdout, stderr)


def _end_with_children(child: subprocess.Popen[str]) -> None:
    """Whatever the run has left behind belongs to its group, and ends with it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    if child.returncode is None:
        child.communicate()


def _environment(hunt: Hunt) -> dict[str, str]:
    environment = os.environ | {"PYTHONPATH": str(hunt.source), "SOURCE_UNDER_TEST": str(hunt.source)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment if hunt.keep_compiled else environment | {"PYTHONDONTWRITEBYTECODE": "1"}


def _tail(answer: subprocess.CompletedProcess[str]) -> str:
    lines = f"{answer.stdout}{answer.stderr}".strip().splitlines()[-15:]
    return f"it ended with {answer.returncode}:\n    " + "\n    ".join(lines)
