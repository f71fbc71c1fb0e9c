"""Who runs executions on a store at the moment, seen from outside."""

from __future__ import annotations

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from process_engine.repositories.lock import StoreLock

# A process id has at most 7 digits on Linux; more is not ours.
_PID_BYTES = 20


class Holder(NamedTuple):
    """The process that holds a store's lock: its id where known, and since when it holds the lock."""

    pid: int | None
    since: datetime

    def __str__(self) -> str:
        return "another process" if self.pid is None else f"process {self.pid}"


def holder_of(db: Path) -> Holder | None:
    """The process that runs executions on this store; None if nobody does, or that cannot be seen."""
    try:
        descriptor = os.open(StoreLock(db).path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # A shared lock is refused while somebody holds the real one. Where nobody does, it is given back
        # within microseconds, and whoever wants the real one just then waits for that.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, _PID_BYTES, 0).strip()
        # The holder writes its id when it takes the lock, and never again.
        since = datetime.fromtimestamp(os.fstat(descriptor).st_mtime, UTC)
        return Holder(int(text) if text.isdigit() else None, since)
    except OSError:
        return None
    else:
        return None
    finally:
        os.close(descriptor)
