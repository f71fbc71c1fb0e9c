"""The rules about sub-processes, told once more from document and events: a part of the witness."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from process_engine.core import events as e
from process_engine.definition.document import ProcessDefinition, SubProcess
from process_engine.testing.verdicts import RuleBroken

# How long a child may take where its step does not say.
_USUAL_SECONDS = 3_600.0


@dataclass
class _Call:
    """A child that a step waits for."""

    child: str
    due: datetime
    recalled: bool = False
    outcome: str | None = None


class ChildWitness:
    """Follows the children of one execution; feed it every event in order."""

    def __init__(self, definition: ProcessDefinition) -> None:
        self._kinds = {step.id: step for step in definition.steps if isinstance(step, SubProcess)}
        self._calls: dict[str, _Call] = {}
        self._given_up: set[str] = set()
        self._known: set[str] = set()
        self._due: dict[str, datetime] = {}

    def _demand(self, holds: bool, rule: str) -> None:
        if not holds:
            raise RuleBroken(rule)

    def see(self, event: e.Event) -> None:
        """Follow one event.

        Raises:
            RuleBroken: the rules do not allow it here.
        """
        if not isinstance(event, e.StepEvent) or event.step_id not in self._kinds:
            return
        step, call = self._kinds[event.step_id], self._calls.get(event.step_id)
        match event:
            case e.StepWaiting():
                self._waits(step, event)
            case e.ChildStarted():
                self._starts(step, event)
            case e.ChildRecalled():
                self._recalls(event, call)
            case e.ChildEnded():
                self._ends(event, call)
            case e.StepCompleted():
                self._completes(step, call)
            case e.StepRetrying() | e.StepFailed():
                self._fails(step.id, event.failure.code, call)
            case e.StepSkipped() if event.failure is not None:
                self._fails(step.id, event.failure.code, call)
            case e.StepCancelled() if call is not None:
                self._given_up.add(call.child)
            case _:
                return
        if isinstance(
            event, e.StepCompleted | e.StepRetrying | e.StepFailed | e.StepSkipped | e.StepCancelled
        ):
            self._calls.pop(step.id, None)

    def _waits(self, step: SubProcess, event: e.StepWaiting) -> None:
        seconds = step.timeout.seconds if step.timeout is not None else _USUAL_SECONDS
        right = event.due == event.timestamp + timedelta(seconds=seconds)
        self._demand(right, f"the child of {step.id} may take until {event.due}")
        assert event.due is not None
        self._due[step.id] = event.due

    def _starts(self, step: SubProcess, event: e.ChildStarted) -> None:
        self._demand(event.child_id not in self._known, f"{event.child_id} is started a second time")
        self._demand(step.id not in self._calls, f"{step.id} has a child already")
        named = (event.process, event.version) == (step.process, step.version)
        self._demand(named, f"{step.id} starts {event.process}, and says {step.process}")
        self._known.add(event.child_id)
        self._calls[step.id] = _Call(event.child_id, self._due[step.id])

    def _recalls(self, event: e.ChildRecalled, call: _Call | None) -> None:
        waited = call is not None and (call.child, call.outcome) == (event.child_id, None)
        self._demand(waited, f"{event.child_id} is recalled, and nobody waits for it")
        assert call is not None
        self._demand(not call.recalled, f"{event.child_id} is recalled twice")
        self._demand(event.timestamp >= call.due, f"{event.child_id} is recalled before its time is up")
        call.recalled = True

    def _ends(self, event: e.ChildEnded, call: _Call | None) -> None:
        if event.child_id in self._given_up:
            self._given_up.remove(event.child_id)
            return
        waited = call is not None and (call.child, call.outcome) == (event.child_id, None)
        self._demand(waited, f"the end of {event.child_id} is told to nobody")
        assert call is not None
        call.outcome = str(event.outcome)

    def _completes(self, step: SubProcess, call: _Call | None) -> None:
        self._demand(call is not None, f"{step.id} completes without a child")
        assert call is not None
        self._demand(not call.recalled, f"{step.id} completes after its time")
        right = call.outcome == ("completed" if step.wait else None)
        self._demand(right, f"{step.id} completes with a child that is {call.outcome}")

    def _fails(self, step_id: str, code: str, call: _Call | None) -> None:
        if call is None:
            return
        self._demand(call.outcome is not None, f"{step_id} fails before its child has ended")
        self._demand((code == "TIMEOUT") <= call.recalled, f"{step_id} fails by {code} within its time")
        ended_well = call.outcome == "completed" and not call.recalled
        self._demand(not ended_well or code != "CHILD_FAILED", f"{step_id} fails though its child did not")
