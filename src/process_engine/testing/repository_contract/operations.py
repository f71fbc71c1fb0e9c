"""Every operation of a store with random arguments, carried out on two stores side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise

from process_engine.core.commands import AnyCommand, StartExecution
from process_engine.core.events import ProcessReopened
from process_engine.core.state import ExecutionStatus, Snapshot
from process_engine.core.transition import Transition
from process_engine.core.values import NULL, BlobRef
from process_engine.core.work import WorkItem
from process_engine.ids import DefinitionHash, ExecutionId
from process_engine.runtime.ports import ExecutionRepository, InboxAnswer, StoredDefinition
from process_engine.testing.repository_contract.bench import UNKNOWN
from process_engine.testing.repository_contract.histories import PREFIXES, Batch, unwritable_command
from process_engine.testing.repository_contract.posting import MailOperations
from process_engine.testing.repository_contract.publishing import PublishingOperations
from process_engine.testing.repository_contract.samples import NOON, owed
from process_engine.testing.repository_contract.sides import (
    Both,
    Mode,
    Pair,
    Refusal,
    attempts,
    feed_of,
    inbox_of,
    open_executions,
)

_MICROSECOND = timedelta(microseconds=1)
_LIMITS = (0, 1, 2, 4, 1000, 1000)
# Transitions in one commit.
_SIZES = (0, 1, 1, 1, 2, 3, 6)


class Operations(PublishingOperations, MailOperations):
    """One method for each thing that can be done to a store."""

    async def fence(self) -> None:
        """Ask for the epoch."""
        self.tell("fence")

        async def read(store: ExecutionRepository, side: int) -> bool:
            return self.main.mode is Mode.READER or store.fence == self.fences[-1][side]

        self.note("fence", await self.main.same(read), "read", pair=self.main)

    # ------------------------------------------------------------ writing

    async def commit(self, wish: str = "") -> None:
        """Write what happened, as the one who owns the store; with a wish, rather what has that in it."""
        batch = self.author.batch(0 if wish == "nothing" else self.rng.choice(_SIZES), wish)
        answer = await self._write(self.main, batch, self.fences[-1])
        if self.note("commit", answer, *_ways(batch.transitions), pair=self.main):
            self.author.adopt(batch)
        else:
            self.refused_blobs.update(batch.blobs.maps[0])

    async def refuse_commit(self, reason: str = "") -> None:
        """Write what must be refused: under another epoch, or a batch that is spoilt."""
        why = reason or self.rng.choice(("older epoch", "newer epoch", *self._spoilt))
        fence = self.fences[-1]
        if why == "older epoch" and len(self.fences) > 1:
            fence = self.rng.choice(self.fences[:-1])
        elif why in ("older epoch", "newer epoch"):
            why = "newer epoch"
            fence = Both(fence.subject + 1, fence.oracle + 1)
        make = self._spoilt.get(why, lambda: self.author.batch(self.rng.choice(_SIZES)))
        batch = make()
        if batch is None:
            return await self.commit()
        answer = await self._write(self.main, batch, fence, why)
        accepted = self.note("commit", answer, pair=self.main, reason=why)
        assert not accepted, f"the memory store accepts {self.line}"
        return self.refused_blobs.update(batch.blobs.maps[0])

    @property
    def _spoilt(self) -> Mapping[str, Callable[[], Batch | None]]:
        author = self.author
        return {
            "event there": author.repeated,
            "event twice": author.twice,
            "misfit": author.misfit,
            "unwritable": author.unwritable,
        }

    async def _write(self, pair: Pair, batch: Batch, fence: Both[int], why: str = "") -> Refusal | None:
        self.tell("commit", f"{f'({why}) ' if why else ''}{batch}")

        async def write(store: ExecutionRepository, side: int) -> None:
            await store.commit(batch.transitions, fence[side])

        return await pair.same(write)

    async def act_overtaken(self) -> None:
        """Whoever was overtaken goes on with what it has."""
        if self.zombie is None:
            return await self.take_over()
        if self.commands and self.rng.random() < 0.5:
            place = self.rng.randint(1, len(self.commands))
            return await self._answer(self.zombie, place, "overtaken")
        if self.rng.random() < 0.3:
            return await self.post_overtaken(self.zombie)
        batch = self.author.batch(self.rng.randint(0, 3))
        answer = await self._write(self.zombie, batch, self.zombie_fence, "overtaken")
        self.note("commit", answer, pair=self.zombie)
        return None

    async def save_definition(self) -> None:
        """Keep a definition; under a hash that is there already, another one."""
        one = self.rng.choice(self.author.definitions)
        kept = one.content_hash in self.saved
        name = self.rng.choice(("other", one.name)) if kept else one.name
        stored = StoredDefinition(
            hash=one.content_hash, name=name, version=one.version, document=one.canonical_json()
        )
        self.tell("save_definition", one.name)
        answer = await self.main.same(lambda store, _: store.save_definition(stored))
        way = "new" if not kept else "again" if name == one.name else "another"
        if self.note("save_definition", answer, way, pair=self.main):
            self.saved.add(one.content_hash)

    # ------------------------------------------------------------ reading, one thing

    async def load(self) -> None:
        """Load an execution."""
        id = self.known_id()
        self.tell("load", id)
        pair = self.somebody()
        loaded = await pair.same(lambda store, _: store.load(id))
        self.note("load", loaded, "nothing" if loaded is None else "found", pair=pair)

    async def load_many(self) -> None:
        """Load some executions together, among them such as there are not."""
        ids = [self.known_id() for _ in range(self.rng.randint(1, 4))]
        self.tell("load_many", " ".join(ids))

        async def read(store: ExecutionRepository, _: int) -> dict[ExecutionId, Snapshot]:
            return {one.created.execution_id: one for one in await store.load_many(ids)}

        pair = self.somebody()
        loaded = await pair.same(read)
        self.note("load_many", loaded, "some" if loaded else "nothing", pair=pair)

    async def load_definition(self) -> None:
        """Load a definition."""
        hash = self.rng.choice([*(one.content_hash for one in self.author.definitions), DefinitionHash("0")])
        self.tell("load_definition", hash)
        pair = self.somebody()
        loaded = await pair.same(lambda store, _: store.load_definition(hash))
        self.note("load_definition", loaded, "nothing" if loaded is None else "found", pair=pair)

    async def load_blob(self) -> None:
        """Load a large value: one that was committed, or one that was not."""
        values = self.rng.choice((self.author.blobs, self.author.blobs, self.refused_blobs))
        name = self.rng.choice(sorted(values)) if values else "0" * 64
        self.tell("load_blob", name)
        pair = self.somebody()
        ref = BlobRef(name, len(values.get(name, b"")))
        loaded = await pair.same(lambda store, _: store.load_blob(ref))
        self.note("load_blob", loaded, "nothing" if loaded is None else "found", pair=pair)

    # ------------------------------------------------------------ reading, many things

    async def list(self) -> None:
        """List executions: some, or behind one."""
        shape = self.rng.choice(("page", "filtered", "continued"))
        status = process = before = None
        if shape == "filtered" or self.rng.random() < 0.2:
            status = self.rng.choice((None, *ExecutionStatus))
            process = self.rng.choice((None, *(one.name for one in self.author.definitions)))
        if shape == "continued":
            before = self.known_id()
        limit = self.rng.choice(_LIMITS)
        self.tell("list", f"status={status} process={process} before={before} limit={limit}")
        lines = await self.page(
            "list",
            lambda store, _: store.list(status=status, process=process, before=before, limit=limit),
        )
        if lines is not None:
            self.met("list", _shapes(lines, limit, shape))

    async def resolve(self) -> None:
        """Find executions by how their ids begin."""
        id = self.known_id()
        prefix = self.rng.choice(
            ("", "run", UNKNOWN, self.rng.choice(PREFIXES), id[: self.rng.randint(1, len(id))])
        )
        self.tell("resolve", prefix)
        ids = await self.page("resolve", lambda store, _: store.resolve(prefix))
        if ids is not None:
            self.met("resolve", ["nothing" if not ids else "ten" if len(ids) == 10 else "some"])

    async def events(self) -> None:
        """Read events of one execution from a cursor on."""
        id, limit = self.known_id(), self.rng.choice(_LIMITS)
        known = self.author.committed.get(id)
        after = self.rng.randint(0, 1 if known is None else known.head.sequence + 1)
        self.tell("events", f"{id} after={after} limit={limit}")
        events = await self.page("events", lambda store, _: store.events(id, after=after, limit=limit))
        if events is not None:
            self.met("events", _shapes(events, limit))

    async def feed(self) -> None:
        """Read the feed from a cursor on."""
        known = len(self.positions.known)
        place, limit = self.rng.choice((0, self.rng.randint(0, known + 1))), self.rng.choice(_LIMITS)
        after = self.positions.number(place)
        self.tell("feed", f"behind the {place}th, limit={limit}")

        async def read(store: ExecutionRepository, side: int) -> Sequence[tuple[int, object]]:
            return feed_of(await store.feed(after=after[side], limit=limit), self.positions, side)

        entries = await self.page("feed", read)
        if entries is not None:
            self.met("feed", _shapes(entries, limit, "continued" if place else "page"))

    async def open_executions(self) -> None:
        """Ask for what has not ended."""
        self.tell("open_executions")
        ids = await self.page("open_executions", lambda store, _: open_executions(store))
        if ids is not None:
            self.met("open_executions", ["some" if ids else "nothing"])

    async def attempts(self) -> None:
        """Ask for what is running."""
        self.tell("attempts")
        items = await self.page("attempts", lambda store, _: attempts(store))
        if items is not None:
            undoes = any(item.undoes for item in items)
            self.met("attempts", ["some" if items else "nothing", *["to undo"][:undoes]])

    async def timers(self) -> None:
        """Ask for what is due at a time, behind any place."""
        items = [item for one in self.author.committed.values() for item in owed(one).values() if item.due]
        after = None
        if items and self.rng.random() < 0.6:
            item = self.rng.choice(items)
            due = (item.due or NOON) + self.rng.choice((-_MICROSECOND, 0 * _MICROSECOND, _MICROSECOND))
            after = (due, self.rng.choice((item.execution_id, self.known_id())), item.key)
        limit = self.rng.choice(_LIMITS)
        self.tell("timers", f"after={after} limit={limit}")
        found = await self.page("timers", lambda store, _: store.timers(after=after, limit=limit))
        if found is not None:
            shape = "page" if after is None else "continued"
            self.met("timers", [*_shapes(found, limit, shape), *_ties(found)])

    async def approvals(self) -> None:
        """Ask what people are asked."""
        limit = self.rng.choice(_LIMITS)
        self.tell("approvals", f"limit={limit}")
        found = await self.page("approvals", lambda store, _: store.approvals(limit=limit))
        if found is not None:
            one = any(asked.execution_id == other.execution_id for asked, other in pairwise(found))
            status = (self.author.committed[asked.execution_id].status for asked in found)
            paused = any(here is ExecutionStatus.PAUSED for here in status)
            ways = [*["several of one"][:one], *["of a paused one"][:paused]]
            self.met("approvals", [*_shapes(found, limit), *ways])

    # ------------------------------------------------------------ inbox

    async def submit(self) -> None:
        """Leave a command: a new one, one that is there already, or one that cannot be written."""
        pair = self.somebody()
        way, command = self._command()
        self.tell("submit", f"{way} {type(command).__name__} {command.execution_id}")
        numbers = await pair.ask(lambda store, _: store.submit(command))
        if pair.mode is Mode.READER and way != "unwritable":
            way = "by a reader"
        if isinstance(numbers, Refusal):
            why = "unwritable" if pair.mode is not Mode.CLOSED else "closed"
            self.coverage.refused["submit", why] += 1
        else:
            self.met("submit", [way])
            self.entries.learn(numbers)
            self.commands.append(command)

    def _command(self) -> tuple[str, AnyCommand]:
        chance = self.rng.random()
        id = self.known_id()
        if chance < 0.2:
            return "unwritable", unwritable_command(id)
        if chance < 0.35 and self.commands and len(self.commands) not in self.answered:
            return "duplicate", self.commands[-1]
        known = self.author.committed.get(id)
        if known is None or chance > 0.8:
            blobs = {"3" * 64: b"\x00\xff[]"}
            return "new", StartExecution(execution_id=id, input=NULL, blobs=blobs, hold=True)
        return "new", self.author.command(known)

    async def inbox(self) -> None:
        """Ask for commands without an answer."""
        limit = self.rng.choice(_LIMITS)
        self.tell("inbox", f"limit={limit}")

        async def read(store: ExecutionRepository, side: int) -> Sequence[tuple[int, object]]:
            return inbox_of(await store.inbox(limit=limit), self.entries, side)

        entries = await self.page("inbox", read)
        if entries is not None:
            self.met("inbox", _shapes(entries, limit))

    async def answer(self) -> None:
        """Answer a command: one that waits, one that was answered, or one that nobody left."""
        waiting = [place for place in range(1, len(self.commands) + 1) if place not in self.answered]
        places = self.rng.choice((waiting, sorted(self.answered), [len(self.commands) + 1]))
        place = self.rng.choice(places or [len(self.commands) + 1])
        await self._answer(self.main, place, "unknown")

    async def _answer(self, pair: Pair, place: int, reason: str) -> None:
        number = self.entries.number(place)
        status = self.rng.choice((None, *ExecutionStatus))
        answer = InboxAnswer(status) if status else InboxAnswer(None, "NOT_FOUND", f"不 {place}", "Look.")
        self.tell("answer", f"{reason} {place}: {status}")

        async def record(store: ExecutionRepository, side: int) -> None:
            await store.answer(number[side], answer)

        outcome = await pair.same(record)
        way = "again" if place in self.answered else "first"
        if self.note("answer", outcome, way, pair=pair, reason=reason):
            self.answered.add(place)

    async def read_answer(self) -> None:
        """Ask for the answer to a command."""
        place = self.rng.choice((*self.answered, self.rng.randint(0, len(self.commands) + 1)))
        number = self.entries.number(place)
        self.tell("read_answer", place)
        pair = self.somebody()

        async def read(store: ExecutionRepository, side: int) -> InboxAnswer | None:
            return await store.read_answer(number[side])

        answer = await pair.same(read)
        self.note("read_answer", answer, "nothing" if answer is None else "found", pair=pair)


def _ways(transitions: Sequence[Transition]) -> list[str]:
    """What kinds of things a batch writes."""
    ids = [made.execution.id for made in transitions]
    ways = {
        "new": any(made.events[0].sequence == 1 for made in transitions),
        "further": any(made.events[0].sequence > 1 for made in transitions),
        "several": len(set(ids)) > 1,
        "one twice": len(set(ids)) < len(ids),
        "nothing": not transitions,
        "large value": any(made.blobs for made in transitions),
        "large values": len({name for made in transitions for name in made.blobs}) > 1,
        "held": any(made.execution.status is ExecutionStatus.PENDING for made in transitions),
        "paused": any(made.execution.status is ExecutionStatus.PAUSED for made in transitions),
        "ended": any(made.execution.status.is_final for made in transitions),
        "reopened": any(isinstance(event, ProcessReopened) for made in transitions for event in made.events),
    }
    return [way for way, met in ways.items() if met]


def _ties(items: Sequence[WorkItem]) -> list[str]:
    ties = [(one, other) for one, other in pairwise(items) if one.due == other.due]
    wide = any(one.execution_id != other.execution_id for one, other in ties)
    return [*["tie"][: len(ties)], *["tie of two executions"][:wide]]


def _shapes(page: Sequence[object], limit: int, shape: str = "page") -> list[str]:
    """What kind of a page it is; a full one has as many lines as were asked for."""
    if not page:
        return ["nothing"]
    return [shape, "full page"] if len(page) == limit else [shape]
