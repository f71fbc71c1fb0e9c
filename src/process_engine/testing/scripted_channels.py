"""Channels that take every notice, tell nobody, and keep what they were given."""

from __future__ import annotations

from process_engine.runtime.ports import Delivery, Notice


class ScriptedChannels:
    """A `Channels` whose `notices` are all that was handed over, in order."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []

    async def deliver(self, notice: Notice) -> Delivery:
        """Take it."""
        self.notices.append(notice)
        return Delivery(recipients=notice.recipients)

    def lacks(self, channel: str, *, url: bool, recipients: bool) -> str | None:
        """Nothing is missing."""
        return None
