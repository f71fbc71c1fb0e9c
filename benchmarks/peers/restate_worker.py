"""Restate: its server on loopback, the steps in a second process, and this process as the client.

All three belong to the work, and their processor time counts.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import aiohttp

from benchmarks.served import KILLED_CHAIN, Answer, Handler, Request, load_of, main, without_end
from benchmarks.throughput import closed_loop, throughput, warm_up

_DATA = "restate-data"
_LONGEST_START_SECONDS = 40.0
# After a start: how long an answer has to stay the same, and how long that is waited for.
_SETTLING_SECONDS = 4.0
_LONGEST_SETTLING_SECONDS = 25.0
_POLL_SECONDS = 0.1
_JSON = {"accept": "application/json"}
_SERVER = "node_modules/@restatedev/restate-server-*/bin/restate-server"
# A completed step is a notification; the command before it only says that it was begun.
_RECORDED = """
    SELECT i.idempotency_key AS key, count(*) AS steps FROM sys_invocation i JOIN sys_journal j ON i.id = j.id
    WHERE j.entry_type = 'Notification: Run' GROUP BY i.idempotency_key
"""


class _Restate:
    """A running server, the service it calls, and a client."""

    def __init__(
        self, processes: list[Process], http: aiohttp.ClientSession, ports: Mapping[str, int]
    ) -> None:
        self.processes = processes
        self._http = http
        self._ports = ports

    async def call(self, handler: str, argument: object, key: str | None = None) -> dict[str, Any]:
        """Run an invocation to its end."""
        url = f"http://127.0.0.1:{self._ports['ingress']}/Bench/{handler}"
        headers = {"idempotency-key": key} if key else {}
        async with self._http.post(url, json=argument, headers=headers) as response:
            if response.status != 200:
                raise RuntimeError(f"{response.status}: {await response.text()}")
            return await response.json()

    async def query(self, sql: str) -> list[dict[str, Any]]:
        """Rows of the server's own tables."""
        url = f"http://127.0.0.1:{self._ports['admin']}/query"
        async with self._http.post(url, json={"query": sql}, headers=_JSON) as response:
            response.raise_for_status()
            return (await response.json())["rows"]

    async def register(self) -> None:
        """Tell the server where the service is, as soon as both are up."""
        await self._until_up("/deployments", {"uri": f"http://127.0.0.1:{self._ports['service']}"})

    async def is_open(self) -> None:
        """Wait until the server answers questions about what it has stored."""
        await self._until_up("/query", {"query": "SELECT count(*) AS n FROM sys_invocation"})

    async def _until_up(self, path: str, body: object) -> None:
        url = f"http://127.0.0.1:{self._ports['admin']}{path}"
        deadline = perf_counter() + _LONGEST_START_SECONDS
        while True:
            try:
                async with self._http.post(
                    url, json=body, headers={"accept": "application/json"}
                ) as response:
                    if response.status < 300:
                        return
                    reason = await response.text()
            except aiohttp.ClientError as error:
                reason = str(error)
            if perf_counter() > deadline:
                raise RuntimeError(f"Restate did not come up: {reason}")
            await asyncio.sleep(0.05)

    def cpu_seconds(self) -> float:
        """Processor time so far of client, service and server."""
        return process_time() + sum(_cpu_seconds_of(process.pid) for process in self.processes)


def _cpu_seconds_of(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError as error:
        raise RuntimeError("the processor time of another process cannot be read here") from error
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def _running(directory: Path, *, with_service: bool = True) -> AsyncGenerator[_Restate]:
    """A server on the data in `directory`; both processes are killed at the end."""
    ports = _free_ports("node", "ingress", "admin", "service")
    processes = [await _start_server(directory, ports)]
    try:
        if with_service:
            command = (sys.executable, "-m", "benchmarks.peers.restate_service", str(ports["service"]))
            processes.append(await asyncio.create_subprocess_exec(*command, stdout=PIPE))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            restate = _Restate(processes, http, ports)
            await (restate.register() if with_service else restate.is_open())
            yield restate
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _start_server(directory: Path, ports: Mapping[str, int]) -> Process:
    environment = {
        **os.environ,
        "RESTATE_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        "RESTATE_LOG_FILTER": "error",
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ports['ingress']}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{ports['admin']}",
    }
    where = ("--base-dir", str(directory / _DATA), "--node-name", "n1")
    listen = ("--listen-mode", "tcp", "--bind-address", f"127.0.0.1:{ports['node']}")
    # Its output is ours; ours goes to the log.
    return await asyncio.create_subprocess_exec(_server(), "--no-logo", *where, *listen, env=environment)


def _server() -> str:
    found = next(Path(sys.prefix).glob(_SERVER), None)
    if found is None:
        raise RuntimeError("this system has no program of Restate's server")
    return str(found)


def _free_ports(*names: str) -> dict[str, int]:
    sockets = [socket.socket() for _ in names]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = {name: one.getsockname()[1] for name, one in zip(names, sockets, strict=True)}
    for one in sockets:
        one.close()
    return ports


class Restate:
    """One server for the whole run, started with the first question."""

    def __init__(self, _: str) -> None:
        self._context: Any = None
        self._restate: _Restate | None = None

    def handlers(self) -> Mapping[str, Handler]:
        return {"about": self._about, "throughput": self._throughput}

    async def work(self, directory: Path, begins: Callable[[int, int], None]) -> None:
        async with _running(directory) as restate, asyncio.TaskGroup() as tasks:
            tasks.create_task(_pass_on(restate.processes[1], begins))

            async def one(number: int) -> None:
                request = {"execution": number, "length": KILLED_CHAIN}
                await restate.call("told_chain", request, key=f"killed-{number}")
                begins(number, KILLED_CHAIN)

            await without_end(one)

    async def recorded(self, directory: Path) -> dict[int, int]:
        # Without the service nothing goes on: what is asked for is what there was.
        async with _running(directory, with_service=False) as restate:
            return await _settled(restate)

    async def _running(self, directory: Path) -> _Restate:
        if self._restate is None:
            # Left open: the benchmark ends the group of processes when it is done.
            self._context = _running(directory)
            self._restate = await self._context.__aenter__()
        return self._restate

    async def _about(self, _: Request, directory: Path) -> Answer:
        await self._running(directory)
        program = await asyncio.create_subprocess_exec(_server(), "--version", stdout=PIPE)
        said, _nothing = await program.communicate()
        guarantee = (
            "a replicated log of one node, RocksDB with fsync: a step is in it before the next one starts"
        )
        return {
            "version": f"{said.decode().split()[-1]}, SDK {version('restate-sdk')}",
            "guarantee": guarantee,
        }

    async def _throughput(self, request: Request, directory: Path) -> Answer:
        load = load_of(request)
        restate = await self._running(directory)

        async def one() -> None:
            await restate.call(load.shape, load.size)

        await warm_up(one, load.concurrency)
        timing = await closed_loop(one, load.concurrency, load.limits, restate.cpu_seconds)
        return {"figures": throughput(timing, load.steps), "latencies": timing.latencies}


async def _settled(restate: _Restate) -> dict[int, int]:
    """The steps of each execution, once the answer has stayed the same for a while.

    The server answers before it has opened all partitions, and leaves out those that it has not.
    """
    began = since = perf_counter()
    found: dict[int, int] = {}
    while perf_counter() - since < _SETTLING_SECONDS or not found:
        rows = await restate.query(_RECORDED)
        now = {int(row["key"].rpartition("-")[2]): int(row["steps"]) for row in rows}
        if now != found:
            found, since = now, perf_counter()
        if perf_counter() - began > _LONGEST_SETTLING_SECONDS:
            break
        await asyncio.sleep(_POLL_SECONDS)
    return found


async def _pass_on(service: Process, begins: Callable[[int, int], None]) -> None:
    assert service.stdout is not None
    async for line in service.stdout:
        execution, number = line.split()
        begins(int(execution), int(number))


if __name__ == "__main__":
    main(Restate)
