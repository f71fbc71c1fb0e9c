"""Deterministic simulation: random processes, random histories, faults at commits, and a judge after each.

`python -m process_engine.testing.simulation --seeds 2000` runs seeds 0 to 1999; `--seed 157` tells the
story of one. A seed decides everything: processes, order of events, faults. The same seed gives the same
history bit for bit, so a failure is replayed by its number. After a stormy phase the faults end, every
agent answers and everything that was paused is resumed: then each execution has to come to its end.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import cast

from process_engine.core.events import Event
from process_engine.definition.document import ProcessDefinition
from process_engine.repositories.records import EVENT
from process_engine.testing.simulated_world import World
from process_engine.testing.storm import Storm

DEFAULT_PROCESSES = 3
# 1,000 seeds meet every kind of event and fault many times; fewer may miss a rare one without fault.
SEEDS_THAT_MEET_EVERYTHING = 1000
# Seeds per piece of work for a process of the pool: big enough to amortise the hand-over.
_CHUNK = 10


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
    story: list[str] = field(default_factory=list[str])


def simulate(seed: int, *, processes: int = DEFAULT_PROCESSES) -> Outcome:
    """Run one seed: storm, then quiet, with every invariant checked after every commit.

    Raises:
        SimulationFailed: a promise was broken.
    """
    world = World()
    try:
        Storm(Random(seed), world, executions=processes).run()
        events = world.all_events()
    except Exception as cause:
        raise SimulationFailed(seed, processes, cause) from cause
    return Outcome(
        seed, digest_of(events), world.counts, events, tuple(world.definitions.values()), world.story
    )


def digest_of(events: Iterable[Event]) -> str:
    """SHA-256 over the stored form of these events."""
    digest = hashlib.sha256()
    for event in events:
        digest.update(EVENT.encode(event).encode())
        digest.update(b"\n")
    return digest.hexdigest()


# ---------------------------------------------------------------- many seeds


MUST_HAPPEN = (
    *(
        f"command {name}"
        for name in (
            "StartExecution",
            "RecordResult",
            "WakeStep",
            "InterruptAttempt",
            "ReachDeadline",
            "PauseExecution",
            "ResumeExecution",
            "CancelExecution",
            "RetryStep",
        )
    ),
    *(
        f"event {kind.__name__}"
        for kind in sorted(Event.__subclasses__(), key=lambda kind: kind.__name__)
        if kind.__name__ != "StepEvent"
    ),
    *(
        f"event {name}"
        for name in (
            "StepQueued",
            "StepStarted",
            "AttemptStarted",
            "StepRetrying",
            "StepWaiting",
            "StepCompleted",
            "StepFailed",
            "StepSkipped",
            "StepCancelled",
        )
    ),
    *(
        f"skipped: {reason}"
        for reason in (
            "condition_false",
            "route_not_taken",
            "dead_path",
            "dependency_failed",
            "error",
        )
    ),
    *(f"cancelled: {reason}" for reason in ("cancelled", "loop", "stopped", "interrupted")),
    *(
        f"failed: {code}"
        for code in (
            "AGENT_ERROR",
            "AGENT_UNAVAILABLE",
            "EXPRESSION_ERROR",
            "NO_ROUTE",
            "TIMEOUT",
            "VISITS_EXCEEDED",
            "INTERRUPTED",
        )
    ),
    *(
        f"fault: {kind}"
        for kind in (
            "crash before commit",
            "crash after commit",
            "acknowledgement lost",
            "commit refused",
        )
    ),
    "crash between commits",
    "takeover",
    "zombie refused",
    "clock set back",
    "woken early",
    "loop by gateway",
    "loop by on_error",
    "goto forward",
    "paused by interruption",
    "late answer ignored",
    "duplicate delivered",
    "forged result delivered",
    "command refused",
    "inbox answered",
    "large value loaded",
    "large output recorded",
    "cost recorded",
    "retry after longer than backoff",
    "ended completed",
    "ended failed",
    "ended cancelled",
    "quiet turns",
    "state read back from the store",
)
"""What a thousand seeds must have met: a simulation that never crashes proves nothing about crashes."""


def run_seeds(
    seeds: Sequence[int], *, processes: int = DEFAULT_PROCESSES, workers: int | None = None
) -> Iterator[Outcome | SimulationFailed]:
    """Run seeds on all cores, in order; what each came to, without its events, or how it failed."""
    chunks = [(list(seeds[start : start + _CHUNK]), processes) for start in range(0, len(seeds), _CHUNK)]
    with multiprocessing.Pool(workers) as pool:
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
    world = World()
    try:
        Storm(Random(seed), world, executions=processes).run()
        failure = None
    except Exception as cause:
        failure = SimulationFailed(seed, processes, cause)
    events = world.all_events()
    outcome = Outcome(
        seed, digest_of(events), world.counts, events, tuple(world.definitions.values()), world.story
    )
    for line in tell(outcome):
        print(line)
    if failure is not None:
        print(failure)
    return int(failure is not None)


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
