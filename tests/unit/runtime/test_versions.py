"""Published versions through a whole engine: found by name, started, archived; executions keep theirs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from process_engine.app import ExecutionEngine
from process_engine.definition.document import ProcessDefinition
from process_engine.errors import NotFound, VersionExists
from process_engine.repositories.memory import MemoryRepository
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.engine import Engine
from process_engine.runtime.ports import ExecutionRepository
from process_engine.runtime.versions import Versions
from process_engine.testing.clock import VirtualClock
from tests.unit.runtime.fakes import ScriptedAgents

Store = Callable[[], ExecutionRepository]


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Another way to the same data, each time it is asked."""
    tables = MemoryRepository().tables
    if request.param == "memory":
        return lambda: MemoryRepository(tables)
    return lambda: SqliteRepository(tmp_path / "engine.db")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def engine_on(store: ExecutionRepository, clock: VirtualClock) -> Engine:
    return ExecutionEngine(store, ScriptedAgents(), clock=clock)


def nap(version: str = "1", seconds: int = 1) -> ProcessDefinition:
    step = {"id": "sleep", "type": "timer", "delay": f"{seconds}s"}
    return ProcessDefinition.model_validate({"name": "nap", "version": version, "steps": [step]})


async def test_the_newest_version_in_use_is_started_by_name(store: Store, clock: VirtualClock):
    async with engine_on(store(), clock) as engine:
        for version in ("1.9", "1.10", "1.2"):
            await engine.publish(nap(version), by="ann")

        assert (await engine.published("nap")).version == "1.10"
        assert (await engine.published("nap", "1.2.0")).version == "1.2"
        assert [one.version for one in await engine.versions("nap")] == ["1.10", "1.9", "1.2"]
        execution = await engine.start(await engine.published("nap"))
        assert (await engine.run_until_settled(execution.id)).version == "1.10"


async def test_executions_keep_the_version_they_began_with(store: Store, clock: VirtualClock):
    async with engine_on(store(), clock) as engine:
        await engine.publish(nap("1", seconds=60))
        execution = await engine.start(await engine.published("nap"))
        await engine.publish(nap("2", seconds=1))
        await engine.archive("nap", "1")

    async with engine_on(store(), clock) as engine:
        before = clock.now()
        execution = await engine.run_until_settled(execution.id)

        assert (execution.version, execution.status) == ("1", "completed")
        assert (clock.now() - before).total_seconds() == 60
        assert (await engine.published("nap")).version == "2"


async def test_a_published_version_never_changes(store: Store, clock: VirtualClock):
    async with engine_on(store(), clock) as engine:
        made = await engine.publish(nap("1.0"), by="ann")

        assert await engine.publish(nap("1.0"), by="bob") == made
        with pytest.raises(VersionExists, match=r"published already, as 1\.0, with other content") as refusal:
            await engine.publish(nap("1", seconds=2))
        with pytest.raises(VersionExists):
            await engine.publish(nap("1.0", seconds=2))

        assert (refusal.value.code, refusal.value.published) == ("VERSION_EXISTS", "1.0")
        assert "raise `version`" in refusal.value.remedy
        assert list(await engine.versions()) == [made]


async def test_what_is_archived_is_not_found_until_it_is_put_back(store: Store, clock: VirtualClock):
    async with engine_on(store(), clock) as engine:
        await engine.publish(nap())
        archived = await engine.archive("nap", "1")

        assert archived.archived_at == clock.now()
        with pytest.raises(NotFound) as refusal:
            await engine.published("nap")
        assert refusal.value.message == "process nap has no version in use."
        assert refusal.value.remedy == "Published: 1 (archived)."
        assert await engine.find_definition("nap") is None

        assert (await engine.archive("nap", "1", undo=True)).archived_at is None
        assert await engine.published("nap") == nap()


async def test_what_was_only_started_is_found_as_a_draft_and_is_not_published(
    store: Store, clock: VirtualClock
):
    async with engine_on(store(), clock) as engine:
        await engine.start(nap())

        assert await engine.find_definition("nap") == nap()
        assert await engine.find_definition("nap", "2") is None
        with pytest.raises(NotFound, match="no process nap is published"):
            await engine.published("nap")


async def test_a_name_that_is_misspelt_gets_a_hint(store: Store, clock: VirtualClock):
    async with engine_on(store(), clock) as engine:
        await engine.publish(nap())

        with pytest.raises(NotFound) as refusal:
            await engine.published("nab")
        assert refusal.value.remedy.startswith("Did you mean `nap`?")
        with pytest.raises(NotFound, match="no version 7 in use"):
            await engine.published("nap", "7")


async def test_a_reader_publishes_beside_an_engine_that_runs(tmp_path: Path, clock: VirtualClock):
    path = tmp_path / "engine.db"
    async with engine_on(SqliteRepository(path), clock) as engine:
        beside = SqliteRepository(path)
        await beside.open(clock=clock, writer=False)
        await Versions(beside, clock).publish(nap("3"), by="eve")
        await beside.close()

        assert (await engine.published("nap")).version == "3"
        execution = await engine.start(nap("4"))
        assert (await engine.run_until_settled(execution.id)).status == "completed"


async def test_an_archived_version_can_still_be_looked_at(store: Store, clock: VirtualClock):
    repository = store()
    await repository.open(clock=clock)
    versions = Versions(repository, clock)
    for version in ("1", "2"):
        await versions.publish(nap(version))
    await versions.archive("nap", "2")

    assert (await versions.any_version("nap")).version == "2"
    assert (await versions.any_version("nap", "1.0")).version == "1"
    with pytest.raises(NotFound):
        await versions.any_version("nap", "3")
    await repository.close()
