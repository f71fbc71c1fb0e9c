"""The mailbox of a store in SQLite: what was published, by the order of publishing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from process_engine.core.mailbox import NewEvent, PublishedEvent
from process_engine.repositories.connection import Cursor
from process_engine.repositories.records import MAIL, to_microseconds
from process_engine.runtime.ports import Posted

_POST = """
    INSERT INTO mailbox (id, name, execution_id, executions, published_at, event)
    VALUES (?, ?, ?, (SELECT coalesce(max(number), 0) FROM executions), ?, ?)
    RETURNING position
"""
_FIRST = "SELECT position, event FROM mailbox WHERE id = ?"
_BLOB = "INSERT OR IGNORE INTO blobs (sha256, size, content) VALUES (?, ?, CAST(? AS TEXT))"


class Letters:
    """Events to publish, ready to be written."""

    def __init__(self, events: Sequence[NewEvent], blobs: Mapping[str, bytes]) -> None:
        self._texts = [(event, MAIL.encode(event)) for event in events]
        self._blobs = blobs

    @property
    def blob_bytes(self) -> int:
        """The size of the large payloads."""
        return sum(map(len, self._blobs.values()))

    def write(self, cursor: Cursor) -> list[Posted]:
        """Write all that are new inside an open transaction; what the mailbox holds of each then."""
        for sha256, content in self._blobs.items():
            cursor.execute(_BLOB, (sha256, len(content), content))
        return [_posted(cursor, event, text) for event, text in self._texts]


def _posted(cursor: Cursor, event: NewEvent, text: str) -> Posted:
    # Asked first: an insertion that is refused would use up a position all the same.
    for position, first in cast("list[tuple[int, str]]", cursor.execute(_FIRST, (event.id,)).fetchall()):
        return Posted(PublishedEvent(position, MAIL.decode(first)), repeated=True)
    row = (event.id, event.name, event.execution_id, to_microseconds(event.published_at), text)
    ((new,),) = cursor.execute(_POST, row).fetchall()
    # As it will be read: what was written may have been given in another form.
    return Posted(PublishedEvent(cast("int", new), MAIL.decode(text)))
