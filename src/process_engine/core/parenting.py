"""What becomes of a step that waits for a sub-process, and of children that nobody waits for any more.

A child is named by its id alone, which tells visit and attempt as well. Messages about a child may come more
than once, late, or from a visit before: what is not waited for and not recalled changes nothing.
"""

from __future__ import annotations

from typing import cast

from process_engine.core import commands as c
from process_engine.core import events as e
from process_engine.core import moves
from process_engine.core.children import ChildOutcome, Recall
from process_engine.core.draft import Draft
from process_engine.core.failures import Failure
from process_engine.core.plan import StepPlan
from process_engine.core.results import Completed, Failed
from process_engine.core.scope import unpack
from process_engine.core.state import StepState, waits_for_child
from process_engine.ids import ExecutionId


def begun(draft: Draft, command: c.ChildBegan, step: StepPlan) -> None:
    """The child is recorded: a step that does not wait for its end has done its work."""
    state = draft.state.step(step.id)
    if waits_for_child(state, command.child_id) and _is_let_go(step, state):
        _let_go(draft, step, command.child_id)


def finished(draft: Draft, command: c.ChildFinished, step: StepPlan) -> None:
    """A child has ended: the step that waits for it ends, or tries again; what it cost is paid once."""
    state = draft.state.step(step.id)
    recall = next((one for one in draft.state.recalls if one.id == command.child_id), None)
    if waits_for_child(state, command.child_id):
        if _is_let_go(step, state) and command.outcome is not ChildOutcome.REFUSED:
            _let_go(draft, step, command.child_id)
            return
        _record_end(draft, command, Recall(command.child_id, step.id, state.visit, state.attempt, draft.now))
        _settle(draft, command, step)
        moves.advance(draft)
    elif recall is not None:
        _record_end(draft, command, recall)


def _is_let_go(step: StepPlan, state: StepState) -> bool:
    """Whether the step does not wait for the end of its child, and has not given it up either."""
    recalled = state.child is not None and state.child.recalled is not None
    return step.child is not None and not step.child.waits and not recalled


def _let_go(draft: Draft, step: StepPlan, child_id: ExecutionId) -> None:
    moves.apply_result(draft, step, Completed({"execution_id": child_id}))
    moves.advance(draft)


def wake(draft: Draft, step: StepPlan) -> None:
    """The step's time is up: the child is told to cancel, and the step fails once it has ended."""
    state, rules = draft.state.step(step.id), step.child
    assert state.child is not None
    assert rules is not None
    if state.child.recalled is not None:
        return
    failure = Failure("TIMEOUT", f"the sub-process did not end within {rules.timeout_seconds:g} s", step.id)
    draft.record_step(e.ChildRecalled, step.id, child_id=state.child.id, failure=failure)


def _record_end(draft: Draft, command: c.ChildFinished, whose: Recall) -> None:
    draft.record(
        e.ChildEnded,
        step_id=whose.step_id,
        visit=whose.visit,
        attempt=whose.attempt,
        child_id=command.child_id,
        outcome=command.outcome,
        usage=command.usage,
    )


def _settle(draft: Draft, command: c.ChildFinished, step: StepPlan) -> None:
    child, rules = draft.state.step(step.id).child, step.child
    assert child is not None
    assert rules is not None
    if child.recalled is not None:
        failed = Failed(child.recalled.code, child.recalled.message, transient=True)
        moves.apply_result(draft, step, failed)
    elif command.outcome is not ChildOutcome.COMPLETED:
        message = command.message or f"the sub-process was {command.outcome}"
        moves.apply_result(draft, step, Failed("CHILD_FAILED", message))
    elif rules.output_key is None:
        moves.complete(draft, step, command.outputs, Completed())
    else:
        _pick(draft, command, step, rules.output_key)


def _pick(draft: Draft, command: c.ChildFinished, step: StepPlan, key: str) -> None:
    outputs = cast("dict[str, object]", unpack(command.outputs, draft.scope.blobs) or {})
    if key in outputs:
        moves.apply_result(draft, step, Completed(outputs[key]))
        return
    given = ", ".join(sorted(outputs)[: moves.MOST_FAULTS_TOLD]) or "nothing"
    message = f"the sub-process gave no `{key}`, its `output_key`; it gave {given}"
    moves.apply_result(draft, step, Failed("INVALID_OUTPUT", message))
