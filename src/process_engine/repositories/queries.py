"""What can be asked of a store's tables, and the records that the answers make."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import cast

from process_engine.core.mailbox import PublishedEvent
from process_engine.core.state import ExecutionStatus, Snapshot
from process_engine.core.work import WorkItem, WorkKind, execution_work, work_of
from process_engine.ids import ExecutionId, StepId
from process_engine.repositories import records
from process_engine.repositories.connection import Row, SqlValue
from process_engine.repositories.records import to_microseconds
from process_engine.runtime.ports import ExecutionSummary, OpenApproval, OpenWait

# One statement sees one moment, also beside a writer. The first column tells the three kinds of rows apart.
LOAD = """
    SELECT 0, '', created FROM executions WHERE id = ?1
    UNION ALL
    SELECT 1, '', head FROM heads WHERE execution = (SELECT number FROM executions WHERE id = ?1)
    UNION ALL
    SELECT 2, step_id, state FROM steps WHERE execution = (SELECT number FROM executions WHERE id = ?1)
    ORDER BY 1, 2
"""
# As `LOAD`, for many. The rows of an execution lie together, in the same order.
LOAD_MANY = """
    WITH wanted AS MATERIALIZED (
        SELECT number, created FROM executions WHERE id IN (SELECT value FROM json_each(?1))
    )
    SELECT number, 0, '', created FROM wanted
    UNION ALL
    SELECT execution, 1, '', head FROM heads JOIN wanted ON execution = number
    UNION ALL
    SELECT execution, 2, step_id, state FROM wanted JOIN steps ON execution = number
    ORDER BY 1, 2, 3
"""
_LIST = """
    SELECT id, process, version, status, created_at, head ->> 'started_at', head ->> 'completed_at'
    FROM executions JOIN heads ON execution = number
    WHERE {} ORDER BY number DESC LIMIT ?
"""
EVENTS = """
    SELECT body FROM events
    WHERE execution = (SELECT number FROM executions WHERE id = ?) AND sequence > ?
    ORDER BY sequence LIMIT ?
"""
FEED = "SELECT position, body FROM events WHERE position > ? ORDER BY position LIMIT ?"
BLOB = "SELECT CAST(content AS BLOB) FROM blobs WHERE sha256 = ?"
DEFINITION = "SELECT name, version, CAST(document AS BLOB) FROM definitions WHERE hash = ?"
RESOLVE = "SELECT id FROM executions WHERE id BETWEEN ?1 AND ?1 || char(0x10ffff) ORDER BY id LIMIT 10"
_TIMERS = """
    SELECT execution_id, key, kind, visit, attempt, due FROM timers
    WHERE TRUE {} ORDER BY due, execution_id, key LIMIT ?
"""
# A page of open executions, and of their steps those that run, or the undo that does.
OPEN_NUMBERS = """
    SELECT execution FROM heads
    WHERE status IN ('pending', 'running', 'paused', 'compensating') AND execution > ?
    ORDER BY execution LIMIT ?
"""
# The row of a step has its id; that of an execution which undoes one has none, and so comes first.
RUNNING = """
    WITH page AS MATERIALIZED (SELECT value FROM json_each(?))
    SELECT id, '', head, number FROM heads JOIN executions ON number = execution
    WHERE execution IN page AND status = 'compensating'
    UNION ALL
    SELECT id, step_id, state, number FROM steps JOIN executions ON number = execution
    WHERE execution IN page AND state ->> 'status' = 'running'
    ORDER BY number, step_id
"""
OPEN = """
    SELECT id, definition_hash FROM executions JOIN heads ON execution = number
    WHERE status IN ('pending', 'running', 'paused', 'compensating') ORDER BY number
"""
APPROVALS = """
    SELECT id, process, step_id, state FROM heads JOIN executions ON number = heads.execution
    JOIN steps ON steps.execution = number
    WHERE status IN ('running', 'paused') AND state ->> 'status' = 'waiting_approval'
    ORDER BY number, step_id LIMIT ?
"""
# The rows of one execution's name: what was published to all since it began, and what is for it alone.
MAIL = """
    SELECT position, event FROM mailbox
    WHERE name = ?1 AND execution_id IS NULL AND position > max(?3, (
        SELECT coalesce(max(position), 0) FROM (
            SELECT position FROM mailbox
            WHERE name = ?1 AND execution_id IS NULL
                AND executions < (SELECT number FROM executions WHERE id = ?2)
            ORDER BY executions DESC, position DESC LIMIT 1
        )
    )) AND EXISTS (SELECT 1 FROM executions WHERE id = ?2)
    UNION ALL
    SELECT position, event FROM mailbox WHERE execution_id = ?2 AND name = ?1 AND position > ?3
    ORDER BY position LIMIT ?4
"""
# As `RUNNING`: of the steps of a page of open executions, those that wait for an event.
WAITS = """
    SELECT id, step_id, state FROM steps JOIN executions ON number = execution
    WHERE execution IN (SELECT value FROM json_each(?)) AND state ->> 'waiting_for' = 'event'
    ORDER BY execution, step_id
"""
CLEAR_MAIL = """
    DELETE FROM mailbox WHERE position IN (
        SELECT position FROM mailbox WHERE published_at < ? ORDER BY published_at, position LIMIT ?
    )
"""
INBOX = "SELECT id, command FROM inbox WHERE answer IS NULL ORDER BY id LIMIT ?"
ANSWER = "SELECT answer FROM inbox WHERE id = ?"

Query = tuple[str, tuple[SqlValue, ...]]


def executions(
    status: ExecutionStatus | None, process: str | None, before: ExecutionId | None, limit: int
) -> Query:
    """The page of a list of executions, newest first."""
    conditions = ["TRUE"]
    values: list[SqlValue] = []
    for condition, value in (
        ("status = ?", status),
        ("process = ?", process),
        ("number < (SELECT number FROM executions WHERE id = ?)", before),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    return _LIST.format(" AND ".join(conditions)), (*values, limit)


def timers(after: tuple[datetime, ExecutionId, str] | None, limit: int) -> Query:
    """The page of timers behind a place, in the order of their places."""
    if after is None:
        return _TIMERS.format(""), (limit,)
    due, execution, key = after
    behind = "AND (due, execution_id, key) > (?, ?, ?)"
    return _TIMERS.format(behind), (to_microseconds(due), execution, key, limit)


def snapshot(rows: Sequence[Row]) -> Snapshot | None:
    """The execution that the rows of `LOAD` make; None for no rows."""
    if not rows:
        return None
    (_, _, created), (_, _, head), *steps = cast("Sequence[tuple[int, StepId, str]]", rows)
    return Snapshot(
        records.CREATED.decode(created),
        records.HEAD.decode(head),
        {step: records.STEP.decode(text) for _, step, text in steps},
    )


def snapshots(rows: Sequence[Row]) -> list[Snapshot]:
    """The executions that the rows of `LOAD_MANY` make."""
    found: list[Snapshot] = []
    for _, own in groupby(rows, key=itemgetter(0)):
        loaded = snapshot([row[1:] for row in own])
        if loaded is not None:
            found.append(loaded)
    return found


def summary(row: Row) -> ExecutionSummary:
    """The line of a list that a row makes."""
    id, process, version, status, created, started, completed = cast("tuple[str, ...]", row)
    return ExecutionSummary(
        id=ExecutionId(id),
        process=process,
        version=version,
        status=ExecutionStatus(status),
        created_at=datetime.fromisoformat(created),
        started_at=None if not started else datetime.fromisoformat(started),
        completed_at=None if not completed else datetime.fromisoformat(completed),
    )


def timer(row: Row) -> WorkItem:
    """The timer that a row describes."""
    execution, key, kind, visit, attempt, due = cast("tuple[str, str, str, int, int, int]", row)
    return WorkItem(
        ExecutionId(execution), key, WorkKind(kind), visit, attempt, records.from_microseconds(due)
    )


def approval(row: Row) -> OpenApproval | None:
    """The question that a step of `APPROVALS` asks."""
    execution, process, step, text = cast("tuple[str, str, str, str]", row)
    return records.open_approval(ExecutionId(execution), process, StepId(step), records.STEP.decode(text))


def mail(row: Row) -> PublishedEvent:
    """The event that a row of `MAIL` holds."""
    position, text = cast("tuple[int, str]", row)
    return PublishedEvent(position, records.MAIL.decode(text))


def wait(row: Row) -> OpenWait | None:
    """The event that a step of `WAITS` waits for."""
    execution, step, state = cast("tuple[str, str, str]", row)
    return records.open_wait(ExecutionId(execution), StepId(step), records.STEP.decode(state))


def attempts(row: Row) -> list[WorkItem]:
    """The attempts that a row of `RUNNING` owes: those of a step, or of an undo that is under way."""
    execution, step, state, _ = cast("tuple[str, str, str, int]", row)
    if step:
        owed = work_of(ExecutionId(execution), step, records.STEP.decode(state))
    else:
        owed = execution_work(ExecutionId(execution), records.HEAD.decode(state))
    return [item for item in owed if item.runs_at_once]
