"""What the expressions of an execution can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec

from process_engine.core.evolve import Evolution
from process_engine.core.state import UNTOUCHED, StepState
from process_engine.core.values import BlobRef, Blobs, Value
from process_engine.definition.expressions import MISSING
from process_engine.ids import StepId


class ValueNotLoaded(BaseException):
    """A large value is needed that was not given.

    Not an `Exception`: no code between the expression and the transition may swallow it.
    """

    def __init__(self, ref: BlobRef) -> None:
        super().__init__(ref.sha256)
        self.ref = ref


def unpack(value: Value, blobs: Blobs) -> object:
    """The JSON value behind `value`.

    Raises:
        ValueNotLoaded: it is a reference and `blobs` does not hold it.
    """
    if value.ref is None:
        return value.data
    text = blobs.get(value.ref.sha256)
    if text is None:
        raise ValueNotLoaded(value.ref)
    return msgspec.json.decode(text)


def _time(moment: datetime | None) -> object:
    return MISSING if moment is None else moment.isoformat()


def _duration(step: StepState) -> object:
    if step.started_at is None or step.completed_at is None:
        return MISSING
    return (step.completed_at - step.started_at).total_seconds()


def _error(step: StepState) -> object:
    return {"code": step.error.code, "message": step.error.message} if step.error is not None else None


_STEP_FIELDS: Mapping[str, Callable[[StepState], object]] = {
    "status": lambda step: str(step.status),
    "error": _error,
    "agent": lambda step: step.agent,
    "execution_id": lambda step: step.child.id if step.child is not None else None,
    "attempts": lambda step: step.attempt,
    "cost": lambda step: float(step.cost),
    "tokens": lambda step: step.tokens,
    "started_at": lambda step: _time(step.started_at),
    "completed_at": lambda step: _time(step.completed_at),
    "duration": _duration,
}


def _errors(step: StepState | None, blobs: Blobs) -> object:
    """What went wrong with items that were passed over; null where the step did not run for items."""
    if step is None or not step.has_output:
        return MISSING
    return unpack(step.errors, blobs) if step.errors is not None else None


class ExecutionScope:
    """Reads from an execution as it stands; looks nothing up that an expression does not ask for."""

    __slots__ = ("_evolution", "blobs")

    def __init__(self, evolution: Evolution, blobs: Blobs) -> None:
        self._evolution = evolution
        self.blobs = blobs

    def root(self, name: str) -> object:
        """The value of a root other than `steps`; MISSING where it has none."""
        created = self._evolution.created
        match name:
            case "input":
                return unpack(self._evolution.input or created.input, self.blobs)
            case "execution":
                started = self._evolution.started_at
                return {
                    "id": created.execution_id,
                    "started_at": started.isoformat() if started is not None else None,
                    "started_by": created.started_by,
                }
            case "process":
                return {"name": created.process_name, "version": created.version}
            case "trigger":
                return {"type": "manual", "id": None, "payload": None}
            case _:
                return MISSING

    def step(self, step_id: str, field: str) -> object:
        """A field of a step; `output` is that of its latest settled visit."""
        state = self._evolution.steps.get(StepId(step_id))
        if field == "output":
            if state is None or not state.has_output:
                return MISSING
            return unpack(state.output, self.blobs)
        if field == "errors":
            return _errors(state, self.blobs)
        read = _STEP_FIELDS.get(field)
        return MISSING if read is None else read(state or UNTOUCHED)
