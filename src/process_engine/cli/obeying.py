"""A command to one execution: carried out here, or by the process that runs executions on the store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from process_engine.agents.gateway import ConfiguredAgents
from process_engine.cli.asking import Request
from process_engine.cli.store import load
from process_engine.cli.tools import Tools
from process_engine.core.commands import AnyCommand
from process_engine.errors import ProcessEngineError, StorageError, StoreLocked
from process_engine.ids import ExecutionId
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.engine import Engine
from process_engine.runtime.ports import InboxAnswer
from process_engine.runtime.view import ProcessExecution


class Own(NamedTuple):
    """An engine of our own for one command, and its store: nobody else changes anything meanwhile."""

    engine: Engine
    repository: SqliteRepository


@dataclass(frozen=True)
class Order:
    """One thing to do with an execution: by an engine of our own, or as a command to another process."""

    here: Callable[[Own], Awaitable[ProcessExecution]]
    there: AnyCommand


async def carried_out(
    tools: Tools, db: Path, reader: SqliteRepository, order: Order, execution_id: ExecutionId
) -> ProcessExecution:
    """The execution after the order.

    Raises:
        ProcessEngineError: it was refused, or nobody answered.
    """
    try:
        async with own_engine(tools, db) as own:
            return await order.here(own)
    except StoreLocked:
        await _asked(tools, db, order, await Request.leave(reader, order.there))
        return await load(reader, execution_id)


async def _asked(tools: Tools, db: Path, order: Order, request: Request) -> None:
    while await request.answer(db) is None:
        try:
            async with own_engine(tools, db) as own:
                # Whoever had the store left without looking into its inbox again: we do it.
                if await request.answered() is None:
                    await _do_and_answer(own, order, request)
                return
        except StoreLocked:
            continue


async def _do_and_answer(own: Own, order: Order, request: Request) -> None:
    """Carry out what lies in the inbox, and say so there, so that nobody does it again."""
    try:
        found = await order.here(own)
    except StorageError:
        raise
    except ProcessEngineError as error:
        refusal = InboxAnswer(error_code=error.code, error_message=error.message, error_remedy=error.remedy)
        await own.repository.answer(request.entry_id, refusal)
        raise
    await own.repository.answer(request.entry_id, InboxAnswer(status=found.status))


@asynccontextmanager
async def own_engine(tools: Tools, db: Path) -> AsyncGenerator[Own]:
    """An engine for one command: it goes on with nothing, and has no agents to call."""
    repository = SqliteRepository(db)
    agents = ConfiguredAgents({})
    async with tools.make_engine(repository, agents, recover=False, serve_inbox=False) as engine:
        yield Own(engine, repository)
