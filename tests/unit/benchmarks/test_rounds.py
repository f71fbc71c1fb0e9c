"""The order of measurements, and a whole run with engines that are no engines."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest

from benchmarks import environments, rounds
from benchmarks.cells import Cell, Cells
from benchmarks.results import Run
from benchmarks.rounds import LEFT_OUT, NO_PEERS, NO_TIME, Benchmark, Plan, not_asked_for, turns
from benchmarks.worker import EngineFailed
from tests.unit.benchmarks.samples import cells_of, run_of

PLAN = Plan(rounds=3, seconds=0.01, last_start_seconds=60, peers=True)


@pytest.fixture
def cells(tmp_path: Path) -> Cells:
    return cells_of(tmp_path)


def test_every_round_takes_all_engines_of_a_cell_right_after_one_another(cells: Cells):
    due = [turn for turn in turns(cells, PLAN) if turn.cell.name == "chain"]
    together = [[turn.engine for turn in group] for _, group in groupby(due, key=lambda turn: turn.round)]

    assert [sorted(engines) for engines in together] == [["bare", "lame", "ours", "swift"]] * 3


def test_rounds_do_not_mix(cells: Cells):
    numbers = [turn.round for turn in turns(cells, PLAN)]

    assert numbers == sorted(numbers)
    assert set(numbers) == {0, 1, 2}


def test_another_engine_goes_first_in_each_round(cells: Cells):
    first = [
        next(turn.engine for turn in turns(cells, PLAN) if (turn.round, turn.cell.name) == (number, "chain"))
        for number in range(3)
    ]

    assert len(set(first)) == 3


def test_kills_come_before_all_timing(cells: Cells):
    kinds = [turn.cell.measure == "kill" for turn in turns(cells, PLAN)]

    assert kinds == sorted(kinds, reverse=True)
    assert sum(kinds) == 3


@pytest.mark.parametrize(("quick", "expected"), [(True, 1), (False, 2)])
def test_a_cell_is_measured_in_as_many_rounds_as_it_says(cells: Cells, quick: bool, expected: int):
    plan = replace(PLAN, quick=quick)

    assert sum(turn.cell.name == "long" for turn in turns(cells, plan)) == expected


def test_what_was_not_asked_for_is_named_with_the_reason(cells: Cells):
    plan = replace(PLAN, peers=False, only=("chain",))

    reasons = not_asked_for(cells, plan)

    assert {turn.engine for turn in turns(cells, plan)} == {"ours", "bare"}
    assert reasons["chain/swift"] == NO_PEERS
    assert reasons["long/ours"] == LEFT_OUT
    assert "chain/ours" not in reasons


async def measured(cells: Cells, tmp_path: Path, plan: Plan) -> tuple[Run, list[str]]:
    run, told = run_of(cells), list[str]()
    await Benchmark(plan, run, tmp_path, told.append).go()
    return run, told


def with_fake(cells: Cells, nature: str) -> Cells:
    """The list with a fake engine of another nature in place of the bare store, and without bars."""
    engines = {one.name: one for one in cells.engines.values() if one.name != "bare"}
    engines[nature] = replace(cells.engines["bare"], name=nature)
    changed = {name: _renamed(cell, nature) for name, cell in cells.cells.items()}
    return replace(cells, cells=changed, engines=engines)


def _renamed(cell: Cell, nature: str) -> Cell:
    engines = tuple(nature if name == "bare" else name for name in cell.engines)
    return replace(cell, engines=engines, bars=())


async def test_a_run_has_a_sample_of_every_turn_and_says_how_far_it_is(cells: Cells, tmp_path: Path):
    plan = replace(PLAN, peers=False, rounds=2)

    run, told = await measured(cells, tmp_path, plan)

    taken = [(one.round, one.cell, one.engine) for one in run.samples]
    assert taken == [(turn.round, turn.cell.name, turn.engine) for turn in turns(cells, plan)]
    assert run.about["ours"] == {"version": "1", "guarantee": "none"}
    assert any("round 2 of 2" in line and "a chain" in line for line in told)
    assert os.listdir(tmp_path) == ["cells.toml"]


@pytest.mark.parametrize(
    ("nature", "reason"),
    [("broken", "ValueError: no such table"), ("dying", "its process ended: out of memory")],
)
async def test_an_engine_that_fails_costs_its_own_cell_only(
    cells: Cells, tmp_path: Path, nature: str, reason: str
):
    run, _ = await measured(with_fake(cells, nature), tmp_path, replace(PLAN, peers=False, rounds=1))

    assert run.problems[f"chain/{nature}"] == reason
    assert run.values("chain", "ours", "steps_per_second") == [100.0]
    assert run.values("long", "ours", "cpu_us_per_step") == [5.0]


async def test_an_engine_that_hangs_is_given_up_after_its_time_and_not_asked_again(
    cells: Cells, tmp_path: Path
):
    hanging = with_fake(cells, "slow")
    short = {name: replace(cell, longest_seconds=2.0) for name, cell in hanging.cells.items()}
    plan = replace(PLAN, peers=False, rounds=3, only=("chain",))

    run, told = await measured(replace(hanging, cells=short), tmp_path, plan)

    assert run.problems["chain/slow"] == "took longer than 2 s"
    assert sum("took longer" in line for line in told) == 1
    assert len(run.of("chain", "ours")) == 3


async def test_a_peer_that_cannot_be_installed_is_missing_with_the_reason(
    cells: Cells, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def prepare(engine, tell):
        if engine.peer:
            raise EngineFailed("pip failed: no such version")
        return environments.prepare(engine, tell)

    monkeypatch.setattr(rounds, "prepare", prepare)

    run, told = await measured(cells, tmp_path, replace(PLAN, rounds=1, only=("killed", "chain")))

    assert run.problems["killed/swift"] == "cannot be installed: pip failed: no such version"
    assert run.problems["chain/lame"] == "cannot be installed: pip failed: no such version"
    assert run.values("chain", "bare", "steps_per_second") == [100.0]
    assert "Swift cannot be installed: pip failed: no such version" in told


async def test_nothing_begins_once_the_time_is_up(cells: Cells, tmp_path: Path):
    run, _ = await measured(cells, tmp_path, replace(PLAN, peers=False, last_start_seconds=-1))

    assert run.samples == []
    assert run.problems["chain/ours"] == NO_TIME
