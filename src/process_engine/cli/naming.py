"""Processes as they are named on a command line: by a file, or by the name of a published one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import TypeVar

from process_engine.cli.graphing import is_file
from process_engine.cli.store import is_begun, reading
from process_engine.cli.validating import read_process
from process_engine.clock import SystemClock
from process_engine.definition.checking import check
from process_engine.definition.document import ProcessDefinition
from process_engine.definition.problems import Problem, has_errors
from process_engine.definition.versions import Named, named
from process_engine.errors import DefinitionInvalid, NotFound
from process_engine.runtime.versions import Versions

Answer = TypeVar("Answer")


def name_in(subject: Path) -> Named | None:
    """The published process that is meant; None for a file that is there, and for what is no name."""
    return None if is_file(subject) else named(str(subject))


def process_to_run(
    subject: Path, db: Path, known_agents: Collection[str], known_channels: Collection[str]
) -> tuple[ProcessDefinition, list[Problem]]:
    """The definition that a file holds, or that is published under a name; and its warnings.

    Raises:
        NotFound: there is neither.
        DefinitionInvalid: with all its problems, unknown agents and channels among them.
    """
    meant = name_in(subject)
    if meant is None:
        return read_process(subject, known_agents, known_channels)
    definition = asking_versions(db, meant, lambda versions: versions.published(*meant))
    found = check(definition, agents=known_agents, channels=known_channels)
    problems = [problem.in_file(str(subject)) for problem in found]
    if has_errors(problems):
        raise DefinitionInvalid(problems)
    return definition, [problem for problem in problems if problem.level == "warning"]


def process_to_see(subject: Path, db: Path) -> ProcessDefinition:
    """The definition that a file holds, or that is published under a name, archived or not.

    Raises:
        NotFound: there is neither.
        DefinitionInvalid: with all its problems.
    """
    meant = name_in(subject)
    if meant is None:
        return read_process(subject, None)[0]
    return asking_versions(db, meant, lambda versions: versions.any_version(*meant))


def asking_versions(db: Path, meant: Named, question: Callable[[Versions], Awaitable[Answer]]) -> Answer:
    """What is published in a store, looked at without disturbing who runs executions on it.

    Raises:
        NotFound: there is no store, or what the question raises.
    """
    if not is_begun(db):
        raise NotFound(
            f"there is no file {meant.name}, and nothing is published in {db}.",
            remedy="Check the path of the process, or publish it: `process-engine publish FILE`.",
        )

    async def ask() -> Answer:
        async with reading(db) as repository:
            return await question(Versions(repository, SystemClock()))

    return asyncio.run(ask())
