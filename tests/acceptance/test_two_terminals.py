"""Two terminals act on one execution, or one store, at once: one of them wins, and the other is told."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from process_engine.core.events import ProcessCancelled
from process_engine.ids import ExecutionId
from process_engine.testing.agent_process import AgentProcess, start_agent_process
from tests.acceptance.pipeline import BEHAVIOURS
from tests.acceptance.terminal import PATIENCE_SECONDS, PROCESS, Ended, Terminal, ended

# Long enough for two commands to start while the first agent is at work.
SLOW_SECONDS = 8.0


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[AgentProcess]:
    slow = {**BEHAVIOURS, "planner": replace(BEHAVIOURS["planner"], delay=SLOW_SECONDS)}
    with start_agent_process(slow, log=tmp_path / "agents.jsonl") as started:
        yield started


@pytest.fixture
def terminal(tmp_path: Path, agents: AgentProcess) -> Terminal:
    return Terminal(tmp_path / "here", agents)


def running(terminal: Terminal, agents: AgentProcess) -> tuple[subprocess.Popen[str], ExecutionId]:
    """A `run` whose first agent is at work, and the execution."""
    process = terminal.begin("run", PROCESS)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not agents.calls():
        assert process.poll() is None, ended(process)
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process, ExecutionId(agents.calls()[0].execution_id)


def killed(terminal: Terminal, agents: AgentProcess) -> ExecutionId:
    """An open execution that nobody runs."""
    process, execution_id = running(terminal, agents)
    process.kill()
    ended(process)
    return execution_id


def both(terminal: Terminal, first: tuple[str, ...], second: tuple[str, ...]) -> tuple[Ended, Ended]:
    """Two commands begun at the same time."""
    begun = terminal.begin(*first), terminal.begin(*second)
    return ended(begun[0]), ended(begun[1])


def cancellations(terminal: Terminal, execution_id: ExecutionId) -> int:
    found = terminal.found(execution_id)
    assert found is not None
    assert found.status == "cancelled"
    return sum(isinstance(event, ProcessCancelled) for event in found.events)


def assert_one_cancelled(first: Ended, second: Ended) -> None:
    """One command did it; the other did it too, or was refused and told why."""
    codes = sorted((first.code, second.code))
    assert codes in ([0, 0], [0, 2]), (first, second)
    for command in (first, second):
        assert command.code == 0 or "cancelled" in command.err, command


def test_two_cancels_at_once_of_an_execution_that_runs_cancel_it_once(terminal, agents):
    process, execution_id = running(terminal, agents)

    assert_one_cancelled(*both(terminal, ("cancel", execution_id), ("cancel", execution_id)))

    assert ended(process).code == 3
    assert cancellations(terminal, execution_id) == 1


def test_two_cancels_at_once_of_an_execution_that_nobody_runs_cancel_it_once(terminal, agents):
    execution_id = killed(terminal, agents)

    assert_one_cancelled(*both(terminal, ("cancel", execution_id), ("cancel", execution_id)))

    assert cancellations(terminal, execution_id) == 1


def test_a_cancel_that_succeeds_beside_a_resume_holds(terminal, agents):
    execution_id = killed(terminal, agents)

    cancel, resume = both(terminal, ("cancel", execution_id), ("resume",))

    assert cancel.code == 0, (cancel, resume)
    assert cancellations(terminal, execution_id) == 1
    # It ran and was cancelled (3), found nothing open any more (0), or came while the other held the store.
    assert resume.code in (0, 2, 3), resume
    assert resume.code != 2 or "runs executions on this store" in resume.err
    assert terminal.do("resume").code == 0


def test_a_second_run_on_a_store_is_refused_and_the_first_goes_on(terminal, agents):
    process, execution_id = running(terminal, agents)

    refused = terminal.do("run", PROCESS)

    assert refused.code == 2
    assert f"process {process.pid} runs executions on this store" in refused.err
    assert "cancel" in refused.err, "it does not say what to do"
    assert process.poll() is None
    assert ended(process).code == 0
    assert terminal.executions() == [execution_id]
