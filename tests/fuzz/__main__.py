"""Fuzzing: every target for an equal part of the time, a few at once, each in a process that has limits.

A case that breaks something is kept in tests/fuzz/corpus, where the suite tries it from then on.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.cases import cases
from tests.fuzz.hunting import Report, name_of
from tests.fuzz.limits import keep
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
# For imports, a last batch and its shrinking; whoever takes longer hangs.
GRACE_SECONDS = 60
FIRST_DOCUMENTS = 60


@dataclass(frozen=True)
class Hunt:
    """One target, for so long."""

    target: str
    seconds: float
    seed: int
    guided: bool = False

    @property
    def name(self) -> str:
        return f"{self.target} (guided)" if self.guided else self.target


@dataclass(frozen=True)
class Outcome:
    """What became of a hunt: one line to tell, and the case that broke something, if one did."""

    hunt: Hunt
    line: str
    case: bytes | None = None


def run(hunt: Hunt) -> Outcome:
    """Hunt in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        return _guided(hunt, Path(place)) if hunt.guided else _led_by_chance(hunt, Path(place))


def _led_by_chance(hunt: Hunt, place: Path) -> Outcome:
    note = place / "case"
    command = ["tests.fuzz.hunting", hunt.target, "--seconds", str(hunt.seconds), "--note", str(note)]
    ended = _ended([*command, "--seed", str(hunt.seed)], hunt.seconds + GRACE_SECONDS)
    if ended is None:
        return Outcome(hunt, f"hangs for over {GRACE_SECONDS} s", note.read_bytes())
    if not ended.stdout.startswith("{"):
        told = ended.stderr.strip().splitlines()[-1:]
        return Outcome(
            hunt, f"its process ended with {ended.returncode}: {' '.join(told)}", note.read_bytes()
        )
    report = msgspec.json.decode(ended.stdout, type=Report)
    counts = (
        f"{report.cases:,} cases, {report.accepted:,} accepted, {report.seconds} s, {report.peak_mib} MiB"
    )
    return Outcome(hunt, report.found or counts, note.read_bytes() if report.found else None)


def _guided(hunt: Hunt, place: Path) -> Outcome:
    documents = place / "documents"
    documents.mkdir()
    _write_documents(hunt, documents)
    command = ["tests.fuzz.guided", hunt.target, "--seconds", str(round(hunt.seconds))]
    command += ["--seed", str(hunt.seed), "--directory", str(documents)]
    ended = _ended(command, hunt.seconds + GRACE_SECONDS)
    if ended is None:
        return Outcome(hunt, f"hangs for over {GRACE_SECONDS} s", b"")
    found = next(iter(sorted(place.glob("found-*"))), None)
    lines = ended.stderr.strip().splitlines()
    if ended.returncode or found:
        told = next((line for line in reversed(lines) if "Finding" in line or "ERROR" in line), lines[-1:])
        return Outcome(hunt, f"ended with {ended.returncode}: {told}", found.read_bytes() if found else b"")
    return Outcome(hunt, next((line for line in reversed(lines) if line.startswith("Done")), "ended"))


def _write_documents(hunt: Hunt, directory: Path) -> None:
    """Some cases to begin with; coverage alone would need hours to invent YAML with steps in it."""

    @seed(hunt.seed)
    @settings(
        max_examples=FIRST_DOCUMENTS,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(cases()[hunt.target])
    def write(case: bytes) -> None:
        (directory / name_of(case)).write_bytes(case)

    write()


def _ended(command: Sequence[str], patience: float) -> subprocess.CompletedProcess[str] | None:
    """The module run to its end; None if it was given up, and killed."""
    try:
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None


def hunts(chosen: argparse.Namespace) -> list[Hunt]:
    """The hunts that fill the time: each target, led by chance and, where it is asked for, by coverage."""
    targets = chosen.target or list(TARGETS)
    ways = (False, True) if chosen.guided else (False,)
    each = chosen.seconds * chosen.jobs / (len(targets) * len(ways))
    return [Hunt(target, each, chosen.seed, guided) for guided in ways for target in targets]


def arguments_of(arguments: Sequence[str]) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="dev.py fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, metavar="N", help="of all targets together (60)")
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="only this one; repeatable")
    parser.add_argument("--seed", type=int, default=None, metavar="K", help="the cases of an earlier run")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="targets at a time"
    )
    parser.add_argument(
        "--guided", action="store_true", help="half of the time led by coverage, with atheris"
    )
    chosen = parser.parse_args(arguments)
    if chosen.guided and importlib.util.find_spec("atheris") is None:
        parser.error("atheris is not installed for this Python; run it without --guided")
    chosen.seed = secrets.randbelow(10**9) if chosen.seed is None else chosen.seed
    return chosen


def main(arguments: Sequence[str]) -> int:
    """Fuzz, tell a line for each target, and keep what was found; 1 if anything was."""
    chosen = arguments_of(arguments)
    print(f"Fuzzing for {chosen.seconds:g} s with --seed {chosen.seed}", flush=True)
    with ThreadPoolExecutor(chosen.jobs) as pool:
        outcomes = []
        for outcome in pool.map(run, hunts(chosen)):
            outcomes.append(outcome)
            print(f"  {outcome.hunt.name:<24} {outcome.line}", flush=True)
    found = [outcome for outcome in outcomes if outcome.case is not None]
    for outcome in found:
        assert outcome.case is not None
        name = keep(outcome.hunt.target, outcome.case, name_of(outcome.case)).stem
        print(f"kept: {name}; again: python3 dev.py test tests/fuzz -k {name}")
    print(f"{len(outcomes)} hunts, {len(found)} found something")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
