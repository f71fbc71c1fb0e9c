"""Ways to reach agents: one kind per module, found by its word in a configuration.

A kind is one class, a subclass of `AgentSettings`, and one line in `KINDS`. Its module is imported when a
configuration names the kind, so that nobody pays for HTTP who runs Python functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from process_engine.agents.echo import EchoAgent, EchoSettings
    from process_engine.agents.gateway import Agent, ConfiguredAgents
    from process_engine.agents.http import HttpAgent, HttpSettings
    from process_engine.agents.python import PythonAgent, PythonSettings
    from process_engine.agents.settings import AgentSettings

__all__ = [
    "KINDS",
    "Agent",
    "AgentSettings",
    "ConfiguredAgents",
    "EchoAgent",
    "EchoSettings",
    "HttpAgent",
    "HttpSettings",
    "PythonAgent",
    "PythonSettings",
    "connect",
]

_PLACES = {
    "Agent": "gateway",
    "AgentSettings": "settings",
    "ConfiguredAgents": "gateway",
    "EchoAgent": "echo",
    "EchoSettings": "echo",
    "HttpAgent": "http",
    "HttpSettings": "http",
    "PythonAgent": "python",
    "PythonSettings": "python",
}


class _Kinds(Mapping[str, "type[AgentSettings]"]):
    """The settings class of each kind; asking for one imports its module."""

    def __init__(self, classes: Mapping[str, str]) -> None:
        self._classes = classes

    def __getitem__(self, kind: str) -> type[AgentSettings]:
        module, _, name = self._classes[kind].partition(":")
        found: type[AgentSettings] = getattr(import_module(module), name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)


KINDS: Mapping[str, type[AgentSettings]] = _Kinds(
    {
        "http": "process_engine.agents.http:HttpSettings",
        "python": "process_engine.agents.python:PythonSettings",
        "echo": "process_engine.agents.echo:EchoSettings",
    }
)


def connect(settings: Mapping[str, AgentSettings]) -> ConfiguredAgents:
    """Make the gateway to the agents of a configuration, by name. Opens no connection yet."""
    from process_engine.agents.gateway import ConfiguredAgents

    return ConfiguredAgents({name: each.connect() for name, each in settings.items()})


def __getattr__(name: str) -> object:
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
