"""Published versions in the tables of an SQLite store: what is asked, and the rows that are written."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from process_engine.definition.versions import VersionKey, version_key
from process_engine.errors import NotFound, VersionExists
from process_engine.ids import DefinitionHash
from process_engine.repositories.connection import Cursor, Row, SqlValue
from process_engine.repositories.queries import Query
from process_engine.runtime.ports import PublishedVersion, StoredDefinition

_COLUMNS = "name, version, hash, published_at, published_by, archived_at"
_SAVE = "INSERT OR IGNORE INTO definitions VALUES (?, ?, ?, CAST(? AS TEXT))"
_PUBLISH = "INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)"
_OF_KEY = "name = ? AND (major, minor, patch) = (?, ?, ?)"
_ONE = f"SELECT {_COLUMNS} FROM versions WHERE {_OF_KEY}"
_ARCHIVE = f"UPDATE versions SET archived_at = ? WHERE {_OF_KEY}"
_LIST = """
    SELECT name, version, hash, published_at, published_by, archived_at FROM versions
    WHERE {} ORDER BY name, major DESC, minor DESC, patch DESC LIMIT ?
"""
_LATEST = """
    SELECT hash FROM versions WHERE name = ? AND archived_at IS NULL
    ORDER BY major DESC, minor DESC, patch DESC LIMIT 1
"""
_STATED = f"SELECT hash FROM versions WHERE archived_at IS NULL AND {_OF_KEY}"
# One statement sees one moment: drafts count only where nothing of the name was ever published.
_FOUND = """
    WITH published AS ({})
    SELECT hash, name, version, CAST(document AS BLOB) FROM definitions
    WHERE hash = (SELECT hash FROM published)
       OR (name = ? AND {} AND NOT EXISTS (SELECT 1 FROM versions WHERE versions.name = definitions.name))
    ORDER BY rowid DESC LIMIT 1
"""


def save(cursor: Cursor, definition: StoredDefinition) -> None:
    """Keep a definition under its hash; again is no change."""
    cursor.execute(_SAVE, (definition.hash, definition.name, definition.version, definition.document))


def publish(
    cursor: Cursor, definition: StoredDefinition, key: VersionKey, at: datetime, by: str | None
) -> PublishedVersion:
    """Write a version and its definition; what is there with the same content stays.

    Raises:
        VersionExists: it is there with other content.
    """
    there = _one(cursor, definition.name, key)
    if there is not None and there.hash != definition.hash:
        raise VersionExists(definition.name, definition.version, there.version)
    if there is not None:
        return there
    save(cursor, definition)
    made = PublishedVersion(
        process=definition.name,
        version=definition.version,
        hash=definition.hash,
        published_at=at,
        published_by=by,
    )
    cursor.execute(_PUBLISH, (made.process, *key, made.version, made.hash, at.isoformat(), by))
    return made


def archive(cursor: Cursor, name: str, version: str, at: datetime | None) -> PublishedVersion:
    """Take a version out of use, or back into it; archiving an archived one keeps the first moment.

    Raises:
        NotFound: it was never published.
    """
    key = key_or_none(version)
    there = _one(cursor, name, key) if key is not None else None
    if key is None or there is None:
        raise not_published(name, version)
    moment = (there.archived_at or at) if at is not None else None
    cursor.execute(_ARCHIVE, (None if moment is None else moment.isoformat(), name, *key))
    archived = _one(cursor, name, key)
    assert archived is not None
    return archived


def versions(name: str | None, limit: int) -> Query:
    """The published versions of one process, or of all, by name, the newest first."""
    if name is None:
        return _LIST.format("TRUE"), (limit,)
    return _LIST.format("name = ?"), (name, limit)


def found(name: str, version: str | None) -> Query | None:
    """The definition that a name stands for; None where the version is none."""
    if version is None:
        return _FOUND.format(_LATEST, "TRUE"), (name, name)
    key = key_or_none(version)
    if key is None:
        return None
    values: tuple[SqlValue, ...] = (name, *key, name, version)
    return _FOUND.format(_STATED, "version = ?"), values


def definition_of(row: Row) -> StoredDefinition:
    """The definition that a row of `found` holds."""
    hash, name, version, document = cast("tuple[str, str, str, bytes]", row)
    return StoredDefinition(hash=DefinitionHash(hash), name=name, version=version, document=document)


def version_of(row: Row) -> PublishedVersion:
    """The version that a row of `versions` holds."""
    name, version, hash, published_at, by, archived_at = cast(
        "tuple[str, str, str, str, str | None, str | None]", row
    )
    return PublishedVersion(
        process=name,
        version=version,
        hash=DefinitionHash(hash),
        published_at=datetime.fromisoformat(published_at),
        published_by=by,
        archived_at=None if archived_at is None else datetime.fromisoformat(archived_at),
    )


def key_or_none(version: str) -> VersionKey | None:
    """The key of a version, None for a text that is none."""
    try:
        return version_key(version)
    except ValueError:
        return None


def not_published(name: str, version: str) -> NotFound:
    """What is told about a version that nobody has published."""
    return NotFound(
        f"version {version} of process {name} was never published.",
        remedy="`process-engine versions` shows what there is.",
    )


def _one(cursor: Cursor, name: str, key: VersionKey) -> PublishedVersion | None:
    rows = cursor.execute(_ONE, (name, *key)).fetchall()
    return version_of(rows[0]) if rows else None
