"""The command line as people use it: one process for each command, in a directory with process and agents."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from process_engine.clock import SystemClock
from process_engine.ids import ExecutionId
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.testing.agent_process import AgentProcess
from tests.acceptance.evidence import Call, Found, calls_of, copy_store, look
from tests.acceptance.pipeline import BEHAVIOURS, TEXT, pipeline

# A command that takes longer than this is stuck.
PATIENCE_SECONDS = 60.0
PROCESS, STORE = "pipeline.yaml", "store.db"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


class Terminal:
    """Commands in one directory, whose agents are those of `agents`."""

    def __init__(self, directory: Path, agents: AgentProcess) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self._agents = agents
        lines = [f'  {name}: {{kind: http, url: "{agents.url_of(name)}"}}' for name in BEHAVIOURS]
        (directory / "agents.yaml").write_text("agents:\n" + "\n".join(lines) + "\n", encoding="utf-8")
        (directory / PROCESS).write_text(TEXT, encoding="utf-8")

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Start a command on the store of this directory."""
        command = [sys.executable, "-m", "process_engine", *words, "--db", STORE]
        environment = {**os.environ, "NO_COLOR": "1"}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True,
            env=environment,
        )  # fmt: skip

    def do(self, *words: str) -> Ended:
        """A command from its beginning to its end."""
        return ended(self.begin(*words))

    def interrupted(self, number: signal.Signals, after: float, *words: str) -> Ended:
        """A command that gets a signal after some seconds, if it has not ended by then."""
        process = self.begin(*words)
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        return ended(process)

    # ------------------------------------------------------------ looking

    def executions(self) -> list[ExecutionId]:
        """What the store holds, the newest first; looked at in a copy, so that nothing changes."""
        if not (self.directory / STORE).exists():
            return []
        return asyncio.run(_executions(copy_store(self.directory / STORE, "seen.db")))

    def found(self, execution_id: ExecutionId) -> Found | None:
        """The execution as the store holds it now, after every invariant was checked."""
        copy = copy_store(self.directory / STORE, "seen.db")
        return asyncio.run(look(copy, execution_id, pipeline()))

    def calls(self, execution_id: ExecutionId) -> list[Call]:
        """The agents' calls for this execution so far."""
        return calls_of(self._agents.log_path, execution_id)


def ended(process: subprocess.Popen[str]) -> Ended:
    """Wait for the end of a command."""
    try:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"stuck: {process.args}\n{out}\n{err}") from None
    return Ended(process.returncode, out, err)


async def _executions(path: Path) -> list[ExecutionId]:
    store = SqliteRepository(path)
    await store.open(clock=SystemClock())
    try:
        return [execution.id for execution in await store.list()]
    finally:
        await store.close()
