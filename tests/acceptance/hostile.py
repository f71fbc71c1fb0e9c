"""What the tests of bad input share: a place, processes with limits, and what every refusal owes."""

from __future__ import annotations

import json
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.unit.cli.support import Answer, Terminal

STORE = "process-engine.db"
ECHO = "agents: {echo: {kind: echo}}\n"

# CPU, not wall clock: whatever else the machine does must not decide a test.
CPU_SECONDS = 2.0
# Heap and stacks of a whole engine with its HTTP client are 45 MiB; the kernel refuses any more than this.
DATA_MIB = 200
# Only for a process that hangs without using the CPU.
PATIENCE_SECONDS = 30

_LIMITED = 'ulimit -t "$1"; ulimit -d "$2"; shift 2; exec "$@"'


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory with one agent, which is the current one."""
    (tmp_path / "agents.yaml").write_text(ECHO, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str], place: Path) -> Terminal:
    return Terminal(capsys)


def limited(*arguments: object, cwd: Path, cpu_seconds: int = 10, data_mib: int = DATA_MIB) -> Answer:
    """`process-engine …` in a process of its own that the kernel ends, or gives no memory, at its limits."""
    command = [sys.executable, "-P", "-m", "process_engine", *(str(argument) for argument in arguments)]
    ran = subprocess.run(
        ["/bin/sh", "-c", _LIMITED, "sh", str(cpu_seconds), str(data_mib * 1024), *command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return Answer(ran.returncode, ran.stdout, ran.stderr)


@contextmanager
def soon(seconds: float = CPU_SECONDS) -> Iterator[None]:
    """Fails where what is inside used more CPU than that."""
    begun = time.process_time()
    yield
    used = time.process_time() - begun
    assert used < seconds, f"took {used:.1f} s of CPU"


def process(*steps: str, more: str = "") -> str:
    """A process with these steps, each the inside of a flow mapping or a message for the echo."""
    lines = "".join(f"  - {{{step}}}\n" for step in steps)
    return f"name: hostile\n{more}steps:\n{lines}"


def echo(message: object, step_id: str = "a", more: str = "") -> str:
    """A step that hands its message back."""
    return f"id: {step_id}, type: agent_task, agent: echo, message: {json.dumps(message)}{more}"


def executions(terminal: Terminal, place: Path) -> list[dict[str, object]]:
    """What the store holds; nothing where there is none."""
    return terminal("list", "--json").document if (place / STORE).exists() else []


def no_traceback(answer: Answer) -> None:
    assert "Traceback" not in answer.err + answer.out
    assert "fault of Process Engine" not in answer.err + answer.out


# ---------------------------------------------------------------- agents that do not speak HTTP well

Script = bytes | Callable[[socket.socket], None]


class RawAgent:
    """An agent on loopback that answers every call with these bytes, whatever they are, and hangs up.

    A callable script is given the connection instead. `calls` are the heads and bodies that arrived.
    """

    def __init__(self, script: Script) -> None:
        self.calls: list[bytes] = []
        agent = self

        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                agent.calls.append(_whole_request(self.request))
                # The caller may have had enough of it.
                with suppress(OSError):
                    script(self.request) if callable(script) else self.request.sendall(script)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Connection)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _whole_request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65536)
        if not part:
            return received
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [
        line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
    ]
    while len(body) < int(lengths[0] if lengths else 0):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answer_of(
    body: str | bytes, kind: str = "application/json", status: str = "200 OK", headers: str = ""
) -> bytes:
    """A whole answer in HTTP; `headers` are further lines, each with its end."""
    content = body if isinstance(body, bytes) else body.encode()
    lines = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n{headers}"
    return f"{lines}Connection: close\r\n\r\n".encode("latin-1") + content


def endless(head: bytes, chunk: bytes) -> Script:
    """Sends `chunk` again and again after `head`, as long as somebody listens."""

    def send(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(chunk)

    return send
