"""Odd arguments, files and surroundings: refused with what is wrong and what to do, and nothing is left."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.terminal import PATIENCE, engine_process, finish, wait_until

GREET = """
name: greet
input: {name: {type: string, default: Eve}}
steps: [{id: hello, type: agent_task, agent: echo, message: "Hello {{ input.name }}"}]
"""
NAP = "name: nap\nsteps: [{id: sleep, type: timer, delay: 1h}]\n"
FILES = {"agents.yaml": "agents: {echo: {kind: echo}}\n", "greet.yaml": GREET, "nap.yaml": NAP}
HALF = b"\xff".decode("utf-8", "surrogateescape")


@pytest.fixture
def unchanged(place):
    """Nothing may be in the directory afterwards that was not there."""
    yield
    assert sorted(path.name for path in place.iterdir() if path.name not in TAKEN_ALONG) == sorted(FILES)


# What tests put there themselves.
TAKEN_ALONG = {"other.db", "empty.db", "folder"}


def refused(answer, *parts):
    """A refusal of two lines, the first of which says what is wrong."""
    told, remedy = answer.err.splitlines()
    assert (answer.code, answer.out) == (2, "")
    assert told.startswith("Error: ")
    assert remedy
    for part in parts:
        assert part in told
    return remedy


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", HALF],
        ["graph", HALF],
        ["list", "--process", HALF],
        ["run", "greet.yaml", "-i", f"name={HALF}"],
        ["run", "greet.yaml", "--db", f"{HALF}.db", "--detach"],
        ["cancel", "a", "--reason", HALF],
    ],
)
def test_bytes_that_are_no_text_are_refused(terminal, unchanged, arguments):
    refused(
        terminal(*arguments),
        f"argument {[HALF in one for one in arguments].index(True) + 1} is not text in UTF-8",
        r"\udcff",
    )


@pytest.mark.parametrize("command", ["show", "explain", "graph", "pause", "resume"])
def test_a_very_long_id_is_not_quoted_at_length(terminal, command):
    terminal("run", "nap.yaml", "--no-wait")

    answer = terminal(command, "a" * 100_000)

    refused(answer, "there is no execution 'aaa", "…")
    assert len(answer.err) < 1000


@pytest.mark.parametrize("store", ["", ":memory:", "folder", "/dev/null"])
@pytest.mark.parametrize(
    "command", [["list"], ["run", "greet.yaml"], ["run", "greet.yaml", "--detach"], ["doctor"]]
)
def test_a_store_that_can_be_none_is_refused(terminal, place, unchanged, command, store):
    (place / "folder").mkdir()

    refused(terminal(*command, "--db", store), "'--db'")


@pytest.mark.parametrize("command", [["list"], ["resume"], ["doctor"]])
def test_a_name_that_is_too_long_for_a_file_is_refused(terminal, unchanged, command):
    answer = terminal(*command, "--db", "a" * 300)

    assert answer.code == 2
    assert answer.err.splitlines() == [
        f"Error: {'a' * 300} cannot be used: File name too long.",
        "Check its path and rights.",
    ]


@pytest.mark.parametrize("grace", ["nan", "inf", "1e400", "-1", "1e9"])
def test_a_grace_that_nobody_can_wait_for_is_refused(terminal, unchanged, grace):
    refused(terminal("run", "greet.yaml", "--grace", grace), "'--grace'")


def test_a_limit_beyond_every_store_is_refused(terminal, unchanged):
    refused(terminal("list", "--limit", "99999999999999999999999"), "'--limit'")


def test_a_field_that_is_given_twice_is_refused(terminal, unchanged):
    refused(terminal("run", "greet.yaml", "-i", "name=a", "-i", "name=b"), "-i name: is given twice")


def test_a_refusal_of_usage_is_two_lines_even_with_choices(terminal, unchanged):
    refused(terminal("completion"), "Choose from: bash, zsh, fish")


def test_a_reason_cannot_steer_the_terminal_nor_break_the_line(terminal):
    ran = terminal("run", "nap.yaml", "--no-wait", "--json").document
    terminal("pause", ran["id"], "--reason", "a\x1b[31m\nb" + "c" * 10_000)

    explained, shown = terminal("explain", ran["id"]), terminal("show", ran["id"])

    assert r"(a\x1b[31m bccc" in explained.out
    assert len(explained.out.splitlines()) == 3
    assert max(len(line) for line in (explained.out + shown.out).splitlines()) < 400
    assert terminal("events", ran["id"], "--json").document[-1]["reason"].endswith("c" * 10_000)


# ---------------------------------------------------------------- files


NO_DATABASE = b"no database, but long enough to be taken for one " * 50


@pytest.mark.parametrize("content", [b"too short", NO_DATABASE, None])
@pytest.mark.parametrize("command", [["run", "greet.yaml"], ["run", "greet.yaml", "--detach"], ["resume"]])
def test_nothing_is_put_beside_a_file_of_another_program(terminal, place, unchanged, command, content):
    if content is None:
        with closing(sqlite3.connect(place / "other.db")) as other:
            other.execute("CREATE TABLE letters (body)")
    else:
        (place / "other.db").write_bytes(content)
    before = (place / "other.db").read_bytes()

    refused(terminal(*command, "--db", "other.db"), "other.db is ")

    assert (place / "other.db").read_bytes() == before


def test_nothing_can_be_resumed_in_an_empty_file(terminal, place, unchanged):
    (place / "empty.db").touch()

    refused(terminal("resume", "--db", "empty.db"), "there is no store at empty.db.")

    assert (place / "empty.db").stat().st_size == 0


def test_a_store_is_begun_in_an_empty_file(terminal, place):
    (place / "empty.db").touch()

    assert terminal("run", "greet.yaml", "--db", "empty.db").code == 0
    assert len(terminal("list", "--db", "empty.db", "--json").document) == 1


@pytest.mark.parametrize(
    "text", ["\ufeffagents: {echo: {kind: echo}}\n", "agents:\r\n  echo: {kind: echo}\r\n"]
)
def test_files_of_windows_are_read(terminal, place, text):
    (place / "agents.yaml").write_text(text, encoding="utf-8", newline="")
    (place / "greet.yaml").write_text("\ufeff" + GREET, encoding="utf-8", newline="\r\n")

    assert terminal("run", "greet.yaml").code == 0
    assert terminal("agents", "check").code == 0


def test_what_may_not_be_looked_at_is_not_said_to_be_missing(terminal, unchanged, monkeypatch):
    def denied(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_file", denied)

    refused(terminal("graph", "secret/nap.yaml"), "secret/nap.yaml cannot be used: Permission denied.")


def test_a_background_that_cannot_be_begun_leaves_no_log(terminal, unchanged, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    refused(
        terminal("run", "greet.yaml", "--detach"),
        "/nowhere/python cannot be used: No such file or directory.",
    )


# ---------------------------------------------------------------- surroundings


def in_a_shell(script, cwd):
    """What a shell makes of `$ENGINE …`: exit code, stdout, stderr."""
    environment = {**os.environ, "ENGINE": f"{sys.executable} -P -m process_engine"}
    patience = PATIENCE.total_seconds()
    answer = subprocess.run(
        ["bash", "-c", script], cwd=cwd, env=environment, capture_output=True, timeout=patience, check=False
    )
    return answer.returncode, answer.stdout.decode(), answer.stderr.decode()


COMMANDS = [
    "--help",
    "run --help",
    "schema",
    "list",
    "run greet.yaml",
    "run greet.yaml --json",
    "doctor",
    "completion zsh",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_closed_streams_are_no_reason_to_fail(terminal, place, command):
    terminal("run", "nap.yaml", "--no-wait")

    assert in_a_shell(f"$ENGINE {command} <&- >&- 2>&-", place) == (0, "", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_is_gone_ends_a_command_quietly(terminal, place, command):
    terminal("run", "nap.yaml", "--no-wait")

    _, out, err = in_a_shell(f"{{ $ENGINE {command}; echo $? >&2; }} | head -0", place)

    assert (out, err) == ("", "141\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_output_that_cannot_be_written_is_told(terminal, place, command):
    terminal("run", "nap.yaml", "--no-wait")

    code, _, err = in_a_shell(f"$ENGINE {command} >/dev/full", place)

    assert code == 1
    assert err.splitlines() == [
        "Error: the output cannot be written: No space left on device.",
        "What was recorded is safe: `process-engine list` and `show` tell how it stands.",
    ]


def test_a_closed_stdout_is_not_replaced_by_the_store(place):
    code, _, _ = in_a_shell("$ENGINE run greet.yaml >&-; $ENGINE run greet.yaml --json >&-", place)

    assert code == 0
    with closing(sqlite3.connect(place / "process-engine.db")) as store:
        assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_directory_that_is_gone_is_named_as_the_reason(place):
    code, _, err = in_a_shell("mkdir gone; cd gone; rmdir ../gone; $ENGINE doctor", place)

    assert code == 2
    assert err.splitlines() == [
        "Error: the current directory does not exist any more.",
        "Change to one that does.",
    ]


def test_a_directory_whose_name_is_no_text_can_hold_no_store_but_all_else(place):
    odd = os.path.join(os.fsencode(place), b"\xff")
    os.mkdir(odd)
    for name in FILES:
        (place / name).rename(Path(os.fsdecode(odd)) / name)

    stored, checked = (
        in_a_shell("$ENGINE run greet.yaml", odd),
        in_a_shell("$ENGINE validate greet.yaml", odd),
    )

    assert (stored[0], stored[1]) == (2, "")
    assert r"the name of its directory is not text in UTF-8" in stored[2]
    assert checked == (0, "greet.yaml is valid.\n", "")
    assert sorted(os.listdir(odd)) == sorted(os.fsencode(name) for name in FILES)


def test_a_link_that_leads_to_itself_is_no_store(terminal, place):
    os.symlink("loop.db", place / "loop.db")

    for command in (["list"], ["run", "greet.yaml"], ["doctor"]):
        assert terminal(*command, "--db", "loop.db").code in (1, 2)
    assert sorted(path.name for path in place.iterdir()) == sorted([*FILES, "loop.db"])


@pytest.mark.parametrize("columns", ["20", "1", "0", "-5", "x"])
def test_a_narrow_terminal_is_no_reason_to_fail(terminal, place, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)

    ran = terminal("run", "nap.yaml", "--no-wait", "--json").document

    assert terminal("show", ran["id"]).code == 0
    assert terminal("list").code == 0


def test_a_signal_with_a_grace_of_days_still_ends_what_can_end(terminal, place):
    with engine_process("run", "nap.yaml", "--grace", "604800", cwd=place) as engine:
        wait_until(lambda: terminal("explain", "--json").code == 0, "it is recorded")
        engine.send_signal(signal.SIGINT)
        code, out, _ = finish(engine)

    assert code == 130
    assert "process-engine resume" in out
