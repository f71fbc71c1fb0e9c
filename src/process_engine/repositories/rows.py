"""What a commit writes, as rows: several transitions become one row for each thing that they changed.

Only the last state of an execution counts, so a step that started and ended within one batch is written once.
All events are written. The texts are made before the transaction begins: a record without a JSON form stops
the batch while nothing has been touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import cast

from process_engine.core.events import Event, ExecutionCreated
from process_engine.core.state import Execution, ExecutionStatus
from process_engine.core.transition import Transition
from process_engine.core.work import WorkItem
from process_engine.errors import InternalError
from process_engine.ids import ExecutionId, StepId
from process_engine.repositories.connection import Cursor, SqlValue
from process_engine.repositories.records import CREATED, EVENT, HEAD, STEP, to_microseconds

# In a batch of 50 a transition costs 22 µs of CPU this way and 32 µs with executemany. Also, each step of
# SQLite gives the interpreter's lock away: beside a busy thread, 100 rows whose pages had to be read took up
# to 12 ms this way and 200 ms one by one. Powers of two keep the number of prepared statements small.
_ROWS_PER_STATEMENT = (64, 32, 16, 8, 4, 2, 1)

# Executions whose number and status are remembered, 200 bytes each; for others it costs one look-up.
_REMEMBERED = 16_384


class Statement:
    """A statement over a list of rows, run in as few pieces as there are powers of two in their count."""

    def __init__(self, before: str, columns: str, after: str = "") -> None:
        self._width = columns.count("?")
        self._texts = [
            (count * self._width, f"{before} {', '.join([columns] * count)} {after}")
            for count in _ROWS_PER_STATEMENT
        ]
        self._one = self._texts[-1][1]

    def run(self, cursor: Cursor, rows: Sequence[SqlValue]) -> None:
        """Run it over rows that lie one behind the other in a flat list."""
        if len(rows) == self._width:
            cursor.execute(self._one, rows)
            return
        start, end = 0, len(rows)
        for size, text in self._texts if rows else ():
            while end - start >= size:
                cursor.execute(text, rows[start : start + size])
                start += size


_EVENTS = Statement("INSERT INTO events (execution, sequence, body) VALUES", "(?, ?, ?)")
_STEPS = Statement(
    "INSERT INTO steps (execution, step_id, state) VALUES",
    "(?, ?, ?)",
    "ON CONFLICT DO UPDATE SET state = excluded.state",
)
_NEW_STATUS = Statement(
    "INSERT INTO heads (execution, status, head) VALUES",
    "(?, ?, ?)",
    "ON CONFLICT DO UPDATE SET status = excluded.status, head = excluded.head",
)
# The index by status is rewritten by whatever names the column, changed or not; most transitions do not.
_SAME_STATUS = Statement(
    "INSERT INTO heads (execution, status, head) VALUES",
    "(?, ?, ?)",
    "ON CONFLICT DO UPDATE SET head = excluded.head",
)
_EXECUTIONS = Statement(
    "INSERT INTO executions (number, id, process, version, definition_hash, created_at, created) VALUES",
    "(?, ?, ?, ?, ?, ?, ?)",
)
_SETTLED = Statement("DELETE FROM timers WHERE (execution_id, key) IN (VALUES", "(?, ?)", ")")
# One row is found twice as fast this way as in a list of one.
_SETTLED_ONE = "DELETE FROM timers WHERE execution_id = ? AND key = ?"
_TIMERS = Statement(
    "INSERT OR REPLACE INTO timers (execution_id, key, kind, visit, attempt, due) VALUES",
    "(?, ?, ?, ?, ?, ?)",
)
_BLOBS = Statement("INSERT OR IGNORE INTO blobs (sha256, size, content) VALUES", "(?, ?, CAST(? AS TEXT))")

_FIND = "SELECT number FROM executions WHERE id = ?"
_LAST = "SELECT coalesce(max(number), 0) FROM executions"
_IS_THERE = (
    "SELECT 1 FROM events WHERE sequence = ?2 AND execution = (SELECT number FROM executions WHERE id = ?1)"
)


class Numbers:
    """The numbers of executions in the file, with the status that their rows have there; bounded.

    New ones are numbered here: nobody else adds executions to a store that this process has taken over.
    """

    def __init__(self) -> None:
        self._known: dict[ExecutionId, tuple[int, ExecutionStatus]] = {}
        self._last: int | None = None

    def get(self, id: ExecutionId) -> tuple[int, ExecutionStatus] | None:
        """Number and status of an execution that was written lately."""
        return self._known.get(id)

    def last(self, cursor: Cursor) -> int:
        """The highest number that is taken; 0 if none is."""
        if self._last is None:
            self._last = cast("int", cursor.execute(_LAST).fetchall()[0][0])
        return self._last

    def learn(self, written: Iterable[tuple[Execution, int]]) -> None:
        """Remember what a commit has written; ended executions are forgotten, then the oldest."""
        known = self._known
        for execution, number in written:
            self._last = max(self._last or 0, number) if self._last is not None else None
            if execution.status.is_final:
                known.pop(execution.created.execution_id, None)
            else:
                known[execution.created.execution_id] = (number, execution.head.status)
        while len(known) > _REMEMBERED:
            known.pop(next(iter(known)))

    def forget(self) -> None:
        """Remember nothing: what the file holds is uncertain."""
        self._known.clear()
        self._last = None


class Batch:
    """Transitions as rows, ready to be written."""

    def __init__(self, transitions: Sequence[Transition]) -> None:
        self._executions: dict[ExecutionId, Execution] = {}
        self._created: list[tuple[ExecutionCreated, str]] = []
        self._timers: dict[tuple[ExecutionId, str], WorkItem | None] = {}
        self._blobs: dict[str, bytes] = {}
        self._events: list[tuple[Event, str]] = []
        changed: dict[tuple[ExecutionId, StepId], None] = {}
        for transition in transitions:
            id = self._add(transition)
            for step in transition.changed:
                changed[id, step] = None
        executions = self._executions
        self._heads = [(id, HEAD.encode(execution.head)) for id, execution in executions.items()]
        # A batch that says something twice, which its events will refuse, may end with an older state.
        self._steps = [
            (id, step, STEP.encode(executions[id].steps[step]))
            for id, step in changed
            if step in executions[id].steps
        ]

    def _add(self, transition: Transition) -> ExecutionId:
        created = transition.execution.created
        id = created.execution_id
        self._executions[id] = transition.execution
        # Settled ones first: a step whose timer is replaced by another has both under the same key. Attempts
        # need no row: that a step runs stands in its state.
        for work in transition.done:
            if work.due is not None:
                self._timers[id, work.key] = None
        for work in transition.work:
            if work.due is not None:
                self._timers[id, work.key] = work
        if transition.events[0].sequence == 1:
            self._created.append((created, CREATED.encode(created)))
        encode, events = EVENT.encode, self._events
        for event in transition.events:
            events.append((event, encode(event)))
        if transition.blobs:
            self._blobs.update(transition.blobs)
        return id

    @property
    def blob_bytes(self) -> int:
        """The size of the large values, which alone can make a batch slow to write."""
        return sum(map(len, self._blobs.values()))

    def is_written(self, cursor: Cursor) -> bool:
        """Whether the file holds the batch, told by its last event."""
        if not self._events:
            return False
        last, _ = self._events[-1]
        return bool(cursor.execute(_IS_THERE, (last.execution_id, last.sequence)).fetchall())

    def write(self, cursor: Cursor, known: Numbers) -> list[tuple[Execution, int]]:
        """Write all rows inside an open transaction; the answer is what `known` can learn from it."""
        numbers = self._write_created(cursor, known)
        self._write_heads(cursor, known, numbers)
        steps: list[SqlValue] = []
        for id, step, text in self._steps:
            steps += (numbers[id], step, text)
        events: list[SqlValue] = []
        for event, text in self._events:
            events += (numbers[event.execution_id], event.sequence, text)
        _STEPS.run(cursor, steps)
        _EVENTS.run(cursor, events)
        if self._timers:
            self._write_timers(cursor)
        for sha256, content in self._blobs.items():
            _BLOBS.run(cursor, (sha256, len(content), content))
        return [(execution, numbers[id]) for id, execution in self._executions.items()]

    def _write_created(self, cursor: Cursor, known: Numbers) -> dict[ExecutionId, int]:
        """Write the rows of new executions; their numbers."""
        numbers: dict[ExecutionId, int] = {}
        if not self._created:
            return numbers
        rows: list[SqlValue] = []
        for number, (created, text) in enumerate(self._created, start=known.last(cursor) + 1):
            id = created.execution_id
            numbers[id] = number
            at = _text(created.timestamp)
            rows += (number, id, created.process_name, created.version, created.definition_hash, at, text)
        _EXECUTIONS.run(cursor, rows)
        return numbers

    def _write_heads(self, cursor: Cursor, known: Numbers, numbers: dict[ExecutionId, int]) -> None:
        """Write the heads; `numbers` gets those of the executions that are not new."""
        moved: list[SqlValue] = []
        same: list[SqlValue] = []
        for id, head in self._heads:
            status = self._executions[id].head.status
            memory = known.get(id)
            if memory is not None:
                numbers[id] = memory[0]
            elif id not in numbers:
                numbers[id] = _number(cursor, id)
            rows = same if memory is not None and memory[1] is status else moved
            rows += (numbers[id], status, head)
        _NEW_STATUS.run(cursor, moved)
        _SAME_STATUS.run(cursor, same)

    def _write_timers(self, cursor: Cursor) -> None:
        settled: list[SqlValue] = []
        running: list[SqlValue] = []
        for key, item in self._timers.items():
            if item is None or item.due is None:
                settled += key
            else:
                running += (*key, item.kind, item.visit, item.attempt, to_microseconds(item.due))
        if len(settled) == 2:
            cursor.execute(_SETTLED_ONE, settled)
        else:
            _SETTLED.run(cursor, settled)
        _TIMERS.run(cursor, running)


def _number(cursor: Cursor, id: ExecutionId) -> int:
    rows = cursor.execute(_FIND, (id,)).fetchall()
    if not rows:
        raise InternalError(f"execution {id} goes on without having been created; nothing was written.")
    return cast("int", rows[0][0])


def _text(moment: datetime) -> str:
    # With all six digits, so that the texts sort like the moments.
    return moment.isoformat(timespec="microseconds")
