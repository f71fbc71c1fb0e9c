"""Ctrl-C and SIGTERM while executions run: the first asks to stop, the second stops at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Self, TypeVar

from process_engine.cli.signals import SIGNALS

Answer = TypeVar("Answer")


class Stopped(Exception):
    """Somebody asked to stop; `exit_code` is what a shell reports for the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.exit_code = 128 + number


class Interruption:
    """Listens to both signals between entering and leaving; needs a running loop. Whoever listened before
    listens again afterwards.

    `on_first` is called with the first signal; `last_words` right before the second one ends the process, to
    leave the terminal in order. Nothing else is lost then: what counts is in the store.
    """

    def __init__(self, *, on_first: Callable[[], None], last_words: Callable[[], None]) -> None:
        self._on_first = on_first
        self._last_words = last_words
        self._stopped: Stopped | None = None
        self._waiting: asyncio.Task[object] | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._before = {number: signal.getsignal(number) for number in SIGNALS}
        for number in SIGNALS:
            self._loop.add_signal_handler(number, self._arrived, number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Held back for a moment: a signal in between would find nobody, and end the process noisily.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        for number, handler in self._before.items():
            self._loop.remove_signal_handler(number)
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    async def guard(self, work: Coroutine[object, object, Answer]) -> Answer:
        """What `work` returns.

        Raises:
            Stopped: a signal came before it was done; it was cancelled.
        """
        if self._stopped is not None:
            work.close()
            raise self._stopped
        self._waiting = task = asyncio.current_task()
        assert task is not None
        try:
            return await work
        except asyncio.CancelledError:
            if self._stopped is None or task.uncancel():
                raise
            raise self._stopped from None
        finally:
            self._waiting = None

    def _arrived(self, number: int) -> None:
        if self._stopped is not None:
            self._last_words()
            # At once means at once: threads of agents and open connections are not waited for.
            os._exit(128 + number)
        self._stopped = Stopped(number)
        if self._waiting is not None:
            self._on_first()
            self._waiting.cancel()
