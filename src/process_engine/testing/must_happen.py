"""What many simulated seeds must have met: a simulation that never crashes proves nothing about crashes."""

from __future__ import annotations

from process_engine.core.events import Event, ItemEvent, StepEvent
from process_engine.testing.faults import FAULTS

_EVENTS = sorted(
    kind.__name__
    for base in (Event, StepEvent, ItemEvent)
    for kind in base.__subclasses__()
    if kind not in (StepEvent, ItemEvent)
)

MUST_HAPPEN = (
    *(f"event {kind}" for kind in _EVENTS),
    *(f"fault: {fault}" for fault in FAULTS),
    *(
        f"asked: {command}"
        for command in (
            "start",
            "start held",
            "PauseExecution",
            "ResumeExecution",
            "CancelExecution",
            "RetryStep",
            "DecideApproval",
            "DelegateApproval",
            "PublishEvent",
        )
    ),
    *(
        f"left: {command}"
        for command in (
            "PauseExecution",
            "ResumeExecution",
            "CancelExecution",
            "RetryStep",
            "DecideApproval",
            "DelegateApproval",
            "PublishEvent",
            "RecordResult",
            "WakeStep",
        )
    ),
    *(
        f"refused: {code}"
        for code in ("COMMAND_REJECTED", "ENGINE_CLOSED", "OWNERSHIP_LOST", "STORAGE_UNAVAILABLE")
    ),
    *(
        f"skipped: {reason}"
        for reason in ("condition_false", "route_not_taken", "dead_path", "dependency_failed", "error")
    ),
    *(f"cancelled: {reason}" for reason in ("cancelled", "loop", "stopped", "interrupted")),
    *(
        f"failed: {code}"
        for code in (
            "AGENT_ERROR",
            "AGENT_UNAVAILABLE",
            "APPROVAL_REJECTED",
            "APPROVAL_TIMEOUT",
            "CHILD_FAILED",
            "EXPRESSION_ERROR",
            "HANDLER_ERROR",
            "INTERRUPTED",
            "INVALID_OUTPUT",
            "NO_ROUTE",
            "OUTPUT_TOO_LARGE",
            "TIMEOUT",
            "VISITS_EXCEEDED",
        )
    ),
    *(f"item retried: {code}" for code in ("AGENT_UNAVAILABLE", "INTERRUPTED", "TIMEOUT")),
    *(
        f"retried: {code}"
        for code in ("AGENT_TIMEOUT", "AGENT_UNAVAILABLE", "CHILD_FAILED", "INTERRUPTED", "TIMEOUT")
    ),
    *(f"undo retried: {code}" for code in ("AGENT_UNAVAILABLE", "INTERRUPTED", "TIMEOUT")),
    *(
        f"undo failed: {code}"
        for code in ("AGENT_ERROR", "AGENT_UNAVAILABLE", "EXPRESSION_ERROR", "INVALID_OUTPUT")
    ),
    *(
        f"store: {name}"
        for name in (
            "answer",
            "approvals",
            "attempts",
            "clear_mail",
            "commit",
            "events",
            "inbox",
            "list",
            "load",
            "find_definition",
            "load_blob",
            "load_definition",
            "load_many",
            "mail",
            "open",
            "open_executions",
            "post",
            "save_definition",
            "timers",
            "waits",
        )
    ),
    *(f"child {outcome}" for outcome in ("completed", "failed", "cancelled", "refused")),
    "agent called",
    "commit of several transitions",
    "cost recorded",
    "duplicate delivered",
    "earlier visit undone",
    "end of a child told again",
    "ended cancelled",
    "ended completed",
    "ended failed",
    "ended in good order",
    "explained",
    "forged result delivered",
    "goto forward",
    "inbox answered",
    "item passed over",
    "large output recorded",
    "late answer delivered",
    "list completed",
    "list undone",
    "loop by gateway",
    "loop by on_error",
    "notification begun",
    "paused by interruption",
    "progress handed on",
    "published again",
    "quiet steps",
    "retry after longer than backoff",
    "same history on both stores",
    "start repeated",
    "watched to its end",
    "woken early",
    "zombie refused",
)
