"""A disk that misbehaves on command: it counts, kills, fails, or forgets what was not synced.

It is an SQLite VFS over the ordinary one, and shares no memory between connections, so a store on it is
locked exclusively (see `SqliteRepository(vfs=…)`)::

    disk = FailingDisk()
    with registered(disk) as vfs:
        store = SqliteRepository(path, vfs=vfs)
        …
        disk.arm(17, apsw.FullError)  # from now on the 17th operation that changes a file fails

`KillingDisk` ends its own process, `VolatileDisk` says what a power cut would leave. Operations that change a
file are numbered from 1, over all files: writes, syncs, truncations, deletions.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from random import Random
from typing import Literal, NoReturn

import apsw

Kind = Literal["write", "sync", "truncate", "delete"]

# What a disk writes in one piece: a torn page is torn between two of these.
SECTOR_BYTES = 512

_vfs_numbers = count(1)


@dataclass(frozen=True)
class Operation:
    """One operation that changes a file.

    `data` and `offset` belong to a write; a truncation to `size` bytes may also make the file longer; `size`
    of a deletion is 1 if the directory is synced with it.
    """

    number: int
    kind: Kind
    path: str
    data: bytes = b""
    offset: int = 0
    size: int = 0


class WatchedFile(apsw.VFSFile):
    """A file of the ordinary VFS that tells its disk about every operation that changes it."""

    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int], disk: Disk) -> None:
        super().__init__("", name, flags)
        self._path = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        self._disk = disk

    def xWrite(self, data: bytes, offset: int) -> None:
        operation = self._disk.next("write", self._path, data=bytes(data), offset=offset)
        self._disk.before(operation, self)
        self._write(data, offset)
        self._disk.after(operation)

    def xSync(self, flags: int) -> None:
        operation = self._disk.next("sync", self._path)
        self._disk.before(operation, self)
        if self._disk.really_syncs:
            super().xSync(flags)
        self._disk.after(operation)

    def xTruncate(self, newsize: int) -> None:
        operation = self._disk.next("truncate", self._path, size=newsize)
        self._disk.before(operation, self)
        super().xTruncate(newsize)
        self._disk.after(operation)

    def write_half(self, operation: Operation) -> None:
        """Carry out the first half of a write, as a process may that dies in it."""
        self._write(operation.data[: len(operation.data) // 2], operation.offset)

    def _write(self, data: bytes, offset: int) -> None:
        # What apsw takes here is a Buffer, a type that Python 3.11 does not have.
        super().xWrite(data, offset)  # pyright: ignore[reportUnknownMemberType]


class Disk:
    """Counts the operations that change a file; a subclass says what else happens at each.

    With `really_syncs=False` a sync is counted and the operating system not asked: enough, and much faster,
    where no real machine loses its power.
    """

    def __init__(self, *, really_syncs: bool = True) -> None:
        self.really_syncs = really_syncs
        self.operations = 0

    def next(self, kind: Kind, path: str, *, data: bytes = b"", offset: int = 0, size: int = 0) -> Operation:
        """The operation that is about to happen, with its number."""
        self.operations += 1
        return Operation(self.operations, kind, path, data, offset, size)

    def opened(self, path: str) -> None:
        """A file was opened, and made if need be."""

    def before(self, operation: Operation, file: WatchedFile | None) -> None:
        """The operation is about to happen; what is raised here is what SQLite gets. No file: a deletion."""

    def after(self, operation: Operation) -> None:
        """The operation has happened; what is raised here is what SQLite gets."""


class KillingDisk(Disk):
    """Ends its own process by SIGKILL right before operation `at`, or, `torn`, after half of a write.

    Without `at` it only counts.
    """

    def __init__(self, at: int | None = None, *, torn: bool = False) -> None:
        super().__init__()
        self._at = at
        self._torn = torn

    def before(self, operation: Operation, file: WatchedFile | None) -> None:
        if operation.number == self._at:
            if self._torn and operation.kind == "write" and file is not None:
                file.write_half(operation)
            _die()


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    # The signal may reach another thread first; this one must get no further.
    while True:
        signal.pause()


class FailingDisk(Disk):
    """Fails an operation on command; until it is armed, and once disarmed, it behaves.

    A sync that fails may well have done its work: only the promise is missing. `raised` counts the failures
    since it was armed.
    """

    def __init__(self, *, really_syncs: bool = True) -> None:
        super().__init__(really_syncs=really_syncs)
        self.raised = 0
        self._kind: type[apsw.Error] = apsw.IOError
        self._at: int | None = None
        self._lasting = False

    def arm(self, at: int, kind: type[apsw.Error], *, lasting: bool = False) -> None:
        """Fail the `at`-th operation from now, counted from 1, and if `lasting` every later one."""
        self._at, self._kind, self._lasting = self.operations + at, kind, lasting
        self.raised = 0

    def disarm(self) -> None:
        """Behave from now on."""
        self._at = None

    def before(self, operation: Operation, file: WatchedFile | None) -> None:
        if operation.kind != "sync":
            self._strike(operation)

    def after(self, operation: Operation) -> None:
        if operation.kind == "sync":
            self._strike(operation)

    def _strike(self, operation: Operation) -> None:
        if self._at is None or operation.number < self._at:
            return
        if operation.number == self._at or self._lasting:
            self.raised += 1
            raise self._kind(f"injected at operation {operation.number}")


class VolatileDisk(Disk):
    """Knows at any moment what a power cut would leave: what was synced, and of the rest what chance keeps.

    A file exists for certain once it was synced for the first time. A deletion is certain if SQLite asked for
    that, else once the directory was synced, and may come undone until then.
    """

    def __init__(self) -> None:
        super().__init__(really_syncs=False)
        self._durable: dict[str, bytes] = {}
        self._pending: list[Operation] = []

    @property
    def pending(self) -> int:
        """Operations that a power cut could undo now."""
        return len(self._pending)

    def opened(self, path: str) -> None:
        known = path in self._durable or any(operation.path == path for operation in self._pending)
        if not known and (content := Path(path).read_bytes()):
            self._durable[path] = content

    def after(self, operation: Operation) -> None:
        if operation.kind == "sync":
            self._make_durable(operation.path)
            return
        self._pending.append(operation)
        if operation.kind == "delete" and operation.size:
            self._forget(operation.path)

    def _make_durable(self, path: str) -> None:
        if path not in self._durable and path.endswith(("-wal", "-journal")):
            # SQLite syncs the directory with the first sync of a log: what was deleted there stays so.
            for deleted in {one.path for one in self._pending if one.kind == "delete"}:
                self._forget(deleted)
        mine = [one for one in self._pending if one.path == path]
        self._pending = [one for one in self._pending if one.path != path]
        self._durable.setdefault(path, b"")
        _apply(self._durable, mine)

    def _forget(self, path: str) -> None:
        """Take a deletion for certain; what was written to a file of this name since then is kept."""
        deletions = [at for at, one in enumerate(self._pending) if (one.path, one.kind) == (path, "delete")]
        self._pending = [
            one for at, one in enumerate(self._pending) if one.path != path or at > deletions[-1]
        ]
        self._durable.pop(path, None)

    def after_power_cut(self, chance: Random, *, scattered: bool = False) -> Mapping[str, bytes]:
        """The files by their paths, as a cut right now might leave them.

        Of the operations that were not synced a suffix is lost, and the first lost write may be there in
        part. `scattered`: each of them, and each sector of each write, is lost or kept by itself, as on a
        disk that writes in whatever order it likes.
        """
        kept = _scattered(self._pending, chance) if scattered else _beginning(self._pending, chance)
        files = dict(self._durable)
        _apply(files, kept)
        return files


def _beginning(pending: list[Operation], chance: Random) -> list[Operation]:
    length = chance.randint(0, len(pending))
    kept, lost = pending[:length], pending[length:]
    if lost and lost[0].kind == "write" and chance.random() < 0.5:
        kept.append(replace(lost[0], data=lost[0].data[: chance.randrange(len(lost[0].data))]))
    return kept


def _scattered(pending: list[Operation], chance: Random) -> list[Operation]:
    kept: list[Operation] = []
    for operation in pending:
        if operation.kind != "write":
            kept += [operation] if chance.random() < 0.5 else []
            continue
        for start in range(0, len(operation.data), SECTOR_BYTES):
            if chance.random() < 0.5:
                piece = operation.data[start : start + SECTOR_BYTES]
                kept.append(replace(operation, data=piece, offset=operation.offset + start))
    return kept


def _apply(files: dict[str, bytes], operations: list[Operation]) -> None:
    for operation in operations:
        content = files.get(operation.path, b"")
        match operation.kind:
            case "write":
                end = operation.offset + len(operation.data)
                padded = content.ljust(operation.offset, b"\0")
                files[operation.path] = padded[: operation.offset] + operation.data + padded[end:]
            case "truncate":
                files[operation.path] = content[: operation.size].ljust(operation.size, b"\0")
            case _:
                files.pop(operation.path, None)


class _Vfs(apsw.VFS):
    def __init__(self, name: str, disk: Disk) -> None:
        super().__init__(name, base="")
        self._disk = disk

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        file = WatchedFile(name, flags, self._disk)
        if name is not None:
            self._disk.opened(name.filename() if isinstance(name, apsw.URIFilename) else name)
        return file

    def xDelete(self, filename: str, syncdir: bool) -> None:
        operation = self._disk.next("delete", filename, size=int(syncdir))
        self._disk.before(operation, None)
        super().xDelete(filename, syncdir)
        self._disk.after(operation)


@contextmanager
def registered(disk: Disk) -> Generator[str]:
    """While entered, SQLite knows a VFS on this disk by the name that is given; close every store before."""
    name = f"watched-{next(_vfs_numbers)}"
    vfs = _Vfs(name, disk)
    try:
        yield name
    finally:
        vfs.unregister()
