"""Notifications on the real engine and a real store, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from process_engine.app import ExecutionEngine
from process_engine.channels import ChannelSettings, EmailSettings, LogSettings, SlackSettings, connect
from process_engine.core.events import StepCompleted, StepFailed, StepRetrying
from process_engine.definition.document import ProcessDefinition
from process_engine.errors import ConfigurationInvalid
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.engine import Engine
from process_engine.runtime.feed import InMemoryEventBus
from process_engine.runtime.view import ProcessExecution
from process_engine.testing.clock import VirtualClock
from process_engine.testing.mail_server import MailServer
from tests.integration.terminal import engine_process, finish, wait_until
from tests.unit.channels.support import web_server
from tests.unit.cli.support import Terminal
from tests.unit.runtime.fakes import ScriptedAgents

ANN, BOB, CID = "ann@example.org", "bob@example.org", "cid@example.org"
FILES: Mapping[str, str] = {}


def process(**keys: object) -> ProcessDefinition:
    step = {"id": "tell", "type": "notification", "message": "High water.", "subject": "Tide"} | keys
    return ProcessDefinition.model_validate({"name": "tides", "steps": [step]})


def mail(server: MailServer) -> EmailSettings:
    given = {"host": "127.0.0.1", "port": server.port, "tls": "none", "from": "engine@example.org"}
    return EmailSettings.model_validate(given)


def slack(url: str) -> SlackSettings:
    return SlackSettings.model_validate({"url": url})


@asynccontextmanager
async def engine_on(
    db: Path, settings: Mapping[str, ChannelSettings] | None = None, bus: InMemoryEventBus | None = None
) -> AsyncIterator[Engine]:
    channels = connect(settings or {})
    engine = ExecutionEngine(
        SqliteRepository(db), ScriptedAgents(), channels=channels, clock=VirtualClock(), event_bus=bus
    )
    async with engine:
        yield engine


async def run(engine: Engine, definition: ProcessDefinition) -> ProcessExecution:
    execution = await engine.start(definition, {})
    return await engine.run_until_settled(execution.id)


async def test_every_channel_is_told_and_the_step_says_so(tmp_path: Path):
    async with MailServer() as server, web_server() as room, web_server() as hook:
        settings = {
            "slack": slack(room.url),
            "email": mail(server),
            "log": LogSettings(file=tmp_path / "log"),
        }
        async with engine_on(tmp_path / "db", settings) as engine:
            execution = await run(
                engine,
                process(channels=["slack", "email", "webhook", "log"], recipients=ANN, url=f"{hook.url}/in"),
            )

    assert execution.status == "completed", execution.error
    deliveries = execution.step_executions["tell"].output["deliveries"]
    assert [(one["channel"], one["status"]) for one in deliveries] == [
        ("slack", "sent"),
        ("email", "sent"),
        ("webhook", "sent"),
        ("log", "sent"),
    ]
    assert json.loads(room.posted[0].body)["text"] == "Tide\nHigh water."
    assert server.mails[0].recipients == (ANN,)
    assert hook.posted[0].headers["webhook-id"] == f"{execution.id}/tell/1"
    assert json.loads((tmp_path / "log").read_text())["key"] == f"{execution.id}/tell/1"


async def test_a_retry_does_not_tell_those_again_who_took_it(tmp_path: Path):
    async with MailServer(answers={"END": "452 disk full"}) as server, web_server() as room:
        settings = {"slack": slack(room.url), "email": mail(server)}
        bus = InMemoryEventBus()
        seen: list[object] = []

        def note(event: object) -> None:
            seen.append(event)
            if isinstance(event, StepRetrying):
                server.answers.clear()

        bus.subscribe(note)
        async with engine_on(tmp_path / "db", settings, bus) as engine:
            execution = await run(
                engine, process(channels=["slack", "email"], recipients=ANN, retry={"max_attempts": 3})
            )

    assert execution.status == "completed"
    assert (len(room.posted), len(server.mails)) == (1, 1)
    [retrying] = [event for event in seen if isinstance(event, StepRetrying)]
    assert retrying.failure.code == "CHANNEL_UNAVAILABLE"
    assert retrying.progress == {"deliveries": [{"channel": "slack", "status": "sent", "http_status": 200}]}
    [completed] = [event for event in seen if isinstance(event, StepCompleted)]
    assert [one["status"] for one in completed.output.data["deliveries"]] == ["sent", "sent"]


async def test_one_of_three_recipients_is_refused_and_a_retry_by_hand_goes_to_the_rest(tmp_path: Path):
    bus, seen = InMemoryEventBus(), list[object]()
    bus.subscribe(seen.append)
    async with MailServer(refuse={BOB: "550 no such user"}) as server:
        async with engine_on(tmp_path / "db", {"email": mail(server)}, bus) as engine:
            execution = await run(engine, process(channel="email", recipients=[ANN, BOB, CID]))

            assert execution.status == "failed"
            assert execution.error is not None
            assert execution.error.code == "DELIVERY_FAILED"
            assert f"{BOB} was refused with 550: no such user; delivered to 2 of 3" in execution.error.message
            [failed] = [event for event in seen if isinstance(event, StepFailed)]
            assert failed.progress == {
                "deliveries": [{"channel": "email", "status": "partial", "recipients": [ANN, CID]}]
            }

        # Another engine on the same store: what was told is in the record, not in memory.
        server.refuse.clear()
        async with engine_on(tmp_path / "db", {"email": mail(server)}) as engine:
            await engine.retry(execution.id)
            again = await engine.run_until_settled(execution.id)

    assert again.status == "completed"
    assert [taken.recipients for taken in server.mails] == [(ANN, CID), (BOB,)]
    assert len({taken.message["Message-ID"] for taken in server.mails}) == 1
    assert again.step_executions["tell"].output["deliveries"][0]["recipients"] == [ANN, BOB, CID]


async def test_a_server_that_asks_to_wait_is_waited_for(tmp_path: Path):
    async with web_server() as room:
        answers = iter([429, 429, 200])

        async def answer(request: web.Request) -> web.StreamResponse:
            return web.Response(status=next(answers), headers={"Retry-After": "900"})

        room.answer = answer
        async with engine_on(tmp_path / "db", {"slack": slack(room.url)}) as engine:
            execution = await run(engine, process(channel="slack", retry={"max_attempts": 3}))

    assert execution.status == "completed"
    assert execution.step_executions["tell"].retry_count == 2
    assert execution.completed_at is not None
    assert execution.started_at is not None
    assert (execution.completed_at - execution.started_at).total_seconds() >= 1800


async def test_on_error_lets_a_process_go_on_that_could_not_tell(tmp_path: Path):
    async with web_server() as room:
        room.answers(404, "no_team")
        async with engine_on(tmp_path / "db", {"slack": slack(room.url)}) as engine:
            execution = await run(engine, process(channel="slack", on_error="skip_step"))

    assert execution.status == "completed"
    assert execution.step_executions["tell"].status == "skipped"


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"channel": "slack"}, "slack (step tell): it is not configured"),
        ({"channel": "email", "recipients": ANN}, "email (step tell): it is not configured"),
        ({"channel": "pager"}, "pager (step tell): it is not configured"),
        ({"channel": "webhook"}, "webhook (step tell): a webhook needs a `url`"),
    ],
)
async def test_what_cannot_be_sent_is_refused_before_the_start(
    tmp_path: Path, keys: dict[str, object], told: str
):
    async with engine_on(tmp_path / "db") as engine:
        with pytest.raises(ConfigurationInvalid) as caught:
            await engine.start(process(**keys), {})
        assert told in str(caught.value)
        assert await engine.list() == []


# ---------------------------------------------------------------- on the command line

PROCESS = """\
name: tides
steps:
  - id: tell
    type: notification
    channels: [log, room]
    subject: Tide
    message: "{{ input.text }}"
    retry: {max_attempts: 20, initial_delay: 200ms, backoff: fixed, jitter: false}
"""


async def test_a_kill_between_two_attempts_tells_nobody_twice(place: Path):
    (place / "p.yaml").write_text(PROCESS)
    async with web_server() as room:
        room.answers(503)
        (place / "agents.yaml").write_text(
            f"channels: {{log: {{file: told.jsonl}}, room: {{kind: slack, url: '{room.url}'}}}}"
        )
        with engine_process("run", "p.yaml", "-i", "text=High", "--db", "t.db", cwd=place) as process_:
            await reached(lambda: len(room.posted) >= 2)
            process_.kill()
        room.answer = room.fine
        with engine_process("resume", "--db", "t.db", "--json", cwd=place) as process_:
            code, out, _ = await finished(process_)

    assert code == 0
    [execution] = json.loads(out)
    assert execution["status"] == "completed"
    assert len((place / "told.jsonl").read_text().splitlines()) == 1


async def reached(holds: object) -> None:
    """Wait in a thread, so that the servers of the test go on."""
    await asyncio.to_thread(wait_until, holds, "the room was asked")  # type: ignore[arg-type]


async def finished(process_: object) -> tuple[int, str, str]:
    return await asyncio.to_thread(finish, process_)  # type: ignore[arg-type]


def test_the_settings_of_channels_are_read_beside_the_agents(terminal: Terminal, place: Path):
    (place / "p.yaml").write_text(PROCESS)
    (place / "agents.yaml").write_text("agents: {}\nchannels: {room: {kind: log, file: room.jsonl}}")

    done = terminal("run", "p.yaml", "-i", "text=High")

    assert done.code == 0
    assert json.loads((place / "room.jsonl").read_text())["message"] == "High"


def test_a_channel_that_is_not_there_is_told_with_its_place(terminal: Terminal, place: Path):
    (place / "p.yaml").write_text(PROCESS)
    (place / "agents.yaml").write_text("channels: {rooms: {kind: log}}")

    refused = terminal("run", "p.yaml", "-i", "text=High")
    checked = terminal("validate", "p.yaml")

    assert refused.code == checked.code == 2
    assert "p.yaml:5:21: error P622: There is no channel `room`." in refused.err
    assert "P622" in checked.out
    assert not list(place.glob("*.db"))


def test_doctor_names_the_channels(terminal: Terminal, place: Path):
    (place / "agents.yaml").write_text("agents: {}\nchannels: {room: {kind: log}}")

    assert "channels: room" in terminal("doctor").out
