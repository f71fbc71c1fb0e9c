"""After the storm: faults end, everybody answers, and everything has to come to its end."""

from __future__ import annotations

from process_engine.runtime.inbox import POLL_SECONDS
from process_engine.testing.judge import PromiseBroken
from process_engine.testing.storm import Storm

# Every step settles something; the longest bounded loops need a few thousand.
QUIET_STEPS = 30_000


def settle(storm: Storm) -> None:
    """Let everything go on without faults until all executions have ended, within a bounded number of steps.

    Raises:
        AssertionError: something did not end, or a promise was broken.
    """
    storm.calm_down()
    for _ in range(QUIET_STEPS):
        storm.teller.counts["quiet steps"] += 1
        if not _go_on(storm):
            break
        storm.check()
    stuck = {key: str(storm.people.status(key)) for key in storm.people.unfinished}
    if stuck:
        raise PromiseBroken(f"never came to an end: {stuck}")


def _go_on(storm: Storm) -> bool:
    """Do what is needed for things to go on; False if nothing is."""
    process = storm.process
    if process.has_ended:
        storm.succeed()
    elif process.loop.is_busy:
        storm.let_rest(process)
    elif process.store.operations:
        storm.let_come_about(process, process.store.operations[0])
    elif process.failure and not process.is_stopping:
        storm.leave_failed()
    elif not process.recovers and not process.is_stopping:
        process.stop(0)
    elif process.listens and storm.people.go_on(process):
        return True
    elif process.agents.open:
        storm.answer_call(process, storm.rng.choice(process.agents.open))
    elif storm.people.has_unanswered or process.is_stopping:
        storm.advance(POLL_SECONDS)
    elif process.clock.next_due is not None:
        storm.advance_to(process.clock.next_due)
    else:
        return process.listens and storm.people.answer_waits(process)
    return True


def last_look(storm: Storm) -> None:
    """Nothing may be left over: no work, no call, nobody who waits, no acknowledged start that is gone.

    Raises:
        AssertionError: something is.
    """
    storm.judge.look_at_everything()
    storm.people.check_answers()
    process = storm.process
    process.check_at_rest()
    if process.agents.open or process.requests or process.clock.next_due is not None:
        raise PromiseBroken(f"{process.name} still waits for something, and everything has ended")
    process.stop(0)
    for _ in range(QUIET_STEPS):
        if process.has_ended:
            break
        storm.let_rest(process)
        for operation in list(process.store.operations):
            storm.let_come_about(process, operation)
    storm.check_nothing_left(process)
    storm.check()
