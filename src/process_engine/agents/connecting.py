"""From the settings of an agent to the agent."""

from __future__ import annotations

from process_engine.agents.gateway import Agent
from process_engine.agents.limits import Gate, LimitedAgent
from process_engine.agents.settings import AgentSettings
from process_engine.errors import ConfigurationInvalid
from process_engine.runtime.ports import Clock


def connected(name: str, settings: AgentSettings, clock: Clock) -> Agent:
    """The agent that `settings` describe, behind a gate where they limit its calls.

    Raises:
        ConfigurationInvalid: it cannot be made.
    """
    agent = _made(name, settings)
    if settings.max_concurrent is None and settings.rate is None:
        return agent
    return LimitedAgent(agent, Gate(clock, places=settings.max_concurrent, rate=settings.rate))


def _made(name: str, settings: AgentSettings) -> Agent:
    try:
        return settings.connect()
    except ValueError as error:
        raise ConfigurationInvalid(
            f"agent `{name}` cannot be made: {error}.", remedy="Correct it in the agents file."
        ) from error
    except Exception as error:
        # The edge of foreign code. Only a ValueError has promised to hold no secret.
        raise ConfigurationInvalid(
            f"agent `{name}` cannot be made: its kind `{settings.kind}` raised {type(error).__name__}.",
            remedy="This is a fault of whoever wrote the kind.",
        ) from error
