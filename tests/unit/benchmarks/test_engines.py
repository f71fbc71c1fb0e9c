"""Processes of engines: the kill, and environments of peers."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import environments
from benchmarks.cells import Engine
from benchmarks.environments import prepare
from benchmarks.killing import acknowledged_steps, kill_once, lost_steps
from benchmarks.worker import EngineFailed, Seat
from tests.unit.benchmarks.samples import MODULE

PEER = Engine("swift", "Swift", MODULE, peer=True, packages=("swift==1",), npm=("swift-server@2",))


def seat(nature: str) -> Seat:
    return Seat(Engine(nature, nature, MODULE), Path(sys.executable))


def test_a_step_that_begins_acknowledges_all_before_it():
    assert acknowledged_steps(["0 0", "0 1", "7 0", "0 2", "7 10"]) == {0: 2, 7: 10}


def test_a_step_is_lost_if_the_store_has_less_than_was_acknowledged():
    assert lost_steps({0: 4, 1: 2, 2: 3}, {0: 4, 1: 5}) == 3


async def test_an_engine_that_keeps_its_word_shows_every_step_after_the_kill(tmp_path: Path):
    figures = await kill_once(seat("honest"), tmp_path, steps=20, seconds=30)

    assert figures["acknowledged_steps"] >= 19
    assert figures["lost_steps"] == 0


async def test_an_engine_that_acknowledges_before_it_records_is_found_out(tmp_path: Path):
    figures = await kill_once(seat("forgetful"), tmp_path, steps=20, seconds=30)

    assert figures["lost_steps"] >= 1


async def test_an_engine_that_stops_working_before_the_kill_is_a_failure(tmp_path: Path):
    with pytest.raises(EngineFailed, match="took longer than 1 s"):
        await kill_once(seat("honest"), tmp_path, steps=1001, seconds=1)


class Installer:
    """Takes the place of pip and npm."""

    def __init__(self, failing: str = "") -> None:
        self.commands: list[str] = []
        self._failing = failing

    def __call__(self, command: Sequence[str], directory: Path) -> None:
        self.commands.append(" ".join(command))
        if "venv" in command:
            Path(command[-1]).mkdir()
        if self._failing and self._failing in command:
            raise EngineFailed(f"{self._failing} is not installed")


@pytest.fixture
def installer(monkeypatch: pytest.MonkeyPatch) -> Installer:
    installer = Installer()
    monkeypatch.setattr(environments, "_run", installer)
    return installer


def test_our_own_engine_runs_in_the_environment_of_the_benchmark(installer: Installer, tmp_path: Path):
    ours = Engine("ours", "ours", MODULE)

    assert prepare(ours, print, tmp_path).python == Path(sys.executable)
    assert installer.commands == []


def test_a_peer_is_installed_once_with_what_the_list_names(installer: Installer, tmp_path: Path):
    first = prepare(PEER, print, tmp_path)
    commands = len(installer.commands)
    second = prepare(PEER, print, tmp_path)

    assert first == second
    assert first.python == tmp_path / "swift" / "bin" / "python"
    assert commands == len(installer.commands) == 3
    assert installer.commands[1].endswith("swift==1")
    assert installer.commands[2].endswith("swift-server@2")


def test_a_peer_is_installed_anew_when_the_list_names_another_version(installer: Installer, tmp_path: Path):
    prepare(PEER, print, tmp_path)
    stamp = tmp_path / "swift" / "bench.json"
    stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "packages": ["swift==0"]}))

    prepare(PEER, print, tmp_path)

    assert len(installer.commands) == 6


def test_of_a_peer_that_could_not_be_installed_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(environments, "_run", Installer(failing="npm"))

    with pytest.raises(EngineFailed, match="npm is not installed"):
        prepare(PEER, print, tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_program_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(EngineFailed, match="no-such-program is not installed"):
        environments._run(["no-such-program"], tmp_path)
