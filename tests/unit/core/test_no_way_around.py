"""In any small process, whatever people and time do: nothing goes around an approval."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from process_engine.core import events as e
from process_engine.core.approvals import Ruling
from process_engine.definition.document import Gateway, HumanApproval, ProcessDefinition
from process_engine.errors import CommandRejected
from process_engine.testing.executions import Story, execution_of

NAMES = ("a", "b", "c", "d", "e", "f")
PEOPLE = ("ann", "bob", "cid")
# Longer than any deadline here.
LONG = 200.0
MANY = 100
MOVES = 20

APPROVAL = st.fixed_dictionaries(
    {"type": st.just("human_approval"), "timeout": st.just("60s")},
    optional={
        "required_approvals": st.integers(1, 3),
        "rejections_needed": st.integers(1, 2),
        "timeout_action": st.sampled_from(
            ["fail", "approve", "reject", "skip", {"escalate_to": "bob", "after": "30s"}]
        ),
        "on_reject": st.sampled_from(["fail", "continue"]),
        "on_error": st.sampled_from(["fail_process", "skip_step"]),
        "assignees": st.just(["ann", "bob"]),
        "reminders": st.just(["10s"]),
    },
)
WORK = st.fixed_dictionaries(
    {"type": st.just("agent_task"), "agent": st.just("w"), "message": st.just("m")},
    optional={"on_error": st.just("skip_step"), "condition": st.sampled_from(["true", "false"])},
)
SHAPE = st.fixed_dictionaries({"type": st.just("transform"), "value": st.just(1)})


@st.composite
def processes(draw: st.DrawFn) -> ProcessDefinition:
    """Up to six steps, each after some of those before it, and an approval among the first."""
    names = NAMES[: draw(st.integers(2, len(NAMES)))]
    steps: list[dict[str, object]] = []
    for number, name in enumerate(names):
        step = draw(APPROVAL if number == 0 else st.one_of(APPROVAL, WORK, SHAPE))
        before = draw(st.sets(st.sampled_from(names[:number]), max_size=3)) if number else set[str]()
        steps.append({"id": name, **step, "depends_on": sorted(before), "join": draw(joins(len(before)))})
    return ProcessDefinition.model_validate({"name": "p", "steps": steps})


def joins(sources: int) -> st.SearchStrategy[object]:
    return st.sampled_from(["all", "all", "any"]) if sources > 1 else st.just("all")


def moved(run: Story, data: st.DataObject) -> Story:
    """Something happens: an answer, a decision, a pause, or time."""
    asking = [step for step in run.plan.order if run.step(step).status == "waiting_approval"]
    kinds = ["time", "pause"] + ["work"] * 3 * bool(run.running()) + ["people"] * 4 * bool(asking)
    match data.draw(st.sampled_from(kinds)):
        case "work":
            step = data.draw(st.sampled_from(run.running()))
            return run.completed(step) if data.draw(st.booleans()) else run.failed(step, "AGENT_ERROR")
        case "people":
            step, by = data.draw(st.sampled_from(asking)), data.draw(st.sampled_from(PEOPLE))
            return run.approved(step, by) if data.draw(st.booleans()) else run.rejected(step, by)
        case "pause":
            return run.paused() if run.status == "running" else run.resumed()
        case _:
            run = run.after(data.draw(st.sampled_from([5.0, 31.0, LONG])))
            for step in asking:
                run = run.woken(step)
            return run


@settings(max_examples=MANY, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(processes(), st.data())
def test_nothing_starts_behind_an_approval_that_was_not_given(
    definition: ProcessDefinition, data: st.DataObject
):
    run = execution_of(definition).started()
    for _ in range(MOVES):
        if run.status.is_final:
            break
        # Refused where the wrong person decides, or one twice, or too late: then nothing has changed.
        with suppress(CommandRejected):
            run = moved(run, data)

    for place, event in enumerate(run.history):
        if isinstance(event, e.StepStarted):
            _check(definition, event.step_id, run.history[:place])


def _check(definition: ProcessDefinition, started: str, past: tuple[e.Event, ...]) -> None:
    """The step may start: what it waits for has let it, as the document and the record tell, not the core."""
    step = definition.step(started)
    assert step is not None
    passing = [_lets_pass(definition, source, past) for source in step.depends_on]
    if step.join == "all":
        # An edge that was dead in the first place decides nothing (None); no edge may say no.
        assert False not in passing, f"{started} started behind what was not given"
    if passing:
        assert True in passing, f"{started} started and nothing let it"


def _lets_pass(definition: ProcessDefinition, source: str, past: tuple[e.Event, ...]) -> bool | None:
    """Whether what depends on the step may go on: None where the step had no part in it."""
    own = [event for event in past if isinstance(event, e.StepEvent) and event.step_id == source]
    step = definition.step(source)
    end = own[-1] if own else None
    if isinstance(end, e.StepSkipped) and end.reason != "error":
        return None
    if not isinstance(step, HumanApproval):
        return isinstance(end, (e.StepCompleted, e.StepSkipped))
    if isinstance(end, e.StepSkipped):
        return _may_be_skipped(step, own)
    return isinstance(end, e.StepCompleted) and _was_given(step, own)


def _may_be_skipped(step: HumanApproval, own: list[e.StepEvent]) -> bool:
    """Somebody wrote into the document that it may be passed over."""
    handled = step.on_error is not None and step.on_error.action == "skip_step"
    expired = any(isinstance(event, e.ApprovalExpired) for event in own)
    return handled or (step.timeout_action == "skip" and expired)


def _was_given(step: HumanApproval, own: list[e.StepEvent]) -> bool:
    """Enough different people said so, or the deadline counts as if they had."""
    said = {event.decision.by: event.decision for event in own if isinstance(event, e.ApprovalDecided)}
    if any(isinstance(event, e.ApprovalExpired) for event in own):
        return step.timeout_action == "approve" or (
            step.timeout_action == "reject" and step.on_reject == "continue"
        )
    rejections = sum(1 for decision in said.values() if decision.ruling is Ruling.REJECTED)
    if rejections >= step.rejections_needed:
        return step.on_reject == "continue"
    return len(said) - rejections >= step.required_approvals


# ---------------------------------------------------------------- with gateways, by all paths there are


@st.composite
def routed(draw: st.DrawFn) -> ProcessDefinition:
    """Up to eight steps; gateways send on to later ones, which may wait for others besides."""
    names = (*NAMES, "g", "h")[: draw(st.integers(3, 8))]
    steps: list[dict[str, object]] = []
    for number, name in enumerate(names):
        behind = names[number + 1 :]
        kinds = [APPROVAL, WORK, SHAPE, *[gateways(behind)] * 2 * bool(behind)]
        step = draw(APPROVAL if number == 0 else st.one_of(kinds))
        before = draw(st.sets(st.sampled_from(names[:number]), max_size=2)) if number else set[str]()
        steps.append({"id": name, **step, "depends_on": sorted(before), "join": draw(joins(len(before)))})
    return ProcessDefinition.model_validate({"name": "p", "steps": steps})


def gateways(targets: tuple[str, ...]) -> st.SearchStrategy[dict[str, object]]:
    route = st.fixed_dictionaries(
        {"target": st.sampled_from(targets), "condition": st.sampled_from(["true", "false", "1 == 1"])}
    )
    return st.fixed_dictionaries(
        {
            "type": st.just("gateway"),
            "gateway_type": st.sampled_from(["exclusive", "inclusive", "parallel"]),
            "routes": st.lists(route, min_size=1, max_size=3, unique_by=lambda one: one["target"]),
        },
        optional={"default_route": st.sampled_from(targets), "on_error": st.just("skip_step")},
    )


def inevitable(definition: ProcessDefinition) -> dict[str, set[str]]:
    """For each step those before it that are on every path to it, as the document alone tells.

    Steps are listed behind all that lead to them, so one pass is enough.
    """
    sources = {step.id: set(step.depends_on) for step in definition.steps}
    for step in definition.steps:
        if isinstance(step, Gateway):
            for target in {route.target for route in step.routes} | {step.default_route or step.id}:
                sources[target] |= {step.id} - {target}
    found: dict[str, set[str]] = {}
    for step in definition.steps:
        ways = [found[source] | {source} for source in sources[step.id]]
        found[step.id] = set[str].intersection(*ways) if ways else set()
    return found


@settings(max_examples=MANY, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(routed(), st.data())
def test_no_path_through_gateways_leads_around_an_approval(
    definition: ProcessDefinition, data: st.DataObject
):
    run = execution_of(definition).started()
    for _ in range(MOVES):
        if run.status.is_final:
            break
        with suppress(CommandRejected):
            run = moved(run, data)

    before = inevitable(definition)
    for place, event in enumerate(run.history):
        if isinstance(event, e.StepStarted):
            past = run.history[:place]
            passed = {source: _lets_pass(definition, source, past) for source in before[event.step_id]}
            assert all(passed.values()), f"{event.step_id} started, and on every path to it: {passed}"


def test_what_is_inevitable_is_told_from_the_document():
    definition = ProcessDefinition.model_validate(
        {
            "name": "p",
            "steps": [
                {"id": "ask", "type": "human_approval"},
                {
                    "id": "choose",
                    "type": "gateway",
                    "depends_on": "ask",
                    "routes": [{"condition": "true", "target": "left"}],
                    "default_route": "right",
                },
                {"id": "left", "type": "transform", "value": 1},
                {"id": "right", "type": "transform", "value": 1},
                {"id": "both", "type": "transform", "value": 1, "depends_on": ["left", "right"]},
                {"id": "other", "type": "transform", "value": 1},
                {"id": "end", "type": "transform", "value": 1, "depends_on": ["both", "other"]},
            ],
        }
    )

    assert inevitable(definition) == {
        "ask": set(),
        "choose": {"ask"},
        "left": {"ask", "choose"},
        "right": {"ask", "choose"},
        "both": {"ask", "choose"},
        "other": set(),
        "end": set(),
    }
