"""Where every command line begins: the overview at once, everything else once it is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from process_engine import __version__
from process_engine.cli.lazily import load
from process_engine.cli.overview import PROGRAM, overview

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from process_engine.cli.tools import Tools

    Report = Callable[..., int]
    CommandLine = Callable[[Tools, Sequence[str]], int]

_HELP = (["--help"], ["-h"])


def run_command_line(tools: Tools, arguments: Sequence[str]) -> int:
    """Carry out one command; returns the exit code. Refusals and failures are told here, in one way."""
    given = list(arguments)
    if given not in _HELP and given != ["--version"]:
        carry_out = cast("CommandLine", load("process_engine.cli.commands:run_command_line"))
        return carry_out(tools, given)
    try:
        print(overview() if given in _HELP else f"{PROGRAM} {__version__}\n", end="", flush=True)
    except OSError as error:
        report = cast("Report", load("process_engine.cli.reporting:report"))
        return report(error, as_json=False, no_color=True)
    return 0
