"""Commands that other processes leave in the store, taken up by the process that runs executions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from process_engine.core.commands import AnyCommand, InboxCommand
from process_engine.core.state import Execution
from process_engine.errors import ProcessEngineError, StorageError, StorageUnavailable
from process_engine.runtime.ports import Clock, ExecutionRepository, InboxAnswer, InboxEntry, Posted

log = logging.getLogger(__name__)

# A command from another terminal is taken up within 100 ms; a look costs some 20 µs.
POLL_SECONDS = 0.05
# How often somebody who left a command looks for its answer.
ANSWER_POLL_SECONDS = 0.02


async def serve(
    repository: ExecutionRepository, submit: Callable[[InboxCommand], Awaitable[Execution | Posted]]
) -> None:
    """Take up commands and record what became of them, until cancelled.

    A command is carried out before its answer is recorded: after a crash between the two it is carried out
    again, and the state of the execution decides what that means.
    """
    while True:
        try:
            for entry in await repository.inbox():
                await repository.answer(entry.id, await _carry_out(entry, submit))
        except StorageUnavailable as error:
            log.warning("inbox not read: %s", error)
        except StorageError as error:
            log.error("inbox given up: %s", error)
            return
        await asyncio.sleep(POLL_SECONDS)


async def _carry_out(
    entry: InboxEntry, submit: Callable[[InboxCommand], Awaitable[Execution | Posted]]
) -> InboxAnswer:
    try:
        done = await submit(entry.command)
    except StorageError:
        raise
    except ProcessEngineError as error:
        return InboxAnswer(error_code=error.code, error_message=error.message, error_remedy=error.remedy)
    return (
        InboxAnswer(repeated=done.repeated) if isinstance(done, Posted) else InboxAnswer(status=done.status)
    )


async def ask(
    repository: ExecutionRepository, command: AnyCommand, *, clock: Clock, timeout_seconds: float
) -> InboxAnswer | None:
    """Leave a command for the process that runs executions and wait for its answer; None if none came in
    time.

    The command stays in the inbox then, and is carried out when the process gets to it.
    """
    entry_id = await repository.submit(command)
    deadline: datetime = clock.now() + timedelta(seconds=timeout_seconds)
    while clock.now() < deadline:
        answer = await repository.read_answer(entry_id)
        if answer is not None:
            return answer
        await asyncio.sleep(ANSWER_POLL_SECONDS)
    return None
