"""`pause` and `cancel`: a command to an execution, whoever runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from process_engine.cli import documents, outcomes
from process_engine.cli.asking import user
from process_engine.cli.holder import holder_of
from process_engine.cli.obeying import Order, Own, carried_out
from process_engine.cli.printing import print_document
from process_engine.cli.screen import Screen
from process_engine.cli.store import reading, resolve
from process_engine.cli.summary import command_line, headline
from process_engine.cli.tools import Tools
from process_engine.clock import SystemClock
from process_engine.core.commands import CancelExecution, PauseExecution
from process_engine.core.state import ExecutionStatus, StepStatus
from process_engine.ids import ExecutionId
from process_engine.runtime.view import ProcessExecution


def cancel(
    tools: Tools, *, execution: str, reason: str | None, db: Path, as_json: bool, no_color: bool
) -> int:
    """End an execution; by the process that runs it if there is one, else here."""
    by = user()

    def order(id: ExecutionId) -> Order:
        return Order(
            here=lambda own: _cancelled(own, id, reason, by),
            there=CancelExecution(execution_id=id, reason=reason, by=by),
        )

    return _carry_out(tools, order, execution, db, as_json, no_color)


async def _cancelled(own: Own, id: ExecutionId, reason: str | None, by: str | None) -> ProcessExecution:
    """End it and, before we leave, its sub-processes."""
    await own.engine.cancel(id, reason=reason, by=by)
    await own.engine.rest()
    return await own.engine.get(id)


def pause(
    tools: Tools, *, execution: str, reason: str | None, db: Path, as_json: bool, no_color: bool
) -> int:
    """Start nothing new in an execution; by the process that runs it if there is one, else here."""
    by = user()
    why = {} if reason is None else {"reason": reason}

    def order(id: ExecutionId) -> Order:
        return Order(
            here=lambda own: own.engine.pause(id, reason=reason, by=by),
            there=PauseExecution(execution_id=id, by=by, **why),
        )

    return _carry_out(tools, order, execution, db, as_json, no_color)


def _carry_out(
    tools: Tools,
    order: Callable[[ExecutionId], Order],
    prefix: str,
    db: Path,
    as_json: bool,
    no_color: bool,
) -> int:
    found = asyncio.run(_ordered(tools, order, prefix, db))
    if as_json:
        print_document(documents.execution_document(found))
        return outcomes.COMPLETED
    screen = Screen(no_color=no_color)
    screen.say(headline(found, screen, SystemClock().now()))
    if found.status is ExecutionStatus.PAUSED:
        running = [step.id for step in found.step_executions.values() if step.status is StepStatus.RUNNING]
        if running:
            screen.say(f"What runs may finish: {', '.join(running)}.")
        screen.say(f"Go on with: {command_line('resume', found.id, db=db)}")
    if found.status is ExecutionStatus.COMPENSATING:
        _tell_undoing(found, screen, db)
    return outcomes.COMPLETED


def _tell_undoing(found: ProcessExecution, screen: Screen, db: Path) -> None:
    screen.say("It ends once it has undone what it did.")
    holder = holder_of(db)
    if holder is None:
        screen.say(f"Nobody does that yet. Go on with: {command_line('resume', found.id, db=db)}")
    else:
        screen.say(f"{str(holder).capitalize()} does that.")


async def _ordered(
    tools: Tools, order: Callable[[ExecutionId], Order], prefix: str, db: Path
) -> ProcessExecution:
    async with reading(db) as reader:
        execution_id = await resolve(reader, prefix)
        return await carried_out(tools, db, reader, order(execution_id), execution_id)
