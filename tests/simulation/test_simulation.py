import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from process_engine.testing import simulation
from process_engine.testing.must_happen import MUST_HAPPEN
from process_engine.testing.simulation import SimulationFailed, never_happened, simulate
from tests.simulation.mutants import MUTANTS

KNOWN = Path(__file__).with_name("known_seeds.txt")
SEEDS = 60
# Every mutant falls earlier; most within twenty seeds.
SEEDS_TO_FIND_A_MUTANT = 400


# Where those that few seeds find were found last: a short cut, not a condition.
SHORT_CUTS = {"early_timer_not_armed_again": 74, "loop_cancels_nothing": 283, "withdrawn_attempt_goes_on": 53}


def simulate_until_it_fails(first: int = 0) -> None:
    for seed in (first, *range(SEEDS_TO_FIND_A_MUTANT)):
        simulate(seed)


def known_seeds() -> list[int]:
    lines = KNOWN.read_text(encoding="utf-8").splitlines()
    return [int(line.split()[0]) for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def counts() -> Counter[str]:
    """What happened in the first seeds, each of which kept its promises."""
    return sum((simulate(seed).counts for seed in range(SEEDS)), start=Counter())


def test_promises_hold_over_random_histories(counts: Counter[str]):
    assert counts["commit"] > 10 * SEEDS


def test_a_quarter_of_the_seeds_has_the_same_history_on_both_stores(counts: Counter[str]):
    assert counts["same history on both stores"] == SEEDS / simulation.SQLITE_EVERY


def test_nothing_that_should_happen_is_missing_in_many_seeds(counts: Counter[str]):
    # Rare things need more seeds than the suite runs; the command line demands all of them.
    assert len(never_happened(counts)) < len(MUST_HAPPEN) / 10


def test_what_never_happened_is_named():
    counts = Counter(dict.fromkeys(MUST_HAPPEN, 1))
    del counts["fault: takeover"]

    assert never_happened(counts) == ["fault: takeover"]


@pytest.mark.parametrize("seed", known_seeds())
def test_a_bug_once_found_stays_away(seed: int):
    simulate(seed)


@pytest.mark.parametrize("seed", [3, 8, 57])
def test_the_same_seed_gives_the_same_history_bit_for_bit(seed: int):
    first, second = simulate(seed), simulate(seed)

    assert first.digest == second.digest
    assert first.events == second.events
    assert first.story == second.story


def test_another_process_with_another_hash_seed_sees_the_same_histories():
    program = (
        "from process_engine.testing.simulation import simulate\n"
        "print([simulate(seed).digest for seed in range(8)])"
    )
    environment = os.environ | {"PYTHONHASHSEED": "4711"}

    told = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )

    assert told.stdout.strip() == str([simulate(seed).digest for seed in range(8)])


def test_other_seeds_give_other_histories():
    digests = {simulate(seed).digest for seed in range(20)}

    assert len(digests) == 20


def test_a_failing_seed_says_how_to_replay_it(monkeypatch: pytest.MonkeyPatch):
    MUTANTS["no_backoff"](monkeypatch)

    with pytest.raises(SimulationFailed, match=r"simulation --seed \d+") as failure:
        simulate_until_it_fails()

    assert f"--seed {failure.value.seed}" in str(failure.value)


def test_the_command_line_replays_one_seed_readably(capsys: pytest.CaptureFixture[str]):
    assert simulation.main(["--seed", "7"]) == 0

    told = capsys.readouterr().out
    assert "steps:" in told
    assert "ProcessStarted" in told
    assert f"digest {simulate(7).digest}" in told


def test_the_command_line_tells_the_story_of_a_broken_promise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    MUTANTS["start_acknowledged_before_its_commit"](monkeypatch)

    assert simulation.main(["--seed", "1"]) == 1
    assert "was acknowledged before it was stored" in capsys.readouterr().out


def test_the_command_line_runs_many_seeds(capsys: pytest.CaptureFixture[str]):
    assert simulation.main(["--seeds", "20", "--workers", "2"]) == 0

    assert "20 seeds, 0 failed" in capsys.readouterr().out


@pytest.mark.parametrize("name", MUTANTS)
def test_the_simulation_finds_a_broken_engine(name: str, monkeypatch: pytest.MonkeyPatch):
    MUTANTS[name](monkeypatch)

    with pytest.raises(SimulationFailed):
        simulate_until_it_fails(SHORT_CUTS.get(name, 0))
