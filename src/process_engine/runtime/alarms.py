"""What executions owe at a time, armed in this process: one alarm for each piece of work."""

from __future__ import annotations

from collections.abc import Callable

from process_engine.core.commands import AnyCommand, ReachDeadline, WakeStep
from process_engine.core.state import Execution
from process_engine.core.work import DEADLINE_KEY, GRACE_KEY, WorkItem, WorkKind, execution_work, step_work
from process_engine.ids import ExecutionId, StepId
from process_engine.runtime.timers import Alarm, Timers


class Alarms:
    """Arms and withdraws alarms by execution and key; `wake` gets the work that has fallen due."""

    def __init__(self, timers: Timers, wake: Callable[[WorkItem], None]) -> None:
        self._timers = timers
        self._on_due = wake
        self._alarms: dict[tuple[ExecutionId, str], Alarm] = {}

    def arm(self, item: WorkItem) -> None:
        """Call when the work is due, instead of whatever was armed under its key."""
        assert item.due is not None
        self.disarm(item.execution_id, item.key)
        self._alarms[item.execution_id, item.key] = self._timers.call_at(item.due, lambda: self._ring(item))

    def disarm(self, execution_id: ExecutionId, key: str) -> None:
        """Withdraw what is armed under a key, if anything is."""
        alarm = self._alarms.pop((execution_id, key), None)
        if alarm is not None:
            alarm.cancel()

    def rearm(self, command: AnyCommand, execution: Execution) -> None:
        """A wake-up changed nothing: too late, or too early since a clock was set back. Ask the state."""
        item: WorkItem | None = None
        if isinstance(command, WakeStep):
            item = step_work(execution.id, command.step_id, execution.step(command.step_id))
        elif isinstance(command, ReachDeadline):
            key = GRACE_KEY if command.grace else DEADLINE_KEY
            owed = execution_work(execution.id, execution.head)
            item = next((work for work in owed if work.key == key), None)
        if item is None or item.due is None or item.kind is WorkKind.RECALL:
            return
        if (item.execution_id, item.key) not in self._alarms:
            self.arm(item)

    def _ring(self, item: WorkItem) -> None:
        self._alarms.pop((item.execution_id, item.key), None)
        self._on_due(item)


def wake_command(item: WorkItem) -> AnyCommand:
    """The command that says that a piece of work is due."""
    match item.kind:
        case WorkKind.DEADLINE | WorkKind.GRACE:
            return ReachDeadline(execution_id=item.execution_id, grace=item.kind is WorkKind.GRACE)
        case _:
            return WakeStep(
                execution_id=item.execution_id,
                step_id=StepId(item.key),
                visit=item.visit,
                attempt=item.attempt,
            )
