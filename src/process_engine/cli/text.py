"""Text for terminals: what came from outside must not steer them."""

from __future__ import annotations

import re
from datetime import timedelta

# Control characters, halves of characters, and marks that change the direction or the end of a line unseen.
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)


def is_printable(text: str) -> bool:
    """Whether `printable` would leave it as it is."""
    return _CONTROL.search(text) is None


def printable(text: str) -> str:
    """`text` with control characters spelled out, so that it cannot move the cursor or change colours."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shortened(text: str, width: int) -> str:
    """`text` on one line of at most `width` characters."""
    line = " ".join(printable(text[: 4 * width]).split())
    return line if len(line) <= width else line[: width - 1] + "…"


def span(duration: timedelta) -> str:
    """A duration as people say it: `0.4 s`, `12 s`, `3 min 20 s`, `2 d 4 h`; negative ones count as zero."""
    seconds = max(0.0, duration.total_seconds())
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    largest = next(index for index, (number, _) in enumerate(parts) if number)
    return " ".join(f"{number} {unit}" for number, unit in parts[largest : largest + 2] if number)
