import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import ValidationError

from process_engine import __version__
from process_engine.agents.http import HttpSettings
from process_engine.agents.transport import retry_after
from process_engine.core.results import Usage
from process_engine.testing.agent_server import AgentServer, Behaviour
from tests.unit.agents.support import a_request, answer, eventually, failure, http_agent, raw_server


@pytest.fixture
async def server() -> AsyncIterator[AgentServer]:
    async with AgentServer() as running:
        yield running


def told(server: AgentServer, **behaviour: object) -> str:
    """The address of an agent that behaves so."""
    server.behaviours["writer"] = Behaviour(**behaviour)
    return server.url_of("writer")


class Recorder:
    """A server that keeps what it was sent and answers what it was told."""

    def __init__(self, **response: object) -> None:
        self.requests: list[tuple[dict[str, str], object]] = []
        self.connections: set[object] = set()
        self._response = response

    async def __aenter__(self) -> "Recorder":
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._server = TestServer(app)
        await self._server.start_server()
        self.url = str(self._server.make_url("/run"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()

    async def _serve(self, request: web.Request) -> web.Response:
        self.requests.append((dict(request.headers), await request.json()))
        self.connections.add(request.transport)
        return web.Response(**self._response)


# ---------------------------------------------------------------- what is sent


async def test_the_body_holds_the_message_and_which_attempt_it_belongs_to():
    async with Recorder() as agent:
        await answer(agent.url, a_request({"topic": "tides"}))

    [(_, body)] = agent.requests
    assert body == {
        "message": {"topic": "tides"},
        "context": {
            "execution_id": "e1",
            "process": "tides",
            "version": "2",
            "step_id": "write",
            "visit": 1,
            "attempt": 3,
            "correlation_id": "root",
        },
    }


async def test_model_temperature_and_system_are_sent_where_the_step_sets_them():
    async with Recorder() as agent:
        await answer(agent.url, a_request(model="large", temperature=0.0, system="Be brief."))

    [(_, body)] = agent.requests
    assert (body["model"], body["temperature"], body["system"]) == ("large", 0.0, "Be brief.")


async def test_headers_name_the_effect_the_trace_and_us():
    async with Recorder() as agent:
        await answer(agent.url, headers={"Authorization": "Bearer token-1", "X-Team": "red"})

    [(headers, _)] = agent.requests
    assert headers["Idempotency-Key"] == "e1/write/1"
    assert headers["traceparent"] == a_request().traceparent
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"] == f"process-engine/{__version__}"
    assert headers["Authorization"] == "Bearer token-1"
    assert headers["X-Team"] == "red"


async def test_a_message_of_several_megabytes_arrives_whole():
    async with Recorder() as agent:
        await answer(agent.url, a_request("x" * 3_000_000))

    [(_, body)] = agent.requests
    assert len(body["message"]) == 3_000_000


async def test_a_proxy_named_in_the_environment_is_not_used(
    server: AgentServer, monkeypatch: pytest.MonkeyPatch
):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert (await answer(told(server, reply="here"))).output == "here"


async def test_calls_share_a_connection_and_no_cookies():
    async with Recorder(headers={"Set-Cookie": "a=1"}) as recorder, http_agent(recorder.url) as agent:
        await agent.call(a_request())
        await agent.call(a_request())

    assert len(recorder.connections) == 1
    assert "Cookie" not in recorder.requests[1][0]


# ---------------------------------------------------------------- what comes back


async def test_an_answer_in_json_gives_response_cost_and_tokens(server: AgentServer):
    reply = await answer(
        told(
            server,
            reply="High and low.",
            cost=Decimal("0.1000000000000000055"),
            input_tokens=7,
            output_tokens=3,
        )
    )

    assert reply.output == "High and low."
    assert reply.usage == Usage(cost=Decimal("0.1000000000000000055"), input_tokens=7, output_tokens=3)


async def test_an_answer_in_text_is_the_output(server: AgentServer):
    assert (await answer(told(server, reply="Høy og lav.", as_text=True))).output == "Høy og lav."


async def test_text_is_read_in_the_charset_it_names():
    async with Recorder(text="Ebbe für alle", charset="latin-1") as agent:
        assert (await answer(agent.url)).output == "Ebbe für alle"


async def test_json_with_a_suffix_type_is_json():
    async with Recorder(body=b'{"output": [1]}', content_type="application/vnd.agent+json") as agent:
        assert (await answer(agent.url)).output == [1]


async def test_no_content_is_null():
    async with Recorder(status=204) as agent:
        assert (await answer(agent.url)).output is None


async def test_half_a_json_is_invalid_output(server: AgentServer):
    error = await failure(told(server, fault="half_json"))

    assert (error.code, error.transient) == ("INVALID_OUTPUT", False)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
async def test_a_status_that_passes_is_unavailable_and_transient(server: AgentServer, status: int):
    error = await failure(told(server, status=status, retry_after="7"))

    assert (error.code, error.transient, error.retry_after) == ("AGENT_UNAVAILABLE", True, 7.0)
    assert str(status) in error.message


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 451])
async def test_a_status_that_stays_is_an_agent_error(server: AgentServer, status: int):
    error = await failure(told(server, status=status))

    assert (error.code, error.transient, error.retry_after) == ("AGENT_ERROR", False, None)
    assert "writer cannot do this now" in error.message


async def test_a_refusal_shows_the_first_500_characters_of_its_body():
    async with Recorder(status=400, text="é" * 10_000) as agent:
        error = await failure(agent.url)

    assert error.message.count("é") == 500


async def test_a_refusal_that_repeats_a_secret_is_recorded_without_it():
    async with Recorder(status=401, text="the key sk-1234567890 is not valid") as agent:
        error = await failure(agent.url, headers={"Authorization": "Bearer sk-1234567890"})

    assert "sk-1234567890" not in str(error)
    assert "is not valid" in str(error)


async def test_a_refusal_whose_body_breaks_off_is_still_that_refusal():
    async with raw_server(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nnot yo") as url:
        error = await failure(url)

    assert error.code == "AGENT_ERROR"
    assert error.message.endswith("answered 403: not yo")


async def test_a_redirect_is_not_followed_but_named(server: AgentServer):
    error = await failure(told(server, fault="redirect"))

    assert (error.code, error.transient) == ("AGENT_ERROR", False)
    assert f"points to {server.url_of('writer')}" in error.message
    assert len(server.calls) == 1


# ---------------------------------------------------------------- connections


async def test_a_port_where_nobody_listens_is_unavailable():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

        error = await failure(f"http://127.0.0.1:{port}/")

    assert (error.code, error.transient) == ("AGENT_UNAVAILABLE", True)
    assert f"127.0.0.1:{port} cannot be reached" in error.message


async def test_a_host_that_cannot_be_resolved_is_unavailable(monkeypatch: pytest.MonkeyPatch):
    def unresolved(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    error = await failure("http://agents.invalid/?key=secret")

    assert (error.code, error.transient) == ("AGENT_UNAVAILABLE", True)
    assert error.message == "agents.invalid:80 has a host name that cannot be resolved"


async def test_a_connection_closed_before_the_answer_is_unavailable(server: AgentServer):
    error = await failure(told(server, fault="close"))

    assert (error.code, error.transient) == ("AGENT_UNAVAILABLE", True)


async def test_a_connection_closed_in_the_middle_of_the_answer_is_unavailable(server: AgentServer):
    error = await failure(told(server, fault="close_midway"))

    assert (error.code, error.transient) == ("AGENT_UNAVAILABLE", True)


async def test_a_connection_that_is_reset_is_unavailable():
    async with raw_server(b"", reset=True) as url:
        error = await failure(url)

    assert (error.code, error.transient) == ("AGENT_UNAVAILABLE", True)


async def test_an_answer_that_is_not_http_is_an_agent_error():
    async with raw_server(b"220 mail.example ESMTP\r\n\r\n") as url:
        error = await failure(url)

    assert (error.code, error.transient) == ("AGENT_ERROR", False)


async def test_a_call_after_a_broken_one_works(server: AgentServer):
    async with http_agent(told(server, fault="close", fail_first=1, reply="at last")) as agent:
        with pytest.raises(Exception, match="AGENT_UNAVAILABLE"):
            await agent.call(a_request())

        assert (await agent.call(a_request())).output == "at last"
    assert [call.repeated for call in server.calls] == [False, True]


# ---------------------------------------------------------------- limits


async def test_an_agent_that_never_answers_times_out(server: AgentServer):
    error = await failure(told(server, fault="hang"), timeout="30ms")

    assert (error.code, error.transient) == ("AGENT_TIMEOUT", True)
    assert "0.03 s" in error.message


async def test_an_agent_that_answers_byte_by_byte_times_out_all_the_same(server: AgentServer):
    error = await failure(told(server, fault="drip", drip_seconds=0.01), timeout="60ms")

    assert (error.code, error.transient) == ("AGENT_TIMEOUT", True)


async def test_an_endless_answer_is_given_up_at_the_limit(server: AgentServer):
    error = await failure(told(server, fault="too_large"), max_response="256KiB")

    assert (error.code, error.transient) == ("OUTPUT_TOO_LARGE", False)
    await eventually(lambda: server.abandoned == 1)


async def test_an_answer_that_announces_too_much_is_not_read():
    async with raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n") as url:
        error = await failure(url)

    assert error.code == "OUTPUT_TOO_LARGE"


async def test_an_answer_that_is_packed_is_measured_unpacked():
    packed = gzip.compress(b"x" * 50_000_000)
    async with Recorder(body=packed, headers={"Content-Encoding": "gzip"}) as agent:
        assert (await failure(agent.url, max_response="256KiB")).code == "OUTPUT_TOO_LARGE"
        assert agent.requests[0][0]["Accept-Encoding"] == "identity"


async def test_an_answer_of_exactly_the_limit_is_read():
    async with Recorder(text="x" * 1000) as agent:
        assert (await answer(agent.url, max_response=1000)).output == "x" * 1000
        assert (await failure(agent.url, max_response=999)).code == "OUTPUT_TOO_LARGE"


async def test_cancelling_the_call_closes_the_connection(server: AgentServer):
    async with http_agent(told(server, fault="hang")) as agent:
        call = asyncio.ensure_future(agent.call(a_request()))
        await eventually(lambda: server.calls)

        call.cancel()

        with pytest.raises(asyncio.CancelledError):
            await call
        await eventually(lambda: server.abandoned == 1)


async def test_closing_twice_and_without_a_call_is_harmless():
    async with http_agent("http://127.0.0.1:9/") as agent:
        await agent.aclose()


# ---------------------------------------------------------------- Retry-After

DATE = "Sun, 22 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "120"}, 120.0),
        ({"Retry-After": " 0 "}, 0.0),
        ({"Retry-After": "86400"}, 3600.0),
        ({"Retry-After": "9" * 400}, 3600.0),
        ({"Retry-After": "Sun, 22 Nov 2026 12:00:30 GMT", "Date": DATE}, 30.0),
        ({"Retry-After": "Sun, 22 Nov 2026 11:59:00 GMT", "Date": DATE}, 0.0),
        ({"Retry-After": "Mon, 23 Nov 2026 12:00:00 GMT", "Date": DATE}, 3600.0),
        ({"Retry-After": "Sun, 22 Nov 2026 12:00:30 GMT"}, None),
        ({"Retry-After": "Sun, 22 Nov 2026 12:00:30", "Date": DATE}, None),
        ({"Retry-After": "soon", "Date": DATE}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "²"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_at_most_an_hour(headers: dict[str, str], seconds: float | None):
    assert retry_after(headers) == seconds


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    "url", ["", "example.org", "ftp://example.org", "http://", "http://[::1", "file:///etc"]
)
def test_an_address_that_is_not_http_is_refused(url: str):
    with pytest.raises(ValidationError):
        HttpSettings(url=url)


@pytest.mark.parametrize(
    "headers",
    [
        {"Bad name": "x"},
        {"": "x"},
        {"X": "two\r\nlines"},
        {"X": " padded"},
        {"Idempotency-Key": "mine"},
        {"content-length": "5"},
    ],
)
def test_a_header_that_would_break_the_request_is_refused(headers: dict[str, str]):
    with pytest.raises(ValidationError):
        HttpSettings.model_validate({"url": "http://127.0.0.1/", "headers": headers})


def test_settings_show_no_secret():
    settings = HttpSettings.model_validate(
        {"url": "http://user:secret-1@127.0.0.1/?key=secret-2", "headers": {"A": "secret-3"}}
    )

    assert "secret" not in repr(settings) + str(settings)
