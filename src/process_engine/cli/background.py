"""What the process behind `run --detach` does: it reads its job, tells once how it began, and runs on."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from process_engine.cli.agent_files import Settings, read_agents
from process_engine.cli.detaching import Job, News
from process_engine.cli.driving import Options, driving_by, finish
from process_engine.cli.reporting import report
from process_engine.cli.running import start_and_drive
from process_engine.cli.told_errors import told_error
from process_engine.definition.document import ProcessDefinition


def work_in_background(pipe: int) -> int:
    """Carry out the job and tell over `pipe` how it began; stdout and stderr are the log. The exit code."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    teller = _Teller(pipe)
    try:
        return _carry_out(job, teller)
    except Exception as error:
        teller.tell(News(error=told_error(error)))
        return report(error, as_json=False, no_color=True)


class _Teller:
    """Tells one piece of news to whoever waits for it."""

    def __init__(self, pipe: int) -> None:
        self._pipe: int | None = pipe

    def tell(self, news: News) -> None:
        """Only the first is told: then nobody listens any more."""
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            with open(pipe, "wb") as stream:
                stream.write(msgspec.json.encode(news))


def _carry_out(job: Job, teller: _Teller) -> int:
    print(f"process {os.getpid()} runs execution {job.execution_id} on {job.db}", flush=True)
    agents_file: Path | None = None
    settings: Settings = {}
    if job.agents_file is not None:
        agents_file, settings = read_agents(Path(job.agents_file), None)
    options = Options(
        agents=agents_file, db=Path(job.db), no_wait=False, grace=job.grace, as_json=False, no_color=True
    )
    driving = driving_by(job.tools, agents_file, settings, options)
    definition = ProcessDefinition.from_canonical(job.definition.encode())
    work = start_and_drive(
        driving,
        definition,
        job.input,
        job.execution_id,
        job.started_by,
        lambda: teller.tell(News(recorded=True)),
        called=[ProcessDefinition.from_canonical(other.encode()) for other in job.called],
    )
    return finish(work, driving)
