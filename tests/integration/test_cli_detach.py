"""`run --detach`: real processes in the background, which outlive the one that began them."""

import json
import os
import signal
import subprocess
import sys

import pytest

from process_engine.repositories.lock import StoreLock
from tests.integration.terminal import PATIENCE, steps_of, wait_until

SHORT_NAP = """
name: short-nap
input: {word: {type: string, default: good morning}}
steps:
  - {id: sleep, type: timer, delay: 300ms}
  - {id: after, type: agent_task, agent: echo, message: "{{ input.word }}", depends_on: sleep}
"""
NAP = "name: nap\nsteps: [{id: sleep, type: timer, delay: 1h}]\n"
FILES = {
    "agents.yaml": "agents: {echo: {kind: echo}}\n",
    "short-nap.yaml": SHORT_NAP,
    "nap.yaml": NAP,
    "wrong.yaml": "name: wrong\nsteps: [{id: a, type: agent_task, agent: ekko, message: hi}]\n",
}


def detach(place, *arguments):
    """`run … --detach` in a process of its own, as a shell would wait for it; what it left."""
    command = [sys.executable, "-P", "-m", "process_engine", "run", *arguments, "--detach"]
    return subprocess.run(
        command, cwd=place, capture_output=True, text=True, timeout=PATIENCE.total_seconds(), check=False
    )


@pytest.fixture
def napping(place):
    """A process in the background that naps for an hour, ended with the test."""
    begun = json.loads(detach(place, "nap.yaml", "--json").stdout)
    yield begun
    if is_alive(begun["pid"]):
        os.kill(begun["pid"], signal.SIGKILL)


def is_alive(pid):
    # Its parent is gone, so whoever collects orphans may leave it as a zombie for a moment.
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def status(terminal, execution_id):
    return terminal("show", execution_id, "--json").document["status"]


def test_it_returns_once_the_execution_is_recorded_and_the_rest_goes_on(terminal, place):
    answer = detach(place, "short-nap.yaml", "-i", "word=hello", "--json")

    begun = json.loads(answer.stdout)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert set(begun) == {"id", "process", "version", "pid", "log"}
    assert (begun["process"], begun["version"]) == ("short-nap", "1")
    assert begun["log"] == f"process-engine-{begun['id']}.log"
    # Whatever its end is by now, it can be looked at.
    assert status(terminal, begun["id"]) in ("running", "completed")
    wait_until(lambda: status(terminal, begun["id"]) == "completed", "it has completed")
    wait_until(lambda: not is_alive(begun["pid"]), "the process has ended")
    log = (place / begun["log"]).read_text(encoding="utf-8")
    assert log.startswith(f"process {begun['pid']} runs execution {begun['id']} on process-engine.db\n")
    assert "after: hello" in log
    assert "\x1b" not in log


def test_people_are_told_how_to_watch_and_end_it(terminal, place):
    answer = detach(place, "short-nap.yaml")

    (execution,) = terminal("list", "--json").document
    first, watch, end = answer.stdout.splitlines()
    assert first.startswith(f"{execution['id']} runs in the background: process ")
    assert watch.endswith(f"process-engine events {execution['id']} --follow")
    assert end.endswith(f"process-engine cancel {execution['id']}")


def test_it_has_the_store_and_a_session_of_its_own(terminal, place, napping):
    assert os.getsid(napping["pid"]) == napping["pid"]
    assert os.readlink(f"/proc/{napping['pid']}/fd/0") == os.devnull
    assert os.readlink(f"/proc/{napping['pid']}/fd/1").endswith(napping["log"])
    locked = terminal("run", "short-nap.yaml", "--json")
    assert locked.document["error"]["code"] == "STORE_LOCKED"

    cancelled = terminal("cancel", napping["id"], "--json")

    assert cancelled.document["status"] == "cancelled"
    wait_until(lambda: not is_alive(napping["pid"]), "the process has ended")


# Begins the process on a terminal that it controls, then waits for the end of that terminal.
ON_A_TERMINAL = """
import fcntl, signal, subprocess, sys, termios
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may have it ignored
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
subprocess.run([sys.executable, "-P", "-m", "process_engine", "run", "nap.yaml", "--detach", "--json"])
print("begun", flush=True)
signal.pause()
"""


def test_it_survives_the_end_of_its_terminal(terminal, place):
    outer, inner = os.openpty()
    shell = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL], cwd=place, stdin=inner, stdout=inner, start_new_session=True
    )
    os.close(inner)
    told = b""
    while b"begun" not in told:
        told += os.read(outer, 65536)

    os.close(outer)

    assert shell.wait(PATIENCE.total_seconds()) == -signal.SIGHUP
    begun = json.loads(told.partition(b"begun")[0])
    try:
        assert is_alive(begun["pid"])
        assert terminal("cancel", begun["id"], "--json").document["status"] == "cancelled"
        wait_until(lambda: not is_alive(begun["pid"]), "the process has ended")
    finally:
        if is_alive(begun["pid"]):
            os.kill(begun["pid"], signal.SIGKILL)


def test_a_signal_ends_it_in_order(terminal, place, napping):
    os.kill(napping["pid"], signal.SIGTERM)

    wait_until(lambda: not is_alive(napping["pid"]), "the process has ended")
    assert "Go on with: process-engine resume" in (place / napping["log"]).read_text(encoding="utf-8")
    assert steps_of(terminal("show", napping["id"], "--json").document) == {"sleep": "waiting"}


def test_a_locked_store_is_told_here_and_leaves_no_log(place):
    lock = StoreLock(place / "process-engine.db")
    lock.acquire()
    try:
        told, document = detach(place, "nap.yaml"), detach(place, "nap.yaml", "--json")
    finally:
        lock.release()

    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith(f"Error: process {os.getpid()} runs executions on this store")
    assert len(told.stderr.splitlines()) == 2
    assert (document.returncode, document.stderr) == (2, "")
    assert json.loads(document.stdout)["error"]["code"] == "STORE_LOCKED"
    assert list(place.glob("*.log")) == []


def test_a_store_that_cannot_be_opened_is_told_here(place):
    (place / "other.db").write_bytes(b"this is no database, and longer than five hundred bytes" * 20)

    answer = detach(place, "nap.yaml", "--db", "other.db", "--json")

    assert answer.returncode == 2
    assert json.loads(answer.stdout)["error"]["code"] == "STORAGE_INCOMPATIBLE"
    assert list(place.glob("*.log")) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["wrong.yaml"], "There is no agent `ekko`."),
        (["short-nap.yaml", "-i", "word=a", "-i", "nope=b"], "input.nope: is not known."),
        (["nap.yaml", "--no-wait"], "--detach and --no-wait exclude each other"),
        (["nap.yaml", "--db", "nowhere/x.db"], "nowhere/"),
    ],
)
def test_what_is_wrong_before_is_told_here_and_nothing_is_begun(place, arguments, message):
    answer = detach(place, *arguments)

    assert (answer.returncode, answer.stdout) == (2, "")
    assert message in " ".join(answer.stderr.split())
    assert sorted(path.name for path in place.iterdir()) == sorted(FILES)
