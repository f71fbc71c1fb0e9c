"""The power fails at any moment: what was acknowledged is on the disk, and the rest goes on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from time import perf_counter

import pytest

from process_engine.repositories.sqlite import SqliteRepository
from process_engine.testing.clock import VirtualClock
from process_engine.testing.storage_faults import Operation, VolatileDisk, WatchedFile, registered
from tests.acceptance.in_process import RememberingAgents, Run, wrong_after

PROOF = os.environ.get("ACCEPTANCE_PROOF") == "1"
# Each moment is cut this often, with other luck each time.
CUTS_EACH = 10 if PROOF else 1
# Every so many operations the power fails; each sort of loss begins at another place.
EVERY = 1 if PROOF else 2


class DoomedDisk(VolatileDisk):
    """Calls somebody before each operation, who may look what a power cut would leave now."""

    def __init__(self, look: Callable[[DoomedDisk, Operation], None]) -> None:
        super().__init__()
        self._look = look

    def before(self, operation: Operation, file: WatchedFile | None) -> None:
        self._look(self, operation)


class Cut:
    """The world at the moment of a power cut: the files, who was told what, whom the engine had asked."""

    def __init__(self, name: str, files: dict[str, bytes], run: Run) -> None:
        self.name = name
        self.files = files
        self.acknowledged = list(run.acknowledged)
        self.agents = run.agents.as_they_are()
        self.now = run.clock.now()

    async def wrong(self, directory: Path) -> list[str]:
        """What is wrong after the power is back."""
        self._put_into(directory)
        clock = VirtualClock(self.now)
        try:
            return await wrong_after(directory / "store.db", self.acknowledged, self.agents, clock)
        finally:
            shutil.rmtree(directory)

    def _put_into(self, directory: Path) -> None:
        directory.mkdir()
        for path, content in self.files.items():
            (directory / Path(path).name).write_bytes(content)


async def cuts(path: Path, *, scattered: bool, offset: int) -> list[Cut]:
    """Run the pipeline once; the cuts of it, at every so many operations."""
    taken: list[Cut] = []
    run = Run()

    def look(disk: DoomedDisk, operation: Operation) -> None:
        if operation.number % EVERY != offset % EVERY:
            return
        for luck in range(CUTS_EACH):
            name = f"operation {operation.number} ({operation.kind}), luck {luck}"
            files = disk.after_power_cut(Random(f"{scattered}/{name}"), scattered=scattered)
            taken.append(Cut(name, dict(files), run))

    with registered(DoomedDisk(look)) as vfs:
        assert await run.to_its_end(SqliteRepository(path, vfs=vfs)) == "completed"
    return taken


@pytest.mark.timeout(1800 if PROOF else 120)
@pytest.mark.parametrize(("scattered", "offset"), [(False, 0), (True, 1)], ids=["suffix", "scattered"])
async def test_a_power_cut_loses_nothing_that_was_acknowledged(tmp_path, scattered, offset):
    began = perf_counter()
    taken = await cuts(tmp_path / "store.db", scattered=scattered, offset=offset)

    wrong = {
        cut.name: found for at, cut in enumerate(taken) if (found := await cut.wrong(tmp_path / str(at)))
    }

    told = {len(cut.acknowledged) for cut in taken}
    print(f"\n{len(taken)} power cuts at {len(told)} states, {perf_counter() - began:.1f} s")
    assert wrong == {}
    assert len(taken) > 100
    assert len(told) > 10


async def test_a_store_that_does_not_wait_for_the_disk_is_found_out(tmp_path):
    """The harness can tell: without syncs, the same cuts lose what was acknowledged."""
    run, lost = Run(), []

    def look(disk: DoomedDisk, operation: Operation) -> None:
        if operation.number % 20 == 0:
            files = disk.after_power_cut(Random(operation.number))
            lost.append(Cut(f"operation {operation.number}", dict(files), run))

    with registered(DoomedDisk(look)) as vfs:
        await run.to_its_end(SqliteRepository(tmp_path / "store.db", vfs=vfs, synchronous="NORMAL"))

    wrong = [found for at, cut in enumerate(lost) for found in await cut.wrong(tmp_path / str(at))]
    assert any(found.startswith("told of and then lost") for found in wrong)


def test_agents_that_are_copied_remember_apart():
    agents = RememberingAgents()
    copy = agents.as_they_are()
    copy.calls.append(("plan", 1, 1, "key"))

    assert agents.calls == []
