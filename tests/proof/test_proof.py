"""The proof tells what became of its parts, whatever becomes of them; and the soak notices what it is for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from process_engine.testing.agent_process import start_agent_process
from tests.acceptance.pipeline import BEHAVIOURS
from tests.proof import __main__ as proof
from tests.proof import running, soak
from tests.proof.parts import BARS, PARTS, TIERS, Part
from tests.proof.report import write
from tests.proof.running import Result, cleaned, run

FACTS = {"date": "2026-01-02 03:04 UTC", "commit": "abc"}


def part(script: str, name: str = "part", **more) -> Part:
    """A part that is a line of Python."""
    words = ("python3", "-c", script)
    return Part(name, "whether it works", words, words, **{"patience_minutes": 1, **more})


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize(
    ("script", "verdict"), [("print('fine')", "passed"), ("raise SystemExit(3)", "failed"), ("x", "failed")]
)
def test_an_exit_code_decides(script, verdict):
    assert run(part(script), quick=False).verdict == verdict


def test_a_part_that_is_not_there_is_missing():
    absent = Part("absent", "nothing", ("./no-such-command",), (), patience_minutes=1)

    result = run(absent, quick=False)

    assert result.verdict == "missing"
    assert "could not be begun" in result.lines[0]


def test_a_part_that_takes_too_long_is_ended_with_its_children(tmp_path):
    child = tmp_path / "child"
    words = ("/bin/sh", "-c", f"sleep 60 & echo $! > '{child}'; wait")

    result = run(Part("stuck", "nothing", words, words, patience_minutes=0.03), quick=False)

    assert result.verdict == "failed"
    assert "it was ended after 0.03 minutes" in result.lines
    assert not is_alive(int(child.read_text(encoding="ascii")))


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and is not yet buried does not."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"


def test_a_part_that_is_slower_than_its_bar_is_too_slow_but_not_in_a_quick_run():
    slow = part("pass", within_seconds=0)

    assert run(slow, quick=False).verdict == "too slow"
    assert run(slow, quick=True).verdict == "passed"


def test_the_last_lines_are_kept_without_paths_and_colours():
    last = f"\x1b[31m{running.ROOT}/src and /tmp/abc/d\x1b[0m"
    script = f"print(*range(300), {last!r}, sep=chr(10))"

    assert run(part(script, told=3), quick=False).lines == ("298", "299", "src and …")


@pytest.mark.parametrize("line", ["a" * 500, "```", f"{Path.home()}/x"])
def test_no_line_breaks_the_page(line):
    assert len(cleaned(line)) <= running.LONGEST_LINE
    assert "```" not in cleaned(line)
    assert str(Path.home()) not in cleaned(line)


# ---------------------------------------------------------------- report


def test_every_bar_is_shown_by_a_part_and_checked_by_a_tier():
    assert {bar.part for bar in BARS} <= {one.name for one in PARTS}
    assert {bar.tier for bar in BARS} == set(TIERS)
    assert {one.name for one in PARTS} - {bar.part for bar in BARS} == set()


def test_the_report_has_every_part_and_every_bar_with_what_became_of_it():
    good, bad = Result(PARTS[0], "first", "passed", 60.0, ("fine",)), Result(PARTS[1], "second", "failed")

    text = write([good, bad], FACTS, quick=False)

    assert "1 of 2 parts passed." in text
    assert f"| {PARTS[0].name} | passed | 1.0 | `first` |" in text
    for bar in BARS:
        here = {PARTS[0].name: "held", PARTS[1].name: "**not held**"}.get(bar.part, "**not run**")
        assert f"| {bar.says} | {TIERS[bar.tier]} | {here} | {bar.part} |" in text


def test_a_quick_run_claims_nothing():
    text = write([Result(one, "x", "passed") for one in PARTS], FACTS, quick=True)

    assert "proves nothing" in text
    assert "| held |" not in text


def test_one_part_that_fails_decides_the_exit_code(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(proof, "PARTS", (part("pass", "good"), part("raise SystemExit(1)", "bad")))
    place = tmp_path / "new" / "report.md"

    assert proof.main(["--report", str(place)]) == 1
    assert proof.main(["--only", "good", "--report", str(tmp_path / "good.md")]) == 0

    assert "| bad | failed |" in place.read_text(encoding="utf-8")
    assert "| bad | not run |" in (tmp_path / "good.md").read_text(encoding="utf-8")
    assert "The report is" in capsys.readouterr().out


def test_only_a_whole_run_becomes_a_page():
    assert proof.report_path(whole=True).parent == proof.REPORTS
    assert running.ROOT not in proof.report_path(whole=False).parents


# ---------------------------------------------------------------- the soak


@pytest.fixture(scope="module")
def soaked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[soak.Soak]:
    """Three executions, with a kill on the way."""
    place = tmp_path_factory.mktemp("soak")
    with start_agent_process(BEHAVIOURS, log=place / "agents.jsonl") as agents:
        told = soak.Told(place / soak.JOURNAL, agents.log_path)
        short = soak.Soak(place, agents, Random(2), told)
        while not (short.kills and told.last_begun):
            soak.disturbed_life(short, soak.LONGEST_LIFE, last=3)
        soak.finish(short)
        yield short


def wrong(soaked: soak.Soak) -> list[str]:
    """What the judge finds, without keeping it."""
    kept, soaked.wrong = soaked.wrong, []
    try:
        asyncio.run(soak.judge(soaked))
        return soaked.wrong
    finally:
        soaked.wrong = kept


def test_after_kills_everything_is_accounted_for(soaked):
    executed, calls, repeated = asyncio.run(soak.judge(soaked))

    assert soaked.wrong == []
    assert executed == 3
    assert calls - repeated == 27
    assert soaked.told.first_open == 4


def test_an_event_that_was_told_of_and_lost_is_noticed(soaked, monkeypatch):
    monkeypatch.setitem(soaked.told.acknowledged, 2, {*soaked.told.acknowledged[2], "soak-2/999"})

    assert wrong(soaked) == ["soak-2: told of and then lost: ['soak-2/999']"]


def test_a_call_that_was_made_twice_is_noticed(soaked, monkeypatch):
    calls = soaked.told.calls[1]
    monkeypatch.setitem(soaked.told.calls, 1, [*calls, calls[0]])

    assert any("made 2 times" in one for one in wrong(soaked))


def test_an_execution_that_is_not_there_is_noticed(soaked, monkeypatch):
    monkeypatch.setitem(soaked.told.acknowledged, 4, {"soak-4/1"})

    assert any(one.startswith("soak-4: the execution is not there") for one in wrong(soaked))


def test_a_file_that_grows_is_read_line_by_line(tmp_path):
    path = tmp_path / "grows"
    tail = soak.Tail(path)
    assert tail.lines() == []

    with path.open("ab", buffering=0) as file:
        file.write(b"one\ntw")
        assert tail.lines() == [b"one"]
        file.write(b"o\n")
        assert tail.lines() == [b"two"]
    assert tail.lines() == []
