"""Which handler runs which type of step."""

from __future__ import annotations

from process_engine.core.inline import INLINE
from process_engine.definition.document import ProcessDefinition
from process_engine.errors import ConfigurationInvalid
from process_engine.runtime.ports import InlineHandler, StepHandler


class StepHandlerRegistry:
    """Step types by name, each with the handler that runs it."""

    def __init__(self) -> None:
        self._outside: dict[str, StepHandler] = {}
        self._inline: dict[str, InlineHandler] = {}

    def register(self, step_type: str, handler: StepHandler | InlineHandler) -> None:
        """Let `handler` run the steps of a type; a second registration replaces the first.

        Raises:
            ConfigurationInvalid: an inline type needs a handler that decides, every other one that executes.
        """
        if step_type in INLINE and isinstance(handler, InlineHandler):
            self._inline[step_type] = handler
        elif step_type not in INLINE and isinstance(handler, StepHandler):
            self._outside[step_type] = handler
        else:
            needed = "decide" if step_type in INLINE else "execute"
            raise ConfigurationInvalid(f"the handler of step type {step_type} has no method {needed}().")

    def outside(self, step_type: str) -> StepHandler:
        """The handler that executes this type.

        Raises:
            ConfigurationInvalid: there is none.
        """
        handler = self._outside.get(step_type)
        if handler is None:
            raise ConfigurationInvalid(
                f"no handler executes steps of type {step_type}.", remedy="Register one."
            )
        return handler

    @property
    def types(self) -> frozenset[str]:
        """The step types that can be run."""
        return frozenset(self._outside) | frozenset(self._inline)

    def require(self, definition: ProcessDefinition) -> None:
        """Refuse a definition with a step type that nothing here runs.

        Raises:
            ConfigurationInvalid: it names every such step.
        """
        types = self.types
        missing = [f"{step.id} ({step.type})" for step in definition.steps if step.type not in types]
        undone = ((step.id, step.compensation) for step in definition.steps)
        missing += [
            f"{step_id} (compensation: {body.type})"
            for step_id, body in undone
            if body is not None and body.type not in types
        ]
        if missing:
            raise ConfigurationInvalid(
                f"process {definition.name}: no handler is registered for {', '.join(missing)}.",
                remedy="Register one with StepHandlerRegistry.register().",
            )
