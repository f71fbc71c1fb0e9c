"""Connections to an SQLite file, and what its errors mean here."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, cast

import apsw

from process_engine.errors import (
    InternalError,
    NotFound,
    ProcessEngineError,
    StorageIncompatible,
    StorageUnavailable,
)

SqlValue = None | int | float | bytes | str
Row = tuple[SqlValue, ...]

MEMORY = ":memory:"

# How long a statement waits for another program's lock. Ours hold theirs for one commit.
BUSY_TIMEOUT_MILLISECONDS = 5_000
# Prepared statements kept: about 10 per table, for the row counts of `rows.Statement`.
_STATEMENTS = 256
# 16 MiB of pages: the largest value fits in, so that a transaction is not written out before its commit.
_CACHE_KIBIBYTES = 16 * 1024


# How every file of SQLite begins.
_MAGIC = b"SQLite format 3\0"
# One page of the least size there can be.
_SMALLEST_DATABASE = 512


class Cursor(Protocol):
    """The part of apsw's cursor that is used here; its own types need a newer Python than 3.11."""

    def execute(self, sql: str, values: Sequence[SqlValue] = (), /) -> Cursor: ...

    def fetchall(self) -> list[Row]: ...


def cursor_of(connection: apsw.Connection) -> Cursor:
    """A cursor of the connection."""
    return cast("Cursor", connection.cursor())


def run(connection: apsw.Connection, sql: str, values: Sequence[SqlValue] = ()) -> list[Row]:
    """Run one or more statements to their end; all rows that they gave.

    Raises:
        apsw.Error: one failed.
    """
    return cursor_of(connection).execute(sql, values).fetchall()


def connect(
    path: str, *, read_only: bool = False, create: bool = False, vfs: str | None = None
) -> apsw.Connection:
    """Open a file as it is; nothing is read or written yet.

    Raises:
        apsw.Error: it cannot be opened.
    """
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE
    if create:
        flags |= apsw.SQLITE_OPEN_CREATE
    connection = apsw.Connection(path, flags=flags, vfs=vfs, statementcachesize=_STATEMENTS)
    connection.set_busy_timeout(BUSY_TIMEOUT_MILLISECONDS)
    return connection


def close(connection: apsw.Connection) -> None:
    """Close a connection; what a failure leaves behind is what a killed process leaves."""
    with suppress(apsw.Error):
        connection.close()


def make_durable(connection: apsw.Connection, *, synchronous: str, exclusive: bool) -> None:
    """Switch to a write-ahead log that is on the disk when a commit returns.

    `exclusive` keeps the file locked and the log's index in memory, for a VFS that cannot share memory.

    Raises:
        StorageUnavailable: the file system cannot do it.
        apsw.Error: the file cannot be written.
    """
    if exclusive:
        run(connection, "PRAGMA locking_mode = EXCLUSIVE")
    ((mode,),) = run(connection, "PRAGMA journal_mode = WAL")
    if mode not in ("wal", "memory"):
        raise StorageUnavailable(
            f"the file system of {connection.db_filename('main')} cannot keep a write-ahead log.",
            nothing_written=True,
            remedy="Put the database on a local disk.",
        )
    run(connection, f"PRAGMA synchronous = {synchronous}")
    # Without effect but on macOS, where a plain fsync does not reach the disk.
    run(connection, "PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON")
    run(connection, f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}")


def require_whole(path: Path) -> None:
    """Refuse a file that SQLite would take for an empty one, and then overwrite, or throw its log away.

    Raises:
        StorageIncompatible: it is shorter than any database, or empty while its log is not.
    """
    size = _size(path)
    if 0 < size < _SMALLEST_DATABASE and not _size(_beside(path, "-journal")):
        raise StorageIncompatible(f"{path} is no database: it has only {size} bytes.", remedy=_OTHER)
    if size == 0 and _size(_beside(path, "-wal")) > 0:
        raise StorageIncompatible(f"{path} is empty but has a log: it was cut off.", remedy=_RESTORE)


def require_magic(connection: apsw.Connection) -> None:
    """Refuse a file that is no database at all, before anything else is said about it.

    Raises:
        StorageIncompatible: it does not begin as SQLite's files do.
    """
    path = Path(connection.db_filename("main"))
    if not path.is_file():
        return
    with path.open("rb") as file:
        beginning = file.read(len(_MAGIC))
    if beginning and beginning != _MAGIC:
        raise StorageIncompatible(f"{path} is no database.", remedy=_OTHER)


def require_full_pages(connection: apsw.Connection) -> None:
    """Refuse a file that ends in the middle of a page: SQLite would take the rest for zeros.

    After a crash that is no damage while there is a log, which holds the page, or a journal, which undoes it.

    Raises:
        StorageIncompatible: it does.
        apsw.Error: it cannot be read.
    """
    path = Path(connection.db_filename("main"))
    ((page_size,),) = run(connection, "PRAGMA page_size")
    mended = _size(_beside(path, "-wal")) or _size(_beside(path, "-journal"))
    if path.is_file() and path.stat().st_size % cast("int", page_size) and not mended:
        raise StorageIncompatible(f"{path} is damaged: its last page is cut off.", remedy=_RESTORE)


def _beside(path: Path, ending: str) -> Path:
    return Path(f"{path}{ending}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def require_there(path: Path) -> None:
    """Refuse to read a file that does not exist.

    Raises:
        NotFound: it does not.
    """
    if not path.exists():
        raise nothing_there(path)


def nothing_there(path: str | Path) -> NotFound:
    """The error of a store that nobody has begun."""
    return NotFound(
        f"there is no store at {path}.",
        remedy="Start one with `process-engine run FILE`, or name another with `--db`.",
    )


def read(connection: apsw.Connection, sql: str, values: Sequence[SqlValue] = ()) -> list[Row]:
    """All rows of one query, on the calling thread.

    Raises:
        StorageUnavailable, StorageIncompatible: it cannot be read.
    """
    with faults(nothing_written=True):
        return run(connection, sql, values)


@contextmanager
def transaction(connection: apsw.Connection) -> Generator[None, None, None]:
    """All that happens inside is written, or nothing is.

    Raises:
        apsw.Error: it could not begin or commit.
    """
    run(connection, "BEGIN IMMEDIATE")
    try:
        yield
        run(connection, "COMMIT")
    except BaseException:
        roll_back(connection)
        raise


def roll_back(connection: apsw.Connection) -> None:
    """Undo the open transaction; after some errors SQLite has done it by itself."""
    if connection.in_transaction:
        with suppress(apsw.Error):
            run(connection, "ROLLBACK")


@contextmanager
def faults(*, nothing_written: bool | None) -> Generator[None, None, None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except apsw.Error as error:
        raise explain(error, nothing_written=nothing_written) from error
    except UnicodeDecodeError as error:
        raise no_text(error) from error


def no_text(error: UnicodeDecodeError) -> StorageIncompatible:
    """What it means that a text of the file is none."""
    return StorageIncompatible(
        f"the database is damaged: a text in it is none ({error.reason}).", remedy=_RESTORE
    )


def explain(error: apsw.Error, *, nothing_written: bool | None) -> ProcessEngineError:
    """What an error of SQLite means for the store, and what to do about it."""
    said = str(error).removesuffix(".")
    match error:
        case apsw.NotADBError() | apsw.FormatError():
            return StorageIncompatible(f"the file is no database: {said}.", remedy=_OTHER)
        case apsw.CorruptError() | apsw.SQLError() | apsw.MismatchError():
            return StorageIncompatible(f"the database is damaged: {said}.", remedy=_RESTORE)
        case apsw.ConstraintError() | apsw.MisuseError() | apsw.ThreadingViolationError():
            return InternalError(f"the store was used wrongly: {said}; nothing was written.")
        case _:
            remedy = next((text for kind, text in _REMEDIES if isinstance(error, kind)), "")
            return StorageUnavailable(
                f"the database did not answer: {said}.", nothing_written=nothing_written, remedy=remedy
            )


_RESTORE = "Restore it from a backup."
_OTHER = "Name another file with `--db`, or restore this one from a backup."
_PERMISSION = "The file and its directory must exist and be writable."
_REMEDIES: tuple[tuple[type[apsw.Error], str], ...] = (
    (apsw.FullError, "The disk is full: make room; what was recorded before is safe."),
    (apsw.BusyError, "Another program holds the file in a transaction: end that."),
    (apsw.LockedError, "Another program holds the file in a transaction: end that."),
    (apsw.ReadOnlyError, _PERMISSION),
    (apsw.PermissionsError, _PERMISSION),
    (apsw.CantOpenError, _PERMISSION),
    (apsw.IOError, "The disk reported a fault: look into the system's log."),
    (apsw.NoMemError, "The machine is out of memory."),
)
