"""`doctor`: whether this machine, the store and the settings are fit, with what to do where they are not."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple, cast

import apsw
from rich.text import Text

from process_engine.cli import outcomes
from process_engine.cli.agent_files import channel_settings, read_agents
from process_engine.cli.holder import holder_of
from process_engine.cli.printing import print_document
from process_engine.cli.screen import Screen
from process_engine.cli.summary import command_line
from process_engine.cli.text import span
from process_engine.cli.tools import Tools
from process_engine.clock import SystemClock
from process_engine.config import AGENTS_FILE
from process_engine.errors import ProcessEngineError
from process_engine.repositories import connection as disk
from process_engine.repositories import migrations, queries

Level = Literal["ok", "warn", "fail"]

OLDEST_PYTHON = (3, 11)
# Up to 3.51.2 two connections that write or checkpoint can damage a database in WAL mode.
OLDEST_SQLITE = (3, 51, 3)
# Below this a store of some thousand executions may not fit; below a tenth the next large output may not.
SCARCE_BYTES = 1024**3
TOO_FEW_BYTES = 100 * 1024**2
# A commit costs about one fsync: slower than this, recording a step is what people wait for.
SLOW_FSYNC_SECONDS = 0.05
FSYNCS = 5
# The longest pages of a store that are looked through without asking for patience.
QUICK_BYTES = 512 * 1024**2
# A clock that stands before this was never set.
EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)
# Clocks of one machine may be set back by this much without anybody noticing.
TOLERANCE = timedelta(seconds=1)

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


class Finding(NamedTuple):
    """One line of the doctor's report."""

    check: str
    level: Level
    message: str
    remedy: str = ""


def doctor(tools: Tools, *, agents: Path | None, db: Path, as_json: bool, no_color: bool) -> int:
    """Look at everything; 1 if something fails."""
    screen = Screen(no_color=no_color)
    findings: list[Finding] = []
    for finding in _findings(agents, db, screen):
        findings.append(finding)
        if not as_json:
            _tell(finding, screen)
    if as_json:
        print_document([finding._asdict() for finding in findings])
    failed = any(finding.level == "fail" for finding in findings)
    return outcomes.FAILED if failed else outcomes.COMPLETED


def _tell(finding: Finding, screen: Screen) -> None:
    level = (f"{finding.level:<4}", _COLOURS[finding.level])
    screen.say(Text.assemble(level, f"  {finding.check:<12}  {finding.message}"))
    if finding.remedy:
        screen.say(f"{'':20}{finding.remedy}", "dim")


def _findings(agents: Path | None, db: Path, screen: Screen) -> Iterator[Finding]:
    yield _python()
    yield _sqlite()
    yield _disk_space(db)
    yield _disk_speed(db)
    yield from _store(db)
    yield _agents(agents)
    yield _clock()
    yield _terminal(screen)


# ---------------------------------------------------------------- the machine


def _python() -> Finding:
    told = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}"
    if sys.version_info < OLDEST_PYTHON:
        return Finding("python", "fail", told, "Use Python 3.11 or newer.")
    return Finding("python", "ok", told)


def _sqlite() -> Finding:
    version = apsw.sqlite_lib_version()
    numbers = tuple(int(part) for part in version.split(".")[:3])
    if numbers < OLDEST_SQLITE:
        remedy = "Install a newer apsw: this SQLite can damage a store that two connections write to."
        return Finding("sqlite", "fail", version, remedy)
    return Finding("sqlite", "ok", version)


def _folder(db: Path) -> Path:
    """The directory in which the store is kept, wherever a link leads."""
    return db.resolve().parent


def _disk_space(db: Path) -> Finding:
    try:
        free = shutil.disk_usage(_folder(db)).free
    except OSError as error:
        return Finding(
            "disk space", "fail", f"{_folder(db)}: {error.strerror}", "Name a directory that exists."
        )
    told = f"{free / 1024**3:,.1f} GiB free in {_folder(db)}"
    if free < TOO_FEW_BYTES:
        return Finding("disk space", "fail", told, "Make room: what was recorded is safe, more is refused.")
    if free < SCARCE_BYTES:
        return Finding("disk space", "warn", told, "Make room before long.")
    return Finding("disk space", "ok", told)


def _disk_speed(db: Path) -> Finding:
    try:
        seconds = _fsync_seconds(_folder(db))
    except OSError as error:
        remedy = "The directory of the store must be writable; `--db` names another place."
        return Finding("disk speed", "fail", f"nothing can be written there: {error.strerror}", remedy)
    told = f"a write is safe after {seconds * 1000:.1f} ms"
    if seconds > SLOW_FSYNC_SECONDS:
        return Finding("disk speed", "warn", told, "Put the store on a local disk.")
    return Finding("disk speed", "ok", told)


def _fsync_seconds(folder: Path) -> float:
    """The time that a small write takes to reach the disk, in the middle of several."""
    with tempfile.TemporaryFile(dir=folder, prefix=".process-engine-") as file:
        return statistics.median(_timed(lambda: _write(file.fileno())) for _ in range(FSYNCS))


def _write(descriptor: int) -> None:
    os.write(descriptor, bytes(4096))
    os.fsync(descriptor)


def _timed(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _clock() -> Finding:
    now = SystemClock().now()
    told = f"{now:%Y-%m-%d %H:%M:%S} UTC, {now.astimezone():%H:%M} here ({now.astimezone():%Z})"
    if now < EARLIEST:
        return Finding("clock", "fail", told, "Set the clock: timers would be due at the wrong time.")
    return Finding("clock", "ok", told)


def _terminal(screen: Screen) -> Finding:
    encoding = screen.console.encoding
    if not screen.is_terminal:
        return Finding("terminal", "ok", "none; plain lines are written")
    told = f"{screen.console.width}×{screen.console.height}, {encoding}"
    if not encoding.lower().startswith("utf"):
        return Finding("terminal", "warn", told, "Set LANG to a UTF-8 locale to see every character.")
    return Finding("terminal", "ok", told)


# ---------------------------------------------------------------- store and settings


def _store(db: Path) -> Iterator[Finding]:
    if not db.exists():
        yield Finding("store", "ok", f"there is none at {db} yet; `run` begins one")
        return
    try:
        disk.require_whole(db)
        with disk.faults(nothing_written=True):
            connection = disk.connect(str(db), read_only=True)
        try:
            with disk.faults(nothing_written=True):
                yield from _looked_into(connection, db)
        finally:
            disk.close(connection)
    except ProcessEngineError as error:
        yield Finding("store", "fail", error.message, error.remedy)


def _looked_into(connection: apsw.Connection, db: Path) -> Iterator[Finding]:
    version = migrations.version_of(connection)
    if version == 0:
        yield Finding("store", "ok", f"{db} is empty; `run` begins a store there")
        return
    if version < migrations.NEWEST:
        told = f"{db} has version {version} of the tables, this program writes {migrations.NEWEST}"
        yield Finding("store", "warn", told, "The next `process-engine resume` brings it up to date.")
        return
    yield _soundness(connection, db)
    yield _executions(connection, db)
    yield from _recorded_time(connection)


def _soundness(connection: apsw.Connection, db: Path) -> Finding:
    size = db.stat().st_size
    ((mode,),) = disk.run(connection, "PRAGMA journal_mode")
    told = f"{db}, {size / 1024**2:,.1f} MiB, version {migrations.NEWEST}, {str(mode).upper()}"
    if size <= QUICK_BYTES:
        ((found,),) = disk.run(connection, "PRAGMA quick_check(1)")
        if found != "ok":
            return Finding("store", "fail", f"{told}: {found}", "Restore it from a backup.")
        told += ", sound"
    if mode != "wal":
        remedy = "Put the store on a local disk, or stop the program that changed its mode."
        return Finding("store", "warn", told, remedy)
    return Finding("store", "ok", told)


def _executions(connection: apsw.Connection, db: Path) -> Finding:
    still_open = len(disk.run(connection, queries.OPEN))
    holder = holder_of(db)
    told = f"{still_open} open"
    if holder is not None:
        return Finding("executions", "ok", f"{told}; {holder} runs executions since {holder.since:%H:%M} UTC")
    if still_open:
        remedy = f"`{command_line('resume', db=db)}` goes on with them, `explain` tells what each waits for."
        return Finding("executions", "warn", f"{told}, and no process runs them", remedy)
    return Finding("executions", "ok", told)


def _recorded_time(connection: apsw.Connection) -> Iterator[Finding]:
    """A finding only where something was recorded in the future: then the clock was set back."""
    newest = disk.run(connection, "SELECT body ->> 'timestamp' FROM events ORDER BY position DESC LIMIT 1")
    if not newest:
        return
    ahead = datetime.fromisoformat(cast("str", newest[0][0])) - SystemClock().now()
    if ahead > TOLERANCE:
        told = f"the newest event lies {span(ahead)} in the future: the clock was set back"
        yield Finding("clock", "warn", told, "Set it right; events keep their order either way.")


def _agents(explicit: Path | None) -> Finding:
    try:
        path, settings = read_agents(explicit, None)
        channels = channel_settings(path)
    except ProcessEngineError as error:
        return Finding("agents", "fail", error.message, error.remedy or "Correct the agents file.")
    if path is None:
        remedy = "Processes with agent tasks need one, here or beside the process."
        return Finding("agents", "warn", f"there is no {AGENTS_FILE} here", remedy)
    names = ", ".join(settings) or "none"
    ways = f"; channels: {', '.join(channels)}" if channels else ""
    return Finding("agents", "ok", f"{path}: {names}; `agents check` looks for them{ways}")
