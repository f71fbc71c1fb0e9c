"""Drives the engine's stores through more, and longer, sequences than the suite has time for.

`python -m tests.contract.long_run --sequences 200 --steps 1000`; ends with exit code 1 at the first failure.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from process_engine.testing.repository_contract import ContractBroken, StoreAt, drive
from tests.contract import stores


def store_of(kind: str) -> tuple[StoreAt, bool]:
    """A way to the store, and whether it lives in its object."""
    match kind:
        case "memory":
            return stores.memory(), False
        case "sqlite-memory":
            return stores.in_memory, True
        case _:
            return stores.in_file, False


def run(kind: str, seed: int, steps: int) -> int:
    """Drive one sequence; how many operations it took."""
    store_at, alone = store_of(kind)
    with TemporaryDirectory() as place:
        driven = drive(store_at, Path(place), seed=seed, steps=steps, limit=4 * steps + 2_000, alone=alone)
    return len(driven.story)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=50, help="seeds for each kind of store")
    parser.add_argument("--first-seed", type=int, default=1_000)
    parser.add_argument("--steps", type=int, default=500, help="operations of each sequence, at least")
    parser.add_argument(
        "--store",
        choices=("memory", "sqlite-memory", "sqlite-file"),
        action="append",
        help="the two of SQLite unless given",
    )
    options = parser.parse_args()
    for kind in options.store or ("sqlite-memory", "sqlite-file"):
        seeds = range(options.first_seed, options.first_seed + options.sequences)
        try:
            operations = sum(run(kind, seed, options.steps) for seed in seeds)
        except ContractBroken as broken:
            print(f"{kind}: {broken}")
            return 1
        print(f"{kind}: {len(seeds)} sequences, {operations} operations, nothing differs", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
