"""What `--json` prints. Programs rely on these shapes: keys are added, never renamed or dropped."""

from __future__ import annotations

from process_engine.core.events import Event
from process_engine.core.failures import Failure
from process_engine.core.values import Value
from process_engine.runtime.ports import ExecutionSummary
from process_engine.runtime.view import ProcessExecution, StepExecution

Document = dict[str, object]

# The fields that every event is listed with, in this order; its own fields follow.
_COMMON = ("sequence", "type", "timestamp", "step_id", "visit", "attempt")


def execution_document(execution: ProcessExecution) -> Document:
    """An execution as `run`, `show` and `resume` print it; steps in definition order."""
    return {
        "id": execution.id,
        "process": execution.process_name,
        "version": execution.version,
        "status": execution.status,
        "input": execution.input,
        "outputs": execution.outputs,
        "error": _failure(execution.error),
        "steps": [_step(step) for step in execution.step_executions.values()],
    }


def summary_document(summary: ExecutionSummary) -> Document:
    """One line of `list`."""
    return {
        "id": summary.id,
        "process": summary.process,
        "version": summary.version,
        "status": summary.status,
        "started_at": summary.started_at,
    }


def event_document(event: Event) -> Document:
    """An event with every field it has; null where a common field does not apply to it.

    A value that was too large to be kept in the event stands as null, with `NAME_ref` beside it.
    """
    fields: Document = {"type": event.type}
    for name in event.__struct_fields__:
        value: object = getattr(event, name)
        fields[name] = value.data if isinstance(value, Value) else value
        if isinstance(value, Value) and value.ref is not None:
            fields[f"{name}_ref"] = value.ref
    return {name: fields.pop(name, None) for name in _COMMON} | fields


def _step(step: StepExecution) -> Document:
    return {
        "id": step.id,
        "type": step.type,
        "status": step.status,
        "visits": step.visits,
        "attempts": step.attempts,
        "output": step.output,
        "error": _failure(step.error),
        "reason": step.reason,
        "started_at": step.started_at,
        "completed_at": step.completed_at,
    }


def _failure(failure: Failure | None) -> Document | None:
    return None if failure is None else {"code": failure.code, "message": failure.message}
