"""What is seen while executions run: a table that moves, lines, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Protocol, Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from process_engine.cli.board import Board, Row
from process_engine.cli.screen import STYLES, Screen, table
from process_engine.cli.story import line
from process_engine.cli.text import shortened, span
from process_engine.core.events import Event
from process_engine.core.state import StepStatus
from process_engine.ids import ExecutionId
from process_engine.runtime.ports import Clock

# Pictures per second: tenths of seconds can be followed, and a picture costs about 2 ms.
REFRESH_SECONDS = 0.1
# Beyond this the table does not fit onto a terminal, and lines tell more.
MOST_ROWS = 60
# What all columns but the first and the last take, and the least that a remark needs to say something.
COLUMNS = 46
LEAST_REMARK = 20
# More executions than this at a time are told in lines.
MOST_TABLES = 3

_MOVING = frozenset({StepStatus.RUNNING, StepStatus.WAITING})


class Display(Protocol):
    """Shows executions between entering and leaving; may be left twice, from a signal handler too."""

    def note(self, event: Event) -> None:
        """Show what was committed."""
        ...

    def close(self) -> None:
        """Leave the terminal as it should be."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class _Display:
    """What displays have in common: nothing to begin, and an end."""

    def note(self, event: Event) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Nothing to leave behind."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Silence(_Display):
    """Shows nothing: somebody waits for a document."""


class Lines(_Display):
    """One line for each public event. `several` says that lines of several executions mix."""

    def __init__(self, screen: Screen, *, several: bool = False) -> None:
        self._screen = screen
        self._several = several
        self._readers = True

    def note(self, event: Event) -> None:
        if not event.public or not self._readers:
            return
        try:
            told = f"{event.execution_id}  {line(event)}" if self._several else line(event)
            self._screen.say_fitting(told)
        except OSError:
            # Whoever read went away. The execution goes on; the exit tells.
            self._readers = False


class LiveTables(_Display):
    """A table of steps for each execution, moving until all is over."""

    def __init__(self, screen: Screen, boards: Sequence[Board], clock: Clock) -> None:
        self._screen = screen
        self._boards: Mapping[ExecutionId, Board] = {board.execution_id: board for board in boards}
        self._clock = clock
        self._live = Live(console=screen.console, auto_refresh=False, get_renderable=self._picture)
        self._next: asyncio.TimerHandle | None = None

    def note(self, event: Event) -> None:
        board = self._boards.get(event.execution_id)
        if board is not None:
            board.note(event)

    def __enter__(self) -> Self:
        self._live.start()
        self._tick()
        return self

    def close(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
            self._live.refresh()
        self._live.stop()

    def _tick(self) -> None:
        self._live.refresh()
        self._next = asyncio.get_running_loop().call_later(REFRESH_SECONDS, self._tick)

    def _picture(self) -> RenderableType:
        now = self._clock.now()
        return Group(*(picture(board, self._screen, now) for board in self._boards.values()))


def picture(board: Board, screen: Screen, now: datetime) -> RenderableType:
    """A board as it looks at a moment."""
    head = Text.assemble(
        (f"{board.process} {board.version}", "bold"),
        "  ",
        (str(board.execution_id), "dim"),
        "  ",
        screen.status(board.status),
        "  ",
        _time(board.started_at, board.ended_at, now),
    )
    return Group(head, steps_table(board, screen, now))


def steps_table(board: Board, screen: Screen, now: datetime) -> Table:
    """The steps of a board: status, attempts, time, and what is worth knowing."""
    made = table("step", "status", ">attempts", ">time", "")
    longest = max(len(row.id) for row in board.rows.values())
    room = max(LEAST_REMARK, screen.console.width - longest - COLUMNS)
    for row in board.rows.values():
        made.add_row(
            Text(_name(row), style=STYLES[row.status] if row.status in _MOVING else ""),
            screen.status(row.status),
            str(row.attempt) if row.attempt else "",
            _time(row.started_at, row.ended_at, now) if row.attempt or row.started_at else "",
            Text(shortened(_remark(row, now), room), "red" if row.status is StepStatus.FAILED else "dim"),
        )
    return made


def _name(row: Row) -> str:
    return row.id if row.visit == 1 else f"{row.id} (visit {row.visit})"


def _remark(row: Row, now: datetime) -> str:
    if row.due is None:
        return row.note
    left = f"{span(row.due - now)} left" if row.due > now else "due"
    return f"{left}; {row.note}" if row.note else left


def _time(begin: datetime | None, end: datetime | None, now: datetime) -> str:
    if begin is None:
        return ""
    return span((end or now) - begin if (end or now) > begin else timedelta())


def fits(boards: Sequence[Board], screen: Screen) -> bool:
    """Whether tables of these boards can be shown moving."""
    lines = sum(len(board.rows) + 2 for board in boards)
    return screen.live and len(boards) <= MOST_TABLES and lines < min(MOST_ROWS, screen.console.height)
