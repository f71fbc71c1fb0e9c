"""What a commit writes, as rows: several transitions become one row for each thing that they changed.

Only the last state of an execution counts, so a step that started and ended within one batch is written once.
All events are written. The texts are made before the transaction begins: a record without a JSON form stops
the batch while nothing has been touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import cast

from process_engine.core.events import Event
from process_engine.core.state import Execution, ExecutionStatus
from process_engine.core.transition import Transition
from process_engine.core.work import WorkItem
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

    def run(self, cursor: Cursor, rows: Sequence[SqlValue]) -> None:
        """Run it over rows that lie one behind the other in a flat list."""
        start, end = 0, len(rows)
        for size, text in self._texts:
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
    "INSERT INTO heads (execution, status, started_at, completed_at, head) VALUES",
    "(?, ?, ?, ?, ?)",
    "ON CONFLICT DO UPDATE SET status = excluded.status, started_at = excluded.started_at,"
    " completed_at = excluded.completed_at, head = excluded.head",
)
# The index by status is rewritten by whatever names the column, changed or not; most transitions do not.
_SAME_STATUS = Statement(
    "INSERT INTO heads (execution, status, head) VALUES",
    "(?, ?, ?)",
    "ON CONFLICT DO UPDATE SET head = excluded.head",
)
_SETTLED = Statement("DELETE FROM work_items WHERE (execution_id, key) IN (VALUES", "(?, ?)", ")")
# One row is found twice as fast this way as in a list of one.
_SETTLED_ONE = "DELETE FROM work_items WHERE execution_id = ? AND key = ?"
_WORK = Statement(
    "INSERT OR REPLACE INTO work_items (execution_id, key, kind, visit, attempt, due) VALUES",
    "(?, ?, ?, ?, ?, ?)",
)
_BLOBS = Statement("INSERT OR IGNORE INTO blobs (sha256, size, content) VALUES", "(?, ?, CAST(? AS TEXT))")

_FIND = "SELECT number FROM executions WHERE id = ?"
_IS_THERE = (
    "SELECT 1 FROM events WHERE sequence = ?2 AND execution = (SELECT number FROM executions WHERE id = ?1)"
)
_CREATE = (
    "INSERT INTO executions (id, process, version, definition_hash, created_at, created)"
    " VALUES (?, ?, ?, ?, ?, ?) RETURNING number"
)

Standing = tuple[ExecutionStatus, datetime | None, datetime | None]


class Numbers:
    """The numbers of executions in the file, with the status that their rows have there; bounded."""

    def __init__(self) -> None:
        self._known: dict[ExecutionId, tuple[int, Standing]] = {}

    def get(self, id: ExecutionId) -> tuple[int, Standing] | None:
        """Number and standing of an execution that was written lately."""
        return self._known.get(id)

    def learn(self, written: Iterable[tuple[Execution, int]]) -> None:
        """Remember what a commit has written; ended executions are forgotten, then the oldest."""
        for execution, number in written:
            if execution.status.is_final:
                self._known.pop(execution.id, None)
            else:
                self._known[execution.id] = (number, _standing(execution))
        while len(self._known) > _REMEMBERED:
            self._known.pop(next(iter(self._known)))

    def forget(self) -> None:
        """Remember nothing: what the file holds is uncertain."""
        self._known.clear()


class Batch:
    """Transitions as rows, ready to be written."""

    def __init__(self, transitions: Sequence[Transition]) -> None:
        self._executions: dict[ExecutionId, Execution] = {}
        self._steps: dict[tuple[ExecutionId, StepId], str] = {}
        self._work: dict[tuple[ExecutionId, str], WorkItem | None] = {}
        self._blobs: dict[str, bytes] = {}
        self._events: list[tuple[Event, str]] = []
        changed: dict[tuple[ExecutionId, StepId], None] = {}
        for transition in transitions:
            self._add(transition)
            changed.update(((transition.execution.id, step), None) for step in transition.changed)
        self._heads = {id: HEAD.encode(execution.head) for id, execution in self._executions.items()}
        self._steps = {key: STEP.encode(self._executions[key[0]].steps[key[1]]) for key in changed}

    def _add(self, transition: Transition) -> None:
        self._executions[transition.execution.id] = transition.execution
        # Settled work first: a step that retries gives up its attempt and gets a timer under the same key.
        for work in transition.done:
            self._work[work.execution_id, work.key] = None
        for item in transition.work:
            self._work[item.execution_id, item.key] = item
        self._events.extend((event, EVENT.encode(event)) for event in transition.events)
        if transition.blobs:
            self._blobs.update(transition.blobs)

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
        numbers = self._write_heads(cursor, known)
        steps: list[SqlValue] = []
        for (id, step), text in self._steps.items():
            steps += (numbers[id], step, text)
        events: list[SqlValue] = []
        for event, text in self._events:
            events += (numbers[event.execution_id], event.sequence, text)
        _STEPS.run(cursor, steps)
        _EVENTS.run(cursor, events)
        self._write_work(cursor)
        for sha256, content in self._blobs.items():
            _BLOBS.run(cursor, (sha256, len(content), content))
        return [(execution, numbers[id]) for id, execution in self._executions.items()]

    def _write_heads(self, cursor: Cursor, known: Numbers) -> dict[ExecutionId, int]:
        numbers: dict[ExecutionId, int] = {}
        moved: list[SqlValue] = []
        same: list[SqlValue] = []
        for id, execution in self._executions.items():
            memory = known.get(id)
            number = _number(cursor, execution) if memory is None else memory[0]
            numbers[id] = number
            if memory is not None and memory[1] == _standing(execution):
                same += (number, execution.status, self._heads[id])
            else:
                head = execution.head
                started, completed = _text(head.started_at), _text(head.completed_at)
                moved += (number, head.status, started, completed, self._heads[id])
        _NEW_STATUS.run(cursor, moved)
        _SAME_STATUS.run(cursor, same)
        return numbers

    def _write_work(self, cursor: Cursor) -> None:
        settled: list[SqlValue] = []
        open_work: list[SqlValue] = []
        for key, item in self._work.items():
            if item is None:
                settled += key
            else:
                due = None if item.due is None else to_microseconds(item.due)
                open_work += (*key, item.kind, item.visit, item.attempt, due)
        if len(settled) == 2:
            cursor.execute(_SETTLED_ONE, settled)
        else:
            _SETTLED.run(cursor, settled)
        _WORK.run(cursor, open_work)


def _number(cursor: Cursor, execution: Execution) -> int:
    rows = cursor.execute(_FIND, (execution.id,)).fetchall()
    if not rows:
        created = execution.created
        row = (
            created.execution_id,
            created.process_name,
            created.version,
            created.definition_hash,
            _text(created.timestamp),
            CREATED.encode(created),
        )
        rows = cursor.execute(_CREATE, row).fetchall()
    return cast("int", rows[0][0])


def _standing(execution: Execution) -> Standing:
    head = execution.head
    return (head.status, head.started_at, head.completed_at)


def _text(moment: datetime | None) -> str | None:
    # With all six digits, so that the texts sort like the moments.
    return None if moment is None else moment.isoformat(timespec="microseconds")
