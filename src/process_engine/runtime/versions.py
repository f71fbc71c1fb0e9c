"""Versions of processes: published once, found by name, taken out of use."""

from __future__ import annotations

from collections.abc import Sequence

from process_engine.definition.document import ProcessDefinition
from process_engine.definition.problems import did_you_mean
from process_engine.definition.versions import version_key
from process_engine.errors import NotFound
from process_engine.runtime.plans import from_store, to_store
from process_engine.runtime.ports import Clock, ExecutionRepository, PublishedVersion

# More processes, or versions of one, than anybody publishes; a list of them is for people.
MOST_VERSIONS = 10_000


class Versions:
    """What is published in a store; works on one that is open to read as well."""

    def __init__(self, repository: ExecutionRepository, clock: Clock) -> None:
        self._repository = repository
        self._clock = clock

    async def publish(self, definition: ProcessDefinition, *, by: str | None = None) -> PublishedVersion:
        """Let name and version stand for this definition, for good; the same again changes nothing.

        Raises:
            VersionExists: this version is published with other content. Nothing was written.
        """
        return await self._repository.publish(to_store(definition), at=self._clock.now(), by=by)

    async def list(self, name: str | None = None) -> Sequence[PublishedVersion]:
        """The published versions of one process, or of all by name; the newest first."""
        return await self._repository.versions(name, limit=MOST_VERSIONS)

    async def archive(self, name: str, version: str, *, undo: bool = False) -> PublishedVersion:
        """Let no new start find this version by its name, or, with `undo`, let it be found again.

        Raises:
            NotFound: it was never published.
        """
        return await self._repository.archive(name, version, at=None if undo else self._clock.now())

    async def find(self, name: str, version: str | None = None) -> ProcessDefinition | None:
        """What the name stands for: the newest published version in use, or the stated one.

        Where nothing of the name was ever published, the draft that was kept last.
        """
        stored = await self._repository.find_definition(name, version)
        return None if stored is None else from_store(stored)

    async def published(self, name: str, version: str | None = None) -> ProcessDefinition:
        """As `find`, without drafts.

        Raises:
            NotFound: no such version is published, or it is archived.
        """
        found = await self.find(name, version) if await self._repository.versions(name, limit=1) else None
        if found is None:
            raise await self._missing(name, version)
        return found

    async def any_version(self, name: str, version: str | None = None) -> ProcessDefinition:
        """A published version to look at, archived or not: the stated one, else the newest.

        Raises:
            NotFound: no such version was ever published.
        """
        wanted = None if version is None else version_key(version)
        for one in await self.list(name):
            if wanted in (None, version_key(one.version)):
                stored = await self._repository.load_definition(one.hash)
                assert stored is not None, "what is published is kept"
                return from_store(stored)
        raise await self._missing(name, version)

    async def _missing(self, name: str, version: str | None) -> NotFound:
        own = await self.list(name)
        if not own:
            known = dict.fromkeys(one.process for one in await self.list())
            hint = did_you_mean(name, known, kind="processes")
            advice = "`process-engine publish FILE` publishes a process."
            return NotFound(f"no process {name} is published.", remedy=f"{hint} {advice}".strip())
        told = ", ".join(f"{one.version}{' (archived)' if one.is_archived else ''}" for one in own[:8])
        what = "no version in use" if version is None else f"no version {version} in use"
        return NotFound(f"process {name} has {what}.", remedy=f"Published: {told}.")


class Publishing:
    """The part of an engine that has to do with versions."""

    _versions: Versions
    _clock: Clock

    async def publish(self, definition: ProcessDefinition, *, by: str | None = None) -> PublishedVersion:
        """Let name and version stand for this definition, for good; the same again changes nothing.

        Raises:
            VersionExists: this version is published with other content. Nothing was written.
        """
        with self._clock.outstanding():
            return await self._versions.publish(definition, by=by)

    async def versions(self, name: str | None = None) -> Sequence[PublishedVersion]:
        """The published versions of one process, or of all; of each the newest first."""
        return await self._versions.list(name)

    async def archive(self, name: str, version: str, *, undo: bool = False) -> PublishedVersion:
        """Let no new start find this version by its name, or, with `undo`, let it be found again.

        Executions that run it go on.

        Raises:
            NotFound: it was never published.
        """
        with self._clock.outstanding():
            return await self._versions.archive(name, version, undo=undo)

    async def published(self, name: str, version: str | None = None) -> ProcessDefinition:
        """The definition to start by its name: of a stated version, else of the newest that is in use.

        Raises:
            NotFound: no such version is published, or it is archived.
        """
        return await self._versions.published(name, version)

    async def find_definition(self, name: str, version: str | None = None) -> ProcessDefinition | None:
        """As `published`; where nothing of the name was ever published, the draft that was started last."""
        return await self._versions.find(name, version)
