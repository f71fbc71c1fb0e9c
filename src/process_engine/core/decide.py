"""`transition()`: what a command makes of an execution. Everything an execution ever does is decided here.

How it works. A command is matched to one small function here, which records events in a draft; recording
is the only way to change anything (`core/evolve/`). What follows for the steps is in `core/moves.py`: when
a step settles it goes to the end of one FIFO line; `advance` takes steps from that line, looks at their
dependants in definition order, and skips, decides or starts each. What that settles goes to the end of the
line again. When the line is empty, steps that wait for a slot start; when nothing is left, the execution
ends.

What to keep in mind when reading it:

- *Joins.* A step waits for its own edges and nothing else. Edges are derived from the step they leave
  (`core/edges.py`): there is nothing to forget when a loop begins a new visit.
- *Dead paths.* A step that will not run is skipped at once, and settles its own edges in turn; so a join
  behind a gateway never waits for a branch that was not taken.
- *Slots.* Only running attempts hold one. Whoever has to wait stands in line; nobody overtakes, apart from
  inline steps, which need no slot.
- *Failing.* Once a failure stops an execution, nothing starts any more; running attempts may still
  answer, until their grace ends. The end of the last one ends the execution.
- *Undoing.* Before it ends, an execution that failed or is cancelled undoes what it did
  (`core/compensation.py`); nothing else runs then.
- *Late answers.* A result names its visit and attempt. One that does not match the running attempt changes
  nothing, whatever it says: the attempt was cancelled, superseded or recorded already.

Rule 1: everything that affects how an execution proceeds is decided here, in `moves`, and in the modules of
the core that these two ask.
Rule 2: they know no database, agent, clock or network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import assert_never

import msgspec

from process_engine.core import commands as c
from process_engine.core import compensation, item_results, moves, parenting, people, waits
from process_engine.core import events as e
from process_engine.core.backoff import MAX_INTERRUPTIONS
from process_engine.core.config import ExecutionConfig
from process_engine.core.draft import Draft
from process_engine.core.failures import Failure
from process_engine.core.inline import timer_output
from process_engine.core.plan import Plan, StepPlan
from process_engine.core.results import NO_USAGE, Completed
from process_engine.core.scope import ValueNotLoaded
from process_engine.core.state import (
    RUNNING,
    UNTOUCHED,
    Execution,
    ExecutionStatus,
    SkipReason,
    StepStatus,
)
from process_engine.core.transition import Needs, Transition
from process_engine.core.values import Blobs
from process_engine.errors import CommandRejected
from process_engine.ids import StepId

_REMEDIES: Mapping[ExecutionStatus, str] = {
    ExecutionStatus.PENDING: "It is held: `process-engine resume ID` starts it.",
    ExecutionStatus.RUNNING: "`process-engine show ID` says what it waits for.",
    ExecutionStatus.PAUSED: "`process-engine resume ID` goes on with it.",
    ExecutionStatus.COMPENSATING: "Wait until it has undone what it did.",
    ExecutionStatus.COMPLETED: "Start a new one with `process-engine run FILE`.",
    ExecutionStatus.FAILED: "`process-engine retry ID` goes on where it failed.",
    ExecutionStatus.CANCELLED: "Start a new one with `process-engine run FILE`.",
}
_NO_BLOBS: Mapping[str, bytes] = {}


def transition(
    plan: Plan, execution: Execution | None, command: c.AnyCommand, now: datetime, blobs: Blobs = _NO_BLOBS
) -> Transition | Needs:
    """What `command` makes of `execution` (None: there is none yet) at `now` (aware, UTC).

    Pure: the same arguments give the same answer, and nothing is changed. A command that comes too late
    to matter (an answer of a superseded attempt, a start that happened) answers a transition without events.
    `blobs` holds large values by SHA-256; where one is missing the answer is `Needs`.

    Raises:
        CommandRejected: the command does not fit the execution's state.
    """
    try:
        if isinstance(command, c.StartExecution):
            return _start(plan, execution, command, now)
        if execution is None:
            raise CommandRejected(
                f"there is no execution {command.execution_id}.",
                remedy="`process-engine list` shows what there is.",
            )
        draft = Draft(plan, execution, now, blobs)
        _obey(draft, command)
        return draft.finish()
    except ValueNotLoaded as missing:
        return Needs((missing.ref,))


def record_results(
    plan: Plan, execution: Execution, results: Sequence[c.RecordResult], now: datetime
) -> Transition | Needs:
    """What several answers that arrived together make of `execution`, in order, as one transition.

    The same events as one by one, for less: what is carried along is read and written once.
    """
    try:
        draft = Draft(plan, execution, now, _NO_BLOBS)
        for result in results:
            record = compensation.record_result if result.undo else _record_result
            record(draft, result)
        return draft.finish()
    except ValueNotLoaded as missing:
        return Needs((missing.ref,))


# ---------------------------------------------------------------- commands


def _start(plan: Plan, execution: Execution | None, command: c.StartExecution, now: datetime) -> Transition:
    if execution is not None:
        return Transition(execution)
    created = e.ExecutionCreated(
        execution_id=command.execution_id,
        sequence=1,
        timestamp=now,
        process_name=plan.name,
        correlation_id=command.correlation_id or str(command.execution_id),
        definition_hash=plan.hash,
        version=plan.definition.version,
        input=command.input,
        config=_effective(plan, command.config),
        started_by=command.started_by,
        parent=command.parent,
    )
    draft = Draft(plan, None, now, command.blobs, created)
    draft.new_blobs.update(command.blobs)
    if not command.hold:
        _begin(draft)
    return draft.finish()


def _effective(plan: Plan, config: ExecutionConfig) -> ExecutionConfig:
    """The configuration in force: the smaller bound of process and engine that is not zero."""
    bounds = [bound for bound in (plan.slots, config.slots) if bound]
    return msgspec.structs.replace(config, max_concurrent_steps=min(bounds, default=0))


def _obey(draft: Draft, command: c.AnyCommand) -> None:
    match command:
        case c.RecordResult(undo=True):
            compensation.record_result(draft, command)
        case c.WakeStep(undo=True):
            compensation.wake(draft, command)
        case c.InterruptAttempt(undo=True):
            compensation.interrupt(draft, command)
        case c.WakeStep() | c.InterruptAttempt() if _is_about_items(draft, command):
            item_results.obey(draft, _known_step(draft, command.step_id), command)
        case c.RecordResult():
            _record_result(draft, command)
        case c.WakeStep():
            _wake(draft, command)
        case c.InterruptAttempt():
            _interrupt(draft, command)
        case c.ReachDeadline():
            _reach_deadline(draft, command)
        case c.PauseExecution():
            _pause(draft, command)
        case c.ResumeExecution():
            _resume(draft, command)
        case c.CancelExecution():
            _cancel(draft, command)
        case c.RetryStep():
            _retry(draft, command)
        case c.DecideApproval():
            people.decide(draft, command, _known_step(draft, command.step_id))
        case c.DelegateApproval():
            people.delegate(draft, command, _known_step(draft, command.step_id))
        case c.DeliverEvents():
            waits.deliver(draft, command, _known_step(draft, command.step_id))
        case c.ChildBegan():
            parenting.begun(draft, command, _known_step(draft, command.step_id))
        case c.ChildFinished():
            parenting.finished(draft, command, _known_step(draft, command.step_id))
        case c.StartExecution():
            raise AssertionError("handled before")
        case _:
            assert_never(command)


def _is_about_items(draft: Draft, command: c.WakeStep | c.InterruptAttempt) -> bool:
    """Whether it is about a step that runs once for each item, or pretends to be."""
    return command.item is not None or _known_step(draft, command.step_id).items is not None


def _begin(draft: Draft) -> None:
    """Start the execution: every step without edges is looked at, in definition order."""
    timeout = draft.plan.timeout_seconds
    deadline = draft.now + timedelta(seconds=timeout) if timeout is not None else None
    draft.record(e.ProcessStarted, deadline=deadline)
    for step_id in draft.plan.roots:
        moves.look(draft, step_id)
    moves.advance(draft)


def _record_result(draft: Draft, command: c.RecordResult) -> None:
    step = _known_step(draft, command.step_id)
    if command.item is not None or step.items is not None:
        item_results.obey(draft, step, command)
        return
    if not _runs(draft, command):
        return
    draft.new_blobs.update(command.blobs)
    match command.result:
        case Completed() as completed if command.value is not None:
            moves.record_answer(draft, step, command.value, completed)
        case result:
            moves.apply_result(draft, step, result)
    moves.advance(draft)


def _runs(draft: Draft, command: c.RecordResult | c.InterruptAttempt) -> bool:
    """Whether the attempt that a command is about is the one that runs."""
    state = draft.state.steps.get(command.step_id, UNTOUCHED)
    return state.status is RUNNING and state.visit == command.visit and state.attempt == command.attempt


def _wake(draft: Draft, command: c.WakeStep) -> None:
    step = _known_step(draft, command.step_id)
    state = draft.state.step(step.id)
    if (state.visit, state.attempt) != (command.visit, command.attempt):
        return
    if state.due is None or draft.now < state.due:
        return
    if state.status is StepStatus.WAITING_APPROVAL:
        people.wake(draft, step)
        return
    if state.status is not StepStatus.WAITING:
        return
    match state.waiting_for:
        case e.Waiting.TIMER:
            assert state.started_at is not None
            output = timer_output(state.started_at, state.due, draft.now)
            moves.apply_result(draft, step, Completed(output))
        case e.Waiting.RETRY:
            moves.admit(draft, step)
        case e.Waiting.EVENT:
            waits.expire(draft, step)
        case e.Waiting.CHILD:
            parenting.wake(draft, step)
            return
        case None:
            raise AssertionError("a waiting step waits for something")
        case _:
            assert_never(state.waiting_for)
    moves.advance(draft)


def _interrupt(draft: Draft, command: c.InterruptAttempt) -> None:
    step = _known_step(draft, command.step_id)
    state = draft.state.step(step.id)
    if not _runs(draft, command):
        return
    failure = Failure("INTERRUPTED", "the engine stopped while the attempt was running", step.id)
    if draft.state.stopping is not None:
        draft.record_step(e.StepCancelled, step.id, reason="interrupted")
    elif step.on_interrupt == "fail" or state.interruptions >= MAX_INTERRUPTIONS:
        moves.fail_for_good(draft, step, failure, NO_USAGE)
    else:
        draft.record_step(e.StepRetrying, step.id, failure=failure, delay_seconds=0.0, due=draft.now)
        if step.on_interrupt == "ask":
            # A person decides whether to repeat it: the execution pauses with the attempt in line.
            draft.record_step(e.StepQueued, step.id)
            if draft.state.status is ExecutionStatus.RUNNING:
                draft.record(e.ProcessPaused, reason=f"interrupted: {step.id}")
        elif draft.state.status is ExecutionStatus.PAUSED:
            draft.record_step(e.StepQueued, step.id)
        else:
            # At once, in the slot that the interrupted attempt held.
            moves.run(draft, step)
    moves.advance(draft)


def _reach_deadline(draft: Draft, command: c.ReachDeadline) -> None:
    state = draft.state
    if state.status.is_final:
        return
    if command.grace:
        if state.stopping is None or draft.now < state.stopping.due:
            return
        for step_id in moves.in_motion(draft, draft.plan.order):
            draft.record_step(e.StepCancelled, step_id, reason="stopped")
    else:
        if state.stopping is not None or state.deadline is None or draft.now < state.deadline:
            return
        moves.stop(
            draft, Failure("TIMEOUT", f"the execution took longer than {draft.plan.timeout_seconds:g} s")
        )
    moves.advance(draft)


def _pause(draft: Draft, command: c.PauseExecution) -> None:
    _require(draft, "pause", ExecutionStatus.RUNNING)
    if draft.state.stopping is not None:
        raise CommandRejected(f"execution {command.execution_id} is about to fail, it cannot be paused.")
    draft.record(e.ProcessPaused, reason=command.reason, by=command.by)


def _resume(draft: Draft, command: c.ResumeExecution) -> None:
    _require(draft, "resume", ExecutionStatus.PENDING, ExecutionStatus.PAUSED)
    if draft.state.status is ExecutionStatus.PENDING:
        _begin(draft)
        return
    draft.record(e.ProcessResumed, by=command.by)
    for step_id in draft.state.queue:
        # Inline steps stand in line only while paused; they need no slot, so nobody is overtaken.
        step = draft.plan.steps[step_id]
        ready = draft.state.step(step_id).status is StepStatus.READY
        if step.inline is not None and ready and moves.may_start(draft):
            moves.run(draft, step)
    moves.advance(draft)


def _cancel(draft: Draft, command: c.CancelExecution) -> None:
    _require(draft, "cancel", ExecutionStatus.PENDING, ExecutionStatus.RUNNING, ExecutionStatus.PAUSED)
    undoes = compensation.may_be_owed(draft)
    for step_id in moves.in_motion(draft, draft.plan.order):
        # What runs may answer where there is something to undo: it may be one thing more to undo.
        if not (undoes and draft.state.step(step_id).slots):
            draft.record_step(e.StepCancelled, step_id, reason="cancelled")
    if undoes:
        compensation.cancel(draft, command)
    else:
        draft.record(e.ProcessCancelled, reason=command.reason, by=command.by)


def _retry(draft: Draft, command: c.RetryStep) -> None:
    """Take a failed execution back: what did not succeed runs again, and what `step_id` asks for."""
    _require(draft, "retry", ExecutionStatus.FAILED)
    parent = draft.state.created.parent
    if parent is not None and parent.waits:
        raise CommandRejected(
            f"execution {command.execution_id} was called by {parent.execution_id}, which knows its end.",
            remedy=f"`process-engine retry {parent.execution_id}` calls the process again.",
        )
    compensation.refuse_if_begun(draft, "a retry")
    again = (
        set(draft.plan.region(_known_step(draft, command.step_id).id)) if command.step_id else set[StepId]()
    )
    steps = [step_id for step_id in draft.plan.order if step_id in again or _is_to_retry(draft, step_id)]
    draft.new_blobs.update(command.blobs)
    # Asked something else, a step does something else: a new visit, with a key of its own.
    for step_id in steps:
        asks_anew = command.input is not None or not draft.plan.steps[step_id].reads.isdisjoint(steps)
        if asks_anew and draft.state.step(step_id).attempt:
            again.add(step_id)
    timeout = draft.plan.timeout_seconds
    draft.record(
        e.ProcessReopened,
        steps=tuple(steps),
        again=tuple(step_id for step_id in steps if step_id in again),
        input=command.input,
        deadline=draft.now + timedelta(seconds=timeout) if timeout is not None else None,
        by=command.by,
    )
    for step_id in steps:
        moves.look(draft, step_id)
    moves.advance(draft)


def _is_to_retry(draft: Draft, step_id: StepId) -> bool:
    state = draft.state.step(step_id)
    match state.status:
        case StepStatus.FAILED:
            return state.handled_by is None
        case StepStatus.SKIPPED:
            return state.reason == SkipReason.DEPENDENCY_FAILED
        case _:
            return state.status is StepStatus.CANCELLED


def _require(draft: Draft, action: str, *allowed: ExecutionStatus) -> None:
    status = draft.state.status
    if status not in allowed:
        raise CommandRejected(
            f"execution {draft.state.created.execution_id} is {status}: {action} needs one that is "
            f"{' or '.join(allowed)}. Nothing was changed.",
            remedy=_REMEDIES[status],
        )


def _known_step(draft: Draft, step_id: StepId) -> StepPlan:
    step = draft.plan.steps.get(step_id)
    if step is None:
        raise CommandRejected(f"process {draft.plan.name} has no step {step_id}.")
    return step
