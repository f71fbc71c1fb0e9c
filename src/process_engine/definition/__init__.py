"""What a process is: text in, checked value out. Pure: no input or output, no clock, no chance.

The names are loaded on first use: a reader of stored definitions needs neither YAML nor the checks.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from process_engine.definition.checking import check, load_definition
    from process_engine.definition.document import (
        AgentTask,
        ErrorPolicy,
        Gateway,
        OutputSpec,
        ProcessDefinition,
        RetryPolicy,
        Route,
        Step,
        Timer,
    )
    from process_engine.definition.durations import Duration, parse_duration
    from process_engine.definition.input_schema import accept_input
    from process_engine.definition.parsing import ParsedDocument, parse
    from process_engine.definition.problems import CATALOGUE, Problem

__all__ = [
    "CATALOGUE",
    "AgentTask",
    "Duration",
    "ErrorPolicy",
    "Gateway",
    "OutputSpec",
    "ParsedDocument",
    "Problem",
    "ProcessDefinition",
    "RetryPolicy",
    "Route",
    "Step",
    "Timer",
    "accept_input",
    "check",
    "load_definition",
    "parse",
    "parse_duration",
]

_HOMES = {
    "checking": ("check", "load_definition"),
    "document": (
        "AgentTask",
        "ErrorPolicy",
        "Gateway",
        "OutputSpec",
        "ProcessDefinition",
        "RetryPolicy",
        "Route",
        "Step",
        "Timer",
    ),
    "durations": ("Duration", "parse_duration"),
    "input_schema": ("accept_input",),
    "parsing": ("ParsedDocument", "parse"),
    "problems": ("CATALOGUE", "Problem"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value
