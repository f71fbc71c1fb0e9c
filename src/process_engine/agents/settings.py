"""What a configuration may say about an agent, whatever its kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from process_engine.agents.gateway import Agent


class AgentSettings(BaseModel, frozen=True):
    """The settings of one agent. A kind is one subclass: its fields are the keys that it understands.

    A subclass narrows `kind` to its own word. Validators raise `ValueError` with a sentence that can stand
    after the name of the key; it must not hold the value where that may be a secret.
    """

    # Errors and representations end up in terminals and logs: they show names, never values.
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    kind: str = Field(description="How the agent is reached.")
    description: str | None = Field(default=None, description="What the agent is good for, for people.")

    def connect(self) -> Agent:
        """Make the agent. Nothing is opened before its first call."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to connect")

    def __repr_args__(self) -> Iterator[tuple[str | None, object]]:
        yield "kind", self.kind
