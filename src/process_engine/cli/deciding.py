"""`approve`, `reject` and `delegate`: what somebody decides, recorded by whoever runs the execution."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack, cast

import click

from process_engine.cli import documents, outcomes
from process_engine.cli.holder import holder_of
from process_engine.cli.inputs import read_object
from process_engine.cli.obeying import Order, Own, carried_out
from process_engine.cli.people import read_people
from process_engine.cli.printing import print_document
from process_engine.cli.screen import Screen
from process_engine.cli.store import load, reading, resolve
from process_engine.cli.summary import asking_steps, command_line, decision_lines, headline
from process_engine.cli.tools import Tools
from process_engine.clock import SystemClock
from process_engine.core.approvals import Ruling
from process_engine.core.commands import AnyCommand, DecideApproval, DelegateApproval
from process_engine.core.decide import transition
from process_engine.core.evolve import restore
from process_engine.core.state import ExecutionStatus
from process_engine.core.transition import Needs
from process_engine.core.values import INLINE_LIMIT_BYTES, Value, pack
from process_engine.core.work import WorkKind
from process_engine.definition.problems import did_you_mean
from process_engine.errors import CommandRejected, NotFound
from process_engine.ids import StepId
from process_engine.runtime.outputs import OutputStorage
from process_engine.runtime.plans import Plans
from process_engine.runtime.view import APPROVAL, ProcessExecution

# Why an execution is paused whose next steps are for a process that runs it.
DECIDED = "decided while no process ran it"


class Options(TypedDict):
    """What every command has that says something as somebody."""

    execution: str
    step: str | None
    as_user: str | None
    comment: str | None
    people_file: Path | None
    db: Path
    as_json: bool
    no_color: bool


@dataclass(frozen=True)
class _Who:
    """Who speaks: a user, and the groups they are in."""

    user: str
    groups: tuple[str, ...]


_Act = Callable[[ProcessExecution, StepId], AnyCommand]


def approve(tools: Tools, *, form: str | None, sha256: str | None, **options: Unpack[Options]) -> int:
    """Approve what a step asks."""
    return _decide(tools, Ruling.APPROVED, form, sha256, options)


def reject(tools: Tools, *, form: str | None, sha256: str | None, **options: Unpack[Options]) -> int:
    """Reject what a step asks."""
    return _decide(tools, Ruling.REJECTED, form, sha256, options)


def delegate(tools: Tools, *, to: str, **options: Unpack[Options]) -> int:
    """Hand a decision on to another user, or to a group."""
    who = _who(options, to)

    def act(found: ProcessExecution, step: StepId) -> AnyCommand:
        return DelegateApproval(
            execution_id=found.id,
            step_id=step,
            by=who.user,
            to=to,
            groups=who.groups,
            comment=options["comment"],
        )

    return _carry_out(tools, options, act, f"{who.user} handed it on to {to}.")


def _decide(tools: Tools, ruling: Ruling, form: str | None, sha256: str | None, options: Options) -> int:
    who = _who(options)
    filled_in = _form(form)

    def act(found: ProcessExecution, step: StepId) -> AnyCommand:
        return DecideApproval(
            execution_id=found.id,
            step_id=step,
            by=who.user,
            ruling=ruling,
            groups=who.groups,
            comment=options["comment"],
            form=filled_in,
            sha256=_whole_hash(found, step, sha256),
        )

    return _carry_out(tools, options, act, f"{who.user} {ruling} it.")


def _who(options: Options, to: str | None = None) -> _Who:
    """The user of `--as`, as the people file knows them; `to` must be known there as well."""
    user = options["as_user"]
    if user is None or not user.strip():
        raise click.UsageError("It must be said who decides: give --as USER.", click.get_current_context())
    people = read_people(options["people_file"])
    groups = people.groups_of(user)
    if to is not None:
        people.require(to)
    return _Who(user, groups)


def _form(given: str | None) -> Value | None:
    if given is None:
        return None
    faults: list[tuple[str, str]] = []
    value, blobs = pack(read_object(given, "form", faults))
    if blobs:
        faults.append(("--form", f"is over the limit of {INLINE_LIMIT_BYTES:,} bytes of JSON"))
    if faults:
        told = "; ".join(f"{place} {fault}" for place, fault in faults)
        raise CommandRejected(f"{told}. Nothing was decided.", remedy="Give it as a JSON object, or @FILE.")
    return value


def _whole_hash(found: ProcessExecution, step: StepId, given: str | None) -> str | None:
    """The hash that `given` begins: 8 characters say which one is meant."""
    request = found.step_executions[step].approval
    if given is None or request is None:
        return given
    begin = given.strip().lower()
    return request.sha256 if len(begin) >= 8 and request.sha256.startswith(begin) else begin


# ---------------------------------------------------------------- carrying it out


def _carry_out(tools: Tools, options: Options, act: _Act, told: str) -> int:
    found, step = asyncio.run(_acted(tools, options, act))
    if options["as_json"]:
        print_document(documents.execution_document(found))
    else:
        _tell(found, step, told, Screen(no_color=options["no_color"]), options["db"])
    return outcomes.COMPLETED


async def _acted(tools: Tools, options: Options, act: _Act) -> tuple[ProcessExecution, StepId]:
    db = options["db"]
    async with reading(db) as reader:
        found = await load(reader, await resolve(reader, options["execution"]))
        step = _step_of(found, options["step"])
        command = act(found, step)
        order = Order(here=lambda own: _here(own, command), there=command)
        return await carried_out(tools, db, reader, order, found.id), step


def _step_of(found: ProcessExecution, named: str | None) -> StepId:
    """The step that is meant; it may be left unsaid where only one asks."""
    if named is not None:
        if named not in found.step_executions:
            raise NotFound(
                f"process {found.process_name} has no step {named}.",
                remedy=did_you_mean(named, found.step_executions, kind="steps"),
            )
        return StepId(named)
    asking = asking_steps(found)
    if len(asking) == 1:
        return asking[0].id
    if not asking:
        raise CommandRejected(
            f"execution {found.id} waits for no decision: it is {found.status}.",
            remedy="`process-engine approvals` lists what is open.",
        )
    names = ", ".join(step.id for step in asking)
    raise CommandRejected(
        f"several steps of execution {found.id} wait for a decision: {names}.",
        remedy="Name the one you mean behind the ID.",
    )


async def _here(own: Own, command: AnyCommand) -> ProcessExecution:
    """Record it; what it makes ready is left for a process that runs the execution, with its agents."""
    if await _starts_something(own, command):
        assert isinstance(command, DecideApproval)
        await own.engine.pause(command.execution_id, reason=DECIDED, by=command.by)
    return await _submitted(own, command)


def _submitted(own: Own, command: AnyCommand) -> Awaitable[ProcessExecution]:
    if isinstance(command, DelegateApproval):
        return own.engine.delegate_approval(
            command.execution_id,
            command.step_id,
            by=command.by,
            to=command.to,
            groups=command.groups,
            comment=command.comment,
        )
    assert isinstance(command, DecideApproval)
    form = command.form.data if command.form is not None else None
    return own.engine.decide_approval(
        command.execution_id,
        command.step_id,
        approve=command.ruling is Ruling.APPROVED,
        by=command.by,
        groups=command.groups,
        comment=command.comment,
        form=cast("dict[str, object] | None", form),
        sha256=command.sha256,
    )


async def _starts_something(own: Own, command: AnyCommand) -> bool:
    """Whether an attempt would begin at once, for which nobody is here.

    Raises:
        CommandRejected: the command is refused; nothing was written.
    """
    snapshot = await own.repository.load(command.execution_id)
    assert snapshot is not None
    plan = await Plans(own.repository).load(snapshot.created.definition_hash)
    outputs, blobs = OutputStorage(own.repository), dict[str, bytes]()
    execution, now = restore(plan, snapshot), SystemClock().now()
    answer = transition(plan, execution, command, now)
    while isinstance(answer, Needs):
        for ref in answer.refs:
            blobs[ref.sha256] = await outputs.text(ref)
        answer = transition(plan, execution, command, now, blobs)
    # What has to be undone is left to a process that runs the execution in any case.
    return any(item.kind is WorkKind.ATTEMPT and not item.undoes for item in answer.work)


# ---------------------------------------------------------------- what is seen


def _tell(found: ProcessExecution, step: StepId, told: str, screen: Screen, db: Path) -> None:
    screen.say(headline(found, screen, SystemClock().now()))
    state = found.step_executions[step]
    more = " More have to decide." if state.approval is not None and state.approval.decisions else ""
    screen.say(f"{step}: {told}{more}")
    if found.status.is_final:
        return
    for line in decision_lines(found, db):
        screen.say(line)
    if found.pause_reason == APPROVAL:
        return
    holder = holder_of(db) if found.status is not ExecutionStatus.PAUSED else None
    if holder is not None:
        screen.say(f"{str(holder).capitalize()} goes on with it.")
    else:
        screen.say(f"Go on with: {command_line('resume', found.id, db=db)}")
