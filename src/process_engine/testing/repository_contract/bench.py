"""Two stores side by side, with all that is known of them, and how they are opened and closed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import TypeVar

from process_engine.core.commands import AnyCommand
from process_engine.core.mailbox import NewEvent
from process_engine.errors import StoreLocked
from process_engine.ids import DefinitionHash, ExecutionId
from process_engine.repositories.memory import MemoryRepository, Tables
from process_engine.testing.repository_contract.coverage import LOCKED, Coverage
from process_engine.testing.repository_contract.expectations import ContractBroken, StoreAt
from process_engine.testing.repository_contract.histories import Author
from process_engine.testing.repository_contract.sides import Both, Mode, Numbers, Pair, Question, Refusal

Answer = TypeVar("Answer")

UNKNOWN = ExecutionId("nobody")
"""An execution that there never is."""


class Bench:
    """Two stores, what is known of them, and the ways to open and close them.

    `main` is who runs executions; `beside` reads at the same time; `zombie` was overtaken and does not know
    it. `line` tells the last operation. `refused_blobs` were never committed.
    """

    def __init__(self, store_at: StoreAt, place: Path, rng: Random, *, alone: bool) -> None:
        self.rng = rng
        self.author = Author(rng)
        self.coverage = Coverage(alone=alone)
        self.positions = Numbers("position")
        self.entries = Numbers("command")
        self.mail_positions = Numbers("mail position")
        self.posted: list[NewEvent] = []
        self.commands: list[AnyCommand] = []
        self.answered: set[int] = set()
        self.saved: set[DefinitionHash] = set()
        self.refused_blobs: dict[str, bytes] = {}
        self.fences: list[Both[int]] = []
        self.line = "open"
        self._store_at = store_at
        self._place = place
        self._tables = Tables()
        self.main = self.another()
        self.beside: Pair | None = None
        self.zombie: Pair | None = None
        self.zombie_fence = Both(0, 0)

    def another(self) -> Pair:
        """Another way to the same two stores, not open."""
        return Pair(self._store_at(self._place), MemoryRepository(self._tables))

    def tell(self, operation: str, text: object = "") -> None:
        """Say what is done next, for the story."""
        self.line = f"{operation} {text}".rstrip()

    def met(self, operation: str, ways: Iterable[str]) -> None:
        """Count the ways in which an operation has succeeded."""
        self.coverage.accepted.update((operation, way) for way in ways)

    def note(self, operation: str, answer: object, *ways: str, pair: Pair, reason: str = "") -> bool:
        """Count how an operation went; whether it succeeded. Being closed comes before any other reason."""
        if not isinstance(answer, Refusal):
            self.met(operation, ways)
            return True
        why = reason if pair.mode is Mode.WRITER else str(pair.mode)
        assert why, f"the memory store refuses {self.line}: {answer}"
        self.coverage.refused[operation, why] += 1
        return False

    async def page(self, operation: str, question: Question[Sequence[Answer]]) -> Sequence[Answer] | None:
        """Ask for a page; None if it was refused."""
        pair = self.somebody()
        page = await pair.same(question)
        return None if not self.note(operation, page, pair=pair) or isinstance(page, Refusal) else page

    def somebody(self) -> Pair:
        """Who is asked: now and then the one that reads beside."""
        return self.beside if self.beside is not None and self.rng.random() < 0.2 else self.main

    def known_id(self) -> ExecutionId:
        """An execution that was committed, mostly; else one that there never is."""
        known = sorted(self.author.committed)
        return self.rng.choice(known) if known and self.rng.random() < 0.85 else UNKNOWN

    # ------------------------------------------------------------ life cycle

    async def reopen(self) -> None:
        """Open to run executions: again, or after a close."""
        self.tell("open", self.main.mode)
        way = "after a close" if self.main.mode is Mode.CLOSED else "again"
        self._own(await self.main.open(writer=True))
        self.met("open", [way])

    def _own(self, fences: Both[int]) -> None:
        if self.fences and fences.subject <= max(fence.subject for fence in self.fences):
            raise ContractBroken(f"the epoch of this opening, {fences.subject}, is not above all before it.")
        self.fences.append(fences)

    async def open_to_read(self) -> None:
        """Open to read only, by the same object."""
        self.tell("open to read")
        await self.main.open(writer=False)
        self.met("open", ["to read"])

    async def close(self) -> None:
        """Close, and perhaps again."""
        self.tell("close")
        again = self.main.mode is Mode.CLOSED or self.rng.random() < 0.4
        await self.main.close()
        if again:
            await self.main.close()
        self.met("close", ["twice" if again else "once"])

    async def open_beside(self) -> None:
        """Another opens the store to read, or gives up doing so."""
        if self.beside is not None:
            self.tell("close the one beside")
            await self.beside.close()
            self.beside = None
            return
        self.tell("open to read beside")
        self.beside = self.another()
        await self.beside.open(writer=False)
        self.met("open", ["to read beside"])

    async def take_over(self) -> None:
        """Another wants to run executions: it is locked out, or the first one is overtaken."""
        self.tell("take over")
        newcomer = self.another()
        try:
            fences = await newcomer.open(writer=True)
        except StoreLocked:
            self.coverage.refused[LOCKED] += 1
            return
        if self.zombie is not None:
            await self.zombie.close()
        self.zombie, self.zombie_fence = self.main, self.fences[-1]
        self.zombie.mode = Mode.OVERTAKEN
        self.main = newcomer
        self._own(fences)
        self.met("open", ["taken over"])

    async def end(self) -> None:
        """Close everything that is open."""
        for pair in (self.main, self.beside, self.zombie):
            if pair is not None:
                await pair.close()
