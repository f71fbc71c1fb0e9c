"""`run` and `resume`: executions driven until they have ended, wait, or somebody stops us."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from process_engine.agents.gateway import ConfiguredAgents
from process_engine.cli import documents, outcomes
from process_engine.cli.board import Board
from process_engine.cli.displays import MOST_TABLES, Display, Lines, LiveTables, Silence, fits
from process_engine.cli.inputs import gather_input
from process_engine.cli.interruption import Interruption, Stopped
from process_engine.cli.reporting import Reporter
from process_engine.cli.screen import Screen
from process_engine.cli.summary import headline, resume_line, tell_end
from process_engine.cli.text import printable
from process_engine.cli.tools import Tools
from process_engine.cli.validating import connect, read_agents, read_process
from process_engine.clock import SystemClock
from process_engine.core.events import Event
from process_engine.core.state import ExecutionStatus
from process_engine.definition.document import ProcessDefinition
from process_engine.definition.input_schema import accept_input
from process_engine.errors import ProcessEngineError
from process_engine.ids import ExecutionId, new_execution_id
from process_engine.repositories.connection import require_there
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.engine import Engine
from process_engine.runtime.feed import InMemoryEventBus, Listener
from process_engine.runtime.view import ProcessExecution


@dataclass(frozen=True)
class Driving:
    """How executions are driven: where they are, by which agents, and what is seen of it."""

    tools: Tools
    db: Path
    agents_file: Path | None
    agents: ConfiguredAgents
    no_wait: bool
    grace: float
    as_json: bool
    screen: Screen

    @property
    def resume_line(self) -> str:
        return resume_line(self.db, self.agents_file)


def run(
    tools: Tools,
    *,
    file: Path,
    fields: Sequence[str],
    document: str | None,
    agents: Path | None,
    db: Path,
    no_wait: bool,
    grace: float,
    as_json: bool,
    no_color: bool,
) -> int:
    """Check a process and its input, then run it; nothing is written where one of them is refused."""
    agents_file, settings = read_agents(agents, file)
    definition, warnings = read_process(file, settings.keys())
    given = gather_input(definition, document, fields)
    accept_input(definition, given)
    if not as_json:
        Reporter(as_json=False, no_color=no_color).problems(warnings)
    driving = Driving(
        tools, db, agents_file, connect(settings), no_wait, grace, as_json, Screen(no_color=no_color)
    )
    return asyncio.run(_run(driving, definition, given))


def resume(
    tools: Tools,
    *,
    agents: Path | None,
    db: Path,
    no_wait: bool,
    grace: float,
    as_json: bool,
    no_color: bool,
) -> int:
    """Go on with every execution that is open in the store."""
    require_there(db)
    agents_file, settings = read_agents(agents, None)
    driving = Driving(
        tools, db, agents_file, connect(settings), no_wait, grace, as_json, Screen(no_color=no_color)
    )
    return asyncio.run(_resume(driving))


# ---------------------------------------------------------------- run


async def _run(driving: Driving, definition: ProcessDefinition, given: dict[str, object]) -> int:
    execution_id = new_execution_id()
    bus = InMemoryEventBus()
    async with _engine(driving, SqliteRepository(driving.db), bus, recover=False) as engine:
        display = _display(driving, [Board.of_definition(execution_id, definition)])
        bus.subscribe(_only(execution_id, display))
        with _interruption(driving, display) as interruption, display:
            await engine.start(definition, given, execution_id=execution_id)
            ended, stopped = await _drive(driving, engine, interruption, [execution_id])
    return _tell_run(driving, ended[0], stopped)


def _only(execution_id: ExecutionId, display: Display) -> Listener:
    # A command from another terminal may change other executions of the store; they are not shown here.
    def listen(event: Event) -> None:
        if event.execution_id == execution_id:
            display.note(event)

    return listen


def _tell_run(driving: Driving, execution: ProcessExecution, stopped: Stopped | None) -> int:
    if driving.as_json:
        documents.print_document(documents.execution_document(execution))
    else:
        _tell(driving, execution)
    _say_how_to_go_on(driving, [execution])
    return stopped.exit_code if stopped is not None else outcomes.of_status(execution.status)


# ---------------------------------------------------------------- resume


async def _resume(driving: Driving) -> int:
    seen: list[Event] = []
    bus = InMemoryEventBus()
    bus.subscribe(seen.append)
    repository = SqliteRepository(driving.db)
    async with _engine(driving, repository, bus, recover=True) as engine:
        ids = await _taken_over(repository, seen)
        display = _display(driving, await _boards(driving, engine, ids))
        bus.subscribe(display.note)
        with _interruption(driving, display) as interruption, display:
            for event in seen.copy():
                display.note(event)
            ended, stopped = await _drive(driving, engine, interruption, ids)
        left_alone = engine.left_alone
    return _tell_resume(driving, ended, left_alone, stopped)


async def _taken_over(repository: SqliteRepository, seen: Sequence[Event]) -> list[ExecutionId]:
    """Every execution that was open when the store was taken over; some may have ended since."""
    still_open = [execution_id for execution_id, _ in await repository.open_executions()]
    return list(dict.fromkeys([*(event.execution_id for event in seen), *still_open]))


async def _boards(driving: Driving, engine: Engine, ids: Sequence[ExecutionId]) -> list[Board]:
    """Boards of the executions, none where so many are told in lines."""
    if driving.as_json or len(ids) > MOST_TABLES:
        return []
    return [Board.of_execution(await engine.get(execution_id)) for execution_id in ids]


def _tell_resume(
    driving: Driving,
    ended: Sequence[ProcessExecution],
    left_alone: Mapping[ExecutionId, ProcessEngineError],
    stopped: Stopped | None,
) -> int:
    if driving.as_json:
        documents.print_document([documents.execution_document(execution) for execution in ended])
    else:
        for execution in ended:
            _tell(driving, execution)
        if not ended:
            driving.screen.say(f"Nothing is open in {driving.db}.")
    for execution_id, reason in left_alone.items():
        click.echo(printable(f"Left alone: {execution_id}: {reason}"), err=True)
    _say_how_to_go_on(driving, [one for one in ended if one.id not in left_alone])
    return stopped.exit_code if stopped is not None else outcomes.of_all(one.status for one in ended)


# ---------------------------------------------------------------- both


@asynccontextmanager
async def _engine(
    driving: Driving, repository: SqliteRepository, bus: InMemoryEventBus, *, recover: bool
) -> AsyncGenerator[Engine]:
    """An engine on the store; the agents are given up when it has left."""
    # What the engine would log is told here, in sentences.
    log = logging.getLogger("process_engine")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        async with driving.tools.make_engine(
            repository, driving.agents, event_bus=bus, recover=recover
        ) as engine:
            yield engine
    finally:
        log.setLevel(level)
        await driving.agents.aclose()


def _display(driving: Driving, boards: Sequence[Board]) -> Display:
    if driving.as_json:
        return Silence()
    if boards and fits(boards, driving.screen):
        return LiveTables(driving.screen, boards, SystemClock())
    return Lines(driving.screen, several=len(boards) != 1)


def _interruption(driving: Driving, display: Display) -> Interruption:
    def on_first() -> None:
        _remark(driving, f"Stopping: what runs may finish for {driving.grace:g} s. Once more stops at once.")

    def last_words() -> None:
        display.close()
        _remark(driving, f"Stopped. Go on with: {driving.resume_line}")

    return Interruption(on_first=on_first, last_words=last_words)


async def _drive(
    driving: Driving, engine: Engine, interruption: Interruption, ids: Sequence[ExecutionId]
) -> tuple[list[ProcessExecution], Stopped | None]:
    """Wait until all have ended or nothing is due; where somebody stops us, let running attempts finish."""
    try:
        return await interruption.guard(_settled(engine, ids, wait_for_timers=not driving.no_wait)), None
    except Stopped as stopped:
        unfinished = await engine.drain(driving.grace)
        if unfinished:
            _remark(driving, f"{unfinished} running step(s) did not finish in time and will be repeated.")
        return [await engine.get(execution_id) for execution_id in ids], stopped


async def _settled(
    engine: Engine, ids: Sequence[ExecutionId], *, wait_for_timers: bool
) -> list[ProcessExecution]:
    waits = (engine.run_until_settled(one, wait_for_timers=wait_for_timers) for one in ids)
    return await asyncio.gather(*waits)


def _tell(driving: Driving, execution: ProcessExecution) -> None:
    now = SystemClock().now()
    driving.screen.say()
    driving.screen.say(headline(execution, driving.screen, now))
    tell_end(execution, driving.screen, now)


def _say_how_to_go_on(driving: Driving, executions: Sequence[ProcessExecution]) -> None:
    unfinished = [execution for execution in executions if not execution.status.is_final]
    if not unfinished:
        return
    paused = all(execution.status is ExecutionStatus.PAUSED for execution in unfinished)
    what = "It stays paused." if paused else "It is not finished, and nothing is lost."
    _remark(driving, f"{what} Go on with: {driving.resume_line}")


def _remark(driving: Driving, text: str) -> None:
    """Something to know beside the result; a document on stdout stays alone there."""
    if driving.as_json:
        click.echo(text, err=True)
    else:
        driving.screen.say(text)
