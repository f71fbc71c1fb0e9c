"""`pause` and `cancel`: a command to an execution, whoever runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from process_engine.agents.gateway import ConfiguredAgents
from process_engine.cli import documents, outcomes
from process_engine.cli.asking import Request, user
from process_engine.cli.printing import print_document
from process_engine.cli.screen import Screen
from process_engine.cli.store import load, reading, resolve
from process_engine.cli.summary import command_line, headline
from process_engine.cli.tools import Tools
from process_engine.clock import SystemClock
from process_engine.core.commands import AnyCommand, CancelExecution, PauseExecution
from process_engine.core.state import ExecutionStatus, StepStatus
from process_engine.errors import StoreLocked
from process_engine.ids import ExecutionId
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.engine import Engine
from process_engine.runtime.view import ProcessExecution


@dataclass(frozen=True)
class _Order:
    """One thing to do with an execution: by an engine of our own, or as a command to another process."""

    here: Callable[[Engine, ExecutionId], Awaitable[ProcessExecution]]
    there: Callable[[ExecutionId], AnyCommand]


def cancel(
    tools: Tools, *, execution: str, reason: str | None, db: Path, as_json: bool, no_color: bool
) -> int:
    """End an execution; by the process that runs it if there is one, else here."""
    by = user()
    order = _Order(
        here=lambda engine, id: engine.cancel(id, reason=reason, by=by),
        there=lambda id: CancelExecution(execution_id=id, reason=reason, by=by),
    )
    return _carry_out(tools, order, execution, db, as_json, no_color)


def pause(
    tools: Tools, *, execution: str, reason: str | None, db: Path, as_json: bool, no_color: bool
) -> int:
    """Start nothing new in an execution; by the process that runs it if there is one, else here."""
    by = user()
    why = {} if reason is None else {"reason": reason}
    order = _Order(
        here=lambda engine, id: engine.pause(id, reason=reason, by=by),
        there=lambda id: PauseExecution(execution_id=id, by=by, **why),
    )
    return _carry_out(tools, order, execution, db, as_json, no_color)


def _carry_out(tools: Tools, order: _Order, prefix: str, db: Path, as_json: bool, no_color: bool) -> int:
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
    return outcomes.COMPLETED


async def _ordered(tools: Tools, order: _Order, prefix: str, db: Path) -> ProcessExecution:
    async with reading(db) as reader:
        execution_id = await resolve(reader, prefix)
        try:
            async with _engine(tools, db, serve_inbox=False) as engine:
                return await order.here(engine, execution_id)
        except StoreLocked:
            await _ask(tools, db, await Request.leave(reader, order.there(execution_id)))
            return await load(reader, execution_id)


async def _ask(tools: Tools, db: Path, request: Request) -> None:
    """See to it that a command in the inbox is carried out.

    Raises:
        ProcessEngineError: it was refused, or nobody answered.
    """
    while await request.answer(db) is None:
        try:
            # Whoever had the store left without looking into its inbox again: we do it.
            async with _engine(tools, db, serve_inbox=True):
                await request.answer(db)
                return
        except StoreLocked:
            continue


def _engine(tools: Tools, db: Path, *, serve_inbox: bool) -> Engine:
    """An engine for one command: it goes on with nothing."""
    return tools.make_engine(
        SqliteRepository(db), ConfiguredAgents({}), recover=False, serve_inbox=serve_inbox
    )
