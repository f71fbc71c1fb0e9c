"""Versions of a process: how they compare, and how one is named."""

from __future__ import annotations

import re
from typing import NamedTuple

from process_engine.definition.parts import NAME_PATTERN, VERSION_PATTERN

VersionKey = tuple[int, int, int]
"""What versions compare by: `1`, `1.0` and `1.0.0` are the same one, and 1.10 comes after 1.9."""


class Named(NamedTuple):
    """A process by its name, of a stated version or of none."""

    name: str
    version: str | None


def version_key(version: str) -> VersionKey:
    """The key of a version; parts that are left out count as 0.

    Raises:
        ValueError: it is not written like `1`, `1.2` or `1.2.3`.
    """
    if re.fullmatch(VERSION_PATTERN, version) is None:
        raise ValueError(f"{version!r} is not a version")
    numbers = [int(part) for part in version.split(".")]
    first, second, third = (*numbers, 0, 0)[:3]
    return first, second, third


def named(text: str) -> Named | None:
    """What `NAME` or `NAME@VERSION` names; None where the text is neither."""
    name, at, version = text.partition("@")
    if re.fullmatch(NAME_PATTERN, name) is None:
        return None
    if not at:
        return Named(name, None)
    return Named(name, version) if re.fullmatch(VERSION_PATTERN, version) else None
