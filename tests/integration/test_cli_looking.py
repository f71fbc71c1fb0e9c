"""`explain`, `graph`, `schema`, `agents check`, `doctor` and completion, called as a user would."""

import json
import re
import signal
import socket
import sqlite3
from contextlib import closing
from datetime import datetime

import pytest

from process_engine.agents import EchoSettings
from process_engine.cli import doctor
from process_engine.cli.asking import user
from process_engine.testing.agent_process import start_agent_process
from tests.integration.terminal import engine_process, wait_until

NAP = """
name: nap
steps:
  - {id: before, type: agent_task, agent: echo, message: good night}
  - {id: sleep, type: timer, delay: 1h, depends_on: before}
"""
ASK = """
name: ask
steps:
  - {id: question, type: agent_task, agent: slow, message: "?", timeout: 1m}
"""
UNLUCKY = """
name: unlucky
steps:
  - {id: question, type: agent_task, agent: broken, message: "?",
     retry: {max_attempts: 5, initial_delay: 1h, max_delay: 1h, jitter: false}}
"""
CROWDED = """
name: crowded
limits: {max_concurrent_steps: 1}
steps:
  - {id: one, type: agent_task, agent: slow, message: "1"}
  - {id: other, type: agent_task, agent: slow, message: "2"}
"""
FILES = {
    "agents.yaml": "agents: {echo: {kind: echo}}\n",
    "nap.yaml": NAP,
    "ask.yaml": ASK,
    "unlucky.yaml": UNLUCKY,
    "crowded.yaml": CROWDED,
}


@pytest.fixture
def agents(place):
    behaviours = {"slow": {"delay": 30}, "broken": {"status": 503}}
    with start_agent_process(behaviours, log=place / "calls.jsonl") as served:
        lines = [f'  {name}: {{kind: http, url: "{served.url_of(name)}"}}' for name in behaviours]
        (place / "agents.yaml").write_text("\n".join(["agents:", *lines, ""]), encoding="utf-8")
        yield served


def told(terminal, process):
    """What is explained about the newest execution of a process; None while there is none."""
    listed = terminal("list", "--process", process, "--json")
    if listed.code or not listed.document:
        return None
    return terminal("explain", listed.document[0]["id"], "--json").document


def stands(terminal, process, kind):
    explained = told(terminal, process)
    return explained is not None and (explained["blocker"] or {}).get("kind") == kind


# ---------------------------------------------------------------- explain


def test_a_paused_execution_is_explained_with_since_and_by(terminal):
    ran = terminal("run", "nap.yaml", "--no-wait", "--json").document
    terminal("pause", ran["id"])
    pause = terminal("events", ran["id"], "--json").document[-1]

    (explained,) = terminal("explain", "--json").document

    assert explained["blocker"] == {
        "kind": "pause",
        "step_id": None,
        "since": pause["timestamp"],
        "until": None,
        "by": user(),
    }
    assert explained["sentence"].startswith(f"it is paused by {user()} since ")
    assert explained["remedy"] == f"`process-engine resume {ran['id']}` goes on with it."
    assert set(explained) == {"id", "process", "version", "status", "blocker", "sentence", "remedy"}


def test_a_pause_is_explained_with_its_reason(terminal):
    ran = terminal("run", "nap.yaml", "--no-wait", "--json").document
    answer = terminal("pause", ran["id"], "--reason", "the printer burns")

    (explained,) = terminal("explain", "--json").document
    pause = terminal("events", ran["id"], "--json").document[-1]

    assert answer.code == 0
    assert explained["sentence"].startswith(f"it is paused by {user()} (the printer burns) since ")
    assert "it is paused (the printer burns)." in terminal("show", ran["id"]).out
    assert (pause["type"], pause["reason"], pause["by"]) == ("ProcessPaused", "the printer burns", user())
    assert "the printer burns" in terminal("events", ran["id"]).out


def test_that_no_process_runs_it_comes_first(terminal):
    ran = terminal("run", "nap.yaml", "--no-wait", "--json").document

    explained = terminal("explain", ran["id"], "--json").document
    lines = terminal("explain").out.splitlines()

    assert explained["blocker"]["kind"] == "nobody"
    assert explained["blocker"]["step_id"] == "sleep"
    assert lines[0] == f"nap 1  {ran['id']}  running"
    assert lines[1].startswith("  no process runs it. Beyond that: the timer of step sleep, set at ")
    assert lines[2] == f"  `process-engine resume {ran['id']}` goes on with it."


def test_a_timer_that_runs_is_explained_with_its_time(terminal, place):
    with engine_process("run", "nap.yaml", cwd=place):
        wait_until(lambda: stands(terminal, "nap", "timer"), "the timer runs")
        explained = told(terminal, "nap")

    since, until = (datetime.fromisoformat(explained["blocker"][key]) for key in ("since", "until"))
    assert (until - since).total_seconds() == pytest.approx(3600)
    assert "the timer of step sleep, set at " in explained["sentence"]
    assert "process-engine cancel" in explained["remedy"]


def test_an_agent_that_thinks_is_named_with_the_time_it_has(terminal, place, agents):
    with engine_process("run", "ask.yaml", cwd=place):
        wait_until(lambda: stands(terminal, "ask", "attempt"), "the agent is asked")
        explained = told(terminal, "ask")

    blocker = explained["blocker"]
    since, until = (datetime.fromisoformat(blocker[key]) for key in ("since", "until"))
    assert (blocker["step_id"], blocker["by"]) == ("question", "slow")
    assert (until - since).total_seconds() == pytest.approx(60)
    assert explained["sentence"].startswith("step question waits for agent slow since ")


def test_an_attempt_that_a_killed_process_left_is_run_by_nobody(terminal, place, agents):
    with engine_process("run", "ask.yaml", cwd=place) as killed:
        wait_until(lambda: stands(terminal, "ask", "attempt"), "the agent is asked")
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    alone = told(terminal, "ask")
    (place / "agents.yaml").write_text("agents: {echo: {kind: echo}}\n", encoding="utf-8")
    with engine_process("run", "nap.yaml", cwd=place) as other:
        wait_until(lambda: stands(terminal, "nap", "timer"), "the timer runs")
        beside = told(terminal, "ask")

    assert alone["sentence"].startswith("no process runs it.")
    assert beside["blocker"]["kind"] == "nobody"
    assert beside["sentence"].startswith(f"process {other.pid} has the store, but does not run it.")
    assert beside["remedy"] == f"`process-engine resume {beside['id']}` goes on with it."


def test_a_retry_to_come_is_explained_with_what_failed(terminal, place, agents):
    with engine_process("run", "unlucky.yaml", cwd=place):
        wait_until(lambda: stands(terminal, "unlucky", "retry"), "the first attempt has failed")
        explained = told(terminal, "unlucky")

    since, until = (datetime.fromisoformat(explained["blocker"][key]) for key in ("since", "until"))
    assert (until - since).total_seconds() == pytest.approx(3600, abs=1)
    assert explained["sentence"].startswith("step question is tried again at ")
    assert "AGENT_UNAVAILABLE" in explained["sentence"]


def test_of_several_blockers_the_one_that_works_is_named(terminal, place, agents):
    with engine_process("run", "crowded.yaml", cwd=place):
        wait_until(lambda: stands(terminal, "crowded", "attempt"), "the agent is asked")
        explained = told(terminal, "crowded")

    assert explained["blocker"]["step_id"] == "one"


def test_what_has_ended_is_explained_too(terminal, place):
    (place / "agents.yaml").write_text("agents: {echo: {kind: command, argv: ['false']}}\n", encoding="utf-8")
    failed = terminal("run", "nap.yaml", "--json").document

    explained = terminal("explain", failed["id"], "--json").document

    assert terminal("explain") == (0, "Nothing is open in process-engine.db.\n", "")
    assert explained["blocker"] is None
    assert explained["sentence"].startswith("it failed at ")
    assert explained["remedy"] == f"`process-engine retry {failed['id']}` goes on where it failed."


# ---------------------------------------------------------------- graph


def test_a_graph_of_a_file_and_of_an_execution(terminal):
    ran = terminal("run", "nap.yaml", "--no-wait", "--json").document

    of_file, of_execution = terminal("graph", "nap.yaml"), terminal("graph", ran["id"][:12])
    document = terminal("graph", ran["id"], "--format", "json").document

    assert of_file.out.splitlines() == [
        "flowchart TD",
        '    s0["before"]',
        '    s1(["sleep"])',
        "    s0 --> s1",
    ]
    assert '    s0["before"]:::completed' in of_execution.out
    assert '    s1(["sleep"]):::waiting' in of_execution.out
    assert [node["status"] for node in document["nodes"]] == ["completed", "waiting"]
    assert terminal("graph", "nap.yaml", "--json").document["levels"] == [["before"], ["sleep"]]


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        ("nope.yaml", "there is no file nope.yaml."),
        ("folder/nope", "there is no file folder/nope."),
        ("zzz", "there is no execution 'zzz'."),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_what_to_do(terminal, subject, message):
    terminal("run", "nap.yaml", "--no-wait")

    answer = terminal("graph", subject)

    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert len(answer.err.splitlines()) == 2


# ---------------------------------------------------------------- schema


def test_the_schema_is_printed_as_json(terminal):
    answer = terminal("schema")

    assert (answer.code, answer.err) == (0, "")
    assert answer.document["title"] == "Process"


# ---------------------------------------------------------------- agents check


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_each_agent_is_looked_for(terminal, place, agents):
    port = closed_port()
    text = f"""
agents:
  here: {{kind: http, url: "{agents.url_of("slow")}"}}
  gone: {{kind: http, url: "http://127.0.0.1:{port}/"}}
  model: {{kind: openai, base_url: "http://127.0.0.1:{port}/v1", model: m}}
  program: {{kind: command, argv: [cat]}}
  function: {{kind: python, target: "json:dumps"}}
  mirror: {{kind: echo}}
"""
    (place / "agents.yaml").write_text(text, encoding="utf-8")

    answer, table = terminal("agents", "check", "--json"), terminal("agents", "check")

    assert (answer.code, table.code) == (1, 1)
    assert [(one["name"], one["kind"], one["ok"]) for one in answer.document] == [
        ("here", "http", True),
        ("gone", "http", False),
        ("model", "openai", False),
        ("program", "command", True),
        ("function", "python", True),
        ("mirror", "echo", True),
    ]
    assert answer.document[1]["message"] == f"127.0.0.1:{port} accepts no connections: Connection refused"
    assert answer.document[1]["remedy"]
    # Nobody was called, only connected to.
    assert agents.calls() == []
    assert "gone" in table.out
    assert f"127.0.0.1:{port} accepts no connections" in table.out


def test_agents_are_called_only_where_that_is_asked_for(terminal, place, agents):
    text = f'agents: {{broken: {{kind: http, url: "{agents.url_of("broken")}"}}, mirror: {{kind: echo}}}}\n'
    (place / "agents.yaml").write_text(text, encoding="utf-8")

    answer = terminal("agents", "check", "--call", "--json")

    broken, mirror = answer.document
    assert answer.code == 1
    assert len(agents.calls()) == 1
    assert "AGENT_UNAVAILABLE" in broken["message"]
    assert mirror["message"].startswith("answered in 0.0 s: ")


def test_agents_are_looked_for_even_beside_faulty_ones(terminal, place):
    text = """agents:
  a: {kind: python, target: "no_such:thing"}
  mirror: {kind: echo}
  b: {kind: http, url: "${NO_SUCH_VARIABLE}", timeuot: 3s}
  "no name": {kind: echo}
  c: nothing
agent: {}
"""
    (place / "agents.yaml").write_text(text, encoding="utf-8")

    answer, table = terminal("agents", "check", "--json"), terminal("agents", "check")

    assert (answer.code, answer.err, table.code) == (1, "", 1)
    assert [(one["name"], one["kind"], one["ok"]) for one in answer.document] == [
        ("agents.yaml", "", False),
        ("a", "python", False),
        ("mirror", "echo", True),
        ("b", "http", False),
        ("b", "http", False),
        ("no name", "echo", False),
        ("c", "", False),
    ]
    faults = [one for one in answer.document if not one["ok"]]
    places = [re.match(r"agents\.yaml:(\d+):(\d+) ", one["message"]).groups() for one in faults]
    assert [int(line) for line, _ in places] == [7, 2, 4, 4, 5, 6]
    assert all(one["remedy"] for one in faults)
    assert [one["remedy"] for one in faults if one["name"] == "b"] == [
        "Set NO_SUCH_VARIABLE, or write $${NO_SUCH_VARIABLE} if the text itself is meant.",
        "Did you mean `timeout`?",
    ]


def test_an_agent_that_cannot_be_made_is_told_beside_the_others(terminal, place, monkeypatch):
    (place / "agents.yaml").write_text("agents: {odd: {kind: echo}, mirror: {kind: http, url: x}}\n")
    monkeypatch.setattr(EchoSettings, "connect", lambda self: 1 / 0)

    answer = terminal("agents", "check", "--json")

    assert answer.code == 1
    assert [one["name"] for one in answer.document] == ["odd", "mirror"]
    assert answer.document[0]["message"].endswith("its kind `echo` raised ZeroDivisionError.")
    assert answer.document[0]["remedy"]


def test_a_file_that_is_no_yaml_is_refused(terminal, place):
    (place / "agents.yaml").write_text("agents: [oops\n", encoding="utf-8")

    answer = terminal("agents", "check")

    assert (answer.code, answer.out) == (2, "")
    assert "agents.yaml:2:1" in answer.err


def test_without_an_agents_file_it_is_said_what_to_do(terminal, place):
    (place / "agents.yaml").unlink()

    answer = terminal("agents", "check", "--json")

    assert answer.code == 2
    assert answer.document["error"]["remedy"] == "Write one, or name another with `--agents FILE`."


# ---------------------------------------------------------------- doctor


def examined(terminal, *arguments):
    answer = terminal("doctor", "--json", *arguments)
    return answer.code, {one["check"]: one for one in answer.document}


def test_a_sound_place_is_found_sound(terminal, place):
    before = sorted(path.name for path in place.iterdir())

    code, found = examined(terminal)

    assert code == 0
    assert {name: one["level"] for name, one in found.items()} == {
        "python": "ok",
        "sqlite": "ok",
        "disk space": "ok",
        "disk speed": found["disk speed"]["level"],
        "store": "ok",
        "agents": "ok",
        "clock": "ok",
        "terminal": "ok",
    }
    assert sorted(path.name for path in place.iterdir()) == before


def test_people_get_a_line_for_each_check(terminal):
    answer = terminal("doctor")

    assert answer.out.splitlines()[0].startswith("ok    python        ")


def test_executions_that_nobody_runs_are_a_warning(terminal):
    terminal("run", "nap.yaml", "--no-wait")

    code, found = examined(terminal)

    assert code == 0
    assert "WAL, sound" in found["store"]["message"]
    assert found["executions"]["level"] == "warn"
    assert "1 open, and no process runs them" in found["executions"]["message"]
    assert "process-engine resume" in found["executions"]["remedy"]


def test_the_process_that_has_the_store_is_named(terminal, place):
    with engine_process("run", "nap.yaml", cwd=place) as engine:
        wait_until(lambda: stands(terminal, "nap", "timer"), "the timer runs")
        _, found = examined(terminal)

    assert f"process {engine.pid} runs executions since" in found["executions"]["message"]
    assert found["executions"]["level"] == "ok"


def test_what_is_broken_fails_with_what_to_do(terminal, place, monkeypatch):
    (place / "other.db").write_bytes(b"no database at all, but long enough to be looked at" * 20)
    (place / "agents.yaml").write_text("agents: {echo: {kind: ekko}}\n", encoding="utf-8")
    monkeypatch.setattr(doctor, "SCARCE_BYTES", 2**62)
    monkeypatch.setattr(doctor, "TOO_FEW_BYTES", 2**62)
    monkeypatch.setattr(doctor, "SLOW_FSYNC_SECONDS", 0.0)
    monkeypatch.setattr(doctor, "OLDEST_SQLITE", (99, 0, 0))

    code, found = examined(terminal, "--db", "other.db")

    assert code == 1
    levels = {name: one["level"] for name, one in found.items() if one["level"] != "ok"}
    assert levels == {
        "sqlite": "fail",
        "disk space": "fail",
        "disk speed": "warn",
        "store": "fail",
        "agents": "fail",
    }
    assert all(one["remedy"] for one in found.values() if one["level"] != "ok")


def test_a_store_in_a_place_that_is_not_there_fails(terminal):
    code, found = examined(terminal, "--db", "nowhere/x.db")

    assert code == 1
    assert found["disk speed"]["level"] == "fail"


def test_an_event_in_the_future_tells_that_the_clock_was_set_back(terminal, place):
    terminal("run", "nap.yaml", "--no-wait")
    with closing(sqlite3.connect(place / "process-engine.db")) as store, store:
        store.execute("UPDATE events SET body = json_set(body, '$.timestamp', '2999-01-01T00:00:00Z')")

    answer = terminal("doctor", "--json")

    (warning,) = [one for one in answer.document if one["check"] == "clock" and one["level"] == "warn"]
    assert "the clock was set back" in warning["message"]


def test_the_document_of_an_explanation_is_json_alone(terminal):
    terminal("run", "nap.yaml", "--no-wait")

    assert json.loads(terminal("explain", "--json").out)[0]["process"] == "nap"
