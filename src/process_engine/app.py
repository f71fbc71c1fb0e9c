"""Where everything is put together: the only file that knows every adapter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from process_engine.channels import connect as connect_channels
from process_engine.core.config import ExecutionConfig
from process_engine.definition.document import AgentCall, Notification, ProcessDefinition
from process_engine.definition.expressions import compile_template
from process_engine.errors import ConfigurationInvalid
from process_engine.handlers import built_in
from process_engine.ids import ExecutionId, new_execution_id
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.engine import Engine
from process_engine.runtime.feed import EventBus
from process_engine.runtime.ports import AgentGateway, Channels, Clock, ExecutionRepository
from process_engine.runtime.registry import StepHandlerRegistry


def built_in_handlers(agents: AgentGateway, channels: Channels | None = None) -> StepHandlerRegistry:
    """A registry with every step type that comes with the engine.

    Without `channels` notifications can be sent to `log` and to the `url` of a webhook.
    """
    return built_in.built_in_handlers(agents, channels or connect_channels({}))


class ExecutionEngine(Engine):
    """An engine with the built-in step types, on one store and one set of agents.

    Use it as an asynchronous context manager; inside, `start` begins executions and `run_until_settled` waits
    for them. `channels` are the ways that notifications can take. `registry` replaces the built-in handlers;
    begin with `built_in_handlers(agents, channels)` to add to them.
    """

    def __init__(
        self,
        repositories: ExecutionRepository | str | Path,
        agents: AgentGateway,
        config: ExecutionConfig | None = None,
        *,
        channels: Channels | None = None,
        registry: StepHandlerRegistry | None = None,
        clock: Clock | None = None,
        event_bus: EventBus | None = None,
        new_id: Callable[[], ExecutionId] = new_execution_id,
        recover: bool = True,
        serve_inbox: bool = True,
    ) -> None:
        if isinstance(repositories, (str, Path)):
            repositories = SqliteRepository(repositories)
        ways = channels or connect_channels({})
        super().__init__(
            repositories,
            registry or built_in_handlers(agents, ways),
            config,
            clock=clock,
            event_bus=event_bus,
            new_id=new_id,
            preflight=lambda definition: _require(definition, agents, ways),
            recover=recover,
            serve_inbox=serve_inbox,
        )


def _require(definition: ProcessDefinition, agents: AgentGateway, channels: Channels) -> None:
    require_agents(definition, agents)
    require_channels(definition, channels)


def require_channels(definition: ProcessDefinition, channels: Channels) -> None:
    """Refuse a definition with a notification that no channel could take.

    Raises:
        ConfigurationInvalid: it names every such step, and what is missing.
    """
    missing: list[str] = []
    for step in definition.steps:
        if isinstance(step, Notification):
            for name in dict.fromkeys(step.ways):
                what = channels.lacks(name, url=step.url is not None, recipients=bool(step.recipients))
                if what is not None:
                    missing.append(f"{name} (step {step.id}): {what}")
    if missing:
        raise ConfigurationInvalid(
            f"process {definition.name} has notifications that cannot be sent: {'; '.join(missing)}.",
            remedy="Channels are configured under `channels:` in agents.yaml.",
        )


def require_agents(definition: ProcessDefinition, agents: AgentGateway) -> None:
    """Refuse a definition that names an agent which cannot be called here.

    An agent that is named by an expression is known only when its step starts.

    Raises:
        ConfigurationInvalid: it names every such step.
    """
    default = definition.defaults.agent
    missing: dict[str, str] = {}
    for step in definition.steps:
        for call in (step, step.compensation):
            template = compile_template(call.agent or default) if isinstance(call, AgentCall) else None
            if template is not None and template.constant and not agents.knows(str(template.source)):
                missing[step.id] = str(template.source)
    if missing:
        steps = ", ".join(f"{agent} (step {step_id})" for step_id, agent in missing.items())
        known = ", ".join(sorted(agents.names())) or "none"
        raise ConfigurationInvalid(
            f"process {definition.name} needs agents that are not configured: {steps}.",
            remedy=f"Add them to agents.yaml; configured: {known}.",
        )
