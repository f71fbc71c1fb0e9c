"""Signed POSTs, as https://www.standardwebhooks.com describes them (version 1.0, symmetric signatures).

Written out here: the scheme is one HMAC, the library for it brings an HTTP client and a date parser along.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from pydantic import AfterValidator, Field, SecretStr
from yarl import URL

from process_engine.channels.posting import SecretAddress, post, usable_address
from process_engine.channels.settings import ChannelSettings
from process_engine.runtime.ports import Delivery, DeliveryFailed, Notice

# Bytes of a key by the scheme.
KEY_BYTES = (24, 64)
# 256 KiB of JSON: what receivers commonly take.
MAX_BODY_BYTES = 256 * 1024

_PREFIX = "whsec_"


def key_of(secret: str) -> bytes:
    """The key that a secret of the form `whsec_` and base64 stands for.

    Raises:
        ValueError: it has another form; the text does not hold it.
    """
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    least, most = KEY_BYTES
    if not secret.startswith(_PREFIX) or not least <= len(key) <= most:
        raise ValueError(f"must be `{_PREFIX}` followed by the base64 of {least} to {most} random bytes")
    return key


def _checked(secret: SecretStr) -> SecretStr:
    key_of(secret.get_secret_value())
    return secret


class WebhookSettings(ChannelSettings, frozen=True):
    """An HTTP address that is told by signed POSTs."""

    kind: Literal["webhook"] = Field(default="webhook", description="A signed POST.")
    url: SecretAddress | None = Field(
        default=None, description="Where it is sent; the `url` of a step comes before it."
    )
    secret: Annotated[SecretStr, AfterValidator(_checked)] | None = Field(
        default=None,
        description="The key of the signature: `whsec_` and base64. Without it nothing is signed.",
    )
    hosts: tuple[str, ...] = Field(
        default=(),
        description="The only hosts that the `url` of a step may name; any host where it is left out.",
    )

    def lacks(self, *, url: bool, recipients: bool) -> str | None:
        return None if url or self.url is not None else "a webhook needs a `url`"

    def connect(self) -> WebhookChannel:
        return WebhookChannel(self)


class _Data(msgspec.Struct, frozen=True):
    """What a webhook says."""

    subject: str
    message: object
    urgency: str
    recipients: tuple[str, ...]
    process: str
    version: str
    execution_id: str
    step_id: str
    visit: int
    attempt: int
    correlation_id: str


class _Body(msgspec.Struct, frozen=True):
    type: str
    timestamp: str
    data: _Data


class WebhookChannel:
    """Posts to its own address, or to that of the notice."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._url = settings.url
        self._key = None if settings.secret is None else key_of(settings.secret.get_secret_value())
        self._hosts = frozenset(host.lower() for host in settings.hosts)

    async def deliver(self, notice: Notice) -> Delivery:
        url = self._target(notice)
        body = webhook_body(notice)
        if len(body) > MAX_BODY_BYTES:
            raise DeliveryFailed(
                "DELIVERY_FAILED", f"the body has {len(body):,} bytes, the limit is {MAX_BODY_BYTES:,}"
            )
        headers = signed_headers(notice.key, int(notice.at.timestamp()), body, self._key)
        status = await post(url, body, headers)
        return Delivery(http_status=status, message_id=notice.key)

    def _target(self, notice: Notice) -> URL:
        if notice.url is None:
            if self._url is None:
                raise DeliveryFailed("DELIVERY_FAILED", "neither the step nor the channel has a url")
            return URL(self._url.get_secret_value())
        try:
            url = usable_address(notice.url)
        except ValueError as error:
            raise DeliveryFailed("DELIVERY_FAILED", f"url: {error}") from None
        if self._hosts and (url.host or "").lower() not in self._hosts:
            raise DeliveryFailed("DELIVERY_FAILED", f"url: the channel does not allow the host {url.host}")
        return url


def webhook_body(notice: Notice) -> bytes:
    """The notice as JSON: `type`, `timestamp` and `data`."""
    context = notice.context
    data = _Data(
        subject=notice.subject,
        message=notice.message,
        urgency=notice.urgency,
        recipients=notice.recipients,
        process=context.process,
        version=context.version,
        execution_id=context.execution_id,
        step_id=context.step_id,
        visit=context.visit,
        attempt=context.attempt,
        correlation_id=context.correlation_id,
    )
    return msgspec.json.encode(_Body("notification", notice.at.isoformat(), data))


def signed_headers(key: str, timestamp: int, body: bytes, secret: bytes | None) -> Mapping[str, str]:
    """The headers of the scheme; `timestamp` in seconds. Without a secret there is no signature."""
    headers = {"webhook-id": key, "webhook-timestamp": str(timestamp)}
    if secret is not None:
        signed = b".".join((key.encode(), str(timestamp).encode(), body))
        digest = hmac.new(secret, signed, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers
