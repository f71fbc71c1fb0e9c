"""What must hold of sub-processes: one for each attempt, waited for or cancelled, and told of once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from process_engine.core import events as e
from process_engine.core.children import ChildOutcome, child_id
from process_engine.core.invariants.audit import Audit, BrokenInvariant
from process_engine.core.invariants.history import spent
from process_engine.core.results import Usage
from process_engine.ids import ExecutionId, StepId

_ENDS = {
    "ProcessCompleted": ChildOutcome.COMPLETED,
    "ProcessFailed": ChildOutcome.FAILED,
    "ProcessCancelled": ChildOutcome.CANCELLED,
}


class _Calls:
    """The children of one execution, followed through its history."""

    def __init__(self, audit: Audit) -> None:
        self.audit = audit
        self.known: set[ExecutionId] = set()
        self.current: dict[StepId, ExecutionId] = {}
        self.recalled: set[ExecutionId] = set()
        self.given_up: set[ExecutionId] = set()
        self.ended: dict[ExecutionId, ChildOutcome] = {}

    def demand(self, holds: bool, found: str) -> None:
        self.audit.demand("I11", holds, found)

    def started(self, event: e.ChildStarted) -> None:
        own = child_id(event.execution_id, event.step_id, event.visit, event.attempt)
        self.demand(event.child_id == own, f"{event.child_id} is not the child of {event.id}")
        self.demand(own not in self.known, f"{own} was started twice")
        self.demand(event.step_id not in self.current, f"{event.step_id} has a second child beside the first")
        self.known.add(own)
        self.current[event.step_id] = own

    def recall(self, event: e.ChildRecalled) -> None:
        waited = self.current.get(event.step_id) == event.child_id and event.child_id not in self.ended
        self.demand(waited, f"{event.child_id} is recalled, and nobody waits for it")
        self.recalled.add(event.child_id)

    def end(self, event: e.ChildEnded) -> None:
        waited = event.child_id in (*self.current.values(), *self.given_up)
        self.demand(waited, f"the end of {event.child_id} is recorded, and nobody waits for it")
        self.demand(event.child_id not in self.ended, f"the end of {event.child_id} is recorded twice")
        self.ended[event.child_id] = event.outcome
        self.given_up.discard(event.child_id)

    def complete(self, step_id: StepId) -> None:
        rules, child = self.audit.plan.steps[step_id].child, self.current.pop(step_id, None)
        if rules is None:
            return
        self.demand(child is not None, f"{step_id} completed without a child")
        self.demand(child not in self.recalled, f"{step_id} completed although its time was up")
        outcome = self.ended.get(child) if child is not None else None
        right = outcome is (ChildOutcome.COMPLETED if rules.waits else None)
        self.demand(right, f"{step_id} completed while its child was {outcome}")

    def fail(self, step_id: StepId, code: str) -> None:
        child = self.current.pop(step_id, None)
        if child is None:
            return
        outcome = self.ended.get(child)
        self.demand(outcome is not None, f"{step_id} failed before its child had ended")
        wrongly = code == "CHILD_FAILED" and outcome is ChildOutcome.COMPLETED
        self.demand(not wrongly, f"{step_id} says that {child} failed, which completed")
        self.demand(code != "TIMEOUT" or child in self.recalled, f"{step_id} timed out with its child")

    def cancel(self, step_id: StepId) -> None:
        child = self.current.pop(step_id, None)
        if child is not None and child not in self.ended:
            self.given_up.add(child)


def children_bind(audit: Audit) -> None:
    """I11, as far as the parent's history tells: a step ends as its child did, and after it; one child for
    each attempt; what nobody waits for is cancelled until its end is known."""
    calls = _Calls(audit)
    for event in audit.events:
        match event:
            case e.ChildStarted():
                calls.started(event)
            case e.ChildRecalled():
                calls.recall(event)
            case e.ChildEnded():
                calls.end(event)
            case e.StepCompleted():
                calls.complete(event.step_id)
            case e.StepFailed() | e.StepRetrying():
                calls.fail(event.step_id, event.failure.code)
            case e.StepSkipped() if event.failure is not None:
                calls.fail(event.step_id, event.failure.code)
            case e.StepCancelled():
                calls.cancel(event.step_id)
            case _:
                pass
    recalls = {recall.id for recall in audit.stored.head.recalls}
    audit.demand("I11", recalls == calls.given_up, f"to cancel are {calls.given_up}, kept are {recalls}")


def children_agree(histories: Mapping[ExecutionId, Sequence[e.Event]], *, settled: bool = False) -> None:
    """I11 over whole trees: parent and child agree on who called whom, how it ended, and what it cost.

    `settled` says that nothing is under way any more: then every end is known to the parent as well.

    Raises:
        BrokenInvariant: they do not.
    """
    for id, events in histories.items():
        created = events[0]
        if isinstance(created, e.ExecutionCreated) and created.parent is not None:
            _check_call(id, created, histories.get(created.parent.execution_id, ()), settled=settled)
        for event in events:
            if isinstance(event, e.ChildEnded):
                child_agrees(event, histories.get(event.child_id))


def _check_call(
    id: ExecutionId, created: e.ExecutionCreated, above: Sequence[e.Event], *, settled: bool
) -> None:
    link = created.parent
    assert link is not None
    calls = [event for event in above if isinstance(event, e.ChildStarted) and event.child_id == id]
    if not calls:
        raise BrokenInvariant("I11", id, f"it says that {link} called it, which knows nothing of it")
    call = calls[0]
    if (call.step_id, call.visit, call.attempt) != (link.step_id, link.visit, link.attempt):
        raise BrokenInvariant("I11", id, f"it says that {link} called it, and that was {call.id}")
    if call.correlation_id != created.correlation_id:
        raise BrokenInvariant("I11", id, "it is of another tree than its parent")
    told = any(isinstance(event, e.ChildEnded) and event.child_id == id for event in above)
    if settled and link.waits and not told:
        raise BrokenInvariant("I11", id, f"{link.execution_id} was never told that it has ended")


def child_agrees(event: e.ChildEnded, child: Sequence[e.Event] | None) -> None:
    """I11: what a parent records of the end of a child is what the child's history says; None: there is none.

    Raises:
        BrokenInvariant: it is not.
    """
    if (event.outcome is ChildOutcome.REFUSED) is not (child is None):
        raise BrokenInvariant("I11", event.child_id, f"its parent says {event.outcome}")
    if child is None:
        return
    ends = [_ENDS[one.type] for one in child if one.type in _ENDS]
    if ends[-1:] != [event.outcome]:
        raise BrokenInvariant("I11", event.child_id, f"its parent says {event.outcome}, it says {ends}")
    total = spent(child)
    known = Usage(cost=event.usage.cost, other_tokens=event.usage.tokens)
    if total != known:
        raise BrokenInvariant("I11", event.child_id, f"its parent paid {known}, it cost {total}")
