"""What people's decisions, and their silence, make of a step that asks them.

The rules about one request are in `core/approvals.py`; here they are applied. Every refusal says who, what
and why, and has changed nothing.
"""

from __future__ import annotations

from process_engine.core import commands as c
from process_engine.core import events as e
from process_engine.core import moves
from process_engine.core.approvals import GROUP, ApprovalRules, Decision, Request, Ruling, may_decide
from process_engine.core.draft import Draft
from process_engine.core.failures import Failure
from process_engine.core.plan import StepPlan
from process_engine.core.results import NO_USAGE, Completed
from process_engine.core.scope import unpack
from process_engine.core.state import StepStatus
from process_engine.core.values import Value
from process_engine.definition.json_schema import spelled
from process_engine.errors import CommandRejected


def wake(draft: Draft, step: StepPlan) -> None:
    """Whatever time has brought to an open approval: reminders, the escalation, at last its deadline."""
    rules = _rules(step)
    while (request := draft.state.step(step.id).approval) is not None:
        if rules.next_moment(request) > draft.now:
            return
        if draft.now >= request.deadline:
            _expire(draft, step)
            moves.advance(draft)
            return
        _attend_to(draft, step, request)


def decide(draft: Draft, command: c.DecideApproval, step: StepPlan) -> None:
    """Record what somebody says about an open request; the step ends once that is enough."""
    request = _open_request(draft, step, command.by, command.groups)
    draft.new_blobs.update(command.blobs)
    rules = _rules(step)
    if command.sha256 is not None and command.sha256 != request.sha256:
        raise CommandRejected(
            f"what {command.by} decided about is not what {step.id} asks now.",
            remedy="Look at it again with `process-engine approvals`, and decide about what is there.",
        )
    if rules.separation_of_duties and command.by == draft.state.created.started_by:
        raise CommandRejected(
            f"{command.by} started this execution and must not decide about {step.id}.",
            remedy="Somebody else has to: `process-engine delegate` hands it on.",
        )
    rejects = command.ruling is Ruling.REJECTED
    if rejects and rules.comment_on_reject and not (command.comment or "").strip():
        raise CommandRejected(
            f"a rejection of {step.id} needs a comment.", remedy="Say why with `--comment`."
        )
    form = _filled_in(draft, step, command, required=not rejects)
    decision = Decision(command.by, command.ruling, draft.now, command.comment, form)
    draft.record_step(e.ApprovalDecided, step.id, approval_id=request.id, decision=decision)
    _settle(draft, step)
    moves.advance(draft)


def _filled_in(draft: Draft, step: StepPlan, command: c.DecideApproval, *, required: bool) -> Value | None:
    """The form's values, checked; an approval of a step with a form needs them."""
    schema = _rules(step).form
    if schema is None:
        if command.form is not None:
            raise CommandRejected(f"{step.id} has no form.", remedy="Decide without `--form`.")
        return None
    if command.form is None and not required:
        return None
    given: object = unpack(command.form, draft.scope.blobs) if command.form is not None else {}
    faults = schema.faults(given)
    if faults:
        told = "; ".join(
            f"{spelled('form', fault.path)} {fault.message}" for fault in faults[: moves.MOST_FAULTS_TOLD]
        )
        raise CommandRejected(
            f"the form of {step.id} is not filled in: {told}.", remedy="Give it with `--form`."
        )
    return command.form


def delegate(draft: Draft, command: c.DelegateApproval, step: StepPlan) -> None:
    """Hand an open request on: who was named gives the right away, a member of a group shares it."""
    request = _open_request(draft, step, command.by, command.groups)
    if not command.to.strip() or command.to in request.assignees:
        raise CommandRejected(f"{step.id} is in the hands of {command.to or 'nobody'} already.")
    if not request.assignees:
        raise CommandRejected(f"anybody may decide about {step.id}: there is nothing to hand on.")
    draft.record_step(
        e.ApprovalDelegated,
        step.id,
        approval_id=request.id,
        by=command.by,
        instead_of=command.by if command.by in request.assignees else None,
        to=command.to,
        comment=command.comment,
    )


def _open_request(draft: Draft, step: StepPlan, by: str, groups: tuple[str, ...]) -> Request:
    """The request of a step that waits for people, `by` among them; each refusal says why."""
    state = draft.state.step(step.id)
    request = state.approval
    if step.approval is None:
        raise CommandRejected(f"step {step.id} asks nobody: it is of type {step.type}.")
    if state.status is not StepStatus.WAITING_APPROVAL or request is None:
        raise CommandRejected(
            f"{step.id} waits for no decision: it is {state.status}.",
            remedy="`process-engine approvals` lists what is open.",
        )
    if draft.now >= request.deadline:
        raise CommandRejected(
            f"it is too late: {step.id} was to be decided by {request.deadline.isoformat()}."
        )
    if by.startswith(GROUP):
        raise CommandRejected(f"{by} is a group: one of its members has to decide.")
    if not may_decide(request, by, groups):
        raise CommandRejected(
            f"{by} may not decide about {step.id}: it is for {', '.join(request.assignees)}.",
            remedy="One of them can decide, or hand it on with `process-engine delegate`.",
        )
    if any(decision.by == by for decision in request.decisions):
        raise CommandRejected(f"{by} has decided about {step.id} already. The first word counts.")
    return request


def _rules(step: StepPlan) -> ApprovalRules:
    """The rules of a step that asks people."""
    assert step.approval is not None
    return step.approval


def _settle(draft: Draft, step: StepPlan) -> None:
    """Complete the step if enough people have decided."""
    rules, request = _rules(step), draft.state.step(step.id).approval
    assert request is not None
    ruling = rules.outcome(request.decisions)
    if ruling is None:
        return
    last = request.decisions[-1]
    _conclude(draft, step, request, ruling, last)


def _conclude(draft: Draft, step: StepPlan, request: Request, ruling: Ruling, last: Decision | None) -> None:
    """End the step with a ruling: that of people, or, where `last` is None, that of its deadline."""
    form = last.form if last is not None else None
    output = draft.pack(
        {
            "decision": str(ruling),
            "decided_by": last.by if last is not None else None,
            "decided_at": draft.now.isoformat(),
            "comment": last.comment if last is not None else None,
            "form": unpack(form, draft.scope.blobs) if form is not None else None,
            "approval_id": request.id,
        }
    )
    if ruling is Ruling.REJECTED and _rules(step).fails_on_reject:
        who = last.by if last is not None else "nobody: the deadline passed"
        why = f": {last.comment}" if last is not None and last.comment else ""
        failure = Failure("APPROVAL_REJECTED", f"rejected by {who}{why}", step.id)
        moves.fail_for_good(draft, step, failure, NO_USAGE, output)
    else:
        moves.complete(draft, step, output, Completed())


def _attend_to(draft: Draft, step: StepPlan, request: Request) -> None:
    """Remind people of an open approval, or ask others as well, whichever is due."""
    rules = _rules(step)
    passed = (draft.now - request.asked_at).total_seconds()
    if rules.escalate_to and not request.escalated and passed >= rules.escalate_after:
        draft.record_step(e.ApprovalEscalated, step.id, approval_id=request.id, to=rules.escalate_to)
        return
    # Several that fell due while nothing ran are one reminder.
    number = sum(1 for reminder in rules.reminders if reminder <= passed)
    draft.record_step(e.ApprovalReminded, step.id, approval_id=request.id, number=number)


def _expire(draft: Draft, step: StepPlan) -> None:
    """The deadline of an open approval has passed."""
    rules, request = _rules(step), draft.state.step(step.id).approval
    assert request is not None
    draft.record_step(e.ApprovalExpired, step.id, approval_id=request.id, action=rules.on_timeout)
    failure = Failure("APPROVAL_TIMEOUT", "nobody decided before the deadline", step.id)
    match rules.on_timeout:
        case "approve":
            _conclude(draft, step, request, Ruling.APPROVED, None)
        case "reject":
            _conclude(draft, step, request, Ruling.REJECTED, None)
        case "skip":
            moves.skip_error(draft, step, failure, NO_USAGE)
        case _:
            moves.fail_for_good(draft, step, failure, NO_USAGE)
