"""Exit codes: what a script learns from the end of a command."""

from __future__ import annotations

from collections.abc import Iterable

from process_engine.errors import InternalError, OwnershipLost, ProcessEngineError, StorageUnavailable

COMPLETED = 0
FAILED = 1
REFUSED = 2
CANCELLED = 3
WAITING = 4
# As `diff` and the like have it: it was looked at, and something was found.
DIFFERENT = 1

_BY_STATUS = {"completed": COMPLETED, "failed": FAILED, "cancelled": CANCELLED}
# Of several executions the one tells that asks most for attention.
_GRAVEST_FIRST = (FAILED, CANCELLED, WAITING, COMPLETED)


def of_status(status: str) -> int:
    """The exit code of a run that left an execution so."""
    return _BY_STATUS.get(status, WAITING)


def of_all(statuses: Iterable[str]) -> int:
    """The exit code of a run that left several executions so; completed if there were none."""
    codes = {of_status(status) for status in statuses}
    return next((code for code in _GRAVEST_FIRST if code in codes), COMPLETED)


def of_error(error: ProcessEngineError) -> int:
    """Refused where nothing was changed, failed where the engine could not go on."""
    return FAILED if isinstance(error, (InternalError, OwnershipLost, StorageUnavailable)) else REFUSED
