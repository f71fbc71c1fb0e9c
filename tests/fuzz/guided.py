"""As `hunting`, led by coverage: atheris mutates the real documents and keeps what reaches new lines.

Only where atheris is installed. libFuzzer ends the process itself, with the case in a file beside the note.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["process_engine"], enable_loader_override=False):
    from tests.fuzz.limits import hold, kept_cases
    from tests.fuzz.targets import TARGETS

# libFuzzer looks at the resident size: that of Python and of everything instrumented is 120 MiB.
RSS_MIB = 120 + 200
LONGEST_CASE = 8_192


def main(arguments: Sequence[str]) -> None:
    """Hunt; does not return."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided")
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--directory", type=Path, required=True, help="with the documents to begin with")
    chosen = parser.parse_args(arguments)
    for target, path in kept_cases():
        if target == chosen.target:
            (chosen.directory / path.name).write_bytes(path.read_bytes())
    atheris.Setup(
        [
            "guided",
            f"-max_total_time={chosen.seconds}",
            f"-seed={chosen.seed % 2**32}",
            f"-rss_limit_mb={RSS_MIB}",
            f"-max_len={LONGEST_CASE}",
            f"-artifact_prefix={chosen.directory.parent}/found-",
            "-timeout=30",
            "-print_final_stats=1",
            str(chosen.directory),
        ],
        lambda case: hold(chosen.target, case),
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
