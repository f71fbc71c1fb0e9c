"""One life of the engine that the soak loads and kills: executions one after the other, several at a time.

Its journal is a line for each thing somebody was told: `event ID`, `done NUMBER STATUS`. What was written
there before it died was acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from process_engine.agents import connect
from process_engine.agents.http import HttpSettings
from process_engine.app import ExecutionEngine
from process_engine.core.events import Event
from process_engine.ids import ExecutionId
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.feed import InMemoryEventBus
from tests.acceptance.pipeline import BEHAVIOURS, pipeline


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What this life has to do: executions `first` to `last`, `at_once` of them at a time."""

    store: str
    journal: str
    agents_url: str
    first: int
    last: int
    at_once: int


def execution_of(number: int) -> ExecutionId:
    """The id of the execution of this number."""
    return ExecutionId(f"soak-{number}")


class Journal:
    """The lines; each is with the operating system once `write` returns, whatever becomes of this process."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, line: str) -> None:
        os.write(self._file, f"{line}\n".encode())


async def live(orders: Orders) -> None:
    """Carry out the orders; SIGTERM ends it between two executions."""
    journal, bus = Journal(orders.journal), InMemoryEventBus()

    def note(event: Event) -> None:
        journal.write(f"event {event.id}")

    bus.subscribe(note)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    agents = connect({name: HttpSettings(url=f"{orders.agents_url}/agents/{name}") for name in BEHAVIOURS})
    numbers = iter(range(orders.first, orders.last + 1))
    try:
        store = SqliteRepository(Path(orders.store))
        async with ExecutionEngine(store, agents, event_bus=bus) as engine, asyncio.TaskGroup() as group:
            for _ in range(orders.at_once):
                group.create_task(_run(engine, numbers, journal, stopped))
    finally:
        await agents.aclose()


async def _run(
    engine: ExecutionEngine, numbers: Iterator[int], journal: Journal, stopped: asyncio.Event
) -> None:
    """Take numbers as long as there are any, and see the execution of each to its end."""
    for number in numbers:
        if stopped.is_set():
            return
        # As a caller does who may have asked before.
        execution = await engine.start(pipeline(), execution_id=execution_of(number))
        journal.write(f"event {execution.id}/1")
        ended = await engine.run_until_settled(execution.id)
        journal.write(f"done {number} {ended.status.value}")


if __name__ == "__main__":
    asyncio.run(live(msgspec.json.decode(sys.argv[1], type=Orders)))
