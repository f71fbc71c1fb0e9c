"""Shell completion: the script, and what it offers; a store is only ever looked at, and never waited for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

from process_engine.cli import outcomes
from process_engine.cli.options import DATABASE
from process_engine.cli.overview import PROGRAM
from process_engine.cli.templates import template_names
from process_engine.cli.tools import Tools
from process_engine.repositories import connection as disk

Completions = list[CompletionItem[str]]

VARIABLE = "_PROCESS_ENGINE_COMPLETE"
# More than anybody looks through; the newest are meant most often.
MOST = 50
# Somebody waits with a finger on the key.
PATIENCE_MILLISECONDS = 100

# The tables as `repositories` writes them, read without what an engine needs to run: that takes four times
# as long to load.
_EXECUTIONS = """
    SELECT id, process, status FROM executions JOIN heads ON execution = number
    WHERE id >= ?1 AND id < ?1 || char(0x10ffff) ORDER BY number DESC
"""
_PROCESSES = (
    "SELECT DISTINCT name FROM definitions WHERE name >= ?1 AND name < ?1 || char(0x10ffff) ORDER BY 1"
)
_PUBLISHED = "SELECT DISTINCT name FROM versions WHERE name >= ?1 AND name < ?1 || char(0x10ffff) ORDER BY 1"
_DEFINITION = """
    SELECT document FROM definitions WHERE hash IN (
        SELECT definition_hash FROM executions JOIN heads ON execution = number
        WHERE id >= ?1 AND id < ?1 || char(0x10ffff))
    LIMIT 2
"""


def completion(tools: Tools, *, shell: str, no_color: bool) -> int:
    """Print the script for a shell."""
    kind = get_completion_class(shell)
    assert kind is not None
    made = kind(click.get_current_context().find_root().command, {}, PROGRAM, VARIABLE)
    # Of the base class: that of bash starts a bash to ask for its version, which need not be this machine's.
    click.echo(ShellComplete.source(made))
    return outcomes.COMPLETED


def executions(given: Mapping[str, object], begin: str, statuses: Sequence[str]) -> Completions:
    """Ids of executions, the newest first; only those that stand so where statuses are named."""
    rows = _read(given, _EXECUTIONS, begin.lower())
    wanted = [(id, process, status) for id, process, status in rows if not statuses or status in statuses]
    return [CompletionItem(id, help=f"{process}, {status}") for id, process, status in wanted[:MOST]]


def processes(given: Mapping[str, object], begin: str, statuses: Sequence[str]) -> Completions:
    """Names of processes that the store knows."""
    return [CompletionItem(name) for (name,) in _read(given, _PROCESSES, begin)[:MOST]]


def published(given: Mapping[str, object], begin: str, statuses: Sequence[str]) -> Completions:
    """Names of processes that are published in the store."""
    return [CompletionItem(name) for (name,) in _read(given, _PUBLISHED, begin)[:MOST]]


def files_or_published(given: Mapping[str, object], begin: str, statuses: Sequence[str]) -> Completions:
    """Files, or names of published processes where one begins so: shells offer one of the two."""
    found = published(given, begin, statuses) if begin else []
    return found or [CompletionItem(begin, type="file")]


def steps(given: Mapping[str, object], begin: str, statuses: Sequence[str]) -> Completions:
    """Steps of the execution that was named before."""
    documents = _read(given, _DEFINITION, str(given.get("execution") or ""))
    if len(documents) != 1:
        return []
    listed = cast("list[dict[str, str]]", json.loads(documents[0][0])["steps"])
    return [CompletionItem(step["id"], help=step["type"]) for step in listed if step["id"].startswith(begin)]


def files_or_executions(given: Mapping[str, object], begin: str, statuses: Sequence[str]) -> Completions:
    """Ids, and files where no id begins so: shells offer either the one or the other."""
    return executions(given, begin, statuses) or [CompletionItem(begin, type="file")]


def templates(given: Mapping[str, object], begin: str, statuses: Sequence[str]) -> Completions:
    """Names of templates."""
    return [CompletionItem(name) for name in template_names() if name.startswith(begin)]


def _read(given: Mapping[str, object], sql: str, begin: str) -> list[tuple[str, ...]]:
    """What a store answers at once; nothing where there is none, or it is busy."""
    path = Path(str(given.get("db") or DATABASE))
    if not path.is_file():
        return []
    with suppress(Exception):
        # A shell that is being typed into is no place for errors.
        return _rows(path, sql, begin)
    return []


def _rows(path: Path, sql: str, begin: str) -> list[tuple[str, ...]]:
    connection = disk.connect(str(path), read_only=True)
    try:
        connection.set_busy_timeout(PATIENCE_MILLISECONDS)
        return cast("list[tuple[str, ...]]", disk.run(connection, sql, (begin,)))
    finally:
        disk.close(connection)
