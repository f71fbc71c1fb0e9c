"""`run`: a process checked, started, and driven until it has ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Unpack

import click

from process_engine.cli.agent_files import channel_names, read_agents
from process_engine.cli.asking import user
from process_engine.cli.board import Board
from process_engine.cli.detaching import Job, detach_job
from process_engine.cli.driving import Driving, Options, drive_one, driving_by, engine_on, finish, tell_one
from process_engine.cli.inputs import checked_input, gather_input
from process_engine.cli.naming import name_in, process_to_run
from process_engine.cli.reporting import Reporter
from process_engine.cli.tools import Tools
from process_engine.cli.validating import read_process
from process_engine.definition.document import ProcessDefinition
from process_engine.errors import NotFound
from process_engine.ids import ExecutionId, new_execution_id
from process_engine.runtime.feed import InMemoryEventBus


def run(
    tools: Tools,
    *,
    file: Path,
    fields: Sequence[str],
    document: str | None,
    called: Sequence[Path],
    detach: bool,
    as_user: str | None,
    **options: Unpack[Options],
) -> int:
    """Check a process and its input, then run it; nothing is written where one of them is refused."""
    if detach and options["no_wait"]:
        raise click.UsageError("--detach and --no-wait exclude each other: --detach returns at once anyway.")
    agents_file, settings = read_agents(options["agents"], None if name_in(file) else file)
    channels = channel_names(agents_file) or ()
    definition, warnings = process_to_run(file, options["db"], settings.keys(), channels)
    others = [read_process(other, settings.keys(), channels)[0] for other in called]
    given = gather_input(definition, document, fields)
    # Everything that can be refused is refused by now: only then a store is begun.
    checked_input(definition, given)
    if not options["as_json"]:
        Reporter(as_json=False, no_color=options["no_color"]).problems(warnings)
    driving = driving_by(tools, agents_file, settings, options)
    execution_id, started_by = new_execution_id(), as_user or user()
    if detach:
        job = Job(
            tools=tools,
            definition=definition.canonical_json().decode(),
            called=tuple(other.canonical_json().decode() for other in others),
            input=given,
            execution_id=execution_id,
            agents_file=None if agents_file is None else str(agents_file),
            db=str(driving.db),
            grace=driving.grace,
            started_by=started_by,
        )
        return detach_job(job, file, definition, as_json=driving.as_json, screen=driving.screen)
    work = start_and_drive(driving, definition, given, execution_id, started_by, called=others)
    return finish(work, driving)


async def start_and_drive(
    driving: Driving,
    definition: ProcessDefinition,
    given: dict[str, object],
    execution_id: ExecutionId,
    started_by: str | None,
    on_recorded: Callable[[], None] = lambda: None,
    *,
    called: Sequence[ProcessDefinition] = (),
) -> int:
    """Start an execution and drive it to its end; `on_recorded` is called as soon as it is durable.

    `called` are processes that it runs as steps, beside those that the store knows.
    """
    bus = InMemoryEventBus()
    async with engine_on(driving, bus) as engine:

        async def begin() -> None:
            for other in called:
                await engine.make_known(other)
            _require_known(await engine.unknown_processes(definition))
            await engine.start(definition, given, execution_id=execution_id, started_by=started_by)
            on_recorded()

        board = Board.of_definition(execution_id, definition)
        execution, stopped = await drive_one(driving, engine, bus, board, begin)
    return tell_one(driving, execution, stopped)


def _require_known(unknown: Sequence[str]) -> None:
    if unknown:
        several = "es" if len(unknown) > 1 else ""
        raise NotFound(
            f"it runs process{several} that the store does not know: {', '.join(unknown)}.",
            remedy="Name the file of each: `process-engine run FILE --with OTHER.yaml`. Nothing was started.",
        )
