"""What the answers of items, and time, make of a step that runs once for each item of a list."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_never

from msgspec.structs import replace

from process_engine.core import commands as c
from process_engine.core import compensation, item_runs, moves
from process_engine.core import events as e
from process_engine.core.backoff import MAX_INTERRUPTIONS, delay_seconds
from process_engine.core.draft import Draft
from process_engine.core.failures import Failure
from process_engine.core.items import OpenItem
from process_engine.core.plan import StepPlan
from process_engine.core.results import NO_USAGE, Completed, Failed, Usage
from process_engine.core.state import ExecutionStatus, StepStatus
from process_engine.core.values import Value
from process_engine.errors import OutputTooLarge

ItemCommand = c.RecordResult | c.WakeStep | c.InterruptAttempt


def obey(draft: Draft, step: StepPlan, command: ItemCommand) -> None:
    """Carry out a command about a step that runs once for each item; one that comes too late is no change."""
    state = draft.state.step(step.id)
    if step.items is None or state.items is None:
        return
    if state.status is not StepStatus.RUNNING or state.visit != command.visit:
        return
    if command.item is None:
        if (
            isinstance(command, c.RecordResult)
            and state.attempt == command.attempt
            and state.items.is_complete
        ):
            _record_all(draft, step, command)
        return
    item = state.items.find(command.item)
    if item is None or item.attempt != command.attempt:
        return
    match command:
        case c.RecordResult() if item.running:
            _record(draft, step, item, command)
        case c.InterruptAttempt() if item.running:
            _interrupt(draft, step, item)
        case c.WakeStep():
            # What is due begins when there is room, be it now or later: there is nothing else to do.
            pass
        case c.RecordResult() | c.InterruptAttempt():
            return
        case _:
            assert_never(command)
    _leave_if_stopped(draft, step)
    moves.advance(draft)


def _record(draft: Draft, step: StepPlan, item: OpenItem, command: c.RecordResult) -> None:
    """Record what an attempt of an item has answered."""
    draft.new_blobs.update(command.blobs)
    result = command.result
    if isinstance(result, Completed):
        try:
            output = command.value if command.value is not None else draft.pack(result.output)
        except (OutputTooLarge, TypeError) as error:
            code = "OUTPUT_TOO_LARGE" if isinstance(error, OutputTooLarge) else "INVALID_OUTPUT"
            result = Failed(code, str(error), usage=result.usage)
        else:
            refused = moves.schema_failure(draft, step, output, result.usage)
            if refused is None:
                _complete(draft, step, item, output, result.usage)
                return
            result = refused
    _on_failure(draft, step, item, result)


def _complete(draft: Draft, step: StepPlan, item: OpenItem, output: Value, usage: Usage) -> None:
    draft.record_step(
        e.ItemCompleted, step.id, attempt=item.attempt, item=item.index, output=output, usage=usage
    )


def _on_failure(draft: Draft, step: StepPlan, item: OpenItem, failed: Failed) -> None:
    """An attempt failed: another one, or the end of the item."""
    tried = item.attempt - item.interruptions - item.forgiven
    again = (
        draft.state.stopping is None
        and tried < step.retry.max_attempts
        and step.retry.covers(failed.code, transient=failed.transient)
    )
    if not again:
        _fail(draft, step, item, failed.code, failed.message, failed.usage)
        return
    visit = draft.state.step(step.id).visit
    salt = f"{draft.state.created.execution_id}/{step.id}/{visit}/{item.index}"
    delay = delay_seconds(step.retry, tried + 1, salt=salt, retry_after=failed.retry_after)
    draft.record_step(
        e.ItemRetrying,
        step.id,
        attempt=item.attempt,
        item=item.index,
        failure=Failure(failed.code, failed.message, step.id),
        delay_seconds=delay,
        due=draft.now + timedelta(seconds=delay),
        usage=failed.usage,
    )


def _fail(
    draft: Draft, step: StepPlan, item: OpenItem, code: str, message: str, usage: Usage = NO_USAGE
) -> None:
    """No further attempt: the item is passed over, or the step fails, and with it whatever else runs."""
    failure = Failure(code, message, step.id)
    draft.record_step(
        e.ItemFailed, step.id, attempt=item.attempt, item=item.index, failure=failure, usage=usage
    )
    assert step.items is not None
    if not step.items.collects:
        named = Failure(code, f"item {item.index}: {message}", step.id)
        moves.fail_for_good(draft, step, named, NO_USAGE)


def _interrupt(draft: Draft, step: StepPlan, item: OpenItem) -> None:
    """The process is gone that ran the item: it is repeated, as a step would be."""
    failure = Failure("INTERRUPTED", "the engine stopped while the attempt was running", step.id)
    going_on = draft.state.stopping is None
    if going_on and (step.on_interrupt == "fail" or item.interruptions >= MAX_INTERRUPTIONS):
        _fail(draft, step, item, failure.code, failure.message)
        return
    draft.record_step(
        e.ItemRetrying,
        step.id,
        attempt=item.attempt,
        item=item.index,
        failure=failure,
        delay_seconds=0.0,
        due=draft.now,
    )
    if not going_on or draft.state.status is not ExecutionStatus.RUNNING:
        return
    if step.on_interrupt == "ask":
        # A person decides whether to repeat it: with the execution paused, nothing begins.
        draft.record(e.ProcessPaused, reason=f"interrupted: {step.id}")
    else:
        # At once, in the slot that the interrupted attempt held.
        item_runs.start(draft, step.id, replace(item, attempt=item.attempt + 1))


def _leave_if_stopped(draft: Draft, step: StepPlan) -> None:
    """In an execution that is about to fail nothing new begins: a step whose items have answered ends."""
    state = draft.state.step(step.id)
    if draft.state.stopping is not None and state.status is StepStatus.RUNNING and not state.slots:
        draft.record_step(e.StepCancelled, step.id, reason="stopped")


def _record_all(draft: Draft, step: StepPlan, command: c.RecordResult) -> None:
    """Every item has ended: the step gives what they gave, put together."""
    draft.new_blobs.update(command.blobs)
    match command.result:
        case Completed() if command.value is not None:
            draft.record_step(
                e.StepCompleted, step.id, output=command.value, errors=command.errors or Value([])
            )
            if step.undo is not None:
                # The list is undone as one, with all that it gave.
                compensation.prepare(draft, step)
            draft.settled.append(step.id)
        case Completed():
            return
        case Failed(code, message):
            moves.fail_for_good(draft, step, Failure(code, message, step.id), NO_USAGE)
        case _:
            assert_never(command.result)
    moves.advance(draft)
