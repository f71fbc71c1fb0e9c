"""The model of a definition: what it accepts, how it is written down, what it hands out."""

import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

from process_engine.definition.document import (
    STEP_TYPES,
    AgentTask,
    ErrorPolicy,
    Escalation,
    Gateway,
    HumanApproval,
    Notification,
    ProcessDefinition,
    RetryPolicy,
    Step,
    SubProcess,
    Timer,
    Transform,
    WaitForEvent,
)
from process_engine.definition.durations import Duration, parse_duration

FULL = {
    "name": "article",
    "version": "1.2",
    "description": "Writes an article.",
    "labels": {"team": "growth"},
    "input": {"topic": {"type": "string", "required": True}, "words": {"type": "integer", "default": 500}},
    "defaults": {"timeout": "2m", "agent": "writer", "retry": {"max_attempts": 4, "initial_delay": "90s"}},
    "limits": {"timeout": "1h30m", "budget": {"usd": 2.5, "tokens": 10000, "on_exceeded": "pause"}},
    "steps": [
        {"id": "write", "type": "agent_task", "message": {"task": "Write", "about": ["{{ input.topic }}"]}},
        {
            "id": "choose",
            "type": "gateway",
            "depends_on": ["write"],
            "routes": [
                {"condition": "steps.write.output.ok", "target": "wait", "x-note": 1},
                {"target": "write", "max_visits": 3},
            ],
        },
        {"id": "wait", "type": "timer", "delay": "90s", "on_error": "skip_step"},
        {
            "id": "ask",
            "type": "human_approval",
            "title": "Publish {{ input.topic }}?",
            "assignees": ["ann", "group:legal"],
            "required_approvals": 2,
            "form": {"type": "object"},
            "timeout": "2d",
            "timeout_action": {"escalate_to": ["bob"], "after": "1d"},
            "reminders": ["4h"],
            "on_reject": "continue",
        },
        {"id": "call", "type": "sub_process", "process": "other", "version": 2, "output_key": "n"},
        {
            "id": "tell",
            "type": "notification",
            "channels": ["slack", "email"],
            "message": {"text": "{{ steps.write.output }}"},
            "subject": "About {{ input.topic }}",
            "recipients": ["ann@example.org"],
            "urgency": "high",
        },
        {
            "id": "paid",
            "type": "wait_for_event",
            "event": "paid-{{ input.topic }}",
            "match": "event.n > 1",
            "timeout": "3d",
            "timeout_action": "continue",
        },
        {"id": "shape", "type": "transform", "value": {"text": "{{ steps.write.output }}", "n": [1, None]}},
    ],
    "outputs": {"article": "steps.write.output"},
    "x-owner": {"mail": "a@example.org"},
}


@pytest.fixture
def full() -> ProcessDefinition:
    return ProcessDefinition.model_validate(FULL)


def test_each_type_word_leads_to_its_own_class(full: ProcessDefinition):
    assert [type(step) for step in full.steps] == [
        AgentTask,
        Gateway,
        Timer,
        HumanApproval,
        SubProcess,
        Notification,
        WaitForEvent,
        Transform,
    ]
    assert {step.type: type(step) for step in full.steps} == STEP_TYPES


def test_what_an_approval_leaves_out_is_what_the_language_says():
    plain = {"name": "p", "steps": [{"id": "ask", "type": "human_approval", "assignees": "ann"}]}
    (step,) = ProcessDefinition.model_validate(plain).steps

    assert isinstance(step, HumanApproval)
    assert (step.required_approvals, step.rejections_needed, step.timeout_action) == (1, 1, "fail")
    assert (step.on_reject, step.require_comment_on_reject, step.separation_of_duties) == (
        "fail",
        True,
        False,
    )
    assert step.assignees == ("ann",)


def test_an_approval_escalates_to_one_or_to_several(full: ProcessDefinition):
    (step,) = [step for step in full.steps if isinstance(step, HumanApproval)]

    assert step.timeout_action == Escalation(escalate_to="bob", after="1d")


def test_expressions_of_the_other_types_are_found(full: ProcessDefinition):
    places = {step.id: {site.path[0] for site in step.expressions()} for step in full.steps[-5:]}

    assert places == {
        "ask": {"description", "title", "assignees"},
        "call": {"input"},
        "tell": {"message", "subject", "recipients"},
        "paid": {"event", "match"},
        "shape": {"value"},
    }


def test_a_definition_survives_its_canonical_form(full: ProcessDefinition):
    restored = ProcessDefinition.from_canonical(full.canonical_json())

    assert restored == full
    assert restored.canonical_json() == full.canonical_json()
    assert restored.content_hash == full.content_hash


def test_the_canonical_form_keeps_durations_as_they_were_written(full: ProcessDefinition):
    plain = json.loads(full.canonical_json())

    assert plain["steps"][2]["delay"] == "90s"
    assert plain["limits"]["timeout"] == "1h30m"
    assert plain["defaults"]["retry"]["initial_delay"] == "90s"


def test_the_canonical_form_leaves_defaults_out_and_sorts_keys(full: ProcessDefinition):
    text = full.canonical_json().decode()

    assert "join" not in text
    assert list(json.loads(text)) == sorted(json.loads(text))


def test_spelling_out_a_default_does_not_change_the_hash():
    brief = {"name": "a", "steps": [{"id": "a", "type": "timer", "delay": "1s"}]}
    spelled = {
        "name": "a",
        "version": 1,
        "steps": [{"id": "a", "type": "timer", "delay": "1s", "join": "all"}],
    }

    one, other = ProcessDefinition.model_validate(brief), ProcessDefinition.model_validate(spelled)

    assert one.content_hash == other.content_hash


def test_another_message_is_another_hash(full: ProcessDefinition):
    changed = full.model_copy(update={"description": "Other."})

    assert (
        ProcessDefinition.model_validate(changed.model_dump(by_alias=True)).content_hash != full.content_hash
    )


def test_the_hash_is_the_same_in_another_process(full: ProcessDefinition):
    code = (
        "import sys; from process_engine.definition.document import ProcessDefinition;"
        "print(ProcessDefinition.from_canonical(sys.stdin.buffer.read()).content_hash)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], input=full.canonical_json(), capture_output=True, check=True
    )

    assert answer.stdout.decode().strip() == full.content_hash


def test_keys_of_the_authors_own_are_kept(full: ProcessDefinition):
    gateway = full.steps[1]

    assert full.extensions == {"x-owner": {"mail": "a@example.org"}}
    assert isinstance(gateway, Gateway)
    assert gateway.routes[0].extensions == {"x-note": 1}
    assert json.loads(full.canonical_json())["steps"][1]["routes"][0]["x-note"] == 1


def test_an_unknown_key_is_refused():
    with pytest.raises(ValidationError, match="colour"):
        AgentTask.model_validate({"id": "a", "type": "agent_task", "message": "m", "colour": "red"})


def test_a_definition_cannot_be_changed(full: ProcessDefinition):
    with pytest.raises(ValidationError, match="frozen"):
        full.name = "other"  # type: ignore[misc]


def test_expressions_are_found_wherever_they_stand(full: ProcessDefinition):
    write, choose, wait, *_ = full.steps

    assert [(site.path, site.kind) for site in write.expressions()] == [(("message",), "template")]
    assert [(site.path, site.source, site.kind) for site in choose.expressions()] == [
        (("routes", 0, "condition"), "steps.write.output.ok", "condition")
    ]
    assert list(wait.expressions()) == []
    assert [site.source for site in full.outputs[0].expressions()] == ["{{ steps.write.output }}"]


def test_every_kind_of_expression_field_is_found():
    step = AgentTask.model_validate(
        {
            "id": "a",
            "message": "m",
            "model": "{{ input.model }}",
            "system": "{{ input.system }}",
            "condition": "input.go",
            "for_each": {"items": "{{ input.list }}"},
            "compensation": {"message": "{{ steps.a.output }}"},
        }
    )
    timer = Timer.model_validate({"id": "t", "delay": "{{ input.wait }}", "until": "{{ input.at }}"})

    assert {site.path for site in step.expressions()} == {
        ("message",),
        ("model",),
        ("system",),
        ("condition",),
        ("for_each", "items"),
        ("compensation", "message"),
    }
    assert {site.path for site in timer.expressions()} == {("delay",), ("until",)}


def test_short_forms_of_the_language_are_accepted():
    step = Timer.model_validate(
        {"id": "t", "delay": 5, "depends_on": "a", "condition": True, "on_error": "skip_step"}
    )

    assert step.depends_on == ("a",)
    assert step.condition == "true"
    assert step.on_error == ErrorPolicy(action="skip_step")
    assert step.delay == parse_duration("5s")


@pytest.mark.parametrize("version", [1, "1", "1.2", "1.2.3"])
def test_versions_are_text(version: object):
    definition = ProcessDefinition.model_validate(
        {"name": "a", "version": version, "steps": [{"id": "a", "type": "timer", "delay": "1s"}]}
    )

    assert definition.version == str(version)


@pytest.mark.parametrize("version", [1.1, "v1", "1.2.3.4", "", True, -1])
def test_what_is_no_version_is_refused(version: object):
    with pytest.raises(ValidationError):
        ProcessDefinition.model_validate(
            {"name": "a", "version": version, "steps": [{"id": "a", "type": "timer", "delay": "1s"}]}
        )


@pytest.mark.parametrize("step_id", ["a", "1a", "1-2-b", "analyze-data", "a" * 64])
def test_step_ids_with_a_letter_are_accepted(step_id: str):
    assert Timer(id=step_id).id == step_id


@pytest.mark.parametrize("step_id", ["", "1", "1-2", "-a", "_a", "A", "a b", "ä", "a" * 65, "a\n"])
def test_malformed_step_ids_are_refused(step_id: str):
    with pytest.raises(ValidationError):
        Timer(id=step_id)


def test_a_template_delay_stays_text_and_a_duration_becomes_one():
    assert Timer.model_validate({"id": "t", "delay": "{{ input.x }}"}).delay == "{{ input.x }}"
    assert isinstance(Timer.model_validate({"id": "t", "delay": "30s"}).delay, Duration)


@pytest.mark.parametrize("join", ["all", "any", 1, 7])
def test_joins(join: object):
    assert Timer.model_validate({"id": "t", "join": join}).join == join


@pytest.mark.parametrize("join", ["some", 0, -1, True, 1.5, None])
def test_what_is_no_join_is_refused(join: object):
    with pytest.raises(ValidationError):
        Timer.model_validate({"id": "t", "join": join})


@pytest.mark.parametrize(
    "policy",
    [
        {"max_attempts": 0},
        {"max_attempts": 101},
        {"max_attempts": "3"},
        {"max_attempts": True},
        {"backoff": "slow"},
        {"backoff_multiplier": 0.5},
        {"initial_delay": "-1s"},
        {"jitter": "yes"},
        {"retry_on": ["timeout"]},
    ],
)
def test_retry_policies_out_of_range_are_refused(policy: dict[str, object]):
    with pytest.raises(ValidationError):
        RetryPolicy.model_validate(policy)


def test_an_input_field_may_be_called_schema_or_fields():
    steps = [{"id": "a", "type": "timer", "delay": "1s"}]
    definition = ProcessDefinition.model_validate(
        {"name": "a", "steps": steps, "input": {"schema": {"type": "string"}, "fields": {"type": "string"}}}
    )

    assert definition.input.fields is not None
    assert set(definition.input.fields) == {"schema", "fields"}
    assert ProcessDefinition.from_canonical(definition.canonical_json()) == definition


def test_keys_of_the_authors_own_in_the_input_are_no_fields():
    steps = [{"id": "a", "type": "timer", "delay": "1s"}]
    definition = ProcessDefinition.model_validate(
        {"name": "a", "steps": steps, "input": {"a": {"type": "string"}, "x-form": "wide"}}
    )

    assert set(definition.input.fields or ()) == {"a"}
    assert definition.input.extensions == {"x-form": "wide"}
    assert ProcessDefinition.from_canonical(definition.canonical_json()) == definition


def test_an_input_with_only_a_schema_is_a_json_schema():
    steps = [{"id": "a", "type": "timer", "delay": "1s"}]
    definition = ProcessDefinition.model_validate(
        {"name": "a", "steps": steps, "input": {"schema": {"type": "object"}}}
    )

    assert definition.input.json_schema == {"type": "object"}
    assert ProcessDefinition.from_canonical(definition.canonical_json()) == definition


def test_the_json_schema_of_the_language_can_be_made_and_describes_every_field():
    schema = ProcessDefinition.model_json_schema()

    for part in (schema, *schema["$defs"].values()):
        if part.get("type") != "object" or "properties" not in part:
            continue
        assert part["additionalProperties"] is False
        assert "x-" not in part["properties"]
        assert all("description" in field for field in part["properties"].values()), part["title"]


def test_every_step_type_has_the_common_fields():
    for kind in STEP_TYPES.values():
        assert set(Step.key_names()) <= set(kind.key_names())


def test_the_model_loads_without_yaml_and_json_schema():
    code = (
        "import sys; import process_engine.definition.document;"
        "assert not {m for m in sys.modules if m.startswith(('ruamel', 'jsonschema_rs'))}"
    )

    subprocess.run([sys.executable, "-c", code], check=True)
