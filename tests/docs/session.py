"""Runs the blocks of a page as a reader would: in an empty folder, in order, in one shell."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.docs.snippets import RUN_LANGUAGES, Block, Command, commands_of, missing

# The port that pages use. A free one stands in for it, so that pages run side by side.
PORT = "8765"
# Seconds for a whole page; the longest take about ten.
LONGEST = 50
_MARK = "--- end of a command, exit code"
_FRAGMENTS = Path(__file__).with_name("fragments.py")


def run_page(name: str, blocks: Sequence[Block], folder: Path) -> list[str]:
    """Run what is to be run in `folder`; returns what went otherwise than the page says, empty if nothing.

    Files and commands come in the order of the page, Python fragments, in one session, after them.
    """
    chosen = [block for block in blocks if block.reason is None and (block.title or _is_run(block))]
    fragments = [block for block in chosen if block.language == "python" and block.title is None]
    port = _free_port()
    steps: list[str] = []
    commands: list[Command] = []
    # Beside the folder, which the page finds empty.
    staging = folder.with_name(folder.name + "-files")
    staging.mkdir()
    folder.mkdir()
    for number, block in enumerate(chosen):
        if block.title is not None:
            source = staging / str(number)
            source.write_text(block.text.replace(PORT, port), encoding="utf-8")
            steps.append(f"cp '{source}' '{block.title}'")
        elif block.language == "console":
            for command in commands_of(block):
                commands.append(command)
                steps.append(_step(command.text.replace(PORT, port)))
    if fragments:
        commands += [Command(block.line, f"fragment {n}", block.prints) for n, block in enumerate(fragments)]
        listing = staging / "fragments.json"
        texts = [(block.line, block.text.replace(PORT, port)) for block in fragments]
        listing.write_text(json.dumps([name, _MARK, texts]), encoding="utf-8")
        steps.append(f"'{sys.executable}' '{_FRAGMENTS}' '{listing}'")
    output = _run("\n".join(steps), folder, staging / "output")
    return _differences(name, commands, output)


def _is_run(block: Block) -> bool:
    return block.language in RUN_LANGUAGES - {"yaml"}


def _step(command: str) -> str:
    """The command, and behind it a line with its exit code, which the next command still sees as `$?`."""
    return f'{command}\ncode=$?; printf "\\n{_MARK} %d\\n" $code; (exit $code)'


def _run(script: str, folder: Path, output: Path) -> str:
    environment = {
        **{
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("PROCESS_ENGINE_", "PYTHON"))
        },
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONUNBUFFERED": "1",
    }
    # A file, not a pipe: what runs in the background would hold a pipe open.
    with output.open("wb") as file:
        shell = subprocess.Popen(
            ["bash", "-c", script], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
            stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            shell.wait(LONGEST)
        except subprocess.TimeoutExpired:
            file.write(f"\nstopped after {LONGEST} seconds\n".encode())
        finally:
            # Whatever the page has left in the background goes with it.
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    return output.read_text(encoding="utf-8", errors="replace")


def _differences(name: str, commands: Sequence[Command], output: str) -> list[str]:
    said: list[str] = []
    parts = output.split(f"\n{_MARK} ")
    for number, command in enumerate(commands):
        where = f"{name}:{command.line}: $ {command.text}"
        if number + 1 >= len(parts):
            return [*said, f"{where}\nnever ended. It printed:\n{parts[number]}"]
        printed = parts[number].partition("\n")[2] if number else parts[number]
        code = int(parts[number + 1].partition("\n")[0])
        following = commands[number + 1].text if number + 1 < len(commands) else ""
        if code and following != "echo $?":
            said.append(f"{where}\nended with exit code {code}. It printed:\n{printed}")
        absent = missing(command.expected, printed)
        if absent is not None:
            said.append(f"{where}\nshould have printed\n{absent}\nIt printed:\n{printed}")
    return said


def _free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])
