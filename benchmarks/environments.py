"""The environments of other engines: made on demand, kept between runs, one for each."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.cells import Engine
from benchmarks.worker import ROOT, EngineFailed, Seat

# Beside the environments of other Pythons, which git ignores as well.
ENVIRONMENTS = ROOT / ".venvs" / "bench"
_STAMP = "bench.json"
_LONGEST_SECONDS = 300.0


def prepare(engine: Engine, tell: Callable[[str], None], directory: Path = ENVIRONMENTS) -> Seat:
    """The interpreter that has what an engine needs; a peer's environment is made if it is not there.

    Raises:
        EngineFailed: it could not be made, with the reason. What there was of it is gone.
    """
    if not engine.peer:
        return Seat(engine, Path(sys.executable))
    home = directory / engine.name
    python = home / "bin" / "python"
    if _stamp_of(home) != _wanted(engine):
        tell(f"installing {', '.join((*engine.packages, *engine.npm))} into {home}")
        shutil.rmtree(home, ignore_errors=True)
        try:
            _make(engine, home, python)
        except EngineFailed:
            shutil.rmtree(home, ignore_errors=True)
            raise
    return Seat(engine, python)


def _make(engine: Engine, home: Path, python: Path) -> None:
    home.parent.mkdir(parents=True, exist_ok=True)
    _run([sys.executable, "-m", "venv", str(home)], home.parent)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, *engine.packages], home)
    if engine.npm:
        npm = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(home)]
        _run([*npm, *engine.npm], home)
    (home / _STAMP).write_text(json.dumps(_wanted(engine)), encoding="utf-8")


def _wanted(engine: Engine) -> dict[str, object]:
    version = "{}.{}".format(*sys.version_info)
    return {"python": version, "packages": [*engine.packages], "npm": [*engine.npm]}


def _stamp_of(home: Path) -> object:
    try:
        return json.loads((home / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _run(command: Sequence[str], directory: Path) -> None:
    name = " ".join(Path(word).name for word in command[:3])
    try:
        done = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, timeout=_LONGEST_SECONDS
        )
    except FileNotFoundError:
        raise EngineFailed(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise EngineFailed(f"{name} took longer than {_LONGEST_SECONDS:g} s") from None
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("ERROR", "npm error"))]
        raise EngineFailed(f"{name} failed: {(errors or lines or ['without a word'])[-1]}")
