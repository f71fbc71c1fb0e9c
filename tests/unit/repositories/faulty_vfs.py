"""An SQLite VFS that fails on command: the n-th write, sync or truncation, once or from then on."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import apsw

NAME = "faulty"


class Faults:
    """Counts operations that change a file, and fails number `at` (and all later ones if `lasting`)."""

    def __init__(self) -> None:
        self.kind: type[apsw.Error] = apsw.IOError
        self.at: int | None = None
        self.lasting = False
        self.count = 0
        self.raised = 0

    def arm(self, at: int, kind: type[apsw.Error], *, lasting: bool = False) -> None:
        self.count, self.at, self.kind, self.lasting, self.raised = 0, at, kind, lasting, 0

    def disarm(self) -> None:
        self.at = None

    def strike(self) -> None:
        if self.at is None:
            return
        self.count += 1
        if self.count == self.at or (self.lasting and self.count > self.at):
            self.raised += 1
            raise self.kind("injected")


class _File(apsw.VFSFile):
    def __init__(self, filename: str | apsw.URIFilename, flags: list[int], faults: Faults) -> None:
        super().__init__("", filename, flags)
        self._faults = faults

    def xWrite(self, data: bytes, offset: int) -> None:
        self._faults.strike()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        # The data may well have reached the disk: only the promise is missing.
        super().xSync(flags)
        self._faults.strike()

    def xTruncate(self, size: int) -> None:
        self._faults.strike()
        super().xTruncate(size)


class _Vfs(apsw.VFS):
    def __init__(self, faults: Faults) -> None:
        super().__init__(NAME, base="")
        self._faults = faults

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        assert name is not None
        return _File(name, flags, self._faults)


@contextmanager
def faulty_vfs() -> Generator[Faults, None, None]:
    """The VFS, registered as `NAME` while entered."""
    faults = Faults()
    vfs = _Vfs(faults)
    try:
        yield faults
    finally:
        vfs.unregister()
