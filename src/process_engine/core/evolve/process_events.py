"""What events about an execution as a whole do to its state."""

from __future__ import annotations

from types import MappingProxyType
from typing import cast

from process_engine.core import events as e
from process_engine.core.evolve.evolution import Effect, Effects, Evolution
from process_engine.core.state import ExecutionStatus, Stopping


def _process_started(evolution: Evolution, event: e.ProcessStarted) -> None:
    evolution.become(ExecutionStatus.RUNNING)
    evolution.started_at = event.timestamp
    evolution.deadline = event.deadline


def _process_paused(evolution: Evolution, event: e.ProcessPaused) -> None:
    evolution.become(ExecutionStatus.PAUSED)
    evolution.pause_reason = event.reason


def _process_resumed(evolution: Evolution, event: e.ProcessResumed) -> None:
    evolution.become(ExecutionStatus.RUNNING)
    evolution.pause_reason = None


def _process_reopened(evolution: Evolution, event: e.ProcessReopened) -> None:
    evolution.become(ExecutionStatus.RUNNING)
    evolution.completed_at = None
    evolution.failure = None
    evolution.deadline = event.deadline
    evolution.input = event.input or evolution.input
    evolution.reopen(event.steps, event.again)


def _process_stopping(evolution: Evolution, event: e.ProcessStopping) -> None:
    evolution.stopping = Stopping(event.failure, event.due)


def _process_completed(evolution: Evolution, event: e.ProcessCompleted) -> None:
    evolution.outputs = event.outputs
    evolution.end(ExecutionStatus.COMPLETED, event.timestamp)


def _process_failed(evolution: Evolution, event: e.ProcessFailed) -> None:
    evolution.failure = event.failure
    evolution.end(ExecutionStatus.FAILED, event.timestamp)


def _process_cancelled(evolution: Evolution, event: e.ProcessCancelled) -> None:
    evolution.end(ExecutionStatus.CANCELLED, event.timestamp)


PROCESS_EVENTS: Effects = MappingProxyType(
    cast(
        "dict[type[e.Event], Effect]",
        {
            e.ProcessStarted: _process_started,
            e.ProcessPaused: _process_paused,
            e.ProcessResumed: _process_resumed,
            e.ProcessReopened: _process_reopened,
            e.ProcessStopping: _process_stopping,
            e.ProcessCompleted: _process_completed,
            e.ProcessFailed: _process_failed,
            e.ProcessCancelled: _process_cancelled,
        },
    )
)
"""By the kind of event."""
