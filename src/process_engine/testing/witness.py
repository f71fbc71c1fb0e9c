"""A second opinion: the rules of behaviour told once more, from definition and events alone.

The invariants of the core read the core's own plan and state; a wrong plan could deceive them. A `Witness`
reads the document and the history as they come, keeps a small model of its own, and objects to the first
event that the rules do not allow, and to whatever should have happened in a transition and did not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from process_engine.core import events as e
from process_engine.core.commands import RecordResult
from process_engine.core.failures import Failure
from process_engine.core.results import NO_USAGE, Completed
from process_engine.core.values import Value, pack
from process_engine.core.work import item_key
from process_engine.definition.document import (
    AgentTask,
    HumanApproval,
    Notification,
    ProcessDefinition,
    RetryPolicy,
    Step,
    SubProcess,
    Timer,
    WaitForEvent,
)
from process_engine.testing.item_witness import ItemWitness
from process_engine.testing.simulated_notifications import progress_of
from process_engine.testing.undo_witness import UndoWitness
from process_engine.testing.verdicts import SETTLED, RuleBroken, Seen, Verdicts
from process_engine.testing.witness_of_children import ChildWitness

FINAL = ("completed", "failed", "cancelled")
MAX_INTERRUPTIONS = 10
MAX_RETRY_AFTER_SECONDS = 3600.0

Delivered = Callable[[str, int, int], Sequence[RecordResult]]
"""Every result that was ever delivered for a step, or an item as `step[17]`, its visit and attempt."""


class Witness:
    """Follows one execution. Feed it every event in order, then `end_of_transition` after each commit."""

    def __init__(self, definition: ProcessDefinition, delivered: Delivered) -> None:
        self.definition = definition
        self.delivered = delivered
        self.kinds: dict[str, Step] = {step.id: step for step in definition.steps}
        self.steps: dict[str, Seen] = {step_id: Seen() for step_id in self.kinds}
        self.verdicts = Verdicts(definition, self.steps)
        self.graph = self.verdicts.graph
        self.undo = UndoWitness(definition, delivered, self._demand)
        self.stop_on_failure = True
        self.status = "pending"
        self.stopping = False
        self.cancelling = False
        self.unhandled = False
        self.grace = timedelta()
        self.line: list[str] = []
        self.slots = 0
        self.children = ChildWitness(definition)
        self.items = ItemWitness(definition, self._demand)

    def _demand(self, holds: bool, rule: str) -> None:
        if not holds:
            raise RuleBroken(rule)

    # ------------------------------------------------------------ events

    def see(self, event: e.Event) -> None:
        """Follow one event.

        Raises:
            RuleBroken: the rules do not allow it here.
        """
        self.children.see(event)
        if isinstance(event, e.ChildEnded):
            # The one event that may come after the end, or in a later visit than it is about.
            return
        ended = ("completed", "cancelled") if isinstance(event, e.ProcessReopened) else FINAL
        self._demand(self.status not in ended, f"{event.type} after the end")
        self.undo.before(event)
        match event:
            case e.ExecutionCreated():
                bounds = (event.config.slots, self.definition.limits.max_concurrent_steps or 0)
                self.slots = min([bound for bound in bounds if bound], default=0)
                self.stop_on_failure = event.config.stop_on_failure
                self.grace = timedelta(seconds=event.config.cancel_grace)
            case e.StepsReopened():
                self._reopened(event)
            case e.ProcessReopened():
                self._goes_on(event)
            case e.StepEvent() if event.type.startswith("Compensation"):
                self._undoes(event)
            case e.ItemEvent():
                self._item_event(event)
            case e.StepEvent():
                self._step_event(event)
            case _:
                self._process_event(event)

    def _process_event(self, event: e.Event) -> None:
        match event:
            case e.ProcessStarted():
                self._demand(self.status == "pending", "started twice")
                self.status = "running"
            case e.ProcessPaused():
                self._demand(self.status == "running", "paused what does not run")
                self.status = "paused"
            case e.ProcessResumed():
                self._demand(self.status == "paused", "resumed what is not paused")
                self.status = "running"
            case e.ProcessStopping():
                self._demand(not self.stopping, "stopped twice")
                left = [s for s, seen in self.steps.items() if seen.status == "waiting"]
                self._demand(not left, f"a failing execution leaves {left} waiting")
                self.stopping = True
            case e.ProcessCancelling():
                self._cancels(event)
            case e.ProcessCompleted():
                self._demand(self.status in ("running", "paused"), f"completed while {self.status}")
                self._demand(not self._open(), f"completed, and {self._open()} are open")
                self._demand(not self.unhandled and not self.stopping, "completed in spite of a failure")
                self.status = "completed"
            case e.ProcessFailed():
                self._demand(not self._in_motion(), f"failed, and {self._in_motion()} are in motion")
                self._demand(self.stopping or not self._open(), f"failed while {self._open()} are open")
                self._demand(not self.cancelling, "failed, and it was cancelled")
                self._check_undone(event)
                self.status = "failed"
            case e.ProcessCancelled():
                self._demand(not self._in_motion(), f"cancelled, and {self._in_motion()} are in motion")
                self._check_undone(event)
                self.status = "cancelled"
            case _:
                raise RuleBroken(f"{event.type} is an event that no rule knows")

    def _cancels(self, event: e.ProcessCancelling) -> None:
        """It is cancelled, and there is something to undo, or what runs may leave something behind."""
        self._demand(self.status in ("running", "paused"), f"cancelled while {self.status}")
        running = [step_id for step_id in self._running() if self.items.slots(step_id)]
        left = [step_id for step_id in self._in_motion() if step_id not in running]
        self._demand(not left, f"a cancelled execution leaves {left} waiting")
        for_something = self.undo.owed or any(self._may_owe(step_id) for step_id in running)
        self._demand(bool(for_something), "nothing is there to undo, and the cancel takes its time")
        self._demand(event.due <= event.timestamp + self.grace, "the grace is too long")
        self.status, self.stopping, self.cancelling = "compensating", True, True

    def _may_owe(self, step_id: str) -> bool:
        """Whether a running step may leave something behind that has to be undone."""
        return step_id in self.undo.bodies and self.items.may_complete(step_id)

    def _undoes(self, event: e.StepEvent) -> None:
        if not isinstance(event, e.CompensationPrepared):
            self._demand(self.stopping, f"{event.type}, and nothing has failed or was cancelled")
            self._demand(not self._in_motion(), f"{event.type} while {self._in_motion()} are in motion")
            self.status = "compensating"
        self.undo.see(event)

    def _check_undone(self, event: e.Event) -> None:
        self._demand(not self.undo.owed, f"{event.type}, and {self.undo.owed} are not undone")
        self._demand(self.undo.trying is None, f"{event.type} while {self.undo.trying} is being undone")

    def _open(self) -> list[str]:
        return [step_id for step_id, seen in self.steps.items() if seen.status not in SETTLED]

    def _running(self) -> list[str]:
        return [step_id for step_id, seen in self.steps.items() if seen.status == "running"]

    def _in_motion(self) -> list[str]:
        return [step_id for step_id, seen in self.steps.items() if seen.status in ("running", "waiting")]

    def _step_event(self, event: e.StepEvent) -> None:
        seen = self.steps[event.step_id]
        self._demand(event.visit == seen.visit, f"{event.type} of visit {event.visit} in visit {seen.visit}")
        match event:
            case e.StepQueued():
                self._demand(
                    seen.status in ("pending", "waiting"), f"{event.step_id} queued while {seen.status}"
                )
                self._demand(
                    seen.begun or self._may_run(event.step_id),
                    f"{event.step_id} queued against its edges",
                )
                self.line.append(event.step_id)
                new = replace(seen, status="ready")
            case e.StepStarted():
                self._starts(event.step_id, seen)
                again = seen.begun or event.attempt != seen.attempt + 1
                self._demand(not again, f"{event.step_id} starts its visit again")
                self._demand(
                    seen.status in ("pending", "ready"), f"{event.step_id} starts while {seen.status}"
                )
                # Asked when it was put in line, if it was: an ordering edge may have been reopened meanwhile.
                allowed = seen.status == "ready" or self._may_run(event.step_id)
                self._demand(
                    allowed,
                    f"{event.step_id} starts, and its edges say {self.verdicts.verdict(event.step_id)}",
                )
                new = replace(seen, status="running", attempt=event.attempt, begun=True)
                self.items.begins(event)
            case e.AttemptStarted():
                self._starts(event.step_id, seen)
                self._demand(
                    event.attempt == seen.attempt + 1, f"{event.step_id}: attempt {event.attempt} is not next"
                )
                self._demand(
                    seen.status in ("ready", "waiting"), f"{event.step_id} tries again while {seen.status}"
                )
                self._demand(
                    seen.due is None or event.timestamp >= seen.due, f"{event.step_id} tries again too early"
                )
                new = replace(seen, status="running", attempt=event.attempt, interrupted=False)
            case e.StepRetrying():
                new = self._retries(event, seen)
            case e.StepWaiting() | e.StepWaitingApproval():
                self._demand(seen.status == "running", f"{event.step_id} waits while {seen.status}")
                new = replace(seen, status="waiting", due=event.due)
            case e.EventReceived():
                new = self._receives(event, seen)
            case (
                e.ApprovalRequested()
                | e.ApprovalDecided()
                | e.ApprovalDelegated()
                | e.ApprovalReminded()
                | e.ApprovalEscalated()
                | e.ApprovalExpired()
            ):
                new = self._asks(event, seen)
            case e.ChildStarted() | e.ChildRecalled():
                self._demand(seen.status == "waiting", f"{event.type} of {event.step_id}: {seen.status}")
                new = seen
            case _:
                new = self._ends(event, seen)
                self.items.ends(event.step_id)
        self.steps[event.step_id] = new
        if new.status != "ready" and event.step_id in self.line:
            self.line.remove(event.step_id)

    def _may_run(self, step_id: str) -> bool:
        return self.verdicts.verdict(step_id) == "run"

    def _starts(self, step_id: str, seen: Seen) -> None:
        self._demand(self.status == "running", f"{step_id} starts while the execution is {self.status}")
        self._demand(not self.stopping, f"{step_id} starts although the execution is about to fail")
        if not self._takes_slot(step_id):
            return
        if not seen.interrupted or seen.status == "ready":
            first = next((other for other in self.line if self._takes_slot(other)), step_id)
            self._demand(first == step_id, f"{step_id} overtakes {first}")
        self._demand(not self.slots or self._held() < self.slots, f"{step_id} starts, and no slot is free")

    def _takes_slot(self, step_id: str) -> bool:
        return isinstance(self.kinds[step_id], AgentTask | Notification) or step_id in self.items.rules

    def _held(self) -> int:
        """Slots that are taken."""
        return sum(self.items.slots(step_id) for step_id in self._running())

    # ------------------------------------------------------------ items

    def _item_event(self, event: e.ItemEvent) -> None:
        seen, place = self.steps[event.step_id], f"item {event.item} of {event.step_id}"
        self._demand(seen.status == "running", f"{event.type} of {place}, and the step is {seen.status}")
        given = self.delivered(item_key(event.step_id, event.item), event.visit, event.attempt)
        if isinstance(event, e.ItemStarted):
            self._item_starts(event, place)
            return
        item = self.items.answers(event)
        asks = isinstance(self.kinds[event.step_id], AgentTask)
        if isinstance(event, e.ItemCompleted):
            self._demand(not asks or _is_given(event, given), f"{place} gave what no agent did")
            return
        assert isinstance(event, e.ItemRetrying | e.ItemFailed)
        if event.failure.code == "INTERRUPTED":
            item.interruptions += 1
            self._demand(item.interruptions <= MAX_INTERRUPTIONS + 1, f"{place} was interrupted too often")
            return
        # What cannot be asked has nobody to answer it.
        unasked = not asks or event.failure.code == "EXPRESSION_ERROR"
        paid = any(one.result.usage == event.usage for one in given)
        self._demand(paid or unasked, f"{place}: {event.type} without an answer")
        if isinstance(event, e.ItemRetrying):
            policy = self._retry_policy(event.step_id)
            self._demand(item.retries + 1 < policy.max_attempts, f"{place} has no attempt left")
            self._check_delay(event, item.retries, policy, given)
            item.retries += 1

    def _item_starts(self, event: e.ItemStarted, place: str) -> None:
        self._demand(self.status == "running", f"{place} starts while the execution is {self.status}")
        self._demand(not self.stopping, f"{place} starts although the execution is about to fail")
        self._demand(not self.slots or self._held() < self.slots, f"{place} starts, and no slot is free")
        fresh = self.items.visits[event.step_id].fresh
        before = self.items.starts(event)
        keeps_slot = before is not None and before.interruptions > 0
        line = [other for other in self.line if self._takes_slot(other) and other != event.step_id]
        self._demand(fresh or keeps_slot or not line, f"{place} overtakes {line}")

    # ------------------------------------------------------------ published events

    def _receives(self, event: e.EventReceived, seen: Seen) -> Seen:
        self._demand(seen.status == "waiting", f"{event.step_id} takes an event while {seen.status}")
        self._demand(isinstance(self.kinds[event.step_id], WaitForEvent), f"{event.step_id} takes an event")
        late = seen.due is not None and event.published_at >= seen.due
        self._demand(not late and not seen.received, f"{event.step_id} takes what it must not")
        return replace(seen, received=True)

    def _check_wait(self, event: e.StepEvent, seen: Seen) -> None:
        """A wait that began ends by an event, or by its timeout as the document says."""
        step = self.kinds[event.step_id]
        if not isinstance(step, WaitForEvent) or seen.status != "waiting":
            return
        if seen.received:
            self._demand(isinstance(event, e.StepCompleted), f"{step.id} ends as {event.type} by an event")
            return
        over = seen.due is not None and event.timestamp >= seen.due
        self._demand(over, f"{step.id} ends as {event.type}, without an event or a timeout")
        allowed = {"skip": e.StepSkipped, "continue": e.StepCompleted}.get(step.timeout_action)
        fails = step.timeout_action == "fail" and not isinstance(event, e.StepCompleted)
        self._demand(
            fails if allowed is None else isinstance(event, allowed), f"{step.id} ends as {event.type}"
        )

    # ------------------------------------------------------------ people

    def _asks(self, event: e.StepEvent, seen: Seen) -> Seen:
        step = self.kinds[event.step_id]
        self._demand(seen.status == "waiting", f"{event.type} of {event.step_id}, which is {seen.status}")
        assert isinstance(step, HumanApproval)
        if isinstance(event, e.ApprovalRequested):
            span = timedelta(seconds=step.timeout.seconds if step.timeout is not None else 86_400)
            in_time = event.request.deadline == event.timestamp + span == seen.due
            self._demand(in_time, f"{event.step_id} is to be decided by {event.request.deadline}")
            return replace(seen, asked=event.request)
        self._demand(seen.asked is not None, f"{event.type} of {event.step_id}, and nothing was asked")
        assert seen.asked is not None
        late = event.timestamp >= seen.asked.deadline
        self._demand(not seen.expired, f"{event.type} of {event.step_id} after its deadline")
        self._demand(
            isinstance(event, e.ApprovalExpired) is late, f"{event.type} of {event.step_id} at the wrong time"
        )
        if isinstance(event, e.ApprovalExpired):
            return replace(seen, expired=True)
        if isinstance(event, e.ApprovalDecided):
            before = {decision.by for decision in seen.decided}
            self._demand(event.decision.by not in before, f"{event.decision.by} decides twice")
            return replace(seen, decided=(*seen.decided, event.decision))
        return seen

    def _decided(self, step: HumanApproval, seen: Seen) -> str | None:
        """What the decisions come to, counted from the document: `approved`, `rejected` or nothing yet."""
        rulings = [str(decision.ruling) for decision in seen.decided]
        if rulings.count("rejected") >= step.rejections_needed:
            return "rejected"
        return "approved" if rulings.count("approved") >= step.required_approvals else None

    def _check_approval(self, step: HumanApproval, seen: Seen, *, completed: bool) -> None:
        """An approval ends as people decided, or as its deadline says."""
        come_to = self._decided(step, seen)
        if seen.expired:
            action = step.timeout_action if isinstance(step.timeout_action, str) else "fail"
            come_to = {"approve": "approved", "reject": "rejected"}.get(action)
        passes = come_to == "approved" or (come_to == "rejected" and step.on_reject == "continue")
        self._demand(passes is completed, f"{step.id} ends although people say {come_to}")

    def _check_refused(self, step_id: str, seen: Seen) -> None:
        step = self.kinds[step_id]
        if isinstance(step, HumanApproval) and seen.asked is not None:
            self._check_approval(step, seen, completed=False)

    # ------------------------------------------------------------ ends and repetitions

    def _retries(self, event: e.StepRetrying, seen: Seen) -> Seen:
        step_id = event.step_id
        begun = "waiting" if isinstance(self.kinds[step_id], SubProcess) else "running"
        self._demand(seen.status == begun, f"{step_id} retries while {seen.status}")
        if event.failure.code == "INTERRUPTED":
            self._demand(seen.interruptions < MAX_INTERRUPTIONS, f"{step_id} was interrupted too often")
            return replace(
                seen, status="waiting", interruptions=seen.interruptions + 1, interrupted=True, due=event.due
            )
        policy = self._retry_policy(step_id)
        self._demand(seen.retries + 1 < policy.max_attempts, f"{step_id} has no attempt left")
        if self._takes_slot(step_id):
            self._demand(
                self._was_delivered(event, event.usage),
                f"{step_id} retries without a failure of this attempt",
            )
        self._check_delay(event, seen.retries, policy, self._results(event))
        self._check_progress(event)
        return replace(seen, status="waiting", retries=seen.retries + 1, due=event.due)

    def _check_progress(self, event: e.StepRetrying | e.StepFailed) -> None:
        """What an attempt did all the same comes from a notification that was refused, by this attempt."""
        if event.progress is None:
            return
        told = isinstance(self.kinds[event.step_id], Notification)
        told = told and event.progress == progress_of(event.attempt)
        self._demand(told, f"{event.step_id} did {event.progress}, which nobody said")

    def _retry_policy(self, step_id: str) -> RetryPolicy:
        step = self.kinds[step_id]
        if isinstance(step, SubProcess):
            # Nothing is called a second time unasked.
            return step.retry or RetryPolicy(max_attempts=1)
        unasked = RetryPolicy() if isinstance(step, AgentTask) else RetryPolicy(max_attempts=1)
        return step.retry or self.definition.defaults.retry or unasked

    def _check_delay(
        self,
        event: e.StepRetrying | e.ItemRetrying,
        retries: int,
        policy: RetryPolicy,
        given: Sequence[RecordResult],
    ) -> None:
        number = retries + 2
        base = policy.initial_delay.seconds
        if policy.backoff == "exponential":
            base *= policy.backoff_multiplier ** (number - 2)
        elif policy.backoff == "linear":
            base *= number - 1
        low, high = (base * 0.5, base * 1.5) if policy.jitter else (base, base)
        asked = max((self._asked(result) for result in given), default=0.0)
        low, high = min(low, policy.max_delay.seconds), max(min(high, policy.max_delay.seconds), asked)
        self._demand(
            low <= event.delay_seconds <= high,
            f"{event.step_id} waits {event.delay_seconds}, not {low}…{high}",
        )
        self._demand(
            event.due == event.timestamp + timedelta(seconds=event.delay_seconds), "due is not the delay"
        )

    def _asked(self, result: RecordResult) -> float:
        after = None if isinstance(result.result, Completed) else result.result.retry_after
        return min(after or 0.0, MAX_RETRY_AFTER_SECONDS)

    def _ends(self, event: e.StepEvent, seen: Seen) -> Seen:
        step_id = event.step_id
        self._demand(seen.status not in SETTLED, f"{step_id} was {seen.status} and ends again")
        if not isinstance(event, e.StepCancelled):
            self._check_wait(event, seen)
        match event:
            case e.StepCompleted():
                step = self.kinds[step_id]
                if isinstance(step, HumanApproval):
                    self._check_approval(step, seen, completed=True)
                elif step_id in self.items.rules:
                    self.items.completes(event)
                elif self._takes_slot(step_id):
                    self._demand(
                        self._gave(event), f"{step_id} completed with what attempt {event.attempt} never gave"
                    )
                elif isinstance(step, Timer) and seen.due is not None:
                    self._demand(event.timestamp >= seen.due, f"timer {step_id} ended early")
                return replace(seen, status="completed", routes=event.routes or ())
            case e.StepFailed():
                self._check_refused(step_id, seen)
                self._demand(
                    self._paid(event, event.usage), f"{step_id}: the cost of the last attempt was forgotten"
                )
                self._check_handled(event)
                self._check_progress(event)
                return replace(seen, status="failed", handled_by=event.handled_by)
            case e.StepSkipped():
                self._check_refused(step_id, seen)
                self._demand(
                    self._paid(event, event.usage), f"{step_id}: the cost of the last attempt was forgotten"
                )
                self._check_skip(event, seen)
                return replace(seen, status="skipped", reason=event.reason)
            case e.StepCancelled():
                ready = seen.status == "ready" and seen.begun
                self._demand(
                    ready or seen.status in ("running", "waiting"), f"{step_id} cancelled while {seen.status}"
                )
                cut_off = event.reason == "cancelled" and step_id in self._running()
                undoes = bool(self.undo.owed and self.items.slots(step_id)) or self._may_owe(step_id)
                self._demand(not (cut_off and undoes), f"{step_id} may not answer, and has to be undone")
                return replace(seen, status="cancelled", reason=event.reason)
            case _:
                raise RuleBroken(f"{event.type} is an event that no rule knows")

    def _results(self, event: e.StepEvent) -> Sequence[RecordResult]:
        return self.delivered(event.step_id, event.visit, event.attempt)

    def _gave(self, event: e.StepCompleted) -> bool:
        return _is_given(event, self._results(event))

    def _was_delivered(self, event: e.StepEvent, usage: object) -> bool:
        return any(given.result.usage == usage for given in self._results(event))

    def _paid(self, event: e.StepFailed | e.StepSkipped, usage: object) -> bool:
        """Whether an attempt that answered is accounted for; what never answered is free."""
        if event.failure is None or event.attempt == 0 or not self._takes_slot(event.step_id):
            return True
        if event.step_id in self.items.rules:
            return usage == NO_USAGE
        return self._was_cut_off(event, event.failure) or self._was_delivered(event, usage)

    def _was_cut_off(self, event: e.StepEvent, failure: Failure) -> bool:
        """Whether the visit ended by an interruption, be it told as such or as one loop too many."""
        step, seen = self.kinds[event.step_id], self.steps[event.step_id]
        for_good = step.on_interrupt == "fail" or seen.interruptions == MAX_INTERRUPTIONS
        return failure.code == "INTERRUPTED" or (failure.code == "VISITS_EXCEEDED" and for_good)

    def _check_handled(self, event: e.StepFailed) -> None:
        policy = self.kinds[event.step_id].on_error
        if event.handled_by is None:
            self.unhandled = True
        else:
            self._demand(
                policy is not None and policy.target_step == event.handled_by,
                f"{event.step_id} handled by a stranger",
            )
            self._demand(
                not self.stopping, f"{event.step_id} is handled although the execution is about to fail"
            )

    def _check_skip(self, event: e.StepSkipped, seen: Seen) -> None:
        step_id, verdict = event.step_id, self.verdicts.verdict(event.step_id)
        match event.reason:
            case "error":
                self._demand(
                    seen.status != "pending" or verdict == "run", f"{step_id} skips an error on a dead path"
                )
            case "condition_false":
                self._demand(
                    seen.status == "pending" and verdict == "run",
                    f"condition of {step_id} asked at the wrong time",
                )
                self._demand(self.kinds[step_id].condition is not None, f"{step_id} has no condition")
            case "dependency_failed":
                self._demand(
                    verdict == "dependency_failed",
                    f"{step_id} skipped as {event.reason}, edges say {verdict}",
                )
            case _:
                self._demand(
                    seen.status == "pending" and verdict == "skip",
                    f"{step_id} skipped, and its edges say {verdict}",
                )

    def _goes_on(self, event: e.ProcessReopened) -> None:
        """A failed execution is taken back: what did not succeed runs again, and what was asked for."""
        self._demand(self.status == "failed", f"reopened what is {self.status}")
        self._demand(not self.undo.has_begun, "reopened what was undone")
        for step_id, seen in self.steps.items():
            unsettled = seen.status == "failed" and seen.handled_by is None
            unsettled = unsettled or seen.status not in ("completed", "failed", "skipped")
            self._demand(not unsettled or step_id in event.steps, f"{step_id} stays {seen.status} for ever")
            kept = seen.status == "completed" and step_id not in event.again
            self._demand(
                not kept or step_id not in event.steps, f"{step_id} was completed and loses its result"
            )
        for step_id in event.steps:
            seen = self.steps[step_id]
            same = Seen(visit=seen.visit, attempt=seen.attempt, interruptions=seen.interruptions)
            self.steps[step_id] = Seen(visit=seen.visit + 1) if step_id in event.again else same
        self.status, self.stopping, self.unhandled, self.line = "running", False, False, []

    def _reopened(self, event: e.StepsReopened) -> None:
        region = self.graph.descendants(event.target) | {event.target}
        self._demand(set(event.steps) == region, f"reopened {event.steps}, not {region}")
        moving = [step_id for step_id in self._in_motion() if step_id in region]
        self._demand(not moving, f"reopened while {moving} are in motion")
        bounds = [
            loop.max_visits or 10
            for loop in self.graph.loops
            if (loop.source, loop.target) == (event.by, event.target)
        ]
        visit = self.steps[event.target].visit + 1
        self._demand(
            bool(bounds) and visit <= max(bounds), f"visit {visit} of {event.target}, allowed are {bounds}"
        )
        for step_id in region:
            self.steps[step_id] = Seen(visit=self.steps[step_id].visit + 1)
        self.line = [step_id for step_id in self.line if step_id not in region]

    # ------------------------------------------------------------ what should have happened

    def end_of_transition(self) -> None:
        """Object if a transition left something undone that the rules demand at once.

        Raises:
            RuleBroken: a step that could be decided was not, or a slot stays free while steps stand in line.
        """
        if self.status == "compensating" and not self._in_motion():
            self._demand(self.undo.trying is not None, "nothing runs any more, and nothing is being undone")
        if self.stopping and self.status not in FINAL:
            idle = [step_id for step_id in self._running() if not self.items.slots(step_id)]
            self._demand(not idle, f"about to end, and {idle} wait for items")
        if self.status not in ("running", "paused"):
            return
        running, held = self._running(), self._held()
        if self.stopping:
            self._demand(held > 0, "about to fail, and nothing runs any more")
            return
        self._demand(not (self.unhandled and self.stop_on_failure), "a failure did not stop the execution")
        for step_id, seen in self.steps.items():
            step = self.kinds[step_id]
            if seen.status == "waiting" and isinstance(step, HumanApproval):
                come_to = self._decided(step, seen)
                self._demand(come_to is None, f"{step_id} waits although people say {come_to}")
            self._demand(
                not seen.received or seen.status != "waiting", f"{step_id} took an event and waits on"
            )
            if seen.status == "pending":
                self._demand(
                    self.verdicts.verdict(step_id) == "wait",
                    f"{step_id} was forgotten: {self.verdicts.verdict(step_id)}",
                )
        if self.status == "running" and self.line:
            self._demand(0 < self.slots <= held, f"{self.line} stand in line beside free slots")
        if self.status == "running" and (not self.slots or held < self.slots):
            idle = [step_id for step_id in running if self.items.forgotten(step_id)]
            self._demand(not idle, f"items of {idle} do not begin beside free slots")
        self._demand(bool(self._open()), "everything is settled, and the execution goes on")


def _is_given(event: e.StepCompleted | e.ItemCompleted, given: Sequence[RecordResult]) -> bool:
    return any(
        isinstance(one.result, Completed)
        and _output_of(one) == event.output
        and one.result.usage == event.usage
        for one in given
    )


def _output_of(given: RecordResult) -> Value:
    if given.value is not None:
        return given.value
    assert isinstance(given.result, Completed)
    return pack(given.result.output)[0]
