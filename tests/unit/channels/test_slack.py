import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest

from process_engine.channels import SlackSettings
from process_engine.channels.posting import MAX_RETRY_AFTER_SECONDS
from process_engine.channels.slack import MAX_CHARACTERS, slack_text
from process_engine.runtime.ports import Delivery, DeliveryFailed, Notice
from tests.unit.channels.support import AT, certificate, notice, raw_server, web_server

SECRET = "T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"


def settings(url: str) -> SlackSettings:
    return SlackSettings.model_validate({"url": f"{url}/services/{SECRET}"})


async def failure(url: str, what: Notice) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        await settings(url).connect().deliver(what)
    assert SECRET not in str(caught.value)
    return caught.value


async def test_subject_and_message_are_posted_to_the_webhook():
    async with web_server() as server:
        delivery = await settings(server.url).connect().deliver(notice())

    [posted] = server.posted
    assert posted.path == f"/services/{SECRET}"
    assert posted.headers["content-type"] == "application/json"
    assert json.loads(posted.body) == {
        "text": "About the tide\nThe tide is high.",
        "mrkdwn": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }
    assert delivery == Delivery(http_status=200)


def test_text_of_an_agent_mentions_nobody_and_links_nowhere():
    text = slack_text(notice("<!channel> <@U1> <https://evil.example|bank> & more", subject="<!here>\nx"))

    assert text == (
        "&lt;!here&gt; x\n&lt;!channel&gt; &lt;@U1&gt; &lt;https://evil.example|bank&gt; &amp; more"
    )


def test_urgency_is_told_where_it_matters():
    assert slack_text(notice(urgency="critical")).startswith("[critical] About")
    assert slack_text(notice(urgency="low")).startswith("About")


def test_a_value_is_told_as_its_json():
    assert slack_text(notice({"level": 4.2, "ok": True})) == 'About the tide\n{"level":4.2,"ok":true}'


async def test_more_than_slack_takes_is_refused_and_not_cut_off():
    async with web_server() as server:
        error = await failure(server.url, notice("x" * MAX_CHARACTERS))

    assert (error.code, error.transient) == ("DELIVERY_FAILED", False)
    assert "Slack takes 40,000" in error.message
    assert server.posted == []


@pytest.mark.parametrize(
    ("status", "code", "transient"),
    [
        (400, "DELIVERY_FAILED", False),
        (403, "DELIVERY_FAILED", False),
        (404, "DELIVERY_FAILED", False),
        (408, "CHANNEL_UNAVAILABLE", True),
        (425, "CHANNEL_UNAVAILABLE", True),
        (429, "CHANNEL_UNAVAILABLE", True),
        (500, "CHANNEL_UNAVAILABLE", True),
        (503, "CHANNEL_UNAVAILABLE", True),
    ],
)
async def test_only_an_answer_of_success_is_a_delivery(status: int, code: str, transient: bool):
    async with web_server() as server:
        server.answers(status, "no_service")
        error = await failure(server.url, notice())

    assert (error.code, error.transient) == (code, transient)
    assert f"answered {status}: no_service" in error.message


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("999999999999999999", MAX_RETRY_AFTER_SECONDS), ("soon", None), ("-1", None)],
)
async def test_the_wait_that_is_asked_for_is_told(header: str, seconds: float | None):
    async with web_server() as server:
        server.answers(429, "slow down", Retry_After=header)
        error = await failure(server.url, notice())

    assert error.retry_after == seconds


async def test_a_date_to_wait_for_is_measured_by_the_clock_of_the_server():
    form = "%a, %d %b %Y %H:%M:%S GMT"
    dates = {"Retry_After": (AT + timedelta(seconds=90)).strftime(form), "Date": AT.strftime(form)}
    async with web_server() as server:
        server.answers(503, "", **dates)
        error = await failure(server.url, notice())

    assert error.retry_after == 90.0


async def test_a_redirect_is_not_followed():
    async with web_server() as other, web_server() as server:
        server.answers(302, "", Location=f"{other.url}/elsewhere")
        error = await failure(server.url, notice())

    assert (error.code, other.posted) == ("DELIVERY_FAILED", [])
    assert "redirects are not followed" in error.message


async def test_what_repeats_the_secret_is_blotted_out():
    async with web_server() as server:
        server.answers(403, f"no token /services/{SECRET} here")
        error = await failure(server.url, notice())

    assert "no token … here" in error.message


async def test_nobody_listens():
    error = await failure("http://127.0.0.1:9", notice())

    assert (error.code, error.transient) == ("CHANNEL_UNAVAILABLE", True)
    assert error.message.startswith("127.0.0.1:9 cannot be reached")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", b"220 mail.example ESMTP\r\n", b"\x00" * 100])
async def test_half_an_answer_is_no_delivery(answer: bytes):
    async with raw_server(answer) as url:
        error = await failure(url, notice())

    assert error.code in ("CHANNEL_UNAVAILABLE", "DELIVERY_FAILED")


@pytest.mark.timeout(10)
async def test_an_answer_without_end_holds_nobody_up():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"
    async with raw_server(head + b"x" * 10_000, close=False) as url:
        delivery = await settings(url).connect().deliver(notice())

    assert delivery.http_status == 200


@pytest.mark.timeout(10)
async def test_a_refusal_without_end_is_read_only_so_far():
    head = b"HTTP/1.1 500 No\r\nContent-Length: 99999999999\r\n\r\n"
    async with raw_server(head + b"y" * 100_000, close=False) as url:
        error = await failure(url, notice())

    assert error.transient
    assert len(error.message) < 300


async def test_a_certificate_that_nobody_vouches_for_is_not_trusted(tmp_path: Path):
    _, context = certificate(tmp_path)
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0, ssl=context)
    try:
        error = await failure(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", notice())
    finally:
        server.close()

    assert (error.code, error.transient) == ("DELIVERY_FAILED", False)
    assert "cannot be trusted" in error.message


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/hidden",
        "hidden",
        "http://",
        "http://h hidden/",
        "http://[::1/hidden",
        "http://h/" + "hidden" * 500,
    ],
)
def test_what_is_no_address_is_refused_without_being_shown(url: str):
    with pytest.raises(ValueError, match="1 validation error") as caught:
        SlackSettings.model_validate({"url": url})

    assert "hidden" not in str(caught.value)


def test_no_representation_shows_the_address():
    made = settings("https://hooks.example")

    assert SECRET not in repr(made) + str(made) + repr(made.connect())
