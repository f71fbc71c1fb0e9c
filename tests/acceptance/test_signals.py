"""SIGTERM and SIGKILL at any moment of the command line: the execution ends completed, whoever was killed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import perf_counter

import pytest
from msgspec.structs import replace

from process_engine.testing.agent_process import AgentProcess, start_agent_process
from tests.acceptance.evidence import Call, Found, broken_promises, integrity, unrecorded
from tests.acceptance.lives import all_of
from tests.acceptance.pipeline import BEHAVIOURS
from tests.acceptance.terminal import PROCESS, STORE, Terminal

HISTORIES = 6
SIGNALS_EACH = 4
# Seconds that an agent takes: so long that most signals arrive in the middle.
DELAY = 0.05
# What a command may end with: by itself, killed, or in order after SIGTERM. 2: there was no store yet.
CODES = {0, 2, -signal.SIGKILL, 128 + signal.SIGTERM}


@dataclass
class History:
    """What one execution went through: how each command ended, what each left, and what was wrong.

    `left` holds, after each command, what the store held and the agents' calls until then.
    """

    ends: list[int] = field(default_factory=list)
    left: list[tuple[Found | None, list[Call]]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    slow = {name: replace(behaviour, delay=DELAY) for name, behaviour in BEHAVIOURS.items()}
    with start_agent_process(slow, log=tmp_path_factory.mktemp("agents") / "agents.jsonl") as started:
        yield started


def next_command(terminal: Terminal) -> tuple[str, ...]:
    """`resume` once there is something to resume; else nothing was acknowledged, and it is run again."""
    return ("resume",) if terminal.executions() else ("run", PROCESS)


def history(seed: int, directory: Path, agents: AgentProcess, seconds: float) -> History:
    """Disturb one execution several times, let it end, and look after each signal."""
    chance, terminal, told = Random(seed), Terminal(directory, agents), History()
    for _ in range(SIGNALS_EACH):
        number = chance.choice([signal.SIGKILL, signal.SIGTERM])
        disturbed(terminal, told, number, chance.uniform(0.5, 1.3) * seconds)
    finished(terminal, told)
    return told


def disturbed(terminal: Terminal, told: History, number: signal.Signals, after: float) -> None:
    """One command that gets a signal, and what it left."""
    told.ends.append((ended := terminal.interrupted(number, after, *next_command(terminal))).code)
    if ended.code not in CODES:
        told.wrong.append(f"exit code {ended.code}: {ended.err}")
    for execution_id in terminal.executions():
        found, calls = terminal.found(execution_id), terminal.calls(execution_id)
        # What was in flight may have been the last there was to do: then nothing is left to resume.
        left_open = found is not None and found.status == "running"
        # A command that says nothing was still loading: it had taken nothing up.
        told_how = "resume" in ended.out or not ended.out
        if ended.code == 128 + signal.SIGTERM and left_open and not told_how:
            told.wrong.append(f"it did not say how to go on: {ended.out}")
        told.left.append((found, calls))
        told.wrong += unrecorded(found, calls)


def finished(terminal: Terminal, told: History) -> None:
    """Let it end undisturbed, and hold the end against what each signal left."""
    ended = terminal.do(*next_command(terminal))
    if ended.code != 0:
        told.wrong.append(f"the last command ended with {ended.code}: {ended.out}{ended.err}")
    (execution_id,) = terminal.executions()
    after, calls = terminal.found(execution_id), terminal.calls(execution_id)
    for before, calls_before in told.left or [(None, [])]:
        told.wrong += broken_promises(before, after, acknowledged=(), calls_before=calls_before, calls=calls)
    if integrity(terminal.directory / STORE) != "ok":
        told.wrong.append("integrity_check failed")


@pytest.mark.timeout(240)
def test_whatever_signal_arrives_at_whatever_moment_the_execution_completes(tmp_path, agents):
    began = perf_counter()
    assert Terminal(tmp_path / "undisturbed", agents).do("run", PROCESS).code == 0
    seconds = perf_counter() - began

    seeds = range(HISTORIES)
    told = all_of(lambda seed: history(seed, tmp_path / str(seed), agents, seconds), seeds, at_once=2)

    arrived = sum(code not in (0, 2) for one in told for code in one.ends)
    print(f"\n{HISTORIES * SIGNALS_EACH} signals, {arrived} ended a command, {perf_counter() - began:.1f} s: "
          f"{[one.ends for one in told]}")  # fmt: skip
    assert {seed: one.wrong for seed, one in zip(seeds, told, strict=True) if one.wrong} == {}
    # How many arrive in time is up to the machine; none would have tested nothing.
    assert arrived
