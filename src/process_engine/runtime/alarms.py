"""What executions owe at a time, armed in this process: one alarm for each piece of work."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from process_engine.core.commands import AnyCommand, ReachDeadline, WakeStep
from process_engine.core.state import Execution
from process_engine.core.work import (
    DEADLINE_KEY,
    GRACE_KEY,
    WorkItem,
    WorkKind,
    execution_work,
    item_key,
    item_work,
    step_work,
    undo_key,
)
from process_engine.ids import ExecutionId
from process_engine.runtime.ports import Clock
from process_engine.runtime.timers import Alarm, Timers


class Alarms:
    """Arms and withdraws alarms by execution and key; `wake` gets the work that has fallen due."""

    def __init__(self, timers: Timers, clock: Clock, wake: Callable[[WorkItem], None]) -> None:
        self._timers = timers
        self._clock = clock
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
        item = _work_behind(command, execution, self._clock.now())
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
                step_id=item.step_id,
                visit=item.visit,
                attempt=item.attempt,
                item=item.item,
                undo=item.undoes,
            )


def _work_behind(command: AnyCommand, execution: Execution, now: datetime) -> WorkItem | None:
    """The open work of the kind that a wake-up was about, as the execution owes it now.

    An item that is due is none: it begins once there is room, and nothing has to wake it.
    """
    if isinstance(command, WakeStep) and command.item is not None:
        return _wait_of_item(execution, command, command.item, now)
    if isinstance(command, WakeStep) and not command.undo:
        return step_work(execution.id, command.step_id, execution.step(command.step_id))
    if not isinstance(command, (WakeStep, ReachDeadline)):
        return None
    key = _key_of(command)
    return next((item for item in execution_work(execution.id, execution.head) if item.key == key), None)


def _wait_of_item(execution: Execution, command: WakeStep, index: int, now: datetime) -> WorkItem | None:
    key = item_key(command.step_id, index)
    owed = item_work(execution.id, command.step_id, execution.step(command.step_id))
    found = next((item for item in owed if item.key == key), None)
    return found if found is not None and found.due is not None and found.due > now else None


def _key_of(command: WakeStep | ReachDeadline) -> str:
    if isinstance(command, WakeStep):
        return undo_key(command.step_id)
    return GRACE_KEY if command.grace else DEADLINE_KEY
