"""Ways to reach agents: one kind per module, found by its word in a configuration.

A kind is one class, a subclass of `AgentSettings`, and one entry point. Its module is imported when a
configuration names the kind, so that nobody pays for HTTP who runs Python functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from process_engine.agents.command import CommandAgent, CommandSettings
    from process_engine.agents.echo import EchoAgent, EchoSettings
    from process_engine.agents.gateway import Agent, ConfiguredAgents
    from process_engine.agents.http import HttpAgent, HttpSettings
    from process_engine.agents.kinds import KINDS
    from process_engine.agents.openai import OpenAiAgent, OpenAiSettings
    from process_engine.agents.python import PythonAgent, PythonSettings
    from process_engine.agents.settings import AgentSettings, BoundedSettings
    from process_engine.runtime.ports import Clock

__all__ = [
    "KINDS",
    "Agent",
    "AgentSettings",
    "BoundedSettings",
    "CommandAgent",
    "CommandSettings",
    "ConfiguredAgents",
    "EchoAgent",
    "EchoSettings",
    "HttpAgent",
    "HttpSettings",
    "OpenAiAgent",
    "OpenAiSettings",
    "PythonAgent",
    "PythonSettings",
    "connect",
]

_PLACES = {
    "KINDS": "kinds",
    "Agent": "gateway",
    "AgentSettings": "settings",
    "BoundedSettings": "settings",
    "CommandAgent": "command",
    "CommandSettings": "command",
    "ConfiguredAgents": "gateway",
    "EchoAgent": "echo",
    "EchoSettings": "echo",
    "HttpAgent": "http",
    "HttpSettings": "http",
    "OpenAiAgent": "openai",
    "OpenAiSettings": "openai",
    "PythonAgent": "python",
    "PythonSettings": "python",
}


def connect(settings: Mapping[str, AgentSettings], clock: Clock | None = None) -> ConfiguredAgents:
    """Make the gateway to the agents of a configuration, by name. Opens no connection yet.

    `clock` is what calls wait on that an agent's `rate` or `max_concurrent` holds back; the machine's
    unless given.

    Raises:
        ConfigurationInvalid: an agent cannot be made.
    """
    from process_engine.agents.connecting import connected
    from process_engine.agents.gateway import ConfiguredAgents
    from process_engine.clock import SystemClock

    clock = clock or SystemClock()
    return ConfiguredAgents({name: connected(name, each, clock) for name, each in settings.items()})


def __getattr__(name: str) -> object:
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
