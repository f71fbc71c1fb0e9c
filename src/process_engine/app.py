"""Where everything is put together: the only file that knows every adapter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from process_engine.core.config import ExecutionConfig
from process_engine.definition.document import AgentTask, ProcessDefinition
from process_engine.definition.expressions import compile_template
from process_engine.errors import ConfigurationInvalid
from process_engine.handlers.built_in import built_in_handlers
from process_engine.ids import ExecutionId, new_execution_id
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.engine import Engine
from process_engine.runtime.feed import EventBus
from process_engine.runtime.ports import AgentGateway, Clock, ExecutionRepository
from process_engine.runtime.registry import StepHandlerRegistry


class ExecutionEngine(Engine):
    """An engine with the built-in step types, on one store and one set of agents.

    Use it as an asynchronous context manager; inside, `start` begins executions and `run_until_settled` waits
    for them. `registry` replaces the built-in handlers; begin with `built_in_handlers(agents)` to add to
    them.
    """

    def __init__(
        self,
        repositories: ExecutionRepository | str | Path,
        agents: AgentGateway,
        config: ExecutionConfig | None = None,
        *,
        registry: StepHandlerRegistry | None = None,
        clock: Clock | None = None,
        event_bus: EventBus | None = None,
        new_id: Callable[[], ExecutionId] = new_execution_id,
        recover: bool = True,
        serve_inbox: bool = True,
    ) -> None:
        if isinstance(repositories, (str, Path)):
            repositories = SqliteRepository(repositories)
        super().__init__(
            repositories,
            registry or built_in_handlers(agents),
            config,
            clock=clock,
            event_bus=event_bus,
            new_id=new_id,
            preflight=lambda definition: require_agents(definition, agents),
            recover=recover,
            serve_inbox=serve_inbox,
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
        if isinstance(step, AgentTask):
            template = compile_template(step.agent or default)
            if template.constant and not agents.knows(str(template.source)):
                missing[step.id] = str(template.source)
    if missing:
        steps = ", ".join(f"{agent} (step {step_id})" for step_id, agent in missing.items())
        known = ", ".join(sorted(agents.names())) or "none"
        raise ConfigurationInvalid(
            f"process {definition.name} needs agents that are not configured: {steps}.",
            remedy=f"Add them to agents.yaml; configured: {known}.",
        )
