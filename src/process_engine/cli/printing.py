"""One JSON document on stdout."""

from __future__ import annotations

import re

import click
import msgspec

# Such characters stand only inside JSON's texts, where an escape means the same and steers no terminal.
_UNSEEN = re.compile(r"[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def print_document(document: object) -> None:
    """Print one JSON document on stdout; moments are RFC 3339 in UTC, numbers are exact."""
    text = msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
    # As bytes: JSON is UTF-8, whatever the terminal speaks.
    click.echo(_UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode())
