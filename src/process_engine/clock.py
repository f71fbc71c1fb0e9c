"""The one file that knows the time."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime

# A long sleep is cut into pieces: the machine may have been suspended, or its clock set, meanwhile.
LONGEST_SLEEP_SECONDS = 30.0

_NOTHING: AbstractContextManager[None] = nullcontext()


class SystemClock:
    """The machine's clock, in UTC."""

    def now(self) -> datetime:
        """The time, aware, with microseconds."""
        return datetime.now(UTC)

    async def sleep_until(self, due: datetime) -> None:
        """Return once `now() >= due`."""
        while (left := (due - self.now()).total_seconds()) > 0:  # noqa: ASYNC110 - waits for time itself
            await asyncio.sleep(min(left, LONGEST_SLEEP_SECONDS))

    def outstanding(self) -> AbstractContextManager[None]:
        """Nothing to do: real time passes by itself."""
        return _NOTHING

    def idle(self) -> AbstractContextManager[None]:
        """Nothing to do: real time passes by itself."""
        return _NOTHING
