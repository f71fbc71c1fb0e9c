"""Ways to tell somebody something: one kind per module, found by its word in a configuration.

A kind is a subclass of `ChannelSettings`. Its module is imported when a configuration names the kind, or a
step first uses it, so that nobody pays for mail who writes lines into a log.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from process_engine.channels.email import EmailChannel, EmailSettings
    from process_engine.channels.gateway import ConfiguredChannels
    from process_engine.channels.kinds import KINDS
    from process_engine.channels.log import LogChannel, LogSettings
    from process_engine.channels.settings import Channel, ChannelSettings
    from process_engine.channels.slack import SlackChannel, SlackSettings
    from process_engine.channels.webhook import WebhookChannel, WebhookSettings

__all__ = [
    "KINDS",
    "Channel",
    "ChannelSettings",
    "ConfiguredChannels",
    "EmailChannel",
    "EmailSettings",
    "LogChannel",
    "LogSettings",
    "SlackChannel",
    "SlackSettings",
    "WebhookChannel",
    "WebhookSettings",
    "connect",
]

_PLACES = {
    "KINDS": "kinds",
    "Channel": "settings",
    "ChannelSettings": "settings",
    "ConfiguredChannels": "gateway",
    "EmailChannel": "email",
    "EmailSettings": "email",
    "LogChannel": "log",
    "LogSettings": "log",
    "SlackChannel": "slack",
    "SlackSettings": "slack",
    "WebhookChannel": "webhook",
    "WebhookSettings": "webhook",
}


def connect(settings: Mapping[str, ChannelSettings]) -> ConfiguredChannels:
    """Make the channels of a configuration, by name, with `log` and `webhook` where it names none.

    Opens no connection yet.
    """
    from process_engine.channels.gateway import ConfiguredChannels

    return ConfiguredChannels(settings)


def __getattr__(name: str) -> object:
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
