"""kill -9 at every operation that changes the store: nothing is stuck, lost, failed, or done again.

Real engines in processes of their own, on an SQLite file, with HTTP agents in another process that keep their
own log. The normal suite kills before every third operation, and in the midst of every ninth, and at each of
the first and last; with ACCEPTANCE_PROOF=1 in the environment before every operation, in the midst of every
write, and before every operation of a restart.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from time import perf_counter

import pytest
from msgspec.structs import replace

from process_engine.ids import ExecutionId
from process_engine.testing.agent_process import AgentProcess, start_agent_process
from tests.acceptance.lives import KILLED, Lives, all_of, lives, run_afresh
from tests.acceptance.pipeline import BEHAVIOURS
from tests.acceptance.worker import Job, Report

PROOF = os.environ.get("ACCEPTANCE_PROOF") == "1"
# Odd: a commit writes the head of a frame and its page in turn, and an even step would meet only one of them.
KILL_EVERY = 1 if PROOF else 3
TORN_EVERY = 1 if PROOF else 9
SECOND_KILL_EVERY = 1 if PROOF else 13
# The operations that make the file and those that end the run are hit in any case, and torn as well.
EDGE = 12

# Answers that arrive together share a commit, so runs differ by a few operations. The numbers that the
# shortest of these runs had must all be hit; one that a run does not reach is tried again so often.
COUNTING_RUNS = 12
TRIES = 12
# Fewer than any run of twelve steps can do with: a count below it counted something else.
LEAST_OPERATIONS = 200
# Where a restart is killed: the engine has died before in this part of its operations.
FIRST_KILLS = (0.3, 0.5, 0.7, 0.9)


@dataclass
class Stage:
    """Where lives are lived: agents, mothers, and a directory for each execution."""

    directory: Path
    agents: AgentProcess
    mothers: Lives
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    counted: dict[int | None, int] = field(default_factory=dict)

    def fresh(self) -> Job:
        """A job on a store and an execution that nobody has used."""
        execution_id = ExecutionId(f"kill-{next(self.numbers)}")
        directory = self.directory / execution_id
        directory.mkdir()
        return Job(
            execution_id=execution_id,
            directory=str(directory),
            agents_url=self.agents.url,
            agents_log=str(self.agents.log_path),
        )

    def live(self, job: Job, *, watched: bool = False, kill_at: int | None = None, torn: bool = False):
        """The exit code and the report of one life of this job's engine."""
        told = replace(job, watched=watched, kill_at=kill_at, torn=torn)
        return self.mothers.run(told)

    def count(self, *, killed_before: int | None = None) -> int:
        """The least number of operations of some undisturbed lives, after a first kill if one is given."""
        if killed_before not in self.counted:
            lives = all_of(lambda _: self._operations(killed_before), range(COUNTING_RUNS))
            self.counted[killed_before] = min(lives)
        return self.counted[killed_before]

    def _operations(self, killed_before: int | None) -> int:
        job = self.fresh()
        if killed_before is not None:
            self.live(job, watched=True, kill_at=killed_before)
        code, report = self.live(job, watched=True)
        assert code == 0, report
        assert report is not None
        return report.operations

    def killed(self, *numbers: int, torn: bool = False) -> Job | None:
        """A job whose engine was killed at these operations, one life after the other; None: not reached."""
        for _ in range(TRIES):
            job = self.fresh()
            if all(self._dies(job, number, torn) for number in numbers):
                return job
        return None

    def _dies(self, job: Job, number: int, torn: bool) -> bool:
        code, report = self.live(job, watched=True, kill_at=number, torn=torn)
        assert code in (0, KILLED), f"operation {number}: exit code {code}, {report}"
        return code == KILLED

    def finished(self, job: Job) -> Report:
        """What is found after the last life, which nobody disturbs."""
        code, report = self.live(job)
        assert report is not None, f"{job.execution_id} ended with {code}, and left no report"
        return report


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("kills")
    with start_agent_process(BEHAVIOURS, log=directory / "agents.jsonl") as agents, lives() as mothers:
        yield Stage(directory, agents, mothers)


def outcome(stage: Stage, kills: tuple[int, ...], *, torn: bool = False) -> Report | None:
    job = stage.killed(*kills, torn=torn)
    return None if job is None else stage.finished(job)


def told(what: str, began: float, kills: int, reports: Sequence[Report | None]) -> None:
    """One line for those who run pytest with -s: the numbers that this run stands for."""
    ended = [report for report in reports if report is not None]
    calls, again = sum(one.calls for one in ended), sum(one.repeated_keys for one in ended)
    seconds = perf_counter() - began
    print(
        f"\n{what}: {kills} kills, {len(ended)} finished, {calls} calls ({again} repeated), {seconds:.1f} s"
    )


def broken(cases: Sequence[object], reports: Sequence[Report | None]) -> dict[str, list[str]]:
    """What did not hold, by the case; a case that was never hit does not hold."""
    return {
        str(case): ["never hit"] if report is None else report.broken
        for case, report in zip(cases, reports, strict=True)
        if report is None or report.broken
    }


def sampled(total: int, every: int) -> list[int]:
    """Every so many of the numbers 1 to `total`, and all at both ends."""
    numbers = range(1, total + 1)
    return [at for at in numbers if at <= EDGE or at > total - EDGE or at % every == 0]


@pytest.mark.timeout(1800 if PROOF else 240)
def test_a_kill_at_any_operation_on_the_store_loses_nothing_and_repeats_nothing_recorded(stage):
    began, total = perf_counter(), stage.count()
    assert total >= LEAST_OPERATIONS

    cases = [(number, False) for number in sampled(total, KILL_EVERY)]
    cases += [(number, True) for number in sampled(total, TORN_EVERY)]
    reports = all_of(lambda case: outcome(stage, (case[0],), torn=case[1]), cases)

    told(f"{total} operations", began, len(cases), reports)
    assert broken(cases, reports) == {}
    kept = [report.events_kept for report in reports if report is not None]
    assert min(kept) == 0, "no engine was killed before its start was recorded"
    assert max(kept) > 30, "no engine was killed after its last event was recorded"


@pytest.mark.timeout(1800 if PROOF else 240)
def test_a_kill_during_the_recovery_from_a_kill_changes_nothing(stage):
    began, total = perf_counter(), stage.count()
    firsts = [int(total * part) for part in FIRST_KILLS]
    cases = [
        (first, second)
        for first, restart in zip(firsts, (stage.count(killed_before=at) for at in firsts), strict=True)
        for second in range(1, restart + 1, SECOND_KILL_EVERY)
    ]

    reports = all_of(lambda case: outcome(stage, case), cases)

    told("second kills", began, 2 * len(cases), reports)
    assert broken(cases, reports) == {}


def test_an_engine_in_an_interpreter_of_its_own_is_killed_and_resumed_as_well(stage):
    job, at = stage.fresh(), stage.count() // 2

    assert run_afresh(replace(job, watched=True, kill_at=at)) == (KILLED, None)
    code, report = run_afresh(job)

    assert (code, report.broken) == (0, [])
    assert 0 < report.events_kept < 30
