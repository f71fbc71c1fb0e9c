"""What a sequence of operations has met, and what it has to meet before it may end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

ACCEPTED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "open": ("again", "after a close", "to read"),
        "close": ("once", "twice"),
        "fence": ("read",),
        "commit": (
            "new",
            "further",
            "several",
            "one twice",
            "nothing",
            "large value",
            "large values",
            "held",
            "paused",
            "ended",
            "reopened",
        ),
        "save_definition": ("new", "again", "another"),
        "publish": ("new", "again"),
        "archive": ("away", "back"),
        "find_definition": ("newest", "stated", "nothing"),
        "versions": ("some", "full page", "nothing"),
        "load": ("found", "nothing"),
        "load_many": ("some", "nothing"),
        "load_definition": ("found", "nothing"),
        "load_blob": ("found", "nothing"),
        "list": ("page", "filtered", "continued", "full page", "nothing"),
        "resolve": ("some", "ten", "nothing"),
        "events": ("page", "full page", "nothing"),
        "feed": ("page", "continued", "full page", "nothing"),
        "open_executions": ("some",),
        "attempts": ("some", "to undo"),
        "timers": ("page", "continued", "full page", "tie", "tie of two executions", "nothing"),
        "approvals": ("page", "full page", "several of one", "of a paused one", "nothing"),
        "post": ("new", "again", "addressed", "several", "large value"),
        "mail": ("page", "continued", "full page", "nothing"),
        "waits": ("some",),
        "clear_mail": ("some", "nothing"),
        "submit": ("new", "duplicate", "by a reader"),
        "inbox": ("page", "full page", "nothing"),
        "answer": ("first", "again"),
        "read_answer": ("found", "nothing"),
    }
)
"""Every operation of the port, with the ways in which it has to have succeeded."""

REFUSED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "commit": (
            "older epoch",
            "newer epoch",
            "event there",
            "event twice",
            "misfit",
            "unwritable",
            "reader",
            "closed",
        ),
        "save_definition": ("reader", "closed"),
        "publish": ("other content", "closed"),
        "archive": ("unknown", "closed"),
        "post": ("newer epoch", "unwritable", "reader", "closed"),
        "clear_mail": ("reader", "closed"),
        "submit": ("unwritable", "closed"),
        "answer": ("unknown", "reader", "closed"),
        **dict.fromkeys(
            (
                "fence",
                "load",
                "load_many",
                "load_definition",
                "find_definition",
                "versions",
                "load_blob",
                "list",
                "resolve",
                "events",
                "feed",
                "open_executions",
                "attempts",
                "timers",
                "approvals",
                "mail",
                "waits",
                "inbox",
                "read_answer",
            ),
            ("closed",),
        ),
    }
)
"""The refusals there are: `open` and `close` need have none, a reader may read and leave commands."""

TO_READ_BESIDE = ("open", "to read beside")
LOCKED = ("open", "locked")
TAKEN_OVER = ("open", "taken over")
OVERTAKEN = (("commit", "overtaken"), ("post", "overtaken"), ("answer", "overtaken"))
"""Besides, where two can open a store at once: one reads beside the other; a second one that wants to write
is locked out, or takes over, and then the first is refused."""

Cell = tuple[str, str]


class Coverage:
    """Counts how often each operation succeeded and was refused, in each of its ways.

    `alone` says that the store cannot be opened by two at once.
    """

    def __init__(self, *, alone: bool) -> None:
        self._alone = alone
        self.accepted: Counter[Cell] = Counter()
        self.refused: Counter[Cell] = Counter()

    def missing(self) -> list[Cell]:
        """What has not been met yet."""
        return [
            *(cell for cell in self._to_accept() if not self.accepted[cell]),
            *(cell for cell in self._to_refuse() if not self.refused[cell]),
        ]

    def _to_accept(self) -> Iterator[Cell]:
        yield from _cells(ACCEPTED)
        if not self._alone:
            yield TO_READ_BESIDE
            if not self.refused[LOCKED]:
                yield TAKEN_OVER

    def _to_refuse(self) -> Iterator[Cell]:
        yield from _cells(REFUSED)
        if self.accepted[TAKEN_OVER]:
            yield from OVERTAKEN

    def table(self) -> str:
        """One line for each operation: how it succeeded, and how it was refused, each with its count."""
        good = _ways(self._to_accept(), self.accepted)
        bad = _ways(self._to_refuse(), self.refused)
        lines = [f"{operation:<16} {good[operation]} | {bad.get(operation, '-')}" for operation in good]
        return "\n".join((f"{'operation':<16} succeeded | refused", *lines))


def _cells(table: Mapping[str, tuple[str, ...]]) -> Iterator[Cell]:
    return ((operation, way) for operation, ways in table.items() for way in ways)


def _ways(wanted: Iterable[Cell], met: Counter[Cell]) -> dict[str, str]:
    ways: dict[str, list[str]] = {}
    for operation, way in dict.fromkeys((*wanted, *met)):
        ways.setdefault(operation, []).append(f"{way} {met[operation, way] or 'MISSING'}")
    return {operation: ", ".join(texts) for operation, texts in ways.items()}
