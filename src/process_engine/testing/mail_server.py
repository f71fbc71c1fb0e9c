"""The bundled mail server of tests: a small real SMTP server that takes mail, or refuses it, as it is told.

In a test::

    async with MailServer(refuse={"bob@example.org": "550 no such user"}) as server:
        …  # server.port, server.mails

It knows what a client needs to hand a message over (RFC 5321, with STARTTLS and AUTH PLAIN), and nothing of
what a mail server does with it.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as PARSING
from types import TracebackType
from typing import Literal, Self, cast

Fault = Literal["silent", "close", "garbage", "endless", "close_at_data", "lose_confirmation"]

# 4 MiB: more than a test sends.
MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Mail:
    """A message that was taken: who it is from and for by its envelope, what it says, and over what."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage
    secure: bool
    user: str | None


@dataclass
class _Session:
    """What one connection has said so far."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    secure: bool = False
    user: str | None = None
    sender: str = ""
    recipients: list[str] = field(default_factory=list[str])


class MailServer:
    """Takes mail on a free port of loopback, inside the running loop.

    `refuse` has the answer to RCPT by address, `answers` that to any other command by its word (`MAIL`,
    `DATA`, `END` for the end of the text, `AUTH`, `GREETING`). `login` is the one user and password. With
    `context` STARTTLS is offered, or spoken from the first byte where `tls` says so. `connections` counts
    all, whatever became of them.
    """

    def __init__(
        self,
        *,
        refuse: Mapping[str, str] | None = None,
        answers: Mapping[str, str] | None = None,
        fault: Fault | None = None,
        login: tuple[str, str] | None = None,
        context: ssl.SSLContext | None = None,
        tls: bool = False,
    ) -> None:
        self.refuse = dict(refuse or {})
        self.answers = dict(answers or {})
        self.fault = fault
        self.mails: list[Mail] = []
        self.connections = 0
        self.port = 0
        self._login = login
        self._context = context
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        immediate = self._context if self._tls else None
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=MAX_BYTES, ssl=immediate)
        self.port = cast("int", self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        session = _Session(reader, writer, secure=self._tls)
        # A client that goes away in the middle is an ordinary end.
        with suppress(ConnectionError, asyncio.IncompleteReadError, ValueError, ssl.SSLError):
            if await self._greet(session):
                while await self._obey(session):
                    pass
        self._writers.discard(writer)
        writer.close()

    async def _greet(self, session: _Session) -> bool:
        match self.fault:
            case "silent":
                await session.reader.read()
                return False
            case "close":
                return False
            case "garbage":
                await self._say(session, "<html>this is no mail server</html>")
                return False
            case "endless":
                while True:
                    await self._say(session, "220-" + "x" * 500)
            case _:
                await self._say(session, self.answers.get("GREETING", "220 test.invalid ESMTP"))
                return True

    async def _obey(self, session: _Session) -> bool:
        """Answer one command; false at the end."""
        line = (await session.reader.readuntil(b"\n")).decode("ascii", "replace").strip()
        word, _, rest = line.partition(" ")
        word = word.upper()
        if word == "QUIT":
            await self._say(session, "221 bye")
            return False
        if word in self.answers and word != "END":
            await self._say(session, self.answers[word])
            return True
        return await self._answer(session, word, rest)

    async def _answer(self, session: _Session, word: str, rest: str) -> bool:
        match word:
            case "EHLO" | "HELO":
                await self._say(session, *self._offers(session))
            case "STARTTLS":
                await self._say(session, "220 go on")
                assert self._context is not None
                await session.writer.start_tls(self._context)
                session.secure = True
            case "AUTH":
                await self._log_in(session, rest)
            case "MAIL":
                session.sender, session.recipients = _address(rest), []
                await self._say(session, "250 fine")
            case "RCPT":
                await self._take_recipient(session, _address(rest))
            case "DATA":
                return await self._take(session)
            case "RSET" | "NOOP":
                await self._say(session, "250 fine")
            case _:
                await self._say(session, "502 unknown")
        return True

    def _offers(self, session: _Session) -> list[str]:
        offers = ["250-test.invalid", "250-8BITMIME"]
        if self._context is not None and not session.secure:
            offers.append("250-STARTTLS")
        if self._login is not None:
            offers.append("250-AUTH PLAIN")
        return [*offers, "250 SIZE 10000000"]

    async def _log_in(self, session: _Session, rest: str) -> None:
        _, user, password = base64.b64decode(rest.split()[1]).decode().split("\0")
        if (user, password) == self._login:
            session.user = user
            await self._say(session, "235 welcome")
        else:
            await self._say(session, "535 wrong user or password")

    async def _take_recipient(self, session: _Session, address: str) -> None:
        if address in self.refuse:
            await self._say(session, self.refuse[address])
            return
        session.recipients.append(address)
        await self._say(session, "250 fine")

    async def _take(self, session: _Session) -> bool:
        if self.fault == "close_at_data":
            return False
        await self._say(session, "354 go on")
        text = await session.reader.readuntil(b"\r\n.\r\n")
        if "END" in self.answers:
            await self._say(session, self.answers["END"])
            return True
        message = message_from_bytes(text[:-5].replace(b"\r\n..", b"\r\n."), policy=PARSING)
        mail = Mail(
            session.sender,
            tuple(session.recipients),
            message,
            session.secure,
            session.user,
        )
        self.mails.append(mail)
        if self.fault == "lose_confirmation":
            return False
        await self._say(session, f"250 taken as {len(self.mails)}")
        return True

    async def _say(self, session: _Session, *lines: str) -> None:
        session.writer.write("".join(f"{line}\r\n" for line in lines).encode())
        await session.writer.drain()


def _address(rest: str) -> str:
    """The address between the angle brackets of MAIL and RCPT."""
    return rest.partition("<")[2].partition(">")[0]
