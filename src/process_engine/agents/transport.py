"""One POST to one address: what HTTP agents of every kind have in common."""

from __future__ import annotations

import asyncio
import io
import re
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Annotated, NamedTuple, NoReturn

import aiohttp
from pydantic import AfterValidator, Field, SecretStr
from yarl import URL

from process_engine import __version__
from process_engine.agents.limits import MAX_PLACES
from process_engine.agents.redaction import Redaction
from process_engine.agents.settings import BoundedSettings
from process_engine.runtime.ports import AgentCallFailed, AgentRequest

# What an agent may ask us to wait at most, in seconds; longer is a matter for people.
MAX_RETRY_AFTER = 3600.0
# Bytes of a refusal's body that are read: enough for an explanation in JSON, with what surrounds it.
REFUSAL_BYTES = 16 * 1024
# Seconds for the connection itself: an address that does not react is down, not slow.
CONNECT_SECONDS = 10.0
# Connections per agent: three such agents stay below the usual 1,024 open files of a process.
MAX_CONNECTIONS = 256
# Seconds an idle connection is kept: below the 5 s after which common servers close theirs, so that
# a call does not meet a connection that is being closed.
KEEP_ALIVE_SECONDS = 4.0
# The largest window, with the header and the check sum of gzip (zlib manual, inflateInit2).
GZIP_WINDOW_BITS = 31
# Bytes up to which a request body is handed over whole; larger ones are written in parts.
WHOLE_BODY_BYTES = 512 * 1024

_TRANSIENT_STATUS = frozenset({408, 425, 429})
_RESERVED_HEADERS = frozenset(
    {"connection", "content-length", "content-type", "idempotency-key", "traceparent", "transfer-encoding"}
)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


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


Address = Annotated[str, AfterValidator(_checked_address)]
HeaderName = Annotated[str, AfterValidator(_checked_header_name)]
HeaderValue = Annotated[SecretStr, AfterValidator(_checked_header_value)]


class HttpConnectionSettings(BoundedSettings, frozen=True):
    """What every agent that is reached by HTTP can be told."""

    headers: Mapping[HeaderName, HeaderValue] = Field(
        default_factory=dict[HeaderName, HeaderValue], description="Headers to send with each call."
    )
    max_concurrent: int | None = Field(
        default=MAX_CONNECTIONS,
        ge=1,
        le=MAX_PLACES,
        description="Calls, and with them connections, at once; further ones wait in order.",
    )


class Answer(NamedTuple):
    """What came back with a status of success: `media_type` in lower case, `charset` if it was named."""

    status: int
    media_type: str
    charset: str | None
    body: bytes


class Transport:
    """Posts to one address. Connections are kept and reused; they belong to the loop of the first call.

    `headers` go along with those of the settings. `explain` makes a sentence of a refusal's body, and
    `wait_asked` seconds of its headers.
    """

    def __init__(
        self,
        url: URL,
        settings: HttpConnectionSettings,
        *,
        headers: Mapping[str, str] | None = None,
        explain: Callable[[str], str] = str,
        wait_asked: Callable[[Mapping[str, str]], float | None] | None = None,
    ) -> None:
        self._url = url
        self._timeout = settings.timeout_seconds
        self._max_response = int(settings.max_response)
        self._connections = settings.max_concurrent or MAX_CONNECTIONS
        given = {name: value.get_secret_value() for name, value in settings.headers.items()}
        given |= headers or {}
        # Answers are bounded in bytes as they arrive: unpacked ones would be bounded too late.
        own = {"User-Agent": f"process-engine/{__version__}", "Accept-Encoding": "identity"}
        self._headers = own | given
        self._redaction = Redaction(
            [*given.values(), url.user or "", url.password or "", *url.query.values()]
        )
        self._explain = explain
        self._wait_asked = wait_asked or retry_after
        self._session: aiohttp.ClientSession | None = None

    async def post(self, body: bytes, request: AgentRequest) -> Answer:
        """Send one POST with the identity of `request`, and read the answer whole.

        Raises:
            AgentCallFailed: there is no answer with a status of success.
        """
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                return await self._exchange(body, request)
        except (aiohttp.ClientError, OSError) as error:
            # A TimeoutError is an OSError: ours if the limit has expired, else the connection's.
            if limit.expired():
                self.fail("AGENT_TIMEOUT", f"did not answer within {self._timeout:g} s", transient=True)
            self._refuse(error)

    async def aclose(self) -> None:
        """Give up the connections. May be called without a call before, and twice."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def reject(self, status: int, reason: str, headers: Mapping[str, str]) -> NoReturn:
        """Fail as for an answer with this status, which is not one of success."""
        reason = self.shown(reason)
        said = f"answered {status}: {reason}" if reason else f"answered {status}"
        if 500 <= status < 600 or status in _TRANSIENT_STATUS:
            self.fail("AGENT_UNAVAILABLE", said, transient=True, retry_after=self._wait_asked(headers))
        self.fail("AGENT_ERROR", said)

    def fail(
        self, code: str, what: str, *, transient: bool = False, retry_after: float | None = None
    ) -> NoReturn:
        """Fail with a sentence about the agent: `what` it did."""
        # The host alone: paths and queries of an address may hold keys.
        place = self._url.host if self._url.port is None else f"{self._url.host}:{self._url.port}"
        raise AgentCallFailed(code, f"{place} {what}", transient=transient, retry_after=retry_after) from None

    def shown(self, text: str) -> str:
        """What may be recorded of a text that the agent sent: no secrets of ours, and not all of it."""
        return self._redaction.beginning(text)

    async def _exchange(self, body: bytes, request: AgentRequest) -> Answer:
        response = await self._open().post(
            self._url, data=_sendable(body), headers=_headers_of(request), allow_redirects=False
        )
        try:
            answer = await self._read(response)
        except BaseException:
            # Also on cancellation: whatever the agent still sends is not wanted, the connection goes.
            response.close()
            raise
        response.release()
        return answer

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=KEEP_ALIVE_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                headers=self._headers,
                # The client library takes half of a packed text for the whole of it.
                auto_decompress=False,
                # A proxy named in the environment would see every secret: nobody asked for it here.
                trust_env=False,
            )
        return self._session

    async def _read(self, response: aiohttp.ClientResponse) -> Answer:
        status = response.status
        if not 200 <= status < 300:
            await self._turned_down(response)
        body = b"" if status in (204, 205) else await self._body(response)
        return Answer(status, response.content_type, response.charset, body)

    async def _turned_down(self, response: aiohttp.ClientResponse) -> NoReturn:
        status = response.status
        if 300 <= status < 400 and "Location" in response.headers:
            target = self.shown(response.headers["Location"])
            self.fail("AGENT_ERROR", f"answered {status} and points to {target}; redirects are not followed")
        self.reject(status, self._explain(await _beginning(response)), response.headers)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        if (response.content_length or 0) > self._max_response:
            self._too_large()
        gzip = self._gzip(response.headers.get("Content-Encoding", "identity").strip().lower())
        body = bytearray()
        async for part in response.content.iter_any():
            body += part if gzip is None else self._unzipped(gzip, part, self._max_response + 1 - len(body))
            if len(body) > self._max_response:
                self._too_large()
        if gzip is not None and not gzip.is_whole:
            # Half an answer must not pass as one, however well its text begins.
            self.fail("INVALID_OUTPUT", "sent half of what it packed with gzip")
        return bytes(body)

    def _gzip(self, encoding: str) -> _Gzip | None:
        """What unpacks the body: plain text was asked for, gzip is taken all the same."""
        if encoding in ("identity", ""):
            return None
        if encoding not in ("gzip", "x-gzip"):
            self.fail("INVALID_OUTPUT", f"answered in the encoding {self.shown(encoding)}, not asked for")
        return _Gzip()

    def _unzipped(self, gzip: _Gzip, part: bytes, most: int) -> bytes:
        try:
            return gzip.unpack(part, most)
        except zlib.error:
            self.fail("INVALID_OUTPUT", "says that it packed its answer with gzip, and did not")

    def _too_large(self) -> NoReturn:
        self.fail("OUTPUT_TOO_LARGE", f"answered more than {self._max_response:,} bytes")

    def _refuse(self, error: aiohttp.ClientError | OSError) -> NoReturn:
        """Say what became of the connection."""
        match error:
            case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
                self.fail("AGENT_ERROR", "cannot be trusted: its certificate or its TLS is not valid")
            case aiohttp.ClientConnectorDNSError():
                self.fail("AGENT_UNAVAILABLE", "has a host name that cannot be resolved", transient=True)
            case aiohttp.InvalidURL():
                self.fail("AGENT_ERROR", "is no address that can be called")
            case aiohttp.ClientResponseError():
                self.fail("AGENT_ERROR", "did not answer in HTTP")
            case aiohttp.ServerTimeoutError():
                self.fail("AGENT_UNAVAILABLE", f"did not react in {CONNECT_SECONDS:g} s", transient=True)
            case aiohttp.ClientConnectorError():
                reason = error.os_error.strerror or type(error.os_error).__name__
                self.fail("AGENT_UNAVAILABLE", f"cannot be reached: {reason}", transient=True)
            case _:
                self.fail("AGENT_UNAVAILABLE", "broke the connection off", transient=True)


class _Gzip:
    """Unpacks a body part by part, never more than asked for, and knows whether all of it came."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=GZIP_WINDOW_BITS)

    def unpack(self, part: bytes, most: int) -> bytes:
        return self._stream.decompress(part, most)

    @property
    def is_whole(self) -> bool:
        return self._stream.eof


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
            if len(body) >= REFUSAL_BYTES:
                break
    try:
        return body.decode(response.charset or "utf-8", "replace")
    except LookupError:
        return body.decode("utf-8", "replace")


def _sendable(body: bytes) -> bytes | io.BytesIO:
    return body if len(body) <= WHOLE_BODY_BYTES else io.BytesIO(body)


def _headers_of(request: AgentRequest) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "Idempotency-Key": request.idempotency_key,
        "traceparent": request.traceparent,
    }
