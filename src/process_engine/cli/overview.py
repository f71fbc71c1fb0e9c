"""What there is, on one page: shown without loading what the commands themselves are made with."""

from __future__ import annotations

PROGRAM = "process-engine"

COMMANDS: dict[str, dict[str, str]] = {
    "Run": {
        "validate": "Check a process without running it.",
        "lint": "Look through processes for errors, warnings and notes.",
        "fmt": "Bring processes into the canonical form; comments stay.",
        "run": "Run a process until it has ended.",
        "resume": "Go on with everything open in the store, or with one execution.",
        "retry": "Take a failed execution back, and go on where it failed.",
        "dry-run": "Carry a process out without calling anybody, and tell every step.",
        "publish": "Publish versions of processes, which never change from then on.",
        "archive": "Take a published version out of use, or put it back.",
        "test": "Run the tests of processes, in virtual time and without calling anybody.",
        "demo": "Run an example against small agents on this machine.",
    },
    "Look": {
        "list": "List executions, the newest first.",
        "show": "Show an execution: its steps, what it waits for, why it failed.",
        "explain": "Say in a sentence what each unfinished execution waits for.",
        "events": "Show what happened in an execution, in order.",
        "output": "Print the outputs of an execution, or the output of one step.",
        "versions": "List what is published, the newest versions first.",
        "diff": "Say in words what changed from one process to another.",
        "graph": "Draw a process, or an execution as it stands.",
        "approvals": "List what people are asked to decide.",
    },
    "Act": {
        "approve": "Approve what a step of an execution asks.",
        "reject": "Reject what a step of an execution asks.",
        "delegate": "Hand a decision on to somebody else.",
        "publish-event": "Publish an event for the executions that wait for it.",
        "pause": "Let running steps finish, and start nothing new until `resume ID`.",
        "cancel": "End an execution now, also one that runs in another terminal.",
    },
    "Set up": {
        "new": "Begin a process from a template.",
        "agents": "Check the agents that processes may call.",
        "doctor": "Check this machine, the store and the settings.",
        "schema": "Print the JSON Schema of processes, for editors.",
        "completion": "Print the script that completes commands in your shell.",
    },
}
"""The first sentence about each command, by theme, in the order in which people meet them."""

_HEAD = f"""\
Usage: {PROGRAM} COMMAND [OPTIONS] [ARGUMENTS]

  Run processes of AI agents that survive the death of the machine. Try `{PROGRAM} demo` first.
"""
_TAIL = """\
Options
  -h, --help     Show this, or, behind a command, its arguments and options.
  --version      Show the version.

Exit codes: 0 completed, 1 failed, 2 refused (usage, definition, input), 3 cancelled, 4 waiting or paused.
"""


def summary(command: str) -> str:
    """The first sentence about a command."""
    return next(commands[command] for commands in COMMANDS.values() if command in commands)


def overview() -> str:
    """The page."""
    themes = [
        "\n".join([theme, *(f"  {name:<13}  {told}" for name, told in commands.items()), ""])
        for theme, commands in COMMANDS.items()
    ]
    return "\n".join([_HEAD, *themes, _TAIL])
