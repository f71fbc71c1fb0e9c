"""An execution that another process drives, watched in the store until it has ended or waits."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from process_engine.cli.displays import Display
from process_engine.cli.holder import holder_of
from process_engine.cli.store import all_events, load
from process_engine.clock import SystemClock
from process_engine.core.blockers import BlockerKind
from process_engine.core.state import ExecutionStatus, StepStatus
from process_engine.ids import ExecutionId
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.view import APPROVAL, ProcessExecution

# Fast enough to look alive, cheap enough for the process that does the work.
LOOK_SECONDS = 0.1
_BY_ITSELF = (StepStatus.WAITING, StepStatus.READY)


class Follower:
    """Shows what is recorded about an execution after the event `after`."""

    def __init__(
        self, reader: SqliteRepository, db: Path, execution_id: ExecutionId, display: Display, after: int
    ) -> None:
        self._reader = reader
        self._db = db
        self._execution_id = execution_id
        self._display = display
        self._after = after

    async def until_settled(self) -> ProcessExecution | None:
        """The execution once it has ended or waits for somebody; None once its driver has left."""
        clock, driver = SystemClock(), holder_of(self._db)
        while True:
            # Asked first: what the driver recorded before it left is seen after it has left.
            driven = driver is not None and holder_of(self._db) == driver
            found = await self.look()
            if has_settled(found):
                return found
            if not driven:
                return None
            await clock.sleep_until(clock.now() + timedelta(seconds=LOOK_SECONDS))

    async def look(self) -> ProcessExecution:
        """The execution as it stands, once everything up to then is shown."""
        found = await load(self._reader, self._execution_id)
        async for event in all_events(self._reader, self._execution_id, after=self._after):
            self._display.note(event)
            self._after = event.sequence
        return found


def has_settled(execution: ProcessExecution) -> bool:
    """It has ended, or it is held, or paused or waiting for people or events with nothing under way."""
    if execution.status.is_final or execution.status is ExecutionStatus.PENDING:
        return True
    patient = [b.step_id for b in execution.blockers if b.kind is BlockerKind.EVENT and b.due is None]
    stands = {step.status for step in execution.step_executions.values() if step.id not in patient}
    # Beside a decision something else may go on by itself.
    moving = {StepStatus.RUNNING, *(_BY_ITSELF if execution.pause_reason == APPROVAL else ())}
    if execution.status is ExecutionStatus.RUNNING and patient:
        return not stands & {StepStatus.RUNNING, *_BY_ITSELF}
    return execution.status is ExecutionStatus.PAUSED and not stands & moving
