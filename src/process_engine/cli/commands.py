"""Every command with its arguments and options; what it does is loaded when it is run."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Protocol, cast

import click

from process_engine import __version__
from process_engine.cli import options
from process_engine.cli.lazily import load
from process_engine.cli.overview import COMMANDS, PROGRAM, overview, summary
from process_engine.cli.signals import command_begins, exit_code
from process_engine.cli.tools import Tools

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
STATUSES = ("pending", "running", "paused", "compensating", "completed", "failed", "cancelled")
# More than fits into any terminal's memory; what is wanted whole is read from the store by a program.
MOST_LISTED = 1_000_000
OPEN = ("pending", "running", "paused", "compensating")


class Report(Protocol):
    """Tells whatever a command raised; returns the exit code."""

    def __call__(self, error: Exception, *, as_json: bool, no_color: bool) -> int: ...


Implementation = Callable[..., int]
Decorator = Callable[[Implementation], Implementation]


def run_command_line(tools: Tools, arguments: Sequence[str]) -> int:
    """Carry out one command; returns the exit code. Refusals and failures are told here, in one way."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # What a terminal cannot show is spelled out rather than a reason to fail.
            stream.reconfigure(errors="backslashreplace")
    try:
        _require_text(arguments)
        answer: object = commands.main(list(arguments), prog_name=PROGRAM, standalone_mode=False, obj=tools)
        sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        return exit_code()
    except _PastClick as passed:
        return _told(passed.error, arguments)
    except Exception as error:
        return _told(error, arguments)
    return answer if isinstance(answer, int) else 0


def _told(error: Exception, arguments: Sequence[str]) -> int:
    report = cast("Report", load("process_engine.cli.reporting:report"))
    return report(error, as_json="--json" in arguments, no_color="--no-color" in arguments)


def _require_text(arguments: Sequence[str]) -> None:
    for number, argument in enumerate(arguments, 1):
        if not argument.isascii() and _HALF_CHARACTER.search(argument):
            # Python hands bytes that are not UTF-8 on as halves of characters, which no store can keep.
            raise click.UsageError(f"argument {number} is not text in UTF-8: {argument}")


class _PastClick(Exception):
    """Carries an error of the system past click, which would answer a closed pipe by ending the program."""

    def __init__(self, error: OSError) -> None:
        self.error = error


@contextmanager
def _past_click() -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise _PastClick(error) from error


class _Commands(click.Group):
    """The commands; the overview stands for the usual help."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: object
    ) -> click.Context:
        with _past_click():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> object:
        with _past_click():
            return cast("object", super().invoke(ctx))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for names in COMMANDS.values() for name in names]

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(overview())


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def commands() -> None:
    """Run processes of AI agents that survive the death of the machine."""


def _command(
    name: str, place: str, more: str, *decorators: Decorator, group: click.Group = commands, short: str = ""
) -> None:
    """Declare a command: `place` is `module:function` below this package, `more` what its help adds."""
    first = short or summary(name)
    group.command(name, help=f"{first}\n\n{more}", short_help=first)(
        options.all_of(*decorators)(_later(place))
    )


def _later(place: str) -> Implementation:
    """A callback that loads `module:function` and calls it with the tools and what was given."""

    def call(**given: object) -> int:
        tools = cast("Tools", click.get_current_context().obj)
        carry_out = cast("Implementation", load(f"process_engine.cli.{place}"))
        command_begins()
        try:
            return carry_out(tools, **given)
        except KeyboardInterrupt:
            # Told here: click would write an empty line to stderr.
            return exit_code()

    return call


# ---------------------------------------------------------------- run

_command(
    "validate",
    "validating:validate",
    "Every problem is shown at once, with its place and what to write instead. Exit code 2 if there is an "
    "error.",
    options.file,
    options.called,
    options.agents,
    options.as_json,
    options.no_color,
)
_command(
    "lint",
    "linting:lint",
    "Every check of `validate` on every file, and those that look at them together: ids of triggers, "
    "versions that clash. Exit code 2 if there is an error, or, with --strict, a warning.",
    options.files,
    options.agents,
    click.option("--strict", is_flag=True, help="Warnings count as errors do."),
    options.as_json,
    options.no_color,
)
_command(
    "fmt",
    "linting:fmt",
    "Indentation is made even and old spellings are replaced; comments, the order of keys and what the "
    "process means stay. Where one file cannot be formatted, none is touched. With --check or --diff nothing "
    "is written, and the exit code is 1 if something would be.",
    options.files,
    click.option("--check", "only_check", is_flag=True, help="Only say which files would be rewritten."),
    click.option("--diff", "show_diff", is_flag=True, help="Only show what would be rewritten."),
    options.as_json,
    options.no_color,
)
_command(
    "run",
    "running:run",
    "Every step is recorded in the store; whatever happens to this program, `resume` goes on where it "
    "stopped. A process is named by its file, or by the name of one that is published in the store: the "
    "newest version in use, or the one named.",
    options.runnable,
    options.fields,
    options.document,
    options.called,
    click.option(
        "--detach", is_flag=True, help="Run in the background; print id, pid and log file, and return."
    ),
    click.option(
        "--as",
        "as_user",
        metavar="USER",
        help="Who starts it, and with `separation_of_duties` must not decide.  [default: you, as logged in]",
    ),
    options.driving,
)
_command(
    "resume",
    "resuming:resume",
    "With an ID, a paused or held execution goes on too, and only that one. If another process runs "
    "executions on the store, that process goes on with it, and this one shows it.",
    options.optional_execution(*OPEN),
    options.driving,
)
_command(
    "retry",
    "resuming:retry",
    "What failed or was cancelled runs again; what completed is kept and not asked again. `-i` changes "
    "fields of the input, `--input` replaces it.",
    options.execution("failed"),
    click.option(
        "--from",
        "from_step",
        metavar="STEP",
        shell_complete=options.completed_by("steps"),
        help="Run this step and everything after it again too.",
    ),
    options.fields,
    options.document,
    options.driving,
)
_command(
    "dry-run",
    "dry_running:dry_run",
    "Agents answer what a file says, else something made up that fits; people decide at once, waits are over "
    "at once, nobody is told anything, and nothing is written. Told are the messages as they would be sent, "
    "and what each gateway saw.",
    options.file,
    options.fields,
    options.document,
    click.option(
        "--answers",
        type=options.FILE,
        metavar="FILE",
        help="What agents answer, with `agents` and `steps` as in a file of tests, or such a file.",
    ),
    click.option(
        "--decide",
        type=click.Choice(["approve", "reject", "nobody"]),
        help="How people decide, wherever they are asked.  [default: as --answers says, else approve]",
    ),
    click.option(
        "--coverage",
        type=options.FILE,
        metavar="FILE",
        help="Carry out each sample, or test, of this file, and tell which steps and routes none reaches.",
    ),
    click.option("--strict", is_flag=True, help="With --coverage: exit code 1 if something is not reached."),
    options.as_json,
    options.no_color,
)
_command(
    "publish",
    "versioning:publish",
    "Name and version stand for this content, for good: the same again is no change, other content is "
    "refused. Every file is checked first, and where one is refused, none is published. Works beside a "
    "process that runs executions on the store.",
    options.files,
    click.option("--agents", type=options.FILE, metavar="FILE", help="Check that this file has the agents."),
    click.option(
        "--as", "as_user", metavar="USER", help="Who publishes, for the record.  [default: you, as logged in]"
    ),
    options.reading,
)
_command(
    "archive",
    "versioning:archive",
    "No new start finds an archived version by its name; executions that run it go on.",
    click.argument("name", shell_complete=options.completed_by("published")),
    click.argument("version"),
    click.option("--undo", is_flag=True, help="Put it back in use."),
    options.reading,
)
_command(
    "test",
    "testing:test",
    "A FILE says what is given, what happens and what follows; see the tutorial about testing. Directories "
    "are looked through for *.test.yaml. Exit code 1 if a test does not pass.",
    click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE..."),
    options.as_json,
    options.no_color,
)
_command(
    "demo",
    "demo:demo",
    "With --crash, kill the engine in the middle, start it again, and check from the agents' own log that "
    "nothing recorded was done twice.",
    click.option("--crash", is_flag=True, help="Kill the engine with SIGKILL in the middle, and go on."),
    click.option("--keep", type=options.FILE, metavar="DIR", help="Keep all files in this directory."),
    click.option(
        "--topic", default="how tides work", show_default=True, metavar="TEXT", help="What to write about."
    ),
    options.no_color,
)

# ---------------------------------------------------------------- look

_command(
    "list",
    "inspecting:list_executions",
    "Narrow the list by status and process.",
    click.option("--status", metavar="STATUS", type=click.Choice(STATUSES), help="Only those that stand so."),
    click.option(
        "--process",
        metavar="NAME",
        shell_complete=options.completed_by("processes"),
        help="Only those of this process.",
    ),
    click.option(
        "--limit", type=click.IntRange(1, MOST_LISTED), default=50, show_default=True, help="At most so many."
    ),
    options.reading,
)
_command(
    "show",
    "inspecting:show",
    "The first characters of the ID do.",
    options.execution(),
    options.reading,
)
_command(
    "explain",
    "explaining:explain",
    "For each, the one thing that stands between it and its end: since when, until when, by whom, and what "
    "to do about it.",
    options.optional_execution(*OPEN),
    options.reading,
)
_command(
    "events",
    "inspecting:events",
    "Without --all, what people want to know.",
    options.execution(),
    click.option("--all", "everything", is_flag=True, help="Bookkeeping too."),
    click.option("-f", "--follow", is_flag=True, help="Go on showing what happens, until it has ended."),
    options.reading,
)
_command(
    "output",
    "inspecting:output",
    "Text is printed as it is, anything else as JSON.",
    options.execution(),
    options.step,
    options.reading,
)
_command(
    "versions",
    "versioning:versions",
    "With a NAME, only those of that process. Archived ones are marked.",
    click.argument("name", required=False, shell_complete=options.completed_by("published")),
    options.reading,
)
_command(
    "diff",
    "versioning:diff",
    "Each is a file, or a published process as NAME or NAME@VERSION. Steps, input fields and outputs are "
    "told one by one; spellings and order of keys do not count. Exit code 0 if they mean the same, 1 if "
    "they differ, 2 if one cannot be read.",
    click.argument("old", type=options.FILE, shell_complete=options.completed_by("files_or_published")),
    click.argument("new", type=options.FILE, shell_complete=options.completed_by("files_or_published")),
    options.reading,
)
_command(
    "graph",
    "graphing:graph",
    "Mermaid is what Markdown pages and many tools draw. With an ID, each step has its status as its class.",
    click.argument("subject", metavar="FILE|ID", shell_complete=options.completed_by("files_or_executions")),
    click.option(
        "--format",
        "form",
        type=click.Choice(["mermaid", "json"]),
        default="mermaid",
        show_default=True,
        help="How it is written.",
    ),
    options.db,
    click.option("--json", "as_json", is_flag=True, help="The same as --format json."),
    options.no_color,
)

_command(
    "approvals",
    "approvals:approvals",
    "Whom each question is for, until when, and what was decided so far; with --as only what waits for that "
    "user.",
    click.option("--as", "as_user", metavar="USER", help="Only what waits for this user, or their groups."),
    click.option(
        "--all",
        "everything",
        is_flag=True,
        help="With --as: also what they have decided about already, or must not, or too late.",
    ),
    options.people,
    options.reading,
)

# ---------------------------------------------------------------- act

_command(
    "approve",
    "deciding:approve",
    "STEP may be left out where only one step waits. Works on an execution that runs in another terminal, "
    "too; where nobody runs it, `resume ID` goes on with it.",
    options.execution("running", "paused"),
    options.step,
    options.as_user,
    options.comment,
    options.form,
    options.sha256,
    options.people,
    options.reading,
)
_command(
    "reject",
    "deciding:reject",
    "As `approve`.",
    options.execution("running", "paused"),
    options.step,
    options.as_user,
    options.comment,
    options.form,
    options.sha256,
    options.people,
    options.reading,
)
_command(
    "delegate",
    "deciding:delegate",
    "Who was named gives the decision away, a member of a group shares it. It is recorded.",
    options.execution("running", "paused"),
    options.step,
    options.as_user,
    click.option(
        "--to", metavar="USER", required=True, help="Who decides from now on: a user, or group:NAME."
    ),
    options.comment,
    options.people,
    options.reading,
)

_command(
    "publish-event",
    "publishing:publish_event",
    "It is kept for 7 days, for whoever waits for it now or later. Works while another process runs "
    "executions on the store, too; where nobody does, `resume` goes on with what waits for it.",
    click.argument("name", metavar="NAME"),
    click.option("--data", metavar="JSON", help="Its payload: any JSON, or @FILE that holds it."),
    click.option("--execution", metavar="ID", help="Only this execution may take it."),
    click.option(
        "--id",
        "event_id",
        metavar="EVENT",
        help="Its own id: published again under it, it is no change.  [default: a new one]",
    ),
    options.reading,
)
_command(
    "pause",
    "controlling:pause",
    "Works on an execution that runs in another terminal, too.",
    options.execution("running"),
    click.option("--reason", metavar="TEXT", help="Recorded with the pause."),
    options.reading,
)
_command(
    "cancel",
    "controlling:cancel",
    "What runs is stopped, and nothing starts any more.",
    options.execution(*OPEN),
    click.option("--reason", metavar="TEXT", help="Recorded with the cancellation."),
    options.reading,
)

# ---------------------------------------------------------------- set up

_command(
    "new",
    "beginning:new",
    "Writes FILE, named like the template if it is left out, and tests of it beside it; the process gets the "
    "name of the file. Without TEMPLATE, tells which there are.",
    click.argument(
        "template", required=False, metavar="[TEMPLATE]", shell_complete=options.completed_by("templates")
    ),
    click.argument("file", required=False, type=options.FILE, metavar="[FILE]"),
    click.option("--list", "listing", is_flag=True, help="Tell which templates there are."),
    click.option("--force", is_flag=True, help="Replace files that are there."),
    options.as_json,
    options.no_color,
)


@commands.group(help=summary("agents"), short_help=summary("agents"))
def agents() -> None:
    """The agents of an agents file."""


_command(
    "check",
    "checking_agents:check",
    "Servers are connected to, functions imported, programs looked up; a fault of one leaves the others to "
    "be checked. No agent is called unless --call says so. Exit code 1 if one cannot be used or reached.",
    options.agents,
    click.option("--call", is_flag=True, help="Ask each agent a short question, which may cost something."),
    options.as_json,
    options.no_color,
    group=agents,
    short="Check that each agent can be reached.",
)
_command(
    "doctor",
    "doctor:doctor",
    "Each line is ok, warn or fail, with what to do about it. Exit code 1 if one fails.",
    options.agents,
    options.reading,
)
_command(
    "schema",
    "schema:schema",
    "Editors complete and check processes with it.",
    options.no_color,
)
_command(
    "completion",
    "completing:completion",
    'For bash, add `eval "$(process-engine completion bash)"` to ~/.bashrc; for zsh, the same with zsh to '
    "~/.zshrc, after compinit; for fish, save it as ~/.config/fish/completions/process-engine.fish.",
    click.argument("shell", type=click.Choice(["bash", "zsh", "fish"])),
    options.no_color,
)
