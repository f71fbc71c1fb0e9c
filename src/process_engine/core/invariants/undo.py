"""What must hold of compensation: once for each completed visit that has one, in reverse order.

Told from the document and the history alone.
"""

from __future__ import annotations

from process_engine.core import events as e
from process_engine.core.invariants.audit import Audit
from process_engine.core.undo import UndoStatus
from process_engine.ids import StepId

Visit = tuple[StepId, int]

_STARTS = (e.StepStarted, e.AttemptStarted, e.StepQueued, e.ItemStarted)
_ENDS = (e.ProcessFailed, e.ProcessCancelled)


def compensation_ran_in_reverse(audit: Audit) -> None:
    """I12: compensation ran once for each completed visit that has one, in reverse order, one at a time."""
    follower = _Follower(audit)
    for event in audit.events:
        follower.see(event)
    stored = {
        (step_id, undo.visit): undo.status
        for step_id, state in audit.stored.steps.items()
        for undo in state.undos
    }
    audit.demand("I12", stored == follower.outcomes, f"stored {stored}, told {follower.outcomes}")


class _Follower:
    """The undos of one execution, told once more from its events."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self._has_one = {step.id for step in audit.plan.definition.steps if step.compensation is not None}
        self._left: list[Visit] = []
        self._prepared: set[Visit] = set()
        self._under_way: Visit | None = None
        self._due: e.CompensationRetrying | None = None
        self._begun = self._stopping = False
        self.outcomes: dict[Visit, UndoStatus] = {}

    def _demand(self, holds: bool, found: str, number: str = "I12") -> None:
        self._audit.demand(number, holds, found)

    def see(self, event: e.Event) -> None:
        """Take in one event."""
        match event:
            case e.StepCompleted(step_id=step_id, visit=visit) if step_id in self._has_one:
                self._left.append((step_id, visit))
                self.outcomes[step_id, visit] = UndoStatus.OWED
            case e.CompensationPrepared(step_id=step_id, visit=visit):
                last = self._left[-1] if self._left else None
                once = (step_id, visit) not in self._prepared
                self._demand(last == (step_id, visit) and once, f"{step_id} is prepared out of turn")
                self._prepared.add((step_id, visit))
            case e.ProcessStopping() | e.ProcessCancelling():
                self._stopping = True
            case e.CompensationStarted():
                self._starts(event)
            case e.CompensationRetrying() | e.CompensationAttemptStarted():
                self._tries_again(event)
            case e.CompensationCompleted() | e.CompensationFailed():
                self._ends(event)
            case _ if isinstance(event, _STARTS):
                self._demand(not self._begun, f"{event.type} while it is being undone", "I6")
                self._demand(not self._stopping, f"{event.type} although nothing may start", "I6")
            case e.ProcessReopened():
                self._demand(not self._begun, "it goes on after it was undone")
                self._stopping = False
            case _ if isinstance(event, _ENDS):
                self._demand(not self._left, f"{event.type}, and {self._left} were not undone")
                self._demand(self._under_way is None, f"{event.type} while {self._under_way} is being undone")
            case e.ProcessCompleted():
                self._demand(not self._begun, "it completed, and was undone")
            case _:
                pass

    def _starts(self, event: e.CompensationStarted) -> None:
        visit = (event.step_id, event.visit)
        self._demand(self._stopping, f"{visit} is undone, and nothing has failed or was cancelled")
        self._demand(self._under_way is None, f"{visit} is undone beside {self._under_way}")
        self._demand(visit in self._prepared, f"{visit} is undone, and nothing says how")
        due = self._left.pop() if self._left else None
        self._demand(due == visit, f"{visit} is undone, and it is the turn of {due}")
        self._begun, self._under_way, self._due = True, visit, None

    def _tries_again(self, event: e.CompensationRetrying | e.CompensationAttemptStarted) -> None:
        visit = (event.step_id, event.visit)
        self._demand(self._under_way == visit, f"{event.type} of {visit}, which is not being undone")
        if isinstance(event, e.CompensationRetrying):
            self._demand(self._due is None, f"{visit} failed while it was waiting to be tried again")
            self._due = event
            return
        retry, self._due = self._due, None
        self._demand(retry is not None, f"{visit} is tried again, and nothing failed", "I8")
        assert retry is not None
        self._demand(event.timestamp >= retry.due, f"{visit} is tried again before {retry.due}", "I8")
        self._demand(event.attempt == retry.attempt + 1, f"{visit}: attempt {event.attempt} is not next")

    def _ends(self, event: e.CompensationCompleted | e.CompensationFailed) -> None:
        visit = (event.step_id, event.visit)
        self._demand(self._under_way == visit, f"{event.type} of {visit}, which is not being undone")
        self._demand(self._due is None, f"{event.type} of {visit}, which waits to be tried again")
        done = isinstance(event, e.CompensationCompleted)
        self.outcomes[visit] = UndoStatus.DONE if done else UndoStatus.FAILED
        self._under_way = None
