"""The commands and their options, from the table that the command line is made of."""

from __future__ import annotations

from collections.abc import Iterator

import click

from process_engine.cli.commands import commands
from tools.reference.markdown import code, codes, table

_CONTEXT = click.Context(commands)


def _all() -> Iterator[tuple[str, click.Command]]:
    """Every command by its full name, in the order of the overview."""
    for name in commands.list_commands(_CONTEXT):
        command = commands.commands[name]
        if isinstance(command, click.Group):
            yield from ((f"{name} {below}", found) for below, found in command.commands.items())
        else:
            yield name, command


def commands_table() -> str:
    """Every command as it is typed, with what its help says."""
    rows = ((code(_usage(name, command)), _help(command)) for name, command in _all())
    return table(("command", "what it does"), rows)


def _usage(name: str, command: click.Command) -> str:
    arguments = [piece for piece in command.collect_usage_pieces(_CONTEXT) if piece != "[OPTIONS]"]
    return " ".join([name, *arguments])


def _help(command: click.Command) -> str:
    return " ".join((command.help or "").split())


def options() -> str:
    """Every option with the commands that have it; what is said in other words has a row of its own."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, command in _all():
        for option in command.params:
            if isinstance(option, click.Option):
                found.setdefault((_spelled(option), _meaning(option)), []).append(name)
    everywhere = len(list(_all()))
    rows = (
        (spelled, "all" if len(of) == everywhere else codes(of), meaning)
        for (spelled, meaning), of in found.items()
    )
    return table(("option", "of", "meaning"), rows)


def _spelled(option: click.Option) -> str:
    value = "" if option.is_flag else f" {option.make_metavar(_CONTEXT).replace('INTEGER RANGE', 'N')}"
    *short, last = option.opts
    return codes([*short, last + value])


def _meaning(option: click.Option) -> str:
    """The help, with default and environment variable where it names none itself."""
    extra = option.get_help_extra(_CONTEXT)
    choices = option.type.choices if isinstance(option.type, click.Choice) and option.metavar else ()
    told = " ".join((option.help or "").split()).replace("[default:", "(Default:").replace("]", ".)")
    if choices:
        told += f" One of {codes(choices)}."
    if "default" in extra and not option.is_flag:
        told += f" Default: {code(extra['default'])}."
    if "envvars" in extra:
        told += f" Environment: {codes(extra['envvars'])}."
    return told
