"""Measures the engine beside the raw limit of the disk and beside other engines, in interleaved rounds.

What is measured stands in benchmarks/cells.toml. The exit code is 0 whatever the figures are; with --strict
it is 1 if a bar was measured and missed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine
from benchmarks.cells import read_cells
from benchmarks.report import render, summary
from benchmarks.results import Run
from benchmarks.rounds import Benchmark, Plan

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
SAVED = HERE / "RESULTS.md"
_HEAD = "# Results\n\nWritten by `python3 dev.py bench --save`; what it means is in README.md.\n\n"

# Many short rounds rather than a few long ones: disks change their pace within seconds, and only what was
# measured right after each other is compared.
FULL = Plan(rounds=12, seconds=0.4, last_start_seconds=1500)
QUICK = Plan(rounds=5, seconds=0.3, last_start_seconds=400, quick=True)


def arguments_of(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="dev.py bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds: minutes instead of a quarter hour"
    )
    parser.add_argument(
        "--peers", action="store_true", help="DBOS, LangGraph, SpiffWorkflow, Restate as well"
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="CELL", help="these cells; the rest is MISSING"
    )
    parser.add_argument("--save", action="store_true", help="write benchmarks/RESULTS.md as well")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a measured bar is missed")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds, at most as many as without")
    parser.add_argument("--dir", type=Path, default=RESULTS, help="a directory on the disk to measure")
    return parser.parse_args(words)


def plan_of(arguments: argparse.Namespace) -> Plan:
    """What the command line asks for."""
    plan = QUICK if arguments.quick else FULL
    rounds = plan.rounds if arguments.rounds is None else min(plan.rounds, max(1, arguments.rounds))
    return replace(plan, rounds=rounds, peers=arguments.peers, only=tuple(arguments.only))


def main(words: list[str] | None = None) -> int:
    """Run it; 2 is for a command line that cannot be followed."""
    arguments = arguments_of(words)
    cells, plan = read_cells(), plan_of(arguments)
    unknown = [name for name in plan.only if name not in cells.cells]
    if unknown:
        _tell(f"There is no cell {', '.join(unknown)}; there are {', '.join(cells.cells)}.")
        return 2
    RESULTS.mkdir(exist_ok=True)
    directory: Path = arguments.dir
    if not directory.is_dir() or machine.is_in_memory(directory):
        _tell(f"{directory} is no directory on a disk; name one with --dir.")
        return 2
    run = Run(cells, machine.facts(directory), asdict(plan))
    before = machine.load()
    asyncio.run(Benchmark(plan, run, directory, _tell).go())
    run.facts["load average"] = f"{before} before, {machine.load()} after"
    publish(run, RESULTS, SAVED if arguments.save else None)
    return exit_code(run, strict=arguments.strict)


def exit_code(run: Run, *, strict: bool) -> int:
    """1 if a bar was measured and missed, and somebody wants to know."""
    return int(strict and any(one.verdict == "missed" for one in run.judged()))


def publish(run: Run, results: Path, saved: Path | None) -> None:
    """Print the report, keep the raw samples in `results`, and write the report to `saved`."""
    name = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ") + ".json"
    (results / name).write_text(run.as_json(), encoding="utf-8")
    text = render(run)
    print(text)
    _tell(f"Bars: {summary(run)}. Raw samples: {name} in {results.name}/.")
    if saved is not None:
        saved.write_text(_HEAD + text, encoding="utf-8")
        _tell(f"Wrote {saved.name}.")


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
