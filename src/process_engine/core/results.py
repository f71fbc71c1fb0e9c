"""What a step handler answers: the handler describes, the machine acts."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import msgspec

from process_engine.core.approvals import Asked
from process_engine.core.children import StartChild


class Usage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What one attempt consumed: `cost` in the agents' currency, exact; tokens as the agent counted them.

    `other_tokens` are those of children, whose directions are not kept apart.
    """

    cost: Decimal = Decimal(0)
    input_tokens: int = 0
    output_tokens: int = 0
    other_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Tokens in both directions."""
        return self.input_tokens + self.output_tokens + self.other_tokens


# 16 KiB of JSON: fifty e-mail addresses of the greatest length; it is in the state until the visit ends.
PROGRESS_LIMIT_BYTES = 16 * 1024

NO_USAGE = Usage()
"""What an attempt consumed that consumed nothing, or does not say."""


class Completed(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True):
    """The attempt succeeded with `output`, any JSON value.

    `routes` are the targets a gateway chose; other steps leave it None.
    """

    output: object = None
    usage: Usage = NO_USAGE
    routes: tuple[str, ...] | None = None


class Failed(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag=True):
    """The attempt failed. `code` is one of `core.failures.CODES`; `message` is for people.

    `transient` says that another attempt may succeed; `retry_after` is the least wait in seconds the
    other side asked for. `progress` is what was done all the same, any JSON value of at most
    `PROGRESS_LIMIT_BYTES`: it is recorded, and handed to the next attempt of the visit.
    """

    code: str
    message: str
    transient: bool = False
    retry_after: float | None = None
    usage: Usage = NO_USAGE
    progress: object = None


class WaitUntil(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The step completes at `due` (aware, UTC), whatever happens to the process that runs the engine."""

    due: datetime


class WaitForEvent(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The step completes with the payload of the first event `event` that fits, published before `due`."""

    event: str
    due: datetime | None = None


StepResult = Completed | Failed | WaitUntil | WaitForEvent | Asked | StartChild
