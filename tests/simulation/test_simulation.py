from pathlib import Path

import pytest

from process_engine.testing import simulation
from process_engine.testing.simulation import SimulationFailed, never_happened, simulate
from tests.simulation.mutants import MUTANTS

KNOWN = Path(__file__).with_name("known_seeds.txt")
# Every mutant falls earlier; most within twenty seeds.
SEEDS_TO_FIND_A_MUTANT = 400


def simulate_until_it_fails() -> None:
    for seed in range(SEEDS_TO_FIND_A_MUTANT):
        simulate(seed)


def known_seeds() -> list[int]:
    lines = KNOWN.read_text(encoding="utf-8").splitlines()
    return [int(line.split()[0]) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("start", range(0, 150, 30))
def test_promises_hold_over_random_histories(start: int):
    for seed in range(start, start + 30):
        simulate(seed)


@pytest.mark.parametrize("seed", known_seeds())
def test_a_bug_once_found_stays_away(seed: int):
    simulate(seed)


@pytest.mark.parametrize("seed", [3, 57, 104])
def test_the_same_seed_gives_the_same_history_bit_for_bit(seed: int):
    first, second = simulate(seed), simulate(seed)

    assert first.digest == second.digest
    assert first.events == second.events
    assert first.story == second.story


def test_other_seeds_give_other_histories():
    digests = {simulate(seed).digest for seed in range(20)}

    assert len(digests) == 20


def test_a_failing_seed_says_how_to_replay_it(monkeypatch: pytest.MonkeyPatch):
    MUTANTS["no_backoff"](monkeypatch)

    with pytest.raises(SimulationFailed, match=r"simulation --seed \d+") as failure:
        simulate_until_it_fails()

    assert f"--seed {failure.value.seed}" in str(failure.value)


def test_nothing_that_should_happen_is_missing_in_many_seeds():
    counts = sum((simulate(seed).counts for seed in range(150)), start=simulation.Counter())

    # A few rare things need more seeds than the suite runs; the command line demands all of them.
    assert set(never_happened(counts)) <= {"failed: VISITS_EXCEEDED", "cancelled: interrupted"}


def test_the_command_line_replays_one_seed_readably(capsys: pytest.CaptureFixture[str]):
    assert simulation.main(["--seed", "7"]) == 0

    told = capsys.readouterr().out
    assert "steps:" in told
    assert "ProcessStarted" in told
    assert f"digest {simulate(7).digest}" in told


def test_the_command_line_runs_many_seeds(capsys: pytest.CaptureFixture[str]):
    assert simulation.main(["--seeds", "20", "--workers", "2"]) == 0

    assert "20 seeds, 0 failed" in capsys.readouterr().out


@pytest.mark.parametrize("name", MUTANTS)
def test_the_simulation_finds_a_broken_engine(name: str, monkeypatch: pytest.MonkeyPatch):
    MUTANTS[name](monkeypatch)

    with pytest.raises(SimulationFailed):
        simulate_until_it_fails()
