"""How far a step has got that runs once for each item of a list.

What each item gave stands in the history, not here: the record stays small however long the list is, since
it is written anew with every item.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import msgspec
from msgspec.structs import replace

from process_engine.errors import InternalError


class OpenItem(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """An item that has begun and not ended: it runs, waits until `due` to be tried again, or is to be begun
    again as soon as there is room (neither).

    `attempt` counts the attempts begun; `interruptions` are those among them that ended with the process,
    `forgiven` those before somebody asked to try again: neither counts against `max_attempts`.
    """

    index: int
    attempt: int = 1
    running: bool = True
    due: datetime | None = None
    interruptions: int = 0
    forgiven: int = 0


class Items(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The items of one visit: `total` of them, of which those below `next` have begun.

    Those that have begun are `done`, have `failed` for good and were passed over, or are `open`; `running`
    counts those of the open ones that run. `since` is the sequence number of the event that began the visit:
    what the items gave is told after it.
    """

    total: int
    since: int
    next: int = 0
    done: int = 0
    failed: int = 0
    running: int = 0
    open: tuple[OpenItem, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Every item has ended: what they gave can be put together."""
        return self.done + self.failed == self.total

    @property
    def slots(self) -> int:
        """The slots held: one for each item that runs, and one while the results are put together."""
        return self.running or int(self.is_complete)

    def find(self, index: int) -> OpenItem | None:
        """The open item of that index."""
        for item in self.open:
            if item.index == index:
                return item
        return None

    def startable(self, now: datetime, most: int) -> OpenItem | None:
        """The item to begin next if there is a slot, as it will be then; `most` may be open at once.

        What has begun comes before what has not, so that no item waits for the whole list to be tried again.
        """
        if self.running < len(self.open):
            for item in self.open:
                if not item.running and (item.due is None or item.due <= now):
                    return replace(item, attempt=item.attempt + 1, running=True, due=None)
        if self.next < self.total and len(self.open) < most:
            return OpenItem(self.next)
        return None

    # ------------------------------------------------------------ what events do

    def begun(self, index: int, attempt: int) -> Items:
        """After an attempt of an item has begun."""
        if index == self.next and attempt == 1 and index < self.total:
            opened = (*self.open, OpenItem(index))
            return replace(self, next=index + 1, running=self.running + 1, open=opened)
        item = self.find(index)
        if item is None or item.running or attempt != item.attempt + 1:
            raise InternalError(f"attempt {attempt} of item {index} is not the next one.")
        return self._with(replace(item, attempt=attempt, running=True, due=None), self.running + 1)

    def repeated(self, index: int, due: datetime | None, *, interrupted: bool = False) -> Items:
        """After an attempt has failed that is to be followed by another, at `due` or when somebody asks."""
        item = self._running_item(index)
        times = item.interruptions + interrupted
        return self._with(replace(item, running=False, due=due, interruptions=times), self.running - 1)

    def ended(self, index: int, *, done: bool) -> Items:
        """After an item has ended: `done`, or failed for good and passed over."""
        place = self.open.index(self._running_item(index))
        kept = self.open[:place] + self.open[place + 1 :]
        done_now, failed = (self.done + 1, self.failed) if done else (self.done, self.failed + 1)
        return replace(self, done=done_now, failed=failed, running=self.running - 1, open=kept)

    def closed(self) -> Items:
        """After the visit has ended. Where it is taken up again, what was open begins again, forgiven."""
        if not self.open:
            return self
        kept = tuple(
            OpenItem(
                item.index,
                item.attempt,
                running=False,
                interruptions=item.interruptions,
                forgiven=item.attempt - item.interruptions,
            )
            for item in self.open
        )
        return replace(self, running=0, open=kept)

    def _running_item(self, index: int) -> OpenItem:
        item = self.find(index)
        if item is None or not item.running:
            raise InternalError(f"item {index} is not running.")
        return item

    def _with(self, changed: OpenItem, running: int) -> Items:
        kept = tuple([changed if item.index == changed.index else item for item in self.open])
        return replace(self, running=running, open=kept)


class HasItems(Protocol):
    """What may run once for each item."""

    @property
    def items(self) -> Items | None: ...


def closed(step: HasItems) -> Items | None:
    """What is kept of a step's items once its visit has ended."""
    return step.items.closed() if step.items is not None else None
