"""Steps that are decided inside the transition that reaches them: they need no work outside.

Each is compiled once from its part of the document and decides purely from a scope and the time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from types import MappingProxyType
from typing import Protocol, cast
from zoneinfo import ZoneInfo

from process_engine.core.approvals import Asked
from process_engine.core.children import StartChild
from process_engine.core.mailbox import name_fault
from process_engine.core.results import Completed, Failed, StepResult, WaitForEvent, WaitUntil
from process_engine.definition.document import Gateway, HumanApproval, Step, SubProcess, Timer, Transform
from process_engine.definition.document import WaitForEvent as EventWait
from process_engine.definition.durations import Duration, parse_duration
from process_engine.definition.expressions import (
    Expression,
    Scope,
    Template,
    compile_template,
    parse_condition,
    parse_expression,
)
from process_engine.errors import ExpressionError

_TIME_OF_DAY = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?")


class InlineStep(Protocol):
    """One compiled step that is decided without leaving the core."""

    def decide(self, scope: Scope, now: datetime) -> StepResult:
        """What becomes of the step, from what it can read and the time.

        Raises:
            ExpressionError: something it reads has no value.
        """
        ...


@dataclass(frozen=True, slots=True)
class GatewayRoute:
    """One way out of a gateway, taken if `condition` holds; None always holds."""

    condition: Expression | None
    target: str


@dataclass(frozen=True, slots=True)
class GatewayStep:
    """Chooses routes: the first that holds (exclusive), each that holds (inclusive), or all (parallel)."""

    kind: str
    routes: tuple[GatewayRoute, ...]
    default: str | None

    def decide(self, scope: Scope, now: datetime) -> StepResult:
        """The chosen targets; NO_ROUTE if nothing holds and there is no default."""
        chosen: list[str] = []
        evaluated: list[dict[str, object]] = []
        for route in self.routes:
            holds = (
                self.kind == "parallel" or route.condition is None or route.condition.evaluate(scope) is True
            )
            source = route.condition.source if route.condition is not None else None
            evaluated.append({"condition": source, "target": route.target, "result": holds})
            if holds:
                chosen.append(route.target)
                if self.kind == "exclusive":
                    break
        if not chosen and self.default is not None:
            chosen.append(self.default)
        if not chosen:
            return Failed("NO_ROUTE", "no route matches and there is no default_route")
        targets = tuple(dict.fromkeys(chosen))
        output = {"route": targets[0], "routes": list(targets), "evaluated": evaluated}
        return Completed(output, routes=targets)


@dataclass(frozen=True, slots=True)
class TimerStep:
    """Waits for a span of time (`delay`) or for a moment (`until`, in `zone` where it names none)."""

    delay: Template | None
    until: Template | None
    zone: str

    def decide(self, scope: Scope, now: datetime) -> StepResult:
        """The moment it is due; a moment that has passed is due at once."""
        try:
            return WaitUntil(self._due(scope, now))
        except (ValueError, TypeError, OverflowError) as error:
            return Failed("EXPRESSION_ERROR", f"the timer has no moment to wait for: {error}")

    def _due(self, scope: Scope, now: datetime) -> datetime:
        if self.delay is not None:
            span = self.delay.render(scope)
            if isinstance(span, bool) or not isinstance(span, (str, int, float)):
                raise ValueError(f"{span!r} is no duration")
            return now + timedelta(seconds=parse_duration(span).seconds)
        if self.until is None:
            raise ValueError("neither delay nor until is given")
        return _moment(str(self.until.render(scope)), self.zone, now)


@dataclass(frozen=True, slots=True)
class TransformStep:
    """Completes with a value made of others."""

    value: Template

    def decide(self, scope: Scope, now: datetime) -> StepResult:
        """The value, typed."""
        return Completed(self.value.render(scope))


@dataclass(frozen=True, slots=True)
class ApprovalStep:
    """Asks people: what they are shown is rendered once, and stays what it was."""

    title: Template
    description: Template
    assignees: Template
    form: Mapping[str, object] | None

    def decide(self, scope: Scope, now: datetime) -> StepResult:
        """What is shown, and to whom."""
        names: list[str] = []
        for named in cast("list[object]", self.assignees.render(scope)):
            # An expression may yield one name or a list of them.
            for name in cast("list[object]", named) if isinstance(named, list) else (named,):
                if not isinstance(name, str) or not name:
                    return Failed("EXPRESSION_ERROR", f"assignees: {name!r} is no name")
                names.append(name)
        shown = {"title": self.title.render(scope), "description": self.description.render(scope)}
        if self.form is not None:
            shown["form"] = dict(self.form)
        return Asked(shown, tuple(dict.fromkeys(names)))


@dataclass(frozen=True, slots=True)
class EventStep:
    """Waits for an event: its name is rendered once, `match` is asked about each event of that name.

    `timeout_seconds` counts from the start of the wait; `timeout_action` is `fail`, `skip` or `continue`.
    """

    event: Template
    match: Expression | None
    timeout_seconds: float | None
    timeout_action: str

    def decide(self, scope: Scope, now: datetime) -> StepResult:
        """Which event it waits for, and until when."""
        name = self.event.render(scope)
        fault = name_fault(name)
        if fault is not None:
            return Failed("EXPRESSION_ERROR", f"event: {str(name)[:100]!r} {fault}")
        self._require_own_values(scope)
        due = now + timedelta(seconds=self.timeout_seconds) if self.timeout_seconds is not None else None
        return WaitForEvent(str(name), due)

    def _require_own_values(self, scope: Scope) -> None:
        """Fail now where `match` reads something of the execution that has no value: no event could fit."""
        for read in self.match.reads if self.match is not None else ():
            if read.root != "event" and not read.has_default:
                parse_expression(read.text).evaluate(scope)

    def matches(self, scope: Scope, payload: Callable[[], object]) -> bool:
        """Whether an event with this payload fits. One that `match` cannot be asked about does not."""
        if self.match is None:
            return True
        try:
            return self.match.evaluate(_EventScope(scope, payload)) is True
        except ExpressionError:
            # The payload is somebody else's: that it lacks a field, or has another kind of value, is no
            # fault of the process. What is the process's own was looked at when the wait began.
            return False


@dataclass(frozen=True, slots=True)
class _EventScope:
    """What an execution can read, and the payload of an event as `event`."""

    scope: Scope
    payload: Callable[[], object]

    def root(self, name: str) -> object:
        return self.payload() if name == "event" else self.scope.root(name)

    def step(self, step_id: str, field: str) -> object:
        return self.scope.step(step_id, field)


@dataclass(frozen=True, slots=True)
class ChildStep:
    """Asks for a sub-process; what it is given is rendered like a request, once per visit."""

    process: str
    version: str | None

    def decide(self, scope: Scope, now: datetime) -> StepResult:
        """Which process, in which version."""
        return StartChild(self.process, self.version)


def _moment(text: str, zone: str, now: datetime) -> datetime:
    """A timestamp, or the next time the clock shows `HH:MM[:SS]` in `zone`, in UTC."""
    local = ZoneInfo(zone)
    clock_time = _TIME_OF_DAY.fullmatch(text.strip())
    if clock_time is None:
        stamp = datetime.fromisoformat(text.strip())
        return (stamp if stamp.tzinfo is not None else stamp.replace(tzinfo=local)).astimezone(UTC)
    hour, minute, second = (int(part or 0) for part in clock_time.groups())
    today = now.astimezone(local).date()
    for day in (today, today + timedelta(days=1)):
        due = datetime.combine(day, time(hour, minute, second), tzinfo=local).astimezone(UTC)
        if due > now:
            return due
    raise AssertionError("tomorrow is later than now")


def timer_output(started_at: datetime, due: datetime, now: datetime) -> dict[str, object]:
    """What a timer leaves behind: how long it really waited, and when it was due."""
    waited = round((now - started_at).total_seconds(), 3)
    return {"waited_seconds": int(waited) if waited.is_integer() else waited, "due_at": due.isoformat()}


def _compile_gateway(step: Step) -> InlineStep:
    assert isinstance(step, Gateway)
    routes = tuple(
        GatewayRoute(parse_condition(route.condition) if route.condition is not None else None, route.target)
        for route in step.routes
    )
    return GatewayStep(step.gateway_type, routes, step.default_route)


def _compile_timer(step: Step) -> InlineStep:
    assert isinstance(step, Timer)
    delay = step.delay.text if isinstance(step.delay, Duration) else step.delay
    return TimerStep(
        compile_template(delay) if delay is not None else None,
        compile_template(step.until) if step.until is not None else None,
        step.timezone,
    )


def _compile_transform(step: Step) -> InlineStep:
    assert isinstance(step, Transform)
    return TransformStep(compile_template(step.value))


def _compile_approval(step: Step) -> InlineStep:
    assert isinstance(step, HumanApproval)
    return ApprovalStep(
        compile_template(step.title or step.name or step.id),
        compile_template(step.description),
        compile_template(list(step.assignees)),
        step.form,
    )


def _compile_event(step: Step) -> InlineStep:
    assert isinstance(step, EventWait)
    return EventStep(
        compile_template(step.event),
        parse_condition(step.match) if step.match is not None else None,
        step.timeout.seconds if step.timeout is not None else None,
        step.timeout_action,
    )


def _compile_child(step: Step) -> InlineStep:
    assert isinstance(step, SubProcess)
    return ChildStep(step.process, step.version)


INLINE: Mapping[str, Callable[[Step], InlineStep]] = MappingProxyType(
    {
        "gateway": _compile_gateway,
        "timer": _compile_timer,
        "transform": _compile_transform,
        "human_approval": _compile_approval,
        "wait_for_event": _compile_event,
        "sub_process": _compile_child,
    }
)
"""Step types decided inline, and how each is compiled."""
