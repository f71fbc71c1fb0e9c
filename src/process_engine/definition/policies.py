"""How failures, time and money are dealt with: the policies of steps and the limits of an execution."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StrictBool, StrictFloat, StrictInt

from process_engine.definition.durations import Duration, parse_duration
from process_engine.definition.parts import (
    Attempts,
    Concurrency,
    Document,
    ErrorCodes,
    MaxVisits,
    Text,
    Timeout,
)


def _spelled_out(value: object) -> object:
    return {"action": value} if isinstance(value, str) else value


class RetryPolicy(Document, frozen=True):
    """How often a step is tried, and how long we wait in between.

    `max_attempts` counts every try: 1 means never retry. The wait before attempt n is
    `initial_delay * backoff_multiplier ** (n - 2)` (exponential), `initial_delay * (n - 1)` (linear) or
    `initial_delay` (fixed), at most `max_delay`, with a jitter of a half to one and a half.
    """

    max_attempts: Attempts = Field(
        default=3, description="How often the step is tried, the first time included."
    )
    initial_delay: Duration = Field(
        default=parse_duration("1s"), description="The wait before the second attempt."
    )
    backoff: Literal["exponential", "linear", "fixed"] = Field(
        default="exponential", description="How the wait grows from attempt to attempt."
    )
    backoff_multiplier: Annotated[StrictFloat, Field(ge=1, le=100)] = Field(
        default=2, description="Factor of exponential backoff."
    )
    max_delay: Duration = Field(default=parse_duration("5m"), description="No wait is longer than this.")
    jitter: StrictBool = Field(
        default=True, description="Spread the waits, so that many retries do not meet."
    )
    retry_on: ErrorCodes = Field(
        default=(), description="Error codes that are retried besides the transient ones."
    )
    do_not_retry_on: ErrorCodes = Field(default=(), description="Error codes that are never retried.")


class ErrorPolicy(Document, frozen=True):
    """What happens once a step has failed for good."""

    action: Literal["fail_process", "skip_step", "goto_step"] = Field(
        description="Fail the execution, go on as if the step were done, or go to another step."
    )
    target_step: Text | None = Field(default=None, description="The step to go to; only with `goto_step`.")
    max_visits: MaxVisits = Field(default=10, description="How often the target may be visited at most.")


OnError = Annotated[
    ErrorPolicy,
    BeforeValidator(_spelled_out, json_schema_input_type=Literal["fail_process", "skip_step"] | ErrorPolicy),
]


class Defaults(Document, frozen=True):
    """What holds for every agent task that does not set its own."""

    timeout: Timeout | None = Field(default=None, description="The longest an attempt may take.")
    retry: RetryPolicy | None = Field(default=None, description="How often a step is tried.")
    on_error: OnError | None = Field(
        default=None, description="What happens once a step has failed for good."
    )
    agent: Text | None = Field(default=None, description="The agent of steps that name none.")


class Budget(Document, frozen=True):
    """The most an execution may spend. What is in flight when it is reached may exceed it."""

    usd: Annotated[Decimal, Field(gt=0)] | None = Field(default=None, description="US dollars.")
    tokens: Annotated[StrictInt, Field(ge=1)] | None = Field(
        default=None, description="Tokens, in and out together."
    )
    on_exceeded: Literal["fail", "pause"] = Field(default="fail", description="What happens at the limit.")


class Limits(Document, frozen=True):
    """Bounds of a whole execution; None where there is none."""

    timeout: Timeout | None = Field(
        default=None, description="The longest an execution may take, pauses included."
    )
    max_concurrent_steps: Concurrency | None = Field(
        default=None, description="Attempts running at the same time."
    )
    max_concurrent_executions: Concurrency | None = Field(
        default=None, description="Executions of this process at the same time; further starts queue."
    )
    budget: Budget | None = Field(default=None, description="The most an execution may spend.")
