"""`list`, `show`, `events` and `output`: looking, without disturbing who runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from pathlib import Path

from rich.table import Table
from rich.text import Text

from process_engine.cli import documents, outcomes
from process_engine.cli.board import Board
from process_engine.cli.displays import steps_table
from process_engine.cli.listing import Listed, listed
from process_engine.cli.printing import print_document
from process_engine.cli.screen import Screen, table
from process_engine.cli.store import all_events, load, reading, resolve
from process_engine.cli.story import as_text, clock_time, detail
from process_engine.cli.summary import command_line, decision_lines, headline, readable, tell_end
from process_engine.cli.text import printable, span
from process_engine.cli.tools import Tools
from process_engine.clock import SystemClock
from process_engine.core.events import Event, StepEvent
from process_engine.core.state import ExecutionStatus, StepStatus
from process_engine.definition.problems import did_you_mean
from process_engine.errors import NotFound
from process_engine.ids import ExecutionId
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.view import ProcessExecution, StepExecution

# How often `events --follow` looks: fast enough to read along, cheap enough to leave open.
FOLLOW_SECONDS = 0.2


# ---------------------------------------------------------------- list


def list_executions(
    tools: Tools,
    *,
    status: str | None,
    process: str | None,
    limit: int,
    db: Path,
    as_json: bool,
    no_color: bool,
) -> int:
    """The newest executions of a store."""
    wanted = ExecutionStatus(status) if status is not None else None
    found = asyncio.run(_list(db, wanted, process, limit))
    screen = Screen(no_color=no_color)
    if as_json:
        print_document([documents.summary_document(summary) for summary, _ in found])
    elif found:
        screen.print(_list_table(found, screen))
        if any(asking for _, asking in found):
            screen.say(f"What is to be decided: {command_line('approvals', db=db)}", "dim")
    else:
        screen.say(f"There are no {'' if status is process is None else 'such '}executions.")
    return outcomes.COMPLETED


def _list_table(found: Sequence[Listed], screen: Screen) -> Table:
    made = table("id", "process", "version", "status", "started", ">time", "")
    now = SystemClock().now()
    for summary, asking in found:
        begun = summary.started_at
        made.add_row(
            Text(summary.id, no_wrap=True),
            Text(summary.process),
            summary.version,
            screen.status(summary.status),
            begun.astimezone().strftime("%Y-%m-%d %H:%M:%S") if begun is not None else "",
            span((summary.completed_at or now) - begun) if begun is not None else "",
            Text(f"decision: {', '.join(asking)}" if asking else "", "dim"),
        )
    return made


async def _list(db: Path, status: ExecutionStatus | None, process: str | None, limit: int) -> list[Listed]:
    async with reading(db) as repository:
        return await listed(repository, status, process, limit)


# ---------------------------------------------------------------- show


def show(tools: Tools, *, execution: str, db: Path, as_json: bool, no_color: bool) -> int:
    """One execution: steps, blockers, failure, outputs."""
    found = asyncio.run(_load(db, execution))
    if as_json:
        print_document(documents.execution_document(found))
        return outcomes.COMPLETED
    screen, now = Screen(no_color=no_color), SystemClock().now()
    screen.say(headline(found, screen, now))
    created = f"{found.created_at.astimezone():%Y-%m-%d %H:%M:%S}"
    screen.say(f"created {created}, input {as_text(found.input)}", "dim")
    if found.parent is not None:
        screen.say(f"called by {found.parent.execution_id}, step {found.parent.step_id}", "dim")
    screen.say()
    screen.print(steps_table(Board.of_execution(found), screen, now))
    screen.say()
    tell_end(found, screen, now)
    for line in decision_lines(found, db):
        screen.say(line)
    screen.say()
    screen.say(f"The whole story: {command_line('events', found.id, db=db)}", "dim")
    return outcomes.COMPLETED


async def _load(db: Path, prefix: str) -> ProcessExecution:
    async with reading(db) as repository:
        return await load(repository, await resolve(repository, prefix))


# ---------------------------------------------------------------- events


def events(
    tools: Tools, *, execution: str, everything: bool, follow: bool, db: Path, as_json: bool, no_color: bool
) -> int:
    """What happened, in order; with `follow`, what happens."""
    screen, gathered = Screen(no_color=no_color), list[Event]()

    def tell(event: Event) -> None:
        if event.public or everything:
            gathered.append(event) if as_json else screen.say_fitting(_event_line(event))

    asyncio.run(_each_event(db, execution, follow, tell))
    if as_json:
        print_document([documents.event_document(event) for event in gathered])
    return outcomes.COMPLETED


def tell_events(screen: Screen, db: Path, execution: str) -> None:
    """The story of an execution so far, a line for each public event."""

    def tell(event: Event) -> None:
        if event.public:
            screen.say_fitting(_event_line(event))

    asyncio.run(_each_event(db, execution, False, tell))


async def _each_event(db: Path, prefix: str, follow: bool, tell: Callable[[Event], None]) -> None:
    async with reading(db) as repository:
        execution_id = await resolve(repository, prefix)
        story = _followed(repository, execution_id) if follow else all_events(repository, execution_id)
        async for event in story:
            tell(event)


async def _followed(repository: SqliteRepository, execution_id: ExecutionId) -> AsyncIterator[Event]:
    """Every event, also those to come, until the execution has ended."""
    clock, after = SystemClock(), 0
    while True:
        # Asked before the events are read: what was recorded before the end is read after it is known.
        snapshot = await repository.load(execution_id)
        async for event in all_events(repository, execution_id, after=after):
            yield event
            after = event.sequence
        if snapshot is None or snapshot.head.status.is_final:
            return
        await clock.sleep_until(clock.now() + timedelta(seconds=FOLLOW_SECONDS))


def _event_line(event: Event) -> Text:
    step = event.step_id if isinstance(event, StepEvent) else ""
    visit = f"#{event.visit}" if isinstance(event, StepEvent) and event.visit > 1 else ""
    moment = f"{clock_time(event.timestamp)}.{event.timestamp.microsecond // 1000:03}"
    line = Text.assemble(
        (f"{event.sequence:>4}  {moment}  ", "dim"),
        (f"{event.type:<19}", _style(event)),
        f"  {step + visit:<16}  {detail(event)}",
    )
    line.rstrip()
    return line


def _style(event: Event) -> str:
    if not event.public:
        return "dim"
    endings = {"Completed": "green", "Failed": "red", "Retrying": "yellow", "Cancelled": "magenta"}
    return next((style for ending, style in endings.items() if event.type.endswith(ending)), "")


# ---------------------------------------------------------------- output


def output(tools: Tools, *, execution: str, step: str | None, db: Path, as_json: bool, no_color: bool) -> int:
    """The outputs, or one step's; text as it is, anything else as JSON."""
    found = asyncio.run(_load(db, execution))
    value = _outputs(found) if step is None else _output(found, step)
    if as_json:
        print_document(value)
    else:
        # On a terminal the value must not steer it; a pipe gets every character as it is.
        screen = Screen(no_color=no_color)
        text = readable(value)
        screen.console.out(printable(text) if screen.is_terminal else text, highlight=False)
    return outcomes.COMPLETED


def _outputs(execution: ProcessExecution) -> object:
    if execution.status is not ExecutionStatus.COMPLETED:
        raise NotFound(
            f"execution {execution.id} has no outputs: it is {execution.status}.",
            remedy="`process-engine show` tells how it stands; name a step to see what that one gave.",
        )
    return execution.outputs


def _output(execution: ProcessExecution, step_id: str) -> object:
    step: StepExecution | None = execution.step_executions.get(step_id)
    if step is None:
        raise NotFound(
            f"process {execution.process_name} has no step {step_id}.",
            remedy=did_you_mean(step_id, execution.step_executions, kind="steps"),
        )
    if step.output is None and step.status is not StepStatus.COMPLETED:
        raise NotFound(
            f"step {step_id} has no output: it is {step.status}.",
            remedy="`process-engine show` tells how it stands.",
        )
    return step.output
