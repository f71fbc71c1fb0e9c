"""Loading by name what only some commands need."""

from __future__ import annotations

from importlib import import_module


def load(place: str) -> object:
    """What `module:name` names; imports the module."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
