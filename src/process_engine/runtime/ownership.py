"""Taking over a store: what ran when its last owner stopped is repeated, what waited goes on waiting."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime

from process_engine.core.commands import InterruptAttempt
from process_engine.core.work import WorkItem, WorkKind
from process_engine.definition.document import ProcessDefinition
from process_engine.errors import ProcessEngineError
from process_engine.ids import DefinitionHash, ExecutionId
from process_engine.runtime.plans import Plans
from process_engine.runtime.ports import ExecutionRepository, OpenWait

log = logging.getLogger(__name__)

# Timers read at once while taking over.
PAGE = 1000


async def strangers(
    executions: Iterable[tuple[ExecutionId, DefinitionHash]],
    plans: Plans,
    check: Callable[[ProcessDefinition], None],
) -> dict[ExecutionId, ProcessEngineError]:
    """Those of the executions whose definitions do not pass the `check`, each with the reason."""
    faults: dict[DefinitionHash, ProcessEngineError | None] = {}
    found: dict[ExecutionId, ProcessEngineError] = {}
    for execution_id, definition_hash in executions:
        if definition_hash not in faults:
            faults[definition_hash] = _fault_of(check, (await plans.load(definition_hash)).definition)
        fault = faults[definition_hash]
        if fault is not None:
            log.warning("left alone execution=%s reason=%s", execution_id, fault)
            found[execution_id] = fault
    return found


def _fault_of(
    check: Callable[[ProcessDefinition], None], definition: ProcessDefinition
) -> ProcessEngineError | None:
    try:
        check(definition)
    except ProcessEngineError as error:
        return error
    return None


async def take_over(
    repository: ExecutionRepository,
    *,
    adopts: Callable[[ExecutionId], bool],
    interrupt: Callable[[InterruptAttempt], None],
    take_up: Callable[[WorkItem], None],
    expect: Callable[[OpenWait], None],
) -> None:
    """Go on with the open work of a store.

    `interrupt` gets a command for every attempt that was under way, `take_up` every wait with the moment
    it was due from the beginning, and every child to cancel, be its parent open or not; `expect` every wait
    for an event. Executions that `adopts` refuses are left as they are.
    """
    attempts = timers = waits = 0
    async for item in repository.attempts():
        if adopts(item.execution_id):
            attempts += 1
            interrupt(interruption_of(item))
    # Before the timers: what was published in time counts before a timeout does.
    async for wait in repository.waits():
        if adopts(wait.execution_id):
            waits += 1
            expect(wait)
    after: tuple[datetime, ExecutionId, str] | None = None
    while page := await repository.timers(after=after, limit=PAGE):
        for item in page:
            assert item.due is not None
            after = (item.due, item.execution_id, item.key)
            if adopts(item.execution_id) or item.kind is WorkKind.RECALL:
                timers += 1
                take_up(item)
    if attempts or timers or waits:
        log.info("took over attempts=%d timers=%d waits=%d", attempts, timers, waits)


def interruption_of(item: WorkItem) -> InterruptAttempt:
    """The command that says that nobody runs this attempt any more."""
    return InterruptAttempt(
        execution_id=item.execution_id,
        step_id=item.step_id,
        visit=item.visit,
        attempt=item.attempt,
        item=item.item,
        undo=item.undoes,
    )
