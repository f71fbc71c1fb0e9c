"""Texts on their way out, and what may be recorded of texts that come back."""

from __future__ import annotations

import os
from collections.abc import Iterable

import msgspec

# Characters of what the other side said that are recorded: its reason, not the page around it.
SAID_CHARACTERS = 200
# Values from this length on are taken for secrets when the other side repeats them.
SECRET_LENGTH = 8


def as_text(message: object) -> str:
    """Text as it is, any other value as its JSON."""
    return message if isinstance(message, str) else msgspec.json.encode(message).decode()


def on_one_line(text: str) -> str:
    """`text` without line breaks and control characters, each run of them a space."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def system_words(error: OSError) -> str:
    """What the system calls it; asyncio's own words name the place once more."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or type(error).__name__


def said(text: str, secrets: Iterable[str] = ()) -> str:
    """The beginning of what the other side said, on one line and without `secrets`."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SECRET_LENGTH:
            text = text.replace(secret, "…")
    text = on_one_line(text.encode("utf-8", "replace").decode())
    return text if len(text) <= SAID_CHARACTERS else text[: SAID_CHARACTERS - 1] + "…"
