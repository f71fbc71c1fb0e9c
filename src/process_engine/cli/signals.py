"""Ctrl-C and SIGTERM, from the first moment of a program to its last: it ends quietly, with 130 or 143.

While a command is being loaded nothing has begun, and a signal ends the program at once. From then on SIGTERM
does whatever Ctrl-C does, so that all that was begun is given up in order; `interruption` takes both over
while executions run. Once the end is told a signal changes nothing any more.
"""

from __future__ import annotations

import atexit
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Arrived:
    """Which signal came."""

    number: int = signal.SIGINT


_arrived = _Arrived()


def ended_quietly(program: Callable[[], int]) -> int:
    """The exit code of a program; of the signal that ended it, where one did."""
    _answer_with(_end_at_once)
    try:
        code = program()
    except KeyboardInterrupt:
        code = exit_code()
    # What is left is to wait for threads that nobody needs: who is in a hurry need not.
    _answer_with(lambda number, frame: os._exit(code))
    # The interpreter takes its handlers back before its very end; what is ignored it leaves alone.
    atexit.register(_answer_with, signal.SIG_IGN)
    return code


def command_begins() -> None:
    """From now on a signal is told to the work that is under way; outside `ended_quietly` nothing happens."""
    if signal.getsignal(signal.SIGTERM) is _end_at_once:
        signal.signal(signal.SIGTERM, _as_ctrl_c)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def exit_code() -> int:
    """What a shell reports for the signal that came."""
    return 128 + _arrived.number


def _answer_with(handler: Callable[[int, FrameType | None], object] | signal.Handlers) -> None:
    for number in SIGNALS:
        signal.signal(number, handler)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    # An exception in the middle of an import may come out of it as another one, or not at all.
    os._exit(128 + number)


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C would do at this moment: a running loop has its own answer to that."""
    _arrived.number = number
    answer = signal.getsignal(signal.SIGINT)
    if callable(answer):
        answer(number, frame)
