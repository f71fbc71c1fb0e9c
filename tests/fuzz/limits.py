"""One case held against one target: an answer or a refusal, within a second, and within 200 MiB."""

from __future__ import annotations

import gc
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tests.fuzz.targets import TARGETS

# CPU, not wall clock: whatever else the machine does must not decide a test.
CPU_SECONDS = 1.0
# What cases may take beyond what the fuzzer itself has when it begins.
MEMORY_MIB = 200

CORPUS = Path(__file__).with_name("corpus")


class Finding(AssertionError):
    """A case that broke a promise."""


class TooSlow(BaseException):
    """A case is being worked on for longer than it may; no `except Exception` on its way hides that."""


@dataclass
class Tally:
    """How many cases were tried, and how many of them were accepted."""

    cases: int = 0
    accepted: int = 0


def hold(target: str, case: bytes, tally: Tally | None = None) -> None:
    """Give the case to the target.

    Raises:
        Finding: something else came out than an answer or a refusal, or nothing did in time.
    """
    try:
        accepted = _answered(target, case)
    except KeyboardInterrupt:
        raise
    # A panic in an extension module is no Exception.
    except BaseException as error:
        raise Finding(f"{target}: {type(error).__name__}: {str(error)[:300]}") from error
    if tally is not None:
        tally.cases += 1
        tally.accepted += accepted


def _answered(target: str, case: bytes) -> bool:
    """Whether the case was accepted. One that takes too long is slow only if it is slow again:
    collecting the fuzzer's own garbage, or another machine on the same processor, is not its fault.
    """
    try:
        with at_most(CPU_SECONDS):
            return TARGETS[target](case)
    except TooSlow:
        gc.collect()
    with at_most(CPU_SECONDS):
        return TARGETS[target](case)


@contextmanager
def at_most(cpu_seconds: float) -> Iterator[None]:
    """Raises TooSlow in what is inside as soon as this process has used so much CPU on it."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow(f"over {cpu_seconds} s of CPU")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def limit_memory(mebibytes: int = MEMORY_MIB) -> None:
    """From now on this process gets so much more memory than it has, and MemoryError beyond that (Linux)."""
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
        most = pages * resource.getpagesize() + mebibytes * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (most, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def kept_cases() -> list[tuple[str, Path]]:
    """The cases of the corpus, each with its target, which its name begins with."""
    return [(path.name.partition("-")[0], path) for path in sorted(CORPUS.glob("*.txt"))]


def keep(target: str, case: bytes, name: str) -> Path:
    """Add a case to the corpus."""
    path = CORPUS / f"{target}-{name}.txt"
    path.write_bytes(case)
    return path
