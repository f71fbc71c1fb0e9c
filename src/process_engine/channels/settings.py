"""What a configuration may say about a channel, whatever its kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from process_engine.runtime.ports import Delivery, Notice


class Channel(Protocol):
    """One way to tell somebody something."""

    async def deliver(self, notice: Notice) -> Delivery:
        """Hand a notice over; as `Channels.deliver`."""
        ...


class ChannelSettings(BaseModel, frozen=True):
    """The settings of one channel. A kind is one subclass: its fields are the keys that it understands.

    Validators raise `ValueError` with a sentence that can stand after the name of the key; it must not hold
    the value where that may be a secret.
    """

    # Errors and representations end up in terminals and logs: they show names, never values.
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    kind: str = Field(description="What it is; the channel's own name where that is the word of a kind.")
    description: str | None = Field(default=None, description="What the channel is for, for people.")

    def lacks(self, *, url: bool, recipients: bool) -> str | None:
        """What a step still has to say that gives a `url` or `recipients`, or does not; None for nothing."""
        return None

    def connect(self) -> Channel:
        """Make the channel. Nothing is opened before its first delivery."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to connect")

    def __repr_args__(self) -> Iterator[tuple[str | None, object]]:
        yield "kind", self.kind
