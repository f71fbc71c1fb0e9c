"""The short tier of fuzzing, the cases that once broke something, and the fuzzer itself."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz import __main__ as fuzzing
from tests.fuzz import limits, targets
from tests.fuzz.cases import cases
from tests.fuzz.limits import Finding, Tally, hold, kept_cases

EXAMPLES = 200
KEPT = kept_cases()


@pytest.mark.parametrize("target", targets.TARGETS)
def test_whatever_it_is_given_it_answers_or_refuses_in_time(target):
    tally = Tally()

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), database=None)
    @given(cases()[target])
    def run(case: bytes) -> None:
        hold(target, case, tally)

    run()

    assert 0 < tally.accepted < tally.cases, f"all cases end alike, which tests little: {tally}"


def test_there_are_cases_for_each_target_and_no_others():
    assert set(cases()) == set(targets.TARGETS)


@pytest.mark.parametrize(("target", "path"), KEPT, ids=[path.stem for _, path in KEPT])
def test_what_once_broke_something_is_answered_or_refused(target, path):
    hold(target, path.read_bytes())


def test_the_corpus_is_small_and_each_case_belongs_to_a_target():
    assert KEPT
    assert {target for target, _ in KEPT} <= set(targets.TARGETS)
    assert max(path.stat().st_size for _, path in KEPT) <= 64 * 1024


# ---------------------------------------------------------------- the fuzzer itself


class Panic(BaseException):
    """As an extension module raises it that finds itself broken."""


def fails(_case: bytes) -> bool:
    raise KeyError("a bug")


def panics(_case: bytes) -> bool:
    raise Panic("a bug in Rust")


def hangs(_case: bytes) -> bool:
    while True:
        try:
            sum(range(1000))
        except Exception:
            continue


def lies(_case: bytes) -> bool:
    targets.require(False, "it keeps its word")
    return True


@pytest.mark.parametrize(
    ("target", "word"), [(fails, "KeyError"), (panics, "Panic"), (hangs, "TooSlow"), (lies, "keeps its word")]
)
def test_a_target_that_breaks_a_promise_is_found(monkeypatch, target, word):
    monkeypatch.setattr(limits, "TARGETS", {"bad": target})
    monkeypatch.setattr(limits, "CPU_SECONDS", 0.2)

    with pytest.raises(Finding, match=word):
        hold("bad", b"anything")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what a process may allocate")
def test_a_process_gets_no_more_memory_than_the_limit():
    script = "from tests.fuzz.limits import limit_memory; limit_memory(20); bytearray(40 << 20)"

    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=fuzzing.ROOT, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    assert ended.stderr.rstrip().endswith("MemoryError")


def test_a_run_tells_each_target_and_how_to_have_it_again(capsys):
    assert fuzzing.main(["--seconds", "0", "--target", "duration", "--seed", "11"]) == 0

    told = capsys.readouterr().out
    assert "--seed 11" in told
    assert "duration" in told
    assert "1 hunts, 0 found something" in told


def test_a_run_keeps_what_it_found(monkeypatch, tmp_path, capsys):
    hunt = fuzzing.Hunt("duration", 0, 1)
    monkeypatch.setattr(limits, "CORPUS", tmp_path)
    monkeypatch.setattr(fuzzing, "run", lambda _: fuzzing.Outcome(hunt, "duration: KeyError: a bug", b"1w"))

    assert fuzzing.main(["--seconds", "0", "--target", "duration"]) == 1

    (kept,) = tmp_path.glob("duration-*.txt")
    assert kept.read_bytes() == b"1w"
    assert kept.stem in capsys.readouterr().out
