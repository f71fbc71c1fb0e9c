"""Notifications in a document: how they are written, and what can be known to be wrong."""

from collections.abc import Collection

import pytest

from process_engine.core.plan import compile_plan
from process_engine.definition import load_definition
from process_engine.definition.document import Notification
from process_engine.definition.problems import Problem

HEAD = "name: p\n"


def told(keys: str, *, channels: Collection[str] | None = None, more: str = "") -> list[Problem]:
    """What there is to say about a notification with these keys; infos are left out."""
    text = f"{HEAD}{more}steps:\n  - {{id: tell, type: notification, {keys}}}\n"
    return [one for one in load_definition(text, channels=channels)[1] if one.level != "info"]


def codes(keys: str, *, channels: Collection[str] | None = None) -> list[tuple[str, str]]:
    return [(problem.code, problem.level) for problem in told(keys, channels=channels)]


def step(keys: str) -> Notification:
    definition, _ = load_definition(f"{HEAD}steps:\n  - {{id: tell, type: notification, {keys}}}\n")
    assert definition is not None
    found = definition.steps[0]
    assert isinstance(found, Notification)
    return found


@pytest.mark.parametrize(
    ("keys", "ways"),
    [
        ("channel: log, message: m", ("log",)),
        ("channels: log, message: m", ("log",)),
        ("channels: [log, webhook], url: 'http://h/', message: m", ("log", "webhook")),
        ("channel: slack, message: {any: [value]}", ("slack",)),
        ("channel: ops.room-7, message: m", ("ops.room-7",)),
    ],
)
def test_one_channel_or_several(keys: str, ways: tuple[str, ...]):
    assert step(keys).ways == ways
    assert codes(keys) == []


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ("message: m", [("P621", "error")]),
        ("channels: [], message: m", [("P621", "error")]),
        ("channel: log, channels: slack, message: m", [("P621", "error")]),
        ("channels: [log, log], message: m", [("P621", "warning")]),
        ("channel: log", [("P102", "error")]),
        ("channel: 'a b', message: m", [("P107", "error")]),
        ("channel: log, message: m, urgency: urgent", [("P104", "error")]),
        ("channel: log, message: m, chanel: x", [("P101", "error")]),
        ("channel: email, message: m", []),
        ("channel: email, message: m, recipients: ann", [("P625", "error")]),
        ("channel: email, message: m, recipients: ['{{ input.to }}']", []),
        ("channel: log, message: m, recipients: ann@example.org", [("P624", "warning")]),
        ("channels: [log, slack], message: m, url: 'http://h/'", [("P624", "warning")]),
        ("channel: webhook, message: m, url: 'ftp://h/'", [("P625", "error")]),
        ("channel: webhook, message: m, url: 'http://h/{{ input.id }}'", []),
        ("channel: log, message: '{{ secrets.TOKEN }}'", [("P308", "error")]),
    ],
)
def test_what_is_wrong_without_knowing_the_configuration(keys: str, found: list[tuple[str, str]]):
    assert codes(keys) == found


@pytest.mark.parametrize(
    ("keys", "channels", "found"),
    [
        ("channel: slack, message: m", ["slack"], []),
        ("channel: slack, message: m", [], [("P622", "error")]),
        ("channels: [log, opps], message: m", ["ops"], [("P622", "error")]),
        ("channel: log, message: m", [], []),
        ("channel: webhook, message: m", [], [("P623", "error")]),
        ("channel: webhook, message: m", ["webhook"], []),
        ("channel: webhook, message: m, url: 'https://h/'", [], []),
        ("channel: email, message: m", ["email"], []),
    ],
)
def test_what_is_wrong_with_a_known_configuration(
    keys: str, channels: list[str], found: list[tuple[str, str]]
):
    assert codes(keys, channels=channels) == found


def test_a_misspelt_channel_is_told_the_right_one():
    [problem] = told("channels: [log, opps], message: m", channels=["ops"])

    assert problem.suggestion == "Did you mean `ops`?"
    assert problem.path == ("steps", 0, "channels", 1)


def test_an_e_mail_without_recipients_goes_to_those_of_the_settings():
    text = f"{HEAD}steps:\n  - {{id: tell, type: notification, channel: email, message: m}}\n"

    assert [(one.code, one.level) for one in load_definition(text)[1]] == [("P623", "info")]


def test_a_channel_that_has_to_be_configured_says_where():
    [problem] = told("channel: slack, message: m", channels=["ops"])

    assert problem.suggestion == "Add `slack` to `channels:` of agents.yaml; known are log, ops, webhook."


def test_defaults_hold_for_notifications_as_for_agent_tasks():
    more = "defaults: {timeout: 7s, on_error: skip_step, retry: {max_attempts: 4}}\n"
    text = f"{HEAD}{more}steps:\n  - {{id: tell, type: notification, channel: log, message: m}}\n"
    definition, _ = load_definition(text)
    assert definition is not None

    plan = compile_plan(definition).steps["tell"]

    assert (plan.timeout_seconds, plan.on_error.action, plan.retry.max_attempts) == (7.0, "skip_step", 4)


def test_without_defaults_a_notification_is_tried_once():
    definition, _ = load_definition(
        f"{HEAD}steps:\n  - {{id: tell, type: notification, channel: log, message: m}}\n"
    )
    assert definition is not None

    assert compile_plan(definition).steps["tell"].retry.max_attempts == 1


@pytest.mark.parametrize(
    ("keys", "subject"),
    [
        ("", "tell"),
        (", name: High water", "High water"),
        (", subject: Now", "Now"),
        (", name: '{{ x }}'", "tell"),
    ],
)
def test_a_notification_without_subject_is_about_its_step(keys: str, subject: str):
    definition, _ = load_definition(
        f"{HEAD}steps:\n  - {{id: tell, type: notification, channel: log, message: m{keys}}}\n"
    )
    assert definition is not None
    request = dict(compile_plan(definition).steps["tell"].request)

    assert request["subject"].source == subject
    assert set(request) == {"channel", "message", "subject", "urgency"}


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("steps.tell.output.deliveries[0].status == 'sent'", []),
        ("steps.tell.output.deliveries > 3", ["P307"]),
    ],
)
def test_the_output_of_a_notification_is_known(expression: str, found: list[str]):
    more = f'  - {{id: wait, type: timer, delay: 1s, depends_on: tell, condition: "{expression}"}}\n'
    text = f"{HEAD}steps:\n  - {{id: tell, type: notification, channel: log, message: m}}\n{more}"

    assert [one.code for one in load_definition(text)[1] if one.level == "error"] == found
