"""`cancel`: a command to an execution, whoever runs it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from process_engine.agents.gateway import ConfiguredAgents
from process_engine.cli import documents, outcomes
from process_engine.cli.screen import Screen
from process_engine.cli.store import load, reading, resolve
from process_engine.cli.summary import headline
from process_engine.cli.tools import Tools
from process_engine.clock import SystemClock
from process_engine.core.commands import CancelExecution
from process_engine.core.state import ExecutionStatus
from process_engine.errors import CommandRejected, NotFound, ProcessEngineError, StoreLocked
from process_engine.ids import ExecutionId
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime import inbox
from process_engine.runtime.ports import InboxAnswer
from process_engine.runtime.view import ProcessExecution

# A running engine takes a command up within 100 ms; this allows for a machine under load.
ANSWER_SECONDS = 5.0


def cancel(
    tools: Tools, *, execution: str, reason: str | None, db: Path, as_json: bool, no_color: bool
) -> int:
    """End an execution; by the process that runs it if there is one, else here."""
    found = asyncio.run(_cancel(tools, db, execution, reason))
    if as_json:
        documents.print_document(documents.execution_document(found))
    else:
        screen = Screen(no_color=no_color)
        screen.say(headline(found, screen, SystemClock().now()))
    return outcomes.COMPLETED


async def _cancel(tools: Tools, db: Path, prefix: str, reason: str | None) -> ProcessExecution:
    async with reading(db) as reader:
        command = CancelExecution(execution_id=await resolve(reader, prefix), reason=reason)
        try:
            return await _cancel_here(tools, db, command)
        except StoreLocked as locked:
            return await _ask_holder(tools, db, reader, command, locked)


async def _cancel_here(tools: Tools, db: Path, command: CancelExecution) -> ProcessExecution:
    """Take the store over for this one command.

    Raises:
        StoreLocked: somebody runs executions on it.
    """
    engine = tools.make_engine(SqliteRepository(db), ConfiguredAgents({}), recover=False, serve_inbox=False)
    async with engine:
        return await engine.cancel(command.execution_id, reason=command.reason)


async def _ask_holder(
    tools: Tools, db: Path, reader: SqliteRepository, command: CancelExecution, locked: StoreLocked
) -> ProcessExecution:
    """Leave the command for the process that runs executions.

    Raises:
        CommandRejected: it refused.
        StoreLocked: it did not answer.
    """
    answer = await inbox.ask(reader, command, clock=SystemClock(), timeout_seconds=ANSWER_SECONDS)
    if answer is not None:
        if answer.error_code is not None:
            raise _refusal(answer)
        return await load(reader, command.execution_id)
    try:
        # It may have ended without looking into its inbox again.
        return await _cancel_after_all(tools, db, command)
    except StoreLocked:
        raise _no_answer(command.execution_id, locked) from None


async def _cancel_after_all(tools: Tools, db: Path, command: CancelExecution) -> ProcessExecution:
    try:
        return await _cancel_here(tools, db, command)
    except CommandRejected:
        # The command that was left in the inbox came first.
        async with reading(db) as reader:
            found = await load(reader, command.execution_id)
        if found.status is not ExecutionStatus.CANCELLED:
            raise
        return found


def _refusal(answer: InboxAnswer) -> ProcessEngineError:
    kind = NotFound if answer.error_code == NotFound.code else CommandRejected
    return kind(answer.error_message or "", remedy=answer.error_remedy, code=answer.error_code)


def _no_answer(execution_id: ExecutionId, locked: StoreLocked) -> StoreLocked:
    who = "the process" if locked.holder is None else f"process {locked.holder}"
    return StoreLocked(
        f"{who} that runs executions on this store did not answer within {ANSWER_SECONDS:g} s.",
        holder=locked.holder,
        remedy=f"The request stays: {execution_id} is cancelled as soon as that process, or the next one, "
        "gets to it. If it hangs, end it and try again.",
    )
