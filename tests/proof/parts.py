"""What a proof consists of, and which of its parts, or which other tier, checks each bar of the project."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
PROOF_OF_ACCEPTANCE = {"ACCEPTANCE_PROOF": "1"}
_DEV = ("python3", "dev.py")
PYTHON = ".venv/bin/python"
_SOAK = (PYTHON, "-m", "tests.proof.soak")
_GUIDED = ("--guided",) if importlib.util.find_spec("atheris") else ()


@dataclass(frozen=True)
class Part:
    """One part: `shows` says what it is for, `command` how one runs it by itself; `quick` is a tenth of it.

    It runs with the Python of the checkout, however that is named. `patience_minutes` bounds it; `told` says
    how many of the last lines of its output belong into the report; `within_seconds` is a bar on its own
    duration.
    """

    name: str
    shows: str
    command: tuple[str, ...]
    quick: tuple[str, ...]
    patience_minutes: float
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    told: int = 8
    within_seconds: float | None = None

    def shown(self, *, quick: bool) -> str:
        """The command as one types it."""
        words = self.quick if quick else self.command
        return " ".join([*(f"{name}={value}" for name, value in self.environment.items()), *words])


PARTS: tuple[Part, ...] = (
    Part(
        "suite",
        "the suite on one Python",
        (*_DEV, "test", "--python", MINOR),
        (*_DEV, "test", "--python", MINOR, "tests/unit/core", "tests/contract"),
        patience_minutes=30,
        within_seconds=300,
    ),
    Part(
        "gate",
        "what every commit has to pass: the suite on every Python, linters, 2,000 seeds, a minute of fuzzing",
        (".ci/run",),
        (*_DEV, "lint"),
        patience_minutes=60,
        within_seconds=900,
    ),
    Part(
        "seeds",
        "random processes, random crashes, every invariant after every commit",
        (*_DEV, "sim", "--seeds", "20000"),
        (*_DEV, "sim", "--seeds", "2000"),
        patience_minutes=60,
        told=40,
    ),
    Part(
        "mutants-engine",
        "the engine broken on purpose; the simulation and the engine's tests must notice each",
        (*_DEV, "mutants", "--suite", "engine"),
        (*_DEV, "mutants", "--suite", "engine", "--fast", "--only", "timer"),
        patience_minutes=120,
        told=60,
    ),
    Part(
        "mutants-backlog",
        "the same for the integration tests of the first requirements; each test must notice one as well",
        (*_DEV, "mutants", "--suite", "backlog"),
        (*_DEV, "mutants", "--suite", "backlog", "--only", "timer"),
        patience_minutes=120,
        told=20,
    ),
    Part(
        "kills",
        "SIGKILL before and in every operation on the store, failing disks, power cuts, hostile input",
        (*_DEV, "test", "--python", MINOR, "-n", "0", "-s", "-q", "tests/acceptance"),
        (*_DEV, "test", "--python", MINOR, "-n", "0", "-s", "-q", "tests/acceptance/test_power_cut.py"),
        patience_minutes=120,
        environment=PROOF_OF_ACCEPTANCE,
        told=20,
    ),
    Part(
        "fuzz",
        "definitions, expressions, settings, inputs, answers and stored records that nobody would write",
        (*_DEV, "fuzz", "--seconds", "600", *_GUIDED),
        (*_DEV, "fuzz", "--seconds", "60", *_GUIDED),
        patience_minutes=40,
        told=20,
    ),
    Part(
        "soak",
        "an engine on one file under load, killed again and again; every call and event is accounted for",
        (*_SOAK, "--seconds", "600"),
        (*_SOAK, "--seconds", "60"),
        patience_minutes=40,
    ),
    Part(
        "bench",
        "the figures, side by side with other engines and with the raw limit of the disk, in one run",
        (*_DEV, "bench", "--peers", "--strict"),
        (*_DEV, "bench", "--peers", "--strict", "--quick", "--rounds", "1"),
        patience_minutes=180,
        told=80,
    ),
)

Tier = Literal["test", "gate", "proof"]

TIERS: Mapping[Tier, str] = {
    "test": "`python3 dev.py test`",
    "gate": "`.ci/run`",
    "proof": "`python3 dev.py proof`",
}


@dataclass(frozen=True)
class Bar:
    """Something that has to hold: the least tier that checks it, and the part that shows it here."""

    says: str
    tier: Tier
    part: str


BARS: tuple[Bar, ...] = (
    Bar("The suite on one Python takes at most 5 minutes on two cores", "proof", "suite"),
    Bar("What every commit has to pass takes at most 15 minutes", "proof", "gate"),
    Bar("Every test passes on every Python that is there; types and layers hold", "gate", "gate"),
    Bar("2,000 seeds keep every promise", "gate", "gate"),
    Bar("20,000 seeds keep every promise, and nothing that should happen never happens", "proof", "seeds"),
    Bar("The same seed gives the same history bit for bit", "test", "suite"),
    Bar("Memory and SQLite give the same answers to one generated sequence of commands", "test", "suite"),
    Bar(
        "Every event of every version that ever wrote one is read; a golden file never changes",
        "test",
        "suite",
    ),
    Bar("At least 25 engines broken on purpose are all noticed, each within 60 s", "proof", "mutants-engine"),
    Bar("Each test of the first requirements notices a broken engine", "proof", "mutants-backlog"),
    Bar("A kill before every operation on the store loses nothing", "test", "suite"),
    Bar("A kill in the midst of every write, and anywhere in a recovery, loses nothing", "proof", "kills"),
    Bar("A disk that fails at any operation loses nothing and is told clearly", "test", "suite"),
    Bar("Hostile input is answered or refused within 1 s and 200 MiB, for a minute", "gate", "gate"),
    Bar("The same for ten minutes", "proof", "fuzz"),
    Bar("Ten minutes of load and kills: nothing is lost, nothing recorded is done twice", "proof", "soak"),
    Bar("Ahead of every peer in every cell that was measured", "proof", "bench"),
    Bar("50 at once, 3 steps: at least 9 times the best peer, 20 % of raw group commit", "proof", "bench"),
    Bar("Fan-out at 50: at least 4 times the best peer", "proof", "bench"),
    Bar("Alone: at least 1.4 times the best peer, 35 % of one raw commit for each step", "proof", "bench"),
    Bar("A due timer wakes within 20 ms (p99) under 1,000 steps/s", "proof", "bench"),
    Bar("10,000 open executions are recovered within 3 s", "proof", "bench"),
    Bar("The event loop never stalls for more than 50 ms", "proof", "bench"),
)
