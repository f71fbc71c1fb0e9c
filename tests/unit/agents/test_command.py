import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from process_engine.agents import processes
from process_engine.agents.command import CommandAgent, CommandSettings
from process_engine.config import read_agents_file
from process_engine.errors import ConfigurationInvalid
from process_engine.repositories.lock import StoreLock
from process_engine.runtime.ports import AgentReply
from tests.unit.agents.support import a_request, eventually, failure_of

HANGS = "sleep 600"
STUBBORN = "trap '' TERM; echo ready >&2; while true; do sleep 600 & wait; done"


def python(script: str, **settings: object) -> CommandAgent:
    return _agent([sys.executable, "-S", "-c", script], settings)


def shell(script: str, **settings: object) -> CommandAgent:
    """A shell only because its scripts are short: the agent itself never uses one."""
    return _agent(["/bin/sh", "-c", script], settings)


def _agent(argv: list[str], settings: dict[str, object]) -> CommandAgent:
    return CommandSettings.model_validate({"kind": "command", "argv": argv, **settings}).connect()


def running(key: str) -> list[int]:
    """Processes that were started for a call with this key, and those that they started."""
    wanted = f"PROCESS_ENGINE_IDEMPOTENCY_KEY={key}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def zombies() -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state == "Z" and int(parent) == os.getpid():
            found.append(int(folder.name))
    return found


@pytest.fixture
def key(request: pytest.FixtureRequest) -> Iterator[str]:
    """A key of this test alone; at its end nothing that was started with it may be left."""
    name = f"{os.getpid()}/{abs(hash(request.node.nodeid))}/1"
    yield name
    left = running(name)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


async def nothing_left(key: str) -> None:
    await eventually(lambda: not running(key) and not zombies())
    await eventually(lambda: not [each for each in threading.enumerate() if each.name.endswith("(_watch)")])


async def answer(agent: CommandAgent, *arguments: object, **more: object) -> AgentReply:
    return await agent.call(a_request(*arguments, **more))


# ---------------------------------------------------------------- what goes in


async def test_the_message_is_read_from_standard_input_and_the_answer_from_standard_output():
    reply = await answer(shell("read line; echo about $line"), "høy\n")

    assert reply.output == "about høy"


@pytest.mark.parametrize("message", [{"a": [1, None]}, [], 5, None, True])
async def test_a_message_that_is_no_text_is_given_as_json(message: object):
    echo = python("import sys; print('read ' + sys.stdin.read())")

    assert (await answer(echo, message)).output == f"read {json.dumps(message, separators=(',', ':'))}"


async def test_the_whole_request_is_given_where_it_is_asked_for():
    reply = await answer(shell("cat", input="request"), "tides", model="m", system="Be brief.")

    assert reply.output["message"] == "tides"
    assert reply.output["context"]["step_id"] == "write"
    assert (reply.output["model"], reply.output["system"]) == ("m", "Be brief.")
    assert "temperature" not in reply.output


async def test_no_shell_reads_the_arguments():
    agent = _agent([sys.executable, "-S", "-c", "import sys; print(sys.argv[1:])", "$HOME; exit 3", "*"], {})

    assert (await answer(agent)).output == "['$HOME; exit 3', '*']"


async def test_the_environment_holds_a_few_of_ours_what_env_names_and_the_call(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("SECRET_OF_THE_ENGINE", "s")
    monkeypatch.setenv("LANG", "nb_NO.UTF-8")
    agent = python("import json, os; print(json.dumps(dict(os.environ)))", env={"HOME": "/nowhere", "A": "b"})

    seen = (await answer(agent, model="m", temperature=0.5)).output

    assert "SECRET_OF_THE_ENGINE" not in seen
    assert (seen["LANG"], seen["HOME"], seen["A"]) == ("nb_NO.UTF-8", "/nowhere", "b")
    assert seen["PATH"] == os.environ["PATH"]
    assert seen["TRACEPARENT"] == a_request().traceparent
    assert {name: value for name, value in seen.items() if name.startswith("PROCESS_ENGINE_")} == {
        "PROCESS_ENGINE_IDEMPOTENCY_KEY": "e1/write/1",
        "PROCESS_ENGINE_EXECUTION_ID": "e1",
        "PROCESS_ENGINE_PROCESS": "tides",
        "PROCESS_ENGINE_STEP_ID": "write",
        "PROCESS_ENGINE_VISIT": "1",
        "PROCESS_ENGINE_ATTEMPT": "3",
        "PROCESS_ENGINE_MODEL": "m",
        "PROCESS_ENGINE_TEMPERATURE": "0.5",
    }


async def test_a_message_of_several_megabytes_goes_in_and_comes_out():
    message = "x" * 5_000_000

    assert (await answer(shell("cat"), message)).output == message


async def test_a_program_need_not_read_its_message():
    assert (await answer(shell("echo done"), "x" * 1_000_000)).output == "done"


async def test_a_program_that_closes_its_input_early_is_no_fault():
    assert (await answer(shell("exec 0<&-; sleep 0.05; echo done"), "x" * 1_000_000)).output == "done"


# ---------------------------------------------------------------- what comes out


@pytest.mark.parametrize(
    ("printed", "output"),
    [
        ('{"score": 5}\n', {"score": 5}),
        ("[1, 2]", [1, 2]),
        ('```json\n{"score": 5}\n```\n', {"score": 5}),
        ("5\n", "5"),
        ("two\n\nlines\r\n\n", "two\n\nlines"),
        ('{"half": ', '{"half": '),
        ("", ""),
    ],
)
async def test_an_answer_is_text_or_the_json_it_is(printed: str, output: object):
    assert (await answer(python(f"print({printed!r}, end='')"))).output == output


async def test_an_answer_that_is_not_utf_8_is_invalid_output():
    error = await failure_of(shell("printf '\\377'"))

    assert (error.code, error.transient) == ("INVALID_OUTPUT", False)


async def test_an_exit_code_is_an_agent_error_with_the_end_of_what_was_said():
    script = "import sys; sys.stderr.write('beginning' + 'x' * 100_000 + ' the end\\n'); sys.exit(3)"
    error = await failure_of(python(script))

    assert (error.code, error.transient) == ("AGENT_ERROR", False)
    assert "ended with exit code 3: xxx" in error.message
    assert error.message.endswith("x the end")
    assert len(error.message) < 600


async def test_what_was_printed_stands_in_where_nothing_was_said():
    assert (await failure_of(shell("echo usage: reviewer FILE; exit 2"))).message == (
        "sh ended with exit code 2: usage: reviewer FILE"
    )
    assert (await failure_of(shell("exit 2"))).message == "sh ended with exit code 2"


async def test_a_signal_is_an_exit_code_of_128_and_its_number():
    assert "exit code 137" in (await failure_of(shell("kill -KILL $$"))).message


async def test_a_transient_exit_code_is_unavailable():
    agent = shell("echo busy >&2; exit 75", transient_exit_codes=[75, 137])

    error = await failure_of(agent)

    assert (error.code, error.transient, error.message) == (
        "AGENT_UNAVAILABLE",
        True,
        "sh ended with exit code 75: busy",
    )


async def test_a_secret_that_the_program_repeats_is_not_recorded():
    error = await failure_of(shell("echo bad key $KEY >&2; exit 1", env={"KEY": "sk-1234567890"}))

    assert error.message == "sh ended with exit code 1: bad key …"


# ---------------------------------------------------------------- limits and ends


async def test_a_program_that_takes_too_long_is_ended(key: str):
    error = await failure_of(shell(HANGS, timeout="30ms"), a_request(key=key))

    assert (error.code, error.transient, error.message) == (
        "AGENT_TIMEOUT",
        True,
        "sh did not end within 0.03 s",
    )
    await nothing_left(key)


async def test_a_program_that_prints_without_end_is_ended(key: str):
    error = await failure_of(shell("yes", max_response="256KiB"), a_request(key=key))

    assert (error.code, error.transient) == ("OUTPUT_TOO_LARGE", False)
    await nothing_left(key)


async def test_an_answer_of_exactly_the_limit_is_read():
    assert (await answer(shell("printf 12345", max_response=5))).output == "12345"
    assert (await failure_of(shell("printf 12345", max_response=4))).code == "OUTPUT_TOO_LARGE"


async def test_a_program_that_complains_without_end_costs_no_memory():
    script = "import sys\nfor _ in range(300): sys.stderr.write('x' * 65536)\nprint('done')"

    assert (await answer(python(script))).output == "done"


async def test_cancelling_the_call_ends_the_program_and_what_it_started(key: str):
    call = asyncio.ensure_future(shell(f"{HANGS} & {HANGS}").call(a_request(key=key)))
    await eventually(lambda: len(running(key)) >= 3)

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await nothing_left(key)


async def test_a_program_that_ignores_sigterm_is_killed_after_the_grace(
    key: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.05)
    call = asyncio.ensure_future(shell(STUBBORN).call(a_request(key=key)))
    await eventually(lambda: len(running(key)) >= 2)

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await nothing_left(key)


async def test_a_program_may_clean_up_when_it_is_told_to_end(key: str, tmp_path: Path):
    script = "trap 'echo clean > mark; exit 0' TERM; touch here; while true; do sleep 0.01; done"
    call = asyncio.ensure_future(shell(script, cwd=str(tmp_path)).call(a_request(key=key)))
    await eventually((tmp_path / "here").exists)

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert (tmp_path / "mark").read_text() == "clean\n"


async def test_cancelled_a_second_time_it_is_killed_at_once(key: str):
    call = asyncio.ensure_future(shell(STUBBORN).call(a_request(key=key)))
    await eventually(lambda: len(running(key)) >= 2)

    call.cancel()
    await asyncio.sleep(0)
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await nothing_left(key)


@pytest.mark.parametrize("turns", range(6))
async def test_cancelling_while_starting_leaves_nothing_behind(key: str, turns: int):
    call = asyncio.ensure_future(shell(HANGS).call(a_request(key=key)))
    for _ in range(turns):
        await asyncio.sleep(0)

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await nothing_left(key)


async def test_what_a_program_leaves_running_is_ended_and_does_not_hold_its_answer_up(key: str):
    reply = await answer(shell(f"{HANGS} & echo done"), key=key)

    assert reply.output == "done"
    await nothing_left(key)


async def test_who_leaves_the_group_with_the_pipes_does_not_hold_the_answer_up_for_long(
    key: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(processes, "DRAIN_SECONDS", 0.05)
    script = (
        "import subprocess, sys\n"
        "daemon = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "print(daemon.pid)"
    )

    reply = await answer(python(script), key=key)

    daemon = int(reply.output)
    assert running(key) == [daemon]
    os.kill(daemon, signal.SIGKILL)
    await nothing_left(key)


async def test_many_programs_at_once_get_the_answers_that_are_theirs():
    agent = shell("cat")

    replies = await asyncio.gather(*(agent.call(a_request(str(n))) for n in range(20)))

    assert [reply.output for reply in replies] == [str(n) for n in range(20)]
    await eventually(lambda: not zombies())


async def test_no_descriptor_of_ours_stays_open():
    agent = shell("cat")
    await answer(agent)
    before = len(os.listdir("/proc/self/fd"))

    for _ in range(5):
        await answer(agent)
        await failure_of(shell(HANGS, timeout="1ms"))

    assert len(os.listdir("/proc/self/fd")) == before


# ---------------------------------------------------------------- what is not inherited


async def test_the_lock_of_a_store_is_not_held_by_a_program(tmp_path: Path, key: str):
    lock = StoreLock(tmp_path / "engine.db")
    lock.acquire()
    inheritable = os.open(tmp_path / "other", os.O_CREAT | os.O_RDWR)
    os.set_inheritable(inheritable, True)
    call = asyncio.ensure_future(
        shell(
            "ls -l /proc/self/fd >&2; ls /proc/self/fd | wc -l; touch ready; sleep 600", cwd=str(tmp_path)
        ).call(a_request(key=key))
    )
    await eventually((tmp_path / "ready").exists)

    [child] = [pid for pid in running(key) if os.getpgid(pid) == pid]
    held = [os.readlink(f"/proc/{child}/fd/{number}") for number in os.listdir(f"/proc/{child}/fd")]
    lock.release()
    again = StoreLock(tmp_path / "engine.db")
    again.acquire()

    assert [path for path in held if not path.startswith("pipe:")] == []
    assert os.getsid(child) == child != os.getsid(0)
    again.release()
    os.close(inheritable)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await nothing_left(key)


# ---------------------------------------------------------------- starting


@pytest.mark.parametrize(
    ("number", "code", "transient"),
    [
        (errno.EAGAIN, "AGENT_UNAVAILABLE", True),
        (errno.EMFILE, "AGENT_UNAVAILABLE", True),
        (errno.ENOENT, "AGENT_ERROR", False),
        (errno.E2BIG, "AGENT_ERROR", False),
    ],
)
async def test_a_program_that_cannot_be_started_says_why(
    monkeypatch: pytest.MonkeyPatch, number: int, code: str, transient: bool
):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    agent = shell("echo")
    monkeypatch.setattr(subprocess, "Popen", refuse)

    error = await failure_of(agent)

    assert (error.code, error.transient) == (code, transient)
    assert error.message == f"sh cannot be started: {os.strerror(number)}"


async def test_a_program_without_a_thread_to_watch_it_is_ended(monkeypatch: pytest.MonkeyPatch, key: str):
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    agent = shell(HANGS)
    monkeypatch.setattr(threading.Thread, "start", refuse)

    error = await failure_of(agent, a_request(key=key))

    assert (error.code, error.transient) == ("AGENT_UNAVAILABLE", True)
    assert "can't start new thread" in error.message
    await eventually(lambda: not running(key) and not zombies())


async def test_a_program_that_has_gone_since_is_an_agent_error(tmp_path: Path):
    program = tmp_path / "reviewer"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    agent = _agent([str(program)], {})
    program.unlink()

    error = await failure_of(agent)

    assert (error.code, error.message) == (
        "AGENT_ERROR",
        "reviewer cannot be started: No such file or directory",
    )


async def test_a_model_that_no_variable_can_hold_is_an_agent_error():
    error = await failure_of(shell("echo"), a_request(model="a\0b"))

    assert error.code == "AGENT_ERROR"


async def test_children_that_somebody_else_reaps_do_not_count_as_success(monkeypatch: pytest.MonkeyPatch):
    def reaped(*_: object) -> None:
        raise ChildProcessError

    monkeypatch.setattr(os, "waitid", reaped)

    assert "exit code 255" in (await failure_of(shell("exit 0"))).message


@pytest.mark.parametrize(("script", "said"), [("exit 7", "code 7"), ("kill -TERM $$", "code 143")])
async def test_without_waitid_exit_codes_are_the_same(
    monkeypatch: pytest.MonkeyPatch, script: str, said: str
):
    monkeypatch.delattr(os, "waitid")

    assert said in (await failure_of(shell(script))).message


# ---------------------------------------------------------------- settings


def faults(folder: Path, keys: str) -> list[str]:
    file = folder / "agents.yaml"
    file.write_text("agents:\n  a: {kind: command, " + keys + "}\n")
    with pytest.raises(ConfigurationInvalid) as caught:
        read_agents_file(file, {"command": CommandSettings}, {"WORD": "no-such-program", "SECRET": "x\0y"})
    return [line.partition("agent `a`: ")[2] for line in str(caught.value).splitlines()]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("argv: [no-such-program]", "`argv`: its first word is no program that can be found in PATH."),
        ("argv: ['${WORD}']", "`argv`: its first word is no program that can be found in PATH."),
        ("argv: [./nowhere]", "`argv`: its first word is a path at which there is no file."),
        ("argv: [./plain]", "`argv`: its first word is a file that is not executable."),
        ("argv: [./]", "`argv`: its first word is a path at which there is no file."),
        ("argv: [cat], cwd: nowhere", "`cwd`: there is no such folder."),
        ("argv: [cat], env: {PATH: /nowhere}", "`argv`: its first word is no program that can be found"),
        ("argv: cat", "`argv`: must be a list."),
        ("argv: []", "`argv`: must not be empty."),
        ("argv: [cat, 5]", "`argv.1`: must be text."),
        ('argv: [cat, "a\\0b"]', "`argv`: must not hold a NUL character."),
        ("argv: [cat], env: {A B: c}", "`env.A B`: this is not the name of a variable."),
        ("argv: [cat], env: {A: 5}", "`env.A`: must be text."),
        ("argv: [cat], env: {TRACEPARENT: c}", "`env.TRACEPARENT`: the engine sets this variable itself"),
        (
            "argv: [cat], env: {PROCESS_ENGINE_X: c}",
            "`env.PROCESS_ENGINE_X`: the engine sets this variable itself; leave it out.",
        ),
        ("argv: [cat], env: {A: '${SECRET}'}", "`env.A`: cannot be used with the value that the environment"),
        ("argv: [cat], input: all", "`input`: must be 'message' or 'request'."),
        ("argv: [cat], transient_exit_codes: 75", "`transient_exit_codes`: must be a list."),
        ("argv: [cat], transient_exit_codes: [0]", "`transient_exit_codes.0`: must be at least 1."),
        ("argv: [cat], transient_exit_codes: [256]", "`transient_exit_codes.0`: must be at most 255."),
        ("argv: [cat], max_concurrent: 0", "`max_concurrent`: must be at least 1."),
        ("argv: [cat], rate: often", "`rate`: must be a number of calls and a time, such as 60/m"),
        ("argv: [cat], shell: true", "unknown key `shell`."),
        ("cwd: .", "the key `argv` is missing. `argv`: The program and its arguments as a list"),
    ],
)  # fmt: skip
def test_a_fault_is_found_when_the_configuration_is_read(tmp_path: Path, keys: str, said: str):
    (tmp_path / "plain").touch()

    [fault] = faults(tmp_path, keys)

    assert fault.startswith(said)


async def test_paths_begin_at_the_folder_of_the_agents_file(tmp_path: Path):
    folder = tmp_path / "work"
    folder.mkdir()
    program = folder / "where"
    program.write_text("#!/bin/sh\npwd\n")
    program.chmod(0o755)
    file = tmp_path / "agents.yaml"
    file.write_text(
        "agents:\n"
        "  a: {kind: command, argv: [./where], cwd: work}\n"
        "  b: {kind: command, argv: [work/where]}\n"
    )

    agents = read_agents_file(file, {"command": CommandSettings}, {}).agents

    assert (await answer(agents["a"].connect())).output == str(folder)
    assert (await answer(agents["b"].connect())).output == str(tmp_path)


def test_programs_are_bounded_in_number_unless_told_otherwise():
    settings = CommandSettings.model_validate({"argv": ["cat"]})

    assert settings.max_concurrent == 16


def test_settings_show_no_secret():
    settings = CommandSettings.model_validate({"argv": ["cat", "secret-1"], "env": {"A": "secret-2"}})

    assert "secret" not in repr(settings) + str(settings)
