"""`publish-event`: something has happened outside, for every execution that waits for it now or later."""

from __future__ import annotations

import asyncio
from pathlib import Path

from process_engine.cli import outcomes
from process_engine.cli.asking import Request, user
from process_engine.cli.holder import holder_of
from process_engine.cli.inputs import read_json
from process_engine.cli.obeying import own_engine
from process_engine.cli.printing import print_document
from process_engine.cli.screen import Screen
from process_engine.cli.store import reading, resolve
from process_engine.cli.summary import command_line
from process_engine.cli.text import printable
from process_engine.cli.tools import Tools
from process_engine.core.commands import PublishEvent
from process_engine.errors import CommandRejected, StoreLocked
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.mailbox import publication


def publish_event(
    tools: Tools,
    *,
    name: str,
    data: str | None,
    execution: str | None,
    event_id: str | None,
    db: Path,
    as_json: bool,
    no_color: bool,
) -> int:
    """Publish an event; by the process that runs executions if there is one, else here."""
    payload = _payload(data)
    command, repeated = asyncio.run(_published(tools, db, name, payload, execution, event_id))
    event = command.event
    if as_json:
        told = {"id": event.id, "name": event.name, "execution_id": event.execution_id, "repeated": repeated}
        print_document(told)
        return outcomes.COMPLETED
    screen = Screen(no_color=no_color)
    whom = f" for execution {event.execution_id}" if event.execution_id is not None else ""
    if repeated:
        screen.say(f"An event {printable(event.id)} was published before: nothing was changed.")
    else:
        screen.say(f"Published {printable(event.name)}{whom} as {printable(event.id)}.")
    if holder_of(db) is None:
        screen.say(f"Nobody runs executions here. Go on with: {command_line('resume', db=db)}")
    return outcomes.COMPLETED


def _payload(data: str | None) -> object:
    if data is None:
        return None
    faults: list[tuple[str, str]] = []
    payload = read_json(data, "data", faults)
    if faults:
        told = "; ".join(f"{place} {fault}" for place, fault in faults)
        raise CommandRejected(f"{told}. Nothing was published.", remedy="Give it as JSON, or @FILE.")
    return payload


async def _published(
    tools: Tools, db: Path, name: str, payload: object, execution: str | None, event_id: str | None
) -> tuple[PublishEvent, bool]:
    """What was published, and whether that was no change.

    Raises:
        ProcessEngineError: it was refused, or nobody answered.
    """
    async with reading(db) as reader:
        only = await resolve(reader, execution) if execution is not None else None
        command = publication(name, payload, execution_id=only, id=event_id, by=user())
        event = command.event
        while True:
            try:
                async with own_engine(tools, db) as own:
                    posted = await own.engine.publish_event(
                        name, payload, execution_id=event.execution_id, id=event.id, by=event.by
                    )
                    return command, posted.repeated
            except StoreLocked:
                # Whoever has the store may leave before it gets there: again under the same id is right.
                if (repeated := await _left(reader, db, command)) is not None:
                    return command, repeated


async def _left(reader: SqliteRepository, db: Path, command: PublishEvent) -> bool | None:
    answer = await (await Request.leave(reader, command)).answer(db)
    return None if answer is None else answer.repeated
