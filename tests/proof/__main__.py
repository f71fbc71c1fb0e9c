"""The proof: everything that anybody can run to see whether the promises hold, and a report of it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.machine import facts
from tests.proof.parts import PARTS
from tests.proof.report import write
from tests.proof.running import ROOT, Result, run

REPORTS = ROOT / "docs" / "proof"


def main(arguments: Sequence[str]) -> int:
    """Run the parts and write the report; 1 if one that was asked for did not pass."""
    chosen = _options(arguments)
    wanted = set(chosen.only or [part.name for part in PARTS])
    results: list[Result] = []
    for part in PARTS:
        if part.name in wanted:
            results.append(run(part, quick=chosen.quick))
        else:
            results.append(Result(part, part.shown(quick=chosen.quick), "not run"))
    path = chosen.report or report_path(whole=not (chosen.quick or chosen.only))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(write(results, facts(ROOT), quick=chosen.quick), encoding="utf-8")
    print(f"\nThe report is {path}")
    if path.parent == REPORTS:
        print(f"Name it in mkdocs.yml, below Proof:  - proof/{path.name}")
    for one in results:
        print(f"  {one.part.name:<18} {one.verdict}")
    return 0 if all(one.verdict == "passed" for one in results if one.part.name in wanted) else 1


def report_path(*, whole: bool) -> Path:
    """Where the report of today goes. One that is quick or not whole proves nothing, and joins no pages."""
    name = f"{datetime.now(UTC).date().isoformat()}.md"
    return REPORTS / name if whole else Path(tempfile.gettempdir()) / f"proof-{name}"


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py proof", description=(__doc__ or "").partition("\n")[0])
    names = [part.name for part in PARTS]
    parser.add_argument(
        "--only", action="append", choices=names, metavar="PART", help=f"of {', '.join(names)}"
    )
    parser.add_argument("--quick", action="store_true", help="everything at about a tenth; proves nothing")
    parser.add_argument("--report", type=Path, metavar="FILE", help="another place for the report")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
