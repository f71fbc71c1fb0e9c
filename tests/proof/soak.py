"""The soak: an engine on one file under load for minutes, killed again and again, and then held to account.

Every life is a process of its own that this one starts and ends by its id. After each kill a copy of the
store is looked at; at the end every execution is, and every call that an agent has seen.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic

import msgspec

from process_engine.clock import SystemClock
from process_engine.core.invariants import BrokenInvariant
from process_engine.errors import ProcessEngineError
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.testing.agent_process import AgentProcess, start_agent_process
from process_engine.testing.agent_server import AgentCall
from tests.acceptance.evidence import (
    Call,
    Found,
    broken_promises,
    copy_store,
    found_in,
    integrity,
    unrecorded,
)
from tests.acceptance.pipeline import BEHAVIOURS, pipeline
from tests.proof.load import Orders, execution_of

ROOT = Path(__file__).resolve().parents[2]
AT_ONCE = 20
# A store of so many executions is some hundred MiB; the soak is over then, however much time is left.
MOST_EXECUTIONS = 20_000
# Seconds that an engine lives before it is killed: at times hardly longer than its start.
SHORTEST_LIFE, LONGEST_LIFE = 0.3, 6.0
# SIGKILL cannot be prepared for; SIGTERM now and then, so that an orderly end is in the mixture.
KILL_SHARE = 0.85
PATIENCE_SECONDS = 120.0
MOST_TOLD = 20
JOURNAL = "journal"


# ---------------------------------------------------------------- what was told


class Tail:
    """A file that grows: `lines` are the whole ones that have come since it was last asked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def lines(self) -> list[bytes]:
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            # A line without an end was never written.
            whole = file.read().rpartition(b"\n")[0]
        self._offset += len(whole) + bool(whole)
        return whole.split(b"\n") if whole else []


class Told:
    """What the journal and the agents' log have said so far, by the number of the execution."""

    def __init__(self, journal: Path, log: Path) -> None:
        self.acknowledged: dict[int, set[str]] = defaultdict(set)
        self.done: dict[int, str] = {}
        self.calls: dict[int, list[Call]] = defaultdict(list)
        self.first_open = 1
        self._journal, self._log = Tail(journal), Tail(log)
        self._decode = msgspec.json.Decoder(AgentCall).decode

    @property
    def last_begun(self) -> int:
        return max([0, *self.acknowledged, *self.calls])

    def read_on(self) -> None:
        """Take in what has been written since."""
        for line in self._journal.lines():
            self._note(line.decode("ascii"))
        for call in map(self._decode, self._log.lines()):
            seen = Call(call.step_id, call.visit, call.attempt, call.key)
            self.calls[number_of(call.execution_id)].append(seen)
        while self.first_open in self.done:
            self.first_open += 1

    def _note(self, line: str) -> None:
        match line.split():
            case ["event", event_id]:
                self.acknowledged[number_of(event_id.partition("/")[0])].add(event_id)
            case ["done", number, status]:
                self.done[int(number)] = status
            case _:
                raise ValueError(f"the journal has a line that no life writes: {line!r}")


def number_of(execution_id: str) -> int:
    """The number of the execution of this id."""
    return int(execution_id.rpartition("-")[2])


# ---------------------------------------------------------------- lives


@dataclass(frozen=True)
class Look:
    """One execution after a kill: what the store held, who had been told what, how many calls there were."""

    found: Found
    acknowledged: frozenset[str]
    calls: int


@dataclass
class Soak:
    """The place, what the lives have told so far, and everything that was wrong."""

    place: Path
    agents: AgentProcess
    chance: Random
    told: Told
    kills: int = 0
    ends: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    left: dict[int, list[Look]] = field(default_factory=lambda: defaultdict(list))

    @property
    def store(self) -> Path:
        return self.place / "store.db"


def begin(soak: Soak, first: int, last: int) -> subprocess.Popen[bytes]:
    """Start a life of the engine."""
    orders = Orders(
        store=str(soak.store),
        journal=str(soak.place / JOURNAL),
        agents_url=soak.agents.url,
        first=first,
        last=last,
        at_once=AT_ONCE,
    )
    with (soak.place / "stderr").open("ab") as errors:
        command = [sys.executable, "-m", "tests.proof.load", msgspec.json.encode(orders).decode()]
        return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=errors)


def disturbed_life(soak: Soak, longest: float, last: int = MOST_EXECUTIONS) -> None:
    """One life that is ended from outside, and what it left."""
    process = begin(soak, soak.told.first_open, last)
    number = signal.SIGKILL if soak.chance.random() < KILL_SHARE else signal.SIGTERM
    try:
        # As many short lives as long ones: recovery is the interesting part, load the other.
        process.wait(min(longest, SHORTEST_LIFE + soak.chance.expovariate(1 / 1.5), LONGEST_LIFE))
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        soak.kills += 1
    code = waited(process)
    soak.ends[code] += 1
    if code not in (0, -signal.SIGKILL, -signal.SIGTERM):
        soak.wrong.append(f"a life ended with {code}: {last_words(soak)}")
    soak.told.read_on()
    asyncio.run(look_at_what_is_left(soak))


def waited(process: subprocess.Popen[bytes]) -> int:
    """The exit code; a process that does not end is killed, and its code is that of its kill."""
    try:
        return process.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return 1


def last_words(soak: Soak) -> str:
    """The last line that a life wrote to standard error."""
    lines = (soak.place / "stderr").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "nothing was said"


async def look_at_what_is_left(soak: Soak) -> None:
    """Look at what is open in a copy of the store: nothing may have been asked that is not recorded."""
    told = soak.told
    if not soak.store.exists():
        return
    copy = copy_store(soak.store, "left.db")
    if (found := integrity(copy)) != "ok":
        soak.wrong.append(f"integrity_check after kill {soak.kills}: {found}")
    wanted = range(told.first_open, told.last_begun + 1)
    for number, before in (await executions(copy, wanted)).items():
        soak.wrong += [f"{execution_of(number)}: {one}" for one in unrecorded(before, told.calls[number])]
        if before is not None:
            seen = Look(before, frozenset(told.acknowledged[number]), len(told.calls[number]))
            soak.left[number].append(seen)
        elif told.acknowledged[number]:
            soak.wrong.append(f"{execution_of(number)}: its start was acknowledged, and it is not there")


async def executions(path: Path, numbers: Collection[int]) -> dict[int, Found | None]:
    """The executions of these numbers, after every invariant of each was checked."""
    store = SqliteRepository(path, synchronous="OFF")
    await store.open(clock=SystemClock())
    try:
        return {number: await found_in(store, execution_of(number), pipeline()) for number in numbers}
    finally:
        await store.close()


# ---------------------------------------------------------------- judging


async def judge(soak: Soak) -> tuple[int, int, int]:
    """Hold every execution against what was promised; how many there are, their calls, and repeated ones."""
    if (found := integrity(soak.store)) != "ok":
        soak.wrong.append(f"integrity_check at the end: {found}")
    last = soak.told.last_begun
    for number, after in (await executions(soak.store, range(1, last + 1))).items():
        soak.wrong += [f"{execution_of(number)}: {fault}" for fault in faults(soak, number, after)]
    made = [call for some in soak.told.calls.values() for call in some]
    return last, len(made), len(made) - len({call.key for call in made})


def faults(soak: Soak, number: int, after: Found | None) -> list[str]:
    """What is wrong with one execution, held against each look that was taken at it."""
    made, acknowledged = soak.told.calls[number], soak.told.acknowledged[number]
    found = broken_promises(None, after, acknowledged=(), calls_before=(), calls=made)
    for look in soak.left[number]:
        found += broken_promises(
            look.found,
            after,
            acknowledged=look.acknowledged,
            calls_before=made[: look.calls],
            calls=made,
        )
    known = {event.id for event in after.events} if after is not None else set[str]()
    if lost := acknowledged - known:
        found.append(f"told of and then lost: {sorted(lost)}")
    return list(dict.fromkeys(found))


# ---------------------------------------------------------------- the whole


def soak_for(seconds: float, seed: int, place: Path) -> int:
    """Load, kill, finish, judge; prints what it came to, and gives the exit code."""
    with start_agent_process(BEHAVIOURS, log=place / "agents.jsonl") as agents:
        told = Told(place / JOURNAL, agents.log_path)
        soak = Soak(place, agents, Random(seed), told)
        began = monotonic()
        while (left := began + seconds - monotonic()) > 0 and not soak.wrong:
            disturbed_life(soak, left)
            if told.first_open > MOST_EXECUTIONS:
                break
        loaded = monotonic() - began
        finish(soak)
        try:
            numbers = asyncio.run(judge(soak))
        except (BrokenInvariant, ProcessEngineError) as error:
            soak.wrong.append(f"{type(error).__name__}: {error}")
            numbers = (0, 0, 0)
    return tell(soak, loaded, *numbers)


def finish(soak: Soak) -> None:
    """A last life that nobody disturbs sees everything to its end that was begun."""
    code = waited(begin(soak, soak.told.first_open, soak.told.last_begun))
    soak.told.read_on()
    if code != 0:
        soak.wrong.append(f"the last life ended with {code}: {last_words(soak)}")


def tell(soak: Soak, seconds: float, executed: int, calls: int, repeated: int) -> int:
    """Print the numbers and what is wrong; the exit code."""
    size = soak.store.stat().st_size / 1024**2 if soak.store.exists() else 0
    print(
        f"{seconds:.0f} s, {soak.kills} kills, {executed:,} executions, {calls:,} calls ({repeated} repeated "
        f"under the same key), store {size:.0f} MiB, {len(soak.wrong)} promises broken"
    )
    if not executed or not soak.kills:
        soak.wrong.append("nothing was executed, or nothing killed: that proves nothing")
    for one in soak.wrong[:MOST_TOLD]:
        print(f"  {one}")
    return 1 if soak.wrong else 0


def main(arguments: Sequence[str]) -> int:
    """Soak; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, metavar="N", help="of load and kills (600)")
    parser.add_argument("--seed", type=int, default=None, metavar="K", help="the moments of an earlier run")
    parser.add_argument("--keep", action="store_true", help="leave the files, and say where")
    chosen = parser.parse_args(arguments)
    seed = secrets.randbelow(10**9) if chosen.seed is None else chosen.seed
    print(f"Soaking for {chosen.seconds:g} s with --seed {seed}", flush=True)
    place = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        return soak_for(chosen.seconds, seed, place)
    finally:
        if chosen.keep:
            print(f"The files are in {place}")
        else:
            shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
