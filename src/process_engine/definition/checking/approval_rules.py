"""Rules about approvals: who can decide, in what time, and what their decision means for the rest."""

from __future__ import annotations

from collections.abc import Iterator

from process_engine.definition.checking.context import Context, Site
from process_engine.definition.document import (
    APPROVAL_SECONDS,
    Escalation,
    HumanApproval,
    Step,
    SubProcess,
    Transform,
    WaitForEvent,
)
from process_engine.definition.parts import Path as Place
from process_engine.definition.problems import Problem
from process_engine.definition.syntax import Compare, Filter, ListNode, Literal, Node, Path, walk


def reminders(context: Context) -> Iterator[Problem]:
    """P606: people are reminded of what they can no longer decide."""
    for step, path in _approvals(context):
        for number, reminder in enumerate(step.reminders):
            if reminder.seconds >= _deadline(step):
                message = f"This reminder never comes: `{step.id}` ends {_ends(step)} after it was asked."
                place = (*path, "reminders", number)
                yield context.problem("P606", "warning", place, message, "Shorten it, or raise `timeout`.")


def escalations(context: Context) -> Iterator[Problem]:
    """P607: others are asked when it is too late."""
    for step, path in _approvals(context):
        action = step.timeout_action
        if isinstance(action, Escalation) and action.after.seconds >= _deadline(step):
            message = f"Nobody else is ever asked: `{step.id}` ends {_ends(step)} after it was asked."
            place = (*path, "timeout_action", "after")
            yield context.problem("P607", "error", place, message, "Shorten `after`, or raise `timeout`.")


def enough_people(context: Context) -> Iterator[Problem]:
    """P608: the people named cannot come to a decision, or not to every one."""
    for step, path in _approvals(context):
        people = _people(step)
        if people is None:
            continue
        advice = "Lower it, or name more people or a group."
        if step.required_approvals > people:
            message = f"`{step.id}` can never be approved: {people} may decide."
            yield context.problem("P608", "error", (*path, "required_approvals"), message, advice)
        elif step.rejections_needed > people:
            message = f"`{step.id}` can never be rejected: {people} may decide."
            yield context.problem("P608", "warning", (*path, "rejections_needed"), message, advice)
        elif step.required_approvals + step.rejections_needed - 1 > people:
            message = f"Those who decide about `{step.id}` may disagree, and then it ends by its deadline."
            key = "rejections_needed" if step.rejections_needed > 1 else "required_approvals"
            yield context.problem("P608", "warning", (*path, key), message, advice)


def separation(context: Context) -> Iterator[Problem]:
    """P609: who starts a process must not decide, and nobody else may."""
    for step, path in _approvals(context):
        if step.separation_of_duties and _people(step) == 1:
            message = f"Where {step.assignees[0]} starts the process, nobody may decide about `{step.id}`."
            advice = "Name somebody else as well, or a group."
            yield context.problem(
                "P609", "warning", (*path, "separation_of_duties"), message, advice, at_key=True
            )


def waved_through(context: Context) -> Iterator[Problem]:
    """P610: everything after an approval goes on although nobody approved."""
    for step, path in _approvals(context):
        if step.on_error is not None and step.on_error.action == "skip_step":
            message = f"What comes after `{step.id}` goes on even where it is rejected or nobody decides."
            advice = "Leave `on_error` out, or route by the decision with `on_reject: continue`."
            yield context.problem("P610", "warning", (*path, "on_error"), message, advice, at_key=True)
        if step.timeout_action == "skip":
            message = f"What comes after `{step.id}` goes on where nobody decides in time."
            advice = "Write `fail`, `reject`, or `{escalate_to, after}`."
            yield context.problem("P610", "warning", (*path, "timeout_action"), message, advice, at_key=True)


def unread_rejections(context: Context) -> Iterator[Problem]:
    """P611: something asks for a rejection, which fails the process before it gets there."""
    failing = {step.id for step, _ in _approvals(context) if _fails_on_reject(step)}
    for site in context.sites:
        for node in (below for root in site.nodes for below in walk(root)):
            source = _asks_for_rejection(node)
            if source in failing:
                yield _unread(context, site, node, str(source))


def _unread(context: Context, site: Site, node: Node, source: str) -> Problem:
    message = f"A rejection of `{source}` never gets here: it fails the step."
    advice = f"Add `on_reject: continue` to `{source}`."
    return context.problem_in("P611", "warning", site, node.offset, message, advice)


def _fails_on_reject(step: HumanApproval) -> bool:
    """Whether a rejection ends the process: one whose failure is handled can be read all the same."""
    handled = step.on_error is not None and step.on_error.action != "fail_process"
    return step.on_reject == "fail" and not handled


def _asks_for_rejection(node: Node) -> str | int | None:
    """The step whose decision is compared with `rejected`."""
    if not isinstance(node, Compare) or node.op not in ("==", "!=", "in", "not in"):
        return None
    for one, other in ((node.left, node.right), (node.right, node.left)):
        words = other.items if isinstance(other, ListNode) else (other,)
        if any(isinstance(word, Literal) and word.value == "rejected" for word in words):
            while isinstance(one, Filter):
                one = one.operand
            if isinstance(one, Path) and one.root == "steps" and one.segments[1:] == ("output", "decision"):
                return one.segments[0]
    return None


def without_meaning(context: Context) -> Iterator[Problem]:
    """P612: a setting that other types of steps have, and that this one never asks for."""
    for number, step in enumerate(context.definition.steps):
        for key, why in _idle_settings(step):
            message = f"`{key}` has no effect on `{step.id}`: {why}."
            place: Place = ("steps", number, key)
            yield context.problem("P612", "warning", place, message, "Remove it.", at_key=True)


def _idle_settings(step: Step) -> Iterator[tuple[str, str]]:
    given = step.model_fields_set
    if isinstance(step, HumanApproval):
        why = "people are asked once, and `reminders` ask again"
        yield from ((key, why) for key in ("retry", "on_interrupt") if key in given)
    elif isinstance(step, SubProcess):
        if "on_interrupt" in given:
            yield "on_interrupt", "its child is an execution of its own, whose steps say that for themselves"
    elif isinstance(step, Transform):
        why = "a value is made at once, and would be the same again"
        yield from ((key, why) for key in ("retry", "on_interrupt", "timeout") if key in given)
    elif isinstance(step, WaitForEvent):
        why = "it waits once, and nothing of it is lost when the engine dies"
        yield from ((key, why) for key in ("retry", "on_interrupt") if key in given)


def _approvals(context: Context) -> Iterator[tuple[HumanApproval, Place]]:
    for number, step in enumerate(context.definition.steps):
        if isinstance(step, HumanApproval):
            yield step, ("steps", number)


def _deadline(step: HumanApproval) -> float:
    return step.timeout.seconds if step.timeout is not None else APPROVAL_SECONDS


def _ends(step: HumanApproval) -> str:
    return str(step.timeout) if step.timeout is not None else "24h"


def _people(step: HumanApproval) -> int | None:
    """How many may decide; None where groups, expressions, or nobody named leave that open."""
    action = step.timeout_action
    names = {*step.assignees, *(action.escalate_to if isinstance(action, Escalation) else ())}
    if not step.assignees or any(name.startswith("group:") or "{{" in name for name in names):
        return None
    return len(names)
