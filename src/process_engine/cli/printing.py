"""One JSON document on stdout."""

from __future__ import annotations

import click
import msgspec


def print_document(document: object) -> None:
    """Print one JSON document on stdout; moments are RFC 3339 in UTC, numbers are exact."""
    # As bytes: JSON is UTF-8, whatever the terminal speaks.
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2))
