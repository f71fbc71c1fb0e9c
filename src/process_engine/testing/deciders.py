"""Those who are asked in a simulation: they approve, reject, hand on, come late, or may not decide at all."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from process_engine.core import events as e
from process_engine.core.approvals import Ruling
from process_engine.core.commands import DecideApproval, DelegateApproval
from process_engine.core.values import Value
from process_engine.runtime.ports import OpenApproval
from process_engine.testing.simulated_process import Request

NAMES = ("ann", "bob", "cid", "eve")
BOARD = ("cid",)


def groups_of(name: str) -> tuple[str, ...]:
    """The groups of a person: one of them sits on the board."""
    return ("board",) if name in BOARD else ()


def drawn_command(rng: Random, asked: OpenApproval) -> DecideApproval | DelegateApproval:
    """What somebody does about an open question; not everything fits, and then it has to be refused."""
    by = rng.choice(NAMES)
    if rng.random() < 0.15:
        return DelegateApproval(
            execution_id=asked.execution_id,
            step_id=asked.step_id,
            by=by,
            to=rng.choice((*NAMES, "group:board")),
            groups=groups_of(by),
        )
    approves = rng.random() < 0.7
    return DecideApproval(
        execution_id=asked.execution_id,
        step_id=asked.step_id,
        by=by,
        ruling=Ruling.APPROVED if approves else Ruling.REJECTED,
        groups=groups_of(by),
        comment="no" if not approves and rng.random() < 0.9 else None,
        form=Value({"ok": True}) if rng.random() < 0.5 else None,
        sha256=rng.choice((None, asked.request.sha256, asked.request.sha256, "0" * 64)),
    )


def request_of(command: DecideApproval | DelegateApproval) -> Request:
    """The way in which a program that embeds the engine gives this command."""
    if isinstance(command, DelegateApproval):
        return lambda engine: engine.delegate_approval(
            command.execution_id, command.step_id, by=command.by, to=command.to, groups=command.groups
        )
    form = {"ok": True} if command.form is not None else None
    return lambda engine: engine.decide_approval(
        command.execution_id,
        command.step_id,
        approve=command.ruling is Ruling.APPROVED,
        by=command.by,
        groups=command.groups,
        comment=command.comment,
        form=form,
        sha256=command.sha256,
    )


def is_recorded(command: DecideApproval | DelegateApproval, history: Sequence[e.Event]) -> bool:
    """Whether the history knows of a decision that was acknowledged."""
    for event in history:
        match event:
            case e.ApprovalDecided(step_id=command.step_id, decision=decision):
                if decision.by == command.by and isinstance(command, DecideApproval):
                    return True
            case e.ApprovalDelegated(step_id=command.step_id, by=command.by, to=to):
                if isinstance(command, DelegateApproval) and to == command.to:
                    return True
            case _:
                pass
    return False
