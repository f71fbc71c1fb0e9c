import json
import re
from datetime import datetime

import pytest

from process_engine.cli import asking
from process_engine.repositories.lock import StoreLock
from tests.integration.terminal import engine_process, finish, on_a_terminal, steps_of, wait_until

AGENTS = "agents:\n  echo: {kind: echo}\n"
GREET = """
name: greet
version: "1.2"
input:
  name: {type: string, required: true}
  times: {type: integer, default: 1}
steps:
  - {id: hello, type: agent_task, agent: echo, message: "Hello {{ input.name }}"}
  - {id: never, type: agent_task, agent: echo, message: no, condition: "input.times > 5", depends_on: hello}
outputs: {greeting: "{{ steps.hello.output }}", times: "{{ input.times }}"}
"""
NAP = """
name: nap
steps:
  - {id: before, type: agent_task, agent: echo, message: good night}
  - {id: sleep, type: timer, delay: 1h, depends_on: before}
"""
SHORT_NAP = """
name: short-nap
steps: [{id: sleep, type: timer, delay: 300ms}]
"""
FAILING = """
name: failing
steps:
  - {id: broken, type: agent_task, agent: broken, message: hi}
  - {id: after, type: timer, delay: 1s, depends_on: broken}
"""
NINE_FAULTS = """\
name: Bad Name
inputs: {topic: {type: string}}
steps:
  - id: a
    type: agent_task
    agent: echoo
    message: "{{ steps.nope.output }}"
  - {id: a, type: timr}
  - id: c
    type: agent_task
    agent: echo
    message: "{{ input.topic "
    depends_on: [zz]
    retry: {max_attempts: 0}
"""
FILES = {
    "agents.yaml": AGENTS,
    "greet.yaml": GREET,
    "nap.yaml": NAP,
    "short-nap.yaml": SHORT_NAP,
    "nine.yaml": NINE_FAULTS,
}


def moment(text):
    return datetime.fromisoformat(text)


# ---------------------------------------------------------------- validate


def test_nine_faults_are_reported_at_once_each_with_its_place(terminal):
    answer = terminal("validate", "nine.yaml", "--json")

    assert (answer.code, answer.err) == (2, "")
    assert answer.document["valid"] is False
    problems = answer.document["problems"]
    assert [(one["code"], one["line"], one["column"]) for one in problems if one["level"] == "error"] == [
        ("P107", 1, 7),
        ("P101", 2, 1),
        ("P602", 6, 12),
        ("P303", 7, 18),
        ("P201", 8, 10),
        ("P108", 8, 19),
        ("P301", 12, 15),
        ("P202", 13, 18),
        ("P105", 14, 27),
    ]
    assert all(set(one) == {"code", "level", "message", "line", "column", "suggestion"} for one in problems)
    assert problems[1]["suggestion"] == "Did you mean `input`?"


def test_people_see_the_same_problems_as_lines(terminal):
    answer = terminal("validate", "nine.yaml")

    assert answer.code == 2
    assert (
        "nine.yaml:2:1: error P101: The key `inputs` is not known.\n    Did you mean `input`?" in answer.out
    )
    assert answer.out.endswith("nine.yaml cannot be run: 9 errors.\n")


def test_a_sound_process_is_valid(terminal):
    assert terminal("validate", "greet.yaml", "--json").document == {"valid": True, "problems": []}
    assert terminal("validate", "greet.yaml") == (0, "greet.yaml is valid.\n", "")


def test_a_warning_does_not_make_a_process_invalid(terminal, place):
    (place / "warn.yaml").write_text(NAP + "owner: eve\n", encoding="utf-8")

    answer = terminal("validate", "warn.yaml")

    assert answer.code == 0
    assert answer.out.endswith("warn.yaml is valid: 1 warning.\n")


def test_a_process_is_valid_even_where_its_agents_have_no_secrets_at_hand(terminal, place):
    (place / "agents.yaml").write_text('agents: {echo: {kind: http, url: "${BASE}"}}\n', encoding="utf-8")

    implicit, explicit = (
        terminal("validate", "greet.yaml"),
        terminal("validate", "greet.yaml", "--agents", "agents.yaml"),
    )

    assert implicit == (0, "greet.yaml is valid.\n", "")
    assert explicit.code == 2
    assert "BASE" in explicit.err


def test_agents_are_known_by_their_names_even_where_they_cannot_be_used(terminal, place):
    (place / "agents.yaml").write_text('agents: {ekko: {kind: http, url: "${BASE}"}}\n', encoding="utf-8")

    answer = terminal("validate", "greet.yaml")

    assert answer.code == 2
    assert "There is no agent `echo`. Known agents: `ekko`." in " ".join(answer.out.split())


def test_a_process_is_checked_even_where_the_agents_file_cannot_be_read(terminal, place):
    (place / "agents.yaml").write_text("agents: [oops\n", encoding="utf-8")

    answer = terminal("validate", "greet.yaml")

    assert answer.code == 0
    assert "Agents were not checked: P004 error agents.yaml:2:1 " in answer.err


# ---------------------------------------------------------------- run


def test_a_completed_run_prints_one_document(terminal):
    answer = terminal("run", "greet.yaml", "-i", "name=Eve", "-i", "times=2", "--json")

    assert (answer.code, answer.err) == (0, "")
    document = answer.document
    hello, never = document.pop("steps")
    assert len(document.pop("id")) == 20
    assert document == {
        "process": "greet",
        "version": "1.2",
        "status": "completed",
        "pause_reason": None,
        "parent": None,
        "input": {"name": "Eve", "times": 2},
        "outputs": {"greeting": "Hello Eve", "times": 2},
        "error": None,
    }
    assert moment(hello.pop("started_at")) <= moment(hello.pop("completed_at"))
    assert hello == {
        "id": "hello",
        "type": "agent_task",
        "status": "completed",
        "visits": 1,
        "attempts": 1,
        "output": "Hello Eve",
        "error": None,
        "reason": None,
        "approval": None,
        "execution_id": None,
        "items": None,
        "errors": None,
        "undos": [],
    }
    assert (never["status"], never["reason"], never["attempts"]) == ("skipped", "condition_false", 0)


def test_a_failed_run_ends_with_1_and_says_why(terminal, place):
    (place / "failing.yaml").write_text(FAILING, encoding="utf-8")
    (place / "agents.yaml").write_text(
        'agents: {broken: {kind: python, target: "broken_agent:answer"}}\n', encoding="utf-8"
    )
    (place / "broken_agent.py").write_text("def answer(message): raise ValueError('out of ink')\n")

    answer = terminal("run", "failing.yaml", "--json")

    error = {"code": "HANDLER_ERROR", "message": answer.document["error"]["message"]}
    assert answer.code == 1
    assert answer.document["error"] == error
    assert "out of ink" in error["message"]
    assert answer.document["steps"][0]["error"] == error
    assert steps_of(answer.document) == {"broken": "failed", "after": "cancelled"}


def test_a_failed_run_names_the_step_for_people(terminal, place):
    (place / "failing.yaml").write_text(FAILING, encoding="utf-8")
    (place / "agents.yaml").write_text(
        'agents: {broken: {kind: python, target: "broken_agent:answer"}}\n', encoding="utf-8"
    )
    (place / "broken_agent.py").write_text("def answer(message): raise ValueError('out of ink')\n")

    answer = terminal("run", "failing.yaml")

    assert answer.code == 1
    assert "Failed in step broken: HANDLER_ERROR: ValueError: out of ink" in answer.out


def test_without_a_terminal_there_is_a_line_for_each_event_and_no_control_characters(terminal):
    answer = terminal("run", "greet.yaml", "-i", "name=\x1b[31mEve")

    told = [line.split()[1:3] for line in answer.out.splitlines()[:5]]
    assert answer.code == 0
    assert told == [
        ["greet", "ProcessStarted"],
        ["hello", "StepStarted"],
        ["hello", "StepCompleted"],
        ["never", "StepSkipped"],
        ["greet", "ProcessCompleted"],
    ]
    assert "greeting: Hello \\x1b[31mEve" in answer.out
    assert "\x1b" not in answer.out


def test_an_invalid_process_is_not_started(terminal, place):
    told, document = terminal("run", "nine.yaml"), terminal("run", "nine.yaml", "--json")

    assert (told.code, told.out) == (2, "")
    assert told.err.startswith(
        "Error: the process has problems; nothing was started.\nnine.yaml:1:7: error P107"
    )
    assert (document.code, document.err) == (2, "")
    assert set(document.document) == {"error"}
    assert set(document.document["error"]) == {"code", "message", "remedy"}
    assert document.document["error"]["code"] == "DEFINITION_INVALID"
    assert not (place / "process-engine.db").exists()


def test_an_unknown_agent_is_reported_before_the_start(terminal, place):
    (place / "agents.yaml").unlink()

    answer = terminal("run", "greet.yaml", "-i", "name=Eve")

    assert answer.code == 2
    assert "greet.yaml:8:42: error P602: There is no agent `echo`." in answer.err
    assert not (place / "process-engine.db").exists()


def test_a_wrong_input_is_refused_with_every_fault_and_nothing_is_written(terminal, place):
    answer = terminal("run", "greet.yaml", "--input", '{"name": 5, "nmae": "x"}', "--json")

    assert answer.code == 2
    assert answer.document["error"]["code"] == "INPUT_REJECTED"
    assert "input.name: must be text" in answer.document["error"]["message"]
    assert "input.nmae: is not known" in answer.document["error"]["message"]
    assert not (place / "process-engine.db").exists()


def test_fields_and_document_make_the_input_together(terminal, place):
    (place / "input.json").write_text('{"name": "Eve", "times": 1}', encoding="utf-8")

    answer = terminal("run", "greet.yaml", "--input", "@input.json", "-i", "times=3", "--json")

    assert answer.document["input"] == {"name": "Eve", "times": 3}


def test_an_input_that_is_too_large_is_refused_with_its_size_and_nothing_is_left(terminal, place):
    (place / "large.json").write_text(json.dumps({"name": "x" * 20 * 2**20}), encoding="utf-8")

    told = terminal("run", "greet.yaml", "--input", "@large.json")

    assert (told.code, told.out) == (2, "")
    # The 20 MiB, and `{"name":"","times":1}` around them.
    assert "input: is 20,971,541 bytes of JSON, the limit is 10,485,760" in told.err
    assert len(told.err.splitlines()) == 2
    assert sorted(path.name for path in place.iterdir()) == sorted([*FILES, "large.json"])


def test_a_file_far_too_large_is_not_read_to_its_end(terminal, place):
    with (place / "huge.json").open("wb") as file:
        file.truncate(2**40)

    told = terminal("run", "greet.yaml", "--input", "@huge.json")

    assert told.code == 2
    assert "input huge.json: is 1,099,511,627,776 bytes of JSON, the limit is 41,943,040" in told.err


@pytest.mark.parametrize("file", ["nothing.yaml", "."])
def test_a_file_that_cannot_be_read_is_refused(terminal, file):
    answer = terminal("run", file)

    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("Error: ")


def test_the_store_can_be_named_by_the_environment(terminal, place, monkeypatch):
    monkeypatch.setenv("PROCESS_ENGINE_DB", "other.db")

    assert terminal("run", "greet.yaml", "-i", "name=Eve").code == 0
    assert (place / "other.db").exists()
    assert len(terminal("list", "--json").document) == 1


def test_a_store_in_which_another_process_runs_executions_is_refused(terminal, place):
    assert terminal("run", "greet.yaml", "-i", "name=Eve").code == 0
    lock = StoreLock(place / "process-engine.db")
    lock.acquire()
    try:
        answer = terminal("run", "greet.yaml", "-i", "name=Eve", "--json")
    finally:
        lock.release()

    assert answer.code == 2
    assert answer.document["error"]["code"] == "STORE_LOCKED"


# ---------------------------------------------------------------- no-wait and resume


def test_a_run_that_does_not_wait_leaves_with_4_and_says_how_to_go_on(terminal):
    answer = terminal("run", "nap.yaml", "--no-wait", "--db", "a b.db")

    assert answer.code == 4
    assert "Waits: the timer of step sleep is due at " in answer.out
    assert "Go on with: process-engine resume --db 'a b.db'\n" in answer.out


def test_a_resume_continues_everything_open(terminal):
    started = [terminal("run", "short-nap.yaml", "--no-wait", "--json") for _ in range(2)]

    answer = terminal("resume", "--json")

    assert [one.code for one in started] == [4, 4]
    assert (answer.code, answer.err) == (0, "")
    assert [one["id"] for one in answer.document] == [one.document["id"] for one in started]
    assert [one["status"] for one in answer.document] == ["completed", "completed"]
    assert set(answer.document[0]) == set(started[0].document)


def test_a_resume_that_does_not_wait_leaves_timers_running(terminal):
    terminal("run", "nap.yaml", "--no-wait")

    answer = terminal("resume", "--no-wait", "--json")

    assert answer.code == 4
    assert steps_of(answer.document[0]) == {"before": "completed", "sleep": "waiting"}
    assert "Go on with: process-engine resume" in answer.err


def test_a_resume_with_nothing_open_completes(terminal):
    terminal("run", "greet.yaml", "-i", "name=Eve")

    assert terminal("resume", "--json") == (0, "[]\n", "")
    assert terminal("resume") == (0, "Nothing is open in process-engine.db.\n", "")


def test_an_execution_whose_agents_are_unknown_is_left_alone_and_named(terminal, place):
    started = terminal("run", "nap.yaml", "--no-wait", "--json").document
    (place / "agents.yaml").unlink()

    answer = terminal("resume", "--json")

    assert answer.code == 4
    assert steps_of(answer.document[0]) == steps_of(started)
    assert answer.err.startswith(
        f"Left alone: {started['id']}: process nap needs agents that are not configured"
    )
    assert answer.err.count(started["id"]) == 1


# ---------------------------------------------------------------- looking


def test_list_show_events_and_output_tell_what_was_stored(terminal):
    ran = terminal("run", "greet.yaml", "-i", "name=Eve", "--json").document
    prefix = ran["id"][:12]

    (line,) = terminal("list", "--json").document
    assert line == {
        "id": ran["id"],
        "process": "greet",
        "version": "1.2",
        "status": "completed",
        "started_at": ran["steps"][0]["started_at"],
    }
    assert terminal("show", prefix, "--json").document == ran
    assert terminal("output", prefix, "--json").document == {"greeting": "Hello Eve", "times": 1}
    assert terminal("output", prefix, "hello", "--json") == (0, '"Hello Eve"\n', "")
    assert terminal("output", prefix, "hello") == (0, "Hello Eve\n", "")


def test_events_come_in_order_and_bookkeeping_on_request(terminal):
    ran = terminal("run", "greet.yaml", "-i", "name=Eve", "--json").document

    public = terminal("events", ran["id"], "--json").document
    everything = terminal("events", ran["id"], "--all", "--json").document

    assert [event["type"] for event in public] == [
        "ProcessStarted",
        "StepStarted",
        "StepCompleted",
        "StepSkipped",
        "ProcessCompleted",
    ]
    assert [event["sequence"] for event in everything] == list(range(1, len(everything) + 1))
    assert everything[0]["type"] == "ExecutionCreated"
    started = public[1]
    assert list(started)[:6] == ["sequence", "type", "timestamp", "step_id", "visit", "attempt"]
    assert (started["step_id"], started["visit"], started["attempt"]) == ("hello", 1, 1)
    assert started["agent"] == "echo"
    assert (public[0]["step_id"], public[0]["visit"], public[0]["attempt"]) == (None, None, None)
    assert public[2]["output"] == "Hello Eve"


def test_events_can_be_followed_to_the_end(terminal):
    ran = terminal("run", "greet.yaml", "-i", "name=Eve", "--json").document

    assert terminal("events", ran["id"], "--follow").out == terminal("events", ran["id"]).out


def test_a_list_can_be_narrowed(terminal):
    terminal("run", "greet.yaml", "-i", "name=Eve")
    terminal("run", "nap.yaml", "--no-wait")

    assert [one["process"] for one in terminal("list", "--json").document] == ["nap", "greet"]
    assert [one["process"] for one in terminal("list", "--status", "running", "--json").document] == ["nap"]
    assert [one["process"] for one in terminal("list", "--process", "greet", "--json").document] == ["greet"]
    assert len(terminal("list", "--limit", "1", "--json").document) == 1
    assert terminal("list", "--process", "none").out == "There are no such executions.\n"


def test_show_tells_steps_and_what_it_waits_for(terminal):
    ran = terminal("run", "nap.yaml", "--no-wait", "--json").document

    told = terminal("show", ran["id"]).out

    assert told.startswith(f"running  nap 1  {ran['id']}")
    assert [line.split()[:2] for line in told.splitlines() if line.startswith(("before", "sleep"))] == [
        ["before", "completed"],
        ["sleep", "waiting"],
    ]
    assert "Waits: the timer of step sleep is due at " in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "zzz"], "there is no execution 'zzz'."),
        (["show", ""], "there is no execution ''."),
        (["show", "%"], "there is no execution '%'."),
        (["show", "1"], "1 begins several ids: "),
        (["output", "ID"], "has no outputs: it is running."),
        (["output", "ID", "slep"], "process nap has no step slep. Did you mean `sleep`?"),
        (["output", "ID", "sleep"], "step sleep has no output: it is waiting."),
    ],
)
def test_what_is_not_there_is_refused_with_what_to_do(terminal, arguments, message):
    ids = [terminal("run", "nap.yaml", "--no-wait", "--json").document["id"] for _ in range(2)]

    answer = terminal(*(ids[0] if argument == "ID" else argument for argument in arguments))

    assert (answer.code, answer.out) == (2, "")
    assert message in " ".join(answer.err.split())
    assert len(answer.err.splitlines()) == 2


# ---------------------------------------------------------------- cancel


def test_an_execution_that_nobody_runs_is_cancelled_here(terminal):
    ran = terminal("run", "nap.yaml", "--no-wait", "--json").document

    answer = terminal("cancel", ran["id"][:15], "--reason", "too late", "--json")

    assert answer.code == 0
    assert answer.document["status"] == "cancelled"
    assert steps_of(answer.document) == {"before": "completed", "sleep": "cancelled"}
    assert terminal("events", ran["id"], "--json").document[-1]["reason"] == "too late"


def test_an_execution_that_has_ended_cannot_be_cancelled(terminal):
    ran = terminal("run", "greet.yaml", "-i", "name=Eve", "--json").document

    answer = terminal("cancel", ran["id"], "--json")

    assert answer.code == 2
    assert answer.document["error"]["code"] == "COMMAND_REJECTED"


def test_a_second_terminal_cancels_what_the_first_one_runs(terminal, place):
    with engine_process("run", "nap.yaml", "--json", cwd=place) as engine:
        wait_until(lambda: sleeping(terminal), "the timer runs")
        execution_id = terminal("list", "--json").document[0]["id"]

        answer = terminal("cancel", execution_id, "--json")
        code, out, err = finish(engine)

    assert (answer.code, answer.document["status"]) == (0, "cancelled")
    assert (code, err) == (3, "")
    assert json.loads(out) == answer.document
    again = terminal("cancel", execution_id)
    assert again.code == 2
    assert "is cancelled" in again.err


def test_a_refusal_of_the_running_process_is_passed_on(terminal, place):
    ended = terminal("run", "greet.yaml", "-i", "name=Eve", "--json").document
    with engine_process("run", "nap.yaml", cwd=place):
        wait_until(lambda: sleeping(terminal), "the timer runs")

        answer = terminal("cancel", ended["id"], "--json")

    assert answer.code == 2
    assert answer.document["error"]["code"] == "COMMAND_REJECTED"


def test_a_process_that_does_not_answer_is_named(terminal, place, monkeypatch):
    ran = terminal("run", "nap.yaml", "--no-wait", "--json").document
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.1)
    lock = StoreLock(place / "process-engine.db")
    lock.acquire()
    try:
        answer = terminal("cancel", ran["id"], "--json")
    finally:
        lock.release()

    assert answer.code == 2
    assert answer.document["error"]["code"] == "STORE_LOCKED"
    assert "did not answer" in answer.document["error"]["message"]
    # The request was left behind; whoever runs executions next carries it out.
    (resumed,) = terminal("resume", "--json").document
    assert resumed["status"] == "cancelled"


def sleeping(terminal):
    executions = terminal("list", "--process", "nap", "--json")
    if executions.code or not executions.document:
        return False
    shown = terminal("show", executions.document[0]["id"], "--json").document
    return steps_of(shown)["sleep"] == "waiting"


# ---------------------------------------------------------------- on a terminal

COLOUR = "\x1b[32m"
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


def test_on_a_terminal_a_table_moves_and_the_cursor_comes_back(place):
    seen = on_a_terminal("run", "short-nap.yaml", cwd=place)

    assert " s left" in seen
    assert "✓ completed" in seen
    assert COLOUR in seen
    assert seen.rindex(SHOW_CURSOR) > seen.rindex(HIDE_CURSOR)
    assert "StepStarted" not in seen


@pytest.mark.parametrize("way", ["option", "environment"])
def test_colours_can_be_switched_off(place, way):
    arguments, environment = (["--no-color"], {}) if way == "option" else ([], {"NO_COLOR": "1"})

    ran = on_a_terminal("run", "short-nap.yaml", *arguments, cwd=place, **environment)
    refused = on_a_terminal("run", "nine.yaml", *arguments, cwd=place, **environment)

    assert "completed" in ran
    assert "error P107" in refused
    assert re.findall(r"\x1b\[[0-9;]*3[0-9]m", ran + refused) == []


def test_a_document_on_a_terminal_is_nothing_but_the_document(place):
    assert json.loads(on_a_terminal("run", "greet.yaml", "-i", "name=Eve", "--json", cwd=place))["outputs"]


def test_a_terminal_that_cannot_move_gets_lines(place):
    seen = on_a_terminal("run", "greet.yaml", "-i", "name=Eve", cwd=place, TERM="dumb")

    assert "StepCompleted" in seen
    assert "\x1b" not in seen
