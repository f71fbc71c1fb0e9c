"""Real processes beside a test. They answer on stdout and end when their stdin does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

_WAIT = "sys.stdin.read()"


@contextmanager
def process(script: str, *arguments: object) -> Generator[subprocess.Popen[str], None, None]:
    """A Python process that has run `script` (its arguments in sys.argv) and printed one line.

    It then waits until it is killed or the context ends. Read what it prints with `line_of`.
    """
    child = subprocess.Popen(
        [sys.executable, "-c", f"import sys\n{script}\n{_WAIT}", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def line_of(child: subprocess.Popen[str]) -> str:
    """The next line that the process prints."""
    assert child.stdout is not None
    return child.stdout.readline().strip()
