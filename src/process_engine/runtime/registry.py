"""Which handler runs which type of step."""

from __future__ import annotations

from process_engine.core.inline import INLINE
from process_engine.definition.document import ProcessDefinition
from process_engine.errors import ConfigurationInvalid
from process_engine.runtime.ports import InlineHandler, StepHandler


class StepHandlerRegistry:
    """Step types by name, each with the handler that runs it."""

    def __init__(self) -> None:
        self._handlers: dict[str, StepHandler | InlineHandler] = {}

    def register(self, step_type: str, handler: StepHandler | InlineHandler) -> None:
        """Let `handler` run the steps of a type; a second registration replaces the first.

        Raises:
            ConfigurationInvalid: an inline type needs a handler that decides, every other one that executes.
        """
        needed = "decide" if step_type in INLINE else "execute"
        if not callable(getattr(handler, needed, None)):
            raise ConfigurationInvalid(f"the handler of step type {step_type} has no method {needed}().")
        self._handlers[step_type] = handler

    def outside(self, step_type: str) -> StepHandler:
        """The handler that executes this type.

        Raises:
            ConfigurationInvalid: there is none.
        """
        handler = self._handlers.get(step_type)
        if handler is None or isinstance(handler, InlineHandler):
            raise ConfigurationInvalid(
                f"no handler executes steps of type {step_type}.", remedy="Register one."
            )
        return handler

    @property
    def types(self) -> frozenset[str]:
        """The step types that can be run."""
        return frozenset(self._handlers)

    def require(self, definition: ProcessDefinition) -> None:
        """Refuse a definition with a step type that nothing here runs.

        Raises:
            ConfigurationInvalid: it names every such step.
        """
        missing = [f"{step.id} ({step.type})" for step in definition.steps if step.type not in self._handlers]
        if missing:
            raise ConfigurationInvalid(
                f"process {definition.name}: no handler is registered for {', '.join(missing)}.",
                remedy="Register one with StepHandlerRegistry.register().",
            )
