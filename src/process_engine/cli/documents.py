"""What `--json` prints. Programs rely on these shapes: keys are added, never renamed or dropped."""

from __future__ import annotations

from process_engine.core.approvals import ApprovalRules, Decision, Request
from process_engine.core.events import Event
from process_engine.core.failures import Failure
from process_engine.core.items import Items
from process_engine.core.undo import Undo
from process_engine.core.values import Value
from process_engine.runtime.ports import ExecutionSummary, OpenApproval
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
        "pause_reason": execution.pause_reason,
        "input": execution.input,
        "outputs": execution.outputs,
        "error": _failure(execution.error),
        "parent": _parent(execution),
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
        "execution_id": step.execution_id,
        "approval": _request(step.approval) if step.approval is not None else None,
        "items": _items(step.items) if step.items is not None else None,
        "errors": step.errors,
        "undos": [_undo(undo) for undo in step.undos],
    }


def _items(items: Items) -> Document:
    return {
        "total": items.total,
        "done": items.done,
        "failed": items.failed,
        "running": items.running,
        "open": len(items.open),
    }


def _parent(execution: ProcessExecution) -> Document | None:
    parent = execution.parent
    return None if parent is None else {"id": parent.execution_id, "step": parent.step_id}


def approval_document(approval: OpenApproval, shown: Document, rules: ApprovalRules) -> Document:
    """One line of `approvals`; `shown` is the whole of what people are asked."""
    return {
        "id": approval.execution_id,
        "process": approval.process,
        "step": approval.step_id,
        "visit": approval.visit,
        "title": shown.get("title"),
        "description": shown.get("description"),
        "form": shown.get("form"),
        "required_approvals": rules.required,
        "rejections_needed": rules.rejections,
    } | _request(approval.request)


def _request(request: Request) -> Document:
    return {
        "approval_id": request.id,
        "sha256": request.sha256,
        "assignees": request.assignees,
        "asked_at": request.asked_at,
        "deadline": request.deadline,
        "reminded": request.reminded,
        "escalated": request.escalated,
        "decisions": [_decision(decision) for decision in request.decisions],
    }


def _undo(undo: Undo) -> Document:
    return {
        "visit": undo.visit,
        "status": undo.status,
        "agent": undo.agent,
        "error": _failure(undo.error),
    }


def _decision(decision: Decision) -> Document:
    return {
        "by": decision.by,
        "decision": decision.ruling,
        "at": decision.at,
        "comment": decision.comment,
        "form": decision.form.data if decision.form is not None else None,
    }


def _failure(failure: Failure | None) -> Document | None:
    return None if failure is None else {"code": failure.code, "message": failure.message}
