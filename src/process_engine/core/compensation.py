"""Undoing: what a failed or cancelled execution did is taken back, visit by visit, before it ends.

A step with `compensation` owes one undo for each visit that completed. What is asked then is rendered in the
transition that completes the visit, and kept in the step's record. Once the execution has to fail or is
cancelled, and what was running has settled, the undos run one at a time, each retried by its own policy; one
that fails for good is recorded, and the next one begins. The end of the last one ends the execution.

Compensation stands outside the rules about slots, pauses and deadlines: nothing else runs any more.
"""

from __future__ import annotations

from datetime import timedelta

from process_engine.core import commands as c
from process_engine.core import events as e
from process_engine.core.backoff import MAX_INTERRUPTIONS, delay_seconds
from process_engine.core.draft import Draft
from process_engine.core.failures import Failure
from process_engine.core.plan import StepPlan
from process_engine.core.results import NO_USAGE, Failed, Usage
from process_engine.core.scope import unpack
from process_engine.core.state import StepState, StepStatus
from process_engine.core.undo import Undo, Undoing, UndoPlan, UndoStatus
from process_engine.core.values import Value
from process_engine.definition.json_schema import told_faults
from process_engine.errors import CommandRejected, ExpressionError, OutputTooLarge
from process_engine.ids import StepId

# ---------------------------------------------------------------- what is owed


def prepare(draft: Draft, step: StepPlan) -> None:
    """A visit of a step with `compensation` has just completed: keep what undoing it would ask."""
    assert step.undo is not None
    agent = request = failure = None
    try:
        rendered = {name: template.render(draft.scope) for name, template in step.undo.request}
        named = rendered.get("agent")
        agent = named if isinstance(named, str) else None
        request = draft.pack(rendered)
    except (ExpressionError, OutputTooLarge) as error:
        # The visit has completed all the same; that it cannot be undone is told when it comes to it.
        failure = Failure(error.code, f"compensation: {error}", step.id)
    draft.record_step(e.CompensationPrepared, step.id, agent=agent, request=request, failure=failure)


def is_owed(draft: Draft) -> bool:
    """Whether there is a completed visit to undo."""
    return bool(draft.plan.undoable) and _next(draft) is not None


def may_be_owed(draft: Draft) -> bool:
    """Whether there is something to undo, or what runs now may leave something behind."""
    if not draft.plan.undoable:
        return False
    return any(_may_complete(draft.state.step(step_id)) for step_id in draft.plan.undoable) or is_owed(draft)


def _may_complete(state: StepState) -> bool:
    """Whether its visit can complete by what runs now: of a list, every item has to run or to have ended."""
    if state.status is not StepStatus.RUNNING:
        return False
    items = state.items
    return items is None or items.done + items.failed + items.running == items.total


def refuse_if_begun(draft: Draft, action: str) -> None:
    """Refuse to go on with what was undone: it would build on effects that are not there any more.

    Raises:
        CommandRejected: a compensation of the execution has run. Nothing was changed.
    """
    undos = (undo for step_id in draft.plan.undoable for undo in draft.state.step(step_id).undos)
    if any(undo.status is not UndoStatus.OWED for undo in undos):
        raise CommandRejected(
            f"execution {draft.state.created.execution_id} has undone what it did: {action} would go on from "
            "effects that are gone. Nothing was changed.",
            remedy="Start a new one with `process-engine run FILE`.",
        )


def _next(draft: Draft) -> tuple[StepId, Undo] | None:
    """The completed visit that is undone next: the last one of those that are left."""
    found: tuple[StepId, Undo] | None = None
    for step_id in draft.plan.undoable:
        for undo in draft.state.step(step_id).undos:
            # In reverse order of completion, not of definition: a later visit may build on an earlier one.
            if undo.status is UndoStatus.OWED and (found is None or undo.sequence > found[1].sequence):
                found = step_id, undo
    return found


# ---------------------------------------------------------------- going on


def proceed(draft: Draft) -> None:
    """Nothing runs any more: begin the next undo, or, if none is left, end the execution as it has to."""
    while (found := _next(draft)) is not None:
        step_id, undo = found
        draft.record(e.CompensationStarted, step_id=step_id, visit=undo.visit, attempt=1, agent=undo.agent)
        if undo.error is None:
            return
        _record_failed(draft, undo.error, NO_USAGE)
    stopping = draft.state.stopping
    assert stopping is not None
    if stopping.failure is not None:
        draft.record(e.ProcessFailed, failure=stopping.failure)
    else:
        draft.record(e.ProcessCancelled, reason=stopping.reason, by=stopping.by)


def fail(draft: Draft, failure: Failure) -> None:
    """Nothing runs and nothing will: the execution fails, after it has undone what it did."""
    if not is_owed(draft):
        draft.record(e.ProcessFailed, failure=failure)
        return
    draft.record(e.ProcessStopping, failure=failure, due=draft.now)
    proceed(draft)


def cancel(draft: Draft, command: c.CancelExecution) -> None:
    """Cancel an execution with something to undo: what runs may answer until the grace ends."""
    stopping = draft.state.stopping
    grace = timedelta(seconds=draft.config.cancel_grace)
    due = draft.now + grace if stopping is None else min(stopping.due, draft.now + grace)
    draft.record(e.ProcessCancelling, reason=command.reason, by=command.by, due=due)
    if not draft.state.running:
        proceed(draft)


# ---------------------------------------------------------------- commands


def record_result(draft: Draft, command: c.RecordResult) -> None:
    """An attempt to undo has ended; a result of a superseded one changes nothing."""
    undoing = _running(draft, command)
    if undoing is None:
        return
    draft.new_blobs.update(command.blobs)
    match _checked(draft, _rules(draft, undoing), command):
        case Failed() as failed:
            _on_failure(draft, undoing, failed)
        case value:
            usage = command.result.usage
            _record(draft, e.CompensationCompleted, undoing, output=value, usage=usage)
            proceed(draft)


def wake(draft: Draft, command: c.WakeStep) -> None:
    """The next attempt to undo is due."""
    undoing = _current(draft, command)
    if undoing is None or undoing.due is None or draft.now < undoing.due:
        return
    _try_again(draft, undoing)


def interrupt(draft: Draft, command: c.InterruptAttempt) -> None:
    """The attempt died with its process: it is repeated at once, under the same effect key."""
    undoing = _running(draft, command)
    if undoing is None:
        return
    failure = Failure("INTERRUPTED", "the engine stopped while it was being undone", undoing.step_id)
    if undoing.interruptions >= MAX_INTERRUPTIONS:
        _record_failed(draft, failure, NO_USAGE)
        proceed(draft)
        return
    _record(draft, e.CompensationRetrying, undoing, failure=failure, delay_seconds=0.0, due=draft.now)
    _try_again(draft, undoing)


# ---------------------------------------------------------------- one attempt


def _current(draft: Draft, command: c.RecordResult | c.WakeStep | c.InterruptAttempt) -> Undoing | None:
    """The compensation under way, if the command is about it and its latest attempt."""
    stopping = draft.state.stopping
    undoing = stopping.undoing if stopping is not None else None
    if undoing is None:
        return None
    named = (command.step_id, command.visit, command.attempt)
    return undoing if (undoing.step_id, undoing.visit, undoing.attempt) == named else None


def _running(draft: Draft, command: c.RecordResult | c.InterruptAttempt) -> Undoing | None:
    undoing = _current(draft, command)
    return undoing if undoing is not None and undoing.due is None else None


def _rules(draft: Draft, undoing: Undoing) -> UndoPlan:
    rules = draft.plan.steps[undoing.step_id].undo
    assert rules is not None
    return rules


def _checked(draft: Draft, rules: UndoPlan, command: c.RecordResult) -> Value | Failed:
    """What the attempt answered, as it is recorded; an answer that breaks its schema is a failure."""
    result = command.result
    if isinstance(result, Failed):
        return result
    try:
        value = command.value if command.value is not None else draft.pack(result.output)
    except (OutputTooLarge, TypeError) as error:
        code = "OUTPUT_TOO_LARGE" if isinstance(error, OutputTooLarge) else "INVALID_OUTPUT"
        return Failed(code, str(error), usage=result.usage)
    told = _faults(draft, rules, value)
    return Failed("INVALID_OUTPUT", told, usage=result.usage) if told else value


def _faults(draft: Draft, rules: UndoPlan, value: Value) -> str:
    if rules.output_schema is None:
        return ""
    return told_faults(rules.output_schema, unpack(value, draft.scope.blobs))


def _on_failure(draft: Draft, undoing: Undoing, failed: Failed) -> None:
    failure = Failure(failed.code, failed.message, undoing.step_id)
    retry = _rules(draft, undoing).retry
    tried = undoing.attempt - undoing.interruptions
    if tried >= retry.max_attempts or not retry.covers(failed.code, transient=failed.transient):
        _record_failed(draft, failure, failed.usage)
        proceed(draft)
        return
    salt = f"{draft.state.created.execution_id}/{undoing.step_id}/{undoing.visit}/undo"
    delay = delay_seconds(retry, tried + 1, salt=salt, retry_after=failed.retry_after)
    due = draft.now + timedelta(seconds=delay)
    _record(
        draft,
        e.CompensationRetrying,
        undoing,
        failure=failure,
        delay_seconds=delay,
        due=due,
        usage=failed.usage,
    )


def _try_again(draft: Draft, undoing: Undoing) -> None:
    draft.record(
        e.CompensationAttemptStarted,
        step_id=undoing.step_id,
        visit=undoing.visit,
        attempt=undoing.attempt + 1,
    )


def _record_failed(draft: Draft, failure: Failure, usage: Usage) -> None:
    """It stays as it is, for people to look after; the others are undone all the same."""
    stopping = draft.state.stopping
    assert stopping is not None
    assert stopping.undoing is not None
    _record(draft, e.CompensationFailed, stopping.undoing, failure=failure, usage=usage)


def _record(draft: Draft, kind: type[e.StepEvent], undoing: Undoing, **fields: object) -> None:
    """Record an event about the visit that is being undone, which need not be the step's latest one."""
    draft.record(kind, step_id=undoing.step_id, visit=undoing.visit, attempt=undoing.attempt, **fields)
