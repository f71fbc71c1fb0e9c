"""`validate`, and reading a process for `run`: text in, definition out, every problem at once."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

import click

from process_engine import agents as kinds
from process_engine.agents.gateway import ConfiguredAgents
from process_engine.agents.settings import AgentSettings
from process_engine.cli import documents, outcomes
from process_engine.cli.reporting import Reporter
from process_engine.cli.tools import Tools
from process_engine.config import find_agents_file, read_agents_file
from process_engine.definition.checking import load_definition
from process_engine.definition.document import ProcessDefinition
from process_engine.definition.problems import Problem, has_errors
from process_engine.definition.yaml_text import MAX_TEXT_BYTES
from process_engine.errors import ConfigurationInvalid, DefinitionInvalid, NotFound

Settings = Mapping[str, AgentSettings]


def validate(tools: Tools, *, file: Path, agents: Path | None, as_json: bool, no_color: bool) -> int:
    """Check a process; 0 where it can be run, warnings or not."""
    content = read_text(file)
    known, remark = _known_agents(agents, file)
    _, problems = load_definition(content, str(file), agents=known)
    valid = not has_errors(problems)
    if as_json:
        documents.print_document(documents.validation_document(problems))
    else:
        Reporter(as_json=False, no_color=no_color).problems(problems, to_stderr=False)
        click.echo(_verdict(file, problems))
        if remark:
            click.echo(remark, err=True)
    return outcomes.COMPLETED if valid else outcomes.REFUSED


def read_process(file: Path, known_agents: Collection[str]) -> tuple[ProcessDefinition, list[Problem]]:
    """The definition in a file, and its warnings.

    Raises:
        NotFound: there is no such file.
        ConfigurationInvalid: it cannot be read.
        DefinitionInvalid: with all its problems.
    """
    definition, problems = load_definition(read_text(file), str(file), agents=known_agents)
    if definition is None:
        raise DefinitionInvalid(problems)
    return definition, [problem for problem in problems if problem.level == "warning"]


def read_agents(explicit: Path | None, definition: Path | None) -> tuple[Path | None, Settings]:
    """The agents file that is in force, and what it says; none and nothing where there is none.

    Raises:
        ConfigurationInvalid: it cannot be used.
    """
    path = find_agents_file(explicit, definition=definition)
    return path, {} if path is None else read_agents_file(path, kinds.KINDS, os.environ).agents


def connect(settings: Settings) -> ConfiguredAgents:
    """The gateway to these agents; the caller closes it."""
    return kinds.connect(settings)


def read_text(file: Path) -> bytes:
    """The bytes of a process file, at most one more than a definition may have.

    Raises:
        NotFound: there is no such file.
        ConfigurationInvalid: it cannot be read.
    """
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_TEXT_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"there is no file {file}.", remedy="Check the path of the process.") from None
    except OSError as error:
        raise ConfigurationInvalid(
            f"{file} cannot be read: {error.strerror}.", remedy="Name a YAML file that you may read."
        ) from error


def _known_agents(explicit: Path | None, file: Path) -> tuple[Collection[str] | None, str]:
    """The agents to check against, None where they are not known; and a remark about that, or nothing."""
    try:
        path, settings = read_agents(explicit, file)
    except ConfigurationInvalid as error:
        if explicit is not None:
            raise
        # A process can be sound where the secrets of its agents are not at hand.
        return None, f"Agents were not checked: {error}"
    return (None, "") if path is None else (settings.keys(), "")


def _verdict(file: Path, problems: list[Problem]) -> str:
    counts = {level: sum(problem.level == level for problem in problems) for level in ("error", "warning")}
    told = [f"{count} {level}{'s' if count > 1 else ''}" for level, count in counts.items() if count]
    verdict = "cannot be run" if counts["error"] else "is valid"
    return f"{file} {verdict}" + (f": {', '.join(told)}." if told else ".")
