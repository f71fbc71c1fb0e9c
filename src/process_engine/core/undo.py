"""What an execution keeps in order to undo what it did: one small record for each completed visit.

The rules are in `core/compensation.py`; these are the values that it, the events and the state share.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import msgspec

from process_engine.core.backoff import Retry
from process_engine.core.failures import Failure
from process_engine.core.values import Value
from process_engine.definition.expressions import Template
from process_engine.definition.json_schema import CompiledSchema
from process_engine.ids import StepId


class UndoStatus(StrEnum):
    """What became of the compensation of one visit: it may come to it, it went well, it failed for good."""

    OWED = "owed"
    DONE = "done"
    FAILED = "failed"


class Undo(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """How to undo one completed visit of a step.

    `request` was rendered when the visit completed, so it holds the values of that visit whatever came
    later; where it could not be rendered, `error` says why. `sequence` is the number of the event that
    recorded it: the higher, the sooner it is undone. Once it is settled, `request` is dropped, and `error`
    is what it failed with.
    """

    visit: int
    sequence: int
    status: UndoStatus = UndoStatus.OWED
    agent: str | None = None
    request: Value | None = None
    error: Failure | None = None


class Undoing(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The compensation that is under way: its attempt runs, or the next one waits until `due`."""

    step_id: StepId
    visit: int
    attempt: int = 1
    interruptions: int = 0
    due: datetime | None = None
    error: Failure | None = None


@dataclass(frozen=True, slots=True)
class UndoPlan:
    """The `compensation` of a step, ready to run: `type` names the handler, `request` renders what it gets.

    It has no `condition`, no `on_error` and no edges: it runs when its turn comes, and others go on after it.
    """

    type: str
    request: tuple[tuple[str, Template], ...]
    output_schema: CompiledSchema | None
    retry: Retry
    timeout_seconds: float | None
    default_timeout_applies: bool
