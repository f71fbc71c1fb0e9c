"""What was published, and what an execution has taken of it.

Pure rules about events that come from outside. `core/waits.py` applies them; nothing here changes anything.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from process_engine.core.values import Value
from process_engine.ids import ExecutionId

# Long enough for a sentence, short enough for a line of a list.
MOST_NAME_CHARACTERS = 200
# Positions that an execution remembers one by one, in the record that is written with its every transition:
# about 2 KiB. Beyond that, it takes nothing that was published before the oldest of them.
MOST_REMEMBERED = 256


class NewEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What somebody publishes, before it has a place in the mailbox.

    `id` names it: a second one with the same id is the same event. `execution_id` is the only execution that
    may take it; None: every one. `published_at` is aware, UTC.
    """

    id: str
    name: str
    payload: Value
    published_at: datetime
    execution_id: ExecutionId | None = None
    by: str | None = None


class PublishedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event in the mailbox; `position` grows in the order of publishing and is never used again."""

    position: int
    event: NewEvent


class Received(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The positions of the events that an execution has taken: those in `taken`, in growing order, and
    whatever is not behind `floor`."""

    taken: tuple[int, ...] = ()
    floor: int = 0

    def knows(self, position: int) -> bool:
        """Whether the event at this position was taken, or is too old to tell."""
        return position <= self.floor or position in self.taken

    def with_event(self, position: int) -> Received:
        """The same with one more."""
        if self.knows(position):
            return self
        taken = tuple(sorted((*self.taken, position)))
        if len(taken) <= MOST_REMEMBERED:
            return Received(taken, self.floor)
        return Received(taken[1:], taken[0])


NOTHING_RECEIVED = Received()


def name_fault(name: object) -> str | None:
    """Why this cannot be the name of an event; None if it can."""
    if not isinstance(name, str) or not name.strip():
        return "is no name: it must be text"
    if len(name) > MOST_NAME_CHARACTERS:
        return f"is longer than {MOST_NAME_CHARACTERS} characters"
    return None if name.isprintable() else "holds characters that cannot be seen"
