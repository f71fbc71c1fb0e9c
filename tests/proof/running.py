"""Runs the parts of a proof, one after the other, each in a session of its own that ends with it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import IO, Literal

from tests.proof.parts import PYTHON, Part

ROOT = Path(__file__).resolve().parents[2]
KEPT_LINES = 200
LONGEST_LINE = 160
GRACE_SECONDS = 20.0

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TEMPORARY = re.compile(r"(?:/private)?/(?:tmp|var/folders)/\S*")

Verdict = Literal["passed", "failed", "too slow", "missing", "not run"]


@dataclass(frozen=True)
class Result:
    """What became of a part: `command` as it was run, `lines` the last ones that it printed."""

    part: Part
    command: str
    verdict: Verdict
    seconds: float = 0.0
    lines: tuple[str, ...] = ()


def run(part: Part, *, quick: bool) -> Result:
    """Run a part to its end; its output goes to the terminal as well."""
    words = part.quick if quick else part.command
    shown = part.shown(quick=quick)
    print(f"\n== {part.name}: {shown}", flush=True)
    began = monotonic()
    code, lines = _ran(words, part)
    seconds = monotonic() - began
    verdict = verdict_of(part, code, seconds, quick=quick)
    print(f"== {part.name}: {verdict} after {seconds:.0f} s", flush=True)
    return Result(part, shown, verdict, seconds, tuple(lines)[-part.told :])


def verdict_of(part: Part, code: int | None, seconds: float, *, quick: bool) -> Verdict:
    """What an exit code means; None is a part that could not be begun."""
    if code is None:
        return "missing"
    if code != 0:
        return "failed"
    late = part.within_seconds is not None and seconds > part.within_seconds
    return "too slow" if late and not quick else "passed"


def _ran(words: tuple[str, ...], part: Part) -> tuple[int | None, deque[str]]:
    """The exit code and the last lines; a part that takes too long is ended, and its code is 124."""
    command = [sys.executable if words[0] in ("python3", PYTHON) else words[0], *words[1:]]
    lines: deque[str] = deque(maxlen=KEPT_LINES)
    try:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **part.environment, "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        lines.append(f"it could not be begun: {error.strerror}")
        return None, lines
    assert process.stdout is not None
    reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
    reader.start()
    try:
        code = process.wait(part.patience_minutes * 60)
    except subprocess.TimeoutExpired:
        lines.append(f"it was ended after {part.patience_minutes:g} minutes")
        code = 124
    finally:
        _end(process)
    reader.join(GRACE_SECONDS)
    return code, lines


def _read(output: IO[bytes], lines: deque[str]) -> None:
    with output:
        for line in output:
            text = line.decode(errors="replace").rstrip()
            print(text, flush=True)
            if text:
                lines.append(cleaned(text))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the session that was begun for a part, unless the part has ended by itself; and nothing else."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        # Not waited for yet, so its number cannot have become somebody else's.
        os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)


def cleaned(line: str) -> str:
    """The line without colours, and without the paths of this machine."""
    plain = _COLOURS.sub("", line).replace("\r", " ").replace("`" * 3, "'''")
    plain = plain.replace(f"{ROOT}/", "").replace(str(ROOT), ".").replace(str(Path.home()), "~")
    plain = _TEMPORARY.sub("…", plain)
    return plain if len(plain) <= LONGEST_LINE else plain[: LONGEST_LINE - 1] + "…"
