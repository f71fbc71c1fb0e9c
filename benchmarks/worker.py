"""The benchmark's side of an engine's process: start it, ask it, end it, all in bounded time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from benchmarks.cells import Engine

ROOT = Path(__file__).resolve().parent.parent
# An answer holds the latency of every execution on one line.
_LONGEST_LINE = 64 * 1024 * 1024
_ENDING_SECONDS = 5.0
_LOG = "stderr.log"


class EngineFailed(Exception):
    """An engine's process ended, answered an error, or took too long; the text says which."""


@dataclass(frozen=True)
class Seat:
    """An engine that can be started: the interpreter of its environment, and what it is."""

    engine: Engine
    python: Path


class Worker:
    """One process of an engine, and everything that process starts: a group of its own."""

    def __init__(self, seat: Seat, process: Process, log: IO[bytes], directory: Path) -> None:
        self.seat = seat
        self._process = process
        self._log = log
        self.directory = directory

    @classmethod
    async def start(cls, seat: Seat, mode: str, directory: Path) -> Worker:
        """Start a mode of the engine's module (see served.py) with its files in `directory`."""
        log = _log_in(directory)
        command = (str(seat.python), "-m", seat.engine.module, mode, seat.engine.name, str(directory))
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=PIPE if mode == "serve" else DEVNULL,
            stdout=PIPE,
            stderr=log,
            cwd=ROOT,
            limit=_LONGEST_LINE,
            start_new_session=True,
        )
        return cls(seat, process, log, directory)

    async def ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """The answer to a request.

        Raises:
            EngineFailed: as the class says. Unless it answered, the process is of no more use.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            await self._process.stdin.drain()
        answer = cast("dict[str, Any]", json.loads(await self._line(seconds)))
        if "error" in answer:
            raise EngineFailed(str(answer["error"]))
        return answer

    async def line(self, seconds: float) -> str:
        """The next line that the process says.

        Raises:
            EngineFailed: as the class says.
        """
        return (await self._line(seconds)).decode().rstrip("\n")

    async def rest(self) -> list[str]:
        """What the process had said before it ended."""
        assert self._process.stdout is not None
        # The last line may have been cut off by the kill.
        said = (await self._process.stdout.read()).decode()
        return said.splitlines() if said.endswith("\n") else said.splitlines()[:-1]

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.returncode is None

    async def kill(self) -> None:
        """End the process and what it has started, at once."""
        # The group is the process's own: start_new_session made it, with the process's id as its name.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def end(self) -> None:
        """Let the process end by itself, for a moment; then kill what is left of it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), _ENDING_SECONDS)
        await self.kill()
        self._log.close()

    async def _line(self, seconds: float) -> bytes:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(seconds):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise EngineFailed(f"took longer than {seconds:g} s") from None
        if not line.endswith(b"\n"):
            raise EngineFailed(f"its process ended: {self._last_words()}")
        return line

    def _last_words(self) -> str:
        text = (self.directory / _LOG).read_text(encoding="utf-8", errors="replace")
        return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "without a word")


def _log_in(directory: Path) -> IO[bytes]:
    directory.mkdir(parents=True, exist_ok=True)
    return (directory / _LOG).open("ab")
