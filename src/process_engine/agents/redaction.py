"""What may be recorded of a text that came from an agent."""

from __future__ import annotations

from collections.abc import Iterable

# Characters that are recorded: enough for the reason, too little for a page.
SHOWN_CHARACTERS = 500
# Values from this length on are taken for secrets when an agent repeats them: `true` is none.
SECRET_LENGTH = 8


class Redaction:
    """Blots out what the configuration told in confidence: `secrets`, and each word of one."""

    def __init__(self, secrets: Iterable[str]) -> None:
        parts = {part for secret in secrets for part in (secret, *secret.split())}
        # Longest first: the whole is gone before a part of it would break it up.
        self._secrets = sorted((part for part in parts if len(part) >= SECRET_LENGTH), key=len, reverse=True)

    def beginning(self, text: str) -> str:
        """The first characters of `text`, without secrets."""
        return self._blotted(text).strip()[:SHOWN_CHARACTERS]

    def end(self, text: str) -> str:
        """The last characters of `text`, without secrets."""
        return self._blotted(text).strip()[-SHOWN_CHARACTERS:]

    def _blotted(self, text: str) -> str:
        # Before it is cut: half a secret would not be found any more.
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text
