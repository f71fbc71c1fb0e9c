"""`demo`: the bundled example, run for real against small HTTP agents on this machine."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from process_engine.cli import demo_crash, inspecting, outcomes, running
from process_engine.cli.screen import Screen
from process_engine.cli.store import reading
from process_engine.cli.tools import Agents, Tools
from process_engine.errors import ConfigurationInvalid

PROCESS = "content-pipeline.yaml"
SCRIPT = "test-agents.json"
# As the user can type it, whatever `python` means in their shell.
AGENT_SERVER = f"{shlex.quote(sys.executable)} -m process_engine.testing.agent_server"
GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class Place:
    """The directory of a demo; `kept` says that it stays."""

    directory: Path
    kept: bool

    @property
    def process(self) -> Path:
        return self.directory / PROCESS

    @property
    def agents_file(self) -> Path:
        return self.directory / "agents.yaml"

    @property
    def db(self) -> Path:
        return self.directory / "process-engine.db"

    @property
    def log(self) -> Path:
        return self.directory / "agent-calls.jsonl"


def demo(tools: Tools, *, crash: bool, keep: Path | None, topic: str, no_color: bool) -> int:
    """Run the example; with `crash`, kill the engine in the middle and go on."""
    screen = Screen(no_color=no_color)
    behaviours: dict[str, dict[str, object]] = json.loads(_bundled(SCRIPT))
    with _place(keep) as place:
        _write(place.process, _bundled(PROCESS))
        _write(place.directory / SCRIPT, _bundled(SCRIPT))
        with tools.start_agents(behaviours, log=place.log) as agents:
            _write(place.agents_file, agents_yaml(behaviours, agents))
            screen.say(
                f"{len(behaviours)} agents take calls at {agents.url} and log them in {place.log}.", "dim"
            )
            screen.say()
            if crash:
                return demo_crash.demo_crash(place, agents, topic, screen)
            return _demo(tools, place, agents, topic, screen, no_color)


def agents_yaml(names: Mapping[str, object], agents: Agents) -> str:
    """An agents file for agents that are being served."""
    lines = [f"  {name}: {{kind: http, url: {json.dumps(agents.url_of(name))}}}" for name in names]
    return "\n".join(["agents:", *lines, ""])


def _demo(tools: Tools, place: Place, agents: Agents, topic: str, screen: Screen, no_color: bool) -> int:
    code = running.run(
        tools,
        file=place.process,
        fields=(),
        document=msgspec.json.encode({"topic": topic}).decode(),
        called=(),
        detach=False,
        as_user=None,
        agents=place.agents_file,
        db=place.db,
        no_wait=False,
        grace=GRACE_SECONDS,
        as_json=False,
        no_color=no_color,
    )
    if code not in (outcomes.COMPLETED, outcomes.FAILED):
        if not place.kept:
            screen.say(
                "But this demo ran in a temporary directory, which is gone now; `--keep DIR` keeps it."
            )
        return code
    execution = asyncio.run(_newest(place.db))
    screen.say()
    screen.say("What was recorded, in order", "bold")
    inspecting.tell_events(screen, place.db, execution)
    _tell_what_next(place, agents, execution, screen)
    return code


async def _newest(db: Path) -> str:
    async with reading(db) as repository:
        return (await repository.list(limit=1))[0].id


def _tell_what_next(place: Place, agents: Agents, execution: str, screen: Screen) -> None:
    tries = [("process-engine demo --crash", "the same, with a kill -9 in the middle")]
    if place.kept:
        port = agents.url.rpartition(":")[2]
        tries = [
            (f"cd {shlex.quote(str(place.directory))}", "everything is there"),
            (f"process-engine show {execution}", "how it went"),
            (f"process-engine output {execution} review", "what one step gave"),
            (f"{AGENT_SERVER} --port {port} --script {SCRIPT}", "starts the agents again"),
            (f"process-engine run {PROCESS} -i topic=rain", "in another terminal"),
            *tries,
        ]
    else:
        tries.append(("process-engine demo --keep demo", "keeps process, agents and store in ./demo"))
    screen.say()
    screen.say("What to try next", "bold")
    for command, why in tries:
        screen.say(f"  # {why}", "dim")
        screen.say(f"  {command}")


@contextmanager
def _place(keep: Path | None) -> Generator[Place]:
    if keep is None:
        with TemporaryDirectory(prefix="process-engine-demo-") as directory:
            yield Place(Path(directory), kept=False)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationInvalid(
            f"{keep} cannot be made: {error.strerror}.", remedy="Name a directory that you may write to."
        ) from error
    yield Place(keep, kept=True)


def _bundled(name: str) -> str:
    return (resources.files("process_engine.cli") / "examples" / name).read_text(encoding="utf-8")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationInvalid(
            f"{path} cannot be written: {error.strerror}.", remedy="Name a directory that you may write to."
        ) from error
