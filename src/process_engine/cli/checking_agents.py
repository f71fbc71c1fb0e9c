"""`agents check`: whether each configured agent is there, before a process needs it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from rich.text import Text

from process_engine.agents import connect
from process_engine.agents.gateway import ConfiguredAgents
from process_engine.agents.settings import AgentSettings
from process_engine.cli import outcomes
from process_engine.cli.agent_files import look_through_agents
from process_engine.cli.printing import print_document
from process_engine.cli.screen import Screen, table
from process_engine.cli.story import as_text
from process_engine.cli.text import printable, shortened, span
from process_engine.cli.tools import Tools
from process_engine.clock import SystemClock
from process_engine.config import AGENTS_FILE, AgentsReading, PlacedFault
from process_engine.errors import ConfigurationInvalid
from process_engine.ids import ExecutionId, StepId, new_execution_id
from process_engine.runtime.ports import AgentCallFailed, AgentContext, AgentRequest

# A server that has not accepted a connection by then is down for practical purposes.
CONNECT_SECONDS = 3.0
# How long an agent may think about the question.
CALL_SECONDS = 60.0
QUESTION = "This is a test of the connection. Answer with one word: ready."
# The settings in which kinds keep the address of their server.
_ADDRESSES = ("url", "base_url")
_PORTS = {"http": 80, "https": 443}


class Finding(NamedTuple):
    """What came of one agent; a fault of the file itself has the name of that, and no kind."""

    name: str
    kind: str
    ok: bool
    message: str
    remedy: str = ""


def check(tools: Tools, *, agents: Path | None, call: bool, as_json: bool, no_color: bool) -> int:
    """Look for each agent of the file; 1 if one cannot be used or reached."""
    reading = look_through_agents(agents)
    if reading is None:
        raise ConfigurationInvalid(
            f"there is no {AGENTS_FILE} here.", remedy="Write one, or name another with `--agents FILE`."
        )
    findings = [*_of_the_file(reading), *asyncio.run(_of_agents(reading, call))]
    if as_json:
        print_document([finding._asdict() for finding in findings])
    else:
        _tell(findings, reading.path, Screen(no_color=no_color))
    return outcomes.COMPLETED if all(finding.ok for finding in findings) else outcomes.FAILED


def _tell(findings: Sequence[Finding], path: Path, screen: Screen) -> None:
    if not findings:
        screen.say(f"{path} names no agents.")
        return
    made = table("agent", "kind", "", "")
    for finding in findings:
        verdict = Text("ok", "green") if finding.ok else Text("fail", "bold red")
        # Names, kinds and what agents say come from outside: they must not steer the terminal.
        name, kind, message = map(printable, (finding.name, finding.kind, finding.message))
        made.add_row(Text(name), Text(kind), verdict, Text(message))
    screen.print(made)
    for finding in findings:
        if finding.remedy:
            screen.say(f"{finding.name}: {finding.remedy}")


def _of_the_file(reading: AgentsReading[AgentSettings]) -> Sequence[Finding]:
    """What is wrong with the file beside its agents."""
    name = str(reading.path)
    return [_of_fault(fault, name, "", reading.path) for fault in reading.faults if fault.agent is None]


def _of_fault(fault: PlacedFault, name: str, kind: str, path: Path) -> Finding:
    remedy = fault.remedy or f"Correct it in {path}."
    return Finding(name, kind, False, f"{fault.where} {fault.message}", remedy)


async def _of_agents(reading: AgentsReading[AgentSettings], call: bool) -> Sequence[Finding]:
    """What came of each agent, in the order of the file; all are looked for at once."""
    found = await asyncio.gather(*(_of_agent(reading, name, call) for name in reading.named))
    return [finding for findings in found for finding in findings]


async def _of_agent(reading: AgentsReading[AgentSettings], name: str, call: bool) -> Sequence[Finding]:
    """One finding, or one for each fault of its settings: those of one agent say nothing about others."""
    kind = reading.named[name]
    faults = [fault for fault in reading.faults if fault.agent == name]
    if faults:
        return [_of_fault(fault, name, kind, reading.path) for fault in faults]
    settings = reading.agents[name]
    try:
        gateway = connect({name: settings})
    except ConfigurationInvalid as error:
        return [Finding(name, kind, False, error.message, error.remedy)]
    try:
        return [await _find(gateway, name, settings, call)]
    finally:
        await gateway.aclose()


async def _find(gateway: ConfiguredAgents, name: str, settings: AgentSettings, call: bool) -> Finding:
    address = next((found for key in _ADDRESSES if (found := getattr(settings, key, None))), None)
    fault, told = None, _presence(settings)
    if address is not None:
        fault, told = await _connected(str(address))
    if fault is None and call:
        fault, told = await _called(gateway, name)
    if fault is None:
        return Finding(name, settings.kind, True, told)
    remedy = "Start it, or correct its settings." if not call else "See what it logged, and its settings."
    return Finding(name, settings.kind, False, fault, remedy)


def _presence(settings: AgentSettings) -> str:
    """What reading the settings has shown already."""
    match settings.kind:
        case "python":
            return f"{getattr(settings, 'target', '')} can be imported"
        case "command":
            argv = cast("Sequence[str]", getattr(settings, "argv", ("",)))
            return f"{argv[0]} is there"
        case "echo":
            return "answers what it is asked"
        case _:
            return "its settings are sound; only --call tells more"


async def _connected(address: str) -> tuple[str | None, str]:
    """A fault or none, and what there is to say, once somebody accepts connections there or does not."""
    parts = urlsplit(address)
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    place = f"{host}:{port}"
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return f"{place} did not accept a connection within {CONNECT_SECONDS:g} s", ""
    except OSError as error:
        return f"{place} accepts no connections: {_explained(error)}", ""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return None, f"{place} accepts connections"


def _explained(error: OSError) -> str:
    """The system's words; those of asyncio name the place again."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)


async def _called(gateway: ConfiguredAgents, name: str) -> tuple[str | None, str]:
    clock = SystemClock()
    begun = clock.now()
    try:
        async with asyncio.timeout(CALL_SECONDS):
            reply = await gateway.call(_question(name, new_execution_id()))
    except AgentCallFailed as error:
        return str(error), ""
    except TimeoutError:
        return f"gave no answer within {CALL_SECONDS:g} s", ""
    took = span(max(clock.now() - begun, timedelta()))
    cost = f", cost {reply.usage.cost}" if reply.usage.cost else ""
    return None, f"answered in {took}{cost}: {shortened(as_text(reply.output), 60)}"


def _question(agent: str, number: ExecutionId) -> AgentRequest:
    """A call that belongs to no execution: its id names nothing in any store."""
    context = AgentContext(
        execution_id=number,
        process="agents-check",
        version="1",
        step_id=StepId("check"),
        visit=1,
        attempt=1,
        correlation_id=number,
    )
    return AgentRequest(
        agent=agent,
        message=QUESTION,
        context=context,
        idempotency_key=f"check-{number}",
    )
