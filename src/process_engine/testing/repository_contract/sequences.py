"""Sequences of random operations on a store and on the memory store, compared after every one.

A seed decides everything, so a failure is replayed by its number. A sequence does not end before every kind
of operation has succeeded and has been refused in each of its ways (`coverage`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from process_engine.core.values import BlobRef
from process_engine.ids import DefinitionHash, ExecutionId
from process_engine.runtime.ports import ExecutionRepository
from process_engine.testing.repository_contract.coverage import ACCEPTED, REFUSED, Cell, Coverage
from process_engine.testing.repository_contract.expectations import ContractBroken, StoreAt
from process_engine.testing.repository_contract.histories import PREFIXES
from process_engine.testing.repository_contract.operations import Operations
from process_engine.testing.repository_contract.posting import NAMES, mail_of, waits
from process_engine.testing.repository_contract.publishing import VERSIONS
from process_engine.testing.repository_contract.sides import (
    ALL,
    Both,
    Mode,
    Pair,
    Question,
    Refusal,
    attempts,
    differing,
    feed_of,
    inbox_of,
    open_executions,
    timers,
)

DEFAULT_STEPS = 250
# Several times what the slowest of 1,000 seeds needed to meet everything.
DEFAULT_LIMIT = 2_000
# How often everything is read back, however old.
_AUDIT_STEPS = 60
# Operations told with a failure.
_TOLD = 12
# Executions whose mail is read back at a time: each for every name.
_MAILBOXES = 3
# How often the next operation is one that has not been met yet.
_STEERED = 0.5

_WEIGHTS = {
    "commit": 24,
    "refuse_commit": 8,
    "act_overtaken": 2,
    "save_definition": 3,
    "publish": 3,
    "archive": 2,
    "find_definition": 2,
    "versions": 1,
    "load": 3,
    "load_many": 2,
    "load_definition": 2,
    "load_blob": 4,
    "list": 5,
    "resolve": 3,
    "events": 4,
    "feed": 4,
    "open_executions": 2,
    "attempts": 2,
    "timers": 5,
    "approvals": 3,
    "post": 5,
    "mail": 4,
    "waits": 2,
    "clear_mail": 1,
    "submit": 6,
    "inbox": 3,
    "answer": 6,
    "read_answer": 4,
    "fence": 1,
    "reopen": 2,
    "open_to_read": 1,
    "close": 2,
    "open_beside": 2,
    "take_over": 1,
}
# Which of them opens a store in the way that a coverage names.
_OPENINGS = {
    "again": "reopen",
    "after a close": "reopen",
    "to read": "open_to_read",
    "to read beside": "open_beside",
    "taken over": "take_over",
}
# How the store has to be open for it; to run executions where nothing is said.
_MODES = {"closed": Mode.CLOSED, "reader": Mode.READER, "by a reader": Mode.READER}
_ALONE = ("act_overtaken", "open_beside", "take_over")


@dataclass(frozen=True)
class Driven:
    """A sequence that went well: `story` has one line for each operation, `coverage` what they met."""

    seed: int
    story: tuple[str, ...]
    coverage: Coverage


def drive(
    store_at: StoreAt,
    place: Path,
    *,
    seed: int,
    steps: int = DEFAULT_STEPS,
    limit: int = DEFAULT_LIMIT,
    alone: bool = False,
) -> Driven:
    """Carry out at least `steps` random operations, and as many more as it takes to meet everything.

    `store_at(place)` gives a store that is not open; asked again, another way to the same data. With `alone`
    it is asked once, and the same object is opened again.

    Raises:
        ContractBroken: an answer, or what is stored, is not what it has to be; or after `limit` operations
            some way of succeeding or being refused has not been met, told by a table.
    """
    return asyncio.run(_Sequence(store_at, place, seed, alone=alone).run(steps, max(steps, limit)))


class _Sequence:
    """One sequence in the making."""

    def __init__(self, store_at: StoreAt, place: Path, seed: int, *, alone: bool) -> None:
        self._seed = seed
        self._alone = alone
        self._rng = Random(seed)
        self._operations = Operations(store_at, place, self._rng, alone=alone)
        self._story: list[str] = []

    @property
    def _coverage(self) -> Coverage:
        return self._operations.coverage

    async def run(self, steps: int, limit: int) -> Driven:
        place = "at the first opening"
        try:
            await self._operations.reopen()
            while len(self._story) < steps or self._coverage.missing():
                place = f"step {len(self._story) + 1}"
                if len(self._story) >= limit:
                    raise ContractBroken(f"not everything was met.\n{self._coverage.table()}")
                await self._step()
            place = "at the end"
            await self._read_back()
        except ContractBroken as broken:
            replay = f"seed={self._seed}, steps={steps}, limit={limit}{', alone=True' if self._alone else ''}"
            raise ContractBroken(f"{self._told(place, broken)}\n  replay: drive(…, {replay})") from broken
        finally:
            await self._operations.end()
        return Driven(self._seed, tuple(self._story), self._coverage)

    def _told(self, place: str, broken: ContractBroken) -> str:
        story = self._story[-_TOLD:]
        first = len(self._story) - len(story) + 1
        lines = [f"  {number:>4} {line}" for number, line in enumerate(story, start=first)]
        where = f"seed {self._seed}, {place}: {self._operations.line}: {broken}"
        return "\n".join((where, "  before it:", *lines))

    async def _step(self) -> None:
        operations = self._operations
        await self._chosen()()
        line = operations.line
        await Comparison(operations).recent()
        if len(self._story) % _AUDIT_STEPS == _AUDIT_STEPS - 1:
            await Comparison(operations).everything()
        self._story.append(line)

    async def _read_back(self) -> None:
        await self._operations.main.close()
        await self._operations.reopen()
        await Comparison(self._operations).everything()

    # ------------------------------------------------------------ what comes next

    def _chosen(self) -> Callable[[], Awaitable[None]]:
        missing = self._coverage.missing()
        if missing and self._rng.random() < _STEERED:
            return self._towards(self._rng.choice(missing))
        if self._operations.main.mode is not Mode.WRITER and self._rng.random() < 0.25:
            return self._operations.reopen
        names = [name for name in _WEIGHTS if not (self._alone and name in _ALONE)]
        if self._operations.main.mode is not Mode.WRITER:
            names = [name for name in names if name not in _ALONE]
        (name,) = self._rng.choices(names, [_WEIGHTS[name] for name in names])
        return getattr(self._operations, name)

    def _towards(self, cell: Cell) -> Callable[[], Awaitable[None]]:
        """The operation that meets the cell, or brings about that it can be met."""
        operations = self._operations
        operation, way = cell
        wanted = _MODES.get(way, Mode.WRITER)
        if operation == "open":
            return self._opening(way)
        if operations.main.mode is not wanted:
            ways = {Mode.CLOSED: operations.close, Mode.READER: operations.open_to_read}
            return ways.get(wanted, operations.reopen)
        if way == "overtaken":
            return operations.act_overtaken
        if operation == "commit" and way in REFUSED["commit"] and wanted is Mode.WRITER:
            return lambda: operations.refuse_commit(way)
        if operation == "commit" and way in ACCEPTED["commit"]:
            return lambda: operations.commit(way)
        return getattr(operations, operation)

    def _opening(self, way: str) -> Callable[[], Awaitable[None]]:
        operations = self._operations
        if way == "after a close" and operations.main.mode is not Mode.CLOSED:
            return operations.close
        if way == "taken over" and operations.main.mode is not Mode.WRITER:
            return operations.reopen
        return getattr(operations, _OPENINGS[way])


class Comparison:
    """Reads all that is stored from both stores, as whoever can read it, and compares."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._author = operations.author

    async def recent(self) -> None:
        """Compare every snapshot, all open work, every list, and what events, values and answers are new.

        Raises:
            ContractBroken: something is not what it has to be.
        """
        for pair in self._readers():
            await self._stand(pair)

    async def everything(self) -> None:
        """Compare all there is, however old.

        Raises:
            ContractBroken: something is not what it has to be.
        """
        for pair in self._readers():
            await self._stand(pair)
            await self._past(pair)

    def _readers(self) -> list[Pair]:
        main, beside = self._operations.main, self._operations.beside
        readers = [] if main.mode is Mode.CLOSED else [main]
        if beside is not None and (not readers or self._operations.rng.random() < 0.2):
            readers.append(beside)
        return readers

    async def _stand(self, pair: Pair) -> None:
        for id in (*self._author.committed, ExecutionId("nobody")):
            await self._same(pair, f"load {id}", _loading(id))
        await self._same(pair, "list", lambda store, _: store.list(limit=ALL))
        await self._same(pair, "open_executions", lambda store, _: open_executions(store))
        await self._same(pair, "attempts", lambda store, _: attempts(store))
        await self._same(pair, "approvals", lambda store, _: store.approvals(limit=ALL))
        await self._same(pair, "versions", lambda store, _: store.versions(limit=ALL))
        for name in VERSIONS:
            await self._same(pair, f"find_definition {name}", _finding(name, None))
        page = self._operations.rng.randint(1, 9)
        await self._same(pair, f"timers, {page} at a time", lambda store, _: timers(store, page))
        await self._same(pair, "inbox", self._inbox)
        await self._new_events(pair)
        for made in self._author.last:
            for name, text in made.blobs.items():
                await self._same(pair, f"load_blob {name}", _loading_blob(name, text))

    async def _past(self, pair: Pair) -> None:
        for id in self._author.committed:
            await self._same(pair, f"events {id}", _reading_events(id))
        known = sorted(self._author.committed)
        for id in self._operations.rng.sample(known, min(_MAILBOXES, len(known))):
            for name in NAMES:
                await self._same(pair, f"mail {name} {id}", self._mail(name, id))
        await self._same(pair, "waits", lambda store, _: waits(store))
        for prefix in ("", *PREFIXES):
            await self._same(pair, f"resolve {prefix}", _resolving(prefix))
        await self._same(pair, "feed", self._feed)
        for name, text in {**self._operations.refused_blobs, **self._author.blobs}.items():
            await self._same(pair, f"load_blob {name}", _loading_blob(name, text))
        for place in range(len(self._operations.commands) + 2):
            number = self._operations.entries.number(place)
            await self._same(pair, f"read_answer {place}", _reading_answer(number))
        for one in self._author.definitions:
            hash = one.content_hash
            await self._same(pair, f"load_definition {one.name}", _loading_definition(hash))
        for name, versions in VERSIONS.items():
            for version in versions:
                await self._same(pair, f"find_definition {name}@{version}", _finding(name, version))

    async def _new_events(self, pair: Pair) -> None:
        known = self._operations.positions
        last = known.known[-1] if known.known else Both(0, 0)
        answers = await pair.ask(lambda store, side: store.feed(after=last[side], limit=ALL))
        if isinstance(answers, Refusal):
            return
        subject = [entry.event for entry in answers.subject]
        oracle = [entry.event for entry in answers.oracle]
        if subject != oracle:
            raise ContractBroken(f"afterwards, feed: {differing(subject, oracle)}")
        for one, other in zip(answers.subject, answers.oracle, strict=True):
            known.learn(Both(one.position, other.position))

    async def _inbox(self, store: ExecutionRepository, side: int) -> object:
        return inbox_of(await store.inbox(limit=ALL), self._operations.entries, side)

    async def _feed(self, store: ExecutionRepository, side: int) -> object:
        return feed_of(await store.feed(limit=ALL), self._operations.positions, side)

    def _mail(self, name: str, id: ExecutionId) -> Question[object]:
        async def read(store: ExecutionRepository, side: int) -> object:
            return mail_of(await store.mail(name, id, limit=ALL), self._operations.mail_positions, side)

        return read

    async def _same(self, pair: Pair, what: str, question: Question[object]) -> None:
        try:
            await pair.same(question)
        except ContractBroken as broken:
            raise ContractBroken(f"afterwards, {what}: {broken}") from broken


def _loading(id: ExecutionId) -> Question[object]:
    return lambda store, _: store.load(id)


def _loading_blob(name: str, text: bytes) -> Question[object]:
    return lambda store, _: store.load_blob(BlobRef(name, len(text)))


def _loading_definition(hash: DefinitionHash) -> Question[object]:
    return lambda store, _: store.load_definition(hash)


def _finding(name: str, version: str | None) -> Question[object]:
    return lambda store, _: store.find_definition(name, version)


def _resolving(prefix: str) -> Question[object]:
    return lambda store, _: store.resolve(prefix)


def _reading_events(id: ExecutionId) -> Question[object]:
    return lambda store, _: store.events(id, limit=ALL)


def _reading_answer(number: Both[int]) -> Question[object]:
    return lambda store, side: store.read_answer(number[side])
