"""Two stores side by side: the one under contract and the memory store, asked the same and compared."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

from process_engine.core.work import WorkItem
from process_engine.errors import ProcessEngineError
from process_engine.ids import ExecutionId
from process_engine.repositories.memory import MemoryRepository
from process_engine.runtime.ports import ExecutionRepository, FeedEntry, InboxEntry
from process_engine.testing.repository_contract.expectations import ContractBroken, StillClock, contrast

# More than a sequence ever makes.
ALL = 100_000
# So far behind the last number is one that nothing has.
_BEYOND = 7

Answer = TypeVar("Answer")
Given = TypeVar("Given")


class Mode(StrEnum):
    """How a store is open; one that is overtaken does not know it yet."""

    CLOSED = "closed"
    WRITER = "writer"
    READER = "reader"
    OVERTAKEN = "overtaken"


class Both(NamedTuple, Generic[Given]):
    """What belongs to the store under contract, and what belongs to the memory store."""

    subject: Given
    oracle: Given


class Refusal(NamedTuple):
    """An error, by all that a caller can tell it apart by."""

    kind: str
    code: str
    nothing_written: bool | None


Question = Callable[[ExecutionRepository, int], Awaitable[Answer]]
"""Asks a store; the number says which of a `Both` it is."""


class Numbers:
    """What the stores number by themselves: positions in the feed, or commands in the inbox.

    Each store may number as it likes, as long as the numbers grow. They are compared by their order.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._places: Both[dict[int, int]] = Both({}, {})
        self.known: list[Both[int]] = []

    def learn(self, numbers: Both[int]) -> None:
        """The next one has these numbers.

        Raises:
            ContractBroken: they have not grown.
        """
        last = self.known[-1].subject if self.known else 0
        if numbers.subject <= last:
            raise ContractBroken(f"{self._what} {numbers.subject} comes after {last}: they have to grow.")
        self.known.append(numbers)
        for places, number in zip(self._places, numbers, strict=True):
            places[number] = len(self.known)

    def place(self, number: int, side: int) -> int:
        """Which one, counted from 1, has this number.

        Raises:
            ContractBroken: none.
        """
        if number not in self._places[side]:
            raise ContractBroken(f"{self._what} {number} has come up, and was never given to anything.")
        return self._places[side][number]

    def number(self, place: int) -> Both[int]:
        """The number of that place; before the first and after the last there are numbers of nothing."""
        if place < 1:
            return Both(0, 0)
        if place > len(self.known):
            last = self.known[-1] if self.known else Both(0, 0)
            return Both(last.subject + _BEYOND, last.oracle + _BEYOND)
        return self.known[place - 1]


class Pair:
    """One way to each of the two stores, opened and closed together."""

    def __init__(self, subject: ExecutionRepository, oracle: MemoryRepository) -> None:
        self.stores: Both[ExecutionRepository] = Both(subject, oracle)
        self.mode = Mode.CLOSED
        self.clock = StillClock()

    async def open(self, *, writer: bool) -> Both[int]:
        """Open both; the answer is their fences."""
        for store in self.stores:
            await store.open(clock=self.clock, writer=writer)
        self.mode = Mode.WRITER if writer else Mode.READER
        return self.fences

    @property
    def fences(self) -> Both[int]:
        """The epochs of this opening."""
        return Both(self.stores.subject.fence, self.stores.oracle.fence)

    async def close(self) -> None:
        """Close both."""
        for store in self.stores:
            await store.close()
        self.mode = Mode.CLOSED

    async def ask(self, question: Question[Answer]) -> Both[Answer] | Refusal:
        """Ask both; an error has to be the same of both.

        Raises:
            ContractBroken: one refused and the other did not, or not in the same way.
        """
        oracle = await _asked(question, self.stores.oracle, 1)
        try:
            subject = await _asked(question, self.stores.subject, 0)
        except ContractBroken:
            raise
        except Exception as crash:
            raise ContractBroken(
                f"the store broke down with {crash!r}; the memory store: {oracle!r:.200}"
            ) from crash
        if isinstance(oracle, Refusal) and oracle == subject:
            return oracle
        if isinstance(oracle, Refusal) or isinstance(subject, Refusal):
            raise ContractBroken(differing(subject, oracle))
        if self.clock.busy:
            raise ContractBroken("the store has answered, and still counts as under way on its clock.")
        return Both(subject, oracle)

    async def same(self, question: Question[Answer]) -> Answer | Refusal:
        """Ask both; answers, too, have to be the same. The answer is the memory store's.

        Raises:
            ContractBroken: they are not.
        """
        answers = await self.ask(question)
        if isinstance(answers, Refusal):
            return answers
        if answers.subject != answers.oracle:
            raise ContractBroken(differing(answers.subject, answers.oracle))
        return answers.oracle


async def _asked(question: Question[Answer], store: ExecutionRepository, side: int) -> Answer | Refusal:
    try:
        return await question(store, side)
    except ProcessEngineError as error:
        return Refusal(type(error).__name__, error.code, getattr(error, "nothing_written", None))


def differing(subject: object, oracle: object) -> str:
    """What the store answered, and what it should have."""
    return "the two differ.\n" + contrast(subject, oracle, ("the store", "memory store"))


# ---------------------------------------------------------------- answers in a form that can be compared


async def attempts(store: ExecutionRepository) -> list[WorkItem]:
    """Every open attempt, in order."""
    return [item async for item in store.attempts()]


async def open_executions(store: ExecutionRepository) -> list[tuple[ExecutionId, str]]:
    """Every open execution; in which order is left to the store."""
    return sorted((id, hash) for id, hash in await store.open_executions())


async def timers(store: ExecutionRepository, page: int) -> list[WorkItem]:
    """Every timer, read page by page.

    Raises:
        ContractBroken: a page is longer than asked for, or does not go on behind the one before.
    """
    found: list[WorkItem] = []
    after: tuple[datetime, ExecutionId, str] | None = None
    while items := await store.timers(after=after, limit=page):
        last = items[-1]
        if len(items) > page or last.due is None:
            raise ContractBroken(f"a page of at most {page} timers has {len(items)} and ends with {last}.")
        place = (last.due, last.execution_id, last.key)
        if after is not None and place <= after:
            raise ContractBroken(f"the page of timers behind {after} ends with {place}.")
        found.extend(items)
        after = place
    return found


def feed_of(entries: Sequence[FeedEntry], numbers: Numbers, side: int) -> list[tuple[int, object]]:
    """Feed entries by their place in the order of all."""
    return [(numbers.place(entry.position, side), entry.event) for entry in entries]


def inbox_of(entries: Sequence[InboxEntry], numbers: Numbers, side: int) -> list[tuple[int, object]]:
    """Inbox entries by their place in the order of all."""
    return [(numbers.place(entry.id, side), entry.command) for entry in entries]
