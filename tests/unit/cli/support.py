"""The command line, called as a terminal would, inside the test's own process."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest

from process_engine.__main__ import TOOLS
from process_engine.cli.commands import run_command_line


class Answer(NamedTuple):
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def document(self):
        return json.loads(self.out)


class Terminal:
    """Runs commands in the current directory."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *arguments: object) -> Answer:
        self._capture.readouterr()
        code = run_command_line(TOOLS, [str(argument) for argument in arguments])
        captured = self._capture.readouterr()
        return Answer(code, captured.out, captured.err)
