"""What events about approvals do to the state of the step that asks."""

from __future__ import annotations

from types import MappingProxyType
from typing import cast

from msgspec.structs import replace

from process_engine.core import events as e
from process_engine.core.approvals import Request
from process_engine.core.evolve.evolution import Effect, Effects, Evolution
from process_engine.core.state import StepStatus
from process_engine.errors import InternalError
from process_engine.ids import StepId


def _step_waiting_approval(evolution: Evolution, event: e.StepWaitingApproval) -> None:
    state = evolution.step(event.step_id)
    evolution.set_step(event.step_id, replace(state, status=StepStatus.WAITING_APPROVAL, due=event.due))


def _approval_requested(evolution: Evolution, event: e.ApprovalRequested) -> None:
    _ask(evolution, event.step_id, event.request)


def _approval_decided(evolution: Evolution, event: e.ApprovalDecided) -> None:
    request = _request(evolution, event)
    _ask(evolution, event.step_id, replace(request, decisions=(*request.decisions, event.decision)))


def _approval_delegated(evolution: Evolution, event: e.ApprovalDelegated) -> None:
    request = _request(evolution, event)
    kept = [name for name in request.assignees if name != event.instead_of]
    _ask(evolution, event.step_id, replace(request, assignees=(*kept, event.to)))


def _approval_reminded(evolution: Evolution, event: e.ApprovalReminded) -> None:
    _ask(evolution, event.step_id, replace(_request(evolution, event), reminded=event.number))


def _approval_escalated(evolution: Evolution, event: e.ApprovalEscalated) -> None:
    request = _request(evolution, event)
    # Nobody named means that anybody may decide already.
    named = tuple(dict.fromkeys((*request.assignees, *event.to))) if request.assignees else ()
    _ask(evolution, event.step_id, replace(request, assignees=named, escalated=True))


def _approval_expired(evolution: Evolution, event: e.ApprovalExpired) -> None:
    _request(evolution, event)


def _request(evolution: Evolution, event: e.StepEvent) -> Request:
    request = evolution.step(event.step_id).approval
    if request is None:
        raise InternalError(f"event {event.id}: {event.step_id} asks for no approval.")
    return request


def _ask(evolution: Evolution, step_id: StepId, request: Request) -> None:
    """Keep the request as it stands now, and when something happens to it by itself."""
    rules = evolution.plan.steps[step_id].approval
    if rules is None:
        raise InternalError(f"step {step_id} is no approval.")
    state = replace(evolution.step(step_id), approval=request, due=rules.next_moment(request))
    evolution.steps[step_id] = state
    evolution.changed[step_id] = None


APPROVAL_EVENTS: Effects = MappingProxyType(
    cast(
        "dict[type[e.Event], Effect]",
        {
            e.StepWaitingApproval: _step_waiting_approval,
            e.ApprovalRequested: _approval_requested,
            e.ApprovalDecided: _approval_decided,
            e.ApprovalDelegated: _approval_delegated,
            e.ApprovalReminded: _approval_reminded,
            e.ApprovalEscalated: _approval_escalated,
            e.ApprovalExpired: _approval_expired,
        },
    )
)
"""By the kind of event."""
