"""What must hold of approvals: they bind, and end once."""

from __future__ import annotations

import msgspec

from process_engine.core import events as e
from process_engine.core.approvals import ApprovalRules, Request, Ruling
from process_engine.core.invariants.audit import Audit
from process_engine.core.state import (
    SkipReason,
)
from process_engine.ids import StepId


def approvals_bind(audit: Audit) -> None:
    """I3, for people: a step that asks them completes only as they, or their deadline, decided; I8: an
    approval ends once, and nobody decides after its deadline, twice, or about another request."""
    open_requests: dict[StepId, Request] = {}
    expired: dict[StepId, str] = {}
    for event in audit.events:
        rules = audit.plan.steps[event.step_id].approval if isinstance(event, e.StepEvent) else None
        if rules is None:
            continue
        match event:
            case e.ApprovalRequested(step_id=step_id, request=request):
                open_requests[step_id] = request
                expired.pop(step_id, None)
            case e.ApprovalDecided(step_id=step_id):
                request = open_requests.get(step_id)
                audit.demand("I8", request is not None, f"{step_id}: a decision about nothing")
                assert request is not None
                audit.demand("I8", step_id not in expired, f"{step_id}: decided after it expired")
                audit.demand(
                    "I8", event.approval_id == request.id, f"{step_id}: decided about another request"
                )
                late = event.timestamp >= request.deadline
                audit.demand("I8", not late, f"{step_id}: decided at {event.timestamp}, after its deadline")
                twice = any(event.decision.by == before.by for before in request.decisions)
                audit.demand("I8", not twice, f"{step_id}: {event.decision.by} decided twice")
                decisions = (*request.decisions, event.decision)
                open_requests[step_id] = msgspec.structs.replace(request, decisions=decisions)
            case e.ApprovalExpired(step_id=step_id, action=action):
                request = open_requests.get(step_id)
                audit.demand("I8", request is not None, f"{step_id}: nothing there to expire")
                audit.demand("I8", step_id not in expired, f"{step_id}: expired twice")
                early = request is not None and event.timestamp < request.deadline
                audit.demand("I8", not early, f"{step_id}: expired before its deadline")
                expired[step_id] = action
            case e.StepCompleted(step_id=step_id):
                _check_completed(audit, rules, open_requests.pop(step_id, None), event, expired.get(step_id))
            case e.StepSkipped(step_id=step_id) if event.reason == SkipReason.ERROR:
                skips = audit.plan.steps[step_id].on_error.action == "skip_step"
                allowed = skips or expired.get(step_id) == "skip"
                audit.demand("I3", allowed, f"{step_id} was passed over, and nothing allows it")
                open_requests.pop(step_id, None)
            case (
                e.StepFailed(step_id=step_id)
                | e.StepSkipped(step_id=step_id)
                | e.StepCancelled(step_id=step_id)
            ):
                open_requests.pop(step_id, None)
            case _:
                pass


def _check_completed(
    audit: Audit, rules: ApprovalRules, request: Request | None, event: e.StepCompleted, expired: str | None
) -> None:
    audit.demand("I3", request is not None, f"{event.step_id} completed and asked nobody")
    assert request is not None
    if expired is not None:
        passes = expired == "approve" or (expired == "reject" and not rules.fails_on_reject)
        audit.demand("I3", passes, f"{event.step_id} completed by expiring")
        return
    rejections = sum(1 for decision in request.decisions if decision.ruling is Ruling.REJECTED)
    approvals = len(request.decisions) - rejections
    enough = approvals >= rules.required or (rejections >= rules.rejections and not rules.fails_on_reject)
    audit.demand(
        "I3", enough, f"{event.step_id} completed with {approvals} approvals, {rejections} rejections"
    )
