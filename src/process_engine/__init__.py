"""A durable process engine for AI agents.

`process_engine.engine` holds the names for those who embed it; the most used ones are here too, loaded when
first asked for, so that importing this package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from process_engine.definition import load_definition as load_definition
    from process_engine.engine import ExecutionConfig as ExecutionConfig
    from process_engine.engine import ExecutionEngine as ExecutionEngine

__version__ = "0.1.0"

_HOMES = {
    "ExecutionConfig": "process_engine.engine",
    "ExecutionEngine": "process_engine.engine",
    "load_definition": "process_engine.definition",
}

__all__ = ["ExecutionConfig", "ExecutionEngine", "__version__", "load_definition"]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
