"""What must hold of waiting: it has a name, ends once, and slots hold."""

from __future__ import annotations

from process_engine.core import events as e
from process_engine.core.blockers import blockers
from process_engine.core.invariants.audit import Audit
from process_engine.core.state import ExecutionStatus, StepState
from process_engine.core.work import item_key


def something_is_waited_for(audit: Audit) -> None:
    """I7: an execution that is not finished has a named blocker."""
    execution = audit.execution
    if execution.status.is_final:
        open_steps = [s for s in audit.plan.order if not execution.step(s).status.is_settled]
        audit.demand("I7", not open_steps, f"it is {execution.status} and {open_steps} are not settled")
    else:
        audit.demand("I7", bool(blockers(execution)), f"it is {execution.status} and waits for nothing")
    if execution.status is ExecutionStatus.RUNNING and execution.progress.queue:
        audit.demand("I7", execution.progress.running > 0, "steps stand in line, and every slot is free")


def timers_end_once(audit: Audit) -> None:
    """I8: a wait ends in one way: by its time, and never early, or from outside."""
    waiting: dict[str, e.StepWaiting] = {}
    for event in audit.events:
        if isinstance(event, e.StepWaiting) and event.waiting_for is e.Waiting.TIMER:
            waiting[event.step_id] = event
        elif isinstance(event, (e.StepCompleted, e.StepCancelled, e.StepFailed, e.StepSkipped)):
            wait = waiting.pop(event.step_id, None)
            if wait is not None and wait.due is not None and isinstance(event, e.StepCompleted):
                audit.demand(
                    "I8",
                    event.timestamp >= wait.due,
                    f"{event.step_id} ended {event.timestamp}, due {wait.due}",
                )
    due = {event.step_id: event.due for event in audit.events if isinstance(event, e.StepRetrying)}
    for event in audit.events:
        if isinstance(event, e.AttemptStarted) and event.step_id in due:
            retry = _retry_before(audit, event)
            audit.demand("I8", retry is not None, f"{event.step_id} tried again without StepRetrying")
            if retry is not None:
                audit.demand(
                    "I8", event.timestamp >= retry.due, f"{event.step_id} tried again before {retry.due}"
                )


def _retry_before(audit: Audit, started: e.AttemptStarted) -> e.StepRetrying | None:
    for event in reversed(audit.events[: started.sequence - 1]):
        if isinstance(event, e.StepRetrying) and event.step_id == started.step_id:
            return event if (event.visit, event.attempt + 1) == (started.visit, started.attempt) else None
    return None


def slots_hold(audit: Audit) -> None:
    """I9: never more attempts at once than slots, and the count of running ones is right."""
    slots = audit.stored.created.config.max_concurrent_steps
    held = _Slots(audit)
    for event in audit.events:
        held.follow(event)
        running = held.running
        audit.demand("I9", not slots or len(running) <= slots, f"{running} run in {slots} slot(s)")
    in_state = {key for step_id, state in audit.stored.steps.items() for key in _running(step_id, state)}
    audit.demand("I9", held.running == in_state, f"the log has {held.running} running, the state {in_state}")
    counted = audit.execution.progress.running
    audit.demand("I9", counted == len(in_state), f"{in_state} run, and {counted} are counted")


class _Slots:
    """Who holds a slot, told event by event: a step, or each of its items, as `step[17]`.

    A step all of whose items have ended holds one while it puts together what they gave.
    """

    def __init__(self, audit: Audit) -> None:
        self.running: set[str] = set()
        self._steps = audit.plan.steps
        # Of each step that runs for items: the visit, how many there are, and which have ended.
        self._visits: dict[str, tuple[int, int, set[int]]] = {}

    def follow(self, event: e.Event) -> None:
        match event:
            case e.StepStarted(items=int(total)):
                number, _, ended = self._visits.get(event.step_id, (0, 0, set[int]()))
                same = number == event.visit
                self._visits[event.step_id] = (event.visit, total, ended if same else set())
                self._hold_if_complete(event)
            case e.StepStarted() | e.AttemptStarted():
                if self._steps[event.step_id].inline is None:
                    self.running.add(event.step_id)
            case e.ItemStarted():
                self.running.add(item_key(event.step_id, event.item))
            case e.ItemEvent():
                self.running.discard(item_key(event.step_id, event.item))
                rules = self._steps[event.step_id].items
                passed_over = isinstance(event, e.ItemFailed) and rules is not None and rules.collects
                if passed_over or isinstance(event, e.ItemCompleted):
                    self._visits[event.step_id][2].add(event.item)
                self._hold_if_complete(event)
            case e.StepEvent() if not isinstance(event, e.StepQueued):
                own = f"{event.step_id}["
                self.running = {k for k in self.running if k != event.step_id and not k.startswith(own)}
            case _:
                pass

    def _hold_if_complete(self, event: e.StepEvent) -> None:
        _, total, ended = self._visits[event.step_id]
        if len(ended) == total:
            self.running.add(event.step_id)


def _running(step_id: str, state: StepState) -> set[str]:
    if state.items is None or not state.slots:
        return {step_id} if state.slots else set()
    items = {item_key(step_id, item.index) for item in state.items.open if item.running}
    return items or {step_id}
