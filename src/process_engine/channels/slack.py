"""Slack, and whoever takes the same messages: one POST to an incoming webhook."""

from __future__ import annotations

from typing import Literal

import msgspec
from pydantic import Field
from yarl import URL

from process_engine.channels.posting import SecretAddress, post
from process_engine.channels.settings import ChannelSettings
from process_engine.channels.texts import as_text, on_one_line
from process_engine.runtime.ports import Delivery, DeliveryFailed, Notice

# What Slack takes; it would cut the rest off without a word.
MAX_CHARACTERS = 40_000

# Slack reads these three, and nothing else, as the beginning or end of a mention or a link.
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


class SlackSettings(ChannelSettings, frozen=True):
    """A channel of Slack, by its incoming webhook."""

    kind: Literal["slack"] = Field(default="slack", description="An incoming webhook of Slack.")
    url: SecretAddress = Field(
        description="The address of the incoming webhook. Who knows it can write there: name a variable."
    )

    def connect(self) -> SlackChannel:
        return SlackChannel(self)


class SlackChannel:
    """Writes into the one room that the webhook stands for."""

    def __init__(self, settings: SlackSettings) -> None:
        self._url = URL(settings.url.get_secret_value())

    async def deliver(self, notice: Notice) -> Delivery:
        text = slack_text(notice)
        if len(text) > MAX_CHARACTERS:
            raise DeliveryFailed(
                "DELIVERY_FAILED", f"the text has {len(text):,} characters, Slack takes {MAX_CHARACTERS:,}"
            )
        body = {"text": text, "mrkdwn": False, "unfurl_links": False, "unfurl_media": False}
        return Delivery(http_status=await post(self._url, msgspec.json.encode(body), {}))


def slack_text(notice: Notice) -> str:
    """Subject and message as Slack shows them: as text, in which nothing mentions or links anybody."""
    urgent = f"[{notice.urgency}] " if notice.urgency in ("high", "critical") else ""
    text = f"{urgent}{on_one_line(notice.subject)}\n{as_text(notice.message)}"
    return text.translate(_ESCAPES)
