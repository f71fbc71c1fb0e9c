"""How an execution stands, for people."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import msgspec
from rich.text import Text

from process_engine.cli.screen import Screen, default_db_is
from process_engine.cli.story import WIDTH, clock_time, failure_text, names_text
from process_engine.cli.text import printable, shortened, span
from process_engine.config import AGENTS_FILE
from process_engine.core.blockers import Blocker, BlockerKind
from process_engine.core.state import StepStatus
from process_engine.runtime.view import ProcessExecution, StepExecution

# Lines of one output that a summary shows.
MOST_LINES = 20


def resume_line(db: Path, agents: Path | None = None) -> str:
    """The command that goes on with what is open in a store."""
    return command_line("resume", db=db, agents=agents)


def command_line(*words: str, db: Path, agents: Path | None = None) -> str:
    """A command as the user would type it here; options that make no difference are left out."""
    options: list[str] = []
    if not default_db_is(db):
        options += ["--db", str(db)]
    if agents is not None and agents != Path(AGENTS_FILE):
        options += ["--agents", str(agents)]
    return shlex.join(["process-engine", *words, *options])


def headline(execution: ProcessExecution, screen: Screen, now: datetime) -> Text:
    """One line: which execution, how it stands, how long it took."""
    begun, ended = execution.started_at, execution.completed_at
    took = f"  {span((ended or now) - begun)}" if begun is not None else ""
    return Text.assemble(
        screen.status(execution.status),
        f"  {execution.process_name} {execution.version}  ",
        (execution.id, "dim"),
        took,
    )


def tell_end(execution: ProcessExecution, screen: Screen, now: datetime) -> None:
    """Why it failed, what it waits for, or what it gave."""
    if execution.error is not None:
        step = f" in step {execution.error.step_id}" if execution.error.step_id else ""
        screen.say(f"Failed{step}: {failure_text(execution.error)}", style="red")
    for blocker in execution.blockers:
        screen.say(f"Waits: {blocker_text(blocker, now)}")
    if execution.outputs:
        tell_outputs(execution.outputs, screen)


def tell_outputs(outputs: Mapping[str, object], screen: Screen) -> None:
    """The outputs, one after the other; long ones are cut."""
    screen.say()
    screen.say("Outputs", style="bold")
    for name, value in outputs.items():
        lines = printable(readable(value)).splitlines() or [""]
        cut = lines[:MOST_LINES]
        if len(lines) == 1:
            screen.say(Text.assemble("  ", (f"{name}: ", "cyan"), cut[0]))
            continue
        screen.say(Text(f"  {name}:", style="cyan"))
        for line in cut:
            screen.say(f"    {line}")
        if len(lines) > MOST_LINES:
            screen.say(f"    … {len(lines) - MOST_LINES} more lines", style="dim")


def readable(value: object) -> str:
    """Text as it is, anything else as indented JSON."""
    if isinstance(value, str):
        return value
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def blocker_text(blocker: Blocker, now: datetime) -> str:
    """What an execution waits for, in a sentence."""
    due = moment(blocker.due, now)
    match blocker.kind:
        case BlockerKind.HELD:
            return "it is held and has not begun."
        case BlockerKind.PAUSE:
            return f"it is paused ({shortened(blocker.detail or 'operator', WIDTH)})."
        case BlockerKind.ATTEMPT:
            agent = f" by {blocker.detail}" if blocker.detail else ""
            return f"step {blocker.step_id} is being worked on{agent}."
        case BlockerKind.UNDO:
            agent = f" by {blocker.detail}" if blocker.detail else ""
            again = f"; it is tried again {due}" if blocker.due is not None else ""
            return f"step {blocker.step_id} is being undone{agent}{again}."
        case BlockerKind.APPROVAL:
            who = shortened(blocker.detail, WIDTH) if blocker.detail else names_text(())
            return f"step {blocker.step_id} waits for {who} to decide, {until(blocker.due, now)}."
        case BlockerKind.CHILD:
            end = until(blocker.due, now)
            return f"step {blocker.step_id} waits for its sub-process, execution {blocker.detail}, {end}."
        case BlockerKind.SLOT:
            return f"step {blocker.step_id} may run as soon as another one ends, or the execution is resumed."
        case BlockerKind.TIMER:
            return f"the timer of step {blocker.step_id} is due {due}."
        case BlockerKind.RETRY:
            return f"step {blocker.step_id} is tried again {due}."
        case BlockerKind.EVENT:
            end = f", {until(blocker.due, now)}" if blocker.due is not None else ""
            return f"step {blocker.step_id} waits for event {shortened(blocker.detail or '', WIDTH)}{end}."


def asking_steps(execution: ProcessExecution) -> list[StepExecution]:
    """The steps that wait for people, in definition order."""
    steps = execution.step_executions.values()
    return [
        step for step in steps if step.status is StepStatus.WAITING_APPROVAL and step.approval is not None
    ]


def decision_lines(execution: ProcessExecution, db: Path) -> list[str]:
    """A line for each open decision, with what to type; the step is named where there are several."""
    asking = asking_steps(execution)
    named = [[step.id] if len(asking) > 1 else [] for step in asking]
    lines = (command_line("approve", execution.id, *step, "--as", "USER", db=db) for step in named)
    return [f"Decide with: {line}  (or reject, or delegate)" for line in lines]


def event_lines(execution: ProcessExecution, db: Path) -> list[str]:
    """A line for each event that is waited for, with what to type."""
    names = dict.fromkeys(
        blocker.detail for blocker in execution.blockers if blocker.kind is BlockerKind.EVENT
    )
    lines = (command_line("publish-event", printable(name), db=db) for name in names if name is not None)
    return [f"Publish with: {line}" for line in lines]


def until(deadline: datetime | None, now: datetime) -> str:
    """Until when something must be done: as `moment` says it."""
    if deadline is None or deadline > now:
        return f"until {moment(deadline, now).removeprefix('at ')}"
    return f"which is too late since {clock_time(deadline)}"


def moment(due: datetime | None, now: datetime) -> str:
    """A moment to come, as people say it: the time of day, and how long until then."""
    if due is None:
        return "later"
    if due <= now:
        return f"now (since {clock_time(due)})"
    day = "" if due.astimezone().date() == now.astimezone().date() else f"{due.astimezone():%Y-%m-%d} "
    return f"at {day}{clock_time(due)}, in {span(due - now)}"
