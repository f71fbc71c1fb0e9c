"""Sub-processes: executions of their own that a step starts, waits for, and answers for.

Records and rules about one child. What they make of the step is in `core/parenting.py`; how children are
started and told is the runtime's business.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import msgspec

from process_engine.core.failures import Failure
from process_engine.definition.document import SubProcess
from process_engine.ids import ExecutionId, StepId

# Deeper trees are a process that calls itself; people cannot follow more than a few levels anyway.
MAX_DEPTH = 10
# A child without a bound of its own is given up after an hour.
CHILD_TIMEOUT_SECONDS = 3_600.0
# As long as the ids that are drawn, and from the same characters: 100 bits do not meet by accident.
_ID_CHARACTERS = 20
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


class ChildOutcome(StrEnum):
    """How a child ended; `refused` is one that never began."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REFUSED = "refused"


class Parent(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Which attempt of which step an execution is the child of.

    `depth` is 1 for a child of an execution that nobody called. With `waits` the parent waits for the end
    and is told of it; else the child's fate is its own.
    """

    execution_id: ExecutionId
    step_id: StepId
    visit: int
    attempt: int
    depth: int = 1
    waits: bool = True
    item: int | None = None


class Child(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The latest child of a step. `recalled` is why it was told to cancel, once its time was up."""

    id: ExecutionId
    recalled: Failure | None = None


class Recall(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A child that nobody waits for any more: it is told to cancel until its end is known."""

    id: ExecutionId
    step_id: StepId
    visit: int
    attempt: int
    at: datetime


class StartChild(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A step asks for an execution of its own; `version` None is the latest. The input is its request."""

    process: str
    version: str | None = None


@dataclass(frozen=True, slots=True)
class ChildRules:
    """What a step does with its child; `output_key` picks one field of what the child gives."""

    waits: bool
    timeout_seconds: float
    output_key: str | None


def compile_rules(step: SubProcess) -> ChildRules:
    """The rules of a step that passed its static checks."""
    seconds = step.timeout.seconds if step.timeout is not None else CHILD_TIMEOUT_SECONDS
    return ChildRules(step.wait, seconds, step.output_key)


def child_id(
    parent: ExecutionId, step_id: StepId, visit: int, attempt: int, item: int | None = None
) -> ExecutionId:
    """The id of the child of one attempt: always the same, so that a repeated start is no second child."""
    place = f"{parent}/{step_id}/{visit}/{attempt}" + ("" if item is None else f"/{item}")
    number = int.from_bytes(hashlib.sha256(place.encode()).digest())
    return ExecutionId("".join(_ALPHABET[(number >> 5 * place) & 31] for place in range(_ID_CHARACTERS)))
