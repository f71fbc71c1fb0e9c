"""The shape of a store's tables: which version a file has, and how it gets to this one."""

from __future__ import annotations

from importlib import resources
from typing import cast

import apsw

from process_engine.errors import StorageIncompatible
from process_engine.repositories.connection import (
    nothing_there,
    require_full_pages,
    require_magic,
    run,
    transaction,
)

# "PrEg"; the first migration writes it. Tells a store of ours from any other SQLite file.
APPLICATION_ID = 0x50724567

MIGRATIONS = ("001_store.sql", "002_timers.sql", "003_mailbox.sql", "005_versions.sql")
"""Forward only: a released file never changes; a change of shape is another file at the end."""

NEWEST = len(MIGRATIONS)


def version_of(connection: apsw.Connection) -> int:
    """How many migrations the file has had; 0 for an empty one.

    Raises:
        StorageIncompatible: it is another program's, of a newer version, or cut off.
        apsw.Error: it cannot be read.
    """
    require_magic(connection)
    require_full_pages(connection)
    application = _number(connection, "application_id")
    version = _number(connection, "user_version")
    file = connection.db_filename("main")
    if application == 0 and version == 0 and _number(connection, "schema_version") == 0:
        return 0
    if application != APPLICATION_ID:
        raise StorageIncompatible(
            f"{file} is a database of another program.", remedy="Name another file with `--db`."
        )
    if version > NEWEST:
        raise StorageIncompatible(
            f"{file} has version {version} of the tables, this program knows {NEWEST}.",
            remedy="Use the newer version of process-engine that wrote it.",
        )
    return version


def migrate(connection: apsw.Connection) -> None:
    """Bring the tables to the newest version, each migration in a transaction of its own.

    Raises:
        StorageIncompatible: as `version_of`.
        apsw.Error: a migration failed; those before it stay.
    """
    for number in range(version_of(connection) + 1, NEWEST + 1):
        with transaction(connection):
            run(connection, _script(MIGRATIONS[number - 1]))
            run(connection, f"PRAGMA user_version = {number}")


def require_newest(connection: apsw.Connection) -> None:
    """Refuse a file that a reader cannot read as it is.

    Raises:
        NotFound: nothing was ever written to it.
        StorageIncompatible: as `version_of`, or it is of an older version.
        apsw.Error: it cannot be read.
    """
    version = version_of(connection)
    file = connection.db_filename("main")
    if version == 0:
        raise nothing_there(file)
    if version < NEWEST:
        raise StorageIncompatible(
            f"{file} has version {version} of the tables, this program reads {NEWEST}.",
            remedy="Run `process-engine resume` once: it brings the file up to date.",
        )


def _number(connection: apsw.Connection, pragma: str) -> int:
    return cast("int", run(connection, f"PRAGMA {pragma}")[0][0])


def _script(name: str) -> str:
    return resources.files("process_engine.repositories").joinpath("sql", name).read_text(encoding="utf-8")
