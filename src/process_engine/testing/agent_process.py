"""The bundled test agent in a process of its own, with a log that outlives whoever called it.

For example::

    with start_agent_process({"writer": {"reply": "…"}}, log=Path("agents.jsonl")) as agents:
        …  # agents.url_of("writer"), agents.calls()
"""

from __future__ import annotations

import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from process_engine.testing.agent_server import AgentCall, Behaviour, behaviour_of, read_calls

# Seconds for the process to become ready, or to end, before it is given up.
PATIENCE_SECONDS = 10.0


class AgentProcess:
    """A test agent server in a process of its own: `url`, `pid`, and `log_path`, which holds its calls."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log_path: Path) -> None:
        self._process = process
        self.url = url
        self.log_path = log_path

    @property
    def pid(self) -> int:
        return self._process.pid

    def url_of(self, agent: str) -> str:
        return f"{self.url}/agents/{agent}"

    def calls(self) -> list[AgentCall]:
        return read_calls(self.log_path)

    def stop(self) -> None:
        """End this process and no other. May be called twice; the log stays."""
        _end(self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_agent_process(
    behaviours: Mapping[str, Behaviour | Mapping[str, object]] | None = None, *, log: Path, port: int = 0
) -> AgentProcess:
    """Start a server and return once it takes calls. It ends by `stop`, or with the process that started it.

    Raises:
        RuntimeError: it did not become ready.
    """
    script = msgspec.json.encode({name: behaviour_of(given) for name, given in (behaviours or {}).items()})
    command = [sys.executable, "-m", "process_engine.testing.agent_server", "--until-eof"]
    command += ["--port", str(port), "--log", str(log), "--behaviours", script.decode()]
    # A session of its own: Ctrl-C at the terminal is meant for the engine, whose agents are still needed.
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], PATIENCE_SECONDS)
    url = process.stdout.readline().decode().strip() if ready else ""
    if not url.startswith("http"):
        _end(process)
        raise RuntimeError(f"the test agents did not become ready (exit code {process.returncode})")
    return AgentProcess(process, url, log)


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.terminate()
    try:
        process.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
