"""All channels of a configuration, by name."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

from process_engine.channels.kinds import KINDS
from process_engine.channels.settings import Channel, ChannelSettings
from process_engine.runtime.ports import Delivery, DeliveryFailed, Notice

# Deliveries of one channel, and so connections to its server, at once; further ones wait in order.
MOST_AT_ONCE = 32
# What can be used without a word of configuration.
WITHOUT_SETTINGS = ("log", "webhook")
_EXAMPLES = MappingProxyType(
    {
        "slack": "`channels: {slack: {url: '${SLACK_WEBHOOK}'}}`",
        "email": "`channels: {email: {host: …, from: …}}`",
    }
)


class ConfiguredChannels:
    """The port `Channels` over named channels; each is made when it is first used.

    `log` and `webhook` are there in any case: the one writes to standard error, the other sends unsigned to
    the `url` of the step.
    """

    def __init__(self, settings: Mapping[str, ChannelSettings]) -> None:
        self._settings = dict(settings)
        self._channels: dict[str, tuple[Channel, asyncio.Semaphore]] = {}

    async def deliver(self, notice: Notice) -> Delivery:
        if notice.channel not in self._channels:
            self._channels[notice.channel] = self._made(notice.channel), asyncio.Semaphore(MOST_AT_ONCE)
        channel, places = self._channels[notice.channel]
        async with places:
            return await channel.deliver(notice)

    def lacks(self, channel: str, *, url: bool, recipients: bool) -> str | None:
        settings = self._settings_of(channel)
        if settings is None:
            example = _EXAMPLES.get(channel, f"`channels: {{{channel}: {{kind: …}}}}`")
            return f"it is not configured: add {example} to the settings"
        return settings.lacks(url=url, recipients=recipients)

    def _made(self, channel: str) -> Channel:
        settings = self._settings_of(channel)
        if settings is None:
            raise DeliveryFailed("DELIVERY_FAILED", f"the configuration has no channel `{channel}`")
        return settings.connect()

    def _settings_of(self, channel: str) -> ChannelSettings | None:
        found = self._settings.get(channel)
        if found is None and channel in WITHOUT_SETTINGS:
            found = self._settings[channel] = KINDS[channel](kind=channel)
        return found
