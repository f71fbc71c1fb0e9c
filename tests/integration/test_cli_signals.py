"""Signals and kills of real processes: what was begun is kept or given up in order, and nothing is noisy."""

import json
import os
import signal
import subprocess
import sys

import pytest

from process_engine.__main__ import TOOLS
from process_engine.cli import detaching
from process_engine.cli.detaching import Job
from process_engine.testing.agent_process import start_agent_process
from tests.integration.terminal import PATIENCE, engine_process, finish, steps_of, wait_until

HTTP = """
name: chain
steps:
  - {id: first, type: agent_task, agent: quick, message: one}
  - {id: second, type: agent_task, agent: slow, message: two, depends_on: first}
  - {id: third, type: agent_task, agent: quick, message: three, depends_on: second}
"""
NAP = "name: nap\nsteps: [{id: sleep, type: timer, delay: 1h}]\n"
ASK = """
name: ask
steps: [{id: question, type: agent_task, agent: slow, message: "?"}]
"""
FILES = {"chain.yaml": HTTP, "nap.yaml": NAP, "ask.yaml": ASK}
NUMBERS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.fixture
def agents(place):
    behaviours = {"quick": {}, "slow": {"delay": 0.4}}
    with start_agent_process(behaviours, log=place / "calls.jsonl") as served:
        lines = [f'  {name}: {{kind: http, url: "{served.url_of(name)}"}}' for name in behaviours]
        (place / "agents.yaml").write_text("\n".join(["agents:", *lines, ""]), encoding="utf-8")
        yield served


def called(agents, *steps):
    return [call.step_id for call in agents.calls()] == list(steps)


@pytest.mark.parametrize(("number", "code"), NUMBERS)
def test_a_signal_lets_what_runs_finish_and_keeps_the_execution_open(terminal, place, agents, number, code):
    with engine_process("run", "chain.yaml", "--json", cwd=place) as engine:
        wait_until(lambda: called(agents, "first", "second"), "the second agent is asked")
        engine.send_signal(number)
        ended, out, err = finish(engine)

    assert ended == code
    assert json.loads(out)["status"] == "running"
    assert steps_of(json.loads(out))["second"] == "completed"
    assert err.splitlines()[-1] == (
        "It is not finished, and nothing is lost. Go on with: process-engine resume"
    )
    resumed = terminal("resume", "--json")
    assert resumed.code == 0
    assert [call.step_id for call in agents.calls()] == ["first", "second", "third"]


def test_what_does_not_finish_within_the_grace_is_repeated_later(terminal, place, agents):
    with engine_process("run", "chain.yaml", "--grace", "0", cwd=place) as engine:
        wait_until(lambda: called(agents, "first", "second"), "the second agent is asked")
        engine.send_signal(signal.SIGINT)
        code, out, _ = finish(engine)

    assert code == 130
    assert "1 running step(s) did not finish in time and will be repeated." in out
    assert terminal("resume").code == 0
    first, second, again, third = agents.calls()
    assert [first.step_id, second.step_id, again.step_id, third.step_id] == [
        "first",
        "second",
        "second",
        "third",
    ]
    assert second.key == again.key


def test_a_second_signal_stops_at_once(place, agents):
    with engine_process("run", "chain.yaml", "--grace", "60", cwd=place) as engine:
        wait_until(lambda: called(agents, "first", "second"), "the second agent is asked")
        engine.send_signal(signal.SIGINT)
        assert engine.stdout is not None
        while "Stopping: " not in engine.stdout.readline():
            pass
        engine.send_signal(signal.SIGTERM)
        code, out, _ = finish(engine)

    assert code == 143
    assert out == "Stopped. Go on with: process-engine resume\n"


def test_after_kill_9_recorded_steps_are_not_asked_again(terminal, place, agents):
    with engine_process("run", "chain.yaml", cwd=place) as engine:
        wait_until(lambda: called(agents, "first", "second"), "the second agent is asked")
        engine.kill()
        code, _, _ = finish(engine)

    resumed = terminal("resume", "--json")

    assert (code, resumed.code) == (-signal.SIGKILL, 0)
    assert [call.step_id for call in agents.calls()] == ["first", "second", "second", "third"]
    _, killed, repeated, _ = agents.calls()
    assert killed.key == repeated.key
    assert repeated.repeated


def test_a_reader_that_goes_away_does_not_end_the_run(terminal, place, agents):
    with engine_process("run", "chain.yaml", cwd=place) as engine:
        assert engine.stdout is not None
        assert engine.stderr is not None
        engine.stdout.readline()
        engine.stdout.close()
        err = engine.stderr.read()
        code = engine.wait()

    assert (code, err) == (141, "")
    assert terminal("list", "--json").document[0]["status"] == "completed"


@pytest.mark.parametrize(("number", "code"), NUMBERS)
def test_a_run_that_completes_while_it_stops_has_completed(terminal, place, agents, number, code):
    with engine_process("run", "ask.yaml", "--json", cwd=place) as engine:
        wait_until(lambda: called(agents, "question"), "the agent is asked")
        engine.send_signal(number)
        ended, out, err = finish(engine)

    assert (ended, json.loads(out)["status"]) == (0, "completed")
    assert err.splitlines() == [
        "Stopping: what runs may finish for 10 s. Once more stops at once.",
        "It ended although a stop was asked for: what was under way was the last there was.",
    ]


def test_a_resume_whose_last_execution_completes_while_it_stops_has_completed(terminal, place, agents):
    with engine_process("run", "ask.yaml", cwd=place) as killed:
        wait_until(lambda: called(agents, "question"), "the agent is asked")
        killed.kill()
    with engine_process("resume", cwd=place) as engine:
        wait_until(lambda: called(agents, "question", "question"), "the agent is asked again")
        engine.send_signal(signal.SIGTERM)
        code, out, _ = finish(engine)

    assert code == 0
    assert out.splitlines()[-1].startswith("It ended although a stop was asked for")


# ---------------------------------------------------------------- at any moment

# Modules that commands load, from the first to one that only a running engine needs.
MOMENTS = ["process_engine.cli.entry", "click", "pydantic_core", "msgspec", "rich.text", "apsw", "asyncio"]


def interrupted_while_loading(place, module, number, *words):
    """`process-engine …` with a signal as soon as a module was loaded: its exit code, and what it told."""
    command = [sys.executable, "-X", "importtime", "-P", "-m", "process_engine", *words]
    with subprocess.Popen(
        command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.rpartition("|")[2].strip() == module:
                process.send_signal(number)
                break
        out, err = process.communicate(timeout=PATIENCE.total_seconds())
    told = [line for line in err.splitlines() if not line.startswith("import time:")]
    return process.returncode, out, told


@pytest.mark.parametrize(("number", "code"), NUMBERS)
@pytest.mark.parametrize("module", MOMENTS[1:])
def test_a_signal_while_a_command_loads_ends_it_quietly(place, module, number, code):
    ended, out, told = interrupted_while_loading(place, module, number, "run", "nap.yaml", "--json")

    if out:
        # The machine was slow to deliver it: the execution had begun, and is kept.
        assert json.loads(out)["status"] == "running"
        assert told[-1].endswith("Go on with: process-engine resume")
    else:
        assert told == []
    assert ended == code


@pytest.mark.parametrize(("number", "code"), NUMBERS)
def test_a_signal_ends_what_only_looks_quietly(terminal, place, number, code):
    terminal("run", "nap.yaml", "--no-wait")
    (execution,) = terminal("list", "--json").document
    with engine_process("events", execution["id"], "--follow", cwd=place) as follower:
        assert follower.stdout is not None
        follower.stdout.readline()
        follower.send_signal(number)
        ended, _, err = finish(follower)

    assert (ended, err) == (code, "")


def test_sigterm_ends_the_programs_that_a_check_has_begun(place):
    script = "import os, pathlib, time; pathlib.Path('begun').write_text(str(os.getpid())); time.sleep(60)"
    agents = {"slow": {"kind": "command", "argv": [sys.executable, "-c", script], "cwd": str(place)}}
    (place / "agents.yaml").write_text(json.dumps({"agents": agents}), encoding="utf-8")
    with engine_process("agents", "check", "--call", cwd=place) as check:
        wait_until(lambda: (place / "begun").exists() and (place / "begun").read_text(), "it has begun")
        check.send_signal(signal.SIGTERM)
        code, out, err = finish(check)

    assert (code, out, err) == (143, "", "")
    wait_until(lambda: not is_alive(int((place / "begun").read_text())), "the program has ended")


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# ---------------------------------------------------------------- while something is handed to the background

# Slow to load, but only in the background.
SLOW_TO_LOAD = """
import pathlib, sys, time
if "detached" in sys.argv[0]:
    pathlib.Path("begun").touch()
    time.sleep(60)
def answer(message):
    return message
"""


def test_a_signal_before_anything_is_recorded_leaves_nothing(place):
    (place / "slow_agent.py").write_text(SLOW_TO_LOAD, encoding="utf-8")
    (place / "agents.yaml").write_text('agents: {slow: {kind: python, target: "slow_agent:answer"}}\n')
    with engine_process("run", "ask.yaml", "--detach", cwd=place) as engine:
        wait_until((place / "begun").exists, "the process in the background loads its agents")
        engine.send_signal(signal.SIGINT)
        assert finish(engine) == (130, "", "")

    assert list(place.glob("*.log")) == []
    assert list(place.glob("*.db")) == []


# Tells what it is asked to tell as soon as it is ended.
TELLER = """
import os, signal, sys
def tell(number, frame):
    os.write(int(sys.argv[1]), sys.argv[2].encode())
    sys.exit()
signal.signal(signal.SIGTERM, tell)
print(flush=True)
signal.pause()
"""


@pytest.mark.parametrize(("news", "told"), [('{"recorded": true}', True), ("", False)])
def test_an_execution_that_was_recorded_before_the_signal_is_no_secret(
    tmp_path, capsys, monkeypatch, news, told
):
    heard, pipe = os.pipe()
    command = [sys.executable, "-c", TELLER, str(pipe), news]
    (log := tmp_path / "x.log").touch()
    job = Job(
        tools=TOOLS, definition="", input={}, execution_id="abc", agents_file=None, db="x.db", grace=1.0
    )

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(detaching, "_hand_over", interrupt)
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=(pipe,)) as child:
        os.close(pipe)
        assert child.stdout is not None
        child.stdout.readline()
        with pytest.raises(KeyboardInterrupt):
            detaching._heard(child, job, heard, log)

    assert log.exists() is told
    line = "abc was recorded before, and stays open. Go on with: process-engine resume abc --db x.db\n"
    assert capsys.readouterr().err == (line if told else "")
