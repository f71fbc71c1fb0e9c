"""Two terminals on one store: what one runs, the other pauses, resumes, retries and watches."""

import json
import re
import signal
import sqlite3
from contextlib import closing

import pytest

from process_engine.cli import asking
from process_engine.clock import SystemClock
from process_engine.repositories.lock import StoreLock
from process_engine.testing.agent_process import start_agent_process
from tests.integration.terminal import engine_process, finish, steps_of, wait_until

NAP = """
name: nap
steps:
  - {id: before, type: agent_task, agent: echo, message: good night}
  - {id: sleep, type: timer, delay: 1h, depends_on: before}
"""
SHORT_NAP = """
name: short-nap
steps:
  - {id: sleep, type: timer, delay: 700ms}
  - {id: after, type: agent_task, agent: echo, message: good morning, depends_on: sleep}
"""
FRAGILE = """
name: fragile
input:
  word: {type: string, default: hello}
  times: {type: integer, default: 1}
steps:
  - {id: first, type: agent_task, agent: echo, message: "{{ input.word }}"}
  - {id: second, type: agent_task, agent: fragile, message: "{{ input.word }}", depends_on: first}
  - {id: third, type: agent_task, agent: echo, message: "{{ steps.second.output }}", depends_on: second}
outputs: {said: "{{ steps.third.output }}", times: "{{ input.times }}"}
"""
# Fails until somebody has mended it.
AGENT = """
from pathlib import Path

def answer(message):
    if not Path("mended").exists():
        raise ValueError("out of ink")
    return message.upper()
"""
AGENTS = 'agents:\n  echo: {kind: echo}\n  fragile: {kind: python, target: "fragile_agent:answer"}\n'
FILES = {
    "agents.yaml": AGENTS,
    "fragile_agent.py": AGENT,
    "nap.yaml": NAP,
    "short-nap.yaml": SHORT_NAP,
    "fragile.yaml": FRAGILE,
}


def newest(terminal, process):
    return terminal("list", "--process", process, "--json").document[0]["id"]


def mend(place):
    (place / "mended").touch()


def asleep(terminal, process="nap"):
    """Whether the timer of the newest execution of a process runs."""
    listed = terminal("list", "--process", process, "--json")
    if listed.code or not listed.document:
        return False
    shown = terminal("show", listed.document[0]["id"], "--json").document
    return steps_of(shown)["sleep"] == "waiting"


def answered(place):
    """How many commands of other terminals were answered."""
    with closing(sqlite3.connect(f"file:{place / 'process-engine.db'}?mode=ro", uri=True)) as store:
        return store.execute("SELECT count(*) FROM inbox WHERE answer IS NOT NULL").fetchone()[0]


def types(terminal, execution_id):
    return [event["type"] for event in terminal("events", execution_id, "--json").document]


# ---------------------------------------------------------------- pause


def test_an_execution_that_nobody_runs_is_paused_here(terminal):
    ran = terminal("run", "nap.yaml", "--no-wait", "--json").document

    paused = terminal("pause", ran["id"])
    again = terminal("pause", ran["id"], "--json")

    assert paused.code == 0
    assert paused.out.splitlines()[-1] == f"Go on with: process-engine resume {ran['id']}"
    assert again.code == 2
    assert again.document["error"]["code"] == "COMMAND_REJECTED"
    assert "resume" in again.document["error"]["remedy"]


def test_a_second_terminal_pauses_what_the_first_one_runs_within_a_moment(terminal, place):
    with engine_process("run", "nap.yaml", cwd=place) as engine:
        wait_until(lambda: asleep(terminal), "the timer runs")
        execution_id, clock = newest(terminal, "nap"), SystemClock()

        begun = clock.now()
        answer = terminal("pause", execution_id, "--reason", "too loud", "--json")
        took = (clock.now() - begun).total_seconds()
        code, out, _ = finish(engine)

    assert (answer.code, answer.document["status"]) == (0, "paused")
    # Half of it is this program looking around; the running process answers within 100 ms.
    assert took < 2
    assert code == 4
    assert f"It stays paused. Go on with: process-engine resume {execution_id}" in out
    paused = terminal("events", execution_id, "--json").document[-1]
    assert (paused["type"], paused["reason"], paused["by"]) == ("ProcessPaused", "too loud", asking.user())


# ---------------------------------------------------------------- resume ID


def test_a_paused_execution_is_resumed_by_its_id_and_driven_to_its_end(terminal):
    one, other = (terminal("run", "short-nap.yaml", "--no-wait", "--json").document["id"] for _ in range(2))
    terminal("pause", one)

    without = terminal("resume", "--no-wait", "--json")
    resumed = terminal("resume", one[:15], "--json")

    assert without.code == 4
    assert (resumed.code, resumed.document["status"]) == (0, "completed")
    assert terminal("show", other, "--json").document["status"] in ("running", "completed")


def test_an_open_execution_that_nobody_runs_is_driven_on_alone(terminal):
    one, other = (terminal("run", "short-nap.yaml", "--no-wait", "--json").document["id"] for _ in range(2))

    resumed = terminal("resume", one)

    assert resumed.code == 0
    assert "good morning" in resumed.out
    assert terminal("show", other, "--json").document["status"] == "running"


def test_an_execution_that_has_ended_is_not_resumed_and_the_way_on_is_named(terminal):
    failed = terminal("run", "fragile.yaml", "--json").document

    answer = terminal("resume", failed["id"])

    assert answer.code == 2
    assert "is failed: resume needs one that is pending or paused" in answer.err
    assert "`process-engine retry ID`" in answer.err


def test_whoever_has_the_store_goes_on_with_a_paused_execution_and_is_watched(terminal, place):
    paused = terminal("run", "short-nap.yaml", "--no-wait", "--json").document["id"]
    terminal("pause", paused)
    with engine_process("run", "nap.yaml", cwd=place) as engine:
        wait_until(lambda: asleep(terminal), "the timer runs")

        watched = terminal("resume", paused)

        assert engine.poll() is None

    assert watched.code == 0
    told = [line.split()[1:3] for line in watched.out.splitlines()[:4]]
    assert told == [
        ["short-nap", "ProcessResumed"],
        ["sleep", "StepCompleted"],
        ["after", "StepStarted"],
        ["after", "StepCompleted"],
    ]


def test_without_waiting_it_is_said_who_goes_on(terminal, place):
    paused = terminal("run", "nap.yaml", "--no-wait", "--json").document["id"]
    terminal("pause", paused)
    with engine_process("run", "nap.yaml", cwd=place) as engine:
        wait_until(lambda: asleep(terminal) and newest(terminal, "nap") != paused, "the timer runs")

        answer = terminal("resume", paused, "--no-wait", "--json")

        assert answer.err == (
            f"Process {engine.pid} goes on with it. Watch it with: process-engine events {paused} --follow\n"
        )
    assert (answer.code, answer.document["status"]) == (4, "running")


def test_what_runs_already_elsewhere_is_watched_until_a_signal(terminal, place):
    with engine_process("run", "nap.yaml", cwd=place) as engine:
        wait_until(lambda: asleep(terminal), "the timer runs")
        with engine_process("resume", newest(terminal, "nap"), "--json", cwd=place) as watcher:
            wait_until(lambda: answered(place), "the command is answered")
            watcher.send_signal(signal.SIGINT)
            code, out, err = finish(watcher)

        assert engine.poll() is None
    assert (code, json.loads(out)["status"]) == (130, "running")
    # Asked, or watched already: the signal may come in between.
    assert re.match(rf"Process {engine.pid} (goes on|has been asked to go on) with it\.", err)


def test_who_watches_takes_over_when_the_other_process_is_killed(terminal, place):
    execution_id = terminal("run", "short-nap.yaml", "--no-wait", "--json").document["id"]
    terminal("pause", execution_id)
    with engine_process("run", "nap.yaml", cwd=place) as engine:
        wait_until(lambda: asleep(terminal), "the timer runs")
        # What was asked for is answered by then, and goes on; without its agents it would not.
        with engine_process("resume", newest(terminal, "nap"), cwd=place) as watcher:
            wait_until(lambda: answered(place), "the command is answered")
            engine.kill()
            wait_until(lambda: holder(place) == watcher.pid, "the watcher has taken the store over")
            answer = terminal("resume", execution_id, "--json")

    assert (answer.code, answer.document["status"]) == (0, "completed")


def holder(place):
    """The process that has the store; 0 at the moment it changes."""
    return int((place / "process-engine.db.lock").read_text() or 0)


# ---------------------------------------------------------------- retry


def test_a_retry_keeps_what_completed(terminal, place):
    failed = terminal("run", "fragile.yaml", "--json").document
    mend(place)

    answer = terminal("retry", failed["id"], "--json")

    assert (failed["status"], answer.code) == ("failed", 0)
    assert answer.document["outputs"] == {"said": "HELLO", "times": 1}
    assert [step["visits"] for step in answer.document["steps"]] == [1, 1, 1]
    assert answer.document["steps"][0] == failed["steps"][0]


def test_a_retry_that_fails_again_ends_with_1(terminal):
    failed = terminal("run", "fragile.yaml", "--json").document

    answer = terminal("retry", failed["id"])

    assert answer.code == 1
    assert "Failed in step second: HANDLER_ERROR: ValueError: out of ink" in answer.out


def test_a_retry_changes_fields_or_the_whole_input(terminal, place):
    ids = [
        terminal("run", "fragile.yaml", "-i", "word=bye", "-i", "times=3", "--json").document["id"]
        for _ in range(2)
    ]
    mend(place)

    changed = terminal("retry", ids[0], "-i", "word=hi", "--json").document
    replaced = terminal("retry", ids[1], "--input", '{"word": "hi"}', "--json").document

    assert changed["outputs"] == {"said": "HI", "times": 3}
    assert changed["input"] == {"word": "hi", "times": 3}
    assert replaced["outputs"] == {"said": "HI", "times": 1}


def test_a_retry_from_a_step_runs_everything_after_it_again(terminal, place):
    failed = terminal("run", "fragile.yaml", "--json").document
    mend(place)

    answer = terminal("retry", failed["id"], "--from", "first", "--json")

    assert [step["visits"] for step in answer.document["steps"]] == [2, 2, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "secnd"], "process fragile has no step secnd. Did you mean `second`?"),
        (["-i", "times=many"], '"many" is not a whole number.'),
        (["--input", '{"wrod": "x"}'], "input.wrod: is not known."),
    ],
)
def test_a_retry_that_makes_no_sense_is_refused_and_nothing_is_written(terminal, arguments, message):
    failed = terminal("run", "fragile.yaml", "--json").document
    before = types(terminal, failed["id"])

    answer = terminal("retry", failed["id"], *arguments)

    assert (answer.code, answer.out) == (2, "")
    assert message in " ".join(answer.err.split())
    assert types(terminal, failed["id"]) == before


def test_only_what_failed_is_retried(terminal, place):
    mend(place)
    completed = terminal("run", "fragile.yaml", "--json").document

    answer = terminal("retry", completed["id"])

    assert (answer.code, answer.out) == (2, "")
    assert "is completed: retry needs one that is failed" in answer.err


def test_whoever_has_the_store_carries_a_retry_out(terminal, place):
    failed = terminal("run", "fragile.yaml", "--json").document
    mend(place)
    with engine_process("run", "nap.yaml", cwd=place) as engine:
        wait_until(lambda: asleep(terminal), "the timer runs")

        answer = terminal("retry", failed["id"], "-i", "word=hi", "--json")
        refused = terminal("retry", failed["id"], "--json")

        assert engine.poll() is None
    assert (answer.code, answer.document["outputs"]) == (0, {"said": "HI", "times": 1})
    assert refused.document["error"]["code"] == "COMMAND_REJECTED"
    assert refused.document["error"]["remedy"].startswith("Start a new one")


def test_a_process_without_the_agents_passes_its_refusal_on(terminal, place):
    failed = terminal("run", "fragile.yaml", "--json").document
    (place / "few.yaml").write_text("agents: {echo: {kind: echo}}\n", encoding="utf-8")
    with engine_process("run", "nap.yaml", "--agents", "few.yaml", cwd=place):
        wait_until(lambda: asleep(terminal), "the timer runs")

        answer = terminal("retry", failed["id"], "--json")

    assert answer.code == 2
    assert answer.document["error"]["code"] == "CONFIGURATION_INVALID"
    assert "fragile (step second)" in answer.document["error"]["message"]


def test_a_retry_that_nobody_answers_stays_and_is_carried_out_once(terminal, place, monkeypatch):
    failed = terminal("run", "fragile.yaml", "--json").document
    mend(place)
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.1)
    lock = StoreLock(place / "process-engine.db")
    lock.acquire()
    try:
        silent = terminal("retry", failed["id"], "--json")
    finally:
        lock.release()
    monkeypatch.undo()
    monkeypatch.chdir(place)

    assert silent.document["error"]["code"] == "STORE_LOCKED"
    with engine_process("run", "nap.yaml", cwd=place):
        wait_until(lambda: answered(place), "the command is carried out")
        wait_until(lambda: types(terminal, failed["id"])[-1] == "ProcessCompleted", "it has completed")
    assert types(terminal, failed["id"]).count("ProcessReopened") == 1


# ---------------------------------------------------------------- signals


def test_a_signal_during_a_retry_keeps_the_execution_open(terminal, place):
    chain = """
name: chain
steps:
  - {id: first, type: agent_task, agent: fragile, message: one}
  - {id: second, type: agent_task, agent: slow, message: two, depends_on: first}
  - {id: third, type: agent_task, agent: echo, message: three, depends_on: second}
"""
    (place / "chain.yaml").write_text(chain, encoding="utf-8")
    with start_agent_process({"slow": {"delay": 0.4}}, log=place / "calls.jsonl") as agents:
        served = f'  slow: {{kind: http, url: "{agents.url_of("slow")}"}}\n'
        (place / "agents.yaml").write_text(AGENTS + served, encoding="utf-8")
        failed = terminal("run", "chain.yaml", "--json").document
        mend(place)
        with engine_process("retry", failed["id"], "--json", cwd=place) as engine:
            wait_until(agents.calls, "the slow agent is asked")
            engine.send_signal(signal.SIGTERM)
            code, out, err = finish(engine)
        resumed = terminal("resume", failed["id"], "--json")

    assert code == 143
    assert steps_of(json.loads(out))["second"] == "completed"
    assert err.endswith("Go on with: process-engine resume\n")
    assert (resumed.code, resumed.document["status"]) == (0, "completed")
    assert len(agents.calls()) == 1
