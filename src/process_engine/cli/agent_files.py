"""The agents file that is in force, and what it says."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from pydantic import BaseModel, ConfigDict

from process_engine import agents as kinds
from process_engine import channels as ways
from process_engine.config import (
    find_agents_file,
    look_through_agents_file,
    read_agents_file,
    read_channels,
    read_text,
)

if TYPE_CHECKING:
    from process_engine.agents.settings import AgentSettings
    from process_engine.channels.settings import ChannelSettings
    from process_engine.config import AgentsReading

Settings: TypeAlias = "Mapping[str, AgentSettings]"
"""What is said about each agent, by its name."""


def read_agents(explicit: Path | None, definition: Path | None) -> tuple[Path | None, Settings]:
    """The agents file that is in force, and what it says; none and nothing where there is none.

    Raises:
        ConfigurationInvalid: it cannot be used.
    """
    path = find_agents_file(explicit, definition=definition)
    if path is None:
        return None, {}
    # Each kind brings what it speaks with: only who is going to call agents pays for it.
    return path, read_agents_file(path, kinds.KINDS, os.environ).agents


def channel_settings(path: Path | None) -> Mapping[str, ChannelSettings]:
    """What a settings file says about channels, by their names; nothing where there is no file.

    Raises:
        ConfigurationInvalid: it cannot be used.
    """
    if path is None or b"channels" not in path.read_bytes():
        # Nobody who sends no notifications waits for his settings to be read twice.
        return {}
    return read_channels(path, ways.KINDS, os.environ)


def channel_names(path: Path | None) -> Collection[str] | None:
    """The names of the channels of a settings file, None where there is no file; nothing else is looked at.

    Raises:
        ConfigurationInvalid: it cannot be read at all.
    """
    if path is None:
        return None
    if b"channels" not in path.read_bytes():
        return []
    top = read_text(path).value
    named = cast("dict[str, object]", top).get("channels") if isinstance(top, dict) else None
    return list(cast("dict[str, object]", named)) if isinstance(named, dict) else []


def look_through_agents(explicit: Path | None) -> AgentsReading[AgentSettings] | None:
    """What could be made of the agents file that is in force, faults and all; None where there is none.

    Raises:
        ConfigurationInvalid: it cannot be read at all.
    """
    path = find_agents_file(explicit)
    return None if path is None else look_through_agents_file(path, kinds.KINDS, os.environ)


def configured_names(definition: Path) -> Collection[str] | None:
    """The names of the agents that a process may call, None where no agents file is there.

    What the file says about each is not looked at, nor is the environment.

    Raises:
        ConfigurationInvalid: it cannot be read at all.
    """
    path = find_agents_file(None, definition=definition)
    return None if path is None else read_agents_file(path, _AnyKind(), _AnyVariable()).agents.keys()


class _AnySettings(BaseModel):
    """Takes whatever a file says."""

    model_config = ConfigDict(extra="allow")


class _AnyKind(dict[str, type[_AnySettings]]):
    """Knows every kind."""

    def __contains__(self, kind: object) -> bool:
        return isinstance(kind, str)

    def __missing__(self, kind: str) -> type[_AnySettings]:
        return _AnySettings


class _AnyVariable(dict[str, str]):
    """Every variable is set, to nothing."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return ""
