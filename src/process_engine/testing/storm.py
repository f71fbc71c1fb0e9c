"""What happens in a simulation: first a storm of everything at once, then quiet in which all must settle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from random import Random

from process_engine.core.commands import (
    AnyCommand,
    CancelExecution,
    PauseExecution,
    RecordResult,
    ResumeExecution,
    RetryStep,
    StartExecution,
)
from process_engine.core.config import ExecutionConfig
from process_engine.core.plan import Plan
from process_engine.core.results import Completed, Failed, Usage
from process_engine.core.state import Execution, ExecutionStatus
from process_engine.core.transition import Transition
from process_engine.core.values import pack
from process_engine.errors import CommandRejected
from process_engine.ids import ExecutionId, StepId
from process_engine.repositories.memory import MemoryRepository
from process_engine.testing.random_processes import random_process
from process_engine.testing.simulated_engine import EngineCrashed, SimulatedEngine, run_now, wake_up
from process_engine.testing.simulated_world import Call, World

# Enough for each execution to get halfway on average; the quiet phase does the rest.
STORM_STEPS_PER_EXECUTION = 45
# Every turn of the quiet phase settles something; the longest bounded loops need a few hundred.
QUIET_TURNS = 3000
# More than a state keeps in place, so that it becomes a reference.
_LARGE = "x" * 70_000
_FAULTS = ("crash before commit", "crash after commit", "acknowledgement lost", "commit refused")
_TRANSIENT = ("AGENT_UNAVAILABLE", "AGENT_TIMEOUT", "TIMEOUT")
_HARD = ("AGENT_ERROR", "INVALID_OUTPUT", "HANDLER_ERROR")


class Storm:
    """One simulation: `rng` decides everything that happens in `world`."""

    def __init__(self, rng: Random, world: World, *, executions: int) -> None:
        self.rng = rng
        self.world = world
        self.to_start = executions
        self.quiet = False
        self.started: list[ExecutionId] = []
        self.starts: dict[ExecutionId, Plan] = {}
        self.answers = 0
        # Some seeds are calm, some hardly get a commit through.
        self.fault_rate = rng.choice((0.0, 0.02, 0.1, 0.3))
        self.failure_rate = rng.choice((0.0, 0.1, 0.3, 0.6))
        self.cancel_weight = rng.choice((0, 1, 4))
        self.engine = self._new_engine()
        self.zombies: list[SimulatedEngine] = []
        self.past: list[RecordResult] = []

    # ------------------------------------------------------------ phases

    def run(self) -> None:
        """Storm, then quiet, then the last look at everything.

        Raises:
            AssertionError: a promise was broken, or something never came to its end.
        """
        actions = self._actions()
        for _ in range(STORM_STEPS_PER_EXECUTION * self.to_start):
            try:
                self.rng.choice(actions)()
            except EngineCrashed:
                self.crash()
        self.settle()
        self.last_look()

    def _actions(self) -> list[Callable[[], None]]:
        """What can happen, each as often as is likely; a seed's taste may leave one out, or make it rage."""
        needed = ((self.start, 3), (self.answer, 12), (self.take_turn, 14), (self.pass_time, 5))
        spice = (
            (self.repeat_answer, 2),
            (self.answer_late, 2),
            (self.forge_answer, 1),
            (self.operate, 3),
            (self.forget, 1),
            (self.wake_early, 1),
            (self.crash_between, 1),
            (self.take_over, 1),
            (self.let_zombie_act, 1),
        )
        tasted = ((action, weight * self.rng.choice((0, 1, 1, 3))) for action, weight in spice)
        return [action for action, weight in (*needed, *tasted) for _ in range(weight)]

    def settle(self) -> None:
        """The quiet phase: no faults, everybody answers; all must end within a bounded number of turns."""
        self.quiet = True
        self.world.tell("-- quiet")
        while self.to_start:
            self.start()
        for _ in range(QUIET_TURNS):
            self.world.counts["quiet turns"] += 1
            self.engine.poll_inbox()
            self.engine.fire_due()
            if self.engine.waiting:
                self.engine.turn(self.rng.randint(1, 20))
            elif not self._go_on():
                break
        left = {execution_id: self._status(execution_id) for execution_id in self.started}
        stuck = {key: status for key, status in left.items() if status is not None and not status.is_final}
        assert not stuck, f"never came to an end: {stuck}"

    def _go_on(self) -> bool:
        """Do what is needed for things to go on; False if nothing is."""
        calls = [call for call in self.world.calls if call.engine is self.engine]
        held = [
            key
            for key in self.started
            if self._status(key) in (ExecutionStatus.PENDING, ExecutionStatus.PAUSED)
        ]
        due = self.engine.next_due()
        if held and self.rng.random() < 0.5:
            self.engine.submit(ResumeExecution(execution_id=self.rng.choice(held)))
        elif calls:
            self._answer(self.rng.choice(calls))
        elif due is not None:
            self.world.time.moment = max(self.world.time.moment, due)
        elif held:
            self.engine.submit(ResumeExecution(execution_id=self.rng.choice(held)))
        else:
            return False
        return True

    def last_look(self) -> None:
        """Nothing may be left over: no work, no call, no acknowledged start that is not there."""
        rows = self.world.tables.rows
        assert not rows.work, f"work is left over: {rows.work}"
        left = (*self.engine.running, *self.engine.timers)
        assert not left, f"the engine waits for {left}, which is settled"
        for execution_id in self.world.acknowledged:
            assert execution_id in rows.heads, f"I10: the acknowledged start of {execution_id} is lost"
        for execution_id, record in self.world.records.items():
            events = run_now(self.world.reader.events(execution_id, limit=10**6))
            assert list(events) == record.events, f"the history of {execution_id} was changed afterwards"

    def _status(self, execution_id: ExecutionId) -> ExecutionStatus | None:
        summary = self.world.tables.rows.summaries.get(execution_id)
        return summary.status if summary is not None else None

    # ------------------------------------------------------------ starts and commands

    def start(self) -> None:
        """Ask for a new execution."""
        if not self.to_start:
            return
        self.to_start -= 1
        number = len(self.started)
        execution_id = ExecutionId(f"e{number}")
        definition = random_process(self.rng, f"p{number}")
        plan = self.world.adopt(definition)
        self.world.keep_definition(self.engine, definition)
        self.started.append(execution_id)
        value, blobs = pack(self._input())
        self.starts[execution_id] = plan
        command = StartExecution(
            execution_id=execution_id,
            input=value,
            blobs=blobs,
            config=self._config(),
            hold=self.rng.random() < 0.15,
        )
        self.engine.submit(command, self._acknowledge(execution_id))

    def _acknowledge(self, execution_id: ExecutionId):
        def told(answer: Execution | CommandRejected) -> None:
            if isinstance(answer, Execution):
                self.world.acknowledged[execution_id] = True

        return told

    def _input(self) -> dict[str, object]:
        given: dict[str, object] = {
            "flag": self.rng.random() < 0.5,
            "n": self.rng.randint(0, 30),
            "agent": "agent-x",
        }
        if self.rng.random() < 0.1:
            given["pad"] = _LARGE
        return given

    def _config(self) -> ExecutionConfig:
        return ExecutionConfig(
            parallel_execution=self.rng.random() < 0.9,
            stop_on_failure=self.rng.random() < 0.65,
            max_concurrent_steps=self.rng.choice((0, 0, 1, 2, 3)),
            cancel_grace=self.rng.choice((0.0, 5.0, 30.0)),
        )

    def operate(self) -> None:
        """An operator does something, here or from another process through the store's inbox."""
        if not self.started:
            return
        execution_id = self.rng.choice(self.started)
        kind = self.rng.choices(
            (PauseExecution, ResumeExecution, CancelExecution), (8, 8, self.cancel_weight)
        )[0]
        command: AnyCommand = kind(execution_id=execution_id, by="operator")
        status = self._status(execution_id)
        if status is None:
            return
        if status is ExecutionStatus.FAILED and self.rng.random() < 0.5:
            command = self._retry(execution_id)
        if self.rng.random() < 0.5:
            self.engine.submit(command)
            return
        stranger = MemoryRepository(self.world.tables)
        run_now(stranger.open(clock=self.world.time, writer=False))
        run_now(stranger.submit(command))
        self.engine.poll_inbox()
        self.world.counts["inbox answered"] += len(self.world.tables.answers) > 0

    def _retry(self, execution_id: ExecutionId) -> RetryStep:
        """Take a failed execution back, from where it failed or from further up, perhaps with other input."""
        steps = [None, None, *self.world.records[execution_id].plan.order]
        value, blobs = pack(self._input()) if self.rng.random() < 0.3 else (None, {})
        return RetryStep(
            execution_id=execution_id, step_id=self.rng.choice(steps), input=value, blobs=blobs, by="operator"
        )

    # ------------------------------------------------------------ answers

    def answer(self) -> None:
        """One agent answers."""
        if self.world.calls:
            self._answer(self.rng.choice(self.world.calls))

    def _answer(self, call: Call) -> None:
        item = call.item
        self.world.calls.remove(call)
        self._deliver(call.engine, self._result(item.execution_id, item.key, item.visit, item.attempt))

    def _deliver(self, engine: SimulatedEngine, command: RecordResult) -> None:
        self.world.remember(command)
        self.past.append(command)
        engine.submit(command)

    def _result(self, execution_id: ExecutionId, step_id: str, visit: int, attempt: int) -> RecordResult:
        result = self._completed() if self.rng.random() >= self.failure_rate else self._failed()
        command = RecordResult(
            execution_id=execution_id, step_id=StepId(step_id), visit=visit, attempt=attempt, result=result
        )
        if isinstance(result, Completed) and self.rng.random() < 0.5:
            value, blobs = pack(result.output)
            packed = Completed(None, usage=result.usage)
            command = RecordResult(
                execution_id=execution_id,
                step_id=StepId(step_id),
                visit=visit,
                attempt=attempt,
                result=packed,
                value=value,
                blobs=blobs,
            )
        return command

    def _completed(self) -> Completed:
        self.answers += 1
        number = self.answers
        kind = self.rng.random()
        output: object = {
            "n": self.rng.randint(0, 9),
            "ok": self.rng.random() < 0.7,
            "text": f"answer {number}",
            "number": number,
        }
        if kind < 0.08:
            output = {"n": self.rng.randint(0, 9), "text": _LARGE, "number": number}
        elif kind < 0.16:
            output = {"n": 1, "items": [{"deep": [number, None, {"er": "ä"}]}], "number": number}
        elif kind < 0.2:
            output = f"just text {number}"
        elif kind < 0.22:
            output = None
        return Completed(output, usage=self._usage())

    def _failed(self) -> Failed:
        transient = self.rng.random() < 0.7
        code = self.rng.choice(_TRANSIENT if transient else _HARD)
        retry_after = self.rng.choice((None, None, None, 3.0, 7200.0)) if transient else None
        return Failed(code, "no", transient=transient, retry_after=retry_after, usage=self._usage())

    def _usage(self) -> Usage:
        if self.rng.random() < 0.5:
            return Usage()
        cost = Decimal(self.rng.randint(1, 999_999)) / Decimal(1_000_000)
        return Usage(cost=cost, input_tokens=self.rng.randint(0, 500), output_tokens=self.rng.randint(0, 500))

    def repeat_answer(self) -> None:
        """The same answer comes twice."""
        if self.past:
            self.world.counts["duplicate delivered"] += 1
            self.engine.submit(self.rng.choice(self.past))

    def answer_late(self) -> None:
        """An agent answers one who is dead or does not wait any more: today's engine hears it."""
        if self.world.abandoned:
            call = self.rng.choice(self.world.abandoned)
            item = call.item
            self._deliver(self.engine, self._result(item.execution_id, item.key, item.visit, item.attempt))

    def forge_answer(self) -> None:
        """A result for an attempt or a visit that nobody began."""
        if self.world.calls:
            item = self.rng.choice(self.world.calls).item
            visit, attempt = self.rng.choice(((0, 1), (0, 2), (1, 0), (1, 1), (-1, 0), (0, -1)))
            self.world.counts["forged result delivered"] += 1
            forged = self._result(item.execution_id, item.key, item.visit + visit, item.attempt + attempt)
            self._deliver(self.engine, forged)

    # ------------------------------------------------------------ time and turns

    def pass_time(self) -> None:
        """Time goes on: a little, or to the next timer, or, where a clock is set back, the wrong way."""
        kind = self.rng.random()
        due = self.engine.next_due()
        if kind < 0.05:
            self.world.counts["clock set back"] += 1
            self.world.time.advance(-self.rng.random() * 10)
        elif kind < 0.4 and due is not None:
            self.world.time.moment = max(
                self.world.time.moment, due + timedelta(seconds=self.rng.choice((0.0, 0.0, 1.0)))
            )
        else:
            self.world.time.advance(self.rng.random() * 10)
        self.engine.fire_due()

    def wake_early(self) -> None:
        """A timer fires although it is not due: its clock was ahead."""
        if self.engine.timers:
            item = self.engine.timers[self.rng.choice(sorted(self.engine.timers))]
            self.world.counts["woken early"] += item.due is not None and item.due > self.world.time.moment
            self.engine.submit(wake_up(item))

    def take_turn(self) -> None:
        """The engine commits what has arrived, or some of it."""
        self.engine.commit_fault = self._fault
        self.engine.turn(self.rng.choice((1, 1, 2, 3, 5, 100)))

    def _fault(self, transitions: Sequence[Transition]) -> str | None:
        if self.quiet or self.rng.random() >= self.fault_rate:
            return None
        fault = self.rng.choice(_FAULTS)
        self.world.tell(f"-- {fault}")
        return fault

    def forget(self) -> None:
        """The engine needs memory: the next command for an execution reads the store."""
        if self.engine.executions:
            self.world.counts["state read back from the store"] += 1
            self.engine.forget(self.rng.choice(sorted(self.engine.executions)))

    # ------------------------------------------------------------ the end of engines

    def _new_engine(self) -> SimulatedEngine:
        engine = self.world.engine()
        engine.starting = self.starts
        engine.recover()
        return engine

    def crash_between(self) -> None:
        """The process dies between two commits."""
        self.world.counts["crash between commits"] += 1
        self.crash()

    def crash(self) -> None:
        """The engine is gone, with all it had in memory; another opens the store."""
        self.world.tell("-- crash")
        self.world.bury(self.engine)
        self.engine = self._new_engine()

    def take_over(self) -> None:
        """Another engine takes the store over, and the former does not know it yet."""
        self.world.counts["takeover"] += 1
        self.world.tell("-- takeover")
        self.zombies.append(self.engine)
        self.engine = self._new_engine()

    def let_zombie_act(self) -> None:
        """An engine that has lost the store goes on with what it has."""
        if self.zombies:
            zombie = self.zombies.pop()
            for call in [call for call in self.world.calls if call.engine is zombie]:
                self._answer(call)
            zombie.fire_due()
            self.world.refuse_zombie(zombie)
            self.world.bury(zombie)
