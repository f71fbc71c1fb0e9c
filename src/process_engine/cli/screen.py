"""The terminal, or whatever stands in its place."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import MappingProxyType

from rich.console import Console
from rich.table import Table
from rich.text import Text

from process_engine.cli.text import is_printable, printable
from process_engine.core.state import ExecutionStatus, StepStatus

# A pipe has no width: lines are for programs there, and must not be broken.
PIPE_WIDTH = 400

STYLES: Mapping[str, str] = MappingProxyType(
    {
        StepStatus.PENDING: "dim",
        StepStatus.READY: "cyan",
        StepStatus.RUNNING: "bold cyan",
        StepStatus.WAITING: "yellow",
        StepStatus.WAITING_APPROVAL: "yellow",
        StepStatus.COMPLETED: "green",
        StepStatus.FAILED: "bold red",
        StepStatus.SKIPPED: "dim",
        StepStatus.CANCELLED: "magenta",
        ExecutionStatus.PAUSED: "yellow",
        ExecutionStatus.COMPENSATING: "yellow",
    }
)
_MARKS: Mapping[str, str] = MappingProxyType(
    {
        StepStatus.PENDING: "·",
        StepStatus.READY: "○",
        StepStatus.RUNNING: "●",
        StepStatus.WAITING: "◷",
        StepStatus.WAITING_APPROVAL: "◷",
        StepStatus.COMPLETED: "✓",
        StepStatus.FAILED: "✗",
        StepStatus.SKIPPED: "↷",
        StepStatus.CANCELLED: "■",
        ExecutionStatus.PAUSED: "‖",
        ExecutionStatus.COMPENSATING: "↶",
    }
)


class _Console(Console):
    """A console that reports a reader who went away, and lets others decide what that means."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Screen:
    """Prints to stdout; with colours and moving parts only where that is a terminal that wants them."""

    def __init__(self, *, no_color: bool = False) -> None:
        piped = not sys.stdout.isatty()
        self.console = _Console(
            no_color=True if no_color else None,
            color_system=None if no_color or piped else "auto",
            width=PIPE_WIDTH if piped else None,
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=False,
        )
        self.is_terminal = not piped
        self.live = not piped and not self.console.is_dumb_terminal
        self._marks = self.console.encoding.lower().startswith("utf")

    def say(self, text: str | Text = "", style: str | None = None) -> None:
        """One line, or several; long ones are wrapped by the terminal, not by us."""
        if isinstance(text, str):
            line: str | Text = printable(text)
        else:
            # What wants to steer the terminal loses its colours and is shown spelled out.
            line = text if is_printable(text.plain) else Text(printable(text.plain))
        self.console.print(line, style=style, soft_wrap=True, highlight=False)

    def say_fitting(self, text: str | Text) -> None:
        """One line; on a terminal it is cut to the width of that."""
        line = Text(printable(text)) if isinstance(text, str) else text.copy()
        if self.is_terminal:
            line.truncate(self.console.width, overflow="ellipsis")
        self.say(line)

    def status(self, status: str) -> Text:
        """A status with its mark and its colour."""
        mark = f"{_MARKS[status]} " if self._marks and self.live else ""
        return Text(f"{mark}{status.replace('_', ' ')}", style=STYLES[status])

    def print(self, renderable: Table | Text) -> None:
        self.console.print(renderable)


def table(*columns: str) -> Table:
    """A table without lines; columns whose name begins with `>` stand to the right."""
    made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        right = column.startswith(">")
        made.add_column(column.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    return made


def default_db_is(db: os.PathLike[str]) -> bool:
    """Whether a command without `--db` would use this store."""
    return os.fspath(db) == os.environ.get("PROCESS_ENGINE_DB", "process-engine.db")
