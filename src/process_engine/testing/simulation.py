"""Deterministic simulation of the real engine: random processes, random histories, faults, and a judge.

`python -m process_engine.testing.simulation --seeds 2000` runs seeds 0 to 1999; `--seed 157` tells the
story of one. A seed decides everything: processes, the order of events, faults. The same seed gives the same
history bit for bit, so a failure is replayed by its number.

What is simulated is the world around the engine: the event loop that runs it, the clock, the agents, the
moment at which an operation on the store comes about, the people, and the end of processes. The engine
itself, with its loop, step runner, timers and take-over, and the stores are the real ones. After a stormy
phase the faults end, every agent answers and everything that was paused is resumed: then each execution has
to come to its end.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import logging
import multiprocessing
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import cast

from process_engine.core.events import Event
from process_engine.definition.document import ProcessDefinition
from process_engine.repositories.records import EVENT
from process_engine.testing.disks import Disk, MemoryDisk, SqliteDisk
from process_engine.testing.judge import PromiseBroken, Scrutiny
from process_engine.testing.must_happen import MUST_HAPPEN
from process_engine.testing.quiet import last_look, settle
from process_engine.testing.storm import Storm
from process_engine.testing.telling import told

DEFAULT_PROCESSES = 3
# Every so manieth seed runs on SQLite, and once more in memory to compare.
SQLITE_EVERY = 4
# 1,000 seeds meet every kind of event and fault many times; fewer may miss a rare one without fault.
SEEDS_THAT_MEET_EVERYTHING = 1000
# Seeds per piece of work for a process of the pool: big enough to amortise the hand-over.
_CHUNK = 10
_ENGINE = "process_engine"
# What the engine rightly reports as an error when it has lost its store.
_EXPECTED_REPORTS = ("inbox given up",)


class SimulationFailed(AssertionError):
    """A seed broke a promise; the message says which, and how to replay it."""

    def __init__(self, seed: int, processes: int, cause: BaseException) -> None:
        option = "" if processes == DEFAULT_PROCESSES else f" --processes {processes}"
        super().__init__(
            f"seed {seed}: {type(cause).__name__}: {cause}\n"
            f"  replay: python -m process_engine.testing.simulation --seed {seed}{option}"
        )
        self.seed = seed
        self.cause = cause


@dataclass
class Outcome:
    """What a seed came to: `digest` (SHA-256) over all stored events in order, `counts` of what happened."""

    seed: int
    digest: str
    counts: Counter[str]
    events: Sequence[Event] = ()
    definitions: Sequence[ProcessDefinition] = ()
    lines: Sequence[tuple[datetime, str | Event]] = ()
    failure: SimulationFailed | None = None

    @property
    def story(self) -> list[str]:
        """What happened, line by line, for people."""
        return told(self.lines)


def simulate(seed: int, *, processes: int = DEFAULT_PROCESSES) -> Outcome:
    """Run one seed: storm, then quiet, with the judge looking at every commit.

    Every fourth seed runs on SQLite, and a second time in memory, which must give the same history.

    Raises:
        SimulationFailed: a promise was broken.
    """
    outcome = _outcome(seed, processes, Scrutiny.USUAL)
    if outcome.failure is not None:
        raise outcome.failure from outcome.failure.cause
    return outcome


def digest_of(events: Iterable[Event]) -> str:
    """SHA-256 over the stored form of these events."""
    digest = hashlib.sha256()
    for event in events:
        digest.update(EVENT.encode(event).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def _outcome(seed: int, processes: int, scrutiny: Scrutiny) -> Outcome:
    if seed % SQLITE_EVERY:
        return _run(seed, processes, MemoryDisk, scrutiny)
    outcome = _run(seed, processes, SqliteDisk, scrutiny)
    if outcome.failure is None:
        twin = _run(seed, processes, MemoryDisk, Scrutiny.FOLLOW)
        if (twin.digest, twin.lines) != (outcome.digest, outcome.lines):
            cause = twin.failure or PromiseBroken(f"another history in memory: {_parting(outcome, twin)}")
            outcome.failure = SimulationFailed(seed, processes, cause)
        outcome.counts["same history on both stores"] += 1
    return outcome


def _parting(one: Outcome, other: Outcome) -> str:
    """Where two stories part."""
    for left, right in zip(one.story, other.story, strict=False):
        if left != right:
            return f"{left!r} on SQLite, {right!r} in memory"
    return f"{len(one.story)} lines on SQLite, {len(other.story)} in memory"


def _run(seed: int, processes: int, make_disk: Callable[[], Disk], scrutiny: Scrutiny) -> Outcome:
    storm = Storm(Random(seed), make_disk(), executions=processes, scrutiny=scrutiny)
    failure = None
    try:
        with _reports(storm.blame):
            storm.run()
            settle(storm)
            last_look(storm)
    except Exception as cause:
        failure = SimulationFailed(seed, processes, cause)
    finally:
        storm.end()
    events = storm.judge.history()
    return Outcome(
        seed,
        digest_of(events),
        storm.teller.counts,
        events,
        tuple(storm.judge.definitions.values()),
        storm.teller.lines,
        failure,
    )


class _Reports(logging.Handler):
    """Hears what the engine reports as an error: in a simulation, a fault of the engine itself."""

    def __init__(self, blame: Callable[[BaseException], None]) -> None:
        super().__init__(logging.ERROR)
        self._blame = blame

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if not message.startswith(_EXPECTED_REPORTS):
            cause = record.exc_info[1] if record.exc_info else None
            self._blame(PromiseBroken(f"the engine reports: {message} {cause!r}"))


@contextmanager
def _reports(blame: Callable[[BaseException], None]) -> Generator[None]:
    """Send the engine's reports to the simulation, and to nobody else, for as long as this is entered."""
    logger, handler = logging.getLogger(_ENGINE), _Reports(blame)
    before = (logger.level, logger.propagate, logger.handlers)
    logger.setLevel(logging.ERROR)
    logger.propagate, logger.handlers = False, [handler]
    try:
        yield
    finally:
        level, logger.propagate, logger.handlers = before
        logger.setLevel(level)


# ---------------------------------------------------------------- many seeds


def run_seeds(
    seeds: Sequence[int], *, processes: int = DEFAULT_PROCESSES, workers: int | None = None
) -> Iterator[Outcome | SimulationFailed]:
    """Run seeds on all cores, in order; what each came to, without its events, or how it failed."""
    chunks = [(list(seeds[start : start + _CHUNK]), processes) for start in range(0, len(seeds), _CHUNK)]
    # What is loaded stays for ever: spared the collector, seeds take a seventh less.
    with multiprocessing.Pool(workers, initializer=gc.freeze) as pool:
        for results in pool.imap(_run_chunk, chunks):
            for seed, digest, counts, error in results:
                yield (
                    Outcome(seed, digest, counts)
                    if error is None
                    else SimulationFailed(seed, processes, error)
                )


Result = tuple[int, str, Counter[str], AssertionError | None]


def _run_chunk(chunk: tuple[list[int], int]) -> list[Result]:
    seeds, processes = chunk
    return [_run_quietly(seed, processes) for seed in seeds]


def _run_quietly(seed: int, processes: int) -> Result:
    try:
        outcome = simulate(seed, processes=processes)
    except SimulationFailed as failure:
        # Only text crosses between processes: some exceptions cannot be rebuilt from their arguments.
        return seed, "", Counter(), AssertionError(f"{type(failure.cause).__name__}: {failure.cause}")
    return seed, outcome.digest, outcome.counts, None


def never_happened(counts: Counter[str]) -> list[str]:
    """What should have happened in many seeds and did not."""
    return [name for name in MUST_HAPPEN if not counts[name]]


# ---------------------------------------------------------------- command line
def tell(outcome: Outcome) -> Iterator[str]:
    """The story of a seed, line by line: its definitions, its events with what happened between them."""
    for definition in outcome.definitions:
        yield f"# {definition.name}"
        yield from _yaml_like(json.loads(definition.canonical_json()), "")
        yield ""
    yield from outcome.story
    yield f"digest {outcome.digest}"


def _yaml_like(value: object, indent: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in cast("dict[str, object]", value).items():
            if _is_nested(item):
                yield f"{indent}{key}:"
                yield from _yaml_like(item, indent + "  ")
            else:
                yield f"{indent}{key}: {json.dumps(item, ensure_ascii=False)}"
    else:
        for item in cast("list[object]", value):
            lines = list(_yaml_like(item, indent + "  "))
            yield f"{indent}- {lines[0].strip()}"
            yield from lines[1:]


def _is_nested(item: object) -> bool:
    """A mapping, or a list of mappings; anything else fits on a line."""
    items = cast("list[object]", item if isinstance(item, list) else [item])
    return bool(items) and all(isinstance(one, dict) and one != {} for one in items)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run seeds, or replay one; 0 if every promise held."""
    parser = argparse.ArgumentParser(
        prog="python -m process_engine.testing.simulation", description="Run seeds, or replay one."
    )
    parser.add_argument("--seeds", type=int, default=200, metavar="N", help="how many seeds to run (200)")
    parser.add_argument("--start", type=int, default=0, metavar="K", help="the first seed (0)")
    parser.add_argument("--seed", type=int, metavar="K", help="replay one seed and print its history")
    parser.add_argument(
        "--processes", type=int, default=DEFAULT_PROCESSES, metavar="P", help="executions per seed (3)"
    )
    parser.add_argument("--workers", type=int, metavar="W", help="processes to use (one per core)")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        return _replay(options.seed, options.processes)
    return _run_many(range(options.start, options.start + options.seeds), options.processes, options.workers)


def _replay(seed: int, processes: int) -> int:
    outcome = _outcome(seed, processes, Scrutiny.ALL)
    for line in tell(outcome):
        print(line)
    if outcome.failure is not None:
        print(outcome.failure)
    return int(outcome.failure is not None)


def _run_many(seeds: Sequence[int], processes: int, workers: int | None) -> int:
    counts: Counter[str] = Counter()
    failures: list[SimulationFailed] = []
    for number, result in enumerate(run_seeds(seeds, processes=processes, workers=workers), start=1):
        if isinstance(result, SimulationFailed):
            failures.append(result)
        else:
            counts += result.counts
        _progress(number, len(seeds), len(failures), counts)
    for name, count in sorted(counts.items()):
        print(f"{count:>10,}  {name}")
    for failure in failures[:20]:
        print(failure)
    missing = never_happened(counts) if len(seeds) >= SEEDS_THAT_MEET_EVERYTHING else []
    for name in missing:
        print(f"never happened: {name}")
    print(f"{len(seeds)} seeds, {len(failures)} failed")
    return int(bool(failures or missing))


def _progress(number: int, total: int, failed: int, counts: Counter[str]) -> None:
    """One line that renews itself, for people: nothing where the output is not a terminal."""
    if not sys.stderr.isatty() or (number % 20 and number != total):
        return
    crashes = sum(count for name, count in counts.items() if "crash" in name)
    line = f"\r{number}/{total} seeds, {counts['commit']:,} commits, {crashes:,} crashes, {failed} failed"
    sys.stderr.write(line if number < total else f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
