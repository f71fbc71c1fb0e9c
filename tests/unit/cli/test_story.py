from datetime import UTC, datetime, timedelta

import pytest

from process_engine.cli.story import detail, line
from process_engine.core import events as e
from process_engine.core.approvals import Decision, Request, Ruling
from process_engine.core.failures import Failure
from process_engine.core.values import BlobRef, Value

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
FAILURE = Failure("AGENT_ERROR", "no\x1b[31m", "a")
APPROVED = Decision("ann\x1b", Ruling.APPROVED, START)
REJECTED = Decision("ann", Ruling.REJECTED, START, "no\x1b")


def asked(*assignees):
    shown = Value({"title": "Shall\x07 we?", "description": ""})
    return Request("r", "0" * 64, shown, START, START + timedelta(hours=24), assignees)


def event(kind, **fields):
    return kind(execution_id="x", sequence=1, timestamp=START, process_name="p", correlation_id="x", **fields)


def of_step(kind, **fields):
    return event(kind, step_id="a", attempt=1, **fields)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (of_step(e.StepStarted, step_type="agent_task", agent="writer"), "asks writer"),
        (of_step(e.StepStarted, step_type="timer"), ""),
        (
            of_step(
                e.StepStarted,
                step_type="notification",
                request=Value({"channel": "log", "channels": ["ops", "email"]}),
            ),
            "tells log, ops, email",
        ),
        (
            of_step(e.StepStarted, step_type="notification", request=Value(ref=BlobRef("00", 123456))),
            "tells",
        ),
        (of_step(e.AttemptStarted), "attempt 1"),
        (
            of_step(e.StepRetrying, failure=FAILURE, delay_seconds=2, due=START + timedelta(seconds=2)),
            "attempt 1 failed, again in 2.0 s: AGENT_ERROR: no\\x1b[31m",
        ),
        (of_step(e.StepCompleted, output=Value({"score": 91})), '{"score":91}'),
        (of_step(e.StepCompleted, output=Value("\x1b[2J")), "\\x1b[2J"),
        (of_step(e.StepCompleted, output=Value(None), routes=("b",)), "to b"),
        (of_step(e.StepCompleted, output=Value(ref=BlobRef("00", 123456))), "123,456 bytes of JSON"),
        (of_step(e.StepFailed, failure=FAILURE, handled_by="b"), "AGENT_ERROR: no\\x1b[31m; b deals with it"),
        (of_step(e.StepSkipped, reason="dead_path"), "dead path"),
        (of_step(e.StepSkipped, reason="error", failure=FAILURE), "error: AGENT_ERROR: no\\x1b[31m"),
        (of_step(e.StepCancelled, reason="loop"), "loop"),
        (of_step(e.StepWaitingApproval, due=START + timedelta(hours=24)), "for 1 d at most"),
        (
            of_step(e.ApprovalRequested, request=asked("ann", "group:x\x1b")),
            "asks ann, group:x\\x1b: Shall\\x07 we?",
        ),
        (of_step(e.ApprovalRequested, request=asked()), "asks anybody: Shall\\x07 we?"),
        (of_step(e.ApprovalDecided, approval_id="r", decision=APPROVED), "approved by ann\\x1b"),
        (of_step(e.ApprovalDecided, approval_id="r", decision=REJECTED), "rejected by ann: no\\x1b"),
        (
            of_step(e.ApprovalDelegated, approval_id="r", by="ann", to="bob\x1b"),
            "ann hands it on to bob\\x1b",
        ),
        (
            of_step(e.ApprovalDelegated, approval_id="r", by="ann", to="bob", comment="on leave"),
            "ann hands it on to bob: on leave",
        ),
        (of_step(e.ApprovalReminded, approval_id="r", number=2), "reminder 2"),
        (of_step(e.ApprovalEscalated, approval_id="r", to=("carl", "dan")), "carl, dan may decide as well"),
        (of_step(e.ApprovalExpired, approval_id="r", action="reject"), "nobody decided in time: reject"),
        (event(e.ProcessPaused, reason="operator", by="eve"), "operator by eve"),
        (event(e.ProcessResumed, by="eve"), "by eve"),
        (event(e.ProcessCancelled, reason="done\x1b", by=None), "done\\x1b"),
        (event(e.ProcessFailed, failure=FAILURE), "AGENT_ERROR: no\\x1b[31m"),
        (event(e.StepsReopened, target="a", by="g", steps=("a",)), "g goes back to a"),
        (event(e.ProcessCompleted, outputs=Value({})), ""),
    ],
)
def test_each_event_is_told_in_words_that_cannot_steer_the_terminal(told, words):
    assert detail(told) == words


def test_a_line_has_time_step_and_type():
    told = line(of_step(e.StepStarted, step_type="agent_task", agent="writer"))

    assert told.split() == [START.astimezone().strftime("%H:%M:%S"), "a", "StepStarted", "asks", "writer"]
