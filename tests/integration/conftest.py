"""A directory with the files of a test module, and a terminal in it."""

from pathlib import Path

import pytest

from tests.unit.cli.support import Terminal


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory: it holds the `FILES` of the test module, by their names, and nothing else."""
    for name, text in request.module.FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str], place: Path) -> Terminal:
    """Runs commands in `place`."""
    return Terminal(capsys)
