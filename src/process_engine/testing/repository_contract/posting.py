"""Operations on the mailbox of two stores side by side, and what a mailbox promises."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from process_engine.core.mailbox import NewEvent, PublishedEvent
from process_engine.core.values import Value, pack
from process_engine.ids import ExecutionId
from process_engine.runtime.ports import ExecutionRepository, OpenWait, Posted
from process_engine.testing.repository_contract.bench import Bench
from process_engine.testing.repository_contract.expectations import (
    StillClock,
    StoreUnderContract,
    expect,
    on_a_store,
)
from process_engine.testing.repository_contract.samples import (
    DONE,
    NOON,
    begun,
    execution,
    transition,
    waiting_for,
)
from process_engine.testing.repository_contract.sides import Both, Numbers, Pair, Refusal

NAMES = ("go", "paid", "ärger – 不")
_LIMITS = (0, 1, 2, 4, 1000, 1000)
_SIZES = (1, 1, 1, 2, 3)


async def waits(store: ExecutionRepository) -> list[OpenWait]:
    """Every wait for an event, in order."""
    return [wait async for wait in store.waits()]


def mail_of(found: Sequence[PublishedEvent], numbers: Numbers, side: int) -> list[tuple[int, NewEvent]]:
    """Events by their place in the order of all."""
    return [(numbers.place(one.position, side), one.event) for one in found]


class MailOperations(Bench):
    """One method for each thing that can be done to a mailbox."""

    async def post(self) -> None:
        """Publish some events: new ones, or such as are there already, to all or to one."""
        events, blobs, ways = self._letters()
        why = self.rng.choice(("", "", "", "newer epoch", "unwritable"))
        if why == "unwritable":
            bad = NewEvent(
                id=f"bad-{len(self.posted)}", name="go", payload=Value(object()), published_at=NOON
            )
            events.insert(self.rng.randint(0, len(events)), bad)
        fence = self.fences[-1]
        if why == "newer epoch":
            fence = Both(fence.subject + 1, fence.oracle + 1)
        await self._post(self.main, events, blobs, fence, why, ways)

    async def post_overtaken(self, zombie: Pair) -> None:
        """Whoever was overtaken publishes."""
        events, blobs, ways = self._letters()
        await self._post(zombie, events, blobs, self.zombie_fence, "overtaken", ways)

    async def _post(
        self,
        pair: Pair,
        events: Sequence[NewEvent],
        blobs: dict[str, bytes],
        fence: Both[int],
        why: str,
        ways: Sequence[str],
    ) -> None:
        self.tell("post", f"{f'({why}) ' if why else ''}{' '.join(event.id for event in events)}")

        async def write(store: ExecutionRepository, side: int) -> Sequence[Posted]:
            return await store.post(events, blobs, fence[side])

        answers = await pair.ask(write)
        if not self.note("post", answers, *ways, pair=pair, reason=why):
            self.refused_blobs.update(blobs)
            return
        assert not isinstance(answers, Refusal)
        for one, other in zip(answers.subject, answers.oracle, strict=True):
            expect(one.repeated, other.repeated, "whether it is repeated")
            expect(one.published.event, other.published.event, "the event there is")
            if not other.repeated:
                self.mail_positions.learn(Both(one.published.position, other.published.position))
                self.posted.append(other.published.event)
        self.author.blobs.update(blobs)

    def _letters(self) -> tuple[list[NewEvent], dict[str, bytes], list[str]]:
        events: list[NewEvent] = []
        blobs: dict[str, bytes] = {}
        ways: set[str] = set()
        for number in range(self.rng.choice(_SIZES)):
            if self.posted and self.rng.random() < 0.2:
                events.append(self.rng.choice(self.posted))
                ways.add("again")
                continue
            pad = "ü" * 40_000 if self.rng.random() < 0.1 else ""
            payload, large = pack({"n": len(self.posted), "pad": pad})
            blobs.update(large)
            to = self.known_id() if self.rng.random() < 0.3 else None
            moment = NOON + timedelta(microseconds=self.rng.randint(0, 3), hours=len(self.posted))
            made = NewEvent(
                id=f"event-{len(self.posted)}-{number}",
                name=self.rng.choice(NAMES),
                payload=payload,
                published_at=moment,
                execution_id=to,
                by=self.rng.choice((None, "ann")),
            )
            events.append(made)
            ways |= {"new", *["large value"][: len(large)], *["addressed"][: to is not None]}
        if len(events) > 1:
            ways.add("several")
        return events, blobs, sorted(ways)

    async def mail(self) -> None:
        """Ask for what an execution may take, behind any place."""
        name, id, limit = self.rng.choice((*NAMES, "nothing")), self.known_id(), self.rng.choice(_LIMITS)
        place = self.rng.choice((0, 0, self.rng.randint(0, len(self.mail_positions.known) + 1)))
        after = self.mail_positions.number(place)
        self.tell("mail", f"{name} {id} behind the {place}th, limit={limit}")

        async def read(store: ExecutionRepository, side: int) -> Sequence[tuple[int, NewEvent]]:
            found = await store.mail(name, id, after=after[side], limit=limit)
            return mail_of(found, self.mail_positions, side)

        found = await self.page("mail", read)
        if found is not None:
            shape = "continued" if place else "page"
            full = ["full page"][: bool(found) and len(found) == limit]
            self.met("mail", ["nothing"] if not found else [shape, *full])

    async def waits(self) -> None:
        """Ask for what waits for events."""
        self.tell("waits")
        found = await self.page("waits", lambda store, _: waits(store))
        if found is not None:
            self.met("waits", ["some" if found else "nothing"])

    async def clear_mail(self) -> None:
        """Remove what is old."""
        before = self.rng.choice((NOON - timedelta(days=1), self._some_moment()))
        limit = self.rng.choice((0, 1, 2))
        self.tell("clear_mail", f"before {before.isoformat()} limit={limit}")
        count = await self.main.same(lambda store, _: store.clear_mail(before, limit=limit))
        self.note("clear_mail", count, "some" if count else "nothing", pair=self.main)

    def _some_moment(self) -> datetime:
        return self.rng.choice(self.posted).published_at if self.posted else NOON


def letter(id: str, name: str = "go", to: str | None = None, hours: float = 0, n: int = 0) -> NewEvent:
    """An event to publish."""
    return NewEvent(
        id=id,
        name=name,
        payload=Value({"n": n}),
        published_at=NOON + timedelta(hours=hours),
        execution_id=None if to is None else ExecutionId(to),
    )


async def _ids(store: ExecutionRepository, name: str, id: str) -> list[str]:
    return [one.event.id for one in await store.mail(name, ExecutionId(id))]


class MailPromises(StoreUnderContract):
    """The mailbox keeps what was published, in order, for those who were there."""

    @on_a_store
    async def test_an_execution_sees_what_was_published_after_it_began_and_what_is_for_it_alone(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        await store.post([letter("before")], {}, store.fence)
        await store.commit([begun("b")], store.fence)
        await store.post([letter("between"), letter("for a", to="a"), letter("other", "no")], {}, store.fence)
        await store.commit([begun("a")], store.fence)
        await store.post([letter("for b", to="b"), letter("last")], {}, store.fence)

        expect(await _ids(store, "go", "a"), ["for a", "last"])
        expect(await _ids(store, "go", "b"), ["between", "for b", "last"])
        expect(await _ids(store, "go", "nobody"), [])

    @on_a_store
    async def test_an_event_is_published_once_under_its_id_and_the_first_stays(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        await store.commit([begun("a")], store.fence)
        first, twin = letter("x", n=1), letter("x", n=2)

        (new,) = await store.post([first], {}, store.fence)
        again = await store.post([letter("y"), twin, twin], {}, store.fence)

        expect((new.published.event, new.repeated), (first, False))
        expect([one.repeated for one in again], [False, True, True])
        expect([one.published for one in again[1:]], [new.published] * 2)
        expect([one.event for one in await store.mail("go", ExecutionId("a"))], [first, letter("y")])

    @on_a_store
    async def test_positions_grow_even_when_everything_was_removed(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        (old,) = await store.post([letter("x")], {}, store.fence)
        expect(await store.clear_mail(NOON + timedelta(hours=1), limit=10), 1)

        (new,) = await store.post([letter("x")], {}, store.fence)

        expect(new.repeated, False)
        expect(new.published.position > old.published.position, True, "that positions grow")

    @on_a_store
    async def test_the_oldest_events_are_removed_first_and_no_more_than_asked_for(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        await store.commit([begun("a")], store.fence)
        letters = [letter("late", hours=5), letter("early", hours=1), letter("middle", hours=2)]
        await store.post(letters, {}, store.fence)

        expect(await store.clear_mail(NOON + timedelta(hours=5), limit=1), 1)
        expect(await _ids(store, "go", "a"), ["late", "middle"])
        expect(await store.clear_mail(NOON + timedelta(hours=5), limit=9), 1)
        expect(await _ids(store, "go", "a"), ["late"])

    @on_a_store
    async def test_waits_are_told_with_what_they_wait_for_until_they_end(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        due = NOON + timedelta(seconds=9)
        first = begun("a", steps={"w": waiting_for("go"), "v": waiting_for("paid", due)})
        await store.commit([first, begun("b", steps={"w": waiting_for("go")})], store.fence)
        later = execution("a", sequence=2, steps={"w": DONE, "v": waiting_for("paid", due)})
        await store.commit([transition(later, before=first.execution)], store.fence)

        found = [(wait.execution_id, wait.step_id, wait.event, wait.due) for wait in await waits(store)]
        expect(found, [("a", "v", "paid", due), ("b", "w", "go", None)])
        expect([(item.key, item.due) for item in await store.timers(after=None, limit=9)], [("v", due)])

    @on_a_store
    async def test_a_large_payload_is_there_with_its_event(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        value, blobs = pack("x" * 70_000)
        event = NewEvent(id="x", name="go", payload=value, published_at=NOON)

        await store.post([event], blobs, store.fence)

        assert value.ref is not None
        expect(await store.load_blob(value.ref), blobs[value.ref.sha256])
