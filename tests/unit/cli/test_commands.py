import json
import subprocess
import sys

import click
import pytest

from process_engine.cli.commands import commands
from process_engine.cli.overview import overview
from tests.architecture.places import ROOT, SOURCE
from tests.unit.cli.support import Terminal

HEAVY = {"aiohttp", "apsw", "asyncio", "jsonschema_rs", "msgspec", "pydantic", "re2", "rich", "ruamel"}


@pytest.fixture
def terminal(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Terminal(capsys)


def test_help_lists_every_command(terminal):
    answer = terminal("--help")

    listed = [line.split()[0] for line in answer.out.splitlines() if line.startswith("  ")]
    assert answer.code == 0
    assert set(commands.commands) <= set(listed)
    assert list(commands.commands) == commands.list_commands(click.Context(commands))
    assert answer.out == overview()


@pytest.mark.parametrize("command", list(commands.commands))
def test_every_command_has_help(terminal, command):
    answer = terminal(command, "--help")

    assert answer.code == 0
    assert answer.out.startswith(f"Usage: process-engine {command} ")


def loaded_by(*arguments):
    """The top-level modules that a command has loaded by its end."""
    program = (
        "import json, sys\n"
        "from process_engine.__main__ import main\n"
        f"sys.argv = ['process-engine', *{arguments!r}]\n"
        "try: main()\n"
        "finally: print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    answer = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(answer.stderr.splitlines()[-1])}


@pytest.mark.parametrize("option", ["--help", "-h", "--version"])
def test_the_overview_loads_not_even_click(option):
    loaded = loaded_by(option)

    assert loaded & (HEAVY | {"click", "dataclasses", "inspect", "pathlib"}) == set()


@pytest.mark.parametrize("arguments", [["run", "--help"], ["completion", "bash"]], ids=" ".join)
def test_help_on_a_command_loads_nothing_heavy(arguments):
    loaded = loaded_by(*arguments)

    assert "click" in loaded
    assert loaded & (HEAVY - {"apsw"}) == set()


def test_validate_loads_neither_agents_nor_the_engine(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT / "examples")

    loaded = loaded_by("validate", "content-pipeline.yaml")

    assert "pydantic" in loaded
    assert loaded & {"aiohttp", "apsw", "asyncio", "rich"} == set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frobnicate"], "No such command 'frobnicate'."),
        (["lst"], "No such command 'lst'. Did you mean 'list'?"),
        (["list", "--bogus"], "No such option '--bogus'."),
        (["show"], "Missing argument 'ID'."),
        (["run", "x.yaml", "--grace", "-1"], "Invalid value for '--grace'"),
        (["list", "--status", "gone"], "Invalid value for '--status'"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(terminal, arguments, message):
    answer = terminal(*arguments)

    assert answer.code == 2
    assert answer.out == ""
    assert f"Error: {message}" in answer.err
    assert "--help` shows what there is." in answer.err


def test_with_json_a_wrong_command_line_is_told_in_json_too(terminal):
    answer = terminal("list", "--bogus", "--json")

    assert (answer.code, answer.err) == (2, "")
    assert answer.document == {
        "error": {
            "code": "USAGE",
            "message": "No such option '--bogus'.",
            "remedy": "`process-engine list --help` shows what there is.",
        }
    }


def test_without_a_command_the_help_is_shown(terminal):
    answer = terminal()

    assert answer.code == 2
    assert "validate" in answer.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["show", "1"],
        ["events", "1"],
        ["output", "1"],
        ["cancel", "1"],
        ["pause", "1"],
        ["explain"],
        ["resume"],
        ["resume", "1"],
        ["retry", "1"],
        ["graph", "1"],
        ["approvals"],
        ["approve", "1", "--as", "ann"],
        ["reject", "1", "--as", "ann"],
        ["delegate", "1", "--as", "ann", "--to", "bob"],
    ],
    ids=" ".join,
)
def test_a_store_that_does_not_exist_is_named_with_what_to_do(terminal, tmp_path, arguments):
    answer = terminal(*arguments, "--json")

    assert (answer.code, answer.err) == (2, "")
    assert answer.document == {
        "error": {
            "code": "NOT_FOUND",
            "message": "there is no store at process-engine.db.",
            "remedy": "Start one with `process-engine run FILE`, or name another with `--db`.",
        }
    }
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["content-pipeline.yaml", "test-agents.json"])
def test_the_bundled_example_is_the_one_in_the_repository(name):
    bundled = SOURCE / "cli" / "examples" / name

    assert (ROOT / "examples" / name).read_bytes() == bundled.read_bytes()
