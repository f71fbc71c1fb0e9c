"""`resume` and `retry`: going on with executions that are in the store already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Unpack, cast

import click

from process_engine.cli import documents
from process_engine.cli.agent_files import read_agents
from process_engine.cli.board import Board
from process_engine.cli.displays import MOST_TABLES
from process_engine.cli.driving import (
    Driving,
    Options,
    display_of,
    drive,
    driving_by,
    engine_on,
    exit_code,
    finish,
    interruption_of,
    say_how_to_go_on,
    tell,
)
from process_engine.cli.going_on import Order, go_on_with, resumption, retrial
from process_engine.cli.inputs import checked_input, gather_input
from process_engine.cli.interruption import Stopped
from process_engine.cli.printing import print_document
from process_engine.cli.store import is_begun
from process_engine.cli.text import printable
from process_engine.cli.tools import Tools
from process_engine.core.events import Event
from process_engine.definition.problems import did_you_mean
from process_engine.errors import NotFound, ProcessEngineError
from process_engine.ids import ExecutionId
from process_engine.repositories.connection import nothing_there
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.engine import Engine
from process_engine.runtime.feed import InMemoryEventBus
from process_engine.runtime.view import ProcessExecution


def resume(tools: Tools, *, execution: str | None, **options: Unpack[Options]) -> int:
    """Go on with every execution that is open in the store, or with one, paused or held ones too."""
    driving = _driving(tools, options)
    work = _resume_all(driving) if execution is None else go_on_with(driving, execution, resumption)
    return finish(work, driving)


def retry(
    tools: Tools,
    *,
    execution: str,
    from_step: str | None,
    fields: Sequence[str],
    document: str | None,
    **options: Unpack[Options],
) -> int:
    """Take a failed execution back, with another input if one is given."""

    def order(found: ProcessExecution) -> Order:
        if from_step is not None and from_step not in found.step_executions:
            raise NotFound(
                f"process {found.process_name} has no step {from_step}.",
                remedy=did_you_mean(from_step, found.step_executions, kind="steps"),
            )
        return retrial(found, from_step, _changed_input(found, document, fields))

    driving = _driving(tools, options)
    return finish(go_on_with(driving, execution, order), driving)


def _driving(tools: Tools, options: Options) -> Driving:
    if not is_begun(options["db"]):
        raise nothing_there(options["db"])
    agents_file, settings = read_agents(options["agents"], None)
    return driving_by(tools, agents_file, settings, options)


def _changed_input(
    found: ProcessExecution, document: str | None, fields: Sequence[str]
) -> dict[str, object] | None:
    """The input to go on with, checked; None where it stays as it is."""
    if document is None and not fields:
        return None
    present = cast("Mapping[str, object]", found.input)
    return checked_input(found.definition, gather_input(found.definition, document, fields, present))


# ---------------------------------------------------------------- everything open


async def _resume_all(driving: Driving) -> int:
    seen: list[Event] = []
    bus = InMemoryEventBus()
    bus.subscribe(seen.append)
    repository = SqliteRepository(driving.db)
    shown = ExitStack()
    # Before the engine is there: as soon as it is, agents are asked.
    with interruption_of(driving, shown.close) as interruption:
        async with engine_on(driving, bus, repository=repository, recover=True) as engine:
            ids = await _taken_over(repository, seen)
            display = display_of(driving, await _boards(driving, engine, ids))
            shown.callback(display.close)
            bus.subscribe(display.note)
            with display:
                for event in seen.copy():
                    display.note(event)
                ended, stopped = await drive(driving, engine, interruption, ids)
            left_alone = engine.left_alone
    return _tell_all(driving, ended, left_alone, stopped)


async def _taken_over(repository: SqliteRepository, seen: Sequence[Event]) -> list[ExecutionId]:
    """Every execution that was open when the store was taken over; some may have ended since."""
    still_open = [execution_id for execution_id, _ in await repository.open_executions()]
    return list(dict.fromkeys([*(event.execution_id for event in seen), *still_open]))


async def _boards(driving: Driving, engine: Engine, ids: Sequence[ExecutionId]) -> list[Board]:
    """Boards of the executions, none where so many are told in lines."""
    if driving.as_json or len(ids) > MOST_TABLES:
        return []
    return [Board.of_execution(await engine.get(execution_id)) for execution_id in ids]


def _tell_all(
    driving: Driving,
    ended: Sequence[ProcessExecution],
    left_alone: Mapping[ExecutionId, ProcessEngineError],
    stopped: Stopped | None,
) -> int:
    if driving.as_json:
        print_document([documents.execution_document(execution) for execution in ended])
    else:
        for execution in ended:
            tell(driving, execution)
        if not ended:
            driving.screen.say(f"Nothing is open in {driving.db}.")
    for execution_id, reason in left_alone.items():
        click.echo(printable(f"Left alone: {execution_id}: {reason}"), err=True)
    say_how_to_go_on(driving, [one for one in ended if one.id not in left_alone])
    return exit_code(driving, ended, stopped)
