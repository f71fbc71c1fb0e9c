"""Completion: what is offered, and what real shells make of it (skipped where a shell is not installed)."""

import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.terminal import PATIENCE

NAP = """
name: nap
steps:
  - {id: before, type: agent_task, agent: echo, message: good night}
  - {id: sleep, type: timer, delay: 1h, depends_on: before}
"""
FILES = {"agents.yaml": "agents: {echo: {kind: echo}}\n", "nap.yaml": NAP}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_asks_this_program(terminal, shell):
    answer = terminal("completion", shell)

    assert answer.code == 0
    assert f"_PROCESS_ENGINE_COMPLETE={shell}_complete" in answer.out


def test_bash_understands_its_script(terminal):
    script = terminal("completion", "bash").out

    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def offered(place, *words):
    """What a shell is offered behind these words."""
    environment = {
        **os.environ,
        "_PROCESS_ENGINE_COMPLETE": "zsh_complete",
        "COMP_WORDS": " ".join(["process-engine", *words]),
        "COMP_CWORD": str(len(words)),
    }
    command = [sys.executable, "-P", "-m", "process_engine"]
    answer = subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return list(zip(answer[1::3], answer[2::3], strict=False))


def test_ids_steps_and_names_come_from_the_store(terminal, place):
    waiting = terminal("run", "nap.yaml", "--no-wait", "--json").document["id"]
    cancelled = terminal("run", "nap.yaml", "--no-wait", "--json").document["id"]
    terminal("cancel", cancelled)

    assert offered(place, "show", "") == [(cancelled, "nap, cancelled"), (waiting, "nap, running")]
    assert offered(place, "pause", "") == [(waiting, "nap, running")]
    assert offered(place, "retry", "") == []
    assert offered(place, "show", waiting[:-1]) == [(waiting, "nap, running")]
    assert offered(place, "output", waiting, "s") == [("sleep", "timer")]
    assert [name for name, _ in offered(place, "retry", waiting, "--from", "")] == ["before", "sleep"]
    assert [name for name, _ in offered(place, "list", "--process", "n")] == ["nap"]
    assert [name for name, _ in offered(place, "show", "--db", "other.db", "")] == []


def test_commands_and_options_are_offered_without_a_store(place):
    assert [name for name, _ in offered(place, "ex")] == ["explain"]
    assert [name for name, _ in offered(place, "agents", "")] == ["check"]
    assert "--detach" in [name for name, _ in offered(place, "run", "--d")]
    assert sorted(path.name for path in place.iterdir()) == sorted(FILES)


def test_a_store_that_is_damaged_is_no_reason_for_noise(place):
    (place / "process-engine.db").write_bytes(b"x" * 4096)

    assert offered(place, "show", "") == []


# ---------------------------------------------------------------- in real shells


def the_shell(name):
    """Where a shell is, and an environment in which it finds `process-engine`."""
    shell = shutil.which(name)
    if shell is None:
        pytest.skip(f"{name} is not installed here")
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # No settings of whoever runs the tests, and nothing of theirs is changed.
    return shell, {**os.environ, "PATH": programs, "HOME": os.getcwd(), "TERM": "dumb", "HISTFILE": ""}


def in_fish(*words):
    """The first word of each offer for the last of the words, by fish's own means to ask for that."""
    shell, environment = the_shell("fish")
    script = f"""
        process-engine completion fish | source
        complete --do-complete '{" ".join(["process-engine", *words])}'
    """
    answer = subprocess.run(
        [shell, "--private", "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE.total_seconds(),
    )
    assert answer.stderr == ""
    return [line.split("\t")[0] for line in answer.stdout.splitlines()]


def in_bash(*words):
    return at_a_prompt("bash", ["--norc", "--noprofile", "-i"], "", words)


def in_zsh(*words):
    return at_a_prompt("zsh", ["-f", "-i"], "autoload -Uz compinit; compinit -u;", words)


def at_a_prompt(name, options, prepare, words):
    """The words of the line, once somebody has pressed TAB behind them in an interactive shell."""
    shell, environment = the_shell(name)
    line = " ".join(["process-engine", *words])
    outer, inner = pty.openpty()
    with subprocess.Popen(
        [shell, *options], stdin=inner, stdout=inner, stderr=inner, env=environment, start_new_session=True
    ) as process:
        os.close(inner)
        spoken(
            outer, f'{prepare} eval "$(process-engine completion {name})"; echo $((6*7))ready\n', "42ready"
        )
        # What has become of the line is printed instead of run: after the TAB it is put into quotes.
        line = spoken(outer, f"{line}\t\x01echo $((6*7)):'\x05'\n", r"42:(.*)\n")
        process.kill()
    os.close(outer)
    return line.split()[1:]


def spoken(terminal, typed, pattern):
    """What a terminal shows of a pattern, or of its group, after something was typed."""
    os.write(terminal, typed.encode())
    seen = ""
    while (found := re.search(pattern, seen)) is None:
        seen += os.read(terminal, 65536).decode(errors="replace")
    return found[found.re.groups]


SHELLS = {"bash": in_bash, "zsh": in_zsh, "fish": in_fish}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_real_shell_completes_commands_options_and_ids(terminal, place, shell):
    waiting = terminal("run", "nap.yaml", "--no-wait", "--json").document["id"]
    complete = SHELLS[shell]

    assert complete("exp")[-1] == "explain"
    assert complete("agents", "ch")[-1] == "check"
    assert complete("run", "--det")[-1] == "--detach"
    assert complete("show", waiting[:4])[-1] == waiting
    assert complete("output", waiting, "sl")[-1] == "sleep"
    assert complete("validate", "na")[-1] == "nap.yaml"
