"""Arguments and options that several commands share."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import click

from process_engine.cli.lazily import load

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    Completions = Sequence[CompletionItem[str]]

DATABASE = "process-engine.db"

Callback = TypeVar("Callback", bound=Callable[..., object])


def all_of(*decorators: Callable[[Callback], Callback]) -> Callable[[Callback], Callback]:
    """The decorators as one; the first is the outermost."""

    def decorate(callback: Callback) -> Callback:
        for decorator in reversed(decorators):
            callback = decorator(callback)
        return callback

    return decorate


def completed_by(place: str, *statuses: str) -> Callable[[click.Context, click.Parameter, str], Completions]:
    """What a shell is offered for a value; `completing` is loaded when it asks."""

    def complete(context: click.Context, parameter: click.Parameter, begin: str) -> Completions:
        offer = cast("Callable[..., Completions]", load(f"process_engine.cli.completing:{place}"))
        # Behind an option whose value is still to come, arguments are there, but not by their names.
        unnamed = {"execution": context.args[0]} if context.args else {}
        return offer(context.params | unnamed, begin, statuses)

    return complete


class _Seconds(click.FloatRange):
    """A length of time that can be waited; `nan` and `inf` are numbers, too, and cannot."""

    def convert(self, value: float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value} is no length of time.", param, ctx)
        return seconds


class _Store(click.Path):
    """The file of a store, there or not yet."""

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        path = Path(value)
        if not str(value):
            self.fail("it names no file.", param, ctx)
        if str(value) == ":memory:":
            self.fail("a store in memory would be gone with this command.", param, ctx)
        if path.exists() and not path.is_file():
            kind = "a directory" if path.is_dir() else "no plain file"
            self.fail(f"{value} is {kind}.", param, ctx)
        try:
            os.fspath(path.resolve()).encode()
        except RuntimeError:
            self.fail(f"{value} is a link that leads back to itself.", param, ctx)
        except UnicodeEncodeError:
            # SQLite knows files by names in UTF-8 only.
            self.fail(f"the name of its directory is not text in UTF-8: {path.resolve()}", param, ctx)
        return path


FILE = click.Path(path_type=Path)
# Longer than anybody waits for what runs to finish.
_LONGEST_GRACE_SECONDS = 7 * 24 * 3600


def execution(*statuses: str) -> Callable[[Callback], Callback]:
    """The argument ID; a shell is offered the executions that stand so, all without a status."""
    return click.argument("execution", metavar="ID", shell_complete=completed_by("executions", *statuses))


def optional_execution(*statuses: str) -> Callable[[Callback], Callback]:
    """The argument ID where it may be left out."""
    return click.argument(
        "execution",
        metavar="[ID]",
        required=False,
        shell_complete=completed_by("executions", *statuses),
    )


file = click.argument("file", type=FILE)
called = click.option(
    "--with",
    "called",
    type=FILE,
    multiple=True,
    metavar="FILE",
    help="A process that it runs as a step. May be repeated.",
)
files = click.argument("files", type=FILE, nargs=-1, required=True, metavar="FILE...")
runnable = click.argument(
    "file", type=FILE, metavar="FILE|NAME[@VERSION]", shell_complete=completed_by("files_or_published")
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
no_color = click.option("--no-color", is_flag=True, help="Print without colours, as with NO_COLOR set.")
agents = click.option(
    "--agents",
    type=FILE,
    metavar="FILE",
    help="The agents file.  [default: agents.yaml beside the process, else here]",
)
db = click.option(
    "--db",
    type=_Store(path_type=Path),
    metavar="FILE",
    envvar="PROCESS_ENGINE_DB",
    show_envvar=True,
    default=DATABASE,
    show_default=True,
    help="The store.",
)
fields = click.option(
    "-i",
    "--set",
    "fields",
    multiple=True,
    metavar="KEY=VALUE",
    help="A field of the input, read as the process declares it. May be repeated for other fields.",
)
document = click.option(
    "--input", "document", metavar="JSON", help="The input as a JSON object, or @FILE that holds one."
)
_no_wait = click.option("--no-wait", is_flag=True, help="Leave as soon as nothing is due (exit code 4).")
_grace = click.option(
    "--grace",
    type=_Seconds(min=0, max=_LONGEST_GRACE_SECONDS),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long running attempts may finish after Ctrl-C or SIGTERM.",
)

as_user = click.option(
    "--as", "as_user", metavar="USER", help="Who decides, as people.yaml knows them. Required."
)
comment = click.option("--comment", metavar="TEXT", help="Recorded with it; most rejections need one.")
people = click.option(
    "--people",
    "people_file",
    type=FILE,
    metavar="FILE",
    help="Users and their groups.  [default: people.yaml here, if there is one]",
)
form = click.option(
    "--form", metavar="JSON", help="What is filled in: a JSON object, or @FILE that holds one."
)
sha256 = click.option(
    "--hash",
    "sha256",
    metavar="HASH",
    help="The hash of what was looked at, or its beginning: anything else is refused.",
)
step = click.argument("step", required=False, shell_complete=completed_by("steps"))

reading = all_of(db, as_json, no_color)
driving = all_of(agents, db, _no_wait, _grace, as_json, no_color)
