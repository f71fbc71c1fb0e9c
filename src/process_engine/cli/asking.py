"""Commands to executions that another process runs: left in the store, answered there."""

from __future__ import annotations

import getpass
from datetime import timedelta
from pathlib import Path

from process_engine.cli.holder import holder_of
from process_engine.cli.told_errors import ToldError, error_as_told
from process_engine.clock import SystemClock
from process_engine.core.commands import InboxCommand
from process_engine.errors import StoreLocked
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.ports import InboxAnswer

# A running engine takes a command up within 100 ms; this allows for a machine under load.
ANSWER_SECONDS = 5.0
# How often we look for an answer: reading one costs some 20 µs.
POLL_SECONDS = 0.02


class Request:
    """A command in the inbox of a store; whoever runs executions there, now or next, carries it out."""

    def __init__(self, reader: SqliteRepository, entry_id: int) -> None:
        self._reader = reader
        self.entry_id = entry_id

    @classmethod
    async def leave(cls, reader: SqliteRepository, command: InboxCommand) -> Request:
        """Leave the command; it is durable on return."""
        return cls(reader, await reader.submit(command))

    async def answer(self, db: Path) -> InboxAnswer | None:
        """What became of it; None as soon as nobody is there to answer.

        Raises:
            ProcessEngineError: it was refused.
            StoreLocked: whoever is there did not answer in time.
        """
        clock = SystemClock()
        deadline = clock.now() + timedelta(seconds=ANSWER_SECONDS)
        while clock.now() < deadline:
            if (found := await self.answered()) is not None:
                return found
            if holder_of(db) is None:
                # It may have answered right before it left.
                return await self.answered()
            await clock.sleep_until(clock.now() + timedelta(seconds=POLL_SECONDS))
        raise self._silence(db)

    async def answered(self) -> InboxAnswer | None:
        """What became of it so far, without waiting.

        Raises:
            ProcessEngineError: it was refused.
        """
        answer = await self._reader.read_answer(self.entry_id)
        if answer is not None and answer.error_code is not None:
            raise error_as_told(ToldError(answer.error_code, answer.error_message or "", answer.error_remedy))
        return answer

    def _silence(self, db: Path) -> StoreLocked:
        holder = holder_of(db)
        return StoreLocked(
            f"{holder or 'the process'} that runs executions on this store did not answer within "
            f"{ANSWER_SECONDS:g} s.",
            holder=None if holder is None else holder.pid,
            remedy="The request stays: it is carried out as soon as that process, or the next one, gets to "
            "it. If it hangs, end it and try again.",
        )


def user() -> str | None:
    """Who gives a command, as this machine knows them."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return None
