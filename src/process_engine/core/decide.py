"""`transition()`: what a command makes of an execution. Everything an execution ever does is decided here.

How it works. A command is matched to one small function, which records events in a draft; recording is the
only way to change anything (`core/evolve.py`). When a step settles it goes to the end of one FIFO line;
`_advance` takes steps from that line, looks at their dependants in definition order, and skips, decides or
starts
each. What that settles goes to the end of the line again. When the line is empty, steps that wait for a slot
start; when nothing is left, the execution ends.

What to keep in mind when reading it:

- *Joins.* A step waits for its own edges and nothing else. Edges are derived from the step they leave
  (`core/edges.py`): there is nothing to forget when a loop begins a new visit.
- *Dead paths.* A step that will not run is skipped at once, and settles its own edges in turn; so a join
  behind a gateway never waits for a branch that was not taken.
- *Slots.* Only running attempts hold one. Whoever has to wait stands in line; nobody overtakes, apart from
  inline steps, which need no slot.
- *Failing.* Once a failure stops an execution, nothing starts any more; running attempts may still answer,
until
  their grace ends. The end of the last one ends the execution.
- *Late answers.* A result names its visit and attempt. One that does not match the running attempt changes
  nothing, whatever it says: the attempt was cancelled, superseded or recorded already.

Rule 1: everything that affects how an execution proceeds is decided in this file.
Rule 2: this file knows no database, agent, clock or network.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import assert_never

import msgspec

from process_engine.core import commands as c
from process_engine.core import events as e
from process_engine.core.backoff import delay_seconds
from process_engine.core.config import ExecutionConfig
from process_engine.core.draft import Draft
from process_engine.core.edges import Verdict, join_verdict
from process_engine.core.failures import Failure
from process_engine.core.inline import timer_output
from process_engine.core.plan import Plan, StepPlan
from process_engine.core.results import Completed, Failed, StepResult, Usage, WaitUntil
from process_engine.core.scope import ValueNotLoaded
from process_engine.core.state import Execution, ExecutionStatus, SkipReason, StepState, StepStatus
from process_engine.core.transition import Needs, Transition
from process_engine.core.values import Blobs, Value
from process_engine.errors import CommandRejected, ExpressionError, OutputTooLarge
from process_engine.ids import StepId

# An attempt that dies with its process ten times in one visit is more likely the cause than the victim.
MAX_INTERRUPTIONS = 10

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
_NO_USAGE = Usage()


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


# ---------------------------------------------------------------- commands


def _start(plan: Plan, execution: Execution | None, command: c.StartExecution, now: datetime) -> Transition:
    if execution is not None:
        return Transition(execution)
    created = e.ExecutionCreated(
        execution_id=command.execution_id,
        sequence=1,
        timestamp=now,
        process_name=plan.name,
        correlation_id=str(command.execution_id),
        definition_hash=plan.hash,
        version=plan.definition.version,
        input=command.input,
        config=_effective(plan, command.config),
        started_by=command.started_by,
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
        case c.StartExecution():
            raise AssertionError("handled before")
        case _:
            assert_never(command)


def _begin(draft: Draft) -> None:
    """Start the execution: every step without edges is looked at, in definition order."""
    timeout = draft.plan.timeout_seconds
    deadline = draft.now + timedelta(seconds=timeout) if timeout is not None else None
    draft.record(e.ProcessStarted, deadline=deadline)
    for step_id in draft.plan.roots:
        _look(draft, step_id)
    _advance(draft)


def _record_result(draft: Draft, command: c.RecordResult) -> None:
    step = _known_step(draft, command.step_id)
    state = draft.state.step(step.id)
    if (state.status, state.visit, state.attempt) != (StepStatus.RUNNING, command.visit, command.attempt):
        return
    draft.new_blobs.update(command.blobs)
    match command.result:
        case Completed() as completed if command.value is not None:
            _complete(draft, step, command.value, completed)
        case result:
            _apply_result(draft, step, result)
    _advance(draft)


def _wake(draft: Draft, command: c.WakeStep) -> None:
    step = _known_step(draft, command.step_id)
    state = draft.state.step(step.id)
    if (state.status, state.visit, state.attempt) != (StepStatus.WAITING, command.visit, command.attempt):
        return
    if state.due is None or draft.now < state.due:
        return
    match state.waiting_for:
        case e.Waiting.TIMER:
            assert state.started_at is not None
            output = timer_output(state.started_at, state.due, draft.now)
            _apply_result(draft, step, Completed(output))
        case e.Waiting.RETRY:
            _admit(draft, step)
        case None:
            raise AssertionError("a waiting step waits for something")
        case _:
            assert_never(state.waiting_for)
    _advance(draft)


def _interrupt(draft: Draft, command: c.InterruptAttempt) -> None:
    step = _known_step(draft, command.step_id)
    state = draft.state.step(step.id)
    if (state.status, state.visit, state.attempt) != (StepStatus.RUNNING, command.visit, command.attempt):
        return
    failure = Failure("INTERRUPTED", "the engine stopped while the attempt was running", step.id)
    if draft.state.stopping is not None:
        draft.record_step(e.StepCancelled, step.id, reason="interrupted")
    elif step.on_interrupt == "fail" or state.interruptions >= MAX_INTERRUPTIONS:
        _fail_for_good(draft, step, failure, _NO_USAGE)
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
            _run(draft, step)
    _advance(draft)


def _reach_deadline(draft: Draft, command: c.ReachDeadline) -> None:
    state = draft.state
    if state.status.is_final:
        return
    if command.grace:
        if state.stopping is None or draft.now < state.stopping.due:
            return
        for step_id in _in_motion(draft, draft.plan.order):
            draft.record_step(e.StepCancelled, step_id, reason="stopped")
    else:
        if state.stopping is not None or state.deadline is None or draft.now < state.deadline:
            return
        _stop(draft, Failure("TIMEOUT", f"the execution took longer than {draft.plan.timeout_seconds:g} s"))
    _advance(draft)


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
        if step.inline is not None and ready and _may_start(draft):
            _run(draft, step)
    _advance(draft)


def _cancel(draft: Draft, command: c.CancelExecution) -> None:
    _require(draft, "cancel", ExecutionStatus.PENDING, ExecutionStatus.RUNNING, ExecutionStatus.PAUSED)
    for step_id in _in_motion(draft, draft.plan.order):
        draft.record_step(e.StepCancelled, step_id, reason="cancelled")
    draft.record(e.ProcessCancelled, reason=command.reason, by=command.by)


def _retry(draft: Draft, command: c.RetryStep) -> None:
    """Take a failed execution back: what did not succeed runs again, and what `step_id` asks for."""
    _require(draft, "retry", ExecutionStatus.FAILED)
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
        _look(draft, step_id)
    _advance(draft)


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


# ---------------------------------------------------------------- going on


def _advance(draft: Draft) -> None:
    """Work off the line of settled steps, fill free slots, and end the execution if nothing is left."""
    while True:
        while draft.settled:
            for edge in draft.plan.steps[draft.settled.popleft()].outgoing:
                _look(draft, StepId(edge.target))
        if not _start_queued(draft):
            break
    _finish_if_done(draft)


def _look(draft: Draft, step_id: StepId) -> None:
    """Decide about a step one of whose edges has settled."""
    state = draft.state
    if state.step(step_id).status is not StepStatus.PENDING or not _may_start(draft):
        return
    step = draft.plan.steps[step_id]
    verdict = join_verdict(step, state.tally(step_id), state.steps)
    match verdict:
        case Verdict.WAIT:
            return
        case Verdict.RUN:
            _consider(draft, step)
        case Verdict.ROUTE_NOT_TAKEN | Verdict.DEAD_PATH | Verdict.DEPENDENCY_FAILED:
            _skip(draft, step_id, verdict.value)
        case _:
            assert_never(verdict)


def _may_start(draft: Draft) -> bool:
    return draft.state.stopping is None and not draft.state.status.is_final


def _consider(draft: Draft, step: StepPlan) -> None:
    """The edges allow the step: its condition decides, once per visit."""
    try:
        wanted = step.condition is None or step.condition.evaluate(draft.scope) is True
    except ExpressionError as error:
        _fail_for_good(draft, step, Failure("EXPRESSION_ERROR", f"condition: {error}", step.id), _NO_USAGE)
        return
    if wanted:
        _admit(draft, step)
    else:
        _skip(draft, step.id, SkipReason.CONDITION_FALSE)


def _skip(draft: Draft, step_id: StepId, reason: str) -> None:
    draft.record_step(e.StepSkipped, step_id, reason=str(reason))
    draft.settled.append(step_id)


def _admit(draft: Draft, step: StepPlan) -> None:
    """The step, or its next attempt, may run: now, or when its turn comes."""
    overtakes = bool(draft.state.queue) and step.inline is None
    if overtakes or not _has_room(draft, step):
        draft.record_step(e.StepQueued, step.id)
    else:
        _run(draft, step)


def _has_room(draft: Draft, step: StepPlan) -> bool:
    if draft.state.status is ExecutionStatus.PAUSED:
        return False
    slots = draft.config.max_concurrent_steps
    return step.inline is not None or not slots or draft.state.running < slots


def _start_queued(draft: Draft) -> bool:
    """Start what stands in line, in its order, as far as there is room; whether anything was started."""
    started = False
    while draft.state.queue and _may_start(draft):
        step = draft.plan.steps[draft.state.queue[0]]
        if not _has_room(draft, step):
            break
        _run(draft, step)
        started = True
    return started


def _run(draft: Draft, step: StepPlan) -> None:
    """Begin the visit, or its next attempt."""
    state = draft.state.step(step.id)
    if state.started_at is not None:
        draft.record_step(e.AttemptStarted, step.id, attempt=state.attempt + 1)
        return
    try:
        request = _render(draft, step)
        packed = draft.pack(request) if request is not None else None
    except (ExpressionError, OutputTooLarge) as error:
        _fail_for_good(draft, step, Failure(error.code, str(error), step.id), _NO_USAGE)
        return
    agent = request.get("agent") if request is not None else None
    draft.record_step(
        e.StepStarted,
        step.id,
        attempt=state.attempt + 1,
        step_type=step.type,
        agent=agent if isinstance(agent, str) else None,
        request=packed,
    )
    if step.inline is not None:
        _decide_inline(draft, step)


def _render(draft: Draft, step: StepPlan) -> dict[str, object] | None:
    if not step.request:
        return None
    return {name: template.render(draft.scope) for name, template in step.request}


def _decide_inline(draft: Draft, step: StepPlan) -> None:
    assert step.inline is not None
    try:
        result = step.inline.decide(draft.scope, draft.now)
    except ExpressionError as error:
        result = Failed("EXPRESSION_ERROR", str(error))
    _apply_result(draft, step, result)


# ---------------------------------------------------------------- results


def _apply_result(draft: Draft, step: StepPlan, result: StepResult) -> None:
    match result:
        case Completed():
            try:
                _complete(draft, step, draft.pack(result.output), result)
            except (OutputTooLarge, TypeError) as error:
                code = "OUTPUT_TOO_LARGE" if isinstance(error, OutputTooLarge) else "INVALID_OUTPUT"
                _on_failure(draft, step, Failed(code, str(error), usage=result.usage))
        case Failed():
            _on_failure(draft, step, result)
        case WaitUntil(due):
            if due <= draft.now:
                _apply_result(draft, step, Completed(timer_output(draft.now, due, draft.now)))
            else:
                draft.record_step(e.StepWaiting, step.id, waiting_for=e.Waiting.TIMER, due=due)
        case _:
            assert_never(result)


def _complete(draft: Draft, step: StepPlan, output: Value, result: Completed) -> None:
    back = next((StepId(route) for route in result.routes or () if route in step.loops), None)
    if back is not None and draft.state.step(back).visit >= step.loops[back]:
        _exceed_visits(draft, step, back, step.loops[back], result.usage)
        return
    draft.record_step(e.StepCompleted, step.id, output=output, routes=result.routes, usage=result.usage)
    if back is not None:
        _reopen(draft, back, step.id)
    else:
        draft.settled.append(step.id)


def _exceed_visits(draft: Draft, step: StepPlan, target: StepId, allowed: int, usage: Usage) -> None:
    """A loop without end is a fault of the process: `on_error` does not handle it."""
    message = (
        f"{target} was visited {allowed} time(s), its max_visits; {step.id} would go back to it once more"
    )
    failure = Failure("VISITS_EXCEEDED", message, step.id)
    draft.record_step(e.StepFailed, step.id, failure=failure, usage=usage)
    _after_failure(draft, step.id, failure)


def _reopen(draft: Draft, target: StepId, by: StepId) -> None:
    """Go back to `target`: it and all its descendants begin a new visit."""
    region = draft.plan.region(target)
    for step_id in _in_motion(draft, region):
        draft.record_step(e.StepCancelled, step_id, reason="loop")
    draft.record(e.StepsReopened, target=target, by=by, steps=region)
    reopened = frozenset(region)
    draft.settled = deque(step_id for step_id in draft.settled if step_id not in reopened)
    for step_id in region:
        # A root, or a join that edges from outside have decided already, has no edge left to wait for.
        _look(draft, step_id)


def _in_motion(draft: Draft, steps: tuple[StepId, ...]) -> list[StepId]:
    """Those steps whose visit has begun and not ended: they run, wait, or stand in line to try again."""
    return [step_id for step_id in steps if _is_in_motion(draft.state.step(step_id))]


def _is_in_motion(state: StepState) -> bool:
    return state.status in (StepStatus.RUNNING, StepStatus.WAITING, StepStatus.WAITING_APPROVAL) or (
        state.status is StepStatus.READY and state.started_at is not None
    )


# ---------------------------------------------------------------- failure


def _on_failure(draft: Draft, step: StepPlan, failed: Failed) -> None:
    """An attempt failed: another one, or the end of the visit."""
    state = draft.state.step(step.id)
    failure = Failure(failed.code, failed.message, step.id)
    tried = state.attempt - state.interruptions - state.forgiven
    again = (
        step.inline is None
        and draft.state.stopping is None
        and tried < step.retry.max_attempts
        and step.retry.covers(failed.code, transient=failed.transient)
    )
    if not again:
        _fail_for_good(draft, step, failure, failed.usage)
        return
    salt = f"{draft.state.created.execution_id}/{step.id}/{state.visit}"
    delay = delay_seconds(step.retry, tried + 1, salt=salt, retry_after=failed.retry_after)
    due = draft.now + timedelta(seconds=delay)
    draft.record_step(
        e.StepRetrying, step.id, failure=failure, delay_seconds=delay, due=due, usage=failed.usage
    )


def _fail_for_good(draft: Draft, step: StepPlan, failure: Failure, usage: Usage) -> None:
    """No further attempt: `on_error` decides what the failure means."""
    action = step.on_error
    if draft.state.stopping is not None or action.action == "fail_process":
        draft.record_step(e.StepFailed, step.id, failure=failure, usage=usage)
        _after_failure(draft, step.id, failure)
    elif action.action == "skip_step":
        draft.record_step(e.StepSkipped, step.id, reason=str(SkipReason.ERROR), failure=failure, usage=usage)
        draft.settled.append(step.id)
    else:
        _go_to(draft, step, failure, usage)


def _go_to(draft: Draft, step: StepPlan, failure: Failure, usage: Usage) -> None:
    target = step.on_error.target
    assert target is not None
    if not step.on_error.loop:
        draft.record_step(e.StepFailed, step.id, failure=failure, handled_by=target, usage=usage)
        draft.settled.append(step.id)
    elif draft.state.step(target).visit >= step.on_error.max_visits:
        _exceed_visits(draft, step, target, step.on_error.max_visits, usage)
    else:
        draft.record_step(e.StepFailed, step.id, failure=failure, handled_by=target, usage=usage)
        _reopen(draft, target, step.id)


def _after_failure(draft: Draft, step_id: StepId, failure: Failure) -> None:
    """A failure that nothing handles: stop everything, or let independent branches run to their end."""
    if draft.state.stopping is not None:
        return
    if draft.config.stop_on_failure:
        _stop(draft, failure)
    else:
        draft.settled.append(step_id)


def _stop(draft: Draft, failure: Failure) -> None:
    """Nothing starts any more; what waits is cancelled, what runs may answer until the grace ends."""
    for step_id in _in_motion(draft, draft.plan.order):
        if draft.state.step(step_id).status is not StepStatus.RUNNING:
            draft.record_step(e.StepCancelled, step_id, reason="stopped")
    due = draft.now + timedelta(seconds=draft.config.cancel_grace)
    draft.record(e.ProcessStopping, failure=failure, due=due)


# ---------------------------------------------------------------- the end


def _finish_if_done(draft: Draft) -> None:
    state = draft.state
    if state.status.is_final or state.status is ExecutionStatus.PENDING:
        return
    if state.stopping is not None:
        if not state.running:
            draft.record(e.ProcessFailed, failure=state.stopping.failure)
    elif not state.unsettled:
        _end(draft)


def _end(draft: Draft) -> None:
    """Every step is settled: the execution completes, or fails by what nothing handled."""
    if draft.state.failure is not None:
        draft.record(e.ProcessFailed, failure=draft.state.failure)
        return
    try:
        outputs = draft.pack(_outputs(draft))
    except (ExpressionError, OutputTooLarge) as error:
        draft.record(e.ProcessFailed, failure=Failure(error.code, f"outputs: {error}"))
        return
    draft.record(e.ProcessCompleted, outputs=outputs)


def _outputs(draft: Draft) -> dict[str, object]:
    """The named outputs; without any, the output of each completed step that nothing depends on."""
    if draft.plan.outputs is not None:
        return {name: template.render(draft.scope) for name, template in draft.plan.outputs}
    return {
        step_id: draft.scope.step(step_id, "output")
        for step_id in draft.plan.leaves
        if draft.state.step(step_id).status is StepStatus.COMPLETED
    }
