"""Every kind of event: applied, decoded for ever, and replayed to the stored state."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from process_engine.core import events as e
from process_engine.core.approvals import Decision, Request, Ruling
from process_engine.core.children import ChildOutcome
from process_engine.core.config import ExecutionConfig
from process_engine.core.evolve import EFFECTS, Evolution, apply, replay, restore
from process_engine.core.failures import CODES, TRANSIENT, Failure
from process_engine.core.results import Usage
from process_engine.core.state import Snapshot
from process_engine.core.values import BlobRef, Value
from process_engine.errors import InternalError
from process_engine.repositories.records import EVENT
from process_engine.testing.executions import execution_of

GOLDEN = Path(__file__).parents[2] / "fixtures" / "events" / "v1"
KINDS = get_args(e.AnyEvent)
AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
SHARED = {
    "execution_id": "0abc",
    "sequence": 7,
    "timestamp": AT,
    "process_name": "content",
    "correlation_id": "0abc",
}
STEP = {**SHARED, "step_id": "write-text", "visit": 2, "attempt": 3}
FAILURE = Failure("AGENT_UNAVAILABLE", "HTTP 503: \u201cbusy\u201d", "write-text")
USAGE = Usage(cost=Decimal("0.00012345678901234567"), input_tokens=12, output_tokens=34)
DECISION = Decision("bob", Ruling.REJECTED, AT, comment="too long", form=Value({"budget": 5}))
REQUEST = Request(
    "0abc/write-text/2/3",
    "a" * 64,
    Value({"title": "Publish?", "description": "by ann"}),
    AT,
    AT,
    assignees=("ann", "group:legal"),
)
ASKED = {**STEP, "approval_id": REQUEST.id}
EXAMPLES = (
    e.ExecutionCreated(
        **{**SHARED, "sequence": 1},
        definition_hash="d" * 64,
        version="1.2.3",
        input=Value({"topic": "tides", "n": 12345678901234567890123}),
        config=ExecutionConfig(stop_on_failure=False, max_concurrent_steps=2, cancel_grace=5.0),
        started_by="ann",
    ),
    e.ProcessStarted(**SHARED, deadline=AT),
    e.ProcessPaused(**SHARED, reason="operator", by="ann"),
    e.ProcessResumed(**SHARED, by="ann"),
    e.ProcessReopened(
        **SHARED,
        steps=("write-text", "check"),
        again=("check",),
        input=Value({"topic": "moon"}),
        deadline=AT,
        by="ann",
    ),
    e.ProcessStopping(**SHARED, failure=FAILURE, due=AT),
    e.ProcessCompleted(**SHARED, outputs=Value(ref=BlobRef("a" * 64, 70000))),
    e.ProcessFailed(**SHARED, failure=FAILURE),
    e.ProcessCancelled(**SHARED, reason="no longer needed", by="ann"),
    e.ProcessCancelling(**SHARED, due=AT, reason="no longer needed", by="ann"),
    e.StepQueued(**STEP),
    e.StepStarted(**STEP, step_type="agent_task", agent="writer", request=Value({"message": "hello"})),
    e.AttemptStarted(**STEP),
    e.StepRetrying(**STEP, failure=FAILURE, delay_seconds=1.5, due=AT, usage=USAGE),
    e.StepWaiting(**STEP, waiting_for=e.Waiting.TIMER, due=AT),
    e.EventReceived(**STEP, event="order paid", event_id="p-1", position=12, published_at=AT, by="ann"),
    e.StepWaitingApproval(**STEP, due=AT),
    e.ApprovalRequested(**STEP, request=REQUEST),
    e.ApprovalDecided(**ASKED, decision=DECISION),
    e.ApprovalDelegated(**ASKED, by="ann", to="cid", instead_of="ann", comment="on leave"),
    e.ApprovalReminded(**ASKED, number=2),
    e.ApprovalEscalated(**ASKED, to=("group:board", "dan")),
    e.ApprovalExpired(**ASKED, action="approve"),
    e.ChildStarted(**STEP, child_id="0def", process="research", version="2.1"),
    e.ChildRecalled(**STEP, child_id="0def", failure=FAILURE),
    e.ChildEnded(**STEP, child_id="0def", outcome=ChildOutcome.FAILED, usage=USAGE),
    e.StepCompleted(**STEP, output=Value([1, None, {"deep": 1.5}]), routes=("left", "right"), usage=USAGE),
    e.StepFailed(**STEP, failure=FAILURE, handled_by="mend", usage=USAGE),
    e.StepSkipped(**STEP, reason="error", failure=FAILURE, usage=USAGE),
    e.StepCancelled(**STEP, reason="loop"),
    e.ItemStarted(**STEP, item=17),
    e.ItemRetrying(**STEP, item=17, failure=FAILURE, delay_seconds=1.5, due=AT, usage=USAGE),
    e.ItemCompleted(**STEP, item=17, output=Value({"score": 0.5}), usage=USAGE),
    e.ItemFailed(**STEP, item=17, failure=FAILURE, usage=USAGE),
    e.StepsReopened(**SHARED, target="write-text", by="check", steps=("write-text", "check")),
    e.CompensationPrepared(**STEP, agent="writer", request=Value({"message": "take it back"})),
    e.CompensationStarted(**STEP, agent="writer"),
    e.CompensationAttemptStarted(**STEP),
    e.CompensationRetrying(**STEP, failure=FAILURE, delay_seconds=1.5, due=AT, usage=USAGE),
    e.CompensationCompleted(**STEP, output=Value({"refund": "0.1"}), usage=USAGE),
    e.CompensationFailed(**STEP, failure=FAILURE, usage=USAGE),
)


def test_every_kind_of_event_has_one_applier_but_the_first():
    assert set(EFFECTS) == set(KINDS) - {e.ExecutionCreated}


def test_there_is_an_example_of_every_kind():
    assert {type(example) for example in EXAMPLES} == set(KINDS)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.type)
def test_what_an_older_version_wrote_is_read_for_ever(example: e.Event):
    """The golden files are never changed: a record that no longer decodes to this is a broken promise."""
    written = (GOLDEN / f"{example.type}.json").read_text(encoding="utf-8")

    assert EVENT.decode(written) == example


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.type)
def test_an_event_survives_the_store(example: e.Event):
    assert EVENT.decode(EVENT.encode(example)) == example


def test_every_golden_file_belongs_to_a_kind_of_event():
    assert {path.stem for path in GOLDEN.glob("*.json")} == {kind.__name__ for kind in KINDS}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.type)
def test_a_field_that_a_newer_version_adds_is_ignored(example: e.Event):
    newer = {**json.loads(EVENT.encode(example)), "added_later": [1, 2]}

    assert EVENT.decode(json.dumps(newer)) == example


def test_which_events_are_bookkeeping():
    assert {kind.__name__ for kind in KINDS if not kind.public} == {
        "ExecutionCreated",
        "ProcessStopping",
        "StepQueued",
        "AttemptStarted",
        "StepsReopened",
        "ChildRecalled",
        "ChildEnded",
        "ProcessCancelling",
        "CompensationPrepared",
        "CompensationAttemptStarted",
        "ItemStarted",
        "ItemRetrying",
        "ItemCompleted",
        "ItemFailed",
    }


def test_what_never_ran_costs_nothing_to_store():
    queued = json.loads(EVENT.encode(e.StepQueued(**SHARED, step_id="a")))

    assert set(queued) == {"type", *SHARED, "step_id"}


def test_events_are_frozen():
    with pytest.raises(AttributeError):
        EXAMPLES[0].sequence = 8


# ---------------------------------------------------------------- replay


def busy_story():
    config = ExecutionConfig(max_concurrent_steps=2)
    run = execution_of("a -> b, a -> c, b & c -> d, x", config=config, limits={"timeout": "1h"})
    run = run.started({"n": 1}).failed("a").retried("a").paused().completed("a", "x" * 70_000)
    return run.resumed().interrupted("x").completed("x").completed("b")


def test_replaying_the_events_gives_the_state():
    run = busy_story()

    assert replay(run.plan, run.history) == run.execution


def test_a_stored_snapshot_gives_the_same_execution_with_everything_derived():
    run = busy_story()
    stored = Snapshot(run.execution.created, run.execution.head, dict(reversed(run.execution.steps.items())))
    written = msgspec.json.decode(msgspec.json.encode(stored), type=Snapshot)

    assert restore(run.plan, written) == run.execution


def test_a_history_that_does_not_begin_at_its_beginning_is_refused():
    run = busy_story()

    with pytest.raises(InternalError, match="begins with ExecutionCreated"):
        replay(run.plan, run.history[1:])


def test_a_gap_in_a_history_is_refused_and_changes_nothing():
    run = busy_story()
    evolution = Evolution(run.plan, run.execution)

    with pytest.raises(InternalError, match="follows number"):
        apply(evolution, e.ProcessPaused(**{**SHARED, "sequence": 99}, reason="operator"))

    assert evolution.freeze() == run.execution


def test_a_transition_does_not_touch_the_state_before_it():
    run = execution_of("a -> b").started()
    before = msgspec.json.encode(run.execution)

    run.completed("a")

    assert msgspec.json.encode(run.execution) == before


# ---------------------------------------------------------------- codes


def test_every_code_that_is_transient_is_a_code():
    assert set(CODES) >= TRANSIENT


def test_the_example_of_every_failure_uses_a_known_code():
    assert {example.failure.code for example in EXAMPLES if getattr(example, "failure", None)} <= set(CODES)
