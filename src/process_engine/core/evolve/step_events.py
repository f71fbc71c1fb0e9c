"""What events about a step do to its state."""

from __future__ import annotations

from types import MappingProxyType
from typing import cast

from msgspec.structs import replace

from process_engine.core import events as e
from process_engine.core.children import Recall
from process_engine.core.evolve.evolution import Effect, Effects, Evolution
from process_engine.core.items import Items, closed
from process_engine.core.results import NO_USAGE, Usage
from process_engine.core.state import (
    COMPLETED,
    RUNNING,
    UNTOUCHED,
    StepState,
    StepStatus,
    waits_for_child,
)
from process_engine.core.values import Value


def _step_queued(evolution: Evolution, event: e.StepQueued) -> None:
    state = evolution.steps.get(event.step_id, UNTOUCHED)
    queued = replace(state, status=StepStatus.READY, queued=event.sequence, waiting_for=None, due=None)
    evolution.set_step(event.step_id, queued)


def _step_started(evolution: Evolution, event: e.StepStarted) -> None:
    state = evolution.steps.get(event.step_id, UNTOUCHED)
    started = StepState(
        status=RUNNING,
        visit=event.visit,
        attempt=event.attempt,
        interruptions=state.interruptions,
        forgiven=state.forgiven,
        started_at=event.timestamp,
        agent=event.agent,
        request=event.request,
        output=state.output,
        has_output=state.has_output,
        child=state.child,
        errors=state.errors,
        items=_items(state, event),
        cost=state.cost,
        tokens=state.tokens,
        progress=state.progress,
        undos=state.undos,
    )
    evolution.set_step(event.step_id, started)


def _items(state: StepState, event: e.StepStarted) -> Items | None:
    """The items of a visit that begins; one that is taken up again goes on with those it has."""
    if event.items is None:
        return None
    return state.items or Items(event.items, since=event.sequence)


def _attempt_started(evolution: Evolution, event: e.AttemptStarted) -> None:
    state = evolution.steps.get(event.step_id, UNTOUCHED)
    running = replace(state, status=RUNNING, attempt=event.attempt, waiting_for=None, due=None, queued=0)
    evolution.set_step(event.step_id, running)


def _step_retrying(evolution: Evolution, event: e.StepRetrying) -> None:
    state = evolution.steps.get(event.step_id, UNTOUCHED)
    waiting = replace(
        state,
        status=StepStatus.WAITING,
        waiting_for=e.Waiting.RETRY,
        due=event.due,
        error=event.failure,
        interruptions=state.interruptions + (event.failure.code == "INTERRUPTED"),
        cost=state.cost + event.usage.cost,
        tokens=state.tokens + event.usage.tokens,
        progress=_progress(state, event.progress),
    )
    evolution.set_step(event.step_id, waiting)
    evolution.spend(event.usage)


def _progress(state: StepState, told: object) -> object:
    """What the visit has done so far: an attempt that tells nothing has not undone what others did."""
    return state.progress if told is None else told


def _step_waiting(evolution: Evolution, event: e.StepWaiting) -> None:
    state = evolution.steps.get(event.step_id, UNTOUCHED)
    waiting = replace(
        state, status=StepStatus.WAITING, waiting_for=event.waiting_for, due=event.due, event=event.event
    )
    evolution.set_step(event.step_id, waiting)


def _settled(
    state: StepState,
    event: e.StepEvent,
    status: StepStatus,
    usage: Usage,
    output: Value,
    routes: tuple[str, ...] | None = None,
    errors: Value | None = None,
) -> StepState:
    """What every end of a visit has in common: its result replaces that of the visit before."""
    return StepState(
        status=status,
        visit=state.visit,
        attempt=state.attempt,
        interruptions=state.interruptions,
        forgiven=state.forgiven,
        started_at=state.started_at,
        completed_at=event.timestamp,
        agent=state.agent,
        output=output,
        has_output=True,
        child=state.child,
        routes=routes,
        items=closed(state),
        errors=errors,
        cost=state.cost if usage is NO_USAGE else state.cost + usage.cost,
        tokens=state.tokens if usage is NO_USAGE else state.tokens + usage.tokens,
        undos=state.undos,
    )


def _step_completed(evolution: Evolution, event: e.StepCompleted) -> None:
    state = evolution.steps.get(event.step_id, UNTOUCHED)
    completed = _settled(
        state, event, COMPLETED, event.usage, event.output, event.routes, errors=event.errors
    )
    evolution.set_step(event.step_id, completed)
    evolution.spend(event.usage)


def _step_failed(evolution: Evolution, event: e.StepFailed) -> None:
    state = evolution.steps.get(event.step_id, UNTOUCHED)
    settled = _settled(state, event, StepStatus.FAILED, event.usage, event.output)
    # A retry asks the same again, whatever has settled since.
    again = event.handled_by is None
    failed = replace(
        settled,
        error=event.failure,
        handled_by=event.handled_by,
        request=state.request if again else None,
        progress=_progress(state, event.progress) if again else None,
    )
    evolution.set_step(event.step_id, failed)
    evolution.spend(event.usage)
    if event.handled_by is None and evolution.failure is None:
        evolution.failure = event.failure


def _step_skipped(evolution: Evolution, event: e.StepSkipped) -> None:
    state = evolution.steps.get(event.step_id, UNTOUCHED)
    settled = _settled(state, event, StepStatus.SKIPPED, event.usage, event.output)
    skipped = replace(settled, error=event.failure, reason=event.reason)
    evolution.set_step(event.step_id, skipped)
    evolution.spend(event.usage)


def _step_cancelled(evolution: Evolution, event: e.StepCancelled) -> None:
    state = evolution.steps.get(event.step_id, UNTOUCHED)
    cancelled = replace(
        state,
        status=StepStatus.CANCELLED,
        completed_at=event.timestamp,
        reason=event.reason,
        waiting_for=None,
        due=None,
        event=None,
        approval=None,
        items=closed(state),
        queued=0,
    )
    evolution.set_step(event.step_id, cancelled)
    child = state.child
    if child is not None and waits_for_child(state, child.id):
        recall = Recall(child.id, event.step_id, state.visit, state.attempt, event.timestamp)
        evolution.recalls = (*evolution.recalls, recall)


def _steps_reopened(evolution: Evolution, event: e.StepsReopened) -> None:
    evolution.reopen(event.steps, event.steps)


STEP_EVENTS: Effects = MappingProxyType(
    cast(
        "dict[type[e.Event], Effect]",
        {
            e.StepQueued: _step_queued,
            e.StepStarted: _step_started,
            e.AttemptStarted: _attempt_started,
            e.StepRetrying: _step_retrying,
            e.StepWaiting: _step_waiting,
            e.StepCompleted: _step_completed,
            e.StepFailed: _step_failed,
            e.StepSkipped: _step_skipped,
            e.StepCancelled: _step_cancelled,
            e.StepsReopened: _steps_reopened,
        },
    )
)
"""By the kind of event."""
