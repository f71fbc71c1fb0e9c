"""What events about compensation do: they keep what is owed, and follow the undo that is under way."""

from __future__ import annotations

from types import MappingProxyType
from typing import cast

from msgspec.structs import replace

from process_engine.core import events as e
from process_engine.core.evolve.evolution import Effect, Effects, Evolution
from process_engine.core.failures import Failure
from process_engine.core.results import Usage
from process_engine.core.state import ExecutionStatus, StepState, Stopping
from process_engine.core.undo import Undo, Undoing, UndoStatus
from process_engine.errors import InternalError
from process_engine.ids import StepId


def _process_cancelling(evolution: Evolution, event: e.ProcessCancelling) -> None:
    _compensate(evolution)
    evolution.stopping = Stopping(None, event.due, event.reason, event.by)


def _prepared(evolution: Evolution, event: e.CompensationPrepared) -> None:
    state = evolution.step(event.step_id)
    undo = Undo(event.visit, event.sequence, agent=event.agent, request=event.request, error=event.failure)
    _keep(evolution, event.step_id, replace(state, undos=(*state.undos, undo)))


def _started(evolution: Evolution, event: e.CompensationStarted) -> None:
    if evolution.status is not ExecutionStatus.COMPENSATING:
        _compensate(evolution)
    _follow(evolution, event, Undoing(event.step_id, event.visit))


def _attempt_started(evolution: Evolution, event: e.CompensationAttemptStarted) -> None:
    _follow(evolution, event, replace(_undoing(evolution, event), attempt=event.attempt, due=None))


def _retrying(evolution: Evolution, event: e.CompensationRetrying) -> None:
    undoing = _undoing(evolution, event)
    interruptions = undoing.interruptions + (event.failure.code == "INTERRUPTED")
    waiting = replace(undoing, due=event.due, error=event.failure, interruptions=interruptions)
    _spend(evolution, event.step_id, event.usage)
    _follow(evolution, event, waiting)


def _completed(evolution: Evolution, event: e.CompensationCompleted) -> None:
    _settle(evolution, event, UndoStatus.DONE, None)
    _spend(evolution, event.step_id, event.usage)


def _failed(evolution: Evolution, event: e.CompensationFailed) -> None:
    _settle(evolution, event, UndoStatus.FAILED, event.failure)
    _spend(evolution, event.step_id, event.usage)


def _compensate(evolution: Evolution) -> None:
    evolution.become(ExecutionStatus.COMPENSATING)
    evolution.pause_reason = None


def _undoing(evolution: Evolution, event: e.StepEvent) -> Undoing:
    undoing = evolution.stopping.undoing if evolution.stopping is not None else None
    if undoing is None or (undoing.step_id, undoing.visit) != (event.step_id, event.visit):
        raise InternalError(f"event {event.id}: this visit of {event.step_id} is not being undone.")
    return undoing


def _follow(evolution: Evolution, event: e.StepEvent, undoing: Undoing | None) -> None:
    if evolution.stopping is None:
        raise InternalError(f"event {event.id}: nothing is undone while the execution goes on.")
    evolution.stopping = replace(evolution.stopping, undoing=undoing)


def _settle(evolution: Evolution, event: e.StepEvent, status: UndoStatus, error: Failure | None) -> None:
    _undoing(evolution, event)
    state = evolution.step(event.step_id)
    undos = tuple(
        replace(undo, status=status, error=error, request=None) if undo.visit == event.visit else undo
        for undo in state.undos
    )
    _keep(evolution, event.step_id, replace(state, undos=undos))
    _follow(evolution, event, None)


def _spend(evolution: Evolution, step_id: StepId, usage: Usage) -> None:
    state = evolution.step(step_id)
    _keep(
        evolution, step_id, replace(state, cost=state.cost + usage.cost, tokens=state.tokens + usage.tokens)
    )
    evolution.spend(usage)


def _keep(evolution: Evolution, step_id: StepId, state: StepState) -> None:
    """A record of the step that leaves its status, its edges and its place in line as they are."""
    evolution.steps[step_id] = state
    evolution.changed[step_id] = None


COMPENSATION_EVENTS: Effects = MappingProxyType(
    cast(
        "dict[type[e.Event], Effect]",
        {
            e.ProcessCancelling: _process_cancelling,
            e.CompensationPrepared: _prepared,
            e.CompensationStarted: _started,
            e.CompensationAttemptStarted: _attempt_started,
            e.CompensationRetrying: _retrying,
            e.CompensationCompleted: _completed,
            e.CompensationFailed: _failed,
        },
    )
)
"""By the kind of event."""
