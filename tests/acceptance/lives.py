"""Lives of engines, run in processes of their own and a few at a time."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from tests.acceptance.worker import REPORT, Job, Report

ROOT = Path(__file__).resolve().parents[2]
# Most of a life is waiting for agents, timers and the disk: so many keep every core busy.
AT_ONCE = 3 * (os.cpu_count() or 1)

KILLED = -9

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Lives:
    """Forks engines on demand: `run` lives one life, for its exit code and, if it left one, its report."""

    def __init__(self) -> None:
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        self._mothers: list[subprocess.Popen[bytes]] = []

    def start(self, number: int) -> None:
        command = [sys.executable, "-m", "tests.acceptance.worker"]
        for _ in range(number):
            mother = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._mothers.append(mother)
            self._idle.put(mother)

    def stop(self) -> None:
        for mother in self._mothers:
            mother.communicate()

    def run(self, job: Job) -> tuple[int, Report | None]:
        """Live one life in a fork of a process that is ready."""
        mother = self._idle.get()
        try:
            assert mother.stdin is not None
            assert mother.stdout is not None
            mother.stdin.write(msgspec.json.encode(job) + b"\n")
            mother.stdin.flush()
            code = int(mother.stdout.readline())
        finally:
            self._idle.put(mother)
        return code, report_of(job)


def run_afresh(job: Job) -> tuple[int, Report | None]:
    """Live one life in an interpreter of its own, begun for it."""
    command = [sys.executable, "-m", "tests.acceptance.worker", msgspec.json.encode(job).decode()]
    return subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode, report_of(job)


def report_of(job: Job) -> Report | None:
    """The report that a life left, which is taken away."""
    path = Path(job.directory) / REPORT
    if not path.exists():
        return None
    report = msgspec.json.decode(path.read_bytes(), type=Report)
    path.unlink()
    return report


@contextmanager
def lives(at_once: int = AT_ONCE) -> Generator[Lives]:
    """Processes that are ready to fork engines."""
    ready = Lives()
    ready.start(at_once)
    try:
        yield ready
    finally:
        ready.stop()


def all_of(work: Callable[[Item], Answer], items: Iterable[Item], at_once: int = AT_ONCE) -> list[Answer]:
    """The answers in the order of the items, a few worked out at a time; the first error is raised."""
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(work, items))
