"""Calls that wait on a disk, off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from process_engine.runtime.ports import Clock

Answer = TypeVar("Answer")


class Worker:
    """One thread, begun when it is first needed. Calls run one after the other."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._clock = clock
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, call: Callable[[], Answer]) -> Answer:
        """Run `call` in the thread; meanwhile a virtual clock stands still."""
        return await self.end(self.begin(call))

    def begin(self, call: Callable[[], Answer]) -> Future[Answer]:
        """Run `call` in the thread, while nobody waits for it yet."""
        return self._pool.submit(call)

    async def end(self, call: Future[Answer]) -> Answer:
        """Wait for a call that was begun.

        A call cannot be taken back. So on cancellation this waits for its end and is cancelled then: nobody
        finds the connection in the hands of a thread that was given up.
        """
        with self._clock.outstanding():
            return await _end_of(call)

    def close(self) -> None:
        """Wait for what is under way and end the thread."""
        self._pool.shutdown(wait=True)


async def _end_of(call: Future[Answer]) -> Answer:
    waiter = asyncio.wrap_future(call)
    cancelled: asyncio.CancelledError | None = None
    while not waiter.done():
        try:
            await asyncio.wait((waiter,))
        except asyncio.CancelledError as request:
            cancelled = request
    if cancelled is not None:
        waiter.exception()  # looked at, so that asyncio does not report it as forgotten
        raise cancelled
    return waiter.result()
