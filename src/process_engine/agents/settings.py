"""What a configuration may say about an agent, whatever its kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BaseModel, ByteSize, ConfigDict, Field, PlainValidator

from process_engine.agents.limits import MAX_PLACES, Rate, parse_rate
from process_engine.core.values import VALUE_LIMIT_BYTES
from process_engine.definition.durations import Duration

if TYPE_CHECKING:
    from process_engine.agents.gateway import Agent


class AgentSettings(BaseModel, frozen=True):
    """The settings of one agent. A kind is one subclass: its fields are the keys that it understands.

    A subclass narrows `kind` to its own word. Validators raise `ValueError` with a sentence that can stand
    after the name of the key; it must not hold the value where that may be a secret. (A value that came from
    the environment makes the configuration withhold such sentences; `PydanticCustomError("sentence", …)` is
    for those that hold no value at all, and are always told.) `max_concurrent` and
    `rate` are kept by the gateway: an agent need not know them.
    """

    # Errors and representations end up in terminals and logs: they show names, never values.
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    kind: str = Field(description="How the agent is reached.")
    description: str | None = Field(default=None, description="What the agent is good for, for people.")
    max_concurrent: int | None = Field(
        default=None, ge=1, le=MAX_PLACES, description="Calls at once; further ones wait in order."
    )
    rate: Annotated[Rate, PlainValidator(parse_rate, json_schema_input_type=str)] | None = Field(
        default=None, description="Calls per time, such as 60/m, 5/s or 10/30s; further ones wait in order."
    )

    def connect(self) -> Agent:
        """Make the agent. Nothing is opened before its first call.

        Raises:
            ValueError: it cannot be made; the text says why, and holds no secret.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how to connect")

    def __repr_args__(self) -> Iterator[tuple[str | None, object]]:
        yield "kind", self.kind


def _positive(length: Duration) -> Duration:
    if length.seconds <= 0:
        raise ValueError("must be longer than zero; leave it out for none")
    return length


class BoundedSettings(AgentSettings, frozen=True):
    """The settings of an agent outside this process, whose calls are bounded in time and size."""

    timeout: Annotated[Duration, AfterValidator(_positive)] | None = Field(
        default=None,
        description="How long one call may take from its beginning to the last byte of the answer; "
        "without it the timeout of the step alone holds.",
    )
    max_response: ByteSize = Field(
        default=ByteSize(VALUE_LIMIT_BYTES),
        ge=1,
        le=10 * VALUE_LIMIT_BYTES,
        description="The largest answer that is read, in bytes or like 512KiB.",
    )

    @property
    def timeout_seconds(self) -> float | None:
        """`timeout` in seconds, None for none."""
        return self.timeout.seconds if self.timeout else None
