import asyncio
from datetime import UTC, datetime
from typing import cast

import msgspec
import pytest

from process_engine.core.results import PROGRESS_LIMIT_BYTES, Completed, Failed
from process_engine.handlers import NotificationHandler
from process_engine.handlers.notification import MESSAGE_CHARACTERS, MOST_RECIPIENTS
from process_engine.ids import ExecutionId, StepId
from process_engine.runtime.ports import Clock, Delivery, DeliveryFailed, Notice, StepContext

AT = datetime(2026, 3, 1, tzinfo=UTC)


class At:
    """A clock that stands."""

    def now(self) -> datetime:
        return AT


class Ways:
    """Channels that answer, or raise, what they are given by name; others take everything."""

    def __init__(self, **answers: Delivery | BaseException) -> None:
        self.answers = answers
        self.notices: list[Notice] = []

    async def deliver(self, notice: Notice) -> Delivery:
        self.notices.append(notice)
        answer = self.answers.get(notice.channel, Delivery())
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def lacks(self, channel: str, *, url: bool, recipients: bool) -> str | None:
        return None

    @property
    def asked(self) -> list[str]:
        return [notice.channel for notice in self.notices]


def context(progress: object = None, seconds: float | None = 30.0, **request: object) -> StepContext:
    return StepContext(
        execution_id=ExecutionId("e1"),
        process_name="tides",
        version="3",
        correlation_id="root",
        step_id=StepId("tell"),
        step_type="notification",
        visit=1,
        attempt=2,
        effect_key="e1/tell/1",
        request={"message": "High.", "subject": "Tide", "urgency": "high"} | request,
        timeout_seconds=seconds,
        clock=cast("Clock", At()),
        progress=progress,
    )


async def told(ways: Ways, progress: object = None, **request: object) -> Completed | Failed:
    return await NotificationHandler(ways).execute(context(progress, **request))


async def refused(ways: Ways, progress: object = None, **request: object) -> Failed:
    result = await told(ways, progress, **request)
    assert isinstance(result, Failed)
    return result


def no(code: str = "DELIVERY_FAILED", **keys: object) -> DeliveryFailed:
    return DeliveryFailed(code, "no", **keys)  # type: ignore[arg-type]


async def test_every_channel_is_told_and_the_output_says_so_in_their_order():
    ways = Ways(
        slack=Delivery(http_status=200),
        email=Delivery(recipients=("ann@example.org",), message_id="<1@example.org>"),
    )

    result = await told(ways, channels=["slack", "email", "log"], recipients=["ann@example.org"])

    assert result == Completed(
        output={
            "deliveries": [
                {"channel": "slack", "status": "sent", "http_status": 200},
                {
                    "channel": "email",
                    "status": "sent",
                    "recipients": ["ann@example.org"],
                    "message_id": "<1@example.org>",
                },
                {"channel": "log", "status": "sent"},
            ]
        }
    )


async def test_a_notice_carries_what_the_step_says_and_the_key_of_its_effect():
    ways = Ways()
    await told(ways, channel="webhook", url="http://h/", recipients=[["a@x", "b@x"], "a@x"])

    [notice] = ways.notices
    assert (notice.channel, notice.message, notice.subject, notice.urgency) == (
        "webhook",
        "High.",
        "Tide",
        "high",
    )
    assert (notice.url, notice.recipients) == ("http://h/", ("a@x", "b@x"))
    assert (notice.key, notice.at, notice.reached) == ("e1/tell/1", AT, ())
    assert (notice.context.execution_id, notice.context.attempt, notice.context.process) == ("e1", 2, "tides")


async def test_a_channel_that_is_named_twice_is_told_once():
    ways = Ways()
    await told(ways, channel="log", channels=["log", "slack", "slack"])

    assert sorted(ways.asked) == ["log", "slack"]


@pytest.mark.parametrize(
    "error",
    [
        no(),
        no("CHANNEL_UNAVAILABLE", transient=True, retry_after=7.0),
        no("NONSENSE"),
        RuntimeError("secret"),
    ],
)
async def test_a_delivery_that_failed_is_a_failed_attempt(error: Exception):
    result = await refused(Ways(slack=error), channel="slack")

    known = error.code if isinstance(error, DeliveryFailed) and error.code != "NONSENSE" else "HANDLER_ERROR"
    assert result.code == known
    assert result.transient is getattr(error, "transient", False)
    assert result.retry_after == getattr(error, "retry_after", None)
    assert result.progress is None
    assert "secret" not in result.message


async def test_what_some_took_is_told_where_others_failed():
    ways = Ways(slack=Delivery(http_status=200), email=no("CHANNEL_UNAVAILABLE", transient=True))

    result = await refused(ways, channels=["slack", "email"])

    assert (result.code, result.message) == ("CHANNEL_UNAVAILABLE", "email: no")
    assert result.progress == {"deliveries": [{"channel": "slack", "status": "sent", "http_status": 200}]}


async def test_the_next_attempt_leaves_out_who_was_told():
    first = await refused(Ways(slack=Delivery(http_status=200), email=no()), channels=["slack", "email"])
    ways = Ways()

    result = await told(ways, first.progress, channels=["slack", "email"])

    assert ways.asked == ["email"]
    assert result == Completed(
        output={
            "deliveries": [
                {"channel": "slack", "status": "sent", "http_status": 200},
                {"channel": "email", "status": "sent"},
            ]
        }
    )


async def test_recipients_who_have_it_are_named_to_the_next_attempt():
    first = await refused(Ways(email=no(reached=("a@x",))), channel="email", recipients=["a@x", "b@x"])
    assert first.progress == {
        "deliveries": [{"channel": "email", "status": "partial", "recipients": ["a@x"]}]
    }
    ways = Ways(email=no("CHANNEL_UNAVAILABLE", transient=True))

    second = await refused(ways, first.progress, channel="email", recipients=["a@x", "b@x"])

    assert ways.notices[0].reached == ("a@x",)
    # An attempt that reached nobody more has not lost who was reached before.
    assert second.progress == first.progress


async def test_one_failure_that_may_pass_makes_another_attempt_worth_it():
    ways = Ways(slack=no(), email=no("CHANNEL_UNAVAILABLE", transient=True, retry_after=3.0))

    result = await refused(ways, channels=["slack", "email"])

    assert (result.code, result.transient, result.retry_after) == ("CHANNEL_UNAVAILABLE", True, 3.0)
    assert result.message == "slack: no; email: no"


class Never(Ways):
    """A channel that never answers, beside others that do."""

    async def deliver(self, notice: Notice) -> Delivery:
        if notice.channel == "webhook":
            await asyncio.get_running_loop().create_future()
        return await super().deliver(notice)


async def test_a_target_that_never_answers_does_not_cost_what_others_took():
    handler = NotificationHandler(Never())

    result = await handler.execute(context(seconds=0.05, channels=["log", "webhook"]))

    assert isinstance(result, Failed)
    assert (result.code, result.transient) == ("TIMEOUT", True)
    assert result.message == "webhook: no answer within 0.045 s"
    assert result.progress == {"deliveries": [{"channel": "log", "status": "sent"}]}


@pytest.mark.parametrize(
    "request_",
    [
        {"recipients": [5]},
        {"recipients": [""]},
        {"recipients": [["a@x", None]]},
        {"subject": 5},
        {"url": {"a": 1}},
        {"recipients": [f"{n}@x" for n in range(MOST_RECIPIENTS + 1)]},
    ],
)
async def test_what_an_expression_yielded_cannot_be_sent(request_: dict[str, object]):
    ways = Ways()
    result = await refused(ways, channel="email", **request_)

    assert (result.code, result.transient, ways.asked) == ("DELIVERY_FAILED", False, [])


async def test_the_longest_list_of_recipients_fits_into_what_is_recorded():
    people = [f"{n:02}{'a' * 62}@{'b' * 60}.{'c' * 60}.{'d' * 60}.org" for n in range(MOST_RECIPIENTS)]
    assert all(250 <= len(person) <= 254 for person in people)

    result = await refused(
        Ways(email=no(reached=tuple(people[:-1]))),
        channels=["log", "slack", "email"],
        recipients=people,
    )

    assert len(msgspec.json.encode(result.progress)) <= PROGRESS_LIMIT_BYTES


async def test_a_long_story_is_cut():
    result = await refused(Ways(log=DeliveryFailed("DELIVERY_FAILED", "x" * 9000)), channel="log")

    assert len(result.message) == MESSAGE_CHARACTERS
