"""Every error that leaves the engine, as one tree.

::

    ProcessEngineError
    ├── DefinitionInvalid        the document has problems; nothing was stored
    ├── InputRejected            the input does not fit the process's schema; nothing was written
    ├── ExpressionError          an expression has no value here; its step fails with EXPRESSION_ERROR
    ├── ConfigurationInvalid     a settings file, an agent or an option cannot be used
    ├── CommandRejected          a command does not fit the execution's state; nothing was written
    ├── NotFound                 no such execution, definition or value
    ├── VersionExists            this version is published with other content; nothing was written
    ├── OutputTooLarge           a value over the limit; nothing was written
    ├── StorageError
    │   ├── StorageUnavailable   the store did not answer; `.nothing_written` says what is known
    │   ├── StorageIncompatible  the file is another program's, damaged, or of a newer version
    │   ├── StoreLocked          another process runs executions on this file
    │   └── OwnershipLost        the fence is stale: another node took over; nothing was written
    └── InternalError            an invariant is broken: a bug of the engine, never of the user

Every error has a stable `code` and ends with what to do, in `remedy` (one sentence or empty).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class ProcessEngineError(Exception):
    """The root of the tree: `code` for programs, `message` and `remedy` for people."""

    code = "ERROR"

    def __init__(self, message: str, *, remedy: str = "", code: str | None = None) -> None:
        super().__init__(f"{message} {remedy}".strip())
        self.message = message
        self.remedy = remedy
        if code is not None:
            self.code = code


class ProblemLike(Protocol):
    """What an error needs of a problem: `str()` gives one line with code, message and place."""

    @property
    def code(self) -> str: ...


class DefinitionInvalid(ProcessEngineError):
    """The document has at least one problem of level error; `problems` holds all of them."""

    code = "DEFINITION_INVALID"

    def __init__(self, problems: Sequence[ProblemLike]) -> None:
        self.problems = tuple(problems)
        listing = "\n".join(str(problem) for problem in self.problems)
        super().__init__(f"the definition has {len(self.problems)} problem(s):\n{listing}")


class InputRejected(ProcessEngineError):
    """The input breaks the process's schema; `faults` are (path, what is wrong) pairs, at least one."""

    code = "INPUT_REJECTED"

    def __init__(self, process: str, faults: Sequence[tuple[str, str]]) -> None:
        self.process = process
        self.faults = tuple(faults)
        listing = "; ".join(f"{path}: {fault}" for path, fault in self.faults)
        super().__init__(
            f"the input does not fit process {process}: {listing}.",
            remedy="Nothing was started: correct the input and start again.",
        )


class ExpressionError(ProcessEngineError):
    """An expression has no value in this scope.

    `expression` is its source, `path` what was read when it failed (empty if nothing was),
    `position` the 0-based offset of the fault inside `expression`.
    """

    code = "EXPRESSION_ERROR"

    def __init__(self, message: str, *, expression: str = "", path: str = "", position: int = 0) -> None:
        self.expression = expression
        self.path = path
        self.position = position
        place = f" (in `{expression}` at {position})" if expression else ""
        super().__init__(f"{message}{place}")


class ConfigurationInvalid(ProcessEngineError):
    """A settings file, an agent or an option cannot be used as given."""

    code = "CONFIGURATION_INVALID"


class CommandRejected(ProcessEngineError):
    """The command does not fit the execution's state. Nothing was written."""

    code = "COMMAND_REJECTED"


class NotFound(ProcessEngineError):
    """There is no such execution, definition or stored value."""

    code = "NOT_FOUND"


class VersionExists(ProcessEngineError):
    """The version of a process is published already, with other content. Nothing was written.

    `published` is the version as it was written when it was published: `1` and `1.0` are the same one.
    """

    code = "VERSION_EXISTS"

    def __init__(self, process: str, version: str, published: str) -> None:
        self.process = process
        self.version = version
        self.published = published
        also = f", as {published}," if published != version else ""
        super().__init__(
            f"version {version} of process {process} is published already{also} with other content.",
            remedy="Published versions never change: raise `version` in the process and publish that.",
        )


class OutputTooLarge(ProcessEngineError):
    """A value is larger than a step may record. Nothing was written."""

    code = "OUTPUT_TOO_LARGE"


class StorageError(ProcessEngineError):
    """The store could not do what was asked."""

    code = "STORAGE_ERROR"


class StorageUnavailable(StorageError):
    """The store did not answer.

    `nothing_written` is True (safe to submit again), False (all of it was written), or None
    (unknown: reload the state before submitting again).
    """

    code = "STORAGE_UNAVAILABLE"

    def __init__(self, message: str, *, nothing_written: bool | None, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.nothing_written = nothing_written


class StorageIncompatible(StorageError):
    """The file belongs to another program, is damaged, or was written by a newer version."""

    code = "STORAGE_INCOMPATIBLE"


class StoreLocked(StorageError):
    """Another process runs executions on this file; `holder` is its process id where known."""

    code = "STORE_LOCKED"

    def __init__(self, message: str, *, holder: int | None = None, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.holder = holder


class OwnershipLost(StorageError):
    """The fence is stale: another node owns the store by now. Nothing was written."""

    code = "OWNERSHIP_LOST"


class InternalError(ProcessEngineError):
    """An invariant is broken: a bug of the engine. The command is refused, other executions go on."""

    code = "INTERNAL_ERROR"
