"""Agents that are programs of this machine: one process per call, the message in, the answer out."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, NoReturn, cast

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo
from pydantic_core import PydanticCustomError

from process_engine.agents.answers import read_answer
from process_engine.agents.processes import Child, TooMuchOutput
from process_engine.agents.redaction import Redaction
from process_engine.agents.requests import encoded, message_text
from process_engine.agents.settings import BoundedSettings
from process_engine.runtime.ports import AgentCallFailed, AgentReply, AgentRequest

# What a program inherits: where things are, who and where we are. All else, and every secret, by `env`.
INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
# Processes of one agent at once unless it says otherwise: programs need memory and processors.
DEFAULT_PROCESSES = 16
# What may pass: no process, no memory, no descriptor to be had at the moment, the program being replaced.
_PASSING = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY})

_RESERVED = "PROCESS_ENGINE_"


def _checked_variable(name: str) -> str:
    if not name.isascii() or not name.isidentifier():
        raise ValueError("this is not the name of a variable")
    if name.startswith(_RESERVED) or name in ("TRACEPARENT", "TRACESTATE"):
        raise ValueError("the engine sets this variable itself; leave it out")
    return name


def _checked_value(value: SecretStr) -> SecretStr:
    if "\0" in value.get_secret_value():
        raise ValueError("must not hold a NUL character")
    return value


def _existing_folder(path: Path | None, info: ValidationInfo) -> Path | None:
    context = cast("dict[str, object]", info.context or {})
    beside = context.get("directory")
    folder = beside / (path or ".") if isinstance(beside, Path) else path
    if folder is not None and not folder.is_dir():
        raise PydanticCustomError("sentence", "there is no such folder")
    return folder


def _startable(argv: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    if any("\0" in word for word in argv):
        raise ValueError("must not hold a NUL character")
    # Where one of these has a fault of its own, that one is told.
    if "cwd" in info.data and "env" in info.data:
        find_program(argv[0], info.data["cwd"], info.data["env"])
    return argv


def find_program(name: str, folder: Path | None, environment: Mapping[str, SecretStr]) -> str:
    """The path of a program: a name is looked up in PATH, a path begins in `folder`.

    Raises:
        PydanticCustomError: there is none; the text holds no value.
    """
    if os.sep in name:
        path = os.path.join(folder or Path.cwd(), name)
        if not os.path.isfile(path):
            raise PydanticCustomError("sentence", "its first word is a path at which there is no file")
        if not os.access(path, os.X_OK):
            raise PydanticCustomError("sentence", "its first word is a file that is not executable")
        return path
    own_path = environment.get("PATH")
    found = shutil.which(name, path=own_path.get_secret_value() if own_path else None)
    if found is None:
        raise PydanticCustomError("sentence", "its first word is no program that can be found in PATH")
    return os.path.abspath(found)


EnvironmentName = Annotated[str, AfterValidator(_checked_variable)]
EnvironmentValue = Annotated[SecretStr, AfterValidator(_checked_value)]
ExitCode = Annotated[int, Field(ge=1, le=255)]


class CommandSettings(BoundedSettings, frozen=True):
    """An agent that is a program, started anew for each call."""

    kind: Literal["command"] = Field(default="command", description="A program, one process per call.")
    cwd: Annotated[Path | None, AfterValidator(_existing_folder)] = Field(
        default=None,
        validate_default=True,
        description="The folder the program runs in, from that of the agents file, which is the default.",
    )
    env: Mapping[EnvironmentName, EnvironmentValue] = Field(
        default_factory=dict[EnvironmentName, EnvironmentValue],
        description="Environment variables to set, beside a few that are inherited.",
    )
    argv: Annotated[tuple[str, ...], AfterValidator(_startable)] = Field(
        min_length=1, description="The program and its arguments as a list; no shell reads them."
    )
    input: Literal["message", "request"] = Field(
        default="message",
        description="What the program reads: the message alone, or the whole request as JSON.",
    )
    transient_exit_codes: frozenset[ExitCode] = Field(
        default_factory=frozenset[ExitCode],
        description="Exit codes that mean: not now. The step's retry policy may try again.",
    )
    max_concurrent: int | None = Field(
        default=DEFAULT_PROCESSES, ge=1, le=256, description="Processes at once; further calls wait in order."
    )

    def connect(self) -> CommandAgent:
        return CommandAgent(self)


class CommandAgent:
    """Starts a program per call. It is ended with everything in its process group when the call ends."""

    def __init__(self, settings: CommandSettings) -> None:
        self._program = find_program(settings.argv[0], settings.cwd, settings.env)
        self._arguments = settings.argv[1:]
        self._folder = settings.cwd
        self._whole = settings.input == "request"
        self._timeout = settings.timeout_seconds
        self._max_output = int(settings.max_response)
        self._transient = settings.transient_exit_codes
        self._environment = {name: value.get_secret_value() for name, value in settings.env.items()}
        self._redaction = Redaction(self._environment.values())

    async def call(self, request: AgentRequest) -> AgentReply:
        """Run the program once; as `AgentGateway.call`."""
        child = self._start(request)
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                code = await child.finished()
        except TimeoutError:
            self._fail("AGENT_TIMEOUT", f"did not end within {self._timeout:g} s", transient=True)
        except TooMuchOutput:
            self._fail("OUTPUT_TOO_LARGE", f"wrote more than {self._max_output:,} bytes")
        finally:
            await child.end()
        if code:
            self._reject(code, child)
        # Programs end their last line; that end is no part of an answer.
        return read_answer(child.output.rstrip(b"\r\n"), json=False)

    async def aclose(self) -> None:
        pass

    def _start(self, request: AgentRequest) -> Child:
        given = encoded(request) if self._whole else message_text(request).encode()
        try:
            return Child(
                [self._program, *self._arguments],
                given=given,
                max_output=self._max_output,
                environment=self._variables(request),
                folder=self._folder,
            )
        except ValueError:
            self._fail("AGENT_ERROR", "cannot be told the model or the system text: it holds a NUL character")
        except OSError as error:
            reason = f"cannot be started: {error.strerror or type(error).__name__}"
            if error.errno in _PASSING:
                self._fail("AGENT_UNAVAILABLE", reason, transient=True)
            self._fail("AGENT_ERROR", reason)

    def _variables(self, request: AgentRequest) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        return inherited | self._environment | _identity(request)

    def _reject(self, code: int, child: Child) -> NoReturn:
        said = self._redaction.end((child.errors.strip() or child.output).decode("utf-8", "replace"))
        what = f"ended with exit code {code}" + (f": {said}" if said else "")
        if code in self._transient:
            self._fail("AGENT_UNAVAILABLE", what, transient=True)
        self._fail("AGENT_ERROR", what)

    def _fail(self, code: str, what: str, *, transient: bool = False) -> NoReturn:
        name = os.path.basename(self._program)
        raise AgentCallFailed(code, f"{name} {what}", transient=transient) from None


def _identity(request: AgentRequest) -> dict[str, str]:
    """What a program may want to know of its call, as environment variables."""
    context = request.context
    told = {
        "IDEMPOTENCY_KEY": request.idempotency_key,
        "EXECUTION_ID": context.execution_id,
        "PROCESS": context.process,
        "STEP_ID": context.step_id,
        "VISIT": str(context.visit),
        "ATTEMPT": str(context.attempt),
        "MODEL": request.model,
        "TEMPERATURE": None if request.temperature is None else str(request.temperature),
        "SYSTEM": request.system,
    }
    named = {f"{_RESERVED}{name}": value for name, value in told.items() if value is not None}
    return named | {"TRACEPARENT": request.traceparent}
