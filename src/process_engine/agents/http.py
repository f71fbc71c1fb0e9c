"""Agents behind an HTTP address: one POST per call, JSON there, JSON or text back."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Annotated, Literal, NoReturn

import aiohttp
import msgspec
from pydantic import AfterValidator, ByteSize, Field, SecretStr
from yarl import URL

from process_engine import __version__
from process_engine.agents.answers import read_answer
from process_engine.agents.settings import AgentSettings
from process_engine.core.values import VALUE_LIMIT_BYTES
from process_engine.definition.durations import Duration
from process_engine.runtime.ports import AgentCallFailed, AgentContext, AgentReply, AgentRequest

# What an agent may ask us to wait at most, in seconds; longer is a matter for people.
MAX_RETRY_AFTER = 3600.0
# Characters of a refusal's body that are recorded: enough for the reason, too little for a page.
SHOWN_CHARACTERS = 500
# Bytes of a refusal's body that are read for it: 4 per character at most, and what a secret adds.
SHOWN_BYTES = SHOWN_CHARACTERS * 4 + 2_000
# Seconds for the connection itself: an address that does not react is down, not slow.
CONNECT_SECONDS = 10.0
# Connections per agent: three such agents stay below the usual 1,024 open files of a process.
MAX_CONNECTIONS = 256
# Seconds an idle connection is kept: below the 5 s after which common servers close theirs, so that
# a call does not meet a connection that is being closed.
KEEP_ALIVE_SECONDS = 4.0
# Bytes up to which a request body is handed over whole; larger ones are written in parts.
WHOLE_BODY_BYTES = 512 * 1024

_TRANSIENT_STATUS = frozenset({408, 425, 429})
_RESERVED_HEADERS = frozenset(
    {"connection", "content-length", "content-type", "idempotency-key", "traceparent", "transfer-encoding"}
)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Parts of header values from this length on are taken for secrets when an agent repeats them.
_SECRET_LENGTH = 8


def _checked_address(text: str) -> str:
    try:
        url = URL(text)
    except ValueError:
        raise ValueError("this is not an address") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("must be an address that begins with http:// or https://")
    return text


def _checked_header_name(name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("this is not the name of a header")
    if name.lower() in _RESERVED_HEADERS:
        raise ValueError("the engine sets this header itself; leave it out")
    return name


def _checked_header_value(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if text != text.strip() or any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError("must be one line without spaces around it")
    return value


def _positive(length: Duration) -> Duration:
    if length.seconds <= 0:
        raise ValueError("must be longer than zero; leave it out for none")
    return length


HeaderName = Annotated[str, AfterValidator(_checked_header_name)]
HeaderValue = Annotated[SecretStr, AfterValidator(_checked_header_value)]


class HttpSettings(AgentSettings, frozen=True):
    """An agent that is called by HTTP POST."""

    kind: Literal["http"] = Field(default="http", description="Called by HTTP POST.")
    url: Annotated[str, AfterValidator(_checked_address)] = Field(description="Where calls are sent.")
    headers: Mapping[HeaderName, HeaderValue] = Field(
        default_factory=dict[HeaderName, HeaderValue], description="Headers to send with each call."
    )
    timeout: Annotated[Duration, AfterValidator(_positive)] | None = Field(
        default=None,
        description="How long one call may take from the first byte sent to the last one read; "
        "without it the timeout of the step alone holds.",
    )
    max_response: ByteSize = Field(
        default=ByteSize(VALUE_LIMIT_BYTES),
        ge=1,
        le=10 * VALUE_LIMIT_BYTES,
        description="The largest answer that is read, in bytes or like 512KiB.",
    )

    def connect(self) -> HttpAgent:
        return HttpAgent(self)


class _Body(msgspec.Struct, frozen=True, omit_defaults=True):
    message: object
    context: AgentContext
    model: str | None = None
    temperature: float | None = None
    system: str | None = None


class HttpAgent:
    """Calls one address. Connections are kept and reused; they belong to the loop of the first call."""

    def __init__(self, settings: HttpSettings) -> None:
        self._url = URL(settings.url)
        self._timeout = settings.timeout.seconds if settings.timeout else None
        self._max_response = int(settings.max_response)
        given = {name: value.get_secret_value() for name, value in settings.headers.items()}
        # Answers are bounded in bytes as they arrive: unpacked ones would be bounded too late.
        own = {"User-Agent": f"process-engine/{__version__}", "Accept-Encoding": "identity"}
        self._headers = own | given
        self._secrets = _secrets(given.values(), self._url)
        self._session: aiohttp.ClientSession | None = None

    async def call(self, request: AgentRequest) -> AgentReply:
        """Send one POST and read its answer; as `AgentGateway.call`."""
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                return await self._exchange(request)
        except (aiohttp.ClientError, OSError) as error:
            # A TimeoutError is an OSError: ours if the limit has expired, else the connection's.
            if limit.expired():
                self._fail("AGENT_TIMEOUT", f"did not answer within {self._timeout:g} s", transient=True)
            self._refuse(error)

    async def aclose(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _exchange(self, request: AgentRequest) -> AgentReply:
        response = await self._open().post(
            self._url, data=_encoded(request), headers=_headers_of(request), allow_redirects=False
        )
        try:
            reply = await self._read(response)
        except BaseException:
            # Also on cancellation: whatever the agent still sends is not wanted, the connection goes.
            response.close()
            raise
        response.release()
        return reply

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=KEEP_ALIVE_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                headers=self._headers,
                # A proxy named in the environment would see every secret: nobody asked for it here.
                trust_env=False,
            )
        return self._session

    async def _read(self, response: aiohttp.ClientResponse) -> AgentReply:
        if response.status in (204, 205):
            return AgentReply(output=None)
        if not 200 <= response.status < 300:
            await self._reject(response)
        kind = response.content_type
        return read_answer(
            await self._body(response),
            json=kind == "application/json" or kind.endswith("+json"),
            charset=response.charset,
        )

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        if (response.content_length or 0) > self._max_response:
            self._too_large()
        body = bytearray()
        async for part in response.content.iter_any():
            body += part
            if len(body) > self._max_response:
                self._too_large()
        return bytes(body)

    async def _reject(self, response: aiohttp.ClientResponse) -> NoReturn:
        status = response.status
        if 300 <= status < 400 and "Location" in response.headers:
            target = self._shown(response.headers["Location"])
            self._fail("AGENT_ERROR", f"answered {status} and points to {target}; redirects are not followed")
        reason = self._shown(await _beginning(response))
        said = f"answered {status}: {reason}" if reason else f"answered {status}"
        if 500 <= status < 600 or status in _TRANSIENT_STATUS:
            self._fail("AGENT_UNAVAILABLE", said, transient=True, retry_after=retry_after(response.headers))
        self._fail("AGENT_ERROR", said)

    def _too_large(self) -> NoReturn:
        self._fail("OUTPUT_TOO_LARGE", f"answered more than {self._max_response:,} bytes")

    def _refuse(self, error: aiohttp.ClientError | OSError) -> NoReturn:
        """Say what became of the connection."""
        match error:
            case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
                self._fail("AGENT_ERROR", "cannot be trusted: its certificate or its TLS is not valid")
            case aiohttp.ClientConnectorDNSError():
                self._fail("AGENT_UNAVAILABLE", "has a host name that cannot be resolved", transient=True)
            case aiohttp.InvalidURL():
                self._fail("AGENT_ERROR", "is no address that can be called")
            case aiohttp.ClientResponseError():
                self._fail("AGENT_ERROR", "did not answer in HTTP")
            case aiohttp.ServerTimeoutError():
                self._fail("AGENT_UNAVAILABLE", f"did not react in {CONNECT_SECONDS:g} s", transient=True)
            case aiohttp.ClientConnectorError():
                reason = error.os_error.strerror or type(error.os_error).__name__
                self._fail("AGENT_UNAVAILABLE", f"cannot be reached: {reason}", transient=True)
            case _:
                self._fail("AGENT_UNAVAILABLE", "broke the connection off", transient=True)

    def _fail(
        self, code: str, what: str, *, transient: bool = False, retry_after: float | None = None
    ) -> NoReturn:
        # The host alone: paths and queries of an address may hold keys.
        place = self._url.host if self._url.port is None else f"{self._url.host}:{self._url.port}"
        raise AgentCallFailed(code, f"{place} {what}", transient=transient, retry_after=retry_after) from None

    def _shown(self, text: str) -> str:
        """What may be recorded of a text that the agent sent: no secrets of ours, and not all of it."""
        # Blotted before it is cut: half a secret would not be found any more.
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text.strip()[:SHOWN_CHARACTERS]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for, from 0 to `MAX_RETRY_AFTER`; None if it says nothing usable.

    A date is measured against the `Date` of the same answer, so that neither clock has to be right.
    """
    asked = headers.get("Retry-After", "").strip()
    if asked.isascii() and asked.isdigit():
        return min(float(asked[:10]), MAX_RETRY_AFTER)
    try:
        wait = parsedate_to_datetime(asked) - parsedate_to_datetime(headers.get("Date", ""))
    except (TypeError, ValueError):
        return None
    return min(max(wait.total_seconds(), 0.0), MAX_RETRY_AFTER)


async def _beginning(response: aiohttp.ClientResponse) -> str:
    """The beginning of a refusal's body as text; empty if there is none."""
    body = bytearray()
    # The status counts, whatever becomes of the rest.
    with suppress(aiohttp.ClientError):
        async for part in response.content.iter_any():
            body += part
            if len(body) >= SHOWN_BYTES:
                break
    try:
        return body.decode(response.charset or "utf-8", "replace")
    except LookupError:
        return body.decode("utf-8", "replace")


def _encoded(request: AgentRequest) -> bytes | io.BytesIO:
    body = msgspec.json.encode(
        _Body(request.message, request.context, request.model, request.temperature, request.system)
    )
    return body if len(body) <= WHOLE_BODY_BYTES else io.BytesIO(body)


def _headers_of(request: AgentRequest) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "Idempotency-Key": request.idempotency_key,
        "traceparent": request.traceparent,
    }


def _secrets(values: Iterable[str], url: URL) -> tuple[str, ...]:
    """What must not come back in a message: `Bearer TOKEN` holds TOKEN, an address may hold keys."""
    parts = [part for value in values for part in value.split()]
    parts += [url.user or "", url.password or "", *url.query.values()]
    return tuple(part for part in parts if len(part) >= _SECRET_LENGTH)
