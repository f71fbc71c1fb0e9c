from types import SimpleNamespace

from process_engine.cli.demo_crash import Middle, compare, promises, repeated_completions, unrecorded_calls
from process_engine.core.events import AttemptStarted, StepCompleted, StepStarted
from process_engine.core.state import ExecutionStatus
from process_engine.core.values import Value
from process_engine.ids import ExecutionId
from tests.unit.cli.test_story import event

STEPS = ("plan", "write", "gate", "late")


def call(step_id, *, attempt=1, visit=1, key=None, repeated=False):
    key = key or f"x/{step_id}/{visit}"
    return SimpleNamespace(
        agent="a", key=key, step_id=step_id, visit=visit, attempt=attempt, status=200, repeated=repeated
    )


def started(step_id):
    return event(StepStarted, step_id=step_id, attempt=1, step_type="agent_task")


def again(step_id):
    return event(AttemptStarted, step_id=step_id, attempt=2)


def completed(step_id, visit=1):
    return event(StepCompleted, step_id=step_id, visit=visit, attempt=1, output=Value(None))


ENDED = SimpleNamespace(status=ExecutionStatus.COMPLETED, step_executions=dict.fromkeys(STEPS))
MIDDLE = Middle(ExecutionId("x"), frozenset({"plan", "gate"}), frozenset({"write"}), calls=2)
BEFORE = [call("plan"), call("write")]
AFTER = [call("write", attempt=2, repeated=True), call("late")]
EVENTS = [
    *(started(step_id) for step_id in STEPS),
    again("write"),
    *(completed(step_id) for step_id in STEPS),
]


def broken_promises(calls=(*BEFORE, *AFTER), events=EVENTS, ended=ENDED):
    return [promise for promise, kept in promises(ended, MIDDLE, list(calls), list(events)) if not kept]


def test_every_step_is_held_against_the_log():
    findings = compare(ENDED, MIDDLE, [*BEFORE, *AFTER])

    assert [(one.step_id, one.before, one.after, one.told) for one in findings] == [
        ("plan", 1, 0, "recorded before the kill, not asked again"),
        ("write", 1, 1, "asked again with the same Idempotency-Key, answered from the agent's memory"),
        ("gate", 0, 0, "recorded before the kill"),
        ("late", 0, 1, "came after the kill"),
    ]
    assert broken_promises() == []


def test_a_recorded_step_that_was_asked_again_breaks_the_promise():
    calls = [*BEFORE, *AFTER, call("plan")]

    assert broken_promises(calls) == ["No recorded step was asked again."]
    assert compare(ENDED, MIDDLE, calls)[0].told == "recorded before the kill, yet asked again"


def test_a_repeated_call_with_another_key_breaks_the_promise():
    calls = [*BEFORE, call("write", attempt=2, key="other")]

    assert broken_promises(calls) == ["Every repeated call carried the Idempotency-Key of the first."]


def test_a_call_without_a_recorded_attempt_breaks_the_promise():
    calls = [*BEFORE, *AFTER, call("late", attempt=2)]

    assert broken_promises(calls) == ["Every call belongs to an attempt that was recorded first."]
    assert unrecorded_calls(calls, EVENTS) == [calls[-1]]


def test_a_completion_that_was_recorded_twice_breaks_the_promise():
    events = [*EVENTS, completed("write")]

    assert broken_promises(events=events) == ["No step was recorded as completed twice."]
    assert repeated_completions([*EVENTS, completed("write", visit=2)]) == []


def test_an_execution_that_did_not_complete_breaks_the_promise():
    failed = SimpleNamespace(status=ExecutionStatus.FAILED, step_executions=ENDED.step_executions)

    assert broken_promises(ended=failed) == ["The execution completed."]
