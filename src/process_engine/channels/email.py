"""E-mail by SMTP: one connection and one transaction per delivery."""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from pathlib import Path
from typing import Annotated, Literal, NoReturn, Self, cast

import aiosmtplib
from aiosmtplib import errors
from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, model_validator

from process_engine.channels.settings import ChannelSettings
from process_engine.channels.texts import as_text, on_one_line, said, system_words
from process_engine.runtime.ports import Delivery, DeliveryFailed, Notice

# Seconds that one answer of the server may take: less than an attempt, so that it is told which one was late.
ANSWER_SECONDS = 20.0
FAREWELL_SECONDS = 1.0
# Bytes of text: more is an attachment in disguise, which servers refuse.
MAX_TEXT_BYTES = 1024 * 1024
# Characters of a subject: one line of a header, as RFC 5322 bounds it.
MAX_SUBJECT_CHARACTERS = 900

# Stricter than RFC 5321: no quoted names, no comments, nothing that could begin another header or command.
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*")
MAX_ADDRESS_CHARACTERS = 254

_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# Urgency as mail programs know it (RFC 2156 for Importance, custom for X-Priority).
_IMPORTANCE = {"low": ("low", "5"), "high": ("high", "2"), "critical": ("high", "1")}


def usable_address(text: str) -> str:
    """The e-mail address itself.

    Raises:
        ValueError: it is none that can be written to here.
    """
    if len(text) > MAX_ADDRESS_CHARACTERS or not _ADDRESS.fullmatch(text):
        raise ValueError("must be an e-mail address such as ann@example.org, in ASCII and without a name")
    return text


def _readable(path: Path | None, info: ValidationInfo) -> Path | None:
    if path is None:
        return None
    context = cast("dict[str, object]", info.context or {})
    directory = context.get("directory")
    path = directory / path if isinstance(directory, Path) else path
    if not path.is_file():
        raise ValueError("there is no such file")
    return path


MailAddress = Annotated[str, AfterValidator(usable_address)]


class EmailSettings(ChannelSettings, frozen=True):
    """A mail server that takes messages by SMTP."""

    kind: Literal["email"] = Field(default="email", description="E-mail by SMTP.")
    host: str = Field(min_length=1, description="The mail server.")
    port: int | None = Field(
        default=None, ge=1, le=65_535, description="Its port: 587, 465 or 25 by `tls` where it is left out."
    )
    tls: Literal["starttls", "tls", "none"] = Field(
        default="starttls",
        description="How the connection is kept secret; `none` is for servers on this machine or network.",
    )
    ca_file: Annotated[Path | None, AfterValidator(_readable)] = Field(
        default=None, description="Certificates to trust in place of those of the system, a PEM file."
    )
    username: str | None = Field(default=None, description="Who logs in; nobody where it is left out.")
    password: SecretStr | None = Field(default=None, description="The password: name a variable.")
    sender: MailAddress = Field(alias="from", description="The address that messages come from.")
    reply_to: MailAddress | None = Field(default=None, description="The address that answers go to.")
    recipients: tuple[MailAddress, ...] = Field(
        default=(), description="Who gets it where a step names nobody."
    )

    @model_validator(mode="after")
    def _no_password_in_the_open(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("`username` and `password` belong together")
        if self.password is not None and self.tls == "none" and self.host not in _LOOPBACK:
            raise ValueError("a password would be sent in the open: use `tls: starttls` or `tls: tls`")
        return self

    def lacks(self, *, url: bool, recipients: bool) -> str | None:
        return None if recipients or self.recipients else "an e-mail needs `recipients`"

    def connect(self) -> EmailChannel:
        return EmailChannel(self)


class EmailChannel:
    """Hands messages to one server. A message is out once the server has said that it has all of it."""

    def __init__(self, settings: EmailSettings) -> None:
        self._settings = settings
        self._secret = settings.password.get_secret_value() if settings.password is not None else ""

    async def deliver(self, notice: Notice) -> Delivery:
        wanted = _recipients(notice, self._settings)
        left = [address for address in wanted if address not in notice.reached]
        message = mail(notice, self._settings, wanted)
        taken = Delivery(recipients=wanted, message_id=message_id(notice.key, self._settings.sender))
        if not left:
            return taken
        try:
            refused = await self._send(message, left)
        except (errors.SMTPException, OSError, ValueError) as error:
            self._tell(error)
        if refused:
            self._tell_refused(refused, wanted)
        return taken

    async def _send(self, message: EmailMessage, left: list[str]) -> Mapping[str, aiosmtplib.SMTPResponse]:
        """Who was refused, with the answer of the server; the others have it."""
        server = self._server()
        try:
            await server.connect()
            refused, _ = await server.sendmail(self._settings.sender, left, message.as_bytes())
            # It has confirmed by now: a farewell that fails changes nothing.
            with suppress(errors.SMTPException, OSError):
                await server.quit(timeout=FAREWELL_SECONDS)
        except errors.SMTPRecipientsRefused as error:
            return {one.recipient: aiosmtplib.SMTPResponse(one.code, one.message) for one in error.recipients}
        finally:
            server.close()
        return refused

    def _server(self) -> aiosmtplib.SMTP:
        given = self._settings
        secure = given.tls != "none"
        trusted = str(given.ca_file) if given.ca_file is not None else None
        return aiosmtplib.SMTP(
            hostname=given.host,
            port=given.port or _PORTS[given.tls],
            use_tls=given.tls == "tls",
            start_tls=given.tls == "starttls",
            tls_context=ssl.create_default_context(cafile=trusted) if secure else None,
            username=given.username,
            password=self._secret or None,
            # The default asks the network for the name, which may take longer than the delivery.
            local_hostname=_own_name(),
            timeout=ANSWER_SECONDS,
        )

    def _tell(self, error: errors.SMTPException | OSError | ValueError) -> NoReturn:
        """Say what the server, or the way to it, did."""
        cause = error.__cause__ or error
        match error:
            case errors.SMTPResponseException() if error.code < 0:
                self._fail(f"did not answer in SMTP: {self._said(error.message)}")
            case errors.SMTPResponseException():
                told = f"answered {error.code}: {self._said(error.message)}"
                self._fail(told, transient=_is_for_now(error.code))
            case errors.SMTPTimeoutError():
                self._fail(f"did not answer within {ANSWER_SECONDS:g} s", transient=True)
            case OSError() if isinstance(cause, ssl.SSLError):
                self._fail("cannot be trusted: its certificate or its TLS is not valid")
            case errors.SMTPServerDisconnected():
                self._fail("broke the connection off", transient=True)
            case OSError():
                reason = system_words(cause if isinstance(cause, OSError) else error)
                self._fail(f"cannot be reached: {self._said(reason)}", transient=True)
            case _:
                self._fail(f"cannot be used: {self._said(str(error))}")

    def _tell_refused(
        self, refused: Mapping[str, aiosmtplib.SMTPResponse], wanted: tuple[str, ...]
    ) -> NoReturn:
        """Name who was refused and who has it: while one was refused only for now, it is worth a retry."""
        told = "; ".join(
            f"{address} was refused with {answer.code}: {self._said(answer.message)}"
            for address, answer in refused.items()
        )
        reached = tuple(address for address in wanted if address not in refused)
        others = f"; delivered to {len(reached)} of {len(wanted)}" if reached else ""
        transient = any(_is_for_now(answer.code) for answer in refused.values())
        self._fail(f"{told}{others}", transient=transient, reached=reached)

    def _fail(self, what: str, *, transient: bool = False, reached: tuple[str, ...] = ()) -> NoReturn:
        code = "CHANNEL_UNAVAILABLE" if transient else "DELIVERY_FAILED"
        raise DeliveryFailed(
            code, f"{self._settings.host}: {what}", transient=transient, reached=reached
        ) from None

    def _said(self, text: str) -> str:
        return said(text, [self._secret])


def _is_for_now(code: int) -> bool:
    """Whether the server may answer otherwise another time (RFC 5321, 4.2.1); -1 is no answer at all."""
    return 400 <= code < 500


def _own_name() -> str:
    name = socket.gethostname()
    return name if name.isascii() and re.fullmatch(r"[A-Za-z0-9.-]+", name) else "localhost"


def _recipients(notice: Notice, settings: EmailSettings) -> tuple[str, ...]:
    """Who is to get it, each once.

    Raises:
        DeliveryFailed: nobody, or somebody who cannot be written to.
    """
    wanted = tuple(dict.fromkeys(notice.recipients or settings.recipients))
    if not wanted:
        raise DeliveryFailed("DELIVERY_FAILED", "neither the step nor the channel names a recipient")
    for address in wanted:
        try:
            usable_address(address)
        except ValueError as error:
            raise DeliveryFailed("DELIVERY_FAILED", f"recipients: {said(address)!r} {error}") from None
    return wanted


def mail(notice: Notice, settings: EmailSettings, recipients: tuple[str, ...]) -> EmailMessage:
    """The message: plain text, with an id that is the same for every attempt of the visit.

    Raises:
        DeliveryFailed: it is too large, or its subject is no line.
    """
    text = as_text(notice.message)
    if len(text.encode("utf-8", "replace")) > MAX_TEXT_BYTES:
        raise DeliveryFailed("DELIVERY_FAILED", f"the text is longer than {MAX_TEXT_BYTES:,} bytes")
    if not notice.subject.isprintable() or len(notice.subject) > MAX_SUBJECT_CHARACTERS:
        reason = f"must be one line of at most {MAX_SUBJECT_CHARACTERS} characters"
        raise DeliveryFailed("DELIVERY_FAILED", f"the subject {reason}")
    message = EmailMessage(policy=SMTP_POLICY)
    message["From"] = settings.sender
    message["To"] = ", ".join(recipients)
    message["Subject"] = on_one_line(notice.subject)
    message["Date"] = format_datetime(notice.at)
    message["Message-ID"] = message_id(notice.key, settings.sender)
    # So that answering machines leave it alone (RFC 3834).
    message["Auto-Submitted"] = "auto-generated"
    if settings.reply_to is not None:
        message["Reply-To"] = settings.reply_to
    if notice.urgency in _IMPORTANCE:
        message["Importance"], message["X-Priority"] = _IMPORTANCE[notice.urgency]
    message.set_content(text, subtype="plain", charset="utf-8")
    return message


def message_id(key: str, sender: str) -> str:
    """The id of a message: that of the effect, as a text that every mail program takes."""
    return f"<{hashlib.sha256(key.encode()).hexdigest()[:32]}@{sender.rpartition('@')[2]}>"
