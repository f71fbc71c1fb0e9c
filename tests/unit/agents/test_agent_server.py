import asyncio
import json
import os
import select
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from process_engine.testing.agent_process import start_agent_process
from process_engine.testing.agent_server import AgentServer, Behaviour, read_calls
from tests.unit.agents.support import a_request, answer, failure


async def test_an_agent_nobody_described_answers_pleasantly():
    async with AgentServer() as server:
        assert (await answer(server.url_of("guide"))).output == "guide has dealt with: tides"


async def test_a_reply_may_have_any_shape_and_repeat_the_message_once():
    reply = {"about": "{message}", "parts": ["{step_id}", "{visit}", "{attempt}", 5, "{other}"]}
    async with AgentServer({"writer": {"reply": reply, "cost": "0.02", "input_tokens": 4}}) as server:
        got = await answer(server.url_of("writer"), a_request("the {agent}"))

    assert got.output == {"about": "the {agent}", "parts": ["write", "1", "3", 5, "{other}"]}
    assert (got.usage.cost, got.usage.input_tokens) == (Decimal("0.02"), 4)


async def test_the_same_key_gets_the_same_answer_and_is_marked_as_repeated():
    async with AgentServer({"writer": Behaviour(reply="{attempt}: {message}")}) as server:
        url = server.url_of("writer")
        first = await answer(url, a_request("one"))
        again = await answer(url, a_request("two"))
        other = await answer(url, a_request("two", key="e1/write/2"))

    assert (first.output, again.output, other.output) == ("3: one", "3: one", "3: two")
    assert [(call.key, call.nth, call.repeated) for call in server.calls] == [
        ("e1/write/1", 1, False),
        ("e1/write/1", 2, True),
        ("e1/write/2", 1, False),
    ]


async def test_the_first_calls_of_each_key_can_be_made_to_fail():
    behaviour = Behaviour(fail_first=2, fail_status=429, retry_after="3", reply="at last")
    async with AgentServer({"writer": behaviour}) as server:
        url = server.url_of("writer")
        for key in ("a", "b"):
            refused = [await failure(url, a_request(key=key)) for _ in range(2)]
            assert [error.retry_after for error in refused] == [3.0, 3.0]
            assert (await answer(url, a_request(key=key))).output == "at last"

    assert [call.status for call in server.calls] == [429, 429, 200] * 2
    assert not any(call.repeated for call in server.calls)


async def test_a_behaviour_may_be_changed_for_one_call():
    async with AgentServer() as server:
        error = await failure(server.url_of("writer") + "?status=500")
        wrong = await failure(server.url_of("writer") + "?stattus=500")

    assert "500" in error.message
    assert "stattus" in wrong.message


async def test_a_delay_ends_with_the_server():
    server = AgentServer({"writer": Behaviour(delay=3600)})
    async with server:
        call = asyncio.ensure_future(answer(server.url_of("writer")))
        while not server.calls:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.001)

    await asyncio.wait([call])
    assert server.calls[0].agent == "writer"
    assert call.exception() is None or "AGENT_UNAVAILABLE" in str(call.exception())


async def test_every_call_is_a_line_of_the_log(tmp_path: Path):
    log = tmp_path / "agents.jsonl"
    async with AgentServer(log=log) as server:
        await answer(server.url_of("writer"), a_request({"a": 1}, model="large"))
        [line] = log.read_text().splitlines()

    assert json.loads(line)["message"] == {"a": 1}
    assert read_calls(log) == server.calls
    [call] = server.calls
    assert (call.execution_id, call.step_id, call.visit, call.attempt) == ("e1", "write", 1, 3)
    assert call.model == "large"


async def test_a_process_of_its_own_serves_and_stops(tmp_path: Path):
    with start_agent_process({"writer": {"reply": "from afar"}}, log=tmp_path / "log") as agents:
        assert (await answer(agents.url_of("writer"))).output == "from afar"
        assert [call.agent for call in agents.calls()] == ["writer"]
        pid = agents.pid

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    agents.stop()


def test_a_process_that_cannot_start_says_so(tmp_path: Path):
    with pytest.raises(RuntimeError, match="did not become ready"):
        start_agent_process(log=tmp_path / "no such folder" / "log")


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs a way to watch a process of another parent")
def test_agents_end_with_the_process_that_started_them(tmp_path: Path):
    """Even when it is killed: a demo leaves nothing behind."""
    script = f"""
import pathlib, time
from process_engine.testing.agent_process import start_agent_process
agents = start_agent_process(log=pathlib.Path({str(tmp_path / "log")!r}))
print(agents.pid, flush=True)
time.sleep(3600)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        try:
            assert parent.stdout is not None
            agents = os.pidfd_open(int(parent.stdout.readline()))
        finally:
            parent.send_signal(signal.SIGKILL)

    try:
        ended, _, _ = select.select([agents], [], [], 10)
        assert ended, "the agents outlived their parent by 10 s"
    finally:
        os.close(agents)
