"""The table of the engine's mutants is only worth what its judge is."""

from pathlib import Path

import pytest

from tests.mutants import engine
from tests.mutants.engine import Result, judge, markdown, reasons_to_stop
from tests.mutants.killers import Kind, NotRun, Verdict, first_failure
from tests.mutants.patches import Mutant

SURVIVED = Verdict(Kind.SURVIVED, seconds=10.0)
REPORT = """<testsuites><testsuite>
  <testcase classname="tests.unit.core.test_loops" name="test_fine" />
  {}
</testsuite></testsuites>"""


def result(*verdicts: Verdict, hangs: bool = False, broken: str = "") -> Result:
    mutant = Mutant("queue LIFO", (), suffers="Who waits longest | comes last.", hangs=hangs)
    return Result(mutant, dict(zip(("simulation", "suite"), verdicts, strict=False)), broken)


def test_a_mutant_lives_until_the_first_killer_is_done_with_it():
    killed = Verdict(Kind.KILLED, "seed 7", 2.0)

    assert result(killed, Verdict(Kind.KILLED, "test_loops::test_a", 3.0)).seconds == 2.0
    assert result(SURVIVED, Verdict(Kind.KILLED, "test_loops::test_a", 3.0)).seconds == 13.0
    assert result(SURVIVED, SURVIVED).seconds is None


def test_not_to_end_is_a_kill_only_of_a_mutant_that_says_so():
    hung = Verdict(Kind.HUNG, "seeds 0-9", 30.0)

    assert result(hung, SURVIVED).seconds is None
    assert result(hung, SURVIVED, hangs=True).seconds == 30.0


@pytest.mark.parametrize(
    "verdicts", [(SURVIVED, SURVIVED), (Verdict(Kind.HUNG, "seeds 0-9", 30.0), SURVIVED)], ids=str
)
def test_a_survivor_makes_the_run_fail(verdicts: tuple[Verdict, Verdict]):
    assert judge([result(Verdict(Kind.KILLED, "seed 7", 2.0), SURVIVED)]) == 0
    assert judge([result(Verdict(Kind.KILLED, "seed 7", 2.0), SURVIVED), result(*verdicts)]) == 1


def test_a_mutant_that_cannot_be_judged_makes_the_run_fail(capsys: pytest.CaptureFixture[str]):
    assert judge([result(broken="rows.py holds the text 0 times, not once")]) == 1
    assert "queue LIFO: rows.py holds the text 0 times" in capsys.readouterr().out


def test_a_mutant_that_lives_too_long_makes_the_run_fail(capsys: pytest.CaptureFixture[str]):
    late = result(SURVIVED, Verdict(Kind.KILLED, "test_loops::test_a", 50.5))

    assert judge([late]) == 1
    assert "lived longer than 60 s: \n  queue LIFO" in capsys.readouterr().out
    assert judge([late], longest_life=180.0) == 0


def test_a_killer_gets_its_share_or_twice_what_it_needs_with_nothing_broken():
    sound = result(Verdict(Kind.SURVIVED, seconds=10.0), Verdict(Kind.SURVIVED, seconds=40.0))

    assert engine.limits_after(sound, engine.Options()) == {"simulation": 30.0, "suite": 80.0}
    assert engine.limits_after(sound, engine.Options(patience=3)) == {"simulation": 90.0, "suite": 90.0}


def test_a_killer_that_is_red_without_a_mutant_stops_the_run():
    assert reasons_to_stop(result(SURVIVED, SURVIVED)) == []
    assert reasons_to_stop(result(SURVIVED, Verdict(Kind.KILLED, "test_loops::test_a"))) == [
        "suite: killed test_loops::test_a"
    ]
    assert reasons_to_stop(result(SURVIVED, broken="suite: no module")) == ["suite: no module"]


def test_the_first_failure_of_a_report_is_named_with_its_module(tmp_path: Path):
    report = tmp_path / "report.xml"
    failed = (
        '<testcase classname="tests.unit.core.test_loops" name="test_a[1]"><{0} message="{1}"/></testcase>'
    )

    report.write_text(REPORT.format(failed.format("failure", "Failed: Timeout (>12.0s)")), encoding="utf-8")
    assert first_failure(report) == ("test_loops::test_a[1]", "Failed: Timeout (>12.0s)")
    report.write_text(REPORT.format(failed.format("error", "fixture")), encoding="utf-8")
    assert first_failure(report) == ("test_loops::test_a[1]", "fixture")
    report.write_text(REPORT.format(""), encoding="utf-8")
    with pytest.raises(NotRun):
        first_failure(report)


def test_the_page_shows_for_each_mutant_who_killed_it_and_what_a_user_would_suffer():
    page = markdown(
        [result(SURVIVED, Verdict(Kind.KILLED, "test_loops::test_a", 3.0))], result(SURVIVED, SURVIVED)
    )

    row = (
        r"| queue LIFO | Who waits longest \| comes last. | no | yes: `test_loops::test_a`, 3.0 s | 13.0 s |"
    )
    assert row in page
    assert "1 of 1 mutants killed: 0 by the simulation, 1 by the suite; the slowest kill took 13.0 s." in page


def test_the_killers_are_asked_in_order_and_a_fast_run_stops_at_the_first_kill(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "src").mkdir()
    asked: list[str] = []

    def killer(name: str, kind: Kind):
        return lambda hunt: asked.append(name) or Verdict(kind, name)

    killers = {"simulation": killer("simulation", Kind.KILLED), "suite": killer("suite", Kind.SURVIVED)}
    monkeypatch.setattr(engine, "KILLERS", killers)
    mutant = Mutant("queue LIFO", ())

    engine.hunt_one(tmp_path, mutant, {}, engine.Options(fast=True))
    assert asked == ["simulation"]
    engine.hunt_one(tmp_path, mutant, {}, engine.Options())
    assert asked == ["simulation", "simulation", "suite"]
