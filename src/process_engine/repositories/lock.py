"""The right to run executions on a file, held by one process at a time."""

from __future__ import annotations

import fcntl
import os
import threading
import weakref
from pathlib import Path

from process_engine.errors import StorageUnavailable, StoreLocked

# A process id has at most 7 digits on Linux; more is not ours.
_PID_BYTES = 20
# Somebody who asks whether the lock is held has gone after the first pause, unless the machine stands still.
_TRIES = 5
_PAUSE_SECONDS = 0.01


class StoreLock:
    """An advisory lock on `<path>.lock`, which ends with the process that holds it, however that ends.

    The file stays behind, and means nothing by itself: only the kernel's lock counts, so there is nothing to
    clean up after a kill. Children do not inherit the lock: it is closed on exec and after fork. The process
    id inside is for messages only.
    """

    def __init__(self, path: Path) -> None:
        # The way of a symbolic link must not lead to a second lock.
        resolved = path.resolve()
        self.path = resolved.with_name(resolved.name + ".lock")
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, or refuse at once.

        Raises:
            StoreLocked: another process, or another store of this one, has it.
            StorageUnavailable: the lock file cannot be made.
        """
        descriptor = self._open()
        try:
            _lock(descriptor)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            holder = _read_pid(descriptor)
            os.close(descriptor)
            raise self._refusal(holder) from None
        except OSError as fault:
            os.close(descriptor)
            raise self._unavailable(fault) from fault
        self._descriptor = descriptor
        _held.add(self)

    def release(self) -> None:
        """Give the lock up; nothing happens where it is not held."""
        descriptor, self._descriptor = self._descriptor, None
        _held.discard(self)
        if descriptor is not None:
            os.close(descriptor)

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as fault:
            raise self._unavailable(fault) from fault

    def _refusal(self, holder: int | None) -> StoreLocked:
        who = "another process" if holder is None else f"process {holder}"
        return StoreLocked(
            f"{who} runs executions on this store ({self.path} is locked).",
            holder=holder,
            remedy="Let it finish or end it; `pause`, `resume ID`, `retry`, `cancel` work meanwhile.",
        )

    def _unavailable(self, fault: OSError) -> StorageUnavailable:
        return StorageUnavailable(
            f"{self.path} cannot be locked: {fault.strerror}.",
            nothing_written=True,
            remedy="The directory must exist and be writable; `--db` names another place.",
        )


def _lock(descriptor: int) -> None:
    """Take the lock; who only asks whether it is held is waited for.

    Raises:
        BlockingIOError: another process has it.
    """
    for attempt in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            # Who only asks holds a shared lock for some microseconds, beside which there is room for ours.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            if attempt == _TRIES - 1:
                raise
            threading.Event().wait(_PAUSE_SECONDS)


_held: weakref.WeakSet[StoreLock] = weakref.WeakSet()


def _release_in_child() -> None:
    # Closing is enough and all that is right: unlocking would take the lock from the parent, too.
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_release_in_child)


def _read_pid(descriptor: int) -> int | None:
    text = os.pread(descriptor, _PID_BYTES, 0).strip()
    return int(text) if text.isdigit() else None
