"""Starts sub-processes, cancels those that nobody waits for any more, and tells parents how children ended.

What is to be done follows from committed state: a step that waits for a child, a child to cancel, a child
that has ended. So all of it can be done again after a crash, and every message may come twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import cast

from process_engine.core.children import MAX_DEPTH, ChildOutcome, Parent, child_id
from process_engine.core.commands import CancelExecution, ChildBegan, ChildFinished, StartExecution
from process_engine.core.config import ExecutionConfig
from process_engine.core.inline import ChildStep
from process_engine.core.plan import Plan
from process_engine.core.results import Usage
from process_engine.core.state import Execution, ExecutionStatus, StepState, waits_for_child
from process_engine.core.values import NULL, pack
from process_engine.core.work import CHILD_KEY, WorkItem, WorkKind, execution_work, step_work
from process_engine.definition.document import ProcessDefinition
from process_engine.definition.input_schema import accept_input
from process_engine.errors import (
    CommandRejected,
    NotFound,
    ProcessEngineError,
    StorageError,
    StorageUnavailable,
)
from process_engine.ids import ExecutionId, StepId
from process_engine.runtime.loop import Loop
from process_engine.runtime.outputs import OutputStorage
from process_engine.runtime.plans import Plans
from process_engine.runtime.ports import Clock

log = logging.getLogger(__name__)

# Children seen to at once; more wait in line. A commit takes 100 commands, and each of these has one.
MOST_AT_ONCE = 100
# Pauses between tries while the store does not answer; the last one is repeated.
PAUSES_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)

_OUTCOMES = {
    ExecutionStatus.COMPLETED: ChildOutcome.COMPLETED,
    ExecutionStatus.FAILED: ChildOutcome.FAILED,
    ExecutionStatus.CANCELLED: ChildOutcome.CANCELLED,
}

Order = WorkItem | Execution
"""What is to be done about a child: its work item, or the child itself as it ended, to tell its parent."""


def child_of(item: WorkItem) -> ExecutionId:
    """The child that a work item of its parent is about."""
    if item.key.startswith(CHILD_KEY):
        return ExecutionId(item.key.removeprefix(CHILD_KEY))
    return child_id(item.execution_id, StepId(item.key), item.visit, item.attempt)


class Children:
    """Sees to the children of all executions of one engine.

    What is to be done about one child is done in order; different children do not wait for each other.
    `adopt` has an execution of the store driven from here, `adopts` says whether it is.
    """

    def __init__(
        self,
        *,
        loop: Loop,
        clock: Clock,
        plans: Plans,
        outputs: OutputStorage,
        tasks: asyncio.TaskGroup,
        config: ExecutionConfig,
        check: Callable[[ProcessDefinition], None],
        adopt: Callable[[ExecutionId], Awaitable[object]],
        adopted: set[ExecutionId],
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._plans = plans
        self._outputs = outputs
        self._tasks = tasks
        self._config = config
        self._check = check
        self._adopt = adopt
        self._adopted = adopted
        self._orders: dict[ExecutionId, deque[Order]] = {}
        self._line: deque[ExecutionId] = deque()
        self._at_work: dict[ExecutionId, asyncio.Task[None]] = {}
        self._accepting = True

    # ------------------------------------------------------------ orders

    def see_to(self, item: WorkItem) -> None:
        """Do what a work item of a parent asks for, or what is left of it."""
        if self._accepting or item.kind is WorkKind.RECALL:
            self._order(child_of(item), item)

    def ended(self, child: Execution) -> None:
        """A child may have something to tell its parent: it has ended, or one of its own has since."""
        if child.created.parent is not None and child.status.is_final:
            self._order(child.id, child)

    @property
    def is_at_rest(self) -> bool:
        """Nothing is under way: whatever a commit asked for has been done, or is left to the next start."""
        return not self._orders

    def stop_accepting(self) -> None:
        """Start nothing more; what has ended is still told."""
        self._accepting = False

    def abandon(self) -> None:
        """Leave everything as it is; the next start takes it up again."""
        self._line.clear()
        self._orders.clear()
        for task in tuple(self._at_work.values()):
            task.cancel()

    def _order(self, child: ExecutionId, order: Order) -> None:
        if self._loop.failure is not None:
            return
        if child in self._orders:
            self._orders[child].append(order)
            return
        self._orders[child] = deque((order,))
        self._line.append(child)
        self._launch()

    def _launch(self) -> None:
        while self._line and len(self._at_work) < MOST_AT_ONCE:
            child = self._line.popleft()
            self._at_work[child] = self._tasks.create_task(self._work_off(child))

    async def _work_off(self, child: ExecutionId) -> None:
        orders = self._orders[child]
        try:
            while orders:
                await self._carry_out(child, orders.popleft())
        except asyncio.CancelledError:
            # The engine is left: what is owed stands in the store.
            return
        finally:
            self._orders.pop(child, None)
            self._at_work.pop(child, None)
            self._launch()

    async def _carry_out(self, child: ExecutionId, order: Order) -> None:
        """Do it, however often it takes: what the store does not answer now is asked again."""
        tries = 0
        while self._loop.failure is None:
            try:
                await self._attend(child, order)
            except StorageUnavailable as error:
                log.warning("not seen to yet child=%s error=%s", child, error)
                pause = PAUSES_SECONDS[min(tries, len(PAUSES_SECONDS) - 1)]
                tries += 1
                await self._clock.sleep_until(self._clock.now() + timedelta(seconds=pause))
                continue
            except ProcessEngineError as error:
                log.warning("not seen to child=%s error=%s", child, error)
            except Exception:
                # A bug of the engine must cost one child, not every execution.
                log.exception("could not be seen to child=%s", child)
            return

    async def _attend(self, child: ExecutionId, order: Order) -> None:
        if isinstance(order, Execution):
            await self._tell(order)
        elif order.kind is WorkKind.RECALL:
            await self._recall(child, order)
        else:
            await self._wait_for(child, order)

    # ------------------------------------------------------------ starting

    async def _wait_for(self, child: ExecutionId, item: WorkItem) -> None:
        """See that the child of a waiting step exists and is driven, or that its end is told."""
        with self._clock.outstanding():
            parent = await self._loop.fetch(item.execution_id)
            if parent is None or not _is_owed(item, parent):
                return
            found = await self._loop.fetch(child)
            command, plan = None, None
            if found is None:
                try:
                    command, plan = await self._command(parent, item, child)
                except StorageError:
                    raise
                except ProcessEngineError as refusal:
                    self._refuse(item, StepId(item.key), child, str(refusal))
                    return
        if command is not None:
            # Waited for: an order to cancel it must find it, or know that it will never be.
            self._adopted.add(child)
            found = await self._loop.submit(command, plan)
        elif found is not None and not found.status.is_final:
            await self._adopt(child)
        if found is not None and found.status.is_final:
            await self._tell(found)
        elif not _waits(await self._plans.load(parent.definition_hash), item):
            self._post_began(item, child)

    def _post_began(self, item: WorkItem, child: ExecutionId) -> None:
        began = ChildBegan(execution_id=item.execution_id, step_id=StepId(item.key), child_id=child)
        self._loop.post(began)

    async def _command(
        self, parent: Execution, item: WorkItem, child: ExecutionId
    ) -> tuple[StartExecution, Plan]:
        """The command that starts a child.

        Raises:
            ProcessEngineError: it cannot be started; the message says why.
        """
        step_id = StepId(item.key)
        own = await self._plans.load(parent.definition_hash)
        asked = own.steps[step_id].inline
        assert isinstance(asked, ChildStep)
        above = parent.created.parent
        depth = 1 + (above.depth if above is not None else 0)
        if depth > MAX_DEPTH:
            raise CommandRejected(
                f"{asked.process} would be {depth} levels deep; processes call each other over at most "
                f"{MAX_DEPTH}.",
                remedy="Give the step that calls it a condition.",
            )
        plan = await self._plans.find(asked.process, asked.version)
        if plan is None:
            version = "" if asked.version is None else f" in version {asked.version}"
            raise NotFound(
                f"there is no process {asked.process}{version} in this store.",
                remedy="Name its file with `--with` where the parent is run, or run it once by itself.",
            )
        self._check(plan.definition)
        given = await self._input(parent.step(step_id))
        value, blobs = pack(accept_input(plan.definition, given))
        command = StartExecution(
            execution_id=child,
            input=value,
            blobs=blobs,
            config=self._config,
            started_by=parent.created.started_by,
            parent=Parent(
                execution_id=parent.id,
                step_id=step_id,
                visit=item.visit,
                attempt=item.attempt,
                depth=depth,
                waits=_waits(own, item),
            ),
            correlation_id=parent.created.correlation_id,
        )
        return command, plan

    async def _input(self, state: StepState) -> object:
        assert state.request is not None
        return cast("Mapping[str, object]", await self._outputs.unpack(state.request))["input"]

    def _refuse(self, item: WorkItem, step_id: StepId, child: ExecutionId, why: str) -> None:
        """Tell a parent that its child never began and never will."""
        self._loop.post(
            ChildFinished(
                execution_id=item.execution_id,
                step_id=step_id,
                child_id=child,
                outcome=ChildOutcome.REFUSED,
                message=why,
            )
        )

    # ------------------------------------------------------------ ending

    async def _recall(self, child: ExecutionId, item: WorkItem) -> None:
        """Cancel a child that nobody waits for any more, and tell its parent once it has ended."""
        with self._clock.outstanding():
            parent = await self._loop.fetch(item.execution_id)
            if parent is None or not _is_owed(item, parent):
                return
            found = await self._loop.fetch(child)
        if found is None:
            why = "the sub-process was given up before it began"
            self._refuse(item, _step_of(item, parent), child, why)
        elif found.status.is_final:
            await self._tell(found)
        else:
            reason = f"{item.execution_id} does not wait for it any more"
            try:
                await self._loop.submit(CancelExecution(execution_id=child, reason=reason))
            except CommandRejected as refusal:
                # It ends by itself just now; that is told like any end.
                log.info("not cancelled child=%s reason=%s", child, refusal)

    async def _tell(self, child: Execution) -> None:
        """Tell a parent how its child ended, unless another process drives it."""
        link = child.created.parent
        if link is None or child.head.recalls:
            return
        with self._clock.outstanding():
            parent = await self._loop.fetch(link.execution_id)
        if parent is None or not (parent.status.is_final or parent.id in self._adopted):
            return
        head = child.head
        self._loop.post(
            ChildFinished(
                execution_id=link.execution_id,
                step_id=link.step_id,
                child_id=child.id,
                outcome=_OUTCOMES[child.status],
                outputs=head.outputs or NULL,
                message=_why(child),
                usage=Usage(cost=head.cost, other_tokens=head.tokens),
            )
        )


def _why(child: Execution) -> str | None:
    """What a parent says of a child that did not complete."""
    failure = child.head.failure
    if child.status is ExecutionStatus.FAILED and failure is not None:
        place = f" at {failure.step_id}" if failure.step_id is not None else ""
        return f"the sub-process {child.id} failed{place}: {failure.code}: {failure.message}"
    if child.status is ExecutionStatus.CANCELLED:
        return f"the sub-process {child.id} was cancelled"
    return None


def _step_of(item: WorkItem, parent: Execution) -> StepId:
    """The step whose child a work item is about."""
    child = child_of(item)
    recalled = (recall.step_id for recall in parent.head.recalls if recall.id == child)
    return next(recalled, StepId(item.key))


def _waits(plan: Plan, item: WorkItem) -> bool:
    rules = plan.steps[StepId(item.key)].child
    return rules is not None and rules.waits


def _is_owed(item: WorkItem, parent: Execution) -> bool:
    """Whether the parent still asks for just that."""
    if item.key.startswith(CHILD_KEY):
        return item in execution_work(parent.id, parent.head)
    state = parent.step(StepId(item.key))
    waits = state.child is not None and waits_for_child(state, state.child.id)
    return waits and step_work(parent.id, item.key, state) == item
