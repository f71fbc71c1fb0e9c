from datetime import UTC, datetime, timedelta

import pytest

from process_engine.cli.board import Board
from process_engine.core import events as e
from process_engine.core.approvals import Decision, Request, Ruling
from process_engine.core.failures import Failure
from process_engine.core.state import ExecutionStatus, StepStatus
from process_engine.core.values import Value
from process_engine.definition.checking import load_definition
from process_engine.ids import ExecutionId

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
ID = ExecutionId("0" * 20)
PROCESS = """
name: p
steps:
  - {id: a, type: timer, delay: 1s}
  - {id: b, type: timer, delay: 1s, depends_on: a}
"""
FAILURE = Failure("AGENT_ERROR", "no", "a")


class Story:
    """A board that is told one event after the other."""

    def __init__(self):
        definition, _ = load_definition(PROCESS)
        assert definition is not None
        self.board = Board.of_definition(ID, definition)
        self._sequence = 0

    def tell(self, kind, **fields):
        self._sequence += 1
        event = kind(
            execution_id=ID,
            sequence=self._sequence,
            timestamp=START + timedelta(seconds=self._sequence),
            process_name="p",
            correlation_id=ID,
            **fields,
        )
        self.board.note(event)
        return event

    def begin(self, step_id="a", **fields):
        return self.tell(e.StepStarted, step_id=step_id, attempt=1, step_type="agent_task", **fields)


def test_at_the_beginning_everything_is_pending():
    board = Story().board

    assert board.status is ExecutionStatus.PENDING
    assert [(row.id, row.type, row.status) for row in board.rows.values()] == [
        ("a", "timer", StepStatus.PENDING),
        ("b", "timer", StepStatus.PENDING),
    ]


def test_a_step_that_starts_names_its_agent():
    story = Story()
    started = story.begin(agent="writer")
    row = story.board.rows["a"]

    assert (row.status, row.attempt, row.note) == (StepStatus.RUNNING, 1, "writer")
    assert row.started_at == started.timestamp


def test_a_retry_says_why_and_when_and_the_next_attempt_who():
    story = Story()
    story.begin(agent="writer")
    due = START + timedelta(seconds=9)

    story.tell(e.StepRetrying, step_id="a", attempt=1, failure=FAILURE, delay_seconds=5, due=due)
    waiting = story.board.rows["a"]

    assert (waiting.status, waiting.due, waiting.note) == (StepStatus.WAITING, due, "AGENT_ERROR: no")

    story.tell(e.AttemptStarted, step_id="a", attempt=2)
    row = story.board.rows["a"]

    assert (row.status, row.attempt, row.due, row.note) == (StepStatus.RUNNING, 2, None, "writer")


@pytest.mark.parametrize(
    ("kind", "fields", "status", "note"),
    [
        (e.StepCompleted, {"output": Value(1)}, StepStatus.COMPLETED, ""),
        (e.StepCompleted, {"output": Value(1), "routes": ("b", "c")}, StepStatus.COMPLETED, "→ b, c"),
        (e.StepFailed, {"failure": FAILURE}, StepStatus.FAILED, "AGENT_ERROR: no"),
        (e.StepSkipped, {"reason": "route_not_taken"}, StepStatus.SKIPPED, "route not taken"),
        (e.StepCancelled, {"reason": "cancelled"}, StepStatus.CANCELLED, "cancelled"),
    ],
)
def test_a_step_ends_in_each_way(kind, fields, status, note):
    story = Story()
    story.begin()

    ended = story.tell(kind, step_id="a", attempt=1, **fields)
    row = story.board.rows["a"]

    assert (row.status, row.note, row.ended_at) == (status, note, ended.timestamp)


@pytest.mark.parametrize(
    ("kind", "fields", "status"),
    [
        (e.ProcessFailed, {"failure": FAILURE}, ExecutionStatus.FAILED),
        (e.ProcessCancelled, {}, ExecutionStatus.CANCELLED),
    ],
)
def test_the_end_of_an_execution_cancels_what_never_started(kind, fields, status):
    story = Story()
    story.tell(e.ProcessStarted)
    story.begin()
    story.tell(e.StepFailed, step_id="a", attempt=1, failure=FAILURE)

    ended = story.tell(kind, **fields)

    assert (story.board.status, story.board.ended_at) == (status, ended.timestamp)
    assert [row.status for row in story.board.rows.values()] == [StepStatus.FAILED, StepStatus.CANCELLED]


def test_a_pause_and_a_resume_are_shown():
    story = Story()
    story.tell(e.ProcessStarted)
    story.tell(e.ProcessPaused, reason="operator")
    paused = story.board.status
    story.tell(e.ProcessResumed)

    assert (paused, story.board.status) == (ExecutionStatus.PAUSED, ExecutionStatus.RUNNING)


def test_a_loop_begins_its_steps_anew():
    story = Story()
    story.begin()
    story.tell(e.StepCompleted, step_id="a", attempt=1, output=Value(1))

    story.tell(e.StepsReopened, target="a", by="b", steps=("a", "b"))
    row = story.board.rows["a"]

    assert (row.status, row.visit, row.attempt, row.started_at) == (StepStatus.PENDING, 2, 0, None)


def test_a_failed_execution_that_is_taken_back_runs_again():
    story = Story()
    story.begin()
    story.tell(e.StepFailed, step_id="a", attempt=1, failure=FAILURE)
    story.tell(e.ProcessFailed, failure=FAILURE)

    story.tell(e.ProcessReopened, steps=("a", "b"), again=("a",))

    board = story.board
    assert (board.status, board.ended_at) == (ExecutionStatus.RUNNING, None)
    assert [(row.status, row.visit, row.note) for row in board.rows.values()] == [
        (StepStatus.PENDING, 2, ""),
        (StepStatus.PENDING, 1, ""),
    ]


# ---------------------------------------------------------------- people


def asked(assignees=("ann",)):
    return Request(
        id="r",
        sha256="0" * 64,
        shown=Value({"title": "Shall we?"}),
        asked_at=START,
        deadline=START + timedelta(days=1),
        assignees=assignees,
    )


def test_a_step_that_asks_people_says_whom_and_until_when():
    story, due = Story(), START + timedelta(days=1)
    story.begin()
    story.tell(e.StepWaitingApproval, step_id="a", attempt=1, due=due)
    story.tell(e.ApprovalRequested, step_id="a", attempt=1, request=asked())
    row = story.board.rows["a"]

    assert (row.status, row.note, row.due, row.ended_at) == (
        StepStatus.WAITING_APPROVAL,
        "for ann",
        due,
        None,
    )


@pytest.mark.parametrize(
    ("kind", "fields", "note"),
    [
        (
            e.ApprovalDecided,
            {"decision": Decision("bob", Ruling.REJECTED, START, "too \x1b[1mlong")},
            r"rejected by bob: too \x1b[1mlong",
        ),
        (e.ApprovalDelegated, {"by": "ann", "to": "group:board"}, "handed on to group:board"),
        (e.ApprovalEscalated, {"to": ("carl", "dan")}, "for carl, dan as well"),
        (e.ApprovalReminded, {"number": 1}, "for anybody"),
        (e.ApprovalExpired, {"action": "fail"}, "for anybody"),
    ],
)
def test_what_happens_while_people_think_leaves_the_step_waiting(kind, fields, note):
    story, due = Story(), START + timedelta(days=1)
    story.begin()
    story.tell(e.StepWaitingApproval, step_id="a", attempt=1, due=due)
    story.tell(e.ApprovalRequested, step_id="a", attempt=1, request=asked(()))

    story.tell(kind, step_id="a", attempt=1, approval_id="r", **fields)
    row = story.board.rows["a"]

    assert (row.status, row.note, row.due, row.ended_at) == (StepStatus.WAITING_APPROVAL, note, due, None)


def test_a_list_shows_how_many_of_its_items_have_ended():
    told = Story()
    told.begin(agent="writer", items=1200)
    told.tell(e.ItemStarted, step_id="a", item=0, attempt=1)
    told.tell(e.ItemCompleted, step_id="a", item=0, attempt=1, output=Value(1))
    told.tell(e.ItemFailed, step_id="a", item=1, attempt=3, failure=FAILURE)

    row = told.board.rows["a"]
    assert row.note == "1 of 1,200 items, 1 failed"
    assert (row.status, row.attempt) == (StepStatus.RUNNING, 1)


def test_a_list_that_has_completed_keeps_its_counts():
    told = Story()
    told.begin(agent="writer", items=1)
    told.tell(e.ItemCompleted, step_id="a", item=0, attempt=1, output=Value(1))
    told.tell(e.StepCompleted, step_id="a", attempt=1, output=Value([1]))

    assert told.board.rows["a"].note == "1 of 1 items"
