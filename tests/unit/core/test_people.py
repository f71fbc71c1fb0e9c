"""What people decide, when it is late, and what their silence means."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from random import Random

import pytest

from process_engine.core import commands as c
from process_engine.core.approvals import Ruling, hash_of
from process_engine.core.blockers import BlockerKind, blockers
from process_engine.core.config import ExecutionConfig
from process_engine.errors import CommandRejected
from process_engine.ids import StepId
from process_engine.testing.drawing import approval, gateway
from process_engine.testing.executions import EXECUTION_ID, decision, execution_of

DAY = 86_400


def asked(drawn="ask -> publish", **keys):
    """An execution that waits for `ask`, a human approval with these keys."""
    return execution_of(drawn, ask=approval(**keys)).started()


def handed_on(by, to, *groups):
    return c.DelegateApproval(
        execution_id=EXECUTION_ID, step_id=StepId("ask"), by=by, to=to, groups=tuple(groups)
    )


def output(run, step_id="ask"):
    return run.step(step_id).output.data


def test_an_approval_tells_its_story_in_order():
    run = asked().approved("ask", "ann")

    assert [line for line in run.told if line.endswith("ask")] == [
        "StepStarted ask",
        "StepWaitingApproval ask",
        "ApprovalRequested ask",
        "ApprovalDecided ask",
        "StepCompleted ask",
    ]
    assert run.running() == ["publish"]
    assert output(run) == {
        "decision": "approved",
        "decided_by": "ann",
        "decided_at": run.now.isoformat(),
        "comment": None,
        "form": None,
        "approval_id": "e1/ask/1/1",
    }


def test_what_is_shown_is_rendered_once_and_hashed():
    run = execution_of(
        "write -> ask",
        ask=approval(title="{{ steps.write.output.title }}", description="by {{ input.who }}"),
    )
    run = run.started({"who": "bob"}).completed("write", {"title": "Tides"})
    request = run.step("ask").approval

    assert request.shown.data == {"title": "Tides", "description": "by bob"}
    assert request.sha256 == hash_of({"description": "by bob", "title": "Tides"})


def test_other_branches_go_on_while_people_think():
    run = execution_of("start -> ask, start -> work -> more", ask=approval()).started().completed("start")

    run = run.completed("work").completed("more")

    assert run.status == "running"
    assert [blocker.kind for blocker in blockers(run.execution)] == [BlockerKind.APPROVAL]
    assert run.approved("ask").status == "completed"


def test_several_approvals_are_open_at_once():
    run = execution_of("a, b -> c, d", a=approval(), b=approval(), d=approval()).started()

    run = run.approved("b").approved("a")

    assert run.step("d").status == "waiting_approval"
    assert run.running() == ["c"]


def test_a_quorum_waits_for_enough_people():
    run = asked(required_approvals=2).approved("ask", "ann")
    assert run.step("ask").status == "waiting_approval"

    assert output(run.approved("ask", "bob"))["decided_by"] == "bob"


def test_one_rejection_among_those_that_are_needed_changes_nothing_yet():
    run = asked(required_approvals=2, rejections_needed=2).rejected("ask", "ann")

    assert run.approved("ask", "bob").approved("ask", "cid").step("ask").status == "completed"
    assert run.rejected("ask", "bob").step("ask").error.code == "APPROVAL_REJECTED"


def test_nobody_decides_twice():
    run = asked(required_approvals=2).approved("ask", "ann")

    assert "decided about ask already" in str(run.refuses(decision("ask", "ann")))
    assert "decided about ask already" in str(run.refuses(decision("ask", "ann", Ruling.REJECTED, (), "no")))


def test_only_assignees_and_members_of_assigned_groups_decide():
    run = asked(assignees=["ann", "group:legal"])

    refusal = run.refuses(decision("ask", "eve", groups=("sales",)))

    assert "eve may not decide about ask: it is for ann, group:legal" in str(refusal)
    assert run.approved("ask", "bob", groups=("legal",)).step("ask").status == "completed"
    assert run.approved("ask", "ann").step("ask").status == "completed"


def test_a_group_is_nobody():
    run = asked(assignees=["group:legal"])

    assert "one of its members" in str(run.refuses(decision("ask", "group:legal")))


def test_assignees_may_come_from_the_input():
    run = execution_of("ask", ask=approval(assignees=["{{ input.boss }}", "{{ input.board }}"]))
    run = run.started({"boss": "ann", "board": ["bob", "cid"]})

    assert run.step("ask").approval.assignees == ("ann", "bob", "cid")


def test_an_assignee_that_is_no_name_fails_the_step():
    run = execution_of("ask", ask=approval(assignees=["{{ input.boss }}"])).started({"boss": 7})

    assert run.step("ask").error.code == "EXPRESSION_ERROR"
    assert run.status == "failed"


def test_a_decision_about_something_else_is_refused():
    run = asked()
    right = run.step("ask").approval.sha256

    assert "not what ask asks now" in str(run.refuses(decision("ask", sha256="0" * 64)))
    assert run.approved("ask", sha256=right).step("ask").status == "completed"


def test_who_started_it_must_not_decide_where_duties_are_separated():
    run = execution_of("ask", ask=approval(separation_of_duties=True)).started(by="ann")

    assert "started this execution" in str(run.refuses(decision("ask", "ann")))
    assert run.approved("ask", "bob").status == "completed"


@pytest.mark.parametrize("comment", [None, "", "  "])
def test_a_rejection_says_why_unless_it_need_not(comment):
    assert "needs a comment" in str(asked().refuses(decision("ask", "ann", Ruling.REJECTED, (), comment)))

    assert asked(require_comment_on_reject=False).rejected("ask", comment=comment).status == "failed"


def test_a_rejection_fails_the_process_and_keeps_what_was_decided():
    run = asked().rejected("ask", "ann", comment="too long")

    assert run.status == "failed"
    assert run.execution.head.failure.code == "APPROVAL_REJECTED"
    assert "rejected by ann: too long" in run.execution.head.failure.message
    assert output(run)["decision"] == "rejected"
    assert output(run)["comment"] == "too long"


def test_a_rejection_can_be_a_normal_outcome_that_a_gateway_reads():
    run = execution_of(
        "ask -> route -> publish, route -> rework",
        ask=approval(on_reject="continue"),
        route=gateway(('steps.ask.output.decision == "approved"', "publish"), default="rework"),
    ).started()

    assert run.rejected("ask").running() == ["rework"]
    assert run.approved("ask").running() == ["publish"]


def test_a_skipped_rejection_can_still_be_read():
    run = asked(on_error="skip_step").rejected("ask", comment="no")

    assert run.step("ask").status == "skipped"
    assert output(run)["decision"] == "rejected"
    assert run.running() == ["publish"]


FORM = {
    "type": "object",
    "properties": {"budget": {"type": "integer", "minimum": 1}},
    "required": ["budget"],
    "additionalProperties": False,
}


def test_a_form_is_shown_filled_in_and_part_of_the_output():
    run = asked(form=FORM)

    assert run.step("ask").approval.shown.data["form"] == FORM
    assert output(run.approved("ask", form={"budget": 5}))["form"] == {"budget": 5}


def test_a_form_that_breaks_its_schema_is_refused_with_every_fault():
    run = asked(form=FORM)

    assert "form.budget" in str(run.refuses(decision("ask", form={"budget": 0})))
    assert "budget" in str(run.refuses(decision("ask")))
    assert "has no form" in str(asked().refuses(decision("ask", form={"budget": 1})))
    assert run.rejected("ask").status == "failed"


def test_the_deadline_is_a_day_unless_the_step_says_otherwise():
    run = asked()

    assert run.step("ask").approval.deadline == run.now + timedelta(days=1)
    assert run.work[0].due == run.now + timedelta(days=1)
    assert asked(timeout="2h").work[0].due == run.now + timedelta(hours=2)


@pytest.mark.parametrize(
    ("action", "status", "decided"),
    [
        ("fail", "failed", None),
        ("approve", "completed", "approved"),
        ("reject", "failed", "rejected"),
        ("skip", "skipped", None),
    ],
)
def test_silence_means_what_the_step_says(action, status, decided):
    run = asked(timeout_action=action).after(DAY).woken("ask")

    assert run.step("ask").status == status
    assert (output(run) or {}).get("decision") == decided
    assert "ApprovalExpired ask" in run.told
    assert run.running() == (["publish"] if status in ("completed", "skipped") else [])


def test_the_deadline_wins_over_a_decision_that_comes_later_even_if_it_was_not_noticed_yet():
    run = asked().after(DAY)

    assert "too late" in str(run.refuses(decision("ask")))
    assert run.woken("ask").step("ask").error.code == "APPROVAL_TIMEOUT"


def test_a_decision_wins_over_a_deadline_that_comes_later():
    run = asked().approved("ask")
    before = run.history

    run = run.after(DAY).woken("ask", visit=1, attempt=1)

    assert run.history == before


def test_people_are_reminded_once_for_each_reminder():
    run = asked(reminders=["4h", "1h"])
    assert run.work[0].due == run.now + timedelta(hours=1)

    run = run.after(3600).woken("ask")
    assert run.told_now == ["ApprovalReminded ask"]
    assert run.work[0].due == run.now + timedelta(hours=3)

    run = run.after(3 * 3600).woken("ask")
    assert run.told_now == ["ApprovalReminded ask"]
    assert run.work[0].due == run.now + timedelta(hours=20)


def test_reminders_that_fell_due_while_nothing_ran_are_one():
    run = asked(reminders=["1h", "2h", "3h"]).after(10 * 3600).woken("ask")

    assert run.told_now == ["ApprovalReminded ask"]
    assert run.step("ask").approval.reminded == 3


def test_an_escalation_lets_others_decide_as_well():
    run = asked(assignees=["ann"], timeout_action={"escalate_to": ["group:board"], "after": "2h"})
    assert "may not decide" in str(run.refuses(decision("ask", "bob", groups=("board",))))

    run = run.after(2 * 3600).woken("ask")

    assert run.told_now == ["ApprovalEscalated ask"]
    assert run.step("ask").approval.assignees == ("ann", "group:board")
    assert run.approved("ask", "bob", groups=("board",)).step("ask").status == "completed"
    assert run.after(DAY).woken("ask").step("ask").error.code == "APPROVAL_TIMEOUT"


def test_who_hands_a_decision_on_gives_it_away():
    run = asked(assignees=["ann", "cid"]).obeys(handed_on("ann", "bob"))

    assert run.step("ask").approval.assignees == ("cid", "bob")
    assert "may not decide" in str(run.refuses(decision("ask", "ann")))
    assert run.approved("ask", "bob").step("ask").status == "completed"


def test_a_member_of_a_group_hands_it_on_beside_the_group():
    run = asked(assignees=["group:legal"]).obeys(handed_on("ann", "bob", "legal"))

    assert run.step("ask").approval.assignees == ("group:legal", "bob")


def test_what_cannot_be_handed_on_is_refused_with_the_reason():
    run = asked(assignees=["ann"], required_approvals=2)

    assert "may not decide" in str(run.refuses(handed_on("eve", "bob")))
    assert "in the hands of ann already" in str(run.refuses(handed_on("ann", "ann")))
    assert "anybody may decide" in str(asked().refuses(handed_on("ann", "bob")))
    assert "has decided about ask already" in str(run.approved("ask", "ann").refuses(handed_on("ann", "bob")))


def test_a_decision_about_what_is_not_open_says_what_is():
    run = asked()

    assert "asks nobody: it is of type agent_task" in str(run.refuses(decision("publish")))
    assert "it is completed" in str(run.approved("ask").refuses(decision("ask", "bob")))
    assert "it is cancelled" in str(run.cancelled().refuses(decision("ask", "bob")))
    assert "has no step nowhere" in str(run.refuses(decision("nowhere")))


def test_decisions_are_taken_while_an_operator_pauses_and_nothing_starts():
    run = asked().paused().approved("ask")

    assert run.step("ask").status == "completed"
    assert run.running() == []
    assert run.resumed().running() == ["publish"]


def test_a_cancel_withdraws_what_is_open():
    run = asked().cancelled()

    assert run.step("ask").status == "cancelled"
    assert run.step("ask").approval is None
    assert run.work == ()


def test_a_failure_elsewhere_withdraws_what_is_open():
    run = execution_of("ask, work", ask=approval(), work={"retry": {"max_attempts": 1}}).started()

    run = run.failed("work")

    assert run.status == "failed"
    assert run.step("ask").status == "cancelled"


def test_a_loop_asks_again_and_the_former_answer_does_not_count():
    run = execution_of(
        "write -> ask -> route -> publish, route",
        ask=approval(on_reject="continue"),
        route=gateway(('steps.ask.output.decision == "rejected"', "write", 3), default="publish"),
    ).started()

    run = run.completed("write").rejected("ask", "ann").completed("write", "better")

    assert run.step("ask").status == "waiting_approval"
    assert run.step("ask").approval.id == "e1/ask/2/1"
    assert run.step("ask").approval.decisions == ()
    assert run.approved("ask", "ann").running() == ["publish"]


def test_a_transform_makes_a_value_and_keeps_its_types():
    run = execution_of(
        "read -> shape",
        shape={
            "type": "transform",
            "value": {"n": "{{ steps.read.output.n + 1 }}", "all": ["{{ input.x }}"]},
        },
    )

    run = run.started({"x": True}).completed("read", {"n": 41})

    assert run.step("shape").output.data == {"n": 42, "all": [True]}
    assert run.status == "completed"


def test_a_retry_of_a_rejected_approval_asks_anew_and_the_same_people_may_decide():
    run = asked().rejected("ask", "ann").retried_as_a_whole("ask")

    assert run.step("ask").approval.id == "e1/ask/2/1"
    assert run.step("ask").approval.decisions == ()
    assert run.approved("ask", "ann").running() == ["publish"]


def test_a_handled_rejection_goes_where_the_document_says():
    run = execution_of(
        "ask -> publish, mend", ask=approval(on_error={"action": "goto_step", "target_step": "mend"})
    ).started()

    run = run.rejected("ask", comment="no")

    assert run.running() == ["mend"]
    assert run.step("publish").status == "skipped"
    assert output(run)["decision"] == "rejected"


def test_an_approval_needs_no_slot():
    one = ExecutionConfig(max_concurrent_steps=1)
    run = execution_of("work, ask, more", config=one, ask=approval()).started()

    assert run.running() == ["work"]
    assert run.step("ask").status == "waiting_approval"
    assert run.step("more").status == "ready"


def test_a_decision_at_the_very_deadline_is_late_and_a_moment_before_is_not():
    run = asked(timeout="1h")

    assert run.after(3_599.999999).approved("ask").step("ask").status == "completed"
    assert "too late" in str(run.after(3_600).refuses(decision("ask")))


@pytest.mark.parametrize("seed", range(0, 1_000, 100))
def test_of_a_timer_and_a_decision_exactly_one_wins_in_any_order(seed):
    for number in range(seed, seed + 100):
        random = Random(number)
        run = asked(timeout="1h", on_reject="continue").after(3_600 + random.choice((-1, -1e-6, 0, 1e-6, 1)))
        moves = [lambda run: run.woken("ask", visit=1, attempt=1), lambda run: run.approved("ask", "ann")]
        random.shuffle(moves)
        for move in moves:
            with suppress(CommandRejected):
                run = move(run)
        ends = [line for line in run.told if line in ("StepCompleted ask", "StepFailed ask")]
        assert len(ends) == 1
        assert ("ApprovalDecided ask" in run.told) is (ends == ["StepCompleted ask"])
        assert ("ApprovalExpired ask" in run.told) is (ends == ["StepFailed ask"])


def test_an_early_alarm_changes_nothing():
    run = asked(reminders=["1h"])

    assert run.after(3_599).woken("ask", visit=1, attempt=1).history == run.history
    assert run.after(DAY).woken("ask", visit=2, attempt=1).history == run.history


def test_what_is_large_is_shown_all_the_same_and_hashed_whole():
    run = execution_of("write -> ask", ask=approval(description="{{ steps.write.output }}")).started()

    run = run.completed("write", "x" * 70_000)
    request = run.step("ask").approval

    assert request.shown.ref is not None
    assert request.sha256 == hash_of({"title": "May it go on?", "description": "x" * 70_000})
    assert run.approved("ask", sha256=request.sha256).step("ask").status == "completed"


def test_a_group_itself_never_decides():
    refusal = asked(assignees=["group:legal"]).refuses(decision("ask", "group:legal", groups=("legal",)))

    assert "one of its members has to decide" in str(refusal)
