"""The bundled test agent: a small real HTTP server that behaves, or misbehaves, as it is told.

`POST /agents/NAME` is one call of the agent NAME. The same `Idempotency-Key` is answered in the same way
without doing the work again, and is marked as repeated. Each call is one line of JSON in the log, written
before the answer: the log knows calls whose answer nobody saw.

In a test::

    async with AgentServer({"writer": Behaviour(reply="A text about {message}.", fail_first=2)}) as server:
        …  # server.url_of("writer"), server.calls

`POST /agents/NAME/chat/completions` is the same agent as an OpenAI-compatible model: its base URL is the
agent's own.

From a shell, where `agents.json` holds behaviours by the name of the agent::

    python -m process_engine.testing.agent_server --port 8700 --log agents.jsonl --script agents.json

Keys of a behaviour may also be given per call in the query: `/agents/writer?fail_first=2&delay=0.5`.
`testing.agent_process` starts this as a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, cast

import msgspec
from aiohttp import web

Fault = Literal["half_json", "too_large", "hang", "drip", "redirect", "close", "close_midway"]

# 16 MiB: larger than any process may record.
MAX_MESSAGE_BYTES = 16 * 1024 * 1024

_PLACEHOLDER = re.compile(r"\{(message|agent|step_id|visit|attempt)\}")
# Exact amounts as JSON numbers, as agents send them.
_encode = msgspec.json.Encoder(decimal_format="number").encode


class Behaviour(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How an agent answers.

    In texts of `reply`, at any depth, `{message}`, `{agent}`, `{step_id}`, `{visit}` and `{attempt}` are
    replaced; a message that is no text stands as its JSON. `as_text` answers the reply as plain text, without
    cost and usage. The first `fail_first` calls with the same key are refused with `fail_status`, every call
    where `status` is not 200. `delay` is in seconds and comes before any answer. `fault` breaks the answer
    itself, of the first `fail_first` calls where that is given: the work is done then, and the answer lost.
    `drip_seconds` is the pause between the bytes of a dripping answer. `finish_reason` is what a chat
    completion says about its end.
    """

    reply: object = "{agent} has dealt with: {message}"
    as_text: bool = False
    cost: Decimal | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    status: int = 200
    fail_first: int = 0
    fail_status: int = 503
    retry_after: str | None = None
    delay: float = 0.0
    fault: Fault | None = None
    drip_seconds: float = 1.0
    finish_reason: str = "stop"


class AgentCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call as the server saw it: a line of its log.

    `number` counts all calls from 1, `nth` those with the same key; `at` is in seconds since the server
    started. `repeated` says that the work was done before and the remembered answer is given.
    """

    number: int
    at: float
    agent: str
    key: str
    nth: int
    repeated: bool
    status: int
    execution_id: str = ""
    step_id: str = ""
    visit: int = 0
    attempt: int = 0
    traceparent: str = ""
    message: object = None
    model: str | None = None
    temperature: float | None = None
    system: str | None = None


class _Context(msgspec.Struct, frozen=True):
    execution_id: str = ""
    step_id: str = ""
    visit: int = 0
    attempt: int = 0


class _Request(msgspec.Struct, frozen=True):
    message: object = None
    context: _Context = _Context()
    model: str | None = None
    temperature: float | None = None
    system: str | None = None


class _ChatMessage(msgspec.Struct, frozen=True):
    role: str
    content: str


class _Chat(msgspec.Struct, frozen=True):
    """The question to a model; all that is told of the step is in the key."""

    messages: list[_ChatMessage]
    model: str | None = None
    temperature: float | None = None

    def request(self, key: str) -> _Request:
        said = {message.role: message.content for message in self.messages}
        execution_id, step_id, visit = ([*key.split("/"), "", "", ""])[:3]
        return _Request(
            message=said.get("user"),
            context=_Context(execution_id, step_id, int(visit) if visit.isdecimal() else 0),
            model=self.model,
            temperature=self.temperature,
            system=said.get("system"),
        )


class CallLog:
    """The calls so far, also as lines of a file where there is one."""

    def __init__(self, path: Path | None) -> None:
        self.calls: list[AgentCall] = []
        # One write per line to a file opened for appending: lines of several servers do not mix.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = None if path is None else os.open(path, flags, 0o644)

    def add(self, call: AgentCall) -> None:
        self.calls.append(call)
        if self._file is not None:
            os.write(self._file, msgspec.json.encode(call) + b"\n")

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def read_calls(log: Path) -> list[AgentCall]:
    """The calls that a log file holds, in the order of their arrival."""
    # What follows the last line's end is a line that is being written.
    lines = log.read_bytes().split(b"\n")[:-1] if log.exists() else []
    return [msgspec.json.decode(line, type=AgentCall) for line in lines]


class AgentServer:
    """Agents on a free port of loopback, inside the running loop. An agent without behaviour has the default.

    `abandoned` counts the calls whose caller went away before the answer was complete.
    """

    def __init__(
        self,
        behaviours: Mapping[str, Behaviour | Mapping[str, object]] | None = None,
        *,
        port: int = 0,
        log: Path | None = None,
    ) -> None:
        self.behaviours = {name: behaviour_of(given) for name, given in (behaviours or {}).items()}
        self.abandoned = 0
        self.url = ""
        self._port = port
        self._log = CallLog(log)
        self._nth: Counter[tuple[str, str]] = Counter()
        self._answers: dict[tuple[str, str], bytes] = {}
        self._closing = asyncio.Event()
        self._started_at = 0.0
        self._runner: web.AppRunner | None = None

    @property
    def calls(self) -> list[AgentCall]:
        """Every call so far, in the order of arrival."""
        return self._log.calls

    def url_of(self, agent: str) -> str:
        return f"{self.url}/agents/{agent}"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=MAX_MESSAGE_BYTES)
        app.router.add_get("/", self._overview)
        app.router.add_post("/agents/{name}", self._call)
        app.router.add_post("/agents/{name}/chat/completions", self._call)
        # A caller that goes away ends its call; on leaving nobody waits for calls that hang.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        host, port = cast("tuple[str, int]", self._runner.addresses[0])[:2]
        self.url = f"http://{host}:{port}"
        self._started_at = asyncio.get_running_loop().time()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        if self._runner is not None:
            await self._runner.cleanup()
        self._log.close()

    async def _overview(self, http: web.Request) -> web.Response:
        seen = {"agents": sorted(self.behaviours), "calls": len(self.calls)}
        return web.Response(body=_encode(seen), content_type="application/json")

    async def _call(self, http: web.Request) -> web.StreamResponse:
        name = http.match_info["name"]
        try:
            behaviour = behaviour_of(self.behaviours.get(name, Behaviour()), http.query)
            request = _read(await http.read(), http)
        except ValueError as error:
            return web.Response(status=400, text=f"This call cannot be understood: {error}")
        call = self._arrived(name, http, request, behaviour)
        try:
            return await self._answer(http, call, behaviour)
        except (asyncio.CancelledError, ConnectionError):
            self.abandoned += not self._closing.is_set()
            raise

    def _arrived(self, name: str, http: web.Request, request: _Request, behaviour: Behaviour) -> AgentCall:
        key = http.headers.get("Idempotency-Key", "")
        self._nth[name, key] += 1
        nth = self._nth[name, key]
        refused = behaviour.fault is None and nth <= behaviour.fail_first
        call = AgentCall(
            number=len(self.calls) + 1,
            at=round(asyncio.get_running_loop().time() - self._started_at, 6),
            agent=name,
            key=key,
            nth=nth,
            repeated=(name, key) in self._answers and not refused,
            status=behaviour.fail_status if refused else behaviour.status,
            traceparent=http.headers.get("traceparent", ""),
            message=request.message,
            model=request.model,
            temperature=request.temperature,
            system=request.system,
            **msgspec.structs.asdict(request.context),
        )
        self._log.add(call)
        return call

    async def _answer(self, http: web.Request, call: AgentCall, behaviour: Behaviour) -> web.StreamResponse:
        body = self._work(call, behaviour, chat=_is_chat(http))
        await self._pause(behaviour.delay)
        if call.status >= 300:
            headers = {} if behaviour.retry_after is None else {"Retry-After": behaviour.retry_after}
            text = f"{call.agent} cannot do this now (call {call.nth} with this key)."
            if _is_chat(http):
                return web.json_response({"error": {"message": text}}, status=call.status, headers=headers)
            return web.Response(status=call.status, text=text, headers=headers)
        if behaviour.fault and (call.nth <= behaviour.fail_first or not behaviour.fail_first):
            return await self._misbehave(http, behaviour, body)
        headers = {"Idempotency-Replayed": "true"} if call.repeated else {}
        return web.Response(status=call.status, body=body, content_type=_kind(behaviour), headers=headers)

    def _work(self, call: AgentCall, behaviour: Behaviour, *, chat: bool) -> bytes:
        """The body of the answer: the remembered one where the work was done before."""
        done = (call.agent, call.key)
        if done in self._answers or call.status >= 300:
            return self._answers.get(done, b"")
        body = _chat_answer(call, behaviour) if chat else _composed(call, behaviour)
        if call.key:
            self._answers[done] = body
        return body

    async def _misbehave(self, http: web.Request, behaviour: Behaviour, body: bytes) -> web.StreamResponse:
        match behaviour.fault:
            case "half_json":
                return web.Response(body=body[: len(body) // 2], content_type=_kind(behaviour))
            case "redirect":
                return web.Response(status=307, headers={"Location": str(http.url)})
            case "drip":
                return await self._drip(http, behaviour, body)
            case "too_large":
                return await self._flood(http)
            case "close_midway":
                response = web.StreamResponse(headers={"Content-Length": str(len(body) + 1)})
                await response.prepare(http)
                await response.write(body)
            case "hang":
                await self._closing.wait()
            case _:
                pass
        if http.transport is not None:
            http.transport.close()
        return web.Response()

    async def _drip(self, http: web.Request, behaviour: Behaviour, body: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(body))})
        response.content_type = _kind(behaviour)
        await response.prepare(http)
        for byte in body:
            await response.write(bytes((byte,)))
            await self._pause(behaviour.drip_seconds)
        return response

    async def _flood(self, http: web.Request) -> web.StreamResponse:
        """Send text without end, until the caller goes away or the server closes."""
        response = web.StreamResponse()
        response.content_type = "text/plain"
        await response.prepare(http)
        while not self._closing.is_set():
            await response.write(b"too much " * 7000)
        return response

    async def _pause(self, seconds: float) -> None:
        """Let some seconds pass; closing the server ends every pause."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._closing.wait()


def behaviour_of(
    given: Behaviour | Mapping[str, object], changes: Mapping[str, str] | None = None
) -> Behaviour:
    """The behaviour that is given, as it is or by its keys, with some keys changed.

    Raises:
        ValueError: a key is unknown or a value does not fit; says which.
    """
    if isinstance(given, Behaviour) and not changes:
        return given
    keys = msgspec.structs.asdict(given) if isinstance(given, Behaviour) else dict(given)
    return msgspec.convert(keys | dict(changes or {}), Behaviour, strict=False)


def _kind(behaviour: Behaviour) -> str:
    return "text/plain" if behaviour.as_text else "application/json"


def _is_chat(http: web.Request) -> bool:
    return http.path.endswith("/chat/completions")


def _read(body: bytes, http: web.Request) -> _Request:
    if not _is_chat(http):
        return msgspec.json.decode(body, type=_Request)
    return msgspec.json.decode(body, type=_Chat).request(http.headers.get("Idempotency-Key", ""))


def _chat_answer(call: AgentCall, behaviour: Behaviour) -> bytes:
    """The reply as a chat completion; one that is no text as its JSON, as models answer it."""
    reply = _replied(call, behaviour)
    text = reply if isinstance(reply, str) else _encode(reply).decode()
    answer: dict[str, object] = {
        "id": f"chatcmpl-{call.number}",
        "object": "chat.completion",
        "model": call.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": behaviour.finish_reason,
            }
        ],
    }
    read, written = behaviour.input_tokens, behaviour.output_tokens
    if read is not None or written is not None:
        counts = {"prompt_tokens": read or 0, "completion_tokens": written or 0}
        answer["usage"] = counts | {"total_tokens": sum(counts.values())}
    return _encode(answer)


def _replied(call: AgentCall, behaviour: Behaviour) -> object:
    """The reply with its placeholders filled in."""
    message = call.message if isinstance(call.message, str) else _encode(call.message).decode()
    words = {
        "message": message,
        "agent": call.agent,
        "step_id": call.step_id,
        "visit": str(call.visit),
        "attempt": str(call.attempt),
    }
    return _filled(behaviour.reply, words)


def _composed(call: AgentCall, behaviour: Behaviour) -> bytes:
    reply = _replied(call, behaviour)
    if behaviour.as_text:
        return reply.encode() if isinstance(reply, str) else _encode(reply)
    answer: dict[str, object] = {"response": reply}
    if behaviour.cost is not None:
        answer["cost"] = behaviour.cost
    counts = {"input_tokens": behaviour.input_tokens, "output_tokens": behaviour.output_tokens}
    if usage := {name: count for name, count in counts.items() if count is not None}:
        answer["usage"] = usage
    return _encode(answer)


def _filled(value: object, words: Mapping[str, str]) -> object:
    match value:
        case str():
            # One pass: a message that holds a placeholder is not filled in a second time.
            return _PLACEHOLDER.sub(lambda found: words[found[1]], value)
        case dict():
            items = cast("dict[str, object]", value)
            return {key: _filled(item, words) for key, item in items.items()}
        case list():
            return [_filled(item, words) for item in cast("list[object]", value)]
        case _:
            return value


class _Options(argparse.Namespace):
    port: int
    log: Path | None
    script: Path | None
    behaviours: str
    until_eof: bool


def _options(arguments: Sequence[str] | None) -> _Options:
    parser = argparse.ArgumentParser(
        prog="agent_server", description="HTTP agents for trying out and testing."
    )
    parser.add_argument("--port", type=int, default=0, help="port on loopback; 0 takes a free one")
    parser.add_argument("--log", type=Path, help="file to append one line of JSON per call to")
    parser.add_argument("--script", type=Path, help="JSON file: behaviours by the name of the agent")
    parser.add_argument("--behaviours", default="{}", help="the same as JSON text; wins over the file")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input ends")
    return parser.parse_args(arguments, _Options())


async def _serve(options: _Options) -> None:
    scripted = msgspec.json.decode(
        options.script.read_bytes() if options.script else b"{}", type=dict[str, Behaviour]
    )
    given = msgspec.json.decode(options.behaviours, type=dict[str, Behaviour])
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.until_eof:
        loop.add_reader(sys.stdin.fileno(), lambda: os.read(sys.stdin.fileno(), 4096) or stop.set())
    async with AgentServer(scripted | given, port=options.port, log=options.log) as server:
        print(server.url, flush=True)
        await stop.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until told to end by SIGTERM, SIGINT, or (with `--until-eof`) by the end of standard input."""
    asyncio.run(_serve(_options(arguments)))


if __name__ == "__main__":
    main()
