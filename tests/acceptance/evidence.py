"""What is found after a fault, held against what was promised before it."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import apsw
import msgspec

from process_engine.clock import SystemClock
from process_engine.core.events import AttemptStarted, Event, StepCompleted, StepStarted
from process_engine.core.invariants import Audit, check
from process_engine.core.plan import compile_plan
from process_engine.core.state import Snapshot
from process_engine.definition.document import ProcessDefinition
from process_engine.ids import ExecutionId
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.ports import ExecutionRepository
from process_engine.testing.agent_server import AgentCall
from tests.acceptance.pipeline import ASKED, NOT_TAKEN, OUTPUTS

MOST_EVENTS = 1000


class Call(NamedTuple):
    """A call as the agent saw it."""

    step_id: str
    visit: int
    attempt: int
    key: str


@dataclass(frozen=True)
class Found:
    """One execution as a store holds it."""

    snapshot: Snapshot
    events: Sequence[Event]

    @property
    def status(self) -> str:
        return self.snapshot.head.status.value

    @property
    def outputs(self) -> object:
        """What the process gave; None as long as it has not completed."""
        outputs = self.snapshot.head.outputs
        return None if outputs is None else outputs.data

    @property
    def completed(self) -> frozenset[str]:
        """Steps whose result is recorded."""
        return frozenset(event.step_id for event in self.events if isinstance(event, StepCompleted))

    @property
    def attempts(self) -> frozenset[tuple[str, int, int]]:
        """Attempts that are recorded, as (step, visit, attempt)."""
        return frozenset(
            (event.step_id, event.visit, event.attempt)
            for event in self.events
            if isinstance(event, StepStarted | AttemptStarted)
        )


# ---------------------------------------------------------------- looking


def integrity(path: Path) -> object:
    """What SQLite itself says of the file: "ok" if it is whole, or not there."""
    if not path.exists():
        return "ok"
    connection = apsw.Connection(str(path))
    try:
        return connection.pragma("integrity_check")
    finally:
        connection.close()


def copy_store(path: Path, name: str) -> Path:
    """A copy of the store as it lies there now, so that looking at it changes nothing."""
    copy = path.with_name(name)
    for ending in ("", "-wal", "-journal"):
        # Nothing of an earlier copy may be left beside this one.
        Path(f"{copy}{ending}").unlink(missing_ok=True)
        if Path(f"{path}{ending}").exists():
            shutil.copy(f"{path}{ending}", f"{copy}{ending}")
    return copy


async def look(path: Path, execution_id: ExecutionId, definition: ProcessDefinition) -> Found | None:
    """The execution in a store that nobody uses, after every invariant was checked; None if it is not there.

    Raises:
        BrokenInvariant: one does not hold.
    """
    store = SqliteRepository(path, synchronous="OFF")
    await store.open(clock=SystemClock())
    try:
        return await found_in(store, execution_id, definition)
    finally:
        await store.close()


async def found_in(
    store: ExecutionRepository, execution_id: ExecutionId, definition: ProcessDefinition
) -> Found | None:
    """As `look`, in a store that is open."""
    snapshot = await store.load(execution_id)
    if snapshot is None:
        return None
    events = await store.events(execution_id, limit=MOST_EVENTS)
    attempts = [item async for item in store.attempts() if item.execution_id == execution_id]
    timers = await store.timers(after=None, limit=MOST_EVENTS)
    work = [*attempts, *(item for item in timers if item.execution_id == execution_id)]
    check(Audit(compile_plan(definition), snapshot, events, work))
    return Found(snapshot, events)


def calls_of(log: Path, execution_id: ExecutionId) -> list[Call]:
    """The calls for one execution in an agents' log that many share, in order of arrival."""
    # A log of thousands of lines, read again and again: only those of this execution are decoded.
    mark = f'"{execution_id}"'.encode()
    lines = log.read_bytes().split(b"\n")[:-1] if log.exists() else []
    calls = [msgspec.json.decode(line, type=AgentCall) for line in lines if mark in line]
    return [Call(call.step_id, call.visit, call.attempt, call.key) for call in calls]


# ---------------------------------------------------------------- judging


def broken_promises(
    before: Found | None,
    after: Found | None,
    *,
    acknowledged: Collection[str],
    calls_before: Sequence[Call],
    calls: Sequence[Call],
) -> list[str]:
    """Everything that a fault must not change, and did; empty if every promise was kept.

    `before` is what the store held right after the fault, `after` once all was resumed and ended;
    `acknowledged` are the ids of the events that somebody was told of before; `calls_before` the agents'
    calls until then, `calls` all of them.
    """
    if after is None:
        return ["the execution is not there"]
    told = [*_lost(before, after, acknowledged), *_wrong_end(after)]
    told += _wrong_calls(after, calls)
    if before is not None:
        again = [call for call in calls[len(calls_before) :] if call.step_id in before.completed]
        told += [f"asked again although it was recorded: {call}" for call in again]
    return told


def _lost(before: Found | None, after: Found, acknowledged: Collection[str]) -> list[str]:
    events = before.events if before is not None else ()
    missing = set(acknowledged) - {event.id for event in events}
    told = [f"told of and then lost: {sorted(missing)}"] if missing else []
    if list(after.events[: len(events)]) != list(events):
        told.append("the history before the fault has changed")
    return told


def _wrong_end(after: Found) -> list[str]:
    told: list[str] = []
    if after.status != "completed":
        told.append(f"it ended as {after.status}: {after.snapshot.head.failure}")
    elif after.outputs != OUTPUTS:
        told.append(f"its outputs are {after.outputs}")
    if after.completed & NOT_TAKEN:
        told.append("the route that was not taken ran")
    return told


def _wrong_calls(after: Found, calls: Sequence[Call]) -> list[str]:
    execution_id = after.snapshot.created.execution_id
    told: list[str] = []
    for (step_id, visit, attempt), times in Counter(call[:3] for call in calls).items():
        if times > 1:
            told.append(f"attempt {attempt} of {step_id} was made {times} times")
        if (step_id, visit, attempt) not in after.attempts:
            told.append(f"attempt {attempt} of {step_id} was made and is not recorded")
    told += [
        f"wrong key: {call}" for call in calls if call.key != f"{execution_id}/{call.step_id}/{call.visit}"
    ]
    asked = {call.step_id for call in calls}
    return told + ([f"asked were {sorted(asked)}"] if asked != ASKED else [])


def unrecorded(before: Found | None, calls: Sequence[Call]) -> list[str]:
    """Calls for attempts that the store does not know: there must be none, whenever it is looked at."""
    known = before.attempts if before is not None else frozenset()
    return [f"asked before it was recorded: {call}" for call in calls if call[:3] not in known]
