"""Verdicts: what was not measured counts as missed, and is never called met."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cells import Cells
from benchmarks.report import render, summary
from benchmarks.results import Judgement, Run, Sample
from benchmarks.run import exit_code, main, publish
from tests.unit.benchmarks.samples import cells_of, run_of, saved_samples, speed


@pytest.fixture
def cells(tmp_path: Path) -> Cells:
    return cells_of(tmp_path)


def judged(run: Run, cell: str, figure: str, over: str = "") -> Judgement:
    (found,) = [
        one for one in run.judged() if (one.bar.cell, one.bar.figure, one.bar.over) == (cell, figure, over)
    ]
    return found


def test_a_bar_without_a_measurement_is_missing_with_the_reason_and_counts_as_missed(cells: Cells):
    run = run_of(cells)
    run.problems["killed/ours"] = "its process ended"

    found = judged(run, "killed", "lost_steps")

    assert (found.verdict, found.note) == ("MISSING", "its process ended")
    assert summary(run) == "0 met, 0 missed, 5 MISSING (which count as missed)"


def test_a_share_is_the_median_of_the_shares_of_the_rounds(cells: Cells):
    ours = [speed("ours", value, round) for round, value in enumerate((50, 400, 60))]
    bare = [speed("bare", value, round) for round, value in enumerate((100, 1000, 100))]

    found = judged(run_of(cells, *ours, *bare), "chain", "steps_per_second", "bare")

    assert found.values == [0.5, 0.4, 0.6]
    assert found.verdict == "met"


def test_rounds_in_which_only_one_of_both_was_measured_do_not_count(cells: Cells):
    run = run_of(cells, speed("ours", 90, 0), speed("ours", 40, 1), speed("bare", 100, 1))

    found = judged(run, "chain", "steps_per_second", "bare")

    assert (found.values, found.verdict) == ([0.4], "missed")


def test_the_best_peer_is_the_one_to_beat(cells: Cells):
    run = run_of(cells, speed("ours", 300), speed("swift", 200), speed("lame", 10))

    faster = judged(run, "chain", "steps_per_second", "best-peer")
    sooner = judged(run, "chain", "p50_ms", "best-peer")

    assert (faster.values, faster.verdict, faster.note) == ([1.5], "missed", "best: swift")
    assert (sooner.verdict, sooner.note) == ("met", "best: swift")


def test_being_ahead_of_some_peers_is_not_being_ahead_of_all(cells: Cells):
    run = run_of(cells, speed("ours", 300), speed("lame", 10))

    found = judged(run, "chain", "steps_per_second", "best-peer")

    assert (found.verdict, found.note) == ("MISSING", "not measured: swift")


def test_being_behind_one_peer_is_missed_whoever_else_was_not_measured(cells: Cells):
    run = run_of(cells, speed("ours", 300), speed("lame", 290))

    assert judged(run, "chain", "steps_per_second", "best-peer").verdict == "missed"


def test_a_figure_may_be_compared_with_another_cell_of_ours(cells: Cells):
    run = run_of(cells, speed("ours", 100), speed("ours", 80, cell="long"))

    found = judged(run, "long", "cpu_us_per_step", "chain")

    assert (found.values, found.verdict) == ([1.25], "met")


def test_percentiles_are_of_the_executions_of_all_rounds_together(cells: Cells):
    rounds = [Sample("chain", "ours", number, {}, [0.001] * 98) for number in range(2)]
    run = run_of(cells, *rounds, Sample("chain", "ours", 2, {}, [0.5] * 4))

    assert run.values("chain", "ours", "p50_ms") == [1.0]
    assert run.values("chain", "ours", "p99_ms") == [500.0]


def test_lost_steps_are_told_beside_the_engine_that_lost_them(cells: Cells):
    lost = Sample("killed", "lame", 0, {"acknowledged_steps": 50, "lost_steps": 2})
    kept = Sample("killed", "ours", 0, {"acknowledged_steps": 60, "lost_steps": 0})

    text = render(run_of(cells, lost, kept))

    assert "LOST 2 of 50 acknowledged steps" in text
    assert "all 60 acknowledged steps there" in text


def test_the_report_has_machine_and_pace_of_the_disk_and_every_verdict(cells: Cells):
    run = run_of(cells, speed("ours", 300), speed("bare", 400))
    run.facts["guarantee"] = "FULL"

    text = render(run)

    assert "- guarantee: FULL" in text
    assert "fdatasync of 4 KiB: 1,050 (1,000–1,100) per second" in text
    assert "1 met, 0 missed, 4 MISSING" in text
    assert "uneven disk" not in text


def test_each_reason_is_told_once_with_all_that_it_concerns(cells: Cells):
    run = run_of(cells)
    run.problems |= {f"killed/{engine}": "left out" for engine in ("ours", "swift", "lame")}
    run.problems |= {"chain/swift": "left out", "chain/lame": "took longer than 30 s"}

    text = render(run)

    assert "- killed, chain (swift): left out\n" in text
    assert "- chain (lame): took longer than 30 s\n" in text


def test_a_disk_that_changed_its_pace_is_told(cells: Cells):
    run = run_of(cells)
    run.syncs_per_second = [1000.0, 400.0]

    assert "uneven disk" in render(run)


def test_a_missed_bar_ends_with_an_error_only_when_asked_to(cells: Cells):
    missed = run_of(cells, speed("ours", 10), speed("bare", 100))

    assert exit_code(missed, strict=False) == 0
    assert exit_code(missed, strict=True) == 1


def test_a_missing_bar_is_no_error_even_when_strict(cells: Cells):
    assert exit_code(run_of(cells), strict=True) == 0


def test_raw_samples_are_kept_and_the_report_is_written_when_asked_for(
    cells: Cells, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    results, saved = tmp_path / "results", tmp_path / "RESULTS.md"
    results.mkdir()
    run = run_of(cells, speed("ours", 300))

    publish(run, results, saved)

    assert saved_samples(results) == [
        {
            "cell": "chain",
            "engine": "ours",
            "round": 0,
            "figures": run.samples[0].figures,
            "latencies": [1 / 300],
        }
    ]
    assert saved.read_text(encoding="utf-8").endswith(render(run))
    assert capsys.readouterr().out == render(run) + "\n"


def test_a_report_that_nobody_asked_for_is_not_written(cells: Cells, tmp_path: Path):
    publish(run_of(cells), tmp_path, None)

    assert not (tmp_path / "RESULTS.md").exists()


def test_a_file_system_in_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("benchmarks.machine.file_system", lambda directory: "tmpfs")

    assert main(["--quick", "--dir", str(tmp_path)]) == 2
    assert "no directory on a disk" in capsys.readouterr().err


def test_a_cell_that_is_not_in_the_list_is_refused(capsys: pytest.CaptureFixture[str]):
    assert main(["--only", "chain3-x1", "chain4-x1"]) == 2
    assert "There is no cell chain4-x1; there are" in capsys.readouterr().err
