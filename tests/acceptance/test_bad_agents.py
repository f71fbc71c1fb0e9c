"""Agents that break, lie, stall or flood, over real HTTP.

Each way of failing has a recorded code and a sentence; what may pass is tried again; what was done is kept.
"""

from __future__ import annotations

import gzip
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from process_engine.testing.agent_process import AgentProcess, start_agent_process
from tests.acceptance.hostile import (
    Answer,
    RawAgent,
    Script,
    answer_of,
    endless,
    executions,
    limited,
    no_traceback,
    place,
    process,
    soon,
    terminal,
)

__all__ = ["place", "terminal"]

# Short, so that nobody sleeps: the waits between attempts are what they are, only in other units.
RETRY = ", retry: {max_attempts: 2, initial_delay: 10ms, jitter: false}"
UNAVAILABLE, TIMEOUT, ERROR, INVALID = "AGENT_UNAVAILABLE", "AGENT_TIMEOUT", "AGENT_ERROR", "INVALID_OUTPUT"
TRANSIENT = {UNAVAILABLE, TIMEOUT}

BEHAVIOURS: dict[str, dict[str, object]] = {
    "half_json": {"fault": "half_json"},
    "too_large": {"fault": "too_large"},
    "hang": {"fault": "hang"},
    "drip": {"fault": "drip", "reply": "x" * 50},
    "redirect": {"fault": "redirect"},
    "close": {"fault": "close"},
    "close_midway": {"fault": "close_midway"},
    "refuse": {"status": 503},
    "forbid": {"status": 403},
    "recover": {"fail_first": 1},
    "recover_from_close": {"fault": "close", "fail_first": 1},
    "good": {"reply": "done"},
}


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """The bundled agents in a process of their own, as they misbehave by name."""
    with start_agent_process(BEHAVIOURS, log=tmp_path_factory.mktemp("agents") / "calls.jsonl") as served:
        yield served


class Ran(NamedTuple):
    """What `run` left of a process whose first step, `before`, went well: its answer and its second step."""

    answer: Answer
    step: dict[str, object]

    @property
    def error(self) -> dict[str, str]:
        error = self.step["error"]
        assert isinstance(error, dict)
        return error


def write(folder: Path, url: str, *, more: str = "", step: str = RETRY) -> None:
    """A process that calls the agent at `url`, with `more` settings, after a step that goes well."""
    timeout = "" if "timeout" in more else ", timeout: 5s"
    settings = f"agents:\n  echo: {{kind: echo}}\n  bad: {{kind: http, url: '{url}'{timeout}{more}}}\n"
    before = "id: before, type: agent_task, agent: echo, message: kept"
    bad = f"id: call, type: agent_task, agent: bad, message: hi, depends_on: before{step}"
    (folder / "agents.yaml").write_text(settings, encoding="utf-8")
    (folder / "bad.yaml").write_text(process(before, bad), encoding="utf-8")


def run(terminal, folder: Path, url: str, *, more: str = "", step: str = RETRY) -> Ran:
    """Run it, and look at what every failure owes: a record that agrees, nothing lost, and no traceback."""
    write(folder, url, more=more, step=step)
    with soon():
        answer = terminal("run", "bad.yaml", "--json")
    no_traceback(answer)
    before, called = answer.document["steps"]
    assert (before["status"], before["output"], before["attempts"]) == ("completed", "kept", 1)
    assert terminal("show", answer.document["id"], "--json").document == answer.document
    return Ran(answer, called)


def require_failure(terminal, ran: Ran, code: str, words: str) -> None:
    """The failure is recorded, told with its step, and was tried as often as its code allows."""
    attempts = 2 if code in TRANSIENT else 1
    assert (ran.answer.code, ran.answer.err) == (1, "")
    assert (ran.error["code"], ran.step["attempts"]) == (code, attempts)
    assert words in ran.error["message"]
    assert (ran.step["status"], ran.step["output"]) == ("failed", None)
    assert ran.answer.document["error"] == ran.error
    events = terminal("events", ran.answer.document["id"], "--json").document
    assert [event["type"] for event in events if event["step_id"] == "call"] == [
        "StepStarted",
        *["StepRetrying"] * (attempts - 1),
        "StepFailed",
    ]
    told = terminal("show", ran.answer.document["id"]).out
    assert f"Failed in step call: {code}: " in told


# ---------------------------------------------------------------- the bundled agents

# The behaviour, further settings of the agent, the code, and a word of what is told.
MISBEHAVING: dict[str, tuple[str, str, str, str]] = {
    "200 with half a JSON": ("half_json", "", INVALID, "says that it is JSON, but it cannot be read"),
    "an answer without end": ("too_large", "", "OUTPUT_TOO_LARGE", "more than 10,485,760 bytes"),
    "an answer over its own limit": ("good", ", max_response: 8", "OUTPUT_TOO_LARGE", "more than 8 bytes"),
    "nothing for an hour": ("hang", ", timeout: 100ms", TIMEOUT, "did not answer within 0.1 s"),
    "one byte a second": ("drip", ", timeout: 100ms", TIMEOUT, "did not answer within 0.1 s"),
    "a redirect loop": ("redirect", "", ERROR, "redirects are not followed"),
    "a connection that is closed": ("close", "", UNAVAILABLE, "broke the connection off"),
    "a connection that is closed midway": ("close_midway", "", UNAVAILABLE, "broke the connection off"),
    "503": ("refuse", "", UNAVAILABLE, "answered 503: refuse cannot do this now"),
    "403": ("forbid", "", ERROR, "answered 403: forbid cannot do this now"),
}


@pytest.mark.parametrize(
    ("behaviour", "more", "code", "words"), list(MISBEHAVING.values()), ids=list(MISBEHAVING)
)
def test_an_agent_that_misbehaves_fails_its_step_with_a_code(
    terminal, place, agents, behaviour, more, code, words
):
    before = len(agents.calls())

    ran = run(terminal, place, agents.url_of(behaviour), more=more)

    require_failure(terminal, ran, code, words)
    calls = agents.calls()[before:]
    assert len(calls) == ran.step["attempts"]
    assert len({call.key for call in calls}) == 1
    assert agents.url.removeprefix("http://") in ran.error["message"] or code == INVALID


@pytest.mark.parametrize("behaviour", ["recover", "recover_from_close"])
def test_what_may_pass_is_tried_again_with_the_same_key(terminal, place, agents, behaviour):
    before = len(agents.calls())

    ran = run(terminal, place, agents.url_of(behaviour))

    first, second = agents.calls()[before:]
    assert (ran.answer.code, ran.step["status"], ran.step["attempts"]) == (0, "completed", 2)
    assert first.key == second.key
    assert (first.attempt, second.attempt) == (1, 2)


def test_the_timeout_of_the_step_ends_a_call_too(terminal, place, agents):
    ran = run(terminal, place, agents.url_of("hang"), step=f"{RETRY}, timeout: 100ms")

    assert (ran.answer.code, ran.error["code"], ran.step["attempts"]) == (1, "TIMEOUT", 2)


def test_a_failed_call_can_be_survived(terminal, place, agents):
    ran = run(terminal, place, agents.url_of("half_json"), step=", on_error: skip_step")

    assert (ran.answer.code, ran.answer.document["status"]) == (0, "completed")
    assert (ran.step["status"], ran.error["code"]) == ("skipped", INVALID)


# ---------------------------------------------------------------- agents that do not speak HTTP well

TEXT = "text/plain"
HALF_OF_GZIP = gzip.compress(b'{"response": "whole"}')[:-12]
HALF_A_TEXT = gzip.compress(b"A whole sentence. " * 100)[:-30]
LONG = "x" * 100_000

SPEAKING_ODDLY: dict[str, tuple[Script, str, str]] = {
    "nothing at all": (b"", UNAVAILABLE, "broke the connection off"),
    "another protocol": (b"SSH-2.0-OpenSSH_9.2\r\n", ERROR, "did not answer in HTTP"),
    "words": (b"hello?\r\n\r\n", ERROR, "did not answer in HTTP"),
    "text that says it is JSON": (answer_of("hello"), INVALID, "says that it is JSON"),
    "no JSON where JSON is said": (answer_of(""), INVALID, "says that it is JSON"),
    "JSON with NaN": (answer_of('{"response": NaN}'), INVALID, "says that it is JSON"),
    "JSON in 50,000 brackets": (answer_of("[" * 50_000 + "]" * 50_000), INVALID, "nested too deeply"),
    "JSON in 500 brackets": (answer_of("[" * 500 + "]" * 500), INVALID, "nested over 100 levels"),
    "JSON that is not UTF-8": (answer_of(b'{"response": "\xff"}'), INVALID, "cannot be read"),
    "half a character": (answer_of('{"response": "\\ud800"}'), INVALID, "cannot be read"),
    "an integer of 5,000 digits": (answer_of('{"response": ' + "9" * 5000 + "}"), INVALID, "cannot be read"),
    "a cost that is none": (answer_of('{"response": 1, "cost": "much"}'), INVALID, "`cost` or `usage`"),
    "a cost below zero": (answer_of('{"response": 1, "cost": -1}'), INVALID, "cost"),
    "a cost beyond all": (answer_of('{"response": 1, "cost": "1e999999"}'), INVALID, "cost"),
    "tokens below zero": (answer_of('{"response": 1, "usage": {"input_tokens": -1}}'), INVALID, "tokens"),
    "a picture as text": (answer_of(b"\x89PNG\xff", "image/png"), INVALID, "not text in the charset utf-8"),
    "a charset of its own": (
        answer_of("x", f"{TEXT}; charset=klingon"),
        INVALID,
        "unknown charset, `klingon`",
    ),
    "gzip that is none": (
        answer_of("not gzip", headers="Content-Encoding: gzip\r\n"),
        INVALID,
        "packed its answer with gzip, and did not",
    ),
    "half of a gzip": (
        answer_of(HALF_OF_GZIP, headers="Content-Encoding: gzip\r\n"),
        INVALID,
        "sent half of what it packed",
    ),
    "half of a packed text": (
        answer_of(
            gzip.compress(b"A whole sentence. " * 100)[:-30], TEXT, headers="Content-Encoding: gzip\r\n"
        ),
        INVALID,
        "sent half of what it packed",
    ),
    "an encoding nobody asked for": (
        answer_of(b"\x28\xb5", headers="Content-Encoding: zstd\r\n"),
        INVALID,
        "in the encoding zstd",
    ),
    "a body shorter than it says": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\nConnection: close\r\n\r\n{}",
        UNAVAILABLE,
        "broke the connection",
    ),
    "a length below zero": (
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        ERROR,
        "did not answer in HTTP",
    ),
    "two lengths": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        ERROR,
        "did not answer in HTTP",
    ),
    "a broken chunk": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        ERROR,
        "did not answer in HTTP",
    ),
    "204 with a body": (
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        ERROR,
        "did not answer",
    ),
    "a header that is too long": (
        answer_of("{}", headers=f"X-Long: {LONG}\r\n"),
        ERROR,
        "did not answer in HTTP",
    ),
    "ten thousand headers": (answer_of("{}", headers="X-A: b\r\n" * 10_000), ERROR, "did not answer in HTTP"),
    "headers without end": (
        endless(b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"x" * 4000 + b"\r\n"),
        ERROR,
        "in HTTP",
    ),
    "a status line without end": (endless(b"HTTP/1.1 200 ", b"x" * 65536), ERROR, "did not answer in HTTP"),
    "a refusal without end": (
        endless(b"HTTP/1.1 400 No\r\nContent-Type: text/plain\r\n\r\n", b"no " * 20_000),
        ERROR,
        "answered 400: no",
    ),
    "101 that nobody asked for": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        ERROR,
        "answered 101",
    ),
    "a status that does not exist": (answer_of("x", TEXT, "999 What"), ERROR, "answered 999: x"),
    "a redirect to a file": (
        answer_of("", TEXT, "302 Found", "Location: file:///etc/passwd\r\n"),
        ERROR,
        "points to file:///etc/passwd",
    ),
}


@pytest.mark.parametrize(("script", "code", "words"), list(SPEAKING_ODDLY.values()), ids=list(SPEAKING_ODDLY))
def test_an_answer_that_is_not_as_it_should_be_has_a_code(terminal, place, script, code, words):
    with RawAgent(script) as agent:
        ran = run(terminal, place, agent.url)

        require_failure(terminal, ran, code, words)
        assert len(agent.calls) == ran.step["attempts"]


@pytest.mark.parametrize(
    ("script", "output"),
    [
        pytest.param(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", None, id="204"),
        pytest.param(answer_of("", TEXT), "", id="an empty text"),
        pytest.param(
            b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + answer_of('{"response": "x"}'),
            "x",
            id="100 that nobody asked for",
        ),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer_of('{"response": "x"}'), "x", id="103"),
        pytest.param(answer_of("<p>x</p>", "text/html"), "<p>x</p>", id="HTML"),
        pytest.param(
            answer_of(gzip.compress(b'{"response": "x"}'), headers="Content-Encoding: gzip\r\n"),
            "x",
            id="gzip",
        ),
        pytest.param(answer_of(b'\xef\xbb\xbf{"response": "x"}'), "x", id="a byte order mark"),
        pytest.param(
            answer_of("g\xfcn".encode("latin-1"), f"{TEXT}; charset=latin-1"), "g\xfcn", id="Latin-1"
        ),
        pytest.param(answer_of('{"response": ' + "9" * 400 + "}"), int("9" * 400), id="a large integer"),
    ],
)
def test_an_answer_that_is_only_odd_is_taken(terminal, place, script, output):
    with RawAgent(script) as agent:
        ran = run(terminal, place, agent.url)

    assert (ran.answer.code, ran.step["attempts"]) == (0, 1)
    assert ran.step["output"] == output


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), id="100 without end"),
        pytest.param(
            endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x" * 100),
            id="a chunk's name",
        ),
        pytest.param(lambda connection: connection.recv(1), id="silence"),
    ],
)
def test_what_never_becomes_an_answer_ends_at_the_timeout(terminal, place, script):
    with RawAgent(script) as agent:
        ran = run(terminal, place, agent.url, more=", timeout: 100ms")

    require_failure(terminal, ran, TIMEOUT, "did not answer within 0.1 s")


# ---------------------------------------------------------------- nobody there


def test_a_port_where_nobody_listens_is_named(terminal, place):
    with socket.socket() as taken:
        # Bound and not listening: nobody else can get this port meanwhile.
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        ran = run(terminal, place, f"http://127.0.0.1:{port}/")

        require_failure(terminal, ran, UNAVAILABLE, f"127.0.0.1:{port} cannot be reached")


def test_a_host_that_does_not_exist_is_named(terminal, place):
    ran = run(terminal, place, "http://nowhere.invalid/")

    require_failure(terminal, ran, UNAVAILABLE, "nowhere.invalid")
    assert "cannot be resolved" in ran.error["message"]


def test_plain_http_where_tls_was_meant_is_told(terminal, place, agents):
    ran = run(terminal, place, agents.url_of("good").replace("http:", "https:"))

    assert ran.answer.code == 1
    assert ran.error["code"] in (ERROR, UNAVAILABLE)
    assert agents.url.removeprefix("http://") in ran.error["message"]


# ---------------------------------------------------------------- secrets and bytes

SECRET = "sesame-open"


@pytest.mark.parametrize(
    "script",
    [
        answer_of(f"you sent {SECRET}", TEXT, "400 Bad"),
        answer_of("", TEXT, "302 Found", f"Location: /?key={SECRET}\r\n"),
    ],
    ids=["in a refusal", "in a redirect"],
)
def test_an_agent_that_tells_our_secret_does_not_get_it_recorded(terminal, place, monkeypatch, script):
    monkeypatch.setenv("KEY", SECRET)
    with RawAgent(script) as agent:
        ran = run(
            terminal, place, agent.url, more=', headers: {Authorization: "Bearer ${KEY}", X-Key: "${KEY}"}'
        )

        assert SECRET.encode() in agent.calls[0]
    assert ran.error["code"] == ERROR
    assert SECRET not in ran.answer.out + terminal("events", ran.answer.document["id"], "--all", "--json").out


# ---------------------------------------------------------------- in a process with limits


def packed(mebibytes: int) -> bytes:
    """So many MiB of zeros, as gzip: a two-hundredth of that."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    zeros = bytes(1024 * 1024)
    return b"".join(packer.compress(zeros) for _ in range(mebibytes)) + packer.flush()


TEN_GB = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10000000000\r\n\r\n"


def test_an_answer_without_end_does_not_take_the_memory(terminal, place, agents):
    require_flat_memory(terminal, place, agents.url_of("too_large"))


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(endless(TEN_GB, b"x" * 65536), id="10 GB as it says"),
        pytest.param(answer_of(packed(256), TEXT, headers="Content-Encoding: gzip\r\n"), id="packed"),
    ],
)
def test_a_flood_does_not_take_the_memory(terminal, place, script):
    with RawAgent(script) as agent:
        require_flat_memory(terminal, place, agent.url)


def require_flat_memory(terminal, folder: Path, url: str) -> None:
    write(folder, url)

    answer = limited("run", "bad.yaml", cwd=folder, cpu_seconds=10, data_mib=100)

    assert answer.code == 1
    assert "Failed in step call: OUTPUT_TOO_LARGE: 127.0.0.1:" in answer.out
    no_traceback(answer)
    (execution,) = executions(terminal, folder)
    assert execution["status"] == "failed"
    assert terminal("output", execution["id"], "before").out == "kept\n"
