"""Breaks the engine on purpose, one way at a time, and shows which tests notice.

A mutant is an exact text in the source and what to put in its place (`<suite>.toml`). Each is applied to a
copy of the source, against which the tests run. `backlog` are the integration tests of the first
requirements, each of which has to notice something; `engine` are the promises of the engine, watched by the
simulation and by the engine's own tests.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# Run as a file, it finds its neighbours by the names that they have in the tests.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.mutants import backlog, engine
from tests.mutants.killers import KILLERS
from tests.mutants.patches import load_mutants

SUITES = ("backlog", "engine")


def main(arguments: Sequence[str]) -> int:
    options, parser = _options(arguments)
    known = load_mutants(options.suite)
    chosen = [mutant for mutant in known if any(text in mutant.name for text in options.only or [""])]
    if not chosen:
        parser.error(f"no mutant is named so; there are: {', '.join(mutant.name for mutant in known)}")
    if options.suite == "backlog":
        return backlog.run_all(chosen, workers=options.workers, all_mutants=len(chosen) == len(known))
    hunting = engine.Options(
        killers=(options.by,) if options.by else tuple(KILLERS),
        workers=options.workers,
        patience=options.patience,
        fast=options.fast,
    )
    return engine.run_all(chosen, hunting, options.report)


def _options(arguments: Sequence[str]) -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    parser = argparse.ArgumentParser(prog="dev.py mutants", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--suite", choices=SUITES, default="backlog", help="which tests and mutants (backlog)"
    )
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="only mutants whose names hold it; may be repeated"
    )
    parser.add_argument("--workers", type=int, default=2, metavar="W", help="mutants at a time (2)")
    ours = parser.add_argument_group("with --suite engine")
    ours.add_argument("--by", choices=tuple(KILLERS), help="ask only this one (both)")
    ours.add_argument("--fast", action="store_true", help="a mutant is done with at the first who notices it")
    ours.add_argument("--report", type=Path, metavar="FILE", help="write the table as Markdown")
    ours.add_argument(
        "--patience",
        type=float,
        default=1.0,
        metavar="N",
        help="how many times slower than a quiet core it is (1)",
    )
    return parser.parse_args(arguments), parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
