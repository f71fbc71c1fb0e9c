"""`validate`, and reading a process: text in, definition out, every problem at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import click

from process_engine.cli import outcomes
from process_engine.cli.agent_files import channel_names, channel_settings, configured_names, read_agents
from process_engine.cli.printing import print_document
from process_engine.cli.reporting import Reporter
from process_engine.cli.text import printable
from process_engine.cli.tools import Tools
from process_engine.config import find_agents_file
from process_engine.definition.checking import load_definition
from process_engine.definition.document import ProcessDefinition
from process_engine.definition.problems import Problem, has_errors
from process_engine.definition.yaml_text import MAX_TEXT_BYTES
from process_engine.errors import ConfigurationInvalid, DefinitionInvalid, NotFound


def validate(
    tools: Tools, *, file: Path, called: Sequence[Path], agents: Path | None, as_json: bool, no_color: bool
) -> int:
    """Check a process; 0 where it can be run, warnings or not."""
    content = read_text(file)
    known, ways, remark = known_names(agents, file)
    others = {one.name: one for one in (read_process(path, known, ways)[0] for path in called)}
    _, problems = load_definition(
        content, str(file), agents=known, channels=ways, processes=others if called else None
    )
    valid = not has_errors(problems)
    if as_json:
        print_document(_document(problems))
    else:
        Reporter(as_json=False, no_color=no_color).problems(problems, to_stderr=False)
        click.echo(printable(_verdict(file, problems)))
        if remark:
            click.echo(printable(remark), err=True)
    return outcomes.COMPLETED if valid else outcomes.REFUSED


def _document(problems: Iterable[Problem]) -> dict[str, object]:
    found = list(problems)
    return {"valid": not has_errors(found), "problems": [problem_document(problem) for problem in found]}


def problem_document(problem: Problem) -> dict[str, object]:
    """A problem as `validate`, `lint` and `fmt` print it."""
    return {
        "code": problem.code,
        "level": problem.level,
        "message": problem.message,
        "line": problem.line,
        "column": problem.column,
        "suggestion": problem.suggestion,
    }


def read_process(
    file: Path, known_agents: Collection[str] | None, known_channels: Collection[str] | None = None
) -> tuple[ProcessDefinition, list[Problem]]:
    """The definition in a file, and its warnings; agents and channels are not looked at where none are given.

    Raises:
        NotFound: there is no such file.
        ConfigurationInvalid: it cannot be read.
        DefinitionInvalid: with all its problems.
    """
    definition, problems = load_definition(
        read_text(file), str(file), agents=known_agents, channels=known_channels
    )
    if definition is None:
        raise DefinitionInvalid(problems)
    return definition, [problem for problem in problems if problem.level == "warning"]


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


def known_names(
    explicit: Path | None, file: Path
) -> tuple[Collection[str] | None, Collection[str] | None, str]:
    """The agents and channels to check against, None where they are not known; and a remark, or nothing."""
    if explicit is not None:
        return read_agents(explicit, file)[1].keys(), channel_settings(explicit).keys(), ""
    try:
        # Names are enough: a process can be sound where the secrets of its agents are not at hand.
        return configured_names(file), channel_names(find_agents_file(None, definition=file)), ""
    except ConfigurationInvalid as error:
        return None, None, f"Agents were not checked: {error}"


def _verdict(file: Path, problems: list[Problem]) -> str:
    counts = {level: sum(problem.level == level for problem in problems) for level in ("error", "warning")}
    told = [f"{count} {level}{'s' if count > 1 else ''}" for level, count in counts.items() if count]
    verdict = "cannot be run" if counts["error"] else "is valid"
    return f"{file} {verdict}" + (f": {', '.join(told)}." if told else ".")
