"""What tests of channels share: a notice, a web server that keeps what it is sent, and certificates."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from process_engine.ids import ExecutionId, StepId
from process_engine.runtime.ports import AgentContext, Notice

AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
KEY = "0abc/tell/1"


def notice(message: object = "The tide is high.", **fields: object) -> Notice:
    given: dict[str, object] = {
        "channel": "any",
        "message": message,
        "subject": "About the tide",
        "recipients": (),
        "url": None,
        "urgency": "normal",
        "key": KEY,
        "at": AT,
        "context": AgentContext(
            execution_id=ExecutionId("0abc"),
            process="tides",
            version="1.2",
            step_id=StepId("tell"),
            visit=1,
            attempt=2,
            correlation_id="0abc",
        ),
    }
    return Notice(**(given | fields))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Posted:
    """One request as the server got it."""

    path: str
    headers: dict[str, str]
    body: bytes


class Web:
    """A server on loopback that answers every POST as it is told."""

    def __init__(self) -> None:
        self.posted: list[Posted] = []
        self.url = ""
        self.answer: Callable[[web.Request], Awaitable[web.StreamResponse]] = self.fine

    async def fine(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text="ok")

    def answers(self, status: int, text: str = "", **headers: str) -> None:
        async def answer(request: web.Request) -> web.StreamResponse:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return web.Response(status=status, text=text, headers=named)

        self.answer = answer

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.posted.append(
            Posted(request.path_qs, {k.lower(): v for k, v in request.headers.items()}, await request.read())
        )
        return await self.answer(request)


@asynccontextmanager
async def web_server() -> AsyncIterator[Web]:
    server = Web()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    server.url = f"http://127.0.0.1:{port}"
    try:
        yield server
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw_server(answer: bytes, *, close: bool = True) -> AsyncIterator[str]:
    """A server that sends these bytes for whatever it is sent, and then closes or is silent for ever."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.read(1024)
        writer.write(answer)
        await writer.drain()
        if close:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()


def certificate(folder: Path, name: str = "127.0.0.1") -> tuple[Path, ssl.SSLContext]:
    """A certificate of our own for an address of loopback, and a server's context with it."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        f"/CN={name}",
    ]
    command += ["-addext", f"subjectAltName=IP:{name}", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return cert, context
