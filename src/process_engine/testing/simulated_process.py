"""One life of the engine: the real one, on an event loop of its own, with simulated ports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

from process_engine.core.config import ExecutionConfig
from process_engine.core.events import Event
from process_engine.core.transition import Transition
from process_engine.core.work import WorkItem, WorkKind
from process_engine.errors import OwnershipLost, ProcessEngineError, StorageError
from process_engine.handlers.built_in import built_in_handlers
from process_engine.ids import ExecutionId
from process_engine.runtime.engine import Engine
from process_engine.runtime.feed import InMemoryEventBus
from process_engine.runtime.ports import AgentRequest, ExecutionRepository, StepContext
from process_engine.runtime.registry import StepHandlerRegistry
from process_engine.testing.event_loop import SimulatedEventLoop
from process_engine.testing.judge import Judge, PromiseBroken
from process_engine.testing.simulated_notifications import SimulatedNotificationHandler
from process_engine.testing.simulated_ports import COMMIT, Operation, SimulatedAgents, SimulatedStore, key_of
from process_engine.testing.simulated_time import SimulatedClock, SimulatedTime

Request = Callable[[Engine], Coroutine[Any, Any, object]]
Told = Callable[[object], None]

# An execution that there never is.
NOBODY = "nobody"

WorkKey = tuple[ExecutionId, str]


class SimulatedProcess:
    """A process that runs executions on a store until it ends, or is killed, or loses the store to another.

    It does nothing by itself: `loop.turn()` lets it go on; `store.operations` and `agents.open` are what it
    waits for. `on_fault` is told of every promise that it breaks.
    """

    def __init__(
        self,
        name: str,
        repository: ExecutionRepository,
        judge: Judge,
        time: SimulatedTime,
        *,
        config: ExecutionConfig,
        new_id: Callable[[], ExecutionId],
        recover: bool,
        on_fault: Callable[[BaseException], None],
    ) -> None:
        self.name = name
        self.loop = SimulatedEventLoop(time, on_fault)
        self.clock = SimulatedClock(time)
        self.store = SimulatedStore(repository)
        self.agents = SimulatedAgents(self)
        self.recovers = recover
        self.requests = 0
        self.is_open = False
        self.failure: ProcessEngineError | None = None
        self._judge = judge
        self._on_fault = on_fault
        self._owed: dict[WorkKey, WorkItem] = {}
        # Withdrawn by a commit that it has just heard of; and by one of which it may know only the half.
        self._leaving: set[WorkItem] = set()
        self._doubtful: set[WorkItem] = set()
        self._heard: dict[ExecutionId, int] = {}
        self._ends: dict[WorkItem, datetime] = {}
        bus = InMemoryEventBus()
        bus.subscribe(self._hear)
        self.engine = Engine(
            self.store,
            _registry(self.agents, self._told_of_progress),
            config,
            clock=self.clock,
            event_bus=bus,
            new_id=new_id,
            recover=recover,
        )
        self._farewell: asyncio.Future[float] = self.loop.create_future()
        self._main = self.loop.create_task(self._live())

    # ------------------------------------------------------------ life and death

    async def _live(self) -> None:
        try:
            await self.engine.__aenter__()
        except StorageError as failure:
            self.failure = failure
            return
        self.is_open = True
        grace = await self._farewell
        if grace:
            await self.engine.drain(grace)
        await self.engine.__aexit__(None, None, None)

    @property
    def has_ended(self) -> bool:
        """It came to its end by itself: it could not open the store, or was told to stop and did."""
        return self._main.done()

    @property
    def is_stopping(self) -> bool:
        """It was told to stop."""
        return self._farewell.done()

    def stop(self, grace_seconds: float) -> None:
        """Tell it to stop in good order: first let attempts finish, for so long, then leave the engine."""
        if not self._farewell.done():
            self._farewell.set_result(grace_seconds)

    def kill(self) -> None:
        """End it wherever it is. The store closes as the system closes files; nothing else happens."""
        self.agents.kill()
        self.clock.stop()
        self.store.gone = True
        self.loop.die()
        self.store.kill()

    @property
    def listens(self) -> bool:
        """Whether people can ask it for something."""
        return self.is_open and not self.has_ended

    def request(self, call: Request, told: Told) -> None:
        """Ask the engine for something; `told` hears what it answers, or how it refuses, unless it dies."""
        self.requests += 1
        self.loop.create_task(self._answer(call, told))

    async def _answer(self, call: Request, told: Told) -> None:
        try:
            answer = await call(self.engine)
        except ProcessEngineError as refusal:
            answer = refusal
            if refusal.code == "INTERNAL_ERROR":
                self._on_fault(refusal)
        except Exception as fault:
            self._on_fault(fault)
            return
        self.requests -= 1
        try:
            told(answer)
        except AssertionError as fault:
            self._on_fault(fault)

    def probe(self) -> None:
        """Find out whether the engine still works: one that has given its store up refuses everything."""
        if self.is_open and not self.is_stopping:
            self.request(lambda engine: engine.pause(NOBODY), self._probed)

    def _probed(self, answer: object) -> None:
        if isinstance(answer, StorageError):
            self.failure = answer

    # ------------------------------------------------------------ what it is told, and what it does with it

    def tell(self, operation: Operation) -> None:
        """Let it hear how an operation on the store went."""
        self.store.operations.remove(operation)
        if operation.name == COMMIT and operation.written:
            if operation.error is None:
                self._leaving |= self._doubtful
                self._doubtful.clear()
            for done in operation.transitions:
                self._owe(done, self._leaving if operation.error is None else self._doubtful)
        if isinstance(operation.error, OwnershipLost):
            self.failure = operation.error
        operation.tell()

    def _owe(self, done: Transition, leaving: set[WorkItem]) -> None:
        for item in done.done:
            former = self._owed.pop((item.execution_id, item.key), None)
            if former is not None:
                leaving.add(former)
        for item in done.work:
            if item.kind is WorkKind.ATTEMPT:
                self._owed[item.execution_id, item.key] = item

    def called(self, request: AgentRequest) -> None:
        """Check that it asks an agent only for what it was told to be recorded, and is still wanted.

        Raises:
            PromiseBroken: it does not.
        """
        try:
            item = _item_of(request)
            self._judge.called(request)
            self._ends[item] = self._judge.latest_end((item.execution_id, item.key, item.visit, item.attempt))
            if (
                self._owed.get((item.execution_id, item.key)) != item
                and item not in self._leaving | self._doubtful
            ):
                raise PromiseBroken(f"{item} is asked for before its commit returned, or after its end")
        except PromiseBroken as fault:
            # A handler's exception would be recorded as an answer: the simulation has to hear of it itself.
            self._on_fault(fault)
            raise

    def _told_of_progress(self, context: StepContext) -> None:
        try:
            self._judge.told_of_progress(context)
        except PromiseBroken as fault:
            self._on_fault(fault)
            raise

    def _hear(self, event: Event) -> None:
        """Every event once, in order, and only when it is stored."""
        record = self._judge.records.get(event.execution_id)
        last = self._heard.get(event.execution_id)
        self._heard[event.execution_id] = event.sequence
        stored = record is not None and len(record.events) >= event.sequence
        if record is None or not stored or record.events[event.sequence - 1] != event:
            self._on_fault(PromiseBroken(f"{event.id} is announced and was never stored"))
        if last is not None and event.sequence != last + 1:
            self._on_fault(PromiseBroken(f"{event.id} is announced after number {last}"))

    def check_at_rest(self) -> None:
        """Now that it has nothing left to do, everything that it was told has to have had its effect.

        Raises:
            PromiseBroken: an agent works on what is not wanted any more, or on more than there are slots.
        """
        self._leaving.clear()
        working: dict[ExecutionId, int] = {}
        for call in self.agents.open:
            item = _item_of(call.request)
            if self._owed.get((item.execution_id, item.key)) != item and item not in self._doubtful:
                raise PromiseBroken(f"an agent still works on {item}, which is not wanted any more")
            if self.clock.now() > self._ends[item]:
                raise PromiseBroken(f"an agent still works on {item}, which has taken longer than it may")
            working[item.execution_id] = working.get(item.execution_id, 0) + 1
        for execution_id, count in working.items():
            slots = self._judge.records[execution_id].execution.created.config.max_concurrent_steps
            if slots and count > slots:
                raise PromiseBroken(f"I9: agents work on {count} steps of {execution_id}, with {slots} slots")


def _registry(agents: SimulatedAgents, begun: Callable[[StepContext], None]) -> StepHandlerRegistry:
    registry = built_in_handlers(agents)
    registry.register("notification", SimulatedNotificationHandler(agents, begun))
    return registry


def _item_of(request: AgentRequest) -> WorkItem:
    execution_id, key, visit, attempt = key_of(request)
    return WorkItem(execution_id, key, WorkKind.ATTEMPT, visit, attempt)
