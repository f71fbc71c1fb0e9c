"""How long to wait before the next attempt."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from process_engine.core.failures import TRANSIENT

# 1 h: an agent that asks for a longer pause is asked again after it; processes that must wait longer say so.
MAX_RETRY_AFTER_SECONDS = 3600.0

# An attempt that dies with its process ten times in one visit is more likely the cause than the victim.
MAX_INTERRUPTIONS = 10


@dataclass(frozen=True, slots=True)
class Retry:
    """A retry policy with all defaults filled in. Delays are in seconds.

    The wait before attempt n is `initial_delay * multiplier ** (n - 2)` (exponential), `initial_delay * (n
    - 1)` (linear) or `initial_delay` (fixed), times a jitter in [0.5, 1.5), at most `max_delay`.
    """

    max_attempts: int = 1
    initial_delay: float = 1.0
    backoff: Literal["exponential", "linear", "fixed"] = "exponential"
    multiplier: float = 2.0
    max_delay: float = 300.0
    jitter: bool = True
    retry_on: frozenset[str] = frozenset()
    do_not_retry_on: frozenset[str] = frozenset()

    def covers(self, code: str, *, transient: bool) -> bool:
        """Whether a failure of this kind is worth another attempt."""
        if code in self.do_not_retry_on:
            return False
        return transient or code in TRANSIENT or code in self.retry_on


def delay_seconds(retry: Retry, attempt: int, *, salt: str, retry_after: float | None = None) -> float:
    """The wait before `attempt` (2 or more); `salt` names the execution, step and visit.

    The jitter is fixed by salt and attempt: a replay waits equally long. A longer `retry_after` of the
    agent wins, up to an hour.
    """
    base = _base_delay(retry, attempt)
    if retry.jitter:
        base *= _jitter(f"{salt}/{attempt}")
    wait = min(retry.max_delay, base)
    return max(wait, min(retry_after or 0.0, MAX_RETRY_AFTER_SECONDS))


def _base_delay(retry: Retry, attempt: int) -> float:
    match retry.backoff:
        case "exponential":
            # The exponent is bounded by what a float can hold; max_delay cuts far earlier.
            return retry.initial_delay * retry.multiplier ** min(attempt - 2, 200)
        case "linear":
            return retry.initial_delay * (attempt - 1)
        case "fixed":
            return retry.initial_delay


def _jitter(seed: str) -> float:
    digest = hashlib.sha256(seed.encode()).digest()
    return 0.5 + int.from_bytes(digest[:7], "big") / 2**56
