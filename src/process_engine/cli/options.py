"""Arguments and options that several commands share."""

from __future__ import annotations

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


FILE = click.Path(path_type=Path)


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
    type=click.Path(path_type=Path, dir_okay=False),
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
    help="A field of the input, read as the process declares it. May be repeated.",
)
document = click.option(
    "--input", "document", metavar="JSON", help="The input as a JSON object, or @FILE that holds one."
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

reading = all_of(db, as_json, no_color)
driving = all_of(agents, db, _no_wait, _grace, as_json, no_color)
