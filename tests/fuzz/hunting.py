"""Gives cases to one target for a while, in a process that has limits, and reports in JSON.

A case is written down before it is tried: if this process dies of it, whoever started it finds it there.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from time import monotonic

import msgspec
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Flaky

from tests.fuzz.cases import cases
from tests.fuzz.limits import Finding, Tally, hold, kept_cases, limit_memory
from tests.fuzz.targets import TARGETS

# A batch is over within a second, so that a run ends when it should.
BATCH = 100


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a hunt came to: `found` says what a case broke, and is empty if nothing did."""

    target: str
    cases: int
    accepted: int
    seconds: float
    peak_mib: int = 0
    found: str = ""


class Hunter:
    """One target, and the file in which the case stands that is being tried."""

    def __init__(self, target: str, note: Path) -> None:
        self.target = target
        self.tally = Tally()
        self._note = os.open(note, os.O_RDWR | os.O_CREAT, 0o600)

    def hunt(self, seconds: float, first_seed: int) -> str:
        """Try cases until the time is over or one is found; what it broke. The case is in the file then."""
        end = monotonic() + seconds
        try:
            for _, path in (kept for kept in kept_cases() if kept[0] == self.target):
                self._hold(path.read_bytes())
            for number in count(first_seed):
                if monotonic() >= end:
                    return ""
                self._batch(number)
        except (Finding, Flaky) as finding:
            return str(finding)
        return ""

    def _batch(self, number: int) -> None:
        @seed(number)
        @settings(
            max_examples=BATCH,
            deadline=None,
            database=None,
            derandomize=False,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
            print_blob=False,
        )
        @given(cases()[self.target])
        def run(case: bytes) -> None:
            self._hold(case)

        run()

    def _hold(self, case: bytes) -> None:
        os.pwrite(self._note, case, 0)
        os.ftruncate(self._note, len(case))
        hold(self.target, case, self.tally)


def peak_mib() -> int:
    """The most memory that this process had at a time."""
    lines = Path("/proc/self/status")
    text = lines.read_text(encoding="ascii") if lines.exists() else ""
    return next((int(line.split()[1]) // 1024 for line in text.splitlines() if line.startswith("VmHWM")), 0)


def name_of(case: bytes) -> str:
    """A short name for a case in the corpus."""
    return hashlib.sha256(case).hexdigest()[:10]


def main(arguments: Sequence[str]) -> int:
    """Hunt, and print the report as one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.hunting")
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--note", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    hunter, began = Hunter(chosen.target, chosen.note), monotonic()
    # Once round first: what is imported and built for the first case is no case's memory.
    found = hunter.hunt(0, chosen.seed)
    limit_memory()
    found = found or hunter.hunt(chosen.seconds, chosen.seed)
    report = Report(
        target=chosen.target,
        cases=hunter.tally.cases,
        accepted=hunter.tally.accepted,
        seconds=round(monotonic() - began, 1),
        peak_mib=peak_mib(),
        found=found,
    )
    print(msgspec.json.encode(report).decode(), flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
