"""One life of an engine in a process of its own: it runs the pipeline, and may be told when to die.

Started with a job as argument it lives that one life. Started without, it reads jobs from standard input, a
line each, lives each in a fork of itself, and says how that ended: it has done nothing but import modules and
read the definition, so each life begins as a new process does, only far sooner.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from pathlib import Path

import msgspec

from process_engine.agents import connect
from process_engine.agents.http import HttpSettings
from process_engine.app import ExecutionEngine
from process_engine.core.events import Event
from process_engine.errors import ProcessEngineError
from process_engine.ids import ExecutionId
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.feed import InMemoryEventBus
from process_engine.testing.storage_faults import KillingDisk, registered
from tests.acceptance.evidence import (
    broken_promises,
    calls_of,
    copy_store,
    integrity,
    look,
    unrecorded,
)
from tests.acceptance.pipeline import BEHAVIOURS, pipeline

# A life takes a fifth of a second; one that takes so long waits for something that never comes.
STUCK_SECONDS = 30.0

STORE, ACKNOWLEDGED, REPORT = "store.db", "acknowledged", "report.json"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One life: the files are in `directory`, the agents at `agents_url` with their log at `agents_log`.

    `watched` puts the store on a disk that counts, and kills before operation `kill_at` (`torn`: in the midst
    of it). Without `watched` it is the store as users have it, and at the end everything is judged.
    """

    execution_id: ExecutionId
    directory: str
    agents_url: str
    agents_log: str
    watched: bool = False
    kill_at: int | None = None
    torn: bool = False


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a life that came to its end found; `events_kept` of them were in the store at its beginning."""

    operations: int = 0
    broken: list[str] = []
    events_kept: int = 0
    calls: int = 0
    repeated_keys: int = 0


def live(job: Job) -> None:
    """Live one life to its end, unless it is killed; leaves a report."""
    report = asyncio.run(_watched(job) if job.watched else _judged(job))
    (Path(job.directory) / REPORT).write_bytes(msgspec.json.encode(report))


async def _watched(job: Job) -> Report:
    disk = KillingDisk(job.kill_at, torn=job.torn)
    with registered(disk) as vfs:
        await _run(job, SqliteRepository(Path(job.directory) / STORE, vfs=vfs))
    return Report(operations=disk.operations)


async def _run(job: Job, store: SqliteRepository) -> None:
    """Start the execution, as a caller does who may have asked before, and wait for its end."""
    bus = InMemoryEventBus()
    with (Path(job.directory) / ACKNOWLEDGED).open("ab", buffering=0) as told:

        def note(event: Event) -> None:
            told.write(f"{event.id}\n".encode())

        bus.subscribe(note)
        agents = connect({name: HttpSettings(url=f"{job.agents_url}/agents/{name}") for name in BEHAVIOURS})
        try:
            async with ExecutionEngine(store, agents, event_bus=bus) as engine:
                execution = await engine.start(pipeline(), execution_id=job.execution_id)
                told.write(f"{execution.id}/1\n".encode())
                async with asyncio.timeout(STUCK_SECONDS):
                    await engine.run_until_settled(execution.id)
        finally:
            await agents.aclose()


async def _judged(job: Job) -> Report:
    """Look at what the killed one left, finish it, look again, and compare."""
    definition, log = pipeline(), Path(job.agents_log)
    store = Path(job.directory) / STORE
    told = Path(job.directory) / ACKNOWLEDGED
    acknowledged = told.read_text().split() if told.exists() else []
    left = copy_store(store, "left.db")
    before = await look(left, job.execution_id, definition)
    calls_before = calls_of(log, job.execution_id)
    broken = unrecorded(before, calls_before)
    if integrity(left) != "ok":
        broken.append(f"integrity_check of what was left: {integrity(left)}")
    await _run(job, SqliteRepository(store))
    after = await look(store, job.execution_id, definition)
    calls = calls_of(log, job.execution_id)
    broken += broken_promises(
        before, after, acknowledged=acknowledged, calls_before=calls_before, calls=calls
    )
    if integrity(store) != "ok":
        broken.append(f"integrity_check at the end: {integrity(store)}")
    repeated = len(calls) - len({call.key for call in calls})
    kept = len(before.events) if before is not None else 0
    return Report(broken=broken, events_kept=kept, calls=len(calls), repeated_keys=repeated)


def _end_of(job: Job) -> int:
    """The exit code of a life; what went wrong is in the report."""
    try:
        live(job)
    except Exception as error:
        kind = error.code if isinstance(error, ProcessEngineError) else type(error).__name__
        report = Report(broken=[f"{kind}: {error}"])
        (Path(job.directory) / REPORT).write_bytes(msgspec.json.encode(report))
        return 1
    return 0


def _fork(job: Job) -> int:
    """The exit code of a life in a fork: minus the number of the signal that ended it."""
    child = os.fork()
    if child == 0:
        os._exit(_end_of(job))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(arguments: list[str]) -> int:
    """Live the life that is given, or those that come by standard input."""
    if arguments:
        return _end_of(msgspec.json.decode(arguments[0], type=Job))
    pipeline()
    gc.freeze()  # so that forks share what is there by now
    for line in sys.stdin.buffer:
        print(_fork(msgspec.json.decode(line, type=Job)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
