"""What people decide: who may, when it is late, and what their decisions add up to.

Pure rules about one request. `core/people.py` asks them; nothing here changes anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from process_engine.core.values import Value
from process_engine.definition.document import APPROVAL_SECONDS, Escalation, HumanApproval
from process_engine.definition.json_schema import CompiledSchema

GROUP = "group:"

_canonical = msgspec.json.Encoder(order="deterministic").encode


class Ruling(StrEnum):
    """What one person says, and what all decisions come to."""

    APPROVED = "approved"
    REJECTED = "rejected"


class Decision(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One person's word: `by` is a user, `form` what was filled in, `at` aware UTC."""

    by: str
    ruling: Ruling
    at: datetime
    comment: str | None = None
    form: Value | None = None


class Request(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One open request as it stands.

    `shown` is what people see (title, description, form), `sha256` the hash of its canonical JSON (hex):
    a decision that carries another one was made about something else. `assignees` are users and `group:…`;
    none means anybody. `reminded` counts the reminders sent, `escalated` says that others were added.
    """

    id: str
    sha256: str
    shown: Value
    asked_at: datetime
    deadline: datetime
    assignees: tuple[str, ...] = ()
    reminded: int = 0
    escalated: bool = False
    decisions: tuple[Decision, ...] = ()


class Asked(msgspec.Struct, frozen=True, gc=False, tag=True):
    """What a step asks people, rendered: it waits until they have decided."""

    shown: dict[str, object]
    assignees: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ApprovalRules:
    """How decisions about a step add up; spans in seconds from the moment it was asked.

    `required` approvals complete it, `rejections` reject it. `on_timeout` is `fail`, `approve`, `reject` or
    `skip`; `escalate_to` are further assignees from `escalate_after` on.
    """

    required: int
    rejections: int
    deadline_seconds: float
    on_timeout: str
    escalate_to: tuple[str, ...]
    escalate_after: float
    reminders: tuple[float, ...]
    form: CompiledSchema | None
    comment_on_reject: bool
    separation_of_duties: bool
    fails_on_reject: bool

    def next_moment(self, request: Request) -> datetime:
        """When something happens by itself: a reminder, the escalation, at last the deadline."""
        moments = [request.deadline]
        if request.reminded < len(self.reminders):
            moments.append(request.asked_at + timedelta(seconds=self.reminders[request.reminded]))
        if self.escalate_to and not request.escalated:
            moments.append(request.asked_at + timedelta(seconds=self.escalate_after))
        return min(moments)

    def outcome(self, decisions: Sequence[Decision]) -> Ruling | None:
        """What the decisions come to; None while more are needed."""
        rejections = sum(1 for decision in decisions if decision.ruling is Ruling.REJECTED)
        if rejections >= self.rejections:
            return Ruling.REJECTED
        return Ruling.APPROVED if len(decisions) - rejections >= self.required else None


def compile_rules(step: HumanApproval) -> ApprovalRules:
    """The rules of a step that passed its static checks."""
    action = step.timeout_action
    escalation = action if isinstance(action, Escalation) else None
    return ApprovalRules(
        required=step.required_approvals,
        rejections=step.rejections_needed,
        deadline_seconds=step.timeout.seconds if step.timeout is not None else APPROVAL_SECONDS,
        on_timeout=action if isinstance(action, str) else "fail",
        escalate_to=escalation.escalate_to if escalation is not None else (),
        escalate_after=escalation.after.seconds if escalation is not None else 0.0,
        reminders=tuple(sorted(reminder.seconds for reminder in step.reminders)),
        form=CompiledSchema(step.form) if step.form is not None else None,
        comment_on_reject=step.require_comment_on_reject,
        separation_of_duties=step.separation_of_duties,
        fails_on_reject=step.on_reject == "fail",
    )


def hash_of(shown: object) -> str:
    """SHA-256 (hex) over the canonical JSON of what is shown: keys sorted, no spaces."""
    return hashlib.sha256(_canonical(shown)).hexdigest()


def may_decide(request: Request, by: str, groups: Collection[str]) -> bool:
    """Whether the request is addressed to `by`, or to a group in `groups` (names without `group:`)."""
    if not request.assignees or by in request.assignees:
        return True
    return any(
        assignee.startswith(GROUP) and assignee.removeprefix(GROUP) in groups
        for assignee in request.assignees
    )
