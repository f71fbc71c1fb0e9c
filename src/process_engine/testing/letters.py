"""Those who publish in a simulation: early, late, twice, to the wrong one, or what nobody can read."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import cast

import msgspec

from process_engine.core import events as e
from process_engine.core.mailbox import PublishedEvent
from process_engine.core.plan import Plan
from process_engine.core.values import Value
from process_engine.definition.document import WaitForEvent
from process_engine.definition.expressions import MappingScope, parse_condition
from process_engine.errors import ExpressionError
from process_engine.ids import ExecutionId, StepId
from process_engine.runtime.ports import ExecutionRepository
from process_engine.testing.answers import LARGE
from process_engine.testing.disks import run_now

NAMES = ("go", "paid", "paid-7")
# What fits most conditions, what fits few, what lacks the field or has no fields at all.
_PAYLOADS: tuple[object, ...] = ({"n": 3}, {"n": 8}, {"n": 8}, {"m": 1}, {"n": "many"}, None, "n")
# More than a simulation ever publishes.
_ALL = 10**6


def drawn_event(rng: Random) -> tuple[str, object]:
    """Name and payload of an event that somebody publishes; the payload is a large one now and then."""
    payload = rng.choice(_PAYLOADS)
    if rng.random() < 0.1:
        payload = {"n": 8, "pad": LARGE}
    return rng.choice(NAMES), payload


def fits(step: WaitForEvent, payload: object) -> bool:
    """Whether the document's own condition holds for a payload; those of a simulation read nothing else."""
    if step.match is None:
        return True
    try:
        return parse_condition(step.match).evaluate(MappingScope({"event": payload})) is True
    except ExpressionError:
        return False


class Postman:
    """Looks into the mailbox as a stranger would, and says what each wait should have taken of it.

    `faults` come back as texts: what the engine did against the rules.
    """

    def __init__(self, reader: ExecutionRepository) -> None:
        self._reader = reader
        self._taken: dict[ExecutionId, set[int]] = {}
        self._waits: dict[tuple[ExecutionId, StepId], e.StepWaiting] = {}
        self._got: dict[tuple[ExecutionId, StepId], object] = {}

    def follow(self, plan: Plan, event: e.Event) -> str | None:
        """Take in one event of a history; what is wrong with it, if anything is."""
        match event:
            case e.StepWaiting() if event.waiting_for is e.Waiting.EVENT:
                self._waits[event.execution_id, event.step_id] = event
            case e.EventReceived():
                return self._received(plan, event)
            case e.StepCompleted():
                key = (event.execution_id, event.step_id)
                wait = self._waits.pop(key, None)
                if (
                    wait is not None
                    and key in self._got
                    and self._payload(event.output) != self._got.pop(key)
                ):
                    return f"{event.id}: the output is not the payload"
            case e.StepEvent() if isinstance(event, e.StepFailed | e.StepSkipped | e.StepCancelled):
                self._waits.pop((event.execution_id, event.step_id), None)
            case _:
                pass
        return None

    def _received(self, plan: Plan, event: e.EventReceived) -> str | None:
        key = (event.execution_id, event.step_id)
        first = self.first_that_fits(plan, *key)
        if first is None or first.position != event.position or first.event.id != event.event_id:
            return f"{event.id}: {event.event_id} was taken, and the first that fits is {first}"
        self._taken.setdefault(event.execution_id, set()).add(event.position)
        self._got[key] = self._payload(first.event.payload)
        return None

    def first_that_fits(
        self, plan: Plan, execution_id: ExecutionId, step_id: StepId
    ) -> PublishedEvent | None:
        """The event in the mailbox that an open wait has to take, if there is one."""
        wait = self._waits.get((execution_id, step_id))
        step = plan.definition.step(step_id)
        if wait is None or wait.event is None or not isinstance(step, WaitForEvent):
            return None
        taken = self._taken.get(execution_id, set())
        for published in run_now(self._reader.mail(wait.event, execution_id, limit=_ALL)):
            late = wait.due is not None and published.event.published_at >= wait.due
            if late or published.position in taken:
                continue
            if fits(step, self._payload(published.event.payload)):
                return published
        return None

    def _payload(self, value: Value) -> object:
        if value.ref is None:
            return value.data
        text = run_now(self._reader.load_blob(value.ref))
        assert text is not None, "a payload was never stored"
        return cast("object", msgspec.json.decode(text))

    @property
    def open_waits(self) -> Mapping[tuple[ExecutionId, StepId], e.StepWaiting]:
        """Every wait that has not ended, as the histories tell it."""
        return self._waits
