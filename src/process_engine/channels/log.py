"""Lines of JSON: in a file, or on standard error."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import AfterValidator, Field, ValidationInfo

from process_engine.channels.settings import ChannelSettings
from process_engine.runtime.ports import Delivery, DeliveryFailed, Notice

# What may be over by the next attempt: a full disk, a file on a machine that does not answer.
_FOR_NOW = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EAGAIN, errno.EINTR, errno.ESTALE})


def _beside_the_settings(path: Path | None, info: ValidationInfo) -> Path | None:
    context = cast("dict[str, object]", info.context or {})
    directory = context.get("directory")
    return directory / path if path is not None and isinstance(directory, Path) else path


class LogSettings(ChannelSettings, frozen=True):
    """Lines of a log."""

    kind: Literal["log"] = Field(default="log", description="A line of JSON.")
    file: Annotated[Path | None, AfterValidator(_beside_the_settings)] = Field(
        default=None,
        description="The file that lines are added to, from the folder of the settings; standard error "
        "where it is left out.",
    )

    def connect(self) -> LogChannel:
        return LogChannel(self)


class LogChannel:
    """Adds one line for each notice, whole or not at all as far as the system goes."""

    def __init__(self, settings: LogSettings) -> None:
        self._file = settings.file

    async def deliver(self, notice: Notice) -> Delivery:
        line = log_line(notice)
        try:
            if self._file is None:
                sys.stderr.write(line)
                sys.stderr.flush()
            else:
                _append(self._file, line.encode())
        except OSError as error:
            transient = error.errno in _FOR_NOW
            place = "standard error" if self._file is None else str(self._file)
            raise DeliveryFailed(
                "CHANNEL_UNAVAILABLE" if transient else "DELIVERY_FAILED",
                f"{place} cannot be written: {error.strerror or type(error).__name__}",
                transient=transient,
            ) from None
        return Delivery()


def _append(path: Path, line: bytes) -> None:
    # Opened for each line, so that the file can be moved away; one write, so that lines do not mix.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        written = os.write(descriptor, line)
        if written < len(line):
            raise OSError(errno.ENOSPC, "only a part of the line was written")
    finally:
        os.close(descriptor)


def log_line(notice: Notice) -> str:
    """The notice as a line of JSON, in which nothing can steer a terminal."""
    context = notice.context
    fields = {
        "time": notice.at.isoformat(),
        "urgency": notice.urgency,
        "subject": notice.subject,
        "message": notice.message,
        "process": context.process,
        "execution": context.execution_id,
        "step": context.step_id,
        "key": notice.key,
    }
    text = json.dumps(fields, ensure_ascii=False, separators=(", ", ": "))
    return "".join(char if char.isprintable() else _escaped(char) for char in text) + "\n"


def _escaped(char: str) -> str:
    """The character as JSON spells it in plain ASCII: it can only stand inside a text."""
    return json.dumps(char)[1:-1]
