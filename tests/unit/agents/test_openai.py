import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import ValidationError

from process_engine.agents.openai import OpenAiAgent, OpenAiSettings, explanation, wait_asked
from process_engine.config import read_agents_file
from process_engine.core.results import Usage
from process_engine.errors import ConfigurationInvalid
from process_engine.runtime.ports import AgentCallFailed, AgentReply, AgentRequest
from process_engine.testing.agent_server import AgentServer, Behaviour
from tests.unit.agents.support import a_request, eventually

KEY = "sk-1234567890abcdef"


class Provider:
    """A server that keeps what it was asked and answers what it was told, at any path."""

    def __init__(self, body: object = None, *, status: int = 200, **headers: str) -> None:
        self.asked: list[tuple[str, dict[str, str], dict[str, object]]] = []
        self._body, self._status, self._headers = body, status, headers

    async def __aenter__(self) -> "Provider":
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._server = TestServer(app)
        await self._server.start_server()
        self.url = str(self._server.make_url("/v1"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()

    async def _serve(self, request: web.Request) -> web.Response:
        self.asked.append((request.path_qs, dict(request.headers), await request.json()))
        headers = {name.replace("_", "-"): value for name, value in self._headers.items()}
        if isinstance(self._body, str):
            return web.Response(text=self._body, status=self._status, headers=headers)
        return web.json_response(self._body, status=self._status, headers=headers)


def completion(content: object = "High and low.", **more: object) -> dict[str, object]:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return {"id": "c1", "object": "chat.completion", "choices": [choice | more]}


@asynccontextmanager
async def model_at(base_url: str, **settings: object) -> AsyncIterator[OpenAiAgent]:
    keys = {"kind": "openai", "base_url": base_url, "model": "small", **settings}
    agent = OpenAiSettings.model_validate(keys).connect()
    try:
        yield agent
    finally:
        await agent.aclose()


async def ask(url: str, request: AgentRequest | None = None, **settings: object) -> AgentReply:
    async with model_at(url, **settings) as agent:
        return await agent.call(request or a_request())


async def failure(url: str, request: AgentRequest | None = None, **settings: object) -> AgentCallFailed:
    with pytest.raises(AgentCallFailed) as caught:
        await ask(url, request, **settings)
    return caught.value


async def refusal(body: object, status: int = 200, **headers: str) -> AgentCallFailed:
    async with Provider(body, status=status, **headers) as provider:
        return await failure(provider.url, api_key=KEY)


# ---------------------------------------------------------------- what is asked


async def test_a_question_is_one_chat_without_tools_or_streaming():
    async with Provider(completion()) as provider:
        await ask(provider.url, api_key=KEY, headers={"X-Team": "red"})

    [(path, headers, body)] = provider.asked
    assert path == "/v1/chat/completions"
    assert body == {"model": "small", "messages": [{"role": "user", "content": "tides"}], "stream": False}
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["Idempotency-Key"] == "e1/write/1"
    assert headers["traceparent"] == a_request().traceparent
    assert headers["X-Team"] == "red"


async def test_without_a_key_no_authorization_is_sent():
    async with Provider(completion()) as provider:
        await ask(provider.url)

    assert "Authorization" not in provider.asked[0][1]


async def test_the_configuration_sets_system_temperature_length_and_further_parameters():
    async with Provider(completion()) as provider:
        await ask(
            provider.url,
            system="Be brief.",
            temperature=0,
            max_tokens=100,
            parameters={"seed": 7, "response_format": {"type": "json_object"}},
        )

    [(_, _, body)] = provider.asked
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (body["temperature"], body["max_tokens"], body["seed"]) == (0, 100, 7)
    assert body["response_format"] == {"type": "json_object"}


async def test_the_step_wins_over_the_configuration():
    asked = a_request(model="large", temperature=0.0, system="Be long.")
    async with Provider(completion()) as provider:
        await ask(provider.url, asked, system="Be brief.", temperature=1)

    [(_, _, body)] = provider.asked
    assert (body["model"], body["temperature"]) == ("large", 0.0)
    assert body["messages"][0]["content"] == "Be long."


async def test_a_step_can_leave_the_system_text_out():
    async with Provider(completion()) as provider:
        await ask(provider.url, a_request(system=""), system="Be brief.")

    assert [message["role"] for message in provider.asked[0][2]["messages"]] == ["user"]


async def test_a_message_that_is_no_text_is_asked_as_json():
    async with Provider(completion()) as provider:
        await ask(provider.url, a_request({"topic": "høy"}))

    assert provider.asked[0][2]["messages"][0]["content"] == '{"topic":"høy"}'


@pytest.mark.parametrize(
    ("suffix", "path"),
    [
        ("/", "/v1/chat/completions"),
        ("?api-version=2024-10-21", "/v1/chat/completions?api-version=2024-10-21"),
        ("/a%20b", "/v1/a%20b/chat/completions"),
    ],
)
async def test_the_base_url_may_end_in_a_slash_or_hold_a_query(suffix: str, path: str):
    async with Provider(completion()) as provider:
        await ask(provider.url + suffix)

    assert provider.asked[0][0] == path


async def test_without_a_model_nothing_is_asked():
    async with Provider(completion()) as provider:
        error = await failure(provider.url, model=None)

    assert (error.code, error.transient, provider.asked) == ("AGENT_ERROR", False, [])
    assert "names a `model`" in error.message


# ---------------------------------------------------------------- what is answered


async def test_the_bundled_agents_answer_chats_with_usage():
    behaviour = Behaviour(reply="{message}, as {agent} sees it", input_tokens=1000, output_tokens=500)
    prices = {"small": {"input": "0.15", "output": "0.60"}}
    async with (
        AgentServer({"writer": behaviour}) as server,
        model_at(server.url_of("writer"), prices=prices, system="s") as agent,
    ):
        replies = [await agent.call(a_request()) for _ in range(2)]

    assert [reply.output for reply in replies] == ["tides, as writer sees it"] * 2
    assert replies[0].usage == Usage(cost=Decimal("0.00045"), input_tokens=1000, output_tokens=500)
    first, second = server.calls
    assert (first.key, first.step_id, first.visit, first.model) == ("e1/write/1", "write", 1, "small")
    assert (first.message, first.system, first.repeated, second.repeated) == ("tides", "s", False, True)


async def test_an_answer_that_is_json_or_a_fenced_block_of_it_counts_as_json():
    async with AgentServer(
        {"a": Behaviour(reply={"score": 5}), "b": Behaviour(reply="```json\n[1]\n```")}
    ) as server:
        assert (await ask(server.url_of("a"))).output == {"score": 5}
        assert (await ask(server.url_of("b"))).output == [1]


async def test_an_answer_in_parts_is_put_together():
    async with Provider(
        completion([{"type": "text", "text": "High "}, {"type": "text", "text": "and low."}])
    ) as p:
        assert (await ask(p.url)).output == "High and low."


async def test_an_answer_without_usage_costs_nothing():
    async with Provider(completion()) as provider:
        assert (await ask(provider.url, prices={"small": {"input": 1, "output": 1}})).usage == Usage()


@pytest.mark.parametrize("reason", [None, "", "stop", "end_turn", "eos"])
async def test_an_end_that_says_nothing_bad_is_an_answer(reason: str | None):
    async with Provider(completion(finish_reason=reason)) as provider:
        assert (await ask(provider.url)).output == "High and low."


async def test_a_cost_is_exact_for_any_number_of_tokens():
    usage = {"prompt_tokens": 10**15, "completion_tokens": 1}
    async with Provider(completion() | {"usage": usage}) as provider:
        reply = await ask(provider.url, prices={"small": {"input": "0.15", "output": "0.0000001"}})

    assert reply.usage.cost == Decimal("150000000.0000000000001")


# ---------------------------------------------------------------- what is no answer


async def test_half_an_answer_is_invalid_output():
    async with AgentServer({"writer": Behaviour(finish_reason="length")}) as server:
        error = await failure(server.url_of("writer"))

    assert (error.code, error.transient) == ("INVALID_OUTPUT", False)
    assert error.message.endswith("cut the answer off at its limit of tokens; raise `max_tokens`")


async def test_half_an_answer_is_paid_for_all_the_same():
    usage = {"prompt_tokens": 1000, "completion_tokens": 10}
    async with Provider(completion(finish_reason="length") | {"usage": usage}) as provider:
        with pytest.raises(AgentCallFailed) as failed:
            await ask(provider.url, prices={"small": {"input": "2", "output": "10"}})

    assert failed.value.usage.cost == Decimal("0.0021")
    assert failed.value.usage.tokens == 1010


@pytest.mark.parametrize("reason", ["tool_calls", "abort", "something_new"])
async def test_an_end_that_is_not_known_as_one_is_invalid_output(reason: str):
    error = await refusal(completion(finish_reason=reason))

    assert (error.code, error.transient) == ("INVALID_OUTPUT", False)
    assert reason in error.message


async def test_withheld_content_is_an_agent_error():
    error = await refusal(completion(None, finish_reason="content_filter"))

    assert (error.code, error.transient) == ("AGENT_ERROR", False)
    assert error.message.endswith("refused to answer: finish_reason content_filter")


async def test_a_refusal_is_an_agent_error_with_its_beginning():
    message = {"role": "assistant", "content": None, "refusal": "I cannot help with that. " + "x" * 5000}
    error = await refusal(completion(message=message))

    assert (error.code, error.transient) == ("AGENT_ERROR", False)
    assert "refused to answer: I cannot help with that." in error.message
    assert len(error.message) < 600


@pytest.mark.parametrize(
    "body",
    [
        {"object": "chat.completion", "choices": []},
        {"object": "chat.completion"},
        {"choices": [{"finish_reason": "stop"}]},
        {"choices": "none"},
        completion(None),
        completion(5),
        completion() | {"usage": {"prompt_tokens": -1}},
        completion() | {"usage": {"prompt_tokens": "many"}},
        [],
        "<html>Welcome</html>",
        "",
        "[" * 100_000,
    ],
)
async def test_what_is_no_chat_completion_is_invalid_output(body: object):
    error = await refusal(body)

    assert (error.code, error.transient) == ("INVALID_OUTPUT", False)


async def test_half_a_json_is_invalid_output():
    async with AgentServer({"writer": Behaviour(fault="half_json")}) as server:
        assert (await failure(server.url_of("writer"))).code == "INVALID_OUTPUT"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "No such model.", "code": "model_not_found"}}, "No such model."),
        ({"error": "model 'x' not found"}, "model 'x' not found"),
        ({"object": "error", "message": "Too long.", "code": 400}, "Too long."),
        ({"detail": "Not here"}, "Not here"),
        ({"error": {"error": {"message": "deep"}}}, "deep"),
        ({"detail": [{"loc": ["body"]}]}, '{"detail": [{"loc": ["body"]}]}'),
        ({"error": {}}, '{"error": {}}'),
        ("plain", "plain"),
        ("[" * 5000, "[" * 500),
    ],
)
async def test_a_refusal_says_what_the_provider_says(body: object, said: str):
    error = await refusal(body, 404)

    assert (error.code, error.transient) == ("AGENT_ERROR", False)
    assert error.message.endswith(f" answered 404: {said}")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503, 529])
async def test_a_status_that_passes_is_unavailable_and_transient(status: int):
    error = await refusal({"error": {"message": "Later."}}, status, Retry_After="7")

    assert (error.code, error.transient, error.retry_after) == ("AGENT_UNAVAILABLE", True, 7.0)
    assert error.message.endswith(f"answered {status}: Later.")


async def test_an_error_with_a_status_of_success_is_that_error():
    error = await refusal({"error": {"message": "Slow down.", "code": 429}})
    assert (error.code, error.transient) == ("AGENT_UNAVAILABLE", True)
    assert "answered 429: Slow down." in error.message

    error = await refusal({"error": {"message": "No.", "code": "bad"}})
    assert (error.code, error.transient) == ("AGENT_ERROR", False)
    assert error.message.endswith("answered an error: No.")


async def test_a_provider_that_repeats_the_key_is_recorded_without_it():
    error = await refusal({"error": {"message": f"Incorrect API key: {KEY}"}}, 401)

    assert error.message.endswith("answered 401: Incorrect API key: …")


async def test_limits_of_time_and_size_are_those_of_http():
    behaviours = {"hangs": Behaviour(fault="hang"), "floods": Behaviour(fault="too_large")}
    async with AgentServer(behaviours) as server:
        slow = await failure(server.url_of("hangs"), timeout="30ms")
        large = await failure(server.url_of("floods"), max_response="256KiB")

    assert (slow.code, slow.transient) == ("AGENT_TIMEOUT", True)
    assert (large.code, large.transient) == ("OUTPUT_TOO_LARGE", False)


async def test_cancelling_the_call_closes_the_connection():
    async with (
        AgentServer({"writer": Behaviour(fault="hang")}) as server,
        model_at(server.url_of("writer")) as agent,
    ):
        call = asyncio.ensure_future(agent.call(a_request()))
        await eventually(lambda: server.calls)

        call.cancel()

        with pytest.raises(asyncio.CancelledError):
            await call
        await eventually(lambda: server.abandoned == 1)


# ---------------------------------------------------------------- how long to wait


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (
            {"Retry-After": "5", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "9s"},
            5.0,
        ),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s"}, 1.0),
        ({"X-RateLimit-Remaining-Tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "20ms"}, 0.02),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "3"}, 3.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "9h"}, 3600.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1795363200"}, None),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "2026-11-22T12:00:00Z"}, None),
        ({"x-ratelimit-remaining-tokens": "0"}, None),
        ({"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "1m"}, None),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "2s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "40s",
            },
            40.0,
        ),
        ({}, None),
    ],
)
def test_the_wait_is_what_is_asked_for_or_when_the_used_up_limit_ends(
    headers: dict[str, str], seconds: float | None
):
    found = wait_asked(
        {name.lower() if name.startswith("X") else name: value for name, value in headers.items()}
    )

    assert found == seconds


async def test_a_used_up_limit_is_read_from_a_real_answer():
    error = await refusal(
        {"error": {"message": "Rate limit."}},
        429,
        X_RateLimit_Remaining_Requests="0",
        X_RateLimit_Reset_Requests="1m30s",
    )

    assert error.retry_after == 90.0


def test_an_explanation_is_found_whatever_the_body():
    assert explanation("") == ""
    assert explanation("null") == "null"
    assert explanation('{"error": {"message": 5}}') == '{"error": {"message": 5}}'


# ---------------------------------------------------------------- prices and settings


async def test_a_model_without_a_price_is_not_asked():
    async with Provider(completion()) as provider:
        error = await failure(
            provider.url, a_request(model="large"), prices={"small": {"input": 1, "output": 2}}
        )

    assert (error.code, provider.asked) == ("AGENT_ERROR", [])
    assert "no price for the model `large`" in error.message


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("model: m", "`base_url`"),
        ("base_url: h", "`base_url`: must be an address"),
        ("base_url: http://h, api_key: ''", "`api_key`: must not be empty; leave it out for none."),
        ("base_url: http://h, api_key: ' a'", "`api_key`: must be one line without spaces around it."),
        (
            "base_url: http://h, api_key: a, headers: {authorization: b}",
            "`api_key`: is sent as the header Authorization, which `headers` sets too; leave one out.",
        ),
        ("base_url: http://h, model: ''", "`model`: must not be empty."),
        ("base_url: http://h, temperature: 3", "`temperature`: must be at most 2"),
        ("base_url: http://h, max_tokens: 0", "`max_tokens`: must be at least 1."),
        (
            "base_url: http://h, parameters: {tools: [], stream: true}",
            "`parameters`: must not hold stream, tools: the engine sets or forbids it.",
        ),
        ("base_url: http://h, prices: {m: 5}", "`prices.m`: must be a mapping of keys to values."),
        ("base_url: http://h, prices: {m: {input: 1}}", "the key `prices.m.output` is missing."),
        ("base_url: http://h, prices: {m: {input: 1, output: 1, in: 2}}", "unknown key `prices.m.in`."),
        ("base_url: http://h, prices: {m: {input: x, output: 1}}", "`prices.m.input`: must be a number."),
        ("base_url: http://h, prices: {m: {input: -1, output: 1}}", "`prices.m.input`: must be at least 0"),
        (
            "base_url: http://h, model: m, prices: {n: {input: 1, output: 1}}",
            "`prices`: has no price for the agent's own `model`; add it, 0 if it costs nothing.",
        ),
        ("base_url: http://h, base_ur: x", "unknown key `base_ur`. Did you mean `base_url`?"),
        ("base_url: http://h, max_concurrent: 1001", "`max_concurrent`: must be at most 1000."),
    ],
)
def test_a_fault_is_found_when_the_configuration_is_read(tmp_path: Path, keys: str, said: str):
    file = tmp_path / "agents.yaml"
    file.write_text("agents:\n  a: {kind: openai, " + keys + "}\n")

    with pytest.raises(ConfigurationInvalid) as caught:
        read_agents_file(file, {"openai": OpenAiSettings}, {})

    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_prices_are_exact_as_they_are_written(tmp_path: Path):
    file = tmp_path / "agents.yaml"
    file.write_text(
        "agents: {a: {kind: openai, base_url: http://h, prices: {m: {input: 0.15, output: '0.60'}}}}"
    )

    agent = read_agents_file(file, {"openai": OpenAiSettings}, {}).agents["a"]

    assert (agent.prices["m"].input, agent.prices["m"].output) == (Decimal("0.15"), Decimal("0.60"))


def test_settings_show_no_secret():
    settings = OpenAiSettings.model_validate(
        {"base_url": "http://u:secret-1@h/", "api_key": "secret-2", "headers": {"A": "secret-3"}}
    )

    assert "secret" not in repr(settings) + str(settings)
    with pytest.raises(ValidationError) as caught:
        OpenAiSettings.model_validate({"base_url": "http://h/", "api_key": "secret-2\n"})
    assert "secret" not in str(caught.value)
