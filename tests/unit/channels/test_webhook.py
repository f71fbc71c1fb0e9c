import base64
import hashlib
import hmac
import json

import pytest

from process_engine.channels import WebhookSettings
from process_engine.channels.webhook import MAX_BODY_BYTES, key_of, signed_headers
from process_engine.runtime.ports import Delivery, DeliveryFailed, Notice
from tests.unit.channels.support import AT, KEY, notice, web_server

RAW = b"0123456789abcdef0123456789abcdef"
SECRET = f"whsec_{base64.b64encode(RAW).decode()}"


async def failure(what: Notice, **keys: object) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        await WebhookSettings.model_validate(keys).connect().deliver(what)
    return caught.value


async def test_a_webhook_says_what_happened_where():
    async with web_server() as server:
        channel = WebhookSettings.model_validate(
            {"url": f"{server.url}/in?team=7", "secret": SECRET}
        ).connect()
        delivery = await channel.deliver(
            notice({"level": 4.2}, recipients=("ann@example.org",), urgency="high")
        )

    [posted] = server.posted
    assert posted.path == "/in?team=7"
    assert json.loads(posted.body) == {
        "type": "notification",
        "timestamp": AT.isoformat(),
        "data": {
            "subject": "About the tide",
            "message": {"level": 4.2},
            "urgency": "high",
            "recipients": ["ann@example.org"],
            "process": "tides",
            "version": "1.2",
            "execution_id": "0abc",
            "step_id": "tell",
            "visit": 1,
            "attempt": 2,
            "correlation_id": "0abc",
        },
    }
    assert delivery == Delivery(http_status=200, message_id=KEY)


async def test_the_signature_is_that_of_standard_webhooks():
    async with web_server() as server:
        await (
            WebhookSettings.model_validate({"url": server.url, "secret": SECRET}).connect().deliver(notice())
        )

    [posted] = server.posted
    stamp = str(int(AT.timestamp()))
    signed = f"{KEY}.{stamp}.".encode() + posted.body
    expected = base64.b64encode(hmac.new(RAW, signed, hashlib.sha256).digest()).decode()
    assert posted.headers["webhook-id"] == KEY
    assert posted.headers["webhook-timestamp"] == stamp
    assert posted.headers["webhook-signature"] == f"v1,{expected}"


def test_the_signature_of_the_example_in_the_specification():
    """The known answer that libraries of the scheme are tested with."""
    secret = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', secret)

    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_without_a_secret_nothing_is_signed():
    async with web_server() as server:
        await WebhookSettings().connect().deliver(notice(url=server.url))

    assert "webhook-signature" not in server.posted[0].headers
    assert server.posted[0].headers["webhook-id"] == KEY


async def test_the_address_of_the_step_comes_before_that_of_the_channel():
    async with web_server() as of_channel, web_server() as of_step:
        channel = WebhookSettings.model_validate({"url": of_channel.url}).connect()
        await channel.deliver(notice(url=of_step.url))
        await channel.deliver(notice())

    assert (len(of_channel.posted), len(of_step.posted)) == (1, 1)


@pytest.mark.parametrize("url", ["", "ftp://h/", "file:///etc/passwd", "http://", "h", "http://h/\r\nX: y"])
async def test_what_an_expression_yielded_is_no_address(url: str):
    error = await failure(notice(url=url))

    assert (error.code, error.transient) == ("DELIVERY_FAILED", False)
    assert error.message.startswith("url: ")


async def test_a_host_that_the_channel_does_not_allow_is_not_told():
    async with web_server() as server:
        error = await failure(notice(url=server.url), hosts=["hooks.example"])
        await (
            WebhookSettings.model_validate({"hosts": ["127.0.0.1"]}).connect().deliver(notice(url=server.url))
        )

    assert error.message == "url: the channel does not allow the host 127.0.0.1"
    assert len(server.posted) == 1


async def test_nobody_says_where_to():
    assert (await failure(notice())).code == "DELIVERY_FAILED"
    assert WebhookSettings().lacks(url=False, recipients=True) == "a webhook needs a `url`"
    assert WebhookSettings().lacks(url=True, recipients=False) is None


async def test_a_body_over_the_limit_is_not_sent():
    async with web_server() as server:
        error = await failure(notice("x" * MAX_BODY_BYTES, url=server.url))

    assert (error.code, server.posted) == ("DELIVERY_FAILED", [])


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "hush",
        f"whsec_{base64.b64encode(b'short').decode()}",
        "whsec_!!!",
        SECRET.removeprefix("whsec_"),
    ],
)
def test_a_secret_of_another_form_is_refused_without_being_shown(secret: str):
    with pytest.raises(ValueError, match="must be `whsec_`") as caught:
        WebhookSettings.model_validate({"secret": secret})

    assert "hush" not in str(caught.value)
    assert SECRET[6:] not in str(caught.value)
