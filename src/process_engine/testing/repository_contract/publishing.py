"""Published versions under contract: what is promised about them, and random operations on them."""

from __future__ import annotations

from datetime import timedelta

from process_engine.errors import NotFound, StorageUnavailable, VersionExists
from process_engine.ids import DefinitionHash
from process_engine.runtime.ports import ExecutionRepository, PublishedVersion, StoredDefinition
from process_engine.testing.repository_contract.bench import Bench
from process_engine.testing.repository_contract.expectations import (
    StillClock,
    StoreUnderContract,
    expect,
    on_a_store,
    refused,
)
from process_engine.testing.repository_contract.samples import NOON
from process_engine.testing.repository_contract.sides import Refusal

# Some are the same one, some only look as if they were in order; of a letter all are archived often.
VERSIONS = {"post": ("1", "1.0", "1.2", "1.10", "2", "2.0.1"), "letter": ("1", "1.0")}
_NO_VERSION = "latest"
_LATER = NOON + timedelta(days=1)


def definition(name: str, version: str, content: int = 1) -> StoredDefinition:
    """A definition; another `content` makes another one of the same name and version."""
    text = f'{{"name":"{name}","version":"{version}","x-content":{content}}}'
    hash = DefinitionHash(f"{name}-{version}-{content}")
    return StoredDefinition(hash=hash, name=name, version=version, document=text.encode())


def published(one: StoredDefinition) -> PublishedVersion:
    """What stands for a definition that was published at noon by ann."""
    return PublishedVersion(
        process=one.name, version=one.version, hash=one.hash, published_at=NOON, published_by="ann"
    )


class PublishingOperations(Bench):
    """What can be done to published versions."""

    async def publish(self) -> None:
        """Publish a version: a new one, the same again, or one that is there with other content."""
        one = self._definition(self.rng.randint(1, 2))
        by = self.rng.choice((None, "ann", "bö"))
        at = NOON + timedelta(microseconds=self.rng.randint(0, 10**9))
        self.tell("publish", f"{one.hash} by {by}")
        pair = self.somebody()
        made = await pair.same(lambda store, _: store.publish(one, at=at, by=by))
        known = isinstance(made, Refusal) or (made.published_at, made.published_by) != (at, by)
        self.note("publish", made, "again" if known else "new", pair=pair, reason="other content")

    async def archive(self) -> None:
        """Take a version out of use or back into it: one there is, one there is not, or none at all."""
        name = self.rng.choice(tuple(VERSIONS))
        version = self.rng.choice((*VERSIONS[name], "3", _NO_VERSION))
        at = self.rng.choice((None, NOON, _LATER))
        self.tell("archive", f"{name}@{version} {at}")
        pair = self.somebody()
        made = await pair.same(lambda store, _: store.archive(name, version, at=at))
        self.note("archive", made, "back" if at is None else "away", pair=pair, reason="unknown")

    def _definition(self, content: int) -> StoredDefinition:
        name = self.rng.choice(tuple(VERSIONS))
        return definition(name, self.rng.choice(VERSIONS[name]), content)

    async def keep_draft(self) -> None:
        """Keep a draft of a process that is published, or one that is not yet."""
        one = self._definition(3)
        self.tell("save_definition", one.hash)
        answer = await self.main.same(lambda store, _: store.save_definition(one))
        self.note("save_definition", answer, pair=self.main)

    async def find_definition(self) -> None:
        """Ask what a name stands for, of a version or of none."""
        if self.rng.random() < 0.5:
            await self.keep_draft()
        name = self.rng.choice((*VERSIONS, "nobody"))
        version = self.rng.choice((None, None, *VERSIONS.get(name, ()), _NO_VERSION))
        self.tell("find_definition", f"{name}@{version}")
        pair = self.somebody()
        found = await pair.same(lambda store, _: store.find_definition(name, version))
        way = "nothing" if found is None else "newest" if version is None else "stated"
        self.note("find_definition", found, way, pair=pair)

    async def versions(self) -> None:
        """List versions, of one process or of all."""
        name = self.rng.choice((None, *VERSIONS, "nobody"))
        limit = self.rng.choice((0, 1, 2, 1000))
        self.tell("versions", f"{name} limit={limit}")
        page = await self.page("versions", lambda store, _: store.versions(name, limit=limit))
        if page is not None:
            self.met(
                "versions", ["nothing" if not page else "some", *["full page"][: len(page) == limit > 0]]
            )


class VersionPromises(StoreUnderContract):
    """A published version stands for one definition, for good."""

    @on_a_store
    async def test_a_published_version_is_found_and_its_definition_is_kept(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        one = definition("post", "1.2")

        made = await store.publish(one, at=NOON, by="ann")

        expect(made, published(one))
        expect(list(await store.versions("post")), [made])
        expect(await store.find_definition("post", "1.2"), one)
        expect(await store.find_definition("post", None), one)
        expect(await store.load_definition(one.hash), one)

    @on_a_store
    async def test_the_same_content_again_changes_nothing_and_other_content_is_refused(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        one, other, alike = definition("post", "1"), definition("post", "1", 2), definition("post", "1.0")
        made = await store.publish(one, at=NOON, by="ann")

        expect(await store.publish(one, at=_LATER, by="bob"), made)
        for refusal in (other, alike):
            with refused(VersionExists):
                await store.publish(refusal, at=_LATER)
            expect(await store.load_definition(refusal.hash), None, "what was refused")

        expect(list(await store.versions()), [made])

    @on_a_store
    async def test_versions_compare_as_numbers(self, store: ExecutionRepository, clock: StillClock) -> None:
        for version in ("1.9", "1.10", "1.2.3", "1"):
            await store.publish(definition("post", version), at=NOON)
        await store.publish(definition("letter", "7"), at=NOON)

        newest_first = [("letter", "7"), *(("post", one) for one in ("1.10", "1.9", "1.2.3", "1"))]
        expect([(one.process, one.version) for one in await store.versions()], newest_first)
        expect([one.version for one in await store.versions("post", limit=2)], ["1.10", "1.9"])
        expect(list(await store.versions("post", limit=0)), [])
        expect(await store.find_definition("post", None), definition("post", "1.10"))
        expect(await store.find_definition("post", "1.0.0"), definition("post", "1"))

    @on_a_store
    async def test_an_archived_version_is_not_found_until_it_is_taken_back(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        for version in ("1", "2"):
            await store.publish(definition("post", version), at=NOON)

        archived = await store.archive("post", "2.0", at=_LATER)

        expect((archived.version, archived.archived_at), ("2", _LATER))
        expect((await store.archive("post", "2", at=NOON)).archived_at, _LATER, "the moment")
        expect(await store.find_definition("post", "2"), None)
        expect(await store.find_definition("post", None), definition("post", "1"))
        expect([one.is_archived for one in await store.versions("post")], [True, False])
        expect(await store.load_definition(archived.hash), definition("post", "2"))
        await store.archive("post", "2", at=None)
        expect(await store.find_definition("post", None), definition("post", "2"))
        for unknown in ("3", _NO_VERSION):
            with refused(NotFound):
                await store.archive("post", unknown, at=NOON)

    @on_a_store
    async def test_a_draft_is_found_only_where_nothing_was_ever_published(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        for number in (1, 2):
            await store.save_definition(definition("post", "1", number))
        await store.save_definition(definition("post", "2"))
        expect(await store.find_definition("post", None), definition("post", "2"))
        expect(await store.find_definition("post", "1"), definition("post", "1", 2))
        expect(await store.find_definition("post", "3"), None)
        expect(await store.find_definition("nobody", None), None)

        await store.publish(definition("post", "3"), at=NOON)
        await store.archive("post", "3", at=NOON)

        expect(await store.find_definition("post", None), None)
        expect(await store.find_definition("post", "1"), None)

    @on_a_store
    async def test_a_reader_publishes_too_and_what_was_published_outlives_the_opening(
        self, store: ExecutionRepository, clock: StillClock
    ) -> None:
        await store.close()
        with refused(StorageUnavailable):
            await store.publish(definition("post", "1"), at=NOON)
        await store.open(clock=clock, writer=False)
        made = await store.publish(definition("post", "1"), at=NOON)
        await store.archive("post", "1", at=_LATER)
        await store.close()
        await store.open(clock=clock)

        (kept,) = await store.versions()
        expect((kept.hash, kept.archived_at), (made.hash, _LATER))
