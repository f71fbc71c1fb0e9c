"""Executions driven until they end, wait, or somebody stops us: what `run`, `resume` and `retry` share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypedDict

import click

from process_engine.agents import connect
from process_engine.agents.gateway import ConfiguredAgents
from process_engine.channels import connect as connect_channels
from process_engine.cli import documents, outcomes
from process_engine.cli.agent_files import Settings, channel_settings
from process_engine.cli.board import Board
from process_engine.cli.displays import Display, Lines, LiveTables, Silence, fits
from process_engine.cli.following import has_settled
from process_engine.cli.interruption import Interruption, Stopped
from process_engine.cli.printing import print_document
from process_engine.cli.screen import Screen
from process_engine.cli.store import is_begun
from process_engine.cli.summary import command_line, decision_lines, event_lines, headline, tell_end
from process_engine.cli.tools import Tools
from process_engine.clock import SystemClock
from process_engine.core.blockers import BlockerKind
from process_engine.core.events import Event
from process_engine.core.state import ExecutionStatus
from process_engine.ids import ExecutionId
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.engine import Engine
from process_engine.runtime.feed import InMemoryEventBus, Listener
from process_engine.runtime.ports import Channels
from process_engine.runtime.view import APPROVAL, ProcessExecution

# A wake-up comes within milliseconds of its time; this allows for a machine under load.
CATCHING_UP = timedelta(seconds=2)
CATCH_UP_PAUSE = timedelta(milliseconds=10)
# What falls due without a timer that anybody sees.
_OVERDUE = (BlockerKind.APPROVAL, BlockerKind.EVENT)
_HELD = (ExecutionStatus.PAUSED, ExecutionStatus.PENDING)


class Options(TypedDict):
    """What every command that drives executions is given."""

    agents: Path | None
    db: Path
    no_wait: bool
    grace: float
    as_json: bool
    no_color: bool


@dataclass(frozen=True)
class Driving:
    """How executions are driven: where they are, by which agents, and what is seen of it."""

    tools: Tools
    db: Path
    agents_file: Path | None
    agents: ConfiguredAgents
    channels: Channels
    no_wait: bool
    grace: float
    as_json: bool
    screen: Screen

    def go_on_line(self, *words: str) -> str:
        """The command that goes on with what is open, or with the execution named."""
        return command_line("resume", *words, db=self.db, agents=self.agents_file)


def driving_by(tools: Tools, agents_file: Path | None, settings: Settings, options: Options) -> Driving:
    """How executions are driven with these options; no agent is reached for yet."""
    return Driving(
        tools,
        options["db"],
        agents_file,
        connect(settings),
        connect_channels(channel_settings(agents_file)),
        options["no_wait"],
        options["grace"],
        options["as_json"],
        Screen(no_color=options["no_color"]),
    )


def finish(work: Awaitable[int], driving: Driving) -> int:
    """Carry out the work of a command, from its first moment to the end of its agents.

    A signal while the store is being opened may come too late to keep an execution from being begun.
    """

    async def carry_out() -> int:
        try:
            return await work
        finally:
            await driving.agents.aclose()

    with _quiet():
        try:
            return asyncio.run(carry_out())
        except KeyboardInterrupt:
            if driving.db.exists():
                remark(driving, f"Stopped. What was begun goes on with: {driving.go_on_line()}")
            raise


@contextmanager
def _quiet() -> Generator[None]:
    # What the engine would log is told here, in sentences.
    log = logging.getLogger("process_engine")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


@asynccontextmanager
async def engine_on(
    driving: Driving,
    bus: InMemoryEventBus,
    *,
    repository: SqliteRepository | None = None,
    recover: bool = False,
) -> AsyncGenerator[Engine]:
    """An engine on the store, which takes up what other terminals ask for.

    Raises:
        StoreLocked: another process runs executions on it.
        StorageIncompatible: the file is no store that can be used; nothing was put beside it.
    """
    is_begun(driving.db)
    store = repository or SqliteRepository(driving.db)
    async with driving.tools.make_engine(
        store, driving.agents, channels=driving.channels, event_bus=bus, recover=recover
    ) as engine:
        yield engine


async def drive_one(
    driving: Driving,
    engine: Engine,
    bus: InMemoryEventBus,
    board: Board,
    begin: Callable[[], Awaitable[object]],
) -> tuple[ProcessExecution, Stopped | None]:
    """Show one execution from before `begin` until it has ended or waits, or somebody stops us."""
    display = display_of(driving, [board])
    bus.subscribe(only(board.execution_id, display))
    with interruption_of(driving, display.close) as interruption:
        # Nothing moves on the screen yet: it may be refused.
        await begin()
        with display:
            ended, stopped = await drive(driving, engine, interruption, [board.execution_id])
    return ended[0], stopped


async def drive(
    driving: Driving, engine: Engine, interruption: Interruption, ids: Sequence[ExecutionId]
) -> tuple[list[ProcessExecution], Stopped | None]:
    """Wait until all have ended or nothing is due; where somebody stops us, let running attempts finish."""
    try:
        return await interruption.guard(_settled(engine, ids, wait_for_timers=not driving.no_wait)), None
    except Stopped as stopped:
        unfinished = await engine.drain(driving.grace)
        if unfinished:
            remark(driving, f"{unfinished} running step(s) did not finish in time and will be repeated.")
        return [await engine.get(execution_id) for execution_id in ids], stopped


async def _settled(
    engine: Engine, ids: Sequence[ExecutionId], *, wait_for_timers: bool
) -> list[ProcessExecution]:
    await asyncio.gather(*(_caught_up(engine, one) for one in ids if one not in engine.left_alone))
    waits = (engine.run_until_settled(one, wait_for_timers=wait_for_timers) for one in ids)
    ended = await asyncio.gather(*waits)
    # Whose parent has failed is told to cancel; nobody would do that once we have left.
    await engine.rest()
    return ended


async def _caught_up(engine: Engine, execution_id: ExecutionId) -> None:
    """Wait until nothing is overdue: what fell due while nobody ran it comes about in a moment."""
    clock = SystemClock()
    begun = clock.now()
    while clock.now() < begun + CATCHING_UP:
        waiting = [one for one in await engine.explain(execution_id) if one.kind in _OVERDUE]
        if all(blocker.due is None or blocker.due > begun for blocker in waiting):
            return
        await clock.sleep_until(clock.now() + CATCH_UP_PAUSE)


# ---------------------------------------------------------------- what is seen


def only(execution_id: ExecutionId, display: Display) -> Listener:
    """What is told to a display of one execution: others of the store may change meanwhile."""

    def listen(event: Event) -> None:
        if event.execution_id == execution_id:
            display.note(event)

    return listen


def display_of(driving: Driving, boards: Sequence[Board]) -> Display:
    """What shows these boards: tables that move where they fit, else lines; nothing beside a document."""
    if driving.as_json:
        return Silence()
    if boards and fits(boards, driving.screen):
        return LiveTables(driving.screen, boards, SystemClock())
    return Lines(driving.screen, several=len(boards) != 1)


def interruption_of(driving: Driving, close_display: Callable[[], None]) -> Interruption:
    """Ctrl-C and SIGTERM while we drive."""

    def on_first() -> None:
        remark(driving, f"Stopping: what runs may finish for {driving.grace:g} s. Once more stops at once.")

    def last_words() -> None:
        close_display()
        remark(driving, f"Stopped. Go on with: {driving.go_on_line()}")

    return Interruption(on_first=on_first, last_words=last_words)


def tell(driving: Driving, execution: ProcessExecution) -> None:
    """How an execution stands, for people."""
    now = SystemClock().now()
    driving.screen.say()
    driving.screen.say(headline(execution, driving.screen, now))
    tell_end(execution, driving.screen, now)


def tell_one(driving: Driving, execution: ProcessExecution, stopped: Stopped | None) -> int:
    """How the one execution of a command stands at its end; the exit code."""
    if driving.as_json:
        print_document(documents.execution_document(execution))
    else:
        tell(driving, execution)
    say_how_to_go_on(driving, [execution])
    return exit_code(driving, [execution], stopped)


def exit_code(driving: Driving, executions: Sequence[ProcessExecution], stopped: Stopped | None) -> int:
    """The exit code of a command that leaves these executions so; that of a signal only where it kept one
    from ending."""
    if stopped is not None:
        if not executions or not all(execution.status.is_final for execution in executions):
            return stopped.exit_code
        remark(driving, "It ended although a stop was asked for: what was under way was the last there was.")
    return outcomes.of_all(execution.status for execution in executions)


def say_how_to_go_on(driving: Driving, executions: Sequence[ProcessExecution]) -> None:
    """What to do about executions that have not ended; nothing where all have."""
    unfinished = [execution for execution in executions if not execution.status.is_final]
    for execution in unfinished:
        for line in (*decision_lines(execution, driving.db), *event_lines(execution, driving.db)):
            remark(driving, line)
    # Where nothing but people can make it go on, nothing else is to be done about it.
    left = [one for one in unfinished if one.pause_reason != APPROVAL or not has_settled(one)]
    held = [one for one in left if one.status in _HELD and one.pause_reason != APPROVAL]
    if len(left) > len(held):
        remark(driving, f"It is not finished, and nothing is lost. Go on with: {driving.go_on_line()}")
    elif held:
        which = held[0].id if len(held) == 1 else "ID"
        stays = "stays paused" if held[0].status is ExecutionStatus.PAUSED else "is held"
        remark(driving, f"It {stays}. Go on with: {driving.go_on_line(which)}")


def remark(driving: Driving, text: str) -> None:
    """Something to know beside the result; a document on stdout stays alone there."""
    if driving.as_json:
        click.echo(text, err=True)
    else:
        driving.screen.say(text)
