"""Where the steps of an execution stand, kept up to date from its events."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from process_engine.cli.story import decision_text, failure_text, items_text, names_text, spelled
from process_engine.core import events as e
from process_engine.core.state import ExecutionStatus, StepStatus
from process_engine.core.undo import UndoStatus
from process_engine.definition.document import ProcessDefinition
from process_engine.ids import ExecutionId
from process_engine.runtime.view import ProcessExecution, StepExecution

_NEVER_STARTED = frozenset({StepStatus.PENDING, StepStatus.READY})


@dataclass(slots=True)
class Row:
    """One step. `note` says what people want to know beside the status; `due` is the moment it waits for."""

    id: str
    type: str
    status: StepStatus = StepStatus.PENDING
    visit: int = 1
    attempt: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    due: datetime | None = None
    note: str = ""
    agent: str = ""
    total: int | None = None
    done: int = 0
    failed: int = 0

    def count(self) -> None:
        """Note how many items of the list have ended."""
        self.note = items_text(self.done, self.total or 0, self.failed)


class Board:
    """All steps of one execution, in definition order, and the execution itself."""

    def __init__(self, execution_id: ExecutionId, process: str, version: str, rows: Iterable[Row]) -> None:
        self.execution_id = execution_id
        self.process = process
        self.version = version
        self.status = ExecutionStatus.PENDING
        self.started_at: datetime | None = None
        self.ended_at: datetime | None = None
        self.rows = {row.id: row for row in rows}

    @classmethod
    def of_definition(cls, execution_id: ExecutionId, definition: ProcessDefinition) -> Board:
        """The board of an execution that has not begun."""
        rows = [Row(step.id, step.type) for step in definition.steps]
        return cls(execution_id, definition.name, definition.version, rows)

    @classmethod
    def of_execution(cls, execution: ProcessExecution) -> Board:
        """The board of an execution as it stands."""
        rows = [
            Row(
                step.id,
                step.type,
                step.status,
                max(step.visits, 1),
                step.attempts,
                step.started_at,
                step.completed_at,
                step.due,
                _remark(step),
            )
            for step in execution.step_executions.values()
        ]
        board = cls(execution.id, execution.process_name, execution.version, rows)
        board.status = execution.status
        board.started_at, board.ended_at = execution.started_at, execution.completed_at
        return board

    def note(self, event: e.Event) -> None:
        """Take in what happened; events of other executions are for their own boards."""
        if isinstance(event, e.ItemEvent):
            self._note_item(event, self.rows[event.step_id])
        elif isinstance(event, e.StepEvent):
            self._note_step(event, self.rows[event.step_id])
        else:
            self._note_execution(event)

    def _note_execution(self, event: e.Event) -> None:
        match event:
            case e.ProcessStarted():
                self.status, self.started_at = ExecutionStatus.RUNNING, event.timestamp
            case e.ProcessPaused():
                self.status = ExecutionStatus.PAUSED
            case e.ProcessResumed():
                self.status = ExecutionStatus.RUNNING
            case e.ProcessCompleted():
                self._end(ExecutionStatus.COMPLETED, event)
            case e.ProcessFailed():
                self._end(ExecutionStatus.FAILED, event)
            case e.ProcessCancelled():
                self._end(ExecutionStatus.CANCELLED, event)
            case e.ProcessCancelling():
                self.status = ExecutionStatus.COMPENSATING
            case e.ProcessReopened():
                self.status, self.ended_at = ExecutionStatus.RUNNING, None
                self._reopen(event.steps, event.again)
            case e.StepsReopened():
                self._reopen(event.steps, event.steps)
            case _:
                pass

    def _end(self, status: ExecutionStatus, event: e.Event) -> None:
        self.status, self.ended_at = status, event.timestamp
        for row in self.rows.values():
            if row.status in _NEVER_STARTED:
                row.status = StepStatus.CANCELLED

    def _reopen(self, steps: Iterable[str], again: Collection[str]) -> None:
        """Steps are as if never started; those in `again` begin a new visit."""
        for step_id in steps:
            row = self.rows[step_id]
            same = step_id not in again
            self.rows[step_id] = Row(
                row.id, row.type, visit=row.visit + (not same), done=row.done if same else 0
            )

    def _note_step(self, event: e.StepEvent, row: Row) -> None:
        if self._note_undo(event, row):
            return
        if not isinstance(event, e.ChildEnded):
            row.visit, row.attempt = event.visit, event.attempt or row.attempt
        due, row.due = row.due, None
        match event:
            case e.StepQueued():
                row.status = StepStatus.READY
            case e.StepStarted():
                row.status, row.started_at = StepStatus.RUNNING, event.timestamp
                row.agent = row.note = event.agent or ""
                if event.items is not None:
                    row.total = event.items
                    row.count()
            case e.AttemptStarted():
                row.status, row.note = StepStatus.RUNNING, row.agent
            case e.StepRetrying():
                row.status, row.due = StepStatus.WAITING, event.due
                row.note = f"{event.failure.code}: {event.failure.message}"
            case e.StepWaiting():
                row.status, row.due = StepStatus.WAITING, event.due
                if event.event is not None:
                    row.note = f"for event {event.event}"
            case e.EventReceived():
                row.note = f"event {event.event}"
            case e.StepWaitingApproval():
                row.status, row.due = StepStatus.WAITING_APPROVAL, event.due
            case _:
                if not self._note_approval(event, row, due) and not self._note_child(event, row, due):
                    self._note_end(event, row)

    def _note_undo(self, event: e.StepEvent, row: Row) -> bool:
        """Take in that the step is undone: its visit stays what it was. False: it is about something else."""
        match event:
            case e.CompensationPrepared():
                return True
            case e.CompensationStarted() | e.CompensationAttemptStarted():
                self.status = ExecutionStatus.COMPENSATING
                row.due, row.note = None, "being undone"
            case e.CompensationRetrying():
                row.due, row.note = event.due, f"undoing it failed: {failure_text(event.failure)}"
            case e.CompensationCompleted():
                row.due, row.note = None, "undone"
            case e.CompensationFailed():
                row.due, row.note = None, f"not undone: {failure_text(event.failure)}"
            case _:
                return False
        return True

    def _note_item(self, event: e.ItemEvent, row: Row) -> None:
        """Count the items that end, and tell of them."""
        row.done += isinstance(event, e.ItemCompleted)
        row.failed += isinstance(event, e.ItemFailed)
        if isinstance(event, (e.ItemCompleted, e.ItemFailed)):
            row.count()

    def _note_approval(self, event: e.StepEvent, row: Row, due: datetime | None) -> bool:
        """Take in what happens while people think: the step waits on until `due`. False: something else."""
        match event:
            case e.ApprovalRequested():
                row.note = f"for {names_text(event.request.assignees)}"
            case e.ApprovalDecided():
                row.note = decision_text(event.decision)
            case e.ApprovalDelegated():
                row.note = f"handed on to {event.to}"
            case e.ApprovalEscalated():
                row.note = f"for {names_text(event.to)} as well"
            case e.ApprovalReminded() | e.ApprovalExpired():
                pass
            case _:
                return False
        row.due = due
        return True

    def _note_child(self, event: e.StepEvent, row: Row, due: datetime | None) -> bool:
        """Take in what happens to a sub-process; False: something else."""
        match event:
            case e.ChildStarted():
                row.note = f"runs {event.process} as {event.child_id}"
            case e.ChildRecalled():
                row.note = f"cancels {event.child_id}"
            case e.ChildEnded():
                # It may tell of a visit before, or come after the step's own end.
                row.due = due if row.status is StepStatus.WAITING else None
                return True
            case _:
                return False
        row.due = due
        return True

    def _note_end(self, event: e.StepEvent, row: Row) -> None:
        row.ended_at = event.timestamp
        match event:
            case e.StepCompleted():
                row.status = StepStatus.COMPLETED
                row.note = f"→ {', '.join(event.routes)}" if event.routes else ""
                if row.total is not None:
                    row.count()
            case e.StepFailed():
                row.status, row.note = StepStatus.FAILED, f"{event.failure.code}: {event.failure.message}"
            case e.StepSkipped():
                row.status, row.note = StepStatus.SKIPPED, spelled(event.reason)
            case e.StepCancelled():
                row.status, row.note = StepStatus.CANCELLED, spelled(event.reason)
            case _:
                pass


def _remark(step: StepExecution) -> str:
    if step.approval is not None:
        return f"for {names_text(step.approval.assignees)}"
    if step.execution_id is not None and step.status is StepStatus.WAITING:
        return f"runs {step.execution_id}"
    if told := _undo_remark(step):
        return told
    if step.items is not None and step.status in (StepStatus.RUNNING, StepStatus.COMPLETED):
        return items_text(step.items.done, step.items.total, step.items.failed)
    if step.error is not None:
        return f"{step.error.code}: {step.error.message}"
    return spelled(step.reason or "")


def _undo_remark(step: StepExecution) -> str:
    """What became of undoing the step, its visits taken together; empty where nothing was undone yet."""
    failed = next((undo.error for undo in step.undos if undo.status is UndoStatus.FAILED), None)
    if failed is not None:
        return f"not undone: {failure_text(failed)}"
    return "undone" if any(undo.status is UndoStatus.DONE for undo in step.undos) else ""
