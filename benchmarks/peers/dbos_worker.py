"""DBOS Transact: asynchronous workflows and steps, its system database on SQLite.

DBOS leaves the journal mode to the file: the file is put into WAL mode beforehand, which is faster.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dbos import DBOS, DBOSClient, SetWorkflowID

from benchmarks.served import KILLED_CHAIN, Answer, Handler, Request, load_of, main, without_end
from benchmarks.throughput import Load, closed_loop, throughput, warm_up

_FILE = "dbos.db"
_begins: list[Callable[[int, int], None]] = []


@DBOS.step()
async def step(execution: int, number: int) -> dict[str, Any]:
    for begins in _begins:
        begins(execution, number)
    return {"ok": True, "n": number}


@DBOS.workflow()
async def chain(execution: int, length: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for number in range(length):
        result = await step(execution, number)
    return result


@DBOS.workflow()
async def fan(execution: int, width: int) -> dict[str, Any]:
    await step(execution, 0)
    await asyncio.gather(*(step(execution, number + 1) for number in range(width)))
    return await step(execution, width + 1)


class Dbos:
    """One DBOS for the whole run: it is global to its process."""

    def __init__(self, _: str) -> None:
        self._file: Path | None = None
        self._rows = 0

    def handlers(self) -> Mapping[str, Handler]:
        return {"about": self._about, "throughput": self._throughput}

    async def work(self, directory: Path, begins: Callable[[int, int], None]) -> None:
        _begins.append(begins)
        self._launch(directory)

        async def one(number: int) -> None:
            with SetWorkflowID(f"killed-{number}"):
                await chain(number, KILLED_CHAIN)
            begins(number, KILLED_CHAIN)

        await without_end(one)

    async def recorded(self, directory: Path) -> dict[int, int]:
        client = DBOSClient(system_database_url=f"sqlite:///{directory / _FILE}")
        try:
            ids = [status.workflow_id for status in await client.list_workflows_async()]
            steps = {id: await client.list_workflow_steps_async(id) for id in ids}
        finally:
            client.destroy()
        return {int(id.rpartition("-")[2]): len(done) for id, done in steps.items()}

    def _launch(self, directory: Path) -> Path:
        if self._file is None:
            self._file = directory / _FILE
            with closing(sqlite3.connect(self._file)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
            url = f"sqlite:///{self._file}"
            DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})
            DBOS.launch()
        return self._file

    async def _about(self, _: Request, directory: Path) -> Answer:
        file = self._launch(directory)
        with closing(sqlite3.connect(file)) as connection:
            ((journal,),) = connection.execute("PRAGMA journal_mode").fetchall()
            ((synchronous,),) = connection.execute("PRAGMA synchronous").fetchall()
        if (journal, synchronous) != ("wal", 2):
            raise RuntimeError(f"the file is {journal}, synchronous={synchronous}")
        guarantee = "SQLite WAL, synchronous=FULL: a step is on the disk before the next one starts"
        return {"version": version("dbos"), "guarantee": guarantee}

    async def _throughput(self, request: Request, directory: Path) -> Answer:
        load = load_of(request)
        file = self._launch(directory)

        async def one() -> None:
            await (chain if load.shape == "chain" else fan)(0, load.size)

        warm = await warm_up(one, load.concurrency)
        timing = await closed_loop(one, load.concurrency, load.limits)
        self._require_rows(file, load, warm + len(timing.latencies))
        return {"figures": throughput(timing, load.steps), "latencies": timing.latencies}

    def _require_rows(self, file: Path, load: Load, executions: int) -> None:
        self._rows += executions * load.steps
        with closing(sqlite3.connect(file)) as connection:
            ((found,),) = connection.execute("SELECT count(*) FROM operation_outputs").fetchall()
        if found != self._rows:
            raise RuntimeError(f"the file holds {found} steps, {self._rows} were acknowledged")


if __name__ == "__main__":
    main(Dbos)
