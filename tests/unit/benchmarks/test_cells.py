"""The list of cells: complete, and refused where it contradicts itself."""

from __future__ import annotations

import pytest

from benchmarks.cells import BEST_PEER, OURS, SAME_ROWS, TWO_ROWS, read_cells
from benchmarks.ours import Ours
from benchmarks.raw import Raw
from benchmarks.report import render
from benchmarks.rounds import KILL
from benchmarks.served import Killable
from tests.unit.benchmarks.samples import LIST, cells_of, run_of

THROUGHPUT = ("chain3-x1", "chain10-x1", "fan20-x1", "chain3-x50", "chain10-x50", "fan20-x50")
PEERS = ("dbos", "langgraph", "spiff", "restate")


def bars_of(cell: str) -> dict[tuple[str, str], float]:
    return {(bar.figure, bar.over): bar.bound for bar in read_cells().cells[cell].bars}


def test_every_throughput_cell_is_measured_with_every_peer_and_both_bare_stores():
    cells = read_cells()

    for name in THROUGHPUT:
        assert set(cells.cells[name].engines) == {OURS, SAME_ROWS, TWO_ROWS, *PEERS}


@pytest.mark.parametrize("cell", THROUGHPUT)
def test_in_every_throughput_cell_we_have_to_be_ahead_of_the_best_peer_in_every_figure(cell: str):
    bars = bars_of(cell)

    for figure in read_cells().cells[cell].figures:
        assert (figure, BEST_PEER) in bars
    assert bars["steps_per_second", BEST_PEER] >= 1


def test_nothing_that_is_promised_about_time_and_size_lacks_a_bar():
    assert bars_of("wake-up")["wake_p99_ms", ""] <= 20
    assert bars_of("recovery")["driven_seconds", ""] <= 3
    assert bars_of("waiting")["kilobytes_started", ""] <= 15
    assert bars_of("waiting")["startup_seconds", ""] <= 3
    assert bars_of("stall")["longest_stall_ms", ""] <= 50
    assert bars_of("items")["items_per_second", ""] >= 3000
    assert bars_of("items")["megabytes_over_idle", ""] <= 100
    assert bars_of("length2000")["cpu_us_per_step", "length10"] <= 1.3


def test_the_ratios_that_decide_are_in_the_list():
    assert bars_of("chain3-x50")["steps_per_second", BEST_PEER] >= 9
    assert bars_of("chain3-x50")["steps_per_second", TWO_ROWS] >= 0.2
    assert bars_of("fan20-x50")["steps_per_second", BEST_PEER] >= 4
    assert bars_of("chain3-x1")["steps_per_second", BEST_PEER] >= 1.4
    assert bars_of("chain3-x1")["steps_per_second", TWO_ROWS] >= 0.35


def test_every_engine_that_times_anything_is_killed_once_before():
    cells = read_cells()
    first = next(iter(cells.cells.values()))

    assert first.measure == KILL
    assert set(first.engines) == {OURS, *PEERS}
    assert isinstance(Ours(OURS), Killable)


def test_our_engine_and_the_bare_stores_know_every_measurement_that_is_asked_of_them():
    known = {
        OURS: Ours(OURS).handlers(),
        SAME_ROWS: Raw(SAME_ROWS).handlers(),
        TWO_ROWS: Raw(TWO_ROWS).handlers(),
    }

    for cell in read_cells().cells.values():
        for engine in known.keys() & set(cell.engines):
            assert cell.measure == KILL or cell.measure in known[engine]


def test_packages_of_peers_have_one_version_each():
    for engine in read_cells().engines.values():
        assert bool(engine.packages) == engine.peer
        assert all("==" in package for package in engine.packages)
        assert all("@" in package.removeprefix("@") for package in engine.npm)


def test_a_report_of_nothing_shows_every_cell_and_every_bar_as_missing():
    cells = read_cells()

    text = render(run_of(cells))

    assert all(cell.title in text for cell in cells.cells.values())
    assert f"0 met, 0 missed, {len(cells.bars)} MISSING" in text


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ('"ours", "bare", "swift"', '"ours", "baer", "swift"', "chain: no engine baer"),
        ('figures = ["cpu_us_per_step"]', 'figures = ["cpu"]', "long: no unit for cpu"),
        ('over = "chain"', 'over = "chian"', "nothing to compare cpu_us_per_step with at chian"),
        ('figure = "lost_steps"', 'figure = "p50_ms"', "killed: a bar on p50_ms, which it does not yield"),
        ('name = "long"', 'name = "chain"', "the name chain is given twice"),
        ('over = "best-peer", tier = "proof"', 'over = "best-peer", tier = "bench"', "in the proof only"),
        ('over = "chain", tier = "bench"', 'over = "chain", tier = "never"', "no tier never"),
    ],
)
def test_a_list_that_names_what_is_not_there_is_refused(tmp_path, before: str, after: str, fault: str):
    assert before in LIST

    with pytest.raises(ValueError, match=fault):
        cells_of(tmp_path, LIST.replace(before, after))
