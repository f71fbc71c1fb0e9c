"""What must hold of steps that run once for each item of a list, told from the history alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from process_engine.core import events as e
from process_engine.core.invariants.audit import Audit
from process_engine.core.plan import ItemPlan
from process_engine.core.values import Value, pack
from process_engine.ids import StepId


@dataclass
class _Visit:
    """What the history says about the items of one visit: attempts begun, who runs, waits, and has ended."""

    number: int
    total: int
    attempts: dict[int, int] = field(default_factory=dict[int, int])
    running: set[int] = field(default_factory=set[int])
    due: dict[int, datetime] = field(default_factory=dict[int, datetime])
    outputs: dict[int, Value | None] = field(default_factory=dict[int, Value | None])
    failed: set[int] = field(default_factory=set[int])

    @property
    def open(self) -> int:
        """Items that have begun and not ended."""
        return len(self.attempts) - len(self.outputs)


def items_add_up(audit: Audit) -> None:
    """I4 for items: each has one result, which is never asked for again, and the step gives just these;
    I8: none is tried again before its time; I9: never more open at once than its step allows; I6: none begins
    once the execution is about to fail. The state counts what the history tells."""
    visits: dict[StepId, _Visit] = {}
    stopping = False
    for event in audit.events:
        match event:
            case e.ProcessStopping():
                stopping = True
            case e.ProcessReopened():
                stopping = False
            case e.StepStarted(step_id=step_id, items=int(total)):
                _check_begun(audit, visits, event, total)
            case e.ItemStarted():
                audit.demand(
                    "I6", not stopping, f"item {event.item} of {event.step_id} begins while stopping"
                )
                _check_started(audit, _visit(audit, visits, event), event)
            case e.ItemEvent():
                _check_answered(audit, _visit(audit, visits, event), event)
            case e.StepCompleted(step_id=step_id) if step_id in visits:
                _check_given(audit, visits[step_id], event)
            case e.StepFailed() | e.StepCancelled() | e.StepSkipped() if event.step_id in visits:
                visits[event.step_id].running.clear()
                visits[event.step_id].due.clear()
            case _:
                pass
    _check_counts(audit, visits)


def _check_begun(audit: Audit, visits: dict[StepId, _Visit], event: e.StepStarted, total: int) -> None:
    known = visits.get(event.step_id)
    if known is None or known.number != event.visit:
        visits[event.step_id] = _Visit(event.visit, total)
    else:
        audit.demand("I4", known.total == total, f"{event.step_id}: the list has changed within a visit")


def _visit(audit: Audit, visits: dict[StepId, _Visit], event: e.ItemEvent) -> _Visit:
    found = visits.get(event.step_id)
    audit.demand("I2", found is not None, f"{event.type} of {event.step_id}, which runs no items")
    assert found is not None
    audit.demand("I2", found.number == event.visit, f"{event.type} of visit {event.visit} in {found.number}")
    audit.demand("I2", 0 <= event.item < found.total, f"{event.step_id} has no item {event.item}")
    return found


def _rules(audit: Audit, step_id: StepId) -> ItemPlan:
    rules = audit.plan.steps[step_id].items
    audit.demand("I2", rules is not None, f"{step_id} does not run for items")
    assert rules is not None
    return rules


def _check_started(audit: Audit, visit: _Visit, event: e.ItemStarted) -> None:
    place = f"item {event.item} of {event.step_id}"
    audit.demand("I4", event.item not in visit.outputs, f"{place} has ended, and begins again")
    audit.demand("I9", event.item not in visit.running, f"{place} runs already")
    next_one = visit.attempts.get(event.item, 0) + 1
    audit.demand(
        "I4", event.attempt == next_one, f"{place}: attempt {event.attempt} is not number {next_one}"
    )
    due = visit.due.pop(event.item, None)
    audit.demand("I8", due is None or event.timestamp >= due, f"{place} is tried again before {due}")
    visit.attempts[event.item] = event.attempt
    visit.running.add(event.item)
    most = _rules(audit, event.step_id).most_open
    audit.demand("I9", visit.open <= most, f"{visit.open} items of {event.step_id} are open, not {most}")


def _check_answered(audit: Audit, visit: _Visit, event: e.ItemEvent) -> None:
    place = f"item {event.item} of {event.step_id}"
    known = event.item in visit.running and event.attempt == visit.attempts[event.item]
    audit.demand("I4", known, f"{place}: {event.type} of attempt {event.attempt}, which does not run")
    visit.running.discard(event.item)
    match event:
        case e.ItemCompleted():
            visit.outputs[event.item] = event.output
        case e.ItemRetrying():
            visit.due[event.item] = event.due
        case e.ItemFailed() if _rules(audit, event.step_id).collects:
            visit.outputs[event.item] = None
            visit.failed.add(event.item)
        case _:
            pass


def _check_given(audit: Audit, visit: _Visit, event: e.StepCompleted) -> None:
    missing = visit.total - len(visit.outputs)
    audit.demand("I4", not missing, f"{event.step_id} completed, and {missing} items have not ended")
    given = [visit.outputs[index] for index in range(visit.total)]
    if any(value is not None and value.ref is not None for value in given):
        return
    expected, _ = pack([value.data if value is not None else None for value in given])
    audit.demand("I4", event.output == expected, f"{event.step_id} gave something else than its items did")
    told = event.errors.data if event.errors is not None else None
    if isinstance(told, list):
        indexes = [error["index"] for error in told]  # type: ignore[index]
        audit.demand("I4", indexes == sorted(visit.failed), f"{event.step_id} tells of errors in {indexes}")


def _check_counts(audit: Audit, visits: dict[StepId, _Visit]) -> None:
    for step_id, visit in visits.items():
        state = audit.stored.steps[step_id]
        items = state.items
        if state.visit != visit.number or items is None:
            continue
        counted = (
            visit.total,
            len(visit.attempts),
            len(visit.outputs),
            len(visit.failed),
            len(visit.running),
        )
        kept = (items.total, items.next, items.done + items.failed, items.failed, items.running)
        audit.demand("I1", counted == kept, f"the items of {step_id} are {counted}, the state says {kept}")
        audit.demand("I1", visit.open == len(items.open), f"{visit.open} items of {step_id} are open")
