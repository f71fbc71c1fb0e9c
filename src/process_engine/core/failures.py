"""The closed list of error codes that an execution can record."""

from __future__ import annotations

import msgspec

CODES: dict[str, str] = {
    "AGENT_UNAVAILABLE": "The agent could not be reached, or refused for now (HTTP 408, 425, 429, 5xx).",
    "AGENT_ERROR": "The agent answered that it cannot do this (HTTP 4xx and other refusals).",
    "AGENT_TIMEOUT": "The agent accepted the call and did not answer within its own timeout.",
    "TIMEOUT": "The attempt, or the whole execution, took longer than its timeout.",
    "INVALID_OUTPUT": "The answer is not what it claims to be, or does not fit the schema.",
    "OUTPUT_TOO_LARGE": "The output is over the limit of 10 MiB.",
    "EXPRESSION_ERROR": "A condition, a template or an output has no value here.",
    "NO_ROUTE": "No route of the gateway matches and it has no default.",
    "APPROVAL_REJECTED": "The approval was rejected.",
    "APPROVAL_TIMEOUT": "Nobody decided before the deadline.",
    "CHILD_FAILED": "The sub-process failed or was cancelled.",
    "BUDGET_EXCEEDED": "The execution's budget of money or tokens is used up.",
    "VISITS_EXCEEDED": "A loop went round more often than its `max_visits` allows.",
    "INTERRUPTED": "The engine stopped while the attempt was running.",
    "TOO_MANY_ITEMS": "The list of a `for_each` has more than 100,000 items.",
    "DELIVERY_FAILED": "A notification was refused, as a whole or for some recipients, and would be again.",
    "CHANNEL_UNAVAILABLE": "A notification could not be handed over, or was refused for now.",
    "HANDLER_ERROR": "The code of a step handler or of a Python agent raised an exception.",
}

TRANSIENT = frozenset({"AGENT_UNAVAILABLE", "AGENT_TIMEOUT", "CHANNEL_UNAVAILABLE", "TIMEOUT"})
"""Codes that are retried unless a policy says otherwise."""


class Failure(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Why a step or execution failed: `code` of `CODES`, `message` for people, the step if there is one."""

    code: str
    message: str
    step_id: str | None = None
