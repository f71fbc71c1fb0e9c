"""The engine: a thin front of the loop, the step runner and the timers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self

from msgspec.structs import replace

from process_engine.clock import SystemClock
from process_engine.core.approvals import Ruling
from process_engine.core.blockers import Blocker, blockers
from process_engine.core.commands import (
    AnyCommand,
    CancelExecution,
    DecideApproval,
    DelegateApproval,
    InboxCommand,
    InterruptAttempt,
    PauseExecution,
    PublishEvent,
    ResumeExecution,
    RetryStep,
    StartExecution,
)
from process_engine.core.config import ExecutionConfig
from process_engine.core.events import ProcessReopened
from process_engine.core.state import Execution, ExecutionStatus
from process_engine.core.transition import Transition
from process_engine.core.values import pack
from process_engine.core.work import WorkItem, WorkKind, execution_work, step_work, work_of
from process_engine.definition.document import ProcessDefinition
from process_engine.definition.input_schema import accept_input
from process_engine.errors import ConfigurationInvalid, ProcessEngineError
from process_engine.ids import DefinitionHash, ExecutionId, StepId, new_execution_id
from process_engine.runtime import inbox
from process_engine.runtime.alarms import Alarms, wake_command
from process_engine.runtime.children import Children
from process_engine.runtime.feed import EventBus, EventFeed, InMemoryEventBus
from process_engine.runtime.items import ItemReader
from process_engine.runtime.loop import Loop
from process_engine.runtime.mailbox import Mailbox, publication, require_publishable, wait_of
from process_engine.runtime.outputs import OutputStorage
from process_engine.runtime.ownership import interruption_of, strangers, take_over
from process_engine.runtime.plans import Plans
from process_engine.runtime.ports import (
    Clock,
    ExecutionRepository,
    ExecutionSummary,
    OpenApproval,
    Posted,
)
from process_engine.runtime.registry import StepHandlerRegistry
from process_engine.runtime.settling import awaited, has_nothing_due, has_settled
from process_engine.runtime.steps import StepRunner
from process_engine.runtime.timers import Timers
from process_engine.runtime.versions import Publishing, Versions
from process_engine.runtime.view import ProcessExecution, view
from process_engine.runtime.watching import Watchers

log = logging.getLogger(__name__)

# While draining, or coming to rest, how often to look whether everything has finished.
DRAIN_POLL_SECONDS = 0.01
# Definitions remembered to have passed the check of their agents and step types.
MOST_PASSED = 1000

Preflight = Callable[[ProcessDefinition], None]


class Engine(Publishing):
    """Runs executions on one store, from entering it to leaving it.

    Entering takes the store over and, with `recover`, goes on with everything open in it; with `serve_inbox`
    it carries out what other processes ask for. Leaving ends
    attempts without recording them, as a crash would; `drain` first lets them finish.
    """

    def __init__(
        self,
        repositories: ExecutionRepository,
        registry: StepHandlerRegistry,
        config: ExecutionConfig | None = None,
        *,
        clock: Clock | None = None,
        event_bus: EventBus | None = None,
        new_id: Callable[[], ExecutionId] = new_execution_id,
        preflight: Preflight | None = None,
        recover: bool = True,
        serve_inbox: bool = True,
    ) -> None:
        self._repository = repositories
        self._registry = registry
        self._config = config or ExecutionConfig()
        self._clock: Clock = clock or SystemClock()
        self.event_bus: EventBus = event_bus or InMemoryEventBus()
        self.outputs = OutputStorage(repositories)
        self.feed = EventFeed(repositories)
        self._new_id = new_id
        self._preflight = preflight
        self._recover = recover
        self._serve_inbox = serve_inbox
        self._plans = Plans(repositories)
        self._versions = Versions(repositories, self._clock)
        self._timers = Timers(self._clock)
        self._alarms = Alarms(self._timers, self._clock, self._wake)
        self._passed: set[DefinitionHash] = set()
        # Unfinished executions whose work this process drives.
        self._adopted: set[ExecutionId] = set()
        self._left_alone: dict[ExecutionId, ProcessEngineError] = {}
        self._services: list[asyncio.Task[None]] = []
        self._draining = False

    # ------------------------------------------------------------ life

    async def __aenter__(self) -> Self:
        await self._repository.open(clock=self._clock)
        try:
            await self._begin()
        except (Exception, asyncio.CancelledError):
            # What has begun already ends: nothing may go on behind a store that is closed.
            await self.__aexit__(None, None, None)
            raise
        return self

    async def _begin(self) -> None:
        self._loop = Loop(
            repository=self._repository,
            fence=self._repository.fence,
            clock=self._clock,
            plans=self._plans,
            outputs=self.outputs,
            on_release=self._release,
            on_unchanged=self._look_again,
            on_failure=self._give_up,
        )
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        self._runner = StepRunner(
            clock=self._clock,
            timers=self._timers,
            registry=self._registry,
            outputs=self.outputs,
            items=ItemReader(self._repository, self.outputs, self._clock),
            post=self._loop.post,
        )
        self._mailbox = Mailbox(
            repository=self._repository,
            fence=self._repository.fence,
            clock=self._clock,
            tasks=self._tasks,
            submit=self._loop.submit,
            on_quiet=self._quiet,
        )
        self._children = Children(
            loop=self._loop,
            clock=self._clock,
            plans=self._plans,
            outputs=self.outputs,
            tasks=self._tasks,
            config=self._config,
            check=self._check,
            adopt=self._adopt_stored,
            adopted=self._adopted,
        )
        self._watchers = Watchers(
            loop=self._loop, clock=self._clock, adopted=self._adopted, is_busy=self._mailbox.is_busy
        )
        self._services = [
            self._tasks.create_task(self._loop.run()),
            self._tasks.create_task(self._timers.run()),
        ]
        if self._recover:
            with self._clock.outstanding():
                await self._take_over()
        if self._serve_inbox:
            self._services.append(self._tasks.create_task(inbox.serve(self._repository, self._serve)))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.close()
        self._mailbox.close()
        for service in self._services:
            service.cancel()
        try:
            await self._runner.close()
            await self._tasks.__aexit__(None, None, None)
        finally:
            await self._repository.close()

    async def drain(self, grace_seconds: float) -> int:
        """Start nothing more and let running attempts finish; returns how many did not within the grace.

        What they answer is recorded. Executions stay open and go on when the store is taken over again.
        """
        self._draining = True
        self._runner.stop_accepting()
        self._mailbox.stop()
        self._children.stop_accepting()
        deadline = self._clock.now() + timedelta(seconds=grace_seconds)
        under_way = self._runner.under_way
        while (under_way or not self._loop.is_empty) and self._clock.now() < deadline:
            await asyncio.sleep(DRAIN_POLL_SECONDS)
            under_way = self._runner.under_way
        return under_way

    async def rest(self) -> None:
        """Return once nothing is on its way any more between executions.

        Children that were to be started or cancelled have been, and who ended has told its parent. Attempts,
        timers and people go on.
        """
        rests = False
        while not rests and self._loop.failure is None:
            await asyncio.sleep(DRAIN_POLL_SECONDS)
            rests = self._children.is_at_rest and self._loop.is_empty

    # ------------------------------------------------------------ commands

    async def start(
        self,
        definition: ProcessDefinition,
        input: Mapping[str, object] | None = None,
        *,
        execution_id: ExecutionId | None = None,
        started_by: str | None = None,
        hold: bool = False,
    ) -> ProcessExecution:
        """Begin an execution; it is durable on return. With `hold` it stays `pending` until it is resumed.

        With an `execution_id` that exists already the existing execution is returned: a start can be
        repeated.

        Raises:
            InputRejected: the input breaks the process's schema. Nothing was written.
            ConfigurationInvalid: an agent or a step type is not known here. Nothing was written.
        """
        self._check(definition)
        accepted = accept_input(definition, dict(input or {}))
        value, blobs = pack(accepted)
        with self._clock.outstanding():
            plan = await self._plans.add(definition)
        command = StartExecution(
            execution_id=execution_id or self._new_id(),
            input=value,
            blobs=blobs,
            config=self._config,
            started_by=started_by,
            hold=hold,
        )
        if execution_id is not None and await self._loop.fetch(execution_id) is not None:
            return await self._view(await self._adopt_stored(execution_id))
        # Adopted before it exists, so that nothing of it is missed; refused starts never get this far.
        self._adopted.add(command.execution_id)
        started = await self._loop.submit(command, plan, is_new=execution_id is None)
        return await self._view(started)

    async def unknown_processes(self, definition: ProcessDefinition) -> list[str]:
        """The processes that its steps run and that are not known here, each as `NAME` or `NAME VERSION`."""
        return await self._plans.unknown(definition)

    async def make_known(self, definition: ProcessDefinition) -> None:
        """Keep a definition, so that sub-process steps find it by its name; nothing of it is started.

        Until the engine is left it is found before any other of that name.
        """
        with self._clock.outstanding():
            await self._plans.name(definition)

    def _check(self, definition: ProcessDefinition) -> None:
        """Refuse a definition whose steps or agents are not known here; what has passed is remembered."""
        if definition.content_hash in self._passed:
            return
        self._registry.require(definition)
        if self._preflight is not None:
            self._preflight(definition)
        if len(self._passed) >= MOST_PASSED:
            self._passed.clear()
        self._passed.add(definition.content_hash)

    async def cancel(
        self, execution_id: str, *, reason: str | None = None, by: str | None = None
    ) -> ProcessExecution:
        """End an execution at once, or, where there is something to undo, after that; refused once it ends.

        It is then `compensating`; `run_until_settled` waits for its end.
        """
        command = CancelExecution(execution_id=ExecutionId(execution_id), reason=reason, by=by)
        cancelled = await self._loop.submit(command)
        if self._recover:
            await self._adopt_undoing(cancelled)
        return await self._view(cancelled)

    async def pause(
        self, execution_id: str, *, reason: str | None = None, by: str | None = None
    ) -> ProcessExecution:
        """Let running attempts finish and start nothing new until `resume`."""
        why = {} if reason is None else {"reason": reason}
        return await self._command(PauseExecution(execution_id=ExecutionId(execution_id), by=by, **why))

    async def resume(self, execution_id: str, *, by: str | None = None) -> ProcessExecution:
        """Go on with a paused or held execution."""
        await self._adopt_stored(ExecutionId(execution_id))
        return await self._command(ResumeExecution(execution_id=ExecutionId(execution_id), by=by))

    async def retry(
        self,
        execution_id: str,
        *,
        from_step: str | None = None,
        input: Mapping[str, object] | None = None,
        by: str | None = None,
    ) -> ProcessExecution:
        """Take a failed execution back: what failed or was cancelled runs again, what completed is kept.

        `from_step` and everything after it run again too. A changed `input` replaces the one there is; the
        steps that failed then begin a new visit, and agents get a new Idempotency-Key for it.

        Raises:
            CommandRejected: the execution has not failed, or has no such step. Nothing was written.
            InputRejected: the input breaks the process's schema. Nothing was written.
        """
        execution = await self._adopt_stored(ExecutionId(execution_id))
        definition = (await self._plans.load(execution.definition_hash)).definition
        value, blobs = pack(accept_input(definition, dict(input))) if input is not None else (None, {})
        command = RetryStep(
            execution_id=execution.id,
            step_id=StepId(from_step) if from_step is not None else None,
            input=value,
            blobs=blobs,
            by=by,
        )
        return await self._command(command)

    async def decide_approval(
        self,
        execution_id: str,
        step_id: str,
        *,
        approve: bool,
        by: str,
        groups: Sequence[str] = (),
        comment: str | None = None,
        form: Mapping[str, object] | None = None,
        sha256: str | None = None,
    ) -> ProcessExecution:
        """Record what `by`, a member of `groups`, decides about a step that asks people.

        `form` is what they filled in, `sha256` the hash of what they were shown: a decision about something
        that was replaced meanwhile is refused.

        Raises:
            CommandRejected: it is not theirs to decide, too late, decided already, about something else, or
                the form or the comment is missing. Nothing was written.
            ConfigurationInvalid: agents or step types of the execution are not known here, where what follows
                would run. Nothing was written.
        """
        if self._recover:
            await self._adopt_stored(ExecutionId(execution_id))
        value, blobs = pack(dict(form)) if form is not None else (None, {})
        command = DecideApproval(
            execution_id=ExecutionId(execution_id),
            step_id=StepId(step_id),
            by=by,
            ruling=Ruling.APPROVED if approve else Ruling.REJECTED,
            groups=tuple(groups),
            comment=comment,
            form=value,
            blobs=blobs,
            sha256=sha256,
        )
        return await self._command(command)

    async def delegate_approval(
        self,
        execution_id: str,
        step_id: str,
        *,
        by: str,
        to: str,
        groups: Sequence[str] = (),
        comment: str | None = None,
    ) -> ProcessExecution:
        """Hand a decision on to the user or group `to`: who was named gives it away, a group shares it.

        Raises:
            CommandRejected: it is not theirs to hand on. Nothing was written.
        """
        command = DelegateApproval(
            execution_id=ExecutionId(execution_id),
            step_id=StepId(step_id),
            by=by,
            to=to,
            groups=tuple(groups),
            comment=comment,
        )
        return await self._command(command)

    async def publish_event(
        self,
        name: str,
        payload: object = None,
        *,
        execution_id: str | None = None,
        id: str | None = None,
        by: str | None = None,
    ) -> Posted:
        """Publish an event for every execution that waits for it now or later; it is durable on return.

        `payload` is any JSON value of at most 10 MiB. With `execution_id` only that execution may take it. A
        second event with the same `id` is no change, as long as the first is kept: 7 days.

        Raises:
            CommandRejected: it has no name, or a payload without a JSON form. Nothing was written.
            OutputTooLarge: the payload is over the limit. Nothing was written.
            NotFound: there is no such execution. Nothing was written.
        """
        only = ExecutionId(execution_id) if execution_id is not None else None
        return await self._publish(publication(name, payload, execution_id=only, id=id, by=by))

    async def _publish(self, command: PublishEvent) -> Posted:
        # It counts from when it is known here, whatever clock it was left by.
        event = replace(command.event, published_at=self._clock.now())
        require_publishable(event)
        if event.execution_id is not None:
            await self._fetch(event.execution_id)
        return await self._mailbox.publish(event, command.blobs)

    async def _command(self, command: AnyCommand) -> ProcessExecution:
        return await self._view(await self._loop.submit(command))

    # ------------------------------------------------------------ waiting

    async def run_until_settled(self, execution_id: str, *, wait_for_timers: bool = True) -> ProcessExecution:
        """Wait until the execution has ended, or waits for somebody outside with no timer running.

        Who waits for a child has settled as soon as the child has without ending. With
        `wait_for_timers=False` it also returns as soon as nothing is due: when all that is left waits for a
        moment to come.

        Raises:
            NotFound: there is no such execution.
            StorageError: the store failed for good, the engine has stopped.
        """
        settles = has_settled if wait_for_timers else has_nothing_due
        return await self._view(await self._watchers.settled(ExecutionId(execution_id), settles))

    # ------------------------------------------------------------ reading

    async def explain(self, execution_id: str) -> tuple[Blocker, ...]:
        """What an unfinished execution waits for, the most important first; empty for a finished one.

        What its children wait for comes behind, each with the id of the child.
        """
        return await self._blockers(await self._fetch(ExecutionId(execution_id)))

    async def _blockers(self, execution: Execution) -> tuple[Blocker, ...]:
        found = blockers(execution)
        for child_id in awaited(execution):
            child = await self._loop.fetch(child_id)
            if child is not None:
                below = await self._blockers(child)
                found += tuple(replace(one, execution_id=one.execution_id or child_id) for one in below)
        return found

    async def get(self, execution_id: str) -> ProcessExecution:
        """The execution as it stands.

        Raises:
            NotFound: there is no such execution.
        """
        return await self._view(await self._fetch(ExecutionId(execution_id)))

    async def list(
        self, *, status: ExecutionStatus | None = None, process: str | None = None, limit: int = 100
    ) -> Sequence[ExecutionSummary]:
        """Executions, newest first."""
        return await self._repository.list(status=status, process=process, limit=limit)

    async def approvals(self, *, limit: int = 1000) -> Sequence[OpenApproval]:
        """What people are asked, the oldest execution first."""
        return await self._repository.approvals(limit=limit)

    @property
    def left_alone(self) -> Mapping[ExecutionId, ProcessEngineError]:
        """Open executions that were not taken over, each with the reason; they stay as they are."""
        return dict(self._left_alone)

    async def _fetch(self, execution_id: ExecutionId) -> Execution:
        return await self._loop.require(execution_id)

    async def _view(self, execution: Execution) -> ProcessExecution:
        return await view(await self._plans.load(execution.definition_hash), execution, self.outputs)

    # ------------------------------------------------------------ taking over

    async def _take_over(self) -> None:
        """Go on with what is open, apart from executions whose steps or agents are not known here."""
        open_ones = await self._repository.open_executions()
        self._left_alone.update(await strangers(open_ones, self._plans, self._check))
        self._adopted.update(id for id, _ in open_ones if id not in self._left_alone)
        await self._mailbox.clear()
        await take_over(
            self._repository,
            adopts=self._adopted.__contains__,
            interrupt=self._loop.post,
            take_up=self._take_up,
            expect=self._mailbox.expect,
        )

    async def _adopt_stored(self, execution_id: ExecutionId) -> Execution:
        """Drive an execution of the store from now on, as taking over does with all of them.

        Raises:
            NotFound: there is no such execution.
            ConfigurationInvalid: its agents or step types are not known here.
        """
        execution = await self._fetch(execution_id)
        if execution_id in self._adopted:
            return execution
        self._check((await self._plans.load(execution.definition_hash)).definition)
        self._adopted.add(execution_id)
        self._left_alone.pop(execution_id, None)
        for step_id, state in execution.steps.items():
            for item in work_of(execution.id, step_id, state):
                self._take_on(item, execution)
        for item in execution_work(execution.id, execution.head):
            self._take_on(item, execution)
        return execution

    def _take_on(self, item: WorkItem, execution: Execution) -> None:
        """Go on with work that somebody else owed: an attempt is repeated, a wait goes on."""
        if item.runs_at_once:
            self._loop.post(interruption_of(item))
        else:
            self._owe(item, execution)

    async def _serve(self, command: InboxCommand) -> Execution | Posted:
        """Carry out a command from the inbox; what makes an execution go on makes it ours as well."""
        if isinstance(command, PublishEvent):
            return await self._publish(command)
        if isinstance(command, (ResumeExecution, RetryStep, DecideApproval)):
            await self._adopt_stored(command.execution_id)
        execution = await self._loop.submit(command)
        if isinstance(command, CancelExecution):
            await self._adopt_undoing(execution)
        return execution

    async def _adopt_undoing(self, execution: Execution) -> None:
        """Drive an execution that has something to undo, if its agents and step types are known here."""
        if execution.status is not ExecutionStatus.COMPENSATING:
            return
        try:
            await self._adopt_stored(execution.id)
        except ConfigurationInvalid as error:
            log.warning("left alone execution=%s reason=%s", execution.id, error)
            self._left_alone[execution.id] = error

    # ------------------------------------------------------------ after each commit

    def _release(self, transitions: Sequence[Transition]) -> None:
        """Let out what the commit has made durable: work, events, news for those who wait."""
        for done in transitions:
            execution = done.execution
            for item in done.done:
                self._withdraw(item)
            for item in done.work:
                self._owe(item, execution)
            if type(done.events[0]) is ProcessReopened:
                # Where the retry was asked for before its failure was committed, that has disowned it.
                self._adopted.add(execution.id)
        self.event_bus.publish([event for done in transitions for event in done.events])
        self.feed.wake()
        for execution in {done.execution.id: done.execution for done in transitions}.values():
            self._tell(execution)

    def _owe(self, item: WorkItem, execution: Execution) -> None:
        if item.runs_at_once:
            if execution.id not in self._adopted and item.undoes:
                # A cancel makes nobody drive an execution: it is undone by a process that has its agents.
                return
            plan = self._plans.known(execution.created.definition_hash)
            assert plan is not None
            self._runner.start(item, execution, plan)
            return
        if item.kind is WorkKind.EVENT:
            self._mailbox.expect(wait_of(item, execution))
        self._take_up(item)

    def _take_up(self, item: WorkItem) -> None:
        """See to what is owed at a time, or about a child."""
        if item.kind in (WorkKind.CHILD, WorkKind.RECALL):
            self._children.see_to(item)
        if item.due is not None and item.kind is not WorkKind.RECALL:
            self._alarms.arm(item)

    def _withdraw(self, item: WorkItem) -> None:
        if item.runs_at_once:
            self._runner.cancel(item.execution_id, item.key)
            return
        if item.kind is WorkKind.EVENT:
            self._mailbox.forget(item.execution_id, StepId(item.key))
        self._alarms.disarm(item.execution_id, item.key)

    async def _quiet(self, execution_id: ExecutionId) -> None:
        """Nothing that was published is on its way to the execution: who waits for that is told."""
        if self._watchers.watch(execution_id) and (found := await self._loop.fetch(execution_id)) is not None:
            self._watchers.tell(found, quiet=True)

    def _tell(self, execution: Execution) -> None:
        if execution.status.is_final:
            self._adopted.discard(execution.id)
            self._children.ended(execution)
        self._watchers.tell(execution)

    def _give_up(self, error: ProcessEngineError) -> None:
        """Nothing runs on, everybody who waits is told."""
        log.info("the engine stops: %s", error)
        self._runner.abandon()
        self._children.abandon()
        self._watchers.give_up(error)

    # ------------------------------------------------------------ timers

    def _wake(self, item: WorkItem) -> None:
        # What was published in time comes before a timeout that falls due with it.
        if not self._draining and not self._mailbox.expire(item):
            self._loop.post(wake_command(item))

    def _look_again(self, command: AnyCommand, execution: Execution) -> None:
        """A command has changed nothing: what it was about may be owed all the same."""
        if isinstance(command, InterruptAttempt):
            self._resume_collecting(command, execution)
        else:
            self._alarms.rearm(command, execution)

    def _resume_collecting(self, command: InterruptAttempt, execution: Execution) -> None:
        """Putting results together has no effect outside: begun anew, it needs no event."""
        owed = step_work(execution.id, command.step_id, execution.step(command.step_id))
        if command.item is None and owed is not None and owed.kind is WorkKind.COLLECT:
            self._owe(owed, execution)
