"""How an execution goes on: what settles, what starts, what a result or a failure means, and how it ends.

`advance` works off the line of settled steps; everything else is what it, or a command, makes of one step.
"""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from typing import assert_never

from process_engine.core import compensation
from process_engine.core import events as e
from process_engine.core.approvals import Asked, Request, hash_of
from process_engine.core.backoff import delay_seconds
from process_engine.core.children import StartChild, child_id
from process_engine.core.draft import Draft
from process_engine.core.edges import Verdict, join_verdict
from process_engine.core.failures import Failure
from process_engine.core.inline import timer_output
from process_engine.core.item_runs import begin, start_some
from process_engine.core.plan import StepPlan
from process_engine.core.results import (
    NO_USAGE,
    Completed,
    Failed,
    StepResult,
    Usage,
    WaitForEvent,
    WaitUntil,
)
from process_engine.core.scope import unpack
from process_engine.core.state import (
    FINAL,
    PENDING,
    UNTOUCHED,
    ExecutionStatus,
    SkipReason,
    StepState,
    StepStatus,
)
from process_engine.core.values import NULL, Value
from process_engine.definition.json_schema import spelled
from process_engine.errors import ExpressionError, OutputTooLarge
from process_engine.ids import StepId

# Enough to mend an answer by; a list of a thousand wrong items is one mistake.
MOST_FAULTS_TOLD = 5


# ---------------------------------------------------------------- going on


def advance(draft: Draft) -> None:
    """Work off the line of settled steps, fill free slots, and end the execution if nothing is left."""
    while True:
        while draft.settled:
            for edge in draft.plan.steps[draft.settled.popleft()].outgoing:
                look(draft, StepId(edge.target))
        if not _start_queued(draft):
            break
    start_some(draft)
    _finish_if_done(draft)


def look(draft: Draft, step_id: StepId) -> None:
    """Decide about a step one of whose edges has settled."""
    state = draft.state
    tally = state.tally(step_id)
    step = draft.plan.steps[step_id]
    if step.need == 0 and (tally.open or tally.ordering):
        # A join of many is looked at once for each of its edges, and waits at all but the last.
        return
    if state.steps.get(step_id, UNTOUCHED).status is not PENDING or not may_start(draft):
        return
    verdict = join_verdict(step, tally, state.steps)
    match verdict:
        case Verdict.RUN:
            _consider(draft, step)
        case Verdict.WAIT:
            return
        case Verdict.ROUTE_NOT_TAKEN | Verdict.DEAD_PATH | Verdict.DEPENDENCY_FAILED:
            _skip(draft, step_id, verdict.value)
        case _:
            assert_never(verdict)


def may_start(draft: Draft) -> bool:
    """Whether anything may start at all: not once the execution is about to fail, or has ended."""
    return draft.state.stopping is None and draft.state.status not in FINAL


def _consider(draft: Draft, step: StepPlan) -> None:
    """The edges allow the step: its condition decides, once per visit."""
    # A visit that was begun before, and is retried, had its answer then.
    begun = step.condition is None or draft.state.step(step.id).attempt > 0
    try:
        wanted = begun or step.condition is None or step.condition.evaluate(draft.scope) is True
    except ExpressionError as error:
        fail_for_good(draft, step, Failure("EXPRESSION_ERROR", f"condition: {error}", step.id), NO_USAGE)
        return
    if wanted:
        admit(draft, step)
    else:
        _skip(draft, step.id, SkipReason.CONDITION_FALSE)


def _skip(draft: Draft, step_id: StepId, reason: str) -> None:
    draft.record_step(e.StepSkipped, step_id, reason=str(reason))
    draft.settled.append(step_id)


def admit(draft: Draft, step: StepPlan) -> None:
    """The step, or its next attempt, may run: now, or when its turn comes."""
    overtakes = bool(draft.state.queue) and step.inline is None
    if overtakes or not _has_room(draft, step):
        draft.record_step(e.StepQueued, step.id)
    else:
        run(draft, step)


def _has_room(draft: Draft, step: StepPlan) -> bool:
    if draft.state.status is ExecutionStatus.PAUSED:
        return False
    slots = draft.config.max_concurrent_steps
    return not slots or draft.state.running < slots or step.inline is not None


def _start_queued(draft: Draft) -> bool:
    """Start what stands in line, in its order, as far as there is room; whether anything was started."""
    started = False
    while draft.state.queue and may_start(draft):
        step = draft.plan.steps[draft.state.queue[0]]
        if not _has_room(draft, step):
            break
        run(draft, step)
        started = True
    return started


def run(draft: Draft, step: StepPlan) -> None:
    """Begin the visit, or its next attempt."""
    state = draft.state.steps.get(step.id, UNTOUCHED)
    if state.started_at is not None:
        draft.record_step(e.AttemptStarted, step.id, attempt=state.attempt + 1)
        if step.child is not None:
            _decide_inline(draft, step)
        return
    if step.items is not None:
        failure = begin(draft, step)
        if failure is not None:
            fail_for_good(draft, step, failure, NO_USAGE)
        return
    agent, request = state.agent, state.request
    if request is None:
        try:
            agent, request = _render(draft, step)
        except (ExpressionError, OutputTooLarge) as error:
            fail_for_good(draft, step, Failure(error.code, str(error), step.id), NO_USAGE)
            return
    draft.record_step(
        e.StepStarted,
        step.id,
        attempt=state.attempt + 1,
        step_type=step.type,
        agent=agent,
        request=request,
    )
    if step.inline is not None:
        _decide_inline(draft, step)


def _render(draft: Draft, step: StepPlan) -> tuple[str | None, Value | None]:
    """Whom the step asks, and what; nobody and nothing where it is decided inline."""
    if step.constant_request is not None:
        return step.constant_request
    if not step.request:
        return None, None
    request = {name: template.render(draft.scope) for name, template in step.request}
    agent = request.get("agent")
    return agent if isinstance(agent, str) else None, draft.pack(request)


def _decide_inline(draft: Draft, step: StepPlan) -> None:
    assert step.inline is not None
    try:
        result = step.inline.decide(draft.scope, draft.now)
    except ExpressionError as error:
        result = Failed("EXPRESSION_ERROR", str(error))
    apply_result(draft, step, result)


# ---------------------------------------------------------------- results


def apply_result(draft: Draft, step: StepPlan, result: StepResult) -> None:
    """Record what a handler has answered."""
    match result:
        case Completed():
            try:
                complete(draft, step, draft.pack(result.output), result)
            except (OutputTooLarge, TypeError) as error:
                code = "OUTPUT_TOO_LARGE" if isinstance(error, OutputTooLarge) else "INVALID_OUTPUT"
                _on_failure(draft, step, Failed(code, str(error), usage=result.usage))
        case Failed():
            _on_failure(draft, step, result)
        case WaitUntil(due):
            if due <= draft.now:
                apply_result(draft, step, Completed(timer_output(draft.now, due, draft.now)))
            else:
                draft.record_step(e.StepWaiting, step.id, waiting_for=e.Waiting.TIMER, due=due)
        case WaitForEvent(event, due):
            draft.record_step(e.StepWaiting, step.id, waiting_for=e.Waiting.EVENT, due=due, event=event)
        case Asked():
            _ask(draft, step, result)
        case StartChild():
            _start_child(draft, step, result)
        case _:
            assert_never(result)


def _ask(draft: Draft, step: StepPlan, asked: Asked) -> None:
    """Put the question to people; the step waits for them."""
    rules = step.approval
    assert rules is not None
    try:
        shown = draft.pack(asked.shown)
    except OutputTooLarge as error:
        fail_for_good(draft, step, Failure(error.code, f"what is shown: {error}", step.id), NO_USAGE)
        return
    state = draft.state.step(step.id)
    deadline = draft.now + timedelta(seconds=rules.deadline_seconds)
    request = Request(
        id=f"{draft.state.created.execution_id}/{step.id}/{state.visit}/{state.attempt}",
        sha256=hash_of(asked.shown),
        shown=shown,
        asked_at=draft.now,
        deadline=deadline,
        assignees=asked.assignees,
    )
    draft.record_step(e.StepWaitingApproval, step.id, due=deadline)
    draft.record_step(e.ApprovalRequested, step.id, request=request)


def _start_child(draft: Draft, step: StepPlan, asked: StartChild) -> None:
    """Have a sub-process started, under an id that follows from the attempt; the step waits for it."""
    rules, state = step.child, draft.state.step(step.id)
    assert rules is not None
    due = draft.now + timedelta(seconds=rules.timeout_seconds)
    id = child_id(draft.state.created.execution_id, step.id, state.visit, state.attempt)
    draft.record_step(e.StepWaiting, step.id, waiting_for=e.Waiting.CHILD, due=due)
    draft.record_step(e.ChildStarted, step.id, child_id=id, process=asked.process, version=asked.version)


def record_answer(draft: Draft, step: StepPlan, output: Value, result: Completed) -> None:
    """Complete the visit with what an attempt answered, unless the answer breaks the step's schema."""
    refused = schema_failure(draft, step, output, result.usage)
    if refused is None:
        complete(draft, step, output, result)
    else:
        _on_failure(draft, step, refused)


def schema_failure(draft: Draft, step: StepPlan, output: Value, usage: Usage) -> Failed | None:
    """What it means for an attempt that its answer breaks the step's schema; None where it does not."""
    faults = step.output_schema.faults(unpack(output, draft.scope.blobs)) if step.output_schema else []
    if not faults:
        return None
    told = [f"{spelled('output', fault.path)} {fault.message}" for fault in faults[:MOST_FAULTS_TOLD]]
    return Failed("INVALID_OUTPUT", f"the answer breaks its schema: {'; '.join(told)}", usage=usage)


def complete(draft: Draft, step: StepPlan, output: Value, result: Completed) -> None:
    """Record the output; a gateway that routes back begins its loop anew."""
    back = _way_back(step, result.routes) if result.routes is not None else None
    if back is not None and draft.state.step(back).visit >= step.loops[back]:
        _exceed_visits(draft, step, back, step.loops[back], result.usage)
        return
    draft.record_step(e.StepCompleted, step.id, output=output, routes=result.routes, usage=result.usage)
    if step.undo is not None:
        compensation.prepare(draft, step)
    if back is not None:
        _reopen(draft, back, step.id)
    else:
        draft.settled.append(step.id)


def _way_back(step: StepPlan, routes: tuple[str, ...]) -> StepId | None:
    """The ancestor that a gateway's routes lead back to, if one of them does."""
    return next((StepId(route) for route in routes if route in step.loops), None)


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
    for step_id in in_motion(draft, region):
        draft.record_step(e.StepCancelled, step_id, reason="loop")
    draft.record(e.StepsReopened, target=target, by=by, steps=region)
    reopened = frozenset(region)
    draft.settled = deque(step_id for step_id in draft.settled if step_id not in reopened)
    for step_id in region:
        # A root, or a join that edges from outside have decided already, has no edge left to wait for.
        look(draft, step_id)


def in_motion(draft: Draft, steps: tuple[StepId, ...]) -> list[StepId]:
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
        (step.inline is None or step.child is not None)
        and draft.state.stopping is None
        and tried < step.retry.max_attempts
        and step.retry.covers(failed.code, transient=failed.transient)
    )
    if not again:
        fail_for_good(draft, step, failure, failed.usage, progress=failed.progress)
        return
    salt = f"{draft.state.created.execution_id}/{step.id}/{state.visit}"
    delay = delay_seconds(step.retry, tried + 1, salt=salt, retry_after=failed.retry_after)
    due = draft.now + timedelta(seconds=delay)
    draft.record_step(
        e.StepRetrying,
        step.id,
        failure=failure,
        delay_seconds=delay,
        due=due,
        usage=failed.usage,
        progress=failed.progress,
    )


def fail_for_good(
    draft: Draft,
    step: StepPlan,
    failure: Failure,
    usage: Usage,
    output: Value = NULL,
    progress: object = None,
) -> None:
    """No further attempt: `on_error` decides what the failure means. `output` can be read all the same."""
    action = step.on_error
    if draft.state.stopping is not None or action.action == "fail_process":
        draft.record_step(
            e.StepFailed, step.id, failure=failure, usage=usage, output=output, progress=progress
        )
        _after_failure(draft, step.id, failure)
    elif action.action == "skip_step":
        skip_error(draft, step, failure, usage, output)
    else:
        _go_to(draft, step, failure, usage, output)


def skip_error(draft: Draft, step: StepPlan, failure: Failure, usage: Usage, output: Value = NULL) -> None:
    """What failed is passed over, and everything after it goes on."""
    reason = str(SkipReason.ERROR)
    draft.record_step(e.StepSkipped, step.id, reason=reason, failure=failure, usage=usage, output=output)
    draft.settled.append(step.id)


def _go_to(draft: Draft, step: StepPlan, failure: Failure, usage: Usage, output: Value) -> None:
    target = step.on_error.target
    assert target is not None
    loop = step.on_error.loop
    if loop and draft.state.step(target).visit >= step.on_error.max_visits:
        _exceed_visits(draft, step, target, step.on_error.max_visits, usage)
        return
    draft.record_step(e.StepFailed, step.id, failure=failure, handled_by=target, usage=usage, output=output)
    if loop:
        _reopen(draft, target, step.id)
    else:
        draft.settled.append(step.id)


def _after_failure(draft: Draft, step_id: StepId, failure: Failure) -> None:
    """A failure that nothing handles: stop everything, or let independent branches run to their end."""
    if draft.state.stopping is not None:
        return
    if draft.config.stop_on_failure:
        stop(draft, failure)
    else:
        draft.settled.append(step_id)


def stop(draft: Draft, failure: Failure) -> None:
    """Nothing starts any more; what waits is cancelled, what runs may answer until the grace ends."""
    for step_id in in_motion(draft, draft.plan.order):
        if not draft.state.step(step_id).slots:
            draft.record_step(e.StepCancelled, step_id, reason="stopped")
    due = draft.now + timedelta(seconds=draft.config.cancel_grace)
    draft.record(e.ProcessStopping, failure=failure, due=due)


# ---------------------------------------------------------------- the end


def _finish_if_done(draft: Draft) -> None:
    state = draft.state
    if state.unsettled and state.stopping is None:
        return
    if state.status.is_final or state.status is ExecutionStatus.PENDING:
        return
    if state.stopping is not None:
        if not state.running and state.stopping.undoing is None:
            compensation.proceed(draft)
    elif not state.unsettled:
        _end(draft)


def _end(draft: Draft) -> None:
    """Every step is settled: the execution completes, or fails by what nothing handled."""
    if draft.state.failure is not None:
        compensation.fail(draft, draft.state.failure)
        return
    try:
        outputs = draft.pack(_outputs(draft))
    except (ExpressionError, OutputTooLarge) as error:
        compensation.fail(draft, Failure(error.code, f"outputs: {error}"))
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
