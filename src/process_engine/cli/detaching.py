"""`run --detach`: a process of its own, in a session of its own, that outlives the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from process_engine.cli import outcomes
from process_engine.cli.printing import print_document
from process_engine.cli.screen import Screen
from process_engine.cli.summary import command_line
from process_engine.cli.told_errors import ToldError, error_as_told
from process_engine.cli.tools import Tools
from process_engine.definition.document import ProcessDefinition
from process_engine.errors import ConfigurationInvalid, InternalError
from process_engine.ids import ExecutionId

# The whole of what goes on in the background; see `detached`.
_MODULE = "process_engine.cli.detached"
_PIECE_BYTES = 64 * 1024


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What the process in the background has to do: everything was checked before."""

    tools: Tools
    definition: str
    input: dict[str, object]
    execution_id: ExecutionId
    agents_file: str | None
    db: str
    grace: float
    started_by: str | None = None
    called: tuple[str, ...] = ()


class News(msgspec.Struct, frozen=True, omit_defaults=True):
    """What it tells once, over a pipe: that the execution is recorded, or why not."""

    recorded: bool = False
    error: ToldError | None = None


class _Begun(NamedTuple):
    pid: int
    log: Path


def detach_job(job: Job, file: Path, definition: ProcessDefinition, *, as_json: bool, screen: Screen) -> int:
    """Hand a job to a process in the background; returns once the execution is durably recorded.

    Raises:
        ProcessEngineError: it could not be begun; what was told there is told here.
    """
    begun = _begin(job, file)
    if as_json:
        print_document(
            {
                "id": job.execution_id,
                "process": definition.name,
                "version": definition.version,
                "pid": begun.pid,
                "log": str(begun.log),
            }
        )
        return outcomes.COMPLETED
    db = Path(job.db)
    screen.say(f"{job.execution_id} runs in the background: process {begun.pid}, log {begun.log}.")
    screen.say(f"Watch it:  {command_line('events', job.execution_id, '--follow', db=db)}", "dim")
    screen.say(f"End it:    {command_line('cancel', job.execution_id, db=db)}", "dim")
    return outcomes.COMPLETED


def _begin(job: Job, file: Path) -> _Begun:
    db = Path(job.db)
    log = db.with_name(f"{db.stem}-{job.execution_id}.log")
    descriptor = _open_log(log)
    news, told = os.pipe()
    # The words behind the module are for people who look at the list of processes.
    command = [sys.executable, "-P", "-m", _MODULE, str(told), "run", str(file), "--db", job.db]
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=descriptor,
            stderr=descriptor,
            pass_fds=(told,),
            start_new_session=True,
        )
    except OSError:
        os.close(news)
        log.unlink(missing_ok=True)
        raise
    finally:
        os.close(told)
        os.close(descriptor)
    heard = _heard(child, job, news, log)
    if heard is not None and heard.recorded:
        return _Begun(child.pid, log)
    code = child.wait()
    if heard is None or heard.error is None:
        raise InternalError(
            f"the process in the background ended with {code} before anything was recorded.",
            remedy=f"Its log tells why: {log}",
        )
    log.unlink(missing_ok=True)
    raise error_as_told(heard.error)


def _heard(child: subprocess.Popen[bytes], job: Job, news: int, log: Path) -> News | None:
    """What the process told, None where it ended without a word; Ctrl-C ends it as long as we wait."""
    told = bytearray()
    try:
        try:
            _hand_over(child, job)
            _listen(news, told)
        except KeyboardInterrupt:
            child.terminate()
            # It may have recorded the execution by now: then that stays, and is not to be a secret.
            _listen(news, told)
            child.wait()
            _tell_what_is_left(job, _news(told), log)
            raise
    finally:
        os.close(news)
    return _news(told)


def _tell_what_is_left(job: Job, heard: News | None, log: Path) -> None:
    if heard is None or not heard.recorded:
        log.unlink(missing_ok=True)
        return
    line = command_line("resume", job.execution_id, db=Path(job.db))
    click.echo(f"{job.execution_id} was recorded before, and stays open. Go on with: {line}", err=True)


def _open_log(log: Path) -> int:
    try:
        return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise ConfigurationInvalid(
            f"the log {log} cannot be written: {error.strerror}.",
            remedy="It is kept beside the store; `--db` names another place.",
        ) from error


def _hand_over(child: subprocess.Popen[bytes], job: Job) -> None:
    assert child.stdin is not None
    # Whoever ended without reading its job tells nothing either: that is noticed there.
    with suppress(BrokenPipeError), child.stdin as stream:
        stream.write(msgspec.json.encode(job))


def _listen(news: int, told: bytearray) -> None:
    """Add to `told` what comes, until there is no more."""
    while part := os.read(news, _PIECE_BYTES):
        told += part


def _news(told: bytearray) -> News | None:
    return msgspec.json.decode(told, type=News) if told else None
