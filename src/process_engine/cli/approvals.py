"""`approvals`: what people are asked to decide, across all executions of a store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, cast

from rich.text import Text

from process_engine.cli import documents, outcomes
from process_engine.cli.people import People, read_people
from process_engine.cli.printing import print_document
from process_engine.cli.screen import Screen
from process_engine.cli.store import reading
from process_engine.cli.story import WIDTH, as_text, decision_text, names_text
from process_engine.cli.summary import command_line, until
from process_engine.cli.text import printable, shortened
from process_engine.cli.tools import Tools
from process_engine.clock import SystemClock
from process_engine.core.approvals import ApprovalRules, Request, may_decide
from process_engine.core.plan import Plan
from process_engine.core.state import Snapshot
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime.outputs import OutputStorage
from process_engine.runtime.plans import Plans
from process_engine.runtime.ports import OpenApproval

# More than anybody decides; what is older comes first.
MOST = 10_000
# Lines of a description that are shown; a document has the whole of it.
MOST_LINES = 12
# Executions read from the store together.
_PAGE = 500


class Asking(NamedTuple):
    """An open question with what is known about it: what is shown, the rules, and who started it."""

    approval: OpenApproval
    shown: dict[str, object]
    rules: ApprovalRules
    started_by: str | None

    def waits_for(self, user: str, people: People, now: datetime) -> bool:
        """Whether it is for this user to decide, and they still can."""
        request = self.approval.request
        if now >= request.deadline or any(decision.by == user for decision in request.decisions):
            return False
        if self.rules.separation_of_duties and user == self.started_by:
            return False
        return self.is_for(user, people)

    def is_for(self, user: str, people: People) -> bool:
        """Whether it is addressed to this user, or to a group of theirs."""
        return may_decide(self.approval.request, user, people.groups_of(user))


def approvals(
    tools: Tools,
    *,
    as_user: str | None,
    everything: bool,
    people_file: Path | None,
    db: Path,
    as_json: bool,
    no_color: bool,
) -> int:
    """The open questions, the oldest execution first; with `as_user` those that wait for that user."""
    people, now = read_people(people_file), SystemClock().now()
    if as_user is not None:
        # Asked even where nothing is open: a name that is not known is a mistake.
        people.groups_of(as_user)
    found = asyncio.run(_asked(db))
    if as_user is not None:
        found = [
            asking
            for asking in found
            if (asking.is_for(as_user, people) if everything else asking.waits_for(as_user, people, now))
        ]
    if as_json:
        print_document([documents.approval_document(one.approval, one.shown, one.rules) for one in found])
        return outcomes.COMPLETED
    screen = Screen(no_color=no_color)
    for number, asking in enumerate(found):
        if number:
            screen.say()
        _tell(asking, screen, db, as_user, now)
    if not found:
        screen.say(f"Nobody is asked to decide anything in {db}." if as_user is None else _nothing(as_user))
    return outcomes.COMPLETED


def _nothing(user: str) -> str:
    return f"Nothing waits for {user}."


async def _asked(db: Path) -> list[Asking]:
    async with reading(db) as reader:
        found = await reader.approvals(limit=MOST)
        plans, outputs = Plans(reader), OutputStorage(reader)
        asked: list[Asking] = []
        for begin in range(0, len(found), _PAGE):
            page = found[begin : begin + _PAGE]
            known = await _snapshots(reader, page)
            for approval in page:
                # What has just been decided and has ended is open no more.
                if (snapshot := known.get(approval.execution_id)) is not None:
                    shown = cast("dict[str, object]", await outputs.unpack(approval.request.shown))
                    plan = await plans.load(snapshot.created.definition_hash)
                    asked.append(Asking(approval, shown, _rules(plan, approval), snapshot.created.started_by))
        return asked


async def _snapshots(reader: SqliteRepository, page: Sequence[OpenApproval]) -> dict[str, Snapshot]:
    ids = {approval.execution_id for approval in page}
    return {snapshot.created.execution_id: snapshot for snapshot in await reader.load_many(ids)}


def _rules(plan: Plan, approval: OpenApproval) -> ApprovalRules:
    rules = plan.steps[approval.step_id].approval
    assert rules is not None
    return rules


# ---------------------------------------------------------------- for people


def _tell(asking: Asking, screen: Screen, db: Path, user: str | None, now: datetime) -> None:
    approval, request = asking.approval, asking.approval.request
    visit = f", visit {approval.visit}" if approval.visit > 1 else ""
    head = (
        f"  {approval.process}  ",
        (str(approval.execution_id), "dim"),
        f"  step {approval.step_id}{visit}",
    )
    screen.say(Text.assemble((shortened(as_text(asking.shown["title"]), WIDTH), "bold"), *head))
    for line in _description(asking.shown):
        screen.say(f"  {line}")
    if asking.rules.form is not None:
        screen.say(f"  Form: {shortened(as_text(asking.shown.get('form')), 2 * WIDTH)}")
    screen.say(f"  Who may decide: {names_text(request.assignees)}")
    screen.say(f"  To be decided: {until(request.deadline, now)}")
    for decision in request.decisions:
        screen.say(f"  {decision_text(decision)}")
    if request.decisions or asking.rules.required > 1:
        screen.say(f"  {_progress(request, asking.rules)}")
    screen.say(f"  Hash: {request.sha256}", "dim")
    # Several steps of one execution may ask: the step is named, whatever happens to the others.
    line = command_line("approve", approval.execution_id, approval.step_id, "--as", user or "USER", db=db)
    screen.say(f"  {line}", "dim")


def _description(shown: dict[str, object]) -> list[str]:
    lines = printable(as_text(shown.get("description") or "")).splitlines()
    more = len(lines) - MOST_LINES
    return lines if more <= 0 else [*lines[:MOST_LINES], f"… {more} more lines"]


def _progress(request: Request, rules: ApprovalRules) -> str:
    approved = sum(1 for decision in request.decisions if decision.ruling == "approved")
    return f"{approved} of {rules.required} approvals"
