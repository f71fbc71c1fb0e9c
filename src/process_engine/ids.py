"""Names of things, and the one place that makes new ones."""

from __future__ import annotations

import secrets
import time
from typing import NewType

ExecutionId = NewType("ExecutionId", str)
StepId = NewType("StepId", str)
DefinitionHash = NewType("DefinitionHash", str)

# Crockford's base 32: no I, L, O, U, so that an id read aloud or copied by hand stays itself.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)


def new_execution_id() -> ExecutionId:
    """A fresh id of 20 characters: 9 of milliseconds since 1970, 11 (55 bits) of randomness.

    Ids made later sort later (to the millisecond), so new rows go to the end of an index.
    """
    return ExecutionId(_fresh())


def new_event_id() -> str:
    """A fresh id for an event that is published without one, of the same form."""
    return _fresh()


def _fresh() -> str:
    number = (int(time.time() * 1000) << 55) | secrets.randbits(55)
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in range(90, -1, -10)])
