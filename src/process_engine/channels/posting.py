"""One POST to an address: what channels that speak HTTP have in common."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Annotated, NoReturn
from urllib.parse import urlsplit

import aiohttp
from pydantic import AfterValidator, SecretStr
from yarl import URL

from process_engine import __version__
from process_engine.channels.texts import said, system_words
from process_engine.runtime.ports import DeliveryFailed

# Seconds for the connection itself: an address that does not react is down, not slow.
CONNECT_SECONDS = 10.0
# What may be asked of us to wait at most, in seconds; longer is a matter for people.
MAX_RETRY_AFTER_SECONDS = 3600.0
# Bytes of an answer that are read: enough for a reason, and nobody sends us more than we want.
ANSWER_BYTES = 4 * 1024
# Characters of an address: what common servers take.
MAX_URL_CHARACTERS = 2_048

_FOR_NOW = frozenset({408, 425, 429})


def usable_address(text: str) -> URL:
    """The address as it can be called.

    Raises:
        ValueError: it is none; the text does not hold it.
    """
    if len(text) > MAX_URL_CHARACTERS:
        raise ValueError(f"is longer than {MAX_URL_CHARACTERS:,} characters")
    if not text.isprintable() or " " in text:
        raise ValueError("holds spaces or control characters")
    try:
        url = URL(text)
        host, _ = url.host, urlsplit(text).port
    except ValueError:
        raise ValueError("is not an address") from None
    if url.scheme not in ("http", "https") or not host:
        raise ValueError("must be an address that begins with http:// or https://")
    return url


def _checked(secret: SecretStr) -> SecretStr:
    usable_address(secret.get_secret_value())
    return secret


SecretAddress = Annotated[SecretStr, AfterValidator(_checked)]
"""An address that may hold a key, and is never shown."""


async def post(url: URL, body: bytes, headers: Mapping[str, str]) -> int:
    """The status of success that `url` answered with, over a connection of its own.

    Raises:
        DeliveryFailed: there was none. It names the host; the rest of an address may hold a key.
    """
    try:
        async with _session() as session:
            return await _exchange(session, url, body, headers)
    except (aiohttp.ClientError, OSError) as error:
        _tell(url, error)


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        headers={"User-Agent": f"process-engine/{__version__}", "Accept-Encoding": "identity"},
        auto_decompress=False,
        # A proxy named in the environment would see every secret: nobody asked for it here.
        trust_env=False,
    )


async def _exchange(session: aiohttp.ClientSession, url: URL, body: bytes, headers: Mapping[str, str]) -> int:
    given = {"Content-Type": "application/json", **headers}
    response = await session.post(url, data=body, headers=given, allow_redirects=False)
    try:
        await _require_success(url, response)
    finally:
        # Whatever else is sent is not wanted, and may have no end.
        response.close()
    return response.status


async def _require_success(url: URL, response: aiohttp.ClientResponse) -> None:
    status = response.status
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        _fail(url, f"answered {status}; redirects are not followed")
    reason = said(await _beginning(response), (str(url), url.path, url.query_string, url.password or ""))
    told = f"answered {status}: {reason}" if reason else f"answered {status}"
    if status >= 500 or status in _FOR_NOW:
        _fail(url, told, transient=True, retry_after=retry_after(response.headers))
    _fail(url, told)


async def _beginning(response: aiohttp.ClientResponse) -> str:
    """The beginning of a refusal's body as text; empty if there is none."""
    body = bytearray()
    # The status counts, whatever becomes of the rest.
    with suppress(aiohttp.ClientError):
        async for part in response.content.iter_any():
            body += part
            if len(body) >= ANSWER_BYTES:
                break
    return body[:ANSWER_BYTES].decode("utf-8", "replace")


def _tell(url: URL, error: aiohttp.ClientError | OSError) -> NoReturn:
    """Say what became of the connection."""
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            _fail(url, "cannot be trusted: its certificate or its TLS is not valid")
        case aiohttp.ClientConnectorDNSError():
            _fail(url, "has a host name that cannot be resolved", transient=True)
        case aiohttp.InvalidURL():
            _fail(url, "is no address that can be called")
        case aiohttp.ClientResponseError():
            _fail(url, "did not answer in HTTP")
        case aiohttp.ServerTimeoutError():
            _fail(url, f"did not react in {CONNECT_SECONDS:g} s", transient=True)
        case aiohttp.ClientConnectorError():
            _fail(url, f"cannot be reached: {system_words(error.os_error)}", transient=True)
        case _:
            _fail(url, "broke the connection off before it answered", transient=True)


def _fail(url: URL, what: str, *, transient: bool = False, retry_after: float | None = None) -> NoReturn:
    place = url.host if url.explicit_port is None else f"{url.host}:{url.explicit_port}"
    code = "CHANNEL_UNAVAILABLE" if transient else "DELIVERY_FAILED"
    raise DeliveryFailed(code, f"{place} {what}", transient=transient, retry_after=retry_after) from None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for, up to `MAX_RETRY_AFTER_SECONDS`; None if it says nothing usable.

    A date is measured against the `Date` of the same answer, so that neither clock has to be right.
    """
    asked = headers.get("Retry-After", "").strip()
    if asked.isascii() and asked.isdigit():
        return min(float(asked[:10]), MAX_RETRY_AFTER_SECONDS)
    until, now = _date(asked), _date(headers.get("Date", ""))
    if until is None or now is None:
        return None
    return min(max((until - now) / timedelta(seconds=1), 0.0), MAX_RETRY_AFTER_SECONDS)


def _date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo is not None else None
