"""The story of a dry run: who is asked what, what came of it, and what each gateway saw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from process_engine.cli.story import WIDTH, as_text, decision_text, detail, names_text, spelled
from process_engine.cli.summary import MOST_LINES, readable
from process_engine.cli.text import printable, shortened, span
from process_engine.core import events as e
from process_engine.core.approvals import Request
from process_engine.core.values import Value
from process_engine.definition.expressions import (
    ExpressionSyntaxError,
    MappingScope,
    parse_condition,
    parse_expression,
)
from process_engine.errors import ExpressionError

# Columns that the ids of steps have; longer ones push what follows to the right.
COLUMNS = 16
_BODY = " " * (COLUMNS + 2)
# Characters of a condition, and of what it saw, on a line; of longer ones the beginning is shown.
MOST_CHARACTERS = 400
# Lines of what somebody would be asked: the whole of it is what one wants to read, unless it is a book.
MOST_ASKED_LINES = 2_000

# What a request holds beside the message, in the order in which it is told.
_BESIDE = ("subject", "recipients", "url", "urgency", "system", "model", "temperature")
# Steps that are told by what comes of them: nobody outside is asked when they start.
_QUIET = frozenset({"gateway", "timer", "transform", "human_approval", "sub_process", "wait_for_event"})


def lines_of(events: Sequence[e.Event]) -> Iterator[str]:
    """The lines, in the order of the events. Steps of a sub-process stand behind the step that runs it."""
    tellers: dict[str, _Teller] = {}
    called_by: dict[str, str] = {}
    for event in events:
        if isinstance(event, e.ExecutionCreated):
            whose = called_by.get(event.execution_id, "")
            tellers[event.execution_id] = _Teller(whose, event.input.data)
            continue
        if isinstance(event, e.ChildStarted):
            called_by[event.child_id] = f"{called_by.get(event.execution_id, '')}{event.step_id}/"
        if event.public and isinstance(event, e.StepEvent):
            yield from tellers[event.execution_id].lines(event)


class _Teller:
    """Tells the events of one execution, and remembers what steps gave: gateways read it."""

    def __init__(self, whose: str, input: object) -> None:
        self._whose = whose
        self._input = input
        self._outputs: dict[str, object] = {}
        self._requests: dict[str, object] = {}

    def lines(self, event: e.StepEvent) -> Iterator[str]:
        told = list(self._told(event))
        if told:
            again = f" (visit {event.visit})" if event.visit > 1 and isinstance(event, e.StepStarted) else ""
            yield f"{self._whose + event.step_id:<{COLUMNS}}  {told[0]}{again}"
            yield from (f"{_BODY}{line}" for line in told[1:])

    def _told(self, event: e.StepEvent) -> Iterator[str]:
        match event:
            case e.StepStarted():
                self._requests[event.step_id] = event.request.data if event.request is not None else None
                yield from _start(event)
            case e.StepCompleted():
                self._outputs[event.step_id] = event.output.data
                yield from self._end(event)
            case e.ApprovalRequested():
                yield from _question(event.request)
            case e.ApprovalDecided():
                yield decision_text(event.decision)
            case e.StepWaiting():
                yield from _wait(event)
            case e.ChildStarted():
                yield f"runs {event.process}" + (f" {event.version}" if event.version is not None else "")
                yield from _body(self._requests.get(event.step_id), MOST_ASKED_LINES)
            case e.StepWaitingApproval():
                return
            case e.StepSkipped() | e.StepFailed():
                self._outputs[event.step_id] = event.output.data
                yield f"{_word(event)}: {detail(event)}"
            case _:
                yield f"{_word(event)}: {detail(event)}".removesuffix(": ")

    def _end(self, event: e.StepCompleted) -> Iterator[str]:
        if event.routes is None:
            yield from _value("gives", event.output)
            return
        yield f"goes to {', '.join(event.routes) or 'nowhere'}"
        output = cast("Mapping[str, object]", event.output.data or {})
        for route in cast("Sequence[Mapping[str, object]]", output.get("evaluated", ())):
            yield from self._route(route)

    def _route(self, route: Mapping[str, object]) -> Iterator[str]:
        condition, holds = route.get("condition"), "yes" if route.get("result") is True else "no"
        source = shortened(str(condition), MOST_CHARACTERS) if condition is not None else "always"
        yield f"{holds:<3} {source} → {route.get('target')}"
        for read, value in self._seen(str(condition)) if condition is not None else ():
            yield f"    {printable(read)} is {shortened(readable(value), MOST_CHARACTERS)}"

    def _seen(self, condition: str) -> Iterator[tuple[str, object]]:
        """What a condition read, and what stood there."""
        steps = {step: {"output": output} for step, output in self._outputs.items()}
        scope = MappingScope({"input": self._input, "steps": steps})
        for text in dict.fromkeys(read.text for read in parse_condition(condition).reads):
            try:
                yield text, parse_expression(text).evaluate(scope)
            except (ExpressionError, ExpressionSyntaxError):
                # A status, a cost, or nothing at all: not kept here.
                continue


def _wait(event: e.StepWaiting) -> Iterator[str]:
    if event.waiting_for is e.Waiting.CHILD:
        # Told by the steps of that process.
        return
    longest = span(event.due - event.timestamp) if event.due is not None else ""
    if event.event is not None:
        what = f"waits for event {shortened(event.event, MOST_CHARACTERS)}"
        yield f"{what}, {longest} at most" if longest else what
    else:
        yield f"waits {longest}"


def _start(event: e.StepStarted) -> Iterator[str]:
    if event.step_type in _QUIET:
        return
    if event.agent is not None:
        yield f"asks {printable(event.agent)}"
    else:
        yield detail(event) or f"starts {spelled(event.step_type)}"
    request = event.request
    if request is None:
        return
    if request.ref is not None:
        yield from _value("with", request)
        return
    fields = cast("Mapping[str, object]", request.data or {})
    for name in _BESIDE:
        if fields.get(name):
            yield from _named(name, fields[name])
    yield from _body(fields.get("message", fields), MOST_ASKED_LINES)


def _question(request: Request) -> Iterator[str]:
    yield f"asks {names_text(request.assignees)} to decide"
    fields = cast("Mapping[str, object]", request.shown.data or {})
    for name in ("title", "description"):
        if fields.get(name):
            yield from _body(fields[name], MOST_ASKED_LINES)


def _value(word: str, value: Value) -> Iterator[str]:
    if value.ref is not None:
        yield f"{word} {value.ref.size_bytes:,} bytes of JSON"
    else:
        yield from _named(word, value.data, separator=" ")


def _named(name: str, value: object, separator: str = ": ") -> Iterator[str]:
    short = as_text(value)
    lines = [printable(short)] if len(short) <= WIDTH and "\n" not in short else list(_body(value))
    if len(lines) == 1:
        yield f"{name}{separator}{lines[0]}"
    else:
        yield f"{name}{separator}".rstrip()
        yield from (f"  {line}" for line in lines)


def _body(value: object, most_lines: int = MOST_LINES) -> Iterator[str]:
    lines = printable(readable(value)).splitlines() or [""]
    yield from lines[:most_lines]
    if len(lines) > most_lines:
        yield f"… {len(lines) - most_lines} more lines"


def _word(event: e.Event) -> str:
    """The name of an event in small letters, without what it is about: `StepSkipped` is `skipped`."""
    name = event.type.removeprefix("Step")
    spaced = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)
    return spaced.strip()
