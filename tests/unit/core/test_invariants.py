"""Each invariant objects to a history that was doctored to break it, and to no other."""

from dataclasses import replace as changed
from datetime import timedelta
from decimal import Decimal

import pytest
from msgspec.structs import replace

from process_engine.core import commands as c
from process_engine.core import events as e
from process_engine.core.approvals import Ruling
from process_engine.core.children import ChildOutcome, Parent
from process_engine.core.config import ExecutionConfig
from process_engine.core.failures import Failure
from process_engine.core.invariants import (
    ALL,
    Audit,
    BrokenInvariant,
    approvals_bind,
    check,
    children_agree,
    children_bind,
    starts_are_kept,
)
from process_engine.core.results import Completed, Failed, Usage
from process_engine.core.state import Snapshot, StepStatus
from process_engine.core.values import NULL, Value
from process_engine.ids import StepId
from process_engine.testing.drawing import approval, gateway, sub_process, timer
from process_engine.testing.executions import execution_of


def audit_of(run) -> Audit:
    stored = Snapshot(run.execution.created, run.execution.head, dict(run.execution.steps))
    return Audit(run.plan, stored, list(run.history), list(run.work))


def broken(number: str, audit: Audit) -> None:
    with pytest.raises(BrokenInvariant) as found:
        ALL[number](audit)
    assert found.value.number == number.removesuffix("b")


def without(audit: Audit, kind: type[e.Event], step_id: str) -> Audit:
    """The history without the first event of a kind, renumbered."""
    kept = list(audit.events)
    kept.remove(next(event for event in kept if isinstance(event, kind) and event.step_id == step_id))
    return changed(audit, events=[replace(event, sequence=n) for n, event in enumerate(kept, start=1)])


@pytest.fixture
def audit() -> Audit:
    return audit_of(execution_of("a -> b, c").started().completed("a", 1).failed("c"))


def test_a_true_history_breaks_nothing(audit: Audit):
    check(audit)


def test_a_state_that_its_events_do_not_lead_to(audit: Audit):
    lost = replace(audit.stored.steps["a"], output=Value(2))
    broken("I1", changed(audit, stored=replace(audit.stored, steps={**audit.stored.steps, "a": lost})))


def test_work_that_the_state_does_not_owe_or_that_is_missing(audit: Audit):
    broken("I1", changed(audit, work=audit.work[1:]))
    broken("I1", changed(audit, work=[*audit.work, replace(audit.work[0], key="a")]))


def test_a_start_before_the_edges_allow_it(audit: Audit):
    broken("I2", without(audit, e.StepCompleted, "a"))


def test_a_start_on_a_dead_path():
    run = execution_of("a -> b").started().completed("a")
    story = audit_of(run)
    skipped = [
        e.StepSkipped(**shared(event), step_id="a", reason="condition_false")
        if isinstance(event, e.StepCompleted)
        else event
        for event in story.events
    ]
    broken("I2", changed(story, events=skipped))


def shared(event: e.Event) -> dict:
    names = ("execution_id", "sequence", "timestamp", "process_name", "correlation_id")
    return {name: getattr(event, name) for name in names}


def test_a_start_around_a_gateway():
    run = execution_of("g, x, y, a -> x", g=gateway(("true", "x"), default="y")).started().completed("a")
    story = audit_of(run)
    rerouted = [
        replace(event, routes=("y",))
        if isinstance(event, e.StepCompleted) and event.step_id == "g"
        else event
        for event in story.events
    ]
    broken("I3", changed(story, events=rerouted))


def test_a_route_to_nowhere_and_a_route_of_no_gateway(audit: Audit):
    run = execution_of("g, x", g=gateway((None, "x"))).started()
    story = audit_of(run)
    astray = [replace(v, routes=("z",)) if isinstance(v, e.StepCompleted) else v for v in story.events]
    broken("I3", changed(story, events=astray))
    astray = [replace(v, routes=("b",)) if isinstance(v, e.StepCompleted) else v for v in audit.events]
    broken("I3", changed(audit, events=astray))


def test_a_visit_that_ends_twice(audit: Audit):
    completed = next(event for event in audit.events if isinstance(event, e.StepCompleted))
    broken("I4", changed(audit, events=[*audit.events, replace(completed, output=Value(3))]))


def test_a_gap_in_the_sequence_and_a_time_that_goes_back(audit: Audit):
    broken("I5", changed(audit, events=audit.events[1:]))
    broken("I5", changed(audit, events=audit.events[:-1]))
    earlier = replace(audit.events[-1], timestamp=audit.events[-1].timestamp - timedelta(seconds=1))
    broken("I5", changed(audit, events=[*audit.events[:-1], earlier]))


def test_a_start_after_a_cancel():
    run = execution_of("a").started()
    story = audit_of(run.cancelled())
    broken("I6", changed(story, events=[*story.events, run.history[-1]]))
    broken("I6", changed(story, work=list(run.work)))


def test_an_execution_that_waits_for_nothing():
    story = audit_of(execution_of("a").started())
    idle = replace(story.stored.steps["a"], status=StepStatus.COMPLETED)
    broken("I7", changed(story, stored=replace(story.stored, steps={"a": idle})))


def test_a_line_beside_free_slots():
    story = audit_of(execution_of("a, b", config=ExecutionConfig(max_concurrent_steps=1)).started())
    ended = replace(story.stored.steps["a"], status=StepStatus.COMPLETED)
    broken("I7", changed(story, stored=replace(story.stored, steps={**story.stored.steps, "a": ended})))


def test_a_timer_and_a_retry_that_end_early():
    for run in (
        execution_of("t", t=timer("1h")).started().retried("t"),
        execution_of("a").started().failed("a").retried("a"),
    ):
        story = audit_of(run)
        hasty = [
            replace(event, timestamp=story.events[0].timestamp)
            if isinstance(event, (e.StepCompleted, e.AttemptStarted))
            else event
            for event in story.events
        ]
        broken("I8", changed(story, events=hasty))


def test_more_attempts_than_slots():
    story = audit_of(execution_of("a, b").started())
    one = replace(story.stored.created, config=ExecutionConfig(max_concurrent_steps=1))
    broken("I9", changed(story, stored=replace(story.stored, created=one)))


def test_a_slot_that_leaks(audit: Audit):
    leaking = replace(audit.stored.steps["a"], status=StepStatus.RUNNING)
    broken("I9", changed(audit, stored=replace(audit.stored, steps={**audit.stored.steps, "a": leaking})))


def test_a_cost_that_is_not_the_sum():
    run = execution_of("a").started().completed("a", usage=Usage(cost=Decimal("0.1"), input_tokens=1))
    story = audit_of(run)
    for head in (replace(story.stored.head, cost=Decimal("0.2")), replace(story.stored.head, tokens=9)):
        broken("I13", changed(story, stored=replace(story.stored, head=head)))


# ---------------------------------------------------------------- items


def listed_story(*, collects: bool = False) -> Audit:
    rules = {"items": [0, 1, 2], "max_concurrency": 2, "on_item_error": "collect" if collects else "fail"}
    step = {"message": "{{ item }}", "for_each": rules, "retry": {"max_attempts": 2}}
    run = execution_of("a", a=step).started().item_answers("a", 0, Failed("AGENT_UNAVAILABLE", "busy"))
    run = run.item_woken("a", 0).item_answers("a", 1, Completed("one"))
    last = Failed("AGENT_ERROR", "no") if collects else Completed("two")
    return audit_of(run.item_answers("a", 0, Completed("zero")).item_answers("a", 2, last).collected("a"))


def altered(audit: Audit, kind: type[e.Event], **fields: object) -> Audit:
    """The history with the first event of a kind changed."""
    first = next(event for event in audit.events if isinstance(event, kind))
    events = [replace(event, **fields) if event is first else event for event in audit.events]
    return changed(audit, events=events)


def repeated(audit: Audit, kind: type[e.Event]) -> Audit:
    """The history with the last event of a kind told twice."""
    last = [event for event in audit.events if isinstance(event, kind)][-1]
    at = audit.events.index(last)
    events = [*audit.events[: at + 1], last, *audit.events[at + 1 :]]
    return changed(audit, events=[replace(event, sequence=n) for n, event in enumerate(events, start=1)])


def objected(number: str, audit: Audit, why: str) -> None:
    with pytest.raises(BrokenInvariant, match=why) as found:
        ALL["I4b"](audit)
    assert found.value.number == number


@pytest.mark.parametrize("collects", [False, True])
def test_true_histories_of_items_break_nothing(collects: bool):
    check(listed_story(collects=collects))


def test_an_item_with_two_results_and_one_that_is_asked_again():
    objected("I4", repeated(listed_story(), e.ItemCompleted), "which does not run")
    story = listed_story()
    again = [event for event in story.events if isinstance(event, e.ItemStarted)][-1]
    at = len(story.events) - 1
    events = [*story.events[:at], replace(again, attempt=2), *story.events[at:]]
    objected("I4", changed(story, events=events), "has ended, and begins again")


def test_a_step_that_gives_something_else_than_its_items():
    objected("I4", altered(listed_story(), e.StepCompleted, output=Value(["one", "zero", "two"])), "gave")
    story = listed_story()
    kept = [*story.events]
    kept.remove([event for event in kept if isinstance(event, e.ItemCompleted)][-1])
    objected("I4", changed(story, events=kept), "have not ended")
    objected("I4", altered(listed_story(collects=True), e.StepCompleted, errors=Value([])), "tells of errors")


def test_an_item_that_is_tried_again_too_early():
    late = timedelta(hours=1)
    story = listed_story()
    due = next(event.due for event in story.events if isinstance(event, e.ItemRetrying))
    objected("I8", altered(story, e.ItemRetrying, due=due + late), "is tried again before")


def test_an_attempt_of_an_item_that_is_left_out():
    story = listed_story()
    second = next(event for event in story.events if isinstance(event, e.ItemStarted) and event.attempt == 2)
    events = [replace(event, attempt=3) if event is second else event for event in story.events]
    objected("I4", changed(story, events=events), "is not number 2")


def test_more_items_at_once_than_their_step_allows():
    story = listed_story()
    plan = story.plan
    rules = changed(plan.steps[StepId("a")].items, most_open=1)
    steps = {StepId("a"): changed(plan.steps[StepId("a")], items=rules)}
    objected("I9", changed(story, plan=changed(plan, steps=steps)), "are open, not 1")


def test_an_item_that_begins_while_the_execution_is_about_to_fail():
    story = listed_story()
    started = next(event for event in story.events if isinstance(event, e.ItemStarted))
    at = story.events.index(started)
    stopping = e.ProcessStopping(
        **shared(started), failure=Failure("TIMEOUT", "too long"), due=started.timestamp
    )
    events = [*story.events[:at], stopping, *story.events[at:]]
    objected("I6", changed(story, events=events), "while stopping")


def test_a_list_that_changes_and_an_item_that_is_not_in_it():
    objected("I2", altered(listed_story(), e.StepStarted, items=2), "has no item 2")
    objected("I2", altered(listed_story(), e.StepStarted, items=None), "which runs no items")


def test_counts_that_are_not_those_of_the_history():
    story = listed_story()
    state = story.stored.steps["a"]
    items = replace(state.items, done=2, failed=1)
    steps = {"a": replace(state, items=items)}
    objected("I1", changed(story, stored=replace(story.stored, steps=steps)), "the state says")


def test_an_item_holds_a_slot():
    story = listed_story()
    created = replace(story.stored.created, config=ExecutionConfig(max_concurrent_steps=1))
    broken("I9", changed(story, stored=replace(story.stored, created=created)))


def test_an_acknowledged_start_that_is_lost():
    starts_are_kept({"e1": True}, {"e1": "there", "e2": "there"})

    with pytest.raises(BrokenInvariant, match="I10"):
        starts_are_kept({"e1": True}, {})


# ---------------------------------------------------------------- approvals


def unbound(number: str, audit: Audit, found: str) -> None:
    """What people decide does not bind in this history."""
    with pytest.raises(BrokenInvariant, match=found) as broken:
        approvals_bind(audit)
    assert broken.value.number == number


def approved_story(**keys: object) -> Audit:
    return audit_of(execution_of("ask -> b", ask=approval(**keys)).started().approved("ask"))


def expired_story(action: str) -> Audit:
    run = execution_of("ask -> b", ask=approval(timeout_action=action)).started()
    return audit_of(run.retried("ask"))


def doctored(audit: Audit, kind: type[e.Event], **fields: object) -> Audit:
    """The history with other values in every event of a kind."""
    events = [replace(event, **fields) if isinstance(event, kind) else event for event in audit.events]
    return changed(audit, events=events)


def doubled(audit: Audit, kind: type[e.Event]) -> Audit:
    """The history with every event of a kind twice."""
    return changed(
        audit, events=[event for event in audit.events for _ in range(1 + isinstance(event, kind))]
    )


@pytest.mark.parametrize("action", ["approve", "skip", "fail", "reject"])
def test_true_histories_of_approvals_break_nothing(action: str):
    check(approved_story())
    check(expired_story(action))


def test_an_approval_that_nobody_gave():
    unbound("I3", without(approved_story(), e.ApprovalDecided, "ask"), "with 0 approvals")
    story = without(approved_story(), e.ApprovalDecided, "ask")
    unbound("I3", without(story, e.ApprovalRequested, "ask"), "asked nobody")


def test_an_approval_with_fewer_people_than_it_needs():
    run = execution_of("ask", ask=approval(required_approvals=2)).started()
    story = audit_of(run.approved("ask", "ann").approved("ask", "bob"))
    approvals_bind(story)

    unbound("I3", without(story, e.ApprovalDecided, "ask"), "with 1 approvals")


def test_an_approval_that_completed_by_a_rejection():
    story = approved_story()
    rejected = [
        replace(event, decision=replace(event.decision, ruling=Ruling.REJECTED))
        if isinstance(event, e.ApprovalDecided)
        else event
        for event in story.events
    ]

    unbound("I3", changed(story, events=rejected), "1 rejections")


def test_an_approval_that_completed_by_expiring_where_it_must_not():
    for action in ("fail", "skip"):
        story = expired_story("approve")
        unbound("I3", doctored(story, e.ApprovalExpired, action=action), "completed by expiring")


def test_a_decision_that_is_late_or_comes_after_the_end():
    story = approved_story()
    requested = next(event for event in story.events if isinstance(event, e.ApprovalRequested))
    late = requested.request.deadline
    unbound("I8", doctored(story, e.ApprovalDecided, timestamp=late), "after its deadline")

    decided = next(event for event in story.events if isinstance(event, e.ApprovalDecided))
    expired = e.ApprovalExpired(
        **shared(decided), step_id="ask", approval_id=decided.approval_id, action="fail"
    )
    at = story.events.index(decided)
    hasty = [*story.events[:at], replace(expired, timestamp=late), *story.events[at:]]
    unbound("I8", changed(story, events=hasty), "decided after it expired")


def test_a_decision_that_counts_twice_or_is_about_another_request():
    unbound("I8", doubled(approved_story(), e.ApprovalDecided), "ann decided twice")
    astray = doctored(approved_story(), e.ApprovalDecided, approval_id="e1/other/1/1")
    unbound("I8", astray, "about another request")
    unbound("I8", without(approved_story(), e.ApprovalRequested, "ask"), "about nothing")


def test_a_deadline_that_comes_early_or_twice_or_for_nothing():
    story = expired_story("approve")
    early = doctored(story, e.ApprovalExpired, timestamp=story.events[0].timestamp)
    unbound("I8", early, "before its deadline")
    unbound("I8", doubled(story, e.ApprovalExpired), "expired twice")
    unbound("I8", without(story, e.ApprovalRequested, "ask"), "nothing there to expire")


def test_a_request_of_the_visit_before_counts_no_more():
    """A loop asks anew; an answer to the first question completes nothing."""
    run = execution_of(
        "ask -> route -> end, route",
        ask=approval(on_reject="continue"),
        route=gateway(('steps.ask.output.decision == "rejected"', "ask", 3), default="end"),
    ).started()
    story = audit_of(run.rejected("ask").approved("ask", "bob"))
    approvals_bind(story)
    kept = [*story.events]
    kept.remove([event for event in kept if isinstance(event, e.ApprovalDecided)][1])

    unbound("I3", changed(story, events=kept), "with 0 approvals")


# ---------------------------------------------------------------- sub-processes


def called_story(**keys: object):
    return execution_of("call -> b", call=sub_process("child", **keys)).started()


def quarrel(audit: Audit, found: str) -> None:
    """Parent and child do not fit in this history."""
    with pytest.raises(BrokenInvariant, match=found) as broken:
        children_bind(audit)
    assert broken.value.number == "I11"


def ended_story(outcome: ChildOutcome = ChildOutcome.COMPLETED) -> Audit:
    return audit_of(called_story().child_ended("call", outcome))


def test_true_histories_of_children_break_nothing():
    for outcome in ChildOutcome:
        check(ended_story(outcome))
    check(audit_of(called_story().cancelled()))
    check(audit_of(called_story().cancelled().child_ended("call")))
    check(audit_of(called_story(wait=False).child_began("call")))
    check(audit_of(called_story(timeout="5s").retried("call").child_ended("call")))


def test_a_step_that_ends_otherwise_than_its_child():
    quarrel(doctored(ended_story(), e.ChildEnded, outcome=ChildOutcome.FAILED), "completed while its child")
    quarrel(without(ended_story(), e.ChildEnded, "call"), "completed while its child was None")
    failed = ended_story(ChildOutcome.FAILED)
    quarrel(doctored(failed, e.ChildEnded, outcome=ChildOutcome.COMPLETED), "failed, which completed")
    quarrel(without(failed, e.ChildEnded, "call"), "failed before its child had ended")


def test_a_step_that_completes_without_a_child_or_after_its_time():
    quarrel(
        without(audit_of(called_story(wait=False).child_began("call")), e.ChildStarted, "call"), "without"
    )
    story = audit_of(called_story(timeout="5s").retried("call").child_ended("call"))
    failed = next(event for event in story.events if isinstance(event, e.StepFailed))
    wrong = e.StepCompleted(**shared(failed), step_id="call", attempt=1, output=Value(1))
    events = [wrong if event is failed else event for event in story.events]
    quarrel(changed(story, events=events), "although its time was up")
    quarrel(without(story, e.ChildRecalled, "call"), "timed out with its child")


def test_a_child_that_is_another_or_a_second_one():
    quarrel(doctored(ended_story(), e.ChildStarted, child_id="else"), "is not the child of")
    quarrel(doubled(ended_story(), e.ChildStarted), "started twice")
    again = {"max_attempts": 2, "retry_on": ["CHILD_FAILED"]}
    run = called_story(retry=again).child_ended("call", ChildOutcome.FAILED).retried("call")
    story = audit_of(run)
    early = without(without(story, e.StepRetrying, "call"), e.ChildEnded, "call")
    quarrel(early, "a second child beside the first")


def test_an_end_that_is_told_twice_or_to_nobody():
    quarrel(doubled(ended_story(), e.ChildEnded), "recorded twice")
    quarrel(without(ended_story(), e.ChildStarted, "call"), "nobody waits for it")
    story = audit_of(called_story(timeout="5s").retried("call").child_ended("call"))
    quarrel(doctored(story, e.ChildRecalled, child_id="else"), "recalled, and nobody")


def test_a_child_to_cancel_that_was_forgotten():
    story = audit_of(called_story().cancelled())
    forgetful = replace(story.stored.head, recalls=())
    quarrel(changed(story, stored=replace(story.stored, head=forgetful)), "to cancel are")


def test_after_the_end_only_the_ends_of_children_come():
    story = audit_of(called_story().cancelled().child_ended("call"))
    ALL["I6"](story)
    broken("I6", changed(story, events=[*story.events, story.events[-2]]))


def family(outcome: ChildOutcome = ChildOutcome.COMPLETED):
    """The histories of a parent and its child that agree."""
    usage = Usage(cost=Decimal("0.1"), other_tokens=3)
    parent = called_story()
    id = parent.child("call")
    link = Parent(parent.execution.id, StepId("call"), 1, 1)
    child = execution_of("a").obeys(
        c.StartExecution(execution_id=id, input=NULL, parent=link, correlation_id="e1")
    )
    end = c.RecordResult(
        execution_id=id,
        step_id=StepId("a"),
        visit=1,
        attempt=1,
        result=Completed(1, usage=Usage(cost=Decimal("0.1"), input_tokens=3)),
    )
    child = child.obeys(end)
    ended = parent.child_ended("call", outcome, usage=usage)
    return {parent.execution.id: list(ended.history), id: list(child.history)}, id


def disagree(histories, found: str, *, settled: bool = False) -> None:
    with pytest.raises(BrokenInvariant, match=found):
        children_agree(histories, settled=settled)


def test_parent_and_child_that_agree():
    histories, _ = family()

    children_agree(histories, settled=True)


def test_parent_and_child_that_do_not_agree():
    histories, id = family()
    disagree(family(ChildOutcome.FAILED)[0], "its parent says failed")
    disagree({"e1": histories["e1"]}, "its parent says completed")
    disagree(family(ChildOutcome.REFUSED)[0], "its parent says refused")
    disagree({id: histories[id]}, "which knows nothing of it")
    first = histories[id][0]
    stray = [replace(first, correlation_id="other"), *histories[id][1:]]
    disagree({**histories, id: stray}, "of another tree")
    moved = [replace(first, parent=replace(first.parent, attempt=2)), *histories[id][1:]]
    disagree({**histories, id: moved}, "and that was")
    untold = [event for event in histories["e1"] if not isinstance(event, e.ChildEnded)]
    children_agree({**histories, "e1": untold})
    disagree({**histories, "e1": untold}, "was never told", settled=True)
    cheap = [
        replace(event, usage=Usage()) if isinstance(event, e.ChildEnded) else event
        for event in histories["e1"]
    ]
    disagree({**histories, "e1": cheap}, "its parent paid")
