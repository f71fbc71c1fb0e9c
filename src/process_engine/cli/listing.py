"""Executions as a list shows them: how they read, and which of their steps wait for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from process_engine.core.blockers import waits_for_people
from process_engine.core.evolve import restore
from process_engine.core.state import Execution, ExecutionStatus, StepStatus
from process_engine.ids import ExecutionId
from process_engine.runtime.plans import Plans
from process_engine.runtime.ports import ExecutionRepository, ExecutionSummary

# Executions read from the store together.
_PAGE = 500


class Listed(NamedTuple):
    """A line of the list; `asking` are the steps that wait for a decision."""

    summary: ExecutionSummary
    asking: tuple[str, ...] = ()


async def listed(
    repository: ExecutionRepository, status: ExecutionStatus | None, process: str | None, limit: int
) -> list[Listed]:
    """At most `limit` executions that read so, the newest first."""
    listing = _Listing(repository, process)
    found = await listing.of(status, status, limit)
    if status is ExecutionStatus.PAUSED:
        # What waits for people and runs nothing meanwhile is recorded as running, and reads as paused.
        found += await listing.of(ExecutionStatus.RUNNING, status, limit)
        found.sort(key=lambda one: (one.summary.created_at, one.summary.id), reverse=True)
    return found[:limit]


class _Listing:
    def __init__(self, repository: ExecutionRepository, process: str | None) -> None:
        self._repository = repository
        self._process = process
        self._plans = Plans(repository)

    async def of(
        self, recorded: ExecutionStatus | None, wanted: ExecutionStatus | None, limit: int
    ) -> list[Listed]:
        """Those that are recorded so and read as wanted, page by page until there are enough."""
        found: list[Listed] = []
        before: ExecutionId | None = None
        while len(found) < limit:
            page = await self._repository.list(
                status=recorded, process=self._process, limit=min(limit, _PAGE), before=before
            )
            if not page:
                break
            found += [one for one in await self._read(page) if wanted in (None, one.summary.status)]
            before = page[-1].id
        return found[:limit]

    async def _read(self, page: Sequence[ExecutionSummary]) -> list[Listed]:
        """How the executions of a page read; only those that may wait for people have to be loaded."""
        open_ones = [
            one.id for one in page if one.status in (ExecutionStatus.RUNNING, ExecutionStatus.PAUSED)
        ]
        known: dict[ExecutionId, Execution] = {}
        for snapshot in await self._repository.load_many(open_ones) if open_ones else ():
            plan = await self._plans.load(snapshot.created.definition_hash)
            known[snapshot.created.execution_id] = restore(plan, snapshot)
        return [_as_it_reads(one, known.get(one.id)) for one in page]


def _as_it_reads(summary: ExecutionSummary, execution: Execution | None) -> Listed:
    if execution is None:
        return Listed(summary)
    asking = tuple(
        step_id for step_id, state in execution.steps.items() if state.status is StepStatus.WAITING_APPROVAL
    )
    if waits_for_people(execution):
        summary = msgspec.structs.replace(summary, status=ExecutionStatus.PAUSED)
    return Listed(summary, asking)
