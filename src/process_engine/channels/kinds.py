"""The kinds of channels there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import cast

from process_engine.channels.settings import ChannelSettings


class Kinds(Mapping[str, type[ChannelSettings]]):
    """The settings class of each kind by its word; asking for one imports its module, and no other."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places

    def __getitem__(self, kind: str) -> type[ChannelSettings]:
        module, _, name = self._places[kind].partition(":")
        return cast("type[ChannelSettings]", getattr(import_module(module), name))

    def __contains__(self, kind: object) -> bool:
        return kind in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


KINDS: Mapping[str, type[ChannelSettings]] = Kinds(
    {
        "slack": "process_engine.channels.slack:SlackSettings",
        "email": "process_engine.channels.email:EmailSettings",
        "webhook": "process_engine.channels.webhook:WebhookSettings",
        "log": "process_engine.channels.log:LogSettings",
    }
)
