"""How errors are told: to people on stderr, to programs as one JSON document on stdout."""

from __future__ import annotations

import errno
import json
import os
import traceback
from collections.abc import Iterable
from contextlib import nullcontext, suppress

import click

from process_engine.cli import outcomes
from process_engine.cli.text import printable
from process_engine.definition.problems import Problem
from process_engine.errors import (
    CommandRejected,
    ConfigurationInvalid,
    DefinitionInvalid,
    InternalError,
    NotFound,
    ProcessEngineError,
    StorageError,
)

# As a shell reports a program that wrote to a closed pipe.
BROKEN_PIPE = 141
# What was given may be of any length, and is quoted; a document has the whole of it.
LONGEST_LINE = 600

# What can always be done about an error that does not say it better itself.
_REMEDIES: tuple[tuple[type[ProcessEngineError], str], ...] = (
    (CommandRejected, "`process-engine explain ID` tells how it stands, and what can be done."),
    (NotFound, "`process-engine list` shows what there is."),
    (ConfigurationInvalid, "Correct it and try again; `process-engine doctor` checks the rest."),
    (StorageError, "`process-engine doctor` looks into it."),
    (InternalError, "This is a fault of Process Engine; please report it."),
    (DefinitionInvalid, "Correct them and try again; `process-engine validate FILE` shows them again."),
)
_NOWHERE = ConfigurationInvalid(
    "the current directory does not exist any more.", remedy="Change to one that does."
)
# Files that we open ourselves are named by their errors; what is left are the standard streams.
_NO_OUTPUT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
_LEVEL_COLOURS = {"error": "red", "warning": "yellow", "info": "cyan"}


def report(error: Exception, *, as_json: bool, no_color: bool) -> int:
    """Tell whatever a command raised; returns the exit code."""
    reporter = Reporter(as_json=as_json, no_color=no_color)
    match error:
        case click.ClickException():
            return reporter.usage(error)
        case ProcessEngineError():
            return reporter.refusal(error)
        case BrokenPipeError():
            return reporter.nobody_reads()
        case OSError() if error.filename is not None:
            return reporter.refusal(_unusable(error))
        case OSError() if error.errno in _NO_OUTPUT:
            return reporter.output_lost(error)
        case FileNotFoundError() if not _is_somewhere():
            return reporter.refusal(_NOWHERE)
        case _:
            return reporter.bug(error)


def _is_somewhere() -> bool:
    try:
        return bool(os.getcwd())
    except FileNotFoundError:
        return False


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 1] + "…"


def _unusable(error: OSError) -> ConfigurationInvalid:
    """Something of the machine that was named, or is needed, and cannot be used."""
    return ConfigurationInvalid(
        f"{os.fspath(error.filename)} cannot be used: {error.strerror}.", remedy="Check its path and rights."
    )


def _lead_stdout_nowhere() -> None:
    # What is still waiting to be written would be tried again at exit, and fail there.
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, 1)
    os.close(descriptor)


class Reporter:
    """Tells errors in the way that was asked for. Every method returns the exit code."""

    def __init__(self, *, as_json: bool, no_color: bool = False) -> None:
        self._as_json = as_json
        self._color = False if no_color or os.environ.get("NO_COLOR") else None

    def refusal(self, error: ProcessEngineError) -> int:
        """Something that the engine refused, or could not do."""
        remedy = error.remedy or next((text for kind, text in _REMEDIES if isinstance(error, kind)), "")
        if self._as_json:
            self._document(error.code, error.message, remedy)
        elif isinstance(error, DefinitionInvalid):
            self._error("the process has problems; nothing was started.")
            self.problems([problem for problem in error.problems if isinstance(problem, Problem)])
        else:
            self._error(error.message, remedy)
        return outcomes.of_error(error)

    def usage(self, error: click.ClickException) -> int:
        """A command line that cannot be understood."""
        if isinstance(error, click.exceptions.NoArgsIsHelpError) and not self._as_json:
            error.show()
            return outcomes.REFUSED
        context = error.ctx if isinstance(error, click.UsageError) else None
        path = context.command_path if context is not None else "process-engine"
        message, remedy = " ".join(error.format_message().split()), f"`{path} --help` shows what there is."
        if self._as_json:
            self._document("USAGE", message, remedy)
        else:
            self._error(message, remedy)
        return outcomes.REFUSED

    def bug(self, error: Exception) -> int:
        """Something that must not happen: the whole story goes to stderr."""
        traceback.print_exception(error)
        message = f"{type(error).__name__}: {error}"
        remedy = "This is a fault of Process Engine; please report it with the lines above."
        if self._as_json:
            self._document("INTERNAL_ERROR", message, remedy)
        else:
            self._error(message, remedy)
        return outcomes.FAILED

    def output_lost(self, error: OSError) -> int:
        """What stdout leads to takes no more; what was recorded is not affected."""
        remedy = "What was recorded is safe: `process-engine list` and `show` tell how it stands."
        _lead_stdout_nowhere()
        self._error(f"the output cannot be written: {error.strerror}.", remedy)
        return outcomes.FAILED

    def nobody_reads(self) -> int:
        """Whoever read our output went away; nothing more can be told there, not at exit either."""
        _lead_stdout_nowhere()
        return BROKEN_PIPE

    def problems(self, problems: Iterable[Problem], *, to_stderr: bool = True) -> None:
        """Problems of a definition, one after the other, each with its place and what to write instead."""
        for problem in problems:
            place = problem.filename + (f":{problem.line}:{problem.column}" if problem.line else "")
            level = click.style(f"{problem.level} {problem.code}", fg=_LEVEL_COLOURS[problem.level])
            self._say(
                f"{click.style(printable(place), bold=True)}: {level}: {printable(problem.message)}",
                to_stderr,
            )
            if problem.suggestion:
                self._say(f"    {printable(problem.suggestion)}", to_stderr)

    def _error(self, message: str, remedy: str = "") -> None:
        told = "\n".join(_cut(line) for line in printable(message).split("\n"))
        self._say(f"{click.style('Error:', fg='red', bold=True)} {told}", True)
        if remedy:
            self._say(printable(remedy), True)

    def _say(self, line: str, to_stderr: bool) -> None:
        # Where stderr takes nothing the exit code still tells.
        with suppress(OSError) if to_stderr else nullcontext():
            click.echo(line, err=to_stderr, color=self._color)

    def _document(self, code: str, message: str, remedy: str) -> None:
        click.echo(json.dumps({"error": {"code": code, "message": message, "remedy": remedy}}, indent=2))
