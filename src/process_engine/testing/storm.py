"""What happens in the first phase of a simulation: everything at once, and faults of every kind."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import accumulate
from random import Random

from process_engine.core.config import ExecutionConfig
from process_engine.errors import OwnershipLost, StorageUnavailable
from process_engine.testing.answers import Answers
from process_engine.testing.disks import Disk, begin
from process_engine.testing.faults import FAILURES, Fates
from process_engine.testing.judge import Judge, PromiseBroken, Scrutiny
from process_engine.testing.people import People
from process_engine.testing.simulated_ports import COMMIT, WRITES, Call, Operation
from process_engine.testing.simulated_process import SimulatedProcess
from process_engine.testing.simulated_time import SimulatedClock, SimulatedTime
from process_engine.testing.telling import Teller

# Enough for each execution to get halfway on average; the quiet phase does the rest.
STORM_STEPS_PER_EXECUTION = 100
# Turns of one event loop until it has nothing left to do; more mean that it runs in circles.
TURNS_TO_REST = 1_000

Choice = tuple[float, Callable[[], bool], Callable[[], object]]
"""How likely it is beside the others, whether it can happen now, and what happens."""


class Storm:
    """One simulation: `rng` decides everything that happens."""

    def __init__(
        self, rng: Random, disk: Disk, *, executions: int, scrutiny: Scrutiny = Scrutiny.USUAL
    ) -> None:
        self.rng = rng
        self.disk = disk
        self.time = SimulatedTime()
        self.teller = Teller(self.time)
        self.judge = Judge(begin(disk, SimulatedClock(self.time)), self.time, self.teller, scrutiny)
        self.answers = Answers(rng)
        self.people = People(rng, disk, self.judge, self.time, executions)
        self.executions = executions
        self.quiet = False
        self.fates = Fates(rng)
        # How often a process is left to itself until it rests, and not after one turn of its loop.
        self.haste = rng.choice((0.2, 0.7, 0.95))
        self.clock_trouble = rng.choice((0.0, 0.05, 0.2))
        self.fault: BaseException | None = None
        self.zombies: list[SimulatedProcess] = []
        self.owner: SimulatedProcess | None = None
        self.given_up: list[Call] = []
        self._names = 0
        self.process = self._new_process()

    def end(self) -> None:
        """End every process that there still is."""
        for process in (self.process, *self.zombies):
            if not process.loop.dead:
                process.kill()

    # ------------------------------------------------------------ phases

    def run(self) -> None:
        """As many steps as bring each execution about halfway.

        Raises:
            AssertionError: a promise was broken.
        """
        choices = self._choices()
        weights = list(accumulate(weight for weight, _, _ in choices))
        for _ in range(STORM_STEPS_PER_EXECUTION * self.executions):
            self._step(choices, weights)

    def _choices(self) -> list[Choice]:
        """What can happen, each as often as is likely; a seed's taste may leave one out, or make it rage."""
        needed: tuple[Choice, ...] = (
            (20.0, lambda: self.process.loop.is_busy, self.take_turn),
            (16.0, lambda: bool(self.process.store.operations), self.operate_store),
            (8.0, lambda: bool(self.process.agents.open), self.answer),
            (3.0, lambda: True, self.pass_time),
            (2.0, lambda: bool(self.people.to_start) and self._listens(), self.start),
            (6.0, lambda: self.process.failure is not None, self.leave_failed),
            (0.2, self._listens, lambda: self.process.probe()),
            (3.0, lambda: bool(self.zombies), self.let_zombie_act),
        )
        spice: tuple[Choice, ...] = (
            (0.6, self._listens, lambda: self.people.operate(self.process)),
            (1.0, self._listens, lambda: self.people.decide(self.process)),
            (0.6, self._listens, lambda: self.people.publish(self.process)),
            (0.3, self._listens, lambda: self.people.look(self.process)),
            (0.15, self._listens, lambda: self.people.start_again(self.process)),
            (0.15, lambda: True, self.people.give_again),
            (0.15, lambda: bool(self.given_up), self.answer_late),
            (0.15, lambda: bool(self.process.agents.open), self.forge_answer),
            (0.15, lambda: True, self.people.wake_early),
            (0.15, lambda: True, self.people.tell_again),
            (0.3, lambda: self.process.clock.next_due is not None, self.run_ahead),
            (0.04, lambda: True, self.crash_between),
            (0.04, lambda: True, self.take_over),
            (0.03, lambda: not self.process.is_stopping, self.stop_in_order),
            (0.03, lambda: not self.fates.is_out, self.begin_outage),
        )
        tastes = ((weight * self.rng.choice((0, 1, 1, 3)), when, act) for weight, when, act in spice)
        return [*needed, *(choice for choice in tastes if choice[0])]

    def _listens(self) -> bool:
        return self.process.listens

    def _step(self, choices: Sequence[Choice], weights: Sequence[float]) -> None:
        """One thing happens, of those that can; time can always pass."""
        if self.process.has_ended:
            self.succeed()
        while True:
            _, can_happen, happen = choices[bisect(weights, self.rng.random() * weights[-1])]
            if can_happen():
                break
        happen()
        self.check()

    def check(self) -> None:
        """Raise the fault that came up meanwhile, if any did."""
        if self.fault is not None:
            raise self.fault

    def blame(self, fault: BaseException) -> None:
        """Note a fault that came up where it cannot be raised; the first one counts."""
        self.fault = self.fault or fault

    def calm_down(self) -> None:
        """No faults any more, and only one process."""
        self.quiet = True
        self.teller.tell("-- quiet")
        for zombie in self.zombies:
            self.bury(zombie)
        self.zombies.clear()
        self.process.probe()

    # ------------------------------------------------------------ processes

    def _new_process(self) -> SimulatedProcess:
        self._names += 1
        config = ExecutionConfig(
            parallel_execution=self.rng.random() < 0.9,
            stop_on_failure=self.rng.random() < 0.65,
            max_concurrent_steps=self.rng.choice((0, 0, 1, 2, 3)),
            default_step_timeout=self.rng.choice((None, 5.0, 60.0)),
            cancel_grace=self.rng.choice((0.0, 5.0, 30.0)),
        )
        return SimulatedProcess(
            f"process {self._names}",
            self.disk.repository(),
            self.judge,
            self.time,
            config=config,
            new_id=self.people.new_id,
            recover=self.quiet or self.rng.random() < 0.9,
            on_fault=self.blame,
        )

    def succeed(self) -> None:
        """The process has ended by itself; the next one begins."""
        process = self.process
        if process.failure is None:
            self.teller.counts["ended in good order"] += 1
        self.check_nothing_left(process)
        self.bury(process)
        self.process = self._new_process()

    def check_nothing_left(self, process: SimulatedProcess) -> None:
        """An engine that was left owns nothing any more: no task, no call, nobody who waits for an answer.

        Raises:
            PromiseBroken: it does.
        """
        self.let_rest(process)
        if process.is_open and (process.loop.open_tasks or process.agents.open):
            raise PromiseBroken(f"left behind: {process.loop.open_tasks}, {process.agents.open}")
        if process.requests:
            raise PromiseBroken(f"{process.requests} requests were never answered")

    def bury(self, process: SimulatedProcess) -> None:
        """End a process for good; what it asked agents may still be answered, too late."""
        process.kill()
        self.given_up.extend(process.agents.given_up)

    def crash(self) -> None:
        """The process is gone, with all it had in memory; another opens the store."""
        self.teller.tell("-- crash")
        self.bury(self.process)
        self.process = self._new_process()

    def crash_between(self) -> None:
        """The process dies between two operations on the store."""
        self.teller.fault("crash between operations")
        self.crash()

    def take_over(self) -> None:
        """Another process takes the store over, and the former does not know it yet."""
        self.teller.fault("takeover")
        self.zombies.append(self.process)
        self.process = self._new_process()

    def leave_failed(self) -> None:
        """The engine works no longer: the process that embeds it comes to its end."""
        if not self.process.is_stopping and not isinstance(self.process.failure, OwnershipLost):
            self.teller.fault("the engine gave up")
        self.process.stop(0)

    def stop_in_order(self) -> None:
        """Somebody stops the process, with or without time for what is under way."""
        self.teller.fault("stop")
        self.process.stop(self.rng.choice((0.0, 5.0)))

    def let_zombie_act(self) -> None:
        """A process that has lost the store, or is about to, goes on with what it has."""
        zombie = self.rng.choice(self.zombies)
        if zombie.has_ended or zombie.failure or self.rng.random() < 0.02:
            self.zombies.remove(zombie)
            self.bury(zombie)
        elif zombie.loop.is_busy:
            self.let_rest(zombie)
        elif zombie.store.operations:
            self.let_come_about(zombie, self.rng.choice(zombie.store.operations))
        elif zombie.agents.open:
            self.answer_call(zombie, self.rng.choice(zombie.agents.open))

    # ------------------------------------------------------------ turns

    def start(self) -> None:
        """Somebody asks for a new execution."""
        self.people.start(self.process)

    def take_turn(self) -> None:
        """The process goes on, by one turn of its loop or until it has nothing left to do."""
        if self.rng.random() < self.haste:
            self.let_rest(self.process)
        else:
            self.process.loop.turn()

    def let_rest(self, process: SimulatedProcess) -> None:
        """Let a process go on until it has nothing left to do.

        Raises:
            PromiseBroken: it runs in circles, or agents work on what is not wanted.
        """
        for _ in range(TURNS_TO_REST):
            if not process.loop.is_busy:
                process.check_at_rest()
                return
            process.loop.turn()
            self.check()
        raise PromiseBroken(f"{process.name} never comes to rest")

    # ------------------------------------------------------------ the store

    def operate_store(self) -> None:
        """Something that was asked of the store comes about, or goes wrong."""
        operation = self.rng.choice(self.process.store.operations)
        if operation.performed:
            self.process.tell(operation)
            return
        fate = self.fates.draw(operation, beginning=not self.process.is_open)
        if fate is None:
            self.let_come_about(self.process, operation, told=not self.fates.is_delayed())
            return
        self.teller.fault(f"{fate} {operation.name if operation.name in WRITES else 'read'}")
        if fate in FAILURES:
            self._fail(self.process, operation, *FAILURES[fate])
            if operation.name == COMMIT and self.rng.random() < 0.2:
                # Who has lost touch with the store is likely to lose it to another.
                self.take_over()
            return
        if fate == "crash after":
            self._perform(self.process, operation)
        self.crash()

    def begin_outage(self) -> None:
        """The store does not answer for a while."""
        self.teller.fault("outage")
        self.fates.begin_outage()

    def let_come_about(self, process: SimulatedProcess, operation: Operation, *, told: bool = True) -> None:
        """Let an operation succeed, as far as the store agrees; who asked may hear of it only later."""
        if not operation.performed:
            self._perform(process, operation)
        if told:
            process.tell(operation)

    def _fail(
        self, process: SimulatedProcess, operation: Operation, written: bool, nothing_written: bool | None
    ) -> None:
        if written:
            self._perform(process, operation)
        if operation.error is None:
            operation.fail(StorageUnavailable("a fault of the simulation.", nothing_written=nothing_written))
        process.tell(operation)

    def _perform(self, process: SimulatedProcess, operation: Operation) -> None:
        """Let an operation come about; whoever was overtaken must not change anything by it."""
        overtaken = process is not self.owner and operation.name in (
            COMMIT,
            "answer",
            "post",
            "clear_mail",
        )
        before = self.judge.fingerprint() if overtaken else b""
        operation.perform()
        self.teller.counts[f"store: {operation.name}"] += 1
        if operation.name == "open" and operation.written:
            self.owner = process
        if operation.name == COMMIT and operation.written and not overtaken:
            self.judge.committed(operation.transitions)
        if overtaken:
            self.teller.counts["zombie refused"] += isinstance(operation.error, OwnershipLost)
            if self.judge.fingerprint() != before:
                raise PromiseBroken("an engine that had lost the store changed something")

    # ------------------------------------------------------------ agents

    def answer(self) -> None:
        """One agent answers."""
        self.answer_call(self.process, self.rng.choice(self.process.agents.open))

    def answer_call(self, process: SimulatedProcess, call: Call) -> None:
        """Draw an answer to an open call, and give it."""
        answer, result = self.answers.draw(call.key)
        self.judge.remember(result)
        self.people.remember(result)
        process.agents.answer(call, answer)

    def answer_late(self) -> None:
        """An agent answers one who is dead or listens no more; somebody brings it to today's engine."""
        self.teller.counts["late answer delivered"] += 1
        self.people.give_late(self.answers, self.rng.choice(self.given_up).key)

    def forge_answer(self) -> None:
        """A result comes in another way than it should: for an attempt or a visit that nobody began, or for
        one that an agent is still at work on."""
        execution_id, step_id, visit, attempt = self.rng.choice(self.process.agents.open).key
        by = self.rng.choice(((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (-1, 0), (0, -1)))
        self.teller.counts["forged result delivered"] += 1
        self.people.give_late(self.answers, (execution_id, step_id, visit + by[0], attempt + by[1]))

    # ------------------------------------------------------------ time

    def pass_time(self) -> None:
        """Time goes on: a moment, a while, or to what is due next; or somebody sets the clocks back."""
        kind = self.rng.random()
        due = self.process.clock.next_due
        if self.rng.random() < self.clock_trouble:
            self.set_clocks_back()
        elif kind < 0.4 and due is not None:
            self.advance_to(due, self.rng.choice((0.0, 0.0, 1.0)))
        elif kind < 0.7:
            self.advance(self.rng.choice((0.05, 0.2)))
        else:
            self.advance(self.rng.random() * 10)

    def set_clocks_back(self) -> None:
        """Somebody corrects the clocks."""
        self.teller.fault("clock set back")
        seconds = self.rng.random() * 10
        self.judge.clocks_go_back(seconds)
        self.time.set_back(seconds)

    def run_ahead(self) -> None:
        """The clocks are ahead, something rings, and they are corrected before it is acted upon."""
        due = self.process.clock.next_due
        assert due is not None
        self.advance_to(due)
        for _ in range(self.rng.randint(1, 6)):
            self.process.loop.turn()
        self.set_clocks_back()

    def advance_to(self, due: datetime, extra: float = 0.0) -> None:
        """Let time pass until a moment, and a little longer."""
        self.advance(max((due - self.time.moment).total_seconds(), 0.0) + extra)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.time.advance(seconds)
        for process in (self.process, *self.zombies):
            process.clock.ring()
