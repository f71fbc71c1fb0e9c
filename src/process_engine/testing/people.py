"""Those who use the engine in a simulation: they start, watch, pause, cancel, and hear what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import cast

from process_engine.core import events as e
from process_engine.core.blockers import BlockerKind
from process_engine.core.commands import (
    AnyCommand,
    CancelExecution,
    ChildFinished,
    DecideApproval,
    DelegateApproval,
    InboxCommand,
    PauseExecution,
    PublishEvent,
    RecordResult,
    ResumeExecution,
    RetryStep,
    WakeStep,
)
from process_engine.core.mailbox import NewEvent
from process_engine.core.state import ExecutionStatus
from process_engine.core.values import pack
from process_engine.core.work import WorkItem
from process_engine.definition.document import ProcessDefinition, WaitForEvent
from process_engine.errors import ProcessEngineError
from process_engine.ids import ExecutionId
from process_engine.runtime.engine import Engine
from process_engine.runtime.ports import ExecutionRepository, ExecutionSummary, Posted
from process_engine.runtime.view import ProcessExecution
from process_engine.testing.answers import LARGE, Answers
from process_engine.testing.deciders import drawn_command, is_recorded, request_of
from process_engine.testing.disks import Disk, run_now
from process_engine.testing.judge import EVERYTHING, Judge, PromiseBroken
from process_engine.testing.letters import drawn_event, fits
from process_engine.testing.random_processes import random_process
from process_engine.testing.simulated_ports import AttemptKey
from process_engine.testing.simulated_process import Request, SimulatedProcess
from process_engine.testing.simulated_time import SimulatedClock, SimulatedTime

Refusal = ProcessEngineError


class People:
    """Clients and operators; they survive every process, and remember what they were told."""

    def __init__(self, rng: Random, disk: Disk, judge: Judge, time: SimulatedTime, executions: int) -> None:
        self.to_start = executions
        self._rng = rng
        self._judge = judge
        self._time = time
        self._numbers = 0
        # The latest process; now and then another execution of it is started.
        self._definition: ProcessDefinition | None = None
        # Two processes that others run as steps, one of which runs the other; a third that nobody knows.
        self._called = (
            random_process(rng, "leaf", most=3),
            random_process(rng, "middle", calls=("leaf", "leaf", "nobody"), most=5),
        )
        for definition in self._called:
            judge.adopt(definition)
        self._cancel_weight = rng.choice((0, 1, 4))
        # Starts under an id of the client's, until they are acknowledged: they can be repeated.
        self._wanted: dict[ExecutionId, tuple[ProcessDefinition, dict[str, object]]] = {}
        self._asking: set[tuple[str, str, ExecutionId]] = set()
        self._left: dict[int, tuple[InboxCommand, str]] = {}
        # What was published, by id: it may be published again.
        self._published: dict[str, tuple[str, object, ExecutionId | None]] = {}
        self._past: list[RecordResult] = []
        self._stranger: ExecutionRepository = disk.repository()
        run_now(self._stranger.open(clock=SimulatedClock(time), writer=False))

    # ------------------------------------------------------------ starts

    def new_id(self) -> ExecutionId:
        """An id for those who leave it to the engine."""
        return ExecutionId(f"auto-{self._next()}")

    def start(self, process: SimulatedProcess) -> None:
        """Ask for a new execution, under an id of one's own or not."""
        if not self.to_start:
            return
        self.to_start -= 1
        if self._definition is None or self._rng.random() < 0.7:
            calls = ("leaf", "middle", "leaf", "middle", "nobody") if self._rng.random() < 0.6 else ()
            self._definition = random_process(self._rng, f"p{self._next()}", calls=calls)
            self._judge.adopt(self._definition)
        definition = self._definition
        execution_id = ExecutionId(f"own-{self._next()}") if self._rng.random() < 0.6 else None
        given = self._input()
        if execution_id is not None:
            self._wanted[execution_id] = (definition, given)
        self._start(process, execution_id, definition, given)

    def start_again(self, process: SimulatedProcess) -> bool:
        """Repeat a start that nobody has answered; False if there is none."""
        if not self._wanted:
            return False
        execution_id = self._rng.choice(sorted(self._wanted))
        self._judge.counts["start repeated"] += 1
        self._start(process, execution_id, *self._wanted[execution_id])
        return True

    def _start(
        self,
        process: SimulatedProcess,
        execution_id: ExecutionId | None,
        definition: ProcessDefinition,
        given: dict[str, object],
    ) -> None:
        hold = self._rng.random() < 0.15
        self._judge.counts["asked: start held" if hold else "asked: start"] += 1

        async def start(engine: Engine) -> ProcessExecution:
            for called in self._called:
                await engine.make_known(called)
            return await engine.start(definition, given, execution_id=execution_id, hold=hold)

        process.request(start, lambda answer: self._started(execution_id, answer))

    def _started(self, execution_id: ExecutionId | None, answer: object) -> None:
        if not isinstance(answer, ProcessExecution):
            self._refused(answer)
            return
        if execution_id not in (None, answer.id):
            raise PromiseBroken(f"{execution_id} was asked for, and {answer.id} started")
        self._judge.acknowledged[answer.id] = True
        self._wanted.pop(answer.id, None)
        if answer.id not in self._judge.records:
            raise PromiseBroken(f"I10: the start of {answer.id} was acknowledged before it was stored")

    def _input(self) -> dict[str, object]:
        given: dict[str, object] = {
            "flag": self._rng.random() < 0.5,
            "n": self._rng.randint(0, 30),
            "agent": "agent-x",
        }
        if self._rng.random() < 0.1:
            given["pad"] = LARGE
        return given

    # ------------------------------------------------------------ operators

    def operate(self, process: SimulatedProcess) -> None:
        """An operator does something, here or from another process through the store's inbox."""
        if not self._judge.records:
            return
        execution_id = self._rng.choice(sorted(self._judge.records))
        by = f"operator {self._next()}"
        if self._rng.random() < 0.5:
            command = self._command(execution_id, by)
            self._judge.counts[f"asked: {type(command).__name__}"] += 1
            self._carry_out(process, command, by)
        else:
            self._leave(self._command(execution_id, by), by)

    def decide(self, process: SimulatedProcess) -> None:
        """Somebody does something about a question that is open, here or through the store's inbox."""
        asked = run_now(self._stranger.approvals(limit=EVERYTHING))
        if not asked:
            return
        command = drawn_command(self._rng, self._rng.choice(asked))
        if self._rng.random() < 0.3:
            self._leave(command, command.by)
            return
        self._judge.counts[f"asked: {type(command).__name__}"] += 1
        process.request(request_of(command), lambda answer: self._carried_out(command, command.by, answer))

    def publish(self, process: SimulatedProcess) -> None:
        """Somebody publishes an event: a new one, or one that was published already, under the same id."""
        if self._published and self._rng.random() < 0.2:
            id = self._rng.choice(sorted(self._published))
            self._judge.counts["published again"] += 1
        else:
            id = f"event-{self._next()}"
            known = sorted(self._judge.records)
            to = self._rng.choice(known) if known and self._rng.random() < 0.3 else None
            self._published[id] = (*drawn_event(self._rng), to)
        name, payload, to = self._published[id]
        if self._rng.random() < 0.7:
            self._judge.counts["asked: PublishEvent"] += 1
            self._publish(process, id)
            return
        value, blobs = pack(payload)
        event = NewEvent(
            id=id, name=name, payload=value, published_at=self._time.moment, execution_id=to, by="stranger"
        )
        self._leave(PublishEvent(event=event, blobs=blobs), "")

    def _publish(self, process: SimulatedProcess, id: str) -> None:
        name, payload, to = self._published[id]
        # Who was there before it was published can see it.
        witnesses = sorted(self._judge.records) if to is None else [to]

        def told(answer: object) -> None:
            if not isinstance(answer, Posted):
                self._refused(answer)
                return
            if answer.repeated or not witnesses:
                return
            if answer.published not in run_now(self._stranger.mail(name, witnesses[0], limit=EVERYTHING)):
                raise PromiseBroken(f"{id} was acknowledged, and the mailbox does not hold it")

        process.request(lambda engine: engine.publish_event(name, payload, execution_id=to, id=id), told)

    def answer_waits(self, process: SimulatedProcess) -> bool:
        """Publish what a wait without timeout waits for, once nothing else can happen; False if none waits.

        Raises:
            PromiseBroken: what fits was published before, and the wait has not taken it.
        """
        for (execution_id, step_id), wait in list(self._judge.postman.open_waits.items()):
            plan = self._judge.records[execution_id].plan
            lost = self._judge.postman.first_that_fits(plan, execution_id, step_id)
            if lost is not None:
                raise PromiseBroken(f"{step_id} of {execution_id} waits, and {lost} fits")
            step = plan.definition.step(step_id)
            assert isinstance(step, WaitForEvent)
            assert wait.event is not None
            payload = next(given for given in ({"n": 8}, {"n": 3}, {"m": 1}) if fits(step, given))
            id = f"last-{self._next()}"
            self._published[id] = (wait.event, payload, execution_id)
            self._publish(process, id)
            return True
        return False

    def _command(self, execution_id: ExecutionId, by: str) -> AnyCommand:
        failed = self.status(execution_id) is ExecutionStatus.FAILED
        # Some ask too early: a failure may be on its way to the store.
        if self._rng.random() < (0.5 if failed else 0.15):
            steps = [None, None, *self._judge.records[execution_id].plan.order]
            value, blobs = pack(self._input()) if self._rng.random() < 0.3 else (None, {})
            step = self._rng.choice(steps)
            return RetryStep(execution_id=execution_id, step_id=step, input=value, blobs=blobs, by=by)
        kinds = (PauseExecution, ResumeExecution, CancelExecution)
        kind = self._rng.choices(kinds, (8, 8, self._cancel_weight))[0]
        return kind(execution_id=execution_id, by=by)

    def _carry_out(self, process: SimulatedProcess, command: AnyCommand, by: str) -> None:
        process.request(self._request_of(command), lambda answer: self._carried_out(command, by, answer))

    def _request_of(self, command: AnyCommand) -> Request:
        """The way in which a program that embeds the engine gives this command."""
        match command:
            case PauseExecution(execution_id=id, by=by):
                return lambda engine: engine.pause(id, by=by)
            case ResumeExecution(execution_id=id, by=by):
                return lambda engine: engine.resume(id, by=by)
            case CancelExecution(execution_id=id, by=by):
                return lambda engine: engine.cancel(id, by=by)
            case RetryStep(execution_id=id, step_id=step, by=by):
                given = self._input() if command.input is not None else None
                return lambda engine: engine.retry(id, from_step=step, input=given, by=by)
            case _:
                raise AssertionError(f"no operator gives {command}")

    def _carried_out(self, command: AnyCommand, by: str, answer: object) -> None:
        if isinstance(answer, Refusal):
            self._refused(answer)
        else:
            self._check_done(command, by)

    def _check_done(self, command: AnyCommand, by: str) -> None:
        """What was acknowledged to an operator is in the history, under that operator's name."""
        events = self._judge.records[command.execution_id].events
        if isinstance(command, DecideApproval | DelegateApproval):
            if not is_recorded(command, events):
                raise PromiseBroken(f"{command} was acknowledged, and the history does not know of it")
            return
        named = any(getattr(event, "by", None) == by for event in events)
        # The beginning of a held execution does not say who let it go.
        begun = isinstance(command, ResumeExecution) and any(
            isinstance(e_, e.ProcessStarted) for e_ in events
        )
        if not named and not begun:
            raise PromiseBroken(f"{command} was acknowledged, and the history does not know of it")

    def _refused(self, answer: object) -> None:
        assert isinstance(answer, Refusal), answer
        self._judge.counts[f"refused: {answer.code}"] += 1

    # ------------------------------------------------------------ the inbox

    def _leave(self, command: InboxCommand, by: str) -> None:
        """Leave a command for whoever runs executions, as another process does."""
        self._judge.counts[f"left: {type(command).__name__}"] += 1
        entry = run_now(self._stranger.submit(command))
        self._left[entry] = (command, by)

    @property
    def has_unanswered(self) -> bool:
        """Whether a command that was left has no answer yet."""
        return bool(run_now(self._stranger.inbox(limit=1)))

    def check_answers(self) -> None:
        """Every command that was left has an answer by now, and the right one.

        Raises:
            PromiseBroken: it has not.
        """
        for entry, (command, by) in self._left.items():
            answer = run_now(self._stranger.read_answer(entry))
            if answer is None:
                raise PromiseBroken(f"{command} was left in the inbox and never answered")
            self._judge.counts["inbox answered"] += 1
            if answer.error_code is None and not isinstance(
                command, RecordResult | WakeStep | PublishEvent | ChildFinished
            ):
                self._check_done(command, by)

    def give_late(self, answers: Answers, key: AttemptKey) -> None:
        """Somebody brings the answer of an attempt that nobody listens to any more, or of a forged one."""
        _, result = answers.draw(key)
        self.deliver(result)

    def deliver(self, result: RecordResult) -> None:
        """Bring a result by way of the inbox."""
        self._judge.remember(result)
        self._past.append(result)
        self._leave(result, "")

    def remember(self, result: RecordResult) -> None:
        """An agent has given this answer; it may come again."""
        self._past.append(result)

    def give_again(self) -> None:
        """The same answer comes twice."""
        if self._past:
            self._judge.counts["duplicate delivered"] += 1
            self._leave(self._rng.choice(self._past), "")

    def tell_again(self) -> None:
        """How a child ended is told a second time, or somewhere between its end and a retry of its step."""
        ends = [
            event
            for record in self._judge.records.values()
            for event in record.events
            if isinstance(event, e.ChildEnded)
        ]
        if ends:
            end = self._rng.choice(ends)
            self._judge.counts["end of a child told again"] += 1
            again = ChildFinished(
                execution_id=end.execution_id,
                step_id=end.step_id,
                child_id=end.child_id,
                outcome=end.outcome,
                usage=end.usage,
            )
            self._leave(again, "")

    def wake_early(self) -> None:
        """A timer is said to be due although it is not: somebody's clock is ahead."""
        timers = [item for item in self._timers() if not item.key.startswith(":") or item.undoes]
        if timers:
            item = self._rng.choice(timers)
            self._judge.counts["woken early"] += item.due is not None and item.due > self._time.moment
            wake = WakeStep(
                execution_id=item.execution_id,
                step_id=item.step_id,
                item=item.item,
                visit=item.visit,
                attempt=item.attempt,
                undo=item.undoes,
            )
            self._leave(wake, "")

    def _timers(self) -> list[WorkItem]:
        return list(run_now(self._stranger.timers(after=None, limit=EVERYTHING)))

    # ------------------------------------------------------------ onlookers

    def look(self, process: SimulatedProcess) -> None:
        """Somebody asks how things are."""
        if not self._judge.records:
            return
        execution_id = self._rng.choice(sorted(self._judge.records))
        match self._rng.choice(("watch", "watch", "explain", "get", "list", "approvals")):
            case "watch":
                self._watch(process, execution_id, wait_for_timers=self._rng.random() < 0.8)
            case "explain":
                process.request(
                    lambda engine: engine.explain(execution_id),
                    lambda answer: self._explained(execution_id, answer),
                )
            case "approvals":
                process.request(lambda engine: engine.approvals(), self._seen)
            case "get":
                process.request(lambda engine: engine.get(execution_id), self._seen)
            case _:
                known = set(self._judge.acknowledged)
                process.request(
                    lambda engine: engine.list(limit=EVERYTHING), lambda answer: self._listed(known, answer)
                )

    def _watch(
        self, process: SimulatedProcess, execution_id: ExecutionId, *, wait_for_timers: bool = True
    ) -> None:
        settles = wait_for_timers and process.recovers
        process.request(
            lambda engine: engine.run_until_settled(execution_id, wait_for_timers=wait_for_timers),
            lambda answer: self._settled(answer, settles=settles),
        )

    def _settled(self, answer: object, *, settles: bool) -> None:
        if not isinstance(answer, ProcessExecution):
            self._refused(answer)
            return
        self._judge.counts["watched to its end"] += answer.status.is_final
        quiet = answer.status.is_final or answer.status in (ExecutionStatus.PENDING, ExecutionStatus.PAUSED)
        for_event = any(b.kind is BlockerKind.EVENT and b.due is None for b in answer.blockers)
        # Or it waits for a child that has settled.
        for_child = any(blocker.kind is BlockerKind.CHILD for blocker in answer.blockers)
        if settles and not quiet and not for_event and not for_child:
            raise PromiseBroken(f"{answer.id} is said to have settled and is {answer.status}")

    def _explained(self, execution_id: ExecutionId, answer: object) -> None:
        if isinstance(answer, Refusal):
            self._refused(answer)
            return
        self._judge.counts["explained"] += 1
        events = self._judge.records[execution_id].events
        ends = (e.ProcessCompleted, e.ProcessFailed, e.ProcessCancelled)
        if not answer and not any(isinstance(event, ends) for event in events):
            raise PromiseBroken(f"I7: nothing explains what {execution_id} waits for")

    def _seen(self, answer: object) -> None:
        if isinstance(answer, Refusal):
            self._refused(answer)

    def _listed(self, known: set[ExecutionId], answer: object) -> None:
        if isinstance(answer, Refusal):
            self._refused(answer)
            return
        missing = known - {line.id for line in cast("Sequence[ExecutionSummary]", answer)}
        if missing:
            raise PromiseBroken(f"I10: {sorted(missing)} were acknowledged and are not listed")

    def status(self, execution_id: ExecutionId) -> ExecutionStatus:
        """Where a stored execution stands."""
        return self._judge.records[execution_id].execution.status

    @property
    def held(self) -> list[ExecutionId]:
        """Executions that go on only when somebody says so."""
        waiting = (ExecutionStatus.PENDING, ExecutionStatus.PAUSED)
        return [key for key in self._judge.records if self.status(key) in waiting]

    @property
    def unfinished(self) -> list[ExecutionId]:
        """Executions that have not ended."""
        return [key for key in self._judge.records if not self.status(key).is_final]

    def go_on(self, process: SimulatedProcess) -> bool:
        """Do what is left to do once things have become quiet; False if there is nothing."""
        if self.to_start:
            self.start(process)
        elif again := self._not_yet(process, "start", list(self._wanted)):
            self._start(process, again, *self._wanted[again])
        elif held := self._not_yet(process, "resume", self.held):
            self._let_go(process, held)
        elif unwatched := self._not_yet(process, "watch", self.unfinished):
            self._watch(process, unwatched)
        else:
            return False
        return True

    def _not_yet(self, process: SimulatedProcess, what: str, of: Sequence[ExecutionId]) -> ExecutionId | None:
        """One of these executions for which `what` is not asked of this process already."""
        left = [key for key in of if (process.name, what, key) not in self._asking]
        if not left:
            return None
        chosen = self._rng.choice(left)
        self._asking.add((process.name, what, chosen))
        return chosen

    def _let_go(self, process: SimulatedProcess, execution_id: ExecutionId) -> None:
        by = f"operator {self._next()}"
        command = ResumeExecution(execution_id=execution_id, by=by)

        def told(answer: object) -> None:
            # It may be held a second time, by an interruption that a person has to look at.
            self._asking.discard((process.name, "resume", execution_id))
            self._carried_out(command, by, answer)

        process.request(lambda engine: engine.resume(execution_id, by=by), told)

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers
