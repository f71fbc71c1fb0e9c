"""`publish`, `versions`, `archive` and `diff`: versions of processes, and what changed between them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from process_engine.cli import outcomes
from process_engine.cli.agent_files import read_agents
from process_engine.cli.asking import user
from process_engine.cli.documents import Document
from process_engine.cli.naming import process_to_see
from process_engine.cli.printing import print_document
from process_engine.cli.reporting import Reporter
from process_engine.cli.screen import Screen, table
from process_engine.cli.store import changing, reading
from process_engine.cli.tools import Tools
from process_engine.cli.validating import read_process
from process_engine.clock import SystemClock
from process_engine.definition.differences import Difference, differences
from process_engine.definition.document import ProcessDefinition
from process_engine.definition.problems import Problem
from process_engine.definition.versions import version_key
from process_engine.errors import VersionExists
from process_engine.runtime.ports import PublishedVersion
from process_engine.runtime.versions import Versions

# Enough of a hash to tell two definitions apart by eye.
_HASH_CHARACTERS = 12


# ---------------------------------------------------------------- publish


def publish(
    tools: Tools,
    *,
    files: Sequence[Path],
    agents: Path | None,
    as_user: str | None,
    db: Path,
    as_json: bool,
    no_color: bool,
) -> int:
    """Publish processes; where one of them cannot be, none is."""
    known = read_agents(agents, None)[1].keys() if agents is not None else None
    read = [read_process(file, known) for file in files]
    if not as_json:
        Reporter(as_json=False, no_color=no_color).problems(_warnings(read))
    definitions = [definition for definition, _ in read]
    _require_one_content(definitions)
    made = asyncio.run(_publish(db, definitions, as_user or user()))
    if as_json:
        print_document([_version_document(one) | {"new": new} for one, new in made])
        return outcomes.COMPLETED
    screen = Screen(no_color=no_color)
    for one, new in made:
        told = "is published" if new else "was published before, with the same content: nothing changed"
        screen.say(f"{one.process} {one.version} {told}.")
        if one.is_archived:
            screen.say(f"It is archived: `archive {one.process} {one.version} --undo` puts it back in use.")
    return outcomes.COMPLETED


def _warnings(read: Sequence[tuple[ProcessDefinition, list[Problem]]]) -> list[Problem]:
    return [problem for _, problems in read for problem in problems]


def _require_one_content(definitions: Sequence[ProcessDefinition]) -> None:
    """Refuse two files that want to be the same version of one process."""
    seen: dict[object, ProcessDefinition] = {}
    for one in definitions:
        first = seen.setdefault((one.name, version_key(one.version)), one)
        if first.content_hash != one.content_hash:
            raise VersionExists(one.name, one.version, first.version)


async def _publish(
    db: Path, definitions: Sequence[ProcessDefinition], by: str | None
) -> list[tuple[PublishedVersion, bool]]:
    async with changing(db) as repository:
        versions = Versions(repository, SystemClock())
        known = {(one.process, version_key(one.version)): one for one in await versions.list()}
        for one in definitions:
            there = known.get((one.name, version_key(one.version)))
            if there is not None and there.hash != one.content_hash:
                raise VersionExists(one.name, one.version, there.version)
        return [
            (await versions.publish(one, by=by), (one.name, version_key(one.version)) not in known)
            for one in definitions
        ]


# ---------------------------------------------------------------- versions, archive


def versions(tools: Tools, *, name: str | None, db: Path, as_json: bool, no_color: bool) -> int:
    """What is published in a store."""
    found = asyncio.run(_versions(db, name))
    screen = Screen(no_color=no_color)
    if as_json:
        print_document([_version_document(one) for one in found])
    elif found:
        screen.print(_table(found))
    else:
        screen.say("Nothing is published." if name is None else f"No process {name} is published.")
    return outcomes.COMPLETED


async def _versions(db: Path, name: str | None) -> Sequence[PublishedVersion]:
    async with reading(db) as repository:
        return await Versions(repository, SystemClock()).list(name)


def _table(found: Sequence[PublishedVersion]) -> Table:
    made = table("process", "version", "published", "by", "hash", "")
    for one in found:
        made.add_row(
            Text(one.process),
            one.version,
            f"{one.published_at.astimezone():%Y-%m-%d %H:%M:%S}",
            Text(one.published_by or ""),
            one.hash[:_HASH_CHARACTERS],
            Text("archived" if one.is_archived else "", "dim"),
        )
    return made


def archive(
    tools: Tools, *, name: str, version: str, undo: bool, db: Path, as_json: bool, no_color: bool
) -> int:
    """Take a version out of use, or back into it."""
    one = asyncio.run(_archive(db, name, version, undo=undo))
    if as_json:
        print_document(_version_document(one))
        return outcomes.COMPLETED
    told = "is in use again" if undo else "is archived: no new start finds it by its name, what runs goes on"
    Screen(no_color=no_color).say(f"{one.process} {one.version} {told}.")
    return outcomes.COMPLETED


async def _archive(db: Path, name: str, version: str, *, undo: bool) -> PublishedVersion:
    async with reading(db) as repository:
        return await Versions(repository, SystemClock()).archive(name, version, undo=undo)


def _version_document(one: PublishedVersion) -> Document:
    return {
        "process": one.process,
        "version": one.version,
        "hash": one.hash,
        "published_at": one.published_at,
        "published_by": one.published_by,
        "archived_at": one.archived_at,
    }


# ---------------------------------------------------------------- diff


def diff(tools: Tools, *, old: Path, new: Path, db: Path, as_json: bool, no_color: bool) -> int:
    """What changed from one process to another; 0 where nothing did, 1 where something did."""
    found = differences(process_to_see(old, db), process_to_see(new, db))
    if as_json:
        print_document({"same": not found, "differences": [_difference(one) for one in found]})
    else:
        screen = Screen(no_color=no_color)
        for one in found:
            screen.say(str(one), {"added": "green", "removed": "red"}.get(one.kind))
        if not found:
            screen.say("They mean the same.")
    return outcomes.DIFFERENT if found else outcomes.COMPLETED


def _difference(one: Difference) -> Document:
    return {
        "kind": one.kind,
        "subject": one.subject,
        "key": one.key,
        "old": one.old,
        "new": one.new,
        "text": str(one),
    }
