"""Commands as a terminal would run them, in processes of their own: for signals, kills and terminals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from process_engine.clock import SystemClock

PATIENCE = timedelta(seconds=30)


@contextmanager
def engine_process(*arguments: object, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """`process-engine …` in a process of its own, ended if the test does not end it."""
    command = [sys.executable, "-P", "-m", "process_engine", *(str(argument) for argument in arguments)]
    with subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for its end: exit code, stdout, stderr."""
    out, err = process.communicate(timeout=PATIENCE.total_seconds())
    return process.returncode, out, err


def on_a_terminal(*arguments: object, cwd: Path, **environment: str) -> str:
    """Everything that `process-engine …` writes to a terminal of 100 columns and 40 lines, until it ends."""
    command = [sys.executable, "-P", "-m", "process_engine", *(str(argument) for argument in arguments)]
    settings = {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    outer, inner = os.openpty()
    with subprocess.Popen(
        command,
        cwd=cwd,
        stdin=inner,
        stdout=inner,
        stderr=inner,
        env={**os.environ, **settings, **environment},
    ):
        os.close(inner)
        written = b"".join(_read_to_the_end(outer))
    os.close(outer)
    return written.decode()


def _read_to_the_end(terminal: int) -> Iterator[bytes]:
    # A terminal whose last program has gone answers with an error, not with an end.
    with suppress(OSError):
        while read := os.read(terminal, 65536):
            yield read


def wait_until(reached: Callable[[], object], what: str) -> None:
    """Look until something outside this process has come about."""
    clock, pause = SystemClock(), threading.Event()
    deadline = clock.now() + PATIENCE
    while not reached():
        assert clock.now() < deadline, f"waited in vain until {what}"
        pause.wait(0.01)


def steps_of(document: dict[str, object]) -> dict[str, str]:
    """Status by step id of an execution's document."""
    return {step["id"]: step["status"] for step in json.loads(json.dumps(document))["steps"]}
