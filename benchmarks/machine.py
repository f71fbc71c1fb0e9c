"""The machine that figures were measured on. No name and no path of it is told."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import apsw

GUARANTEE = "SQLite WAL, synchronous=FULL: each step's result is on the disk before the next step starts"

# What lives in memory: a sync there costs nothing, and proves nothing.
_IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")
_PAGE = b"\0" * 4096


def facts(directory: Path) -> dict[str, str]:
    """What is to be known about machine, software and source, in words."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}, {file_system(directory)}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "SQLite": f"{apsw.sqlite_lib_version()} (apsw {apsw.apsw_version()})",
        "guarantee": GUARANTEE,
    }


def resident_bytes() -> int:
    """The memory that this process has in use."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        # Where there is no /proc the largest it ever was has to do; macOS counts it in bytes.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * os.sysconf("SC_PAGE_SIZE")


def load() -> str:
    """The load averages of the last 1, 5 and 15 minutes."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def commit() -> str:
    """The checked-out commit, and whether files differ from it."""
    here = Path(__file__).resolve().parent
    head = _git(here, "rev-parse", "--short=12", "HEAD")
    if not head:
        return "unknown"
    return head + (" with changes" if _git(here, "status", "--porcelain", "--", "../src", "*.py") else "")


def _git(directory: Path, *arguments: str) -> str:
    command = ["git", "-C", str(directory), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def file_system(directory: Path) -> str:
    """The kind of file system that a directory is on; `unknown` where the system does not tell."""
    at = directory.resolve()
    found = [(len(place.parts), kind) for place, kind in _mounts() if at.is_relative_to(place)]
    # Of two on one place the later one counts.
    return max(reversed(found), default=(0, "unknown"), key=lambda entry: entry[0])[1]


def _mounts() -> Iterator[tuple[Path, str]]:
    try:
        text = Path("/proc/mounts").read_text(encoding="utf-8")
    except OSError:
        return
    for line in text.splitlines():
        _, place, kind, *_ = line.split()
        yield Path(place.encode().decode("unicode_escape")), kind


def is_in_memory(directory: Path) -> bool:
    """Whether files there never reach a disk."""
    return file_system(directory) in _IN_MEMORY


def syncs_per_second(directory: Path, seconds: float) -> float:
    """How often 4 KiB can be appended and synced one after the other: the median of the single syncs."""
    path, took = directory / "sync", list[float]()
    # macOS has no fdatasync.
    sync = getattr(os, "fdatasync", os.fsync)
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        end = perf_counter() + seconds
        while perf_counter() < end or not took:
            began = perf_counter()
            os.write(file, _PAGE)
            sync(file)
            took.append(perf_counter() - began)
    finally:
        os.close(file)
        path.unlink()
    return 1 / statistics.median(took)
