"""The process behind `run --detach`, from its first moment; what it does is loaded once it can be stopped."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

from process_engine.cli.lazily import load
from process_engine.cli.signals import command_begins, ended_quietly

if TYPE_CHECKING:
    from collections.abc import Callable

    Work = Callable[[int], int]


def main() -> None:
    """Carry out the job on stdin, and end with its exit code; the first argument is the pipe for news."""
    sys.exit(ended_quietly(_work))


def _work() -> int:
    work = cast("Work", load("process_engine.cli.background:work_in_background"))
    command_begins()
    return work(int(sys.argv[1]))


if __name__ == "__main__":
    main()
