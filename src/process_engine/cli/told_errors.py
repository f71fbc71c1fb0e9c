"""Errors that another process met, told here as if they were our own."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from process_engine.errors import DefinitionInvalid, ProcessEngineError


class ToldError(msgspec.Struct, frozen=True):
    """What is left of an error on the way from one process to another."""

    code: str
    message: str
    remedy: str = ""


def told_error(error: Exception) -> ToldError:
    """What to tell of an error."""
    if isinstance(error, ProcessEngineError):
        return ToldError(error.code, error.message, error.remedy)
    remedy = "This is a fault of Process Engine; please report it."
    return ToldError("INTERNAL_ERROR", f"{type(error).__name__}: {error}", remedy)


def error_as_told(told: ToldError) -> ProcessEngineError:
    """An error of the class that its code belongs to; the facts of that class stayed where it was raised."""
    kind = next((kind for kind in _kinds(ProcessEngineError) if kind.code == told.code), ProcessEngineError)
    error = kind.__new__(kind)
    ProcessEngineError.__init__(error, told.message, remedy=told.remedy, code=told.code)
    return error


def _kinds(kind: type[ProcessEngineError]) -> Iterator[type[ProcessEngineError]]:
    for below in kind.__subclasses__():
        # Its problems cannot be told in one line: nobody sends it.
        if below is not DefinitionInvalid:
            yield below
        yield from _kinds(below)
