"""What must hold of the history: it explains the state, has no gaps, and ends once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

from process_engine.core import events as e
from process_engine.core.evolve import replay
from process_engine.core.invariants.audit import Audit
from process_engine.core.results import Usage
from process_engine.core.state import (
    Execution,
    StepStatus,
)
from process_engine.core.work import WorkItem, WorkKind, execution_work, work_of
from process_engine.ids import StepId

# Every way in which an attempt ends, that of a step, of an item, or one to undo a visit; and a child.
_WITH_USAGE = (
    e.StepCompleted,
    e.StepFailed,
    e.StepSkipped,
    e.StepRetrying,
    e.CompensationRetrying,
    e.CompensationCompleted,
    e.CompensationFailed,
    e.ItemCompleted,
    e.ItemFailed,
    e.ItemRetrying,
    e.ChildEnded,
)


def replay_equals_state(audit: Audit) -> None:
    """I1: replaying the events gives the stored state, and the work that it owes is what is stored."""
    replayed, stored = replay(audit.plan, audit.events), audit.execution
    audit.demand("I1", replayed.head == stored.head, f"head {replayed.head} replayed, {stored.head} stored")
    for step_id in audit.plan.order:
        audit.demand(
            "I1",
            replayed.step(step_id) == stored.step(step_id),
            f"{step_id}: {replayed.step(step_id)} replayed, {stored.step(step_id)} stored",
        )
    audit.demand("I1", replayed.progress == stored.progress, f"{replayed.progress} is not {stored.progress}")
    owed = {item.key: item for item in _owed(stored)}
    kept = {item.key: item for item in audit.work}
    audit.demand("I1", owed == kept, f"work owed {owed}, stored {kept}")


def _owed(execution: Execution) -> list[WorkItem]:
    steps = (work_of(execution.id, step_id, state) for step_id, state in execution.steps.items())
    return [item for owed in steps for item in owed] + list(execution_work(execution.id, execution.head))


def results_are_final(audit: Audit) -> None:
    """I4: a visit ends once, and its result never changes; only one that failed can be taken back."""
    ended: dict[tuple[str, int], str] = {}
    visits: Counter[str] = Counter(audit.plan.order)
    for event in audit.events:
        match event:
            case e.StepCompleted() | e.StepFailed() | e.StepSkipped() | e.StepCancelled():
                key = (event.step_id, event.visit)
                before = ended.get(key)
                audit.demand("I4", before is None, f"{key} ended by {before} and again by {event.type}")
                ended[key] = event.type
            case e.StepsReopened():
                visits.update(event.steps)
            case e.ProcessReopened():
                for step_id in set(event.steps) - set(event.again):
                    before = ended.pop((step_id, visits[step_id]), None)
                    audit.demand(
                        "I4", before != "StepCompleted", f"{step_id} was completed and is taken back"
                    )
                visits.update(event.again)
            case _:
                pass
    for step_id, state in audit.stored.steps.items():
        result = _last_output(audit, step_id)
        if result is not None and state.status is StepStatus.COMPLETED:
            same = state.output == result.output
            audit.demand("I4", same, f"{step_id} has another output than was recorded")


def _last_output(audit: Audit, step_id: StepId) -> e.StepCompleted | None:
    found = None
    for event in audit.events:
        if isinstance(event, e.StepCompleted) and event.step_id == step_id:
            found = event
    return found


def sequences_have_no_gaps(audit: Audit) -> None:
    """I5: sequences count 1, 2, 3 …; timestamps never go back; the head knows the last ones."""
    for number, event in enumerate(audit.events, start=1):
        audit.demand("I5", event.sequence == number, f"number {event.sequence} at place {number}")
    stamps = [event.timestamp for event in audit.events]
    audit.demand("I5", stamps == sorted(stamps), "timestamps go back")
    head = audit.stored.head
    audit.demand("I5", head.sequence == len(stamps), f"head is at {head.sequence}, the log at {len(stamps)}")


def nothing_starts_after_the_end(audit: Audit) -> None:
    """I6: after a cancel, or any other end, nothing starts."""
    ended: str | None = None
    for event in audit.events:
        if isinstance(event, e.ProcessReopened):
            audit.demand("I6", ended == "ProcessFailed", f"reopened after {ended}")
            ended = None
        elif isinstance(event, (e.ProcessCancelled, e.ProcessFailed, e.ProcessCompleted)):
            audit.demand("I6", ended is None, f"ended by {ended} and again by {event.type}")
            ended = event.type
        elif ended is not None:
            # What was told to cancel ends when it can, and is paid for then.
            audit.demand("I6", isinstance(event, e.ChildEnded), f"{event.type} after {ended}")
    if audit.stored.head.status.is_final:
        left = [item for item in audit.work if item.kind is not WorkKind.RECALL]
        audit.demand("I6", not left, f"work is left: {left}")


def costs_add_up(audit: Audit) -> None:
    """I13: total cost and tokens equal the sum over attempts and children."""
    head, total = audit.stored.head, spent(audit.events)
    audit.demand("I13", head.cost == total.cost, f"cost {head.cost} is not the sum, {total.cost}")
    audit.demand("I13", head.tokens == total.tokens, f"tokens {head.tokens} are not the sum, {total.tokens}")


def spent(events: Sequence[e.Event]) -> Usage:
    """What attempts, children, items and undos of a history consumed together; tokens as `other_tokens`."""
    usages = [event.usage for event in events if isinstance(event, _WITH_USAGE)]
    cost = sum((usage.cost for usage in usages), start=Decimal(0))
    return Usage(cost=cost, other_tokens=sum(usage.tokens for usage in usages))
