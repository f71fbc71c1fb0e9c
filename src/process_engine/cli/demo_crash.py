"""`demo --crash`: kill -9 in the middle, start again, and compare the agents' own log with the store."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from rich.table import Table
from rich.text import Text

from process_engine.cli import outcomes
from process_engine.cli.screen import Screen, table
from process_engine.cli.store import all_events, load, reading
from process_engine.cli.tools import Agents, LoggedCall
from process_engine.clock import SystemClock
from process_engine.core.events import AttemptStarted, Event, StepCompleted, StepStarted
from process_engine.core.state import ExecutionStatus, StepStatus
from process_engine.errors import NotFound, StorageError
from process_engine.ids import ExecutionId
from process_engine.runtime.view import ProcessExecution

# The middle: so many steps are recorded, and at least one agent is at work.
STEPS_BEFORE_THE_KILL = 4
# The example takes about 5 s; this is for a machine under heavy load.
PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.01


class CrashPlace(Protocol):
    """The files of the demo."""

    @property
    def process(self) -> Path: ...
    @property
    def agents_file(self) -> Path: ...
    @property
    def db(self) -> Path: ...


@dataclass(frozen=True)
class Middle:
    """The moment of the kill: what the store held, and how many calls the agents had logged."""

    execution_id: ExecutionId
    recorded: frozenset[str]
    under_way: frozenset[str]
    calls: int


@dataclass(frozen=True)
class StepFinding:
    """One step: calls of its agent before and after the kill, and whether all of them had one key."""

    step_id: str
    before: int
    after: int
    recorded: bool
    one_key: bool
    answered_from_memory: bool

    @property
    def kept_promise(self) -> bool:
        """Nothing recorded was asked again, and what was asked again could be told from a new request."""
        return self.one_key and not (self.recorded and self.after)

    @property
    def told(self) -> str:
        """The finding in words."""
        if not self.one_key:
            return "asked again under another Idempotency-Key"
        if self.recorded:
            again = "yet asked again" if self.after else "not asked again"
            return f"recorded before the kill, {again}" if self.before else "recorded before the kill"
        if self.before and self.after:
            answer = ", answered from the agent's memory" if self.answered_from_memory else ""
            return f"asked again with the same Idempotency-Key{answer}"
        return "came after the kill" if self.after else ""


def demo_crash(place: CrashPlace, agents: Agents, topic: str, screen: Screen) -> int:
    """The whole demonstration; 0 only if every promise was kept."""
    screen.say("1. An engine runs the process, in a process of its own.", "bold")
    known = len(agents.calls())
    command = ("run", str(place.process), "-i", f"topic={topic}")
    with _engine(place, *command) as engine:
        middle = asyncio.run(_wait_for_middle(place.db, engine, lambda: agents.calls()[known:]))
        if middle is None:
            screen.say("The engine ended, or got nowhere, before it could be killed.", "bold red")
            return outcomes.FAILED
        engine.kill()
        code = engine.wait()
    _tidy(screen)
    screen.say(f"2. kill -9 {engine.pid}: it ended with {code}, and could not say goodbye.", "bold")
    middle = asyncio.run(_look(place.db, middle.execution_id, len(agents.calls()) - known))
    screen.say(f"   Recorded by then: {', '.join(sorted(middle.recorded))}.")
    screen.say(f"   Under way: {', '.join(sorted(middle.under_way)) or 'nothing'}.")
    screen.say()
    screen.say("3. Another engine resumes what is open.", "bold")
    with _engine(place, "resume") as engine:
        engine.wait()
    screen.say()
    return _tell_comparison(place.db, middle, agents.calls()[known:], screen)


def _tell_comparison(db: Path, middle: Middle, calls: Sequence[LoggedCall], screen: Screen) -> int:
    ended, events = asyncio.run(_end(db, middle.execution_id))
    screen.say("4. What the agents logged, against what the store recorded", "bold")
    screen.print(_findings_table(compare(ended, middle, calls)))
    screen.say()
    held = promises(ended, middle, calls, events)
    for promise, kept in held:
        screen.say(f"{'yes' if kept else 'NO '}  {promise}", "green" if kept else "bold red")
    return outcomes.COMPLETED if all(kept for _, kept in held) else outcomes.FAILED


# ---------------------------------------------------------------- the engine, and the moment to kill it


@contextmanager
def _engine(place: CrashPlace, *words: str) -> Generator[subprocess.Popen[bytes]]:
    """A command of ours in a process of its own, on the demo's store; it never outlives the demo."""
    options = ("--agents", str(place.agents_file), "--db", str(place.db))
    # -P: a folder of our name in the current directory must not be taken for the package.
    command = [sys.executable, "-P", "-m", "process_engine", *words, *options]
    engine = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        yield engine
    finally:
        engine.kill()
        engine.wait()


async def _wait_for_middle(
    db: Path, engine: subprocess.Popen[bytes], calls: Callable[[], Sequence[LoggedCall]]
) -> Middle | None:
    clock = SystemClock()
    patience = clock.now() + timedelta(seconds=PATIENCE_SECONDS)
    while engine.poll() is None and clock.now() < patience:
        arrived = calls()
        if arrived:
            execution_id = ExecutionId(arrived[0].key.partition("/")[0])
            found = await _look_if_possible(db, execution_id, len(arrived))
            if found is not None and _is_in_the_middle(found, arrived):
                return found
        await clock.sleep_until(clock.now() + timedelta(seconds=POLL_SECONDS))
    return None


def _is_in_the_middle(found: Middle, calls: Sequence[LoggedCall]) -> bool:
    at_work = found.under_way & {call.step_id for call in calls}
    return len(found.recorded) >= STEPS_BEFORE_THE_KILL and bool(at_work)


async def _look_if_possible(db: Path, execution_id: ExecutionId, calls: int) -> Middle | None:
    try:
        return await _look(db, execution_id, calls)
    except (NotFound, StorageError):
        # The engine has not got as far as making its store.
        return None


async def _look(db: Path, execution_id: ExecutionId, calls: int) -> Middle:
    async with reading(db) as repository:
        steps = (await load(repository, execution_id)).step_executions.values()
    return Middle(
        execution_id,
        frozenset(step.id for step in steps if step.status is StepStatus.COMPLETED),
        frozenset(step.id for step in steps if step.status is StepStatus.RUNNING),
        calls,
    )


async def _end(db: Path, execution_id: ExecutionId) -> tuple[ProcessExecution, list[Event]]:
    async with reading(db) as repository:
        events = [event async for event in all_events(repository, execution_id)]
        return await load(repository, execution_id), events


# ---------------------------------------------------------------- the comparison


def compare(ended: ProcessExecution, middle: Middle, calls: Sequence[LoggedCall]) -> list[StepFinding]:
    """Every step, held against the agents' log: what was recorded must not have been asked for again."""
    return [_finding(step_id, middle, calls) for step_id in ended.step_executions]


def _finding(step_id: str, middle: Middle, calls: Sequence[LoggedCall]) -> StepFinding:
    before = [call for call in calls[: middle.calls] if call.step_id == step_id]
    after = [call for call in calls[middle.calls :] if call.step_id == step_id]
    return StepFinding(
        step_id,
        len(before),
        len(after),
        recorded=step_id in middle.recorded,
        one_key=len({call.key for call in [*before, *after]}) <= 1,
        answered_from_memory=any(call.repeated for call in after),
    )


def unrecorded_calls(calls: Sequence[LoggedCall], events: Sequence[Event]) -> list[LoggedCall]:
    """Calls without an attempt in the store: there must be none, an attempt is recorded before it is made."""
    attempts = {
        (event.step_id, event.visit, event.attempt)
        for event in events
        if isinstance(event, StepStarted | AttemptStarted)
    }
    return [call for call in calls if (call.step_id, call.visit, call.attempt) not in attempts]


def repeated_completions(events: Sequence[Event]) -> list[str]:
    """Steps that were recorded as completed more than once in one visit: there must be none."""
    times = Counter((event.step_id, event.visit) for event in events if isinstance(event, StepCompleted))
    return [step_id for (step_id, _), number in times.items() if number > 1]


def promises(
    ended: ProcessExecution, middle: Middle, calls: Sequence[LoggedCall], events: Sequence[Event]
) -> list[tuple[str, bool]]:
    """What a crash must not change, each with whether it held."""
    findings = compare(ended, middle, calls)
    return [
        ("The execution completed.", ended.status is ExecutionStatus.COMPLETED),
        ("No recorded step was asked again.", not any(one.recorded and one.after for one in findings)),
        (
            "Every repeated call carried the Idempotency-Key of the first.",
            all(one.one_key for one in findings),
        ),
        ("Every call belongs to an attempt that was recorded first.", not unrecorded_calls(calls, events)),
        ("No step was recorded as completed twice.", not repeated_completions(events)),
    ]


def _findings_table(findings: Sequence[StepFinding]) -> Table:
    made = table("step", ">calls before", ">calls after", "recorded at the kill", "")
    for finding in findings:
        made.add_row(
            finding.step_id,
            str(finding.before or "-"),
            str(finding.after or "-"),
            "yes" if finding.recorded else "no",
            Text(finding.told, "" if finding.kept_promise else "bold red"),
        )
    return made


def _tidy(screen: Screen) -> None:
    """The killed engine left the terminal as it was: without a cursor, in the middle of a line."""
    if screen.live:
        screen.console.show_cursor(True)
        screen.say()
    screen.say()
