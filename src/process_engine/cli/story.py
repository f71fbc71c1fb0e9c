"""Events as sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import cast

import msgspec

from process_engine.cli.text import printable, shortened, span
from process_engine.core import events as e
from process_engine.core.approvals import Decision, Ruling
from process_engine.core.failures import Failure
from process_engine.core.values import Value

# Characters of an output or a message that a line of the story shows.
WIDTH = 100


def clock_time(moment: datetime) -> str:
    """The time of day at this machine."""
    return moment.astimezone().strftime("%H:%M:%S")


def line(event: e.Event) -> str:
    """One event on one line: time, step, what happened."""
    subject = event.step_id if isinstance(event, e.StepEvent) else event.process_name
    return f"{clock_time(event.timestamp)}  {subject:<16}  {event.type:<19}  {detail(event)}".rstrip()


def detail(event: e.Event) -> str:
    """What there is to say about an event beside its type; empty if nothing."""
    match event:
        case e.StepStarted() if event.agent or event.items is not None:
            return _detail_of_start(event)
        case e.ItemEvent():
            return _detail_of_item(event)
        case e.StepStarted(step_type="notification") if event.request is not None:
            return f"tells {_channels(event.request)}".rstrip()
        case e.AttemptStarted():
            return f"attempt {event.attempt}"
        case e.StepRetrying():
            wait = span(event.due - event.timestamp)
            return f"attempt {event.attempt} failed, again in {wait}: {failure_text(event.failure)}"
        case e.StepWaiting() if event.due is None or event.event is not None:
            end = f", until {clock_time(event.due)}" if event.due is not None else ""
            return f"for event {shortened(event.event or '', WIDTH)}{end}"
        case e.EventReceived():
            who = f" of {printable(event.by)}" if event.by else ""
            return f"{shortened(event.event, WIDTH)}{who}, published {clock_time(event.published_at)}"
        case e.StepWaiting():
            assert event.due is not None
            return f"until {clock_time(event.due)}, {span(event.due - event.timestamp)}"
        case e.StepCompleted() if event.routes is not None:
            return f"to {', '.join(event.routes) or 'nowhere'}"
        case e.StepCompleted():
            return value_text(event.output)
        case e.StepFailed():
            handled = f"; {event.handled_by} deals with it" if event.handled_by else ""
            return failure_text(event.failure) + handled
        case e.StepSkipped():
            return spelled(event.reason) + (f": {failure_text(event.failure)}" if event.failure else "")
        case e.StepCancelled():
            return spelled(event.reason)
        case e.StepWaitingApproval():
            return f"for {span(event.due - event.timestamp)} at most"
        case _:
            return _detail_of_others(event)


def _detail_of_others(event: e.Event) -> str:
    kinds = (_detail_of_approval, _detail_of_child, _detail_of_undo, _detail_of_process)
    return next((told for detail_of in kinds if (told := detail_of(event))), "")


def _detail_of_start(event: e.StepStarted) -> str:
    whom = f"asks {event.agent}" if event.agent else ""
    if event.items is None:
        return whom
    return f"{whom}, {event.items:,} items".removeprefix(", ")


def _detail_of_item(event: e.ItemEvent) -> str:
    place = f"item {event.item}"
    match event:
        case e.ItemStarted():
            return place if event.attempt == 1 else f"{place}, attempt {event.attempt}"
        case e.ItemRetrying():
            wait = span(event.due - event.timestamp)
            return f"{place}: attempt {event.attempt} failed, again in {wait}: {failure_text(event.failure)}"
        case e.ItemCompleted():
            return f"{place}: {value_text(event.output)}"
        case e.ItemFailed():
            return f"{place}: {failure_text(event.failure)}"
        case _:
            return place


def _detail_of_approval(event: e.Event) -> str:
    match event:
        case e.ApprovalRequested():
            who = names_text(event.request.assignees)
            return f"asks {who}: {shortened(title_text(event.request.shown), WIDTH)}"
        case e.ApprovalDecided():
            return decision_text(event.decision)
        case e.ApprovalDelegated():
            why = f": {shortened(event.comment, WIDTH)}" if event.comment else ""
            return f"{printable(event.by)} hands it on to {printable(event.to)}{why}"
        case e.ApprovalReminded():
            return f"reminder {event.number}"
        case e.ApprovalEscalated():
            return f"{names_text(event.to)} may decide as well"
        case e.ApprovalExpired():
            return f"nobody decided in time: {spelled(event.action)}"
        case _:
            return ""


def _detail_of_child(event: e.Event) -> str:
    match event:
        case e.ChildStarted():
            version = f" {event.version}" if event.version is not None else ""
            return f"{event.process}{version} as {event.child_id}"
        case e.ChildRecalled():
            return f"{event.child_id} is cancelled: {failure_text(event.failure)}"
        case e.ChildEnded():
            return f"{event.child_id} {event.outcome}"
        case _:
            return ""


def _detail_of_undo(event: e.Event) -> str:
    match event:
        case e.CompensationPrepared():
            return failure_text(event.failure) if event.failure else f"would ask {event.agent}"
        case e.CompensationStarted() if event.agent:
            return f"asks {event.agent}"
        case e.CompensationAttemptStarted():
            return f"attempt {event.attempt}"
        case e.CompensationRetrying():
            wait = span(event.due - event.timestamp)
            return f"attempt {event.attempt} failed, again in {wait}: {failure_text(event.failure)}"
        case e.CompensationCompleted():
            return value_text(event.output)
        case e.CompensationFailed():
            return failure_text(event.failure)
        case _:
            return ""


def _detail_of_process(event: e.Event) -> str:
    match event:
        case e.ProcessStarted() if event.deadline is not None:
            return f"must end by {clock_time(event.deadline)}"
        case e.ProcessPaused():
            return f"{shortened(event.reason, WIDTH)}{_by(event.by)}"
        case e.ProcessResumed():
            return _by(event.by).strip()
        case e.ProcessStopping() | e.ProcessFailed():
            return failure_text(event.failure)
        case e.ProcessCancelled() | e.ProcessCancelling():
            return f"{shortened(event.reason or '', WIDTH)}{_by(event.by)}".strip()
        case e.ProcessReopened():
            changed = ", with another input" if event.input is not None else ""
            return f"again: {', '.join(event.steps)}{changed}{_by(event.by)}"
        case e.StepsReopened():
            return f"{event.by} goes back to {event.target}"
        case _:
            return ""


def items_text(done: int, total: int, failed: int) -> str:
    """How far a list has got, on one line."""
    return f"{done:,} of {total:,} items" + (f", {failed:,} failed" if failed else "")


def names_text(names: Sequence[str]) -> str:
    """Whom a decision is for, on one line."""
    return shortened(", ".join(names), WIDTH) if names else "anybody"


def title_text(shown: Value) -> str:
    """The title of what people are asked; of what is too large to be at hand, its size."""
    if shown.ref is not None:
        return value_text(shown)
    return as_text(cast("Mapping[str, object]", shown.data).get("title"))


def decision_text(decision: Decision) -> str:
    """What somebody decided, on one line."""
    word = "approved" if decision.ruling is Ruling.APPROVED else "rejected"
    why = f": {shortened(decision.comment, WIDTH)}" if decision.comment else ""
    return f"{word} by {printable(decision.by)}{why}"


def failure_text(failure: Failure) -> str:
    """Why something failed, on one line."""
    return shortened(f"{failure.code}: {failure.message}", 2 * WIDTH)


def value_text(value: Value) -> str:
    """The beginning of a value on one line."""
    if value.ref is not None:
        return f"{value.ref.size_bytes:,} bytes of JSON"
    return shortened(as_text(value.data), WIDTH)


def spelled(word: str) -> str:
    """A word of ours as people write it: `route_not_taken` becomes `route not taken`."""
    return printable(word.replace("_", " "))


def as_text(value: object) -> str:
    """Text as it is, anything else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _channels(request: Value) -> str:
    """The channels of a notification; of a request that is too large to be at hand, nothing."""
    fields = cast("Mapping[str, object]", request.data or {})
    named = [fields.get("channel"), *cast("list[object]", fields.get("channels", []))]
    return shortened(", ".join(name for name in named if isinstance(name, str)), WIDTH)


def _by(name: str | None) -> str:
    return f" by {printable(name)}" if name else ""
