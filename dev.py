#!/usr/bin/env python3
"""The one entry point for contributors: set-up, tests, checks, simulation, benchmarks.

Needs a Python of 3.8 or later with pip, and nothing else: uv, the virtual environments and the locked
packages are fetched on the first command and left alone until a lock file or pyproject.toml changes.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

try:
    import fcntl
except ImportError:
    sys.exit("Process Engine runs on Linux and macOS. On Windows, use WSL.")

ROOT = Path(__file__).resolve().parent
REQUIREMENTS = ROOT / "requirements"
PRIMARY = ROOT / ".venv"
# What runs on the first Python alone.
ONCE = (
    "tests/acceptance",
    "tests/architecture",
    "tests/docs",
    "tests/fuzz",
    "tests/integration",
    "tests/proof",
    "tests/templates",
    "tests/unit/benchmarks",
    "tests/unit/channels",
    "tests/unit/cli",
    "tests/unit/testing",
)
OTHERS = ROOT / ".venvs"
OWN_UV = ROOT / ".uv"

# In order of preference: the lowest one is what the package promises to run on.
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
RUNNING = "{}.{}".format(*sys.version_info)

# What a shell may carry that would lead uv, pip or Python to other places than the ones named here.
MISLEADING = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_REQUIRE_VIRTUALENV", "PIP_TARGET", "PIP_USER")

PROBE = """
import json, platform, sys
print(json.dumps({
    "path": getattr(sys, "_base_executable", None) or sys.executable,
    "version": platform.python_version(),
    "usable": platform.python_implementation() == "CPython" and sys.version_info.releaselevel == "final",
}))
"""


def say(text: str) -> None:
    print(text, flush=True)


def fail(text: str) -> NoReturn:
    sys.exit("dev.py: " + text)


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in MISLEADING}
    kept["UV_PYTHON_DOWNLOADS"] = "never"
    # Node and pyright come from the lock file, not from the machine or from a version check.
    kept["PYRIGHT_PYTHON_GLOBAL_NODE"] = "0"
    kept["PYRIGHT_PYTHON_IGNORE_WARNINGS"] = "1"
    return kept


def run(command: list[str], **extra: str) -> int:
    """The exit code of `command`, run in the checkout on this terminal."""
    return subprocess.call(command, cwd=str(ROOT), env={**environment(), **extra})


# ---- interpreters ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interpreter:
    """A CPython of this machine; `version` has three numbers, `minor` two."""

    path: str
    version: str

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])


def probe(path: str) -> Interpreter | None:
    """The interpreter behind `path`; None if it does not run (a shim without a version), or is no release."""
    try:
        command = [path, "-I", "-c", PROBE]
        facts = json.loads(subprocess.check_output(command, stderr=subprocess.DEVNULL, timeout=30))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter(facts["path"], facts["version"]) if facts["usable"] else None


def candidates(minor: str) -> Iterator[str]:
    """Paths at which a `minor` might be, best first: the running one, PATH, pyenv, uv's own."""
    if minor == RUNNING:
        yield sys.executable
    on_path = shutil.which("python" + minor)
    if on_path:
        yield on_path
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    managed = os.environ.get("UV_PYTHON_INSTALL_DIR") or os.path.join(data, "uv", "python")
    for pattern in (
        os.path.join(pyenv, "versions", minor + "*", "bin", "python" + minor),
        os.path.join(managed, "cpython-" + minor + ".*", "bin", "python" + minor),
    ):
        yield from sorted(glob.glob(pattern), key=patch_number, reverse=True)


def patch_number(path: str) -> int:
    found = re.search(r"\d+\.\d+\.(\d+)", path)
    return int(found.group(1)) if found else -1


def find_interpreter(minor: str) -> Interpreter | None:
    found = (probe(path) for path in candidates(minor))
    return next((one for one in found if one and one.minor == minor), None)


def find_interpreters() -> list[Interpreter]:
    return [one for one in map(find_interpreter, VERSIONS) if one]


def primary_interpreter(found: list[Interpreter]) -> Interpreter:
    """The one .venv is made of already, else the running one, else the lowest found."""
    if not found:
        fail(
            f"Process Engine needs Python {VERSIONS[0]} to {VERSIONS[-1]} and found none; "
            f"this is Python {sys.version.split()[0]}. On Debian: sudo apt install python3 python3-pip"
        )
    in_use = read_stamp(PRIMARY).get("python")
    by_name = {name: one for one in found for name in (one.version, one.minor)}
    return by_name.get(in_use or "") or by_name.get(RUNNING) or found[0]


# ---- set-up ----------------------------------------------------------------------------------------


def digest(*paths: Path) -> str:
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()


def wanted_state() -> dict[str, str]:
    """What an installed environment depends on. The place counts too: scripts and links hold its path."""
    return {
        "packages": digest(REQUIREMENTS / "dev.txt"),
        "project": digest(ROOT / "pyproject.toml"),
        "place": str(ROOT),
    }


def read_stamp(venv: Path) -> dict[str, str]:
    """What was installed into `venv` when its set-up last came to its end; empty if it never did."""
    try:
        stamp = json.loads((venv / ".stamp").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) and (venv / "bin" / "python").exists() else {}


def is_current(venv: Path) -> bool:
    stamp = read_stamp(venv)
    return all(stamp.get(name) == value for name, value in wanted_state().items())


@contextlib.contextmanager
def set_up_lock() -> Iterator[None]:
    """One set-up at a time in this checkout; a second dev.py waits and then finds the work done."""
    OTHERS.mkdir(exist_ok=True)
    with open(OTHERS / ".lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def ensure_venv(venv: Path, interpreter: Interpreter) -> Path:
    """The Python of `venv`, with the locked packages and this checkout installed in it."""
    python = venv / "bin" / "python"
    with set_up_lock():
        if not is_current(venv) or read_stamp(venv)["python"] != interpreter.version:
            install(venv, interpreter)
    return python


def install(venv: Path, interpreter: Interpreter) -> None:
    say(f"Setting up {venv.relative_to(ROOT)} with Python {interpreter.version} …")
    uv, wanted, had = find_uv(), wanted_state(), read_stamp(venv)
    python = venv / "bin" / "python"
    moved = had.get("place", wanted["place"]) != wanted["place"]
    if moved or probe_version(python) != interpreter.version:
        run_uv(uv, "venv", "--quiet", "--clear", "--python", interpreter.path, str(venv))
        had = {}
    (venv / ".stamp").unlink(missing_ok=True)
    if had.get("packages") != wanted["packages"]:
        locked = str(REQUIREMENTS / "dev.txt")
        run_uv(uv, "pip", "sync", "--quiet", "--python", str(python), "--require-hashes", locked)
    # Apart from the locked packages, since uv refuses to install a checkout under --require-hashes.
    editable = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    run_uv(uv, "pip", "install", "--quiet", "--python", str(python), *editable)
    stamp = json.dumps({"python": interpreter.version, **wanted})
    (venv / ".stamp").write_text(stamp + "\n", encoding="utf-8")


def probe_version(python: Path) -> str | None:
    found = probe(str(python)) if python.exists() else None
    return found.version if found else None


def run_uv(uv: str, *arguments: str) -> None:
    if run([uv, *arguments]) != 0:
        fail(
            "the set-up failed; uv says why above. It needs the package index or a filled cache: "
            "check the network, or set UV_DEFAULT_INDEX to your mirror (uv does not read pip.conf), "
            "and run the same command again."
        )


def pinned_uv() -> str:
    found = re.search(r"^uv==([\d.]+)", (REQUIREMENTS / "uv.txt").read_text(encoding="utf-8"), re.MULTILINE)
    if not found:
        fail("requirements/uv.txt names no version of uv. Restore the file.")
    return found.group(1)


def uv_version(path: str) -> str | None:
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.split()[1]


def find_uv() -> str:
    """A uv of the pinned version: the checkout's own, the one on PATH, else newly installed by pip."""
    wanted, own = pinned_uv(), str(OWN_UV / "bin" / "uv")
    for path in (own, shutil.which("uv")):
        if path and uv_version(path) == wanted:
            return path
    install_uv()
    if uv_version(own) != wanted:
        fail("uv was installed into .uv but does not run. Remove .uv and run the same command again.")
    return own


def install_uv() -> None:
    python = next((path for path in pythons_with_pip()), None)
    if python is None:
        fail("pip is missing. On Debian or Ubuntu: sudo apt install python3-pip")
    say("Fetching uv …")
    shutil.rmtree(str(OWN_UV), ignore_errors=True)
    locked = ["--require-hashes", "-r", str(REQUIREMENTS / "uv.txt")]
    command = [python, "-m", "pip", "install", "--quiet", "--target", str(OWN_UV), *locked]
    if run(command, PIP_DISABLE_PIP_VERSION_CHECK="1") != 0:
        shutil.rmtree(str(OWN_UV), ignore_errors=True)
        fail(
            "uv could not be fetched; pip says why above. Check the network or pip's index settings "
            f"and run the same command again, or put uv {pinned_uv()} on the PATH."
        )


def pythons_with_pip() -> Iterator[str]:
    yield from (path for path in [sys.executable] if has_pip(path))
    yield from (one.path for one in find_interpreters() if has_pip(one.path))


def has_pip(python: str) -> bool:
    command = [python, "-m", "pip", "--version"]
    return subprocess.run(command, capture_output=True, check=False, env=environment()).returncode == 0


def primary_python() -> str:
    """The Python of .venv, ready to use. When nothing changed since last time, this looks at files only."""
    if is_current(PRIMARY):
        return str(PRIMARY / "bin" / "python")
    return str(ensure_venv(PRIMARY, primary_interpreter(find_interpreters())))


# ---- commands --------------------------------------------------------------------------------------


def become(*command: str) -> NoReturn:
    """Go on as `command`: signals and exit codes are then its own."""
    os.chdir(str(ROOT))
    os.execve(command[0], list(command), environment())


def demo(arguments: list[str]) -> int:
    become(primary_python(), "-m", "process_engine", "demo", *arguments)


def simulate(arguments: list[str]) -> int:
    become(primary_python(), "-m", "process_engine.testing.simulation", *arguments)


def mutants(arguments: list[str]) -> int:
    become(primary_python(), str(ROOT / "tests" / "mutants" / "run.py"), *arguments)


def bench(arguments: list[str]) -> int:
    become(primary_python(), "-m", "benchmarks.run", *arguments)


def fuzz(arguments: list[str]) -> int:
    become(primary_python(), "-m", "tests.fuzz", *arguments)


def proof(arguments: list[str]) -> int:
    become(primary_python(), "-m", "tests.proof", *arguments)


def take_option(arguments: list[str], name: str) -> tuple[str | None, list[str]]:
    """The value of `--name value` or `--name=value`, and the arguments without it."""
    for at, argument in enumerate(arguments):
        if argument == name:
            if at + 1 == len(arguments):
                fail(f"{name} needs a value, as in: python3 dev.py test {name} {VERSIONS[0]}")
            return arguments[at + 1], arguments[:at] + arguments[at + 2 :]
        if argument.startswith(name + "="):
            return argument[len(name) + 1 :], arguments[:at] + arguments[at + 1 :]
    return None, arguments


def parallel_options(arguments: list[str]) -> list[str]:
    own_choice = ("-n", "--numprocesses", "--pdb", "--trace")
    return [] if any(argument.startswith(own_choice) for argument in arguments) else ["-n", "auto"]


def test(arguments: list[str]) -> int:
    only, arguments = take_option(arguments, "--python")
    found = find_interpreters()
    primary = primary_interpreter(found)
    chosen = [one for one in found if only in (None, one.minor, one.version)]
    if not chosen:
        fail(f"no Python {only} was found here; there are: {', '.join(one.version for one in found)}")
    chosen.sort(key=lambda one: one != primary)
    codes = {one.version: run_suite(one, primary, arguments) for one in chosen}
    say("")
    for version, code in codes.items():
        say(f"Python {version}: {'passed' if code == 0 else f'FAILED (pytest exit code {code})'}")
    missing = [minor for minor in VERSIONS if minor not in {one.minor for one in found}]
    say(f"Not found on this machine: {', '.join(missing) or 'none'}")
    return 0 if not any(codes.values()) else 1


def run_suite(interpreter: Interpreter, primary: Interpreter, arguments: list[str]) -> int:
    venv = PRIMARY if interpreter == primary else OTHERS / interpreter.minor
    python = ensure_venv(venv, interpreter)
    say(f"\n== The suite on Python {interpreter.version}")
    command = [str(python), "-m", "pytest", *parallel_options(arguments), *arguments]
    if interpreter != primary and not arguments:
        # Real kills, whole commands and the pages take minutes and depend on the machine, not on the Python.
        say(f"Without {', '.join(ONCE)}: they run on Python {primary.version}.")
        command.extend(f"--ignore={folder}" for folder in ONCE)
    return run(command)


def lint(arguments: list[str]) -> int:
    python = primary_python()
    scripts = Path(python).parent
    checks = {
        "ruff check": [str(scripts / "ruff"), "check", "."],
        "ruff format": [str(scripts / "ruff"), "format", "--check", "."],
        "pyright": [python, "-m", "pyright"],
        "import-linter": [str(scripts / "lint-imports"), "--no-logo"],
    }
    failed = []
    for name, command in checks.items():
        say(f"\n== {name}")
        if run(command) != 0:
            failed.append(name)
    say(f"\nlint: failed: {', '.join(failed)}" if failed else "\nlint: all clean")
    return 1 if failed else 0


def docs(arguments: list[str]) -> int:
    """Build site/ from docs/ and mkdocs.yml; a stale table, a link or a heading that is not there fails."""
    python = primary_python()
    if "--write" in arguments:
        return run([python, "-m", "tools.reference", "--write"])
    if run([python, "-m", "tools.reference"]) != 0:
        fail("tables are out of date: python3 dev.py docs --write, then look at what changed.")
    site = ROOT / "site"
    # From nothing: a page that was removed must leave neither itself nor links to it behind.
    shutil.rmtree(str(site), ignore_errors=True)
    zensical = Path(python).parent / "zensical"
    if run([str(zensical), "build", "--strict", "--clean", *arguments]) != 0:
        fail("the site was not built; the warnings above name page, line and link.")
    say(f"The site is built. Open {site / 'index.html'}")
    return 0


def lock(arguments: list[str]) -> int:
    """Write the lock files again, without download addresses; `--upgrade` takes newer versions."""
    uv = find_uv()
    # uv itself has to install under the oldest Python that can start this file.
    for python, sources, target in (
        (VERSIONS[0], ["pyproject.toml", "requirements/dev.in"], "requirements/dev.txt"),
        ("3.8", ["requirements/uv.in"], "requirements/uv.txt"),
    ):
        options = ["--quiet", "--universal", "--python-version", python]
        shape = ["--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--no-header"]
        run_uv(uv, "pip", "compile", *options, *shape, *arguments, *sources, "--output-file", target)
        say("Wrote " + target)
    return 0


def show_help(arguments: list[str]) -> int:
    say("python3 dev.py COMMAND [arguments]\n")
    for name, (_, usage, what) in COMMANDS.items():
        say(f"  {name + ' ' + usage:<34} {what}")
    say("\nThe first command sets everything up; later ones start at once.")
    return 0


COMMANDS: dict[str, tuple[Callable[[list[str]], int], str, str]] = {
    "demo": (demo, "[ARGS]", "run the bundled example against small agents on loopback"),
    "test": (test, "[--python V] [PYTEST]", "run the suite on every Python found, or on one"),
    "lint": (lint, "", "ruff, pyright and the layer rules"),
    "sim": (simulate, "--seeds N | --seed K", "simulate executions with crashes; replay one seed"),
    "mutants": (mutants, "[--suite S] [--only NAME]", "break the engine on purpose, see which tests notice"),
    "fuzz": (fuzz, "[--seconds N] [--target T]", "look for input that breaks something"),
    "bench": (bench, "[--quick] [--peers] [--save]", "measure, beside the limit of this disk and others"),
    "proof": (proof, "[--only PART] [--quick]", "everything, for hours; writes docs/proof/DATE.md"),
    "docs": (docs, "[--write]", "build the documentation; --write: make its tables from the code"),
    "lock": (lock, "[--upgrade]", "write requirements/*.txt again"),
    "help": (show_help, "", "this list"),
}


def main(arguments: list[str]) -> int:
    name, rest = (arguments[0], arguments[1:]) if arguments else ("help", [])
    name = "help" if name in ("-h", "--help") else name
    if name not in COMMANDS:
        show_help([])
        fail(f"there is no command {name!r}")
    try:
        return COMMANDS[name][0](rest)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
