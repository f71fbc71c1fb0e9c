"""A disk that is full, faulty or read-only at any operation: the engine recovers, or stops and says why.

Every third operation fails once in one run, and another third from then on for good in others; the sort of
failure changes from run to run. With ACCEPTANCE_PROOF=1 in the environment each operation fails in every way.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import apsw
import pytest

from process_engine.errors import StorageUnavailable
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.testing.storage_faults import FailingDisk, registered
from tests.acceptance.in_process import Run, wrong_after

PROOF = os.environ.get("ACCEPTANCE_PROOF") == "1"
KINDS = (apsw.FullError, apsw.IOError, apsw.ReadOnlyError)
TRIES = 3
# Odd: a commit writes the head of a frame and its page in turn, and an even step would meet only one of them.
EVERY = 1 if PROOF else 3
# The operations that make the file and those that end the run fail in any case.
EDGE = 12
# What each sort of failure must be told as, so that people know what to do.
REMEDIES = {
    apsw.FullError: "disk is full",
    apsw.IOError: "disk reported a fault",
    apsw.ReadOnlyError: "must exist and be writable",
}


@dataclass(frozen=True)
class Case:
    """One run: operation `at` fails, once or for good."""

    at: int
    kind: type[apsw.Error]
    lasting: bool


@dataclass
class Outcome:
    """What became of it: whether the fault happened, whether the engine got to the end, what was wrong."""

    hit: bool
    completed: bool
    wrong: list[str]


async def operations(path: Path) -> int:
    """How many operations an undisturbed run has."""
    disk = FailingDisk(really_syncs=False)
    with registered(disk) as vfs:
        assert await Run().to_its_end(SqliteRepository(path, vfs=vfs)) == "completed"
    return disk.operations


async def outcome(case: Case, directory: Path) -> Outcome:
    """What becomes of a case; answers that share a commit may make a run too short for it: then once more."""
    for number in range(TRIES):
        found = await one_run(case, fresh(directory / str(number)))
        if found.hit or found.wrong:
            break
    shutil.rmtree(directory)
    return found


async def one_run(case: Case, directory: Path) -> Outcome:
    """Run the pipeline on such a disk; then look at what is left, and resume it on a sound one."""
    path, run, disk = directory / "store.db", Run(), FailingDisk(really_syncs=False)
    disk.arm(case.at, case.kind, lasting=case.lasting)
    wrong: list[str] = []
    with registered(disk) as vfs:
        try:
            ended = await run.to_its_end(SqliteRepository(path, vfs=vfs))
        except StorageUnavailable as error:
            ended = "stopped"
            wrong += [] if REMEDIES[case.kind] in str(error) else [f"it said: {error}"]
    if run.acknowledged and not case.lasting and ended != "completed":
        wrong.append("one failure after the start was enough to stop it")
    if ended not in ("completed", "stopped"):
        wrong.append(f"it ended as {ended}")
    wrong += await wrong_after(path, run.acknowledged, run.agents, run.clock)
    return Outcome(disk.raised > 0, ended == "completed", wrong)


def fresh(directory: Path) -> Path:
    """A new directory of this name."""
    directory.mkdir()
    return directory


def cases(total: int, *, lasting: bool) -> list[Case]:
    ways = range(len(KINDS)) if PROOF else range(1)
    numbers = range(1, total + 1)
    chosen = (at for at in numbers if at <= EDGE or at > total - EDGE or (at + lasting) % EVERY == 0)
    return [
        Case(at, KINDS[(place + way) % len(KINDS)], lasting)
        for place, at in enumerate(chosen)
        for way in ways
    ]


@pytest.mark.timeout(1800 if PROOF else 240)
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for-good"])
async def test_a_failure_at_any_operation_loses_nothing_and_is_told_clearly(tmp_path, lasting):
    began, total = perf_counter(), await operations(tmp_path / "undisturbed.db")
    tried = cases(total, lasting=lasting)

    outcomes = {case: await outcome(case, fresh(tmp_path / str(at))) for at, case in enumerate(tried)}

    completed = sum(one.completed for one in outcomes.values())
    print(f"\n{total} operations, {len(tried)} faults, {completed} runs completed all the same, "
          f"{perf_counter() - began:.1f} s")  # fmt: skip
    assert {case: one.wrong for case, one in outcomes.items() if one.wrong} == {}
    assert [case for case, one in outcomes.items() if not one.hit] == []
