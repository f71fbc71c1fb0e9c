"""Every command with its arguments and options; what it does is loaded when it is run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Protocol, TypeVar, cast

import click

from process_engine import __version__
from process_engine.cli.lazily import load
from process_engine.cli.tools import Tools

PROGRAM = "process-engine"
DATABASE = "process-engine.db"
# What a shell reports for a program that Ctrl-C ended.
INTERRUPTED = 130


class Report(Protocol):
    """Tells whatever a command raised; returns the exit code."""

    def __call__(self, error: Exception, *, as_json: bool, no_color: bool) -> int: ...


Implementation = Callable[..., int]
Callback = TypeVar("Callback", bound=Callable[..., object])


def run_command_line(tools: Tools, arguments: Sequence[str]) -> int:
    """Carry out one command; returns the exit code. Refusals and failures are told here, in one way."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # What a terminal cannot show is spelled out rather than a reason to fail.
            stream.reconfigure(errors="backslashreplace")
    try:
        answer: object = commands.main(list(arguments), prog_name=PROGRAM, standalone_mode=False, obj=tools)
        sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:
        report = cast("Report", load("process_engine.cli.reporting:report"))
        return report(error, as_json="--json" in arguments, no_color="--no-color" in arguments)
    return answer if isinstance(answer, int) else 0


def _later(place: str) -> Implementation:
    """A callback that loads `module:function` and calls it with the tools and what was given."""

    def call(**given: object) -> int:
        tools = cast("Tools", click.get_current_context().obj)
        return cast("Implementation", load(f"process_engine.cli.{place}"))(tools, **given)

    return call


def _all_of(*decorators: Callable[[Callback], Callback]) -> Callable[[Callback], Callback]:
    def decorate(callback: Callback) -> Callback:
        for decorator in reversed(decorators):
            callback = decorator(callback)
        return callback

    return decorate


# ---------------------------------------------------------------- options that several commands share

_FILE = click.Path(path_type=Path)

_file = click.argument("file", type=_FILE)
_execution = click.argument("execution", metavar="ID")
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
_no_color = click.option("--no-color", is_flag=True, help="Print without colours, as with NO_COLOR set.")
_agents = click.option(
    "--agents",
    type=_FILE,
    metavar="FILE",
    help="The agents file.  [default: agents.yaml beside the process, else here]",
)
_db = click.option(
    "--db",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    envvar="PROCESS_ENGINE_DB",
    show_envvar=True,
    default=DATABASE,
    show_default=True,
    help="The store.",
)
_no_wait = click.option("--no-wait", is_flag=True, help="Leave as soon as nothing is due (exit code 4).")
_grace = click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long running attempts may finish after Ctrl-C or SIGTERM.",
)

_reading = _all_of(_db, _json, _no_color)
_driving = _all_of(_agents, _db, _no_wait, _grace, _json, _no_color)


class _InOrder(click.Group):
    """Lists commands in the order in which people meet them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=_InOrder,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 completed, 1 failed, 2 refused (usage, definition, input), 3 cancelled, "
    "4 waiting or paused.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def commands() -> None:
    """Run processes of AI agents that survive the death of the machine.

    Try `process-engine demo` first.
    """


def _command(
    name: str, place: str, help: str, *decorators: Callable[[Implementation], Implementation]
) -> None:
    commands.command(name, help=help)(_all_of(*decorators)(_later(place)))


# ---------------------------------------------------------------- the commands

_command(
    "validate",
    "validating:validate",
    "Check a process without running it.\n\nEvery problem is shown at once, with its place and what to write "
    "instead. Exit code 2 if there is an error.",
    _file,
    _agents,
    _json,
    _no_color,
)
_command(
    "run",
    "running:run",
    "Run a process until it has ended.\n\nEvery step is recorded in the store; whatever happens to this "
    "program, `resume` goes on where it stopped.",
    _file,
    click.option(
        "-i",
        "--set",
        "fields",
        multiple=True,
        metavar="KEY=VALUE",
        help="A field of the input, read as the process declares it. May be repeated.",
    ),
    click.option(
        "--input", "document", metavar="JSON", help="The input as a JSON object, or @FILE that holds one."
    ),
    _driving,
)
_command(
    "resume",
    "running:resume",
    "Go on with everything open in the store, until it has ended.",
    _driving,
)
_command(
    "list",
    "inspecting:list_executions",
    "List executions, the newest first.",
    click.option(
        "--status",
        metavar="STATUS",
        type=click.Choice(
            ["pending", "running", "paused", "compensating", "completed", "failed", "cancelled"]
        ),
        help="Only those that stand so.",
    ),
    click.option("--process", metavar="NAME", help="Only those of this process."),
    click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many."),
    _reading,
)
_command(
    "show",
    "inspecting:show",
    "Show an execution: its steps, what it waits for, why it failed.\n\nThe first characters of the ID do.",
    _execution,
    _reading,
)
_command(
    "events",
    "inspecting:events",
    "Show what happened in an execution, in order.",
    _execution,
    click.option("--all", "everything", is_flag=True, help="Bookkeeping too."),
    click.option("-f", "--follow", is_flag=True, help="Go on showing what happens, until it has ended."),
    _reading,
)
_command(
    "output",
    "inspecting:output",
    "Print the outputs of an execution, or the output of one step.",
    _execution,
    click.argument("step", required=False),
    _reading,
)
_command(
    "cancel",
    "controlling:cancel",
    "End an execution now, also one that runs in another terminal.",
    _execution,
    click.option("--reason", metavar="TEXT", help="Recorded with the cancellation."),
    _reading,
)
_command(
    "demo",
    "demo:demo",
    "Run an example against small agents on this machine.\n\nWith --crash, kill the engine in the middle, "
    "start it again, and check from the agents' own log that nothing recorded was done twice.",
    click.option("--crash", is_flag=True, help="Kill the engine with SIGKILL in the middle, and go on."),
    click.option("--keep", type=_FILE, metavar="DIR", help="Keep all files in this directory."),
    click.option(
        "--topic", default="how tides work", show_default=True, metavar="TEXT", help="What to write about."
    ),
    _no_color,
)
