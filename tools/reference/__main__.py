"""Without arguments: tells which tables of the reference are out of date. With `--write`: makes them anew."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tools.reference.pages import PAGES, refreshed, stale_blocks


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.reference", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the pages that are out of date")
    write = parser.parse_args(arguments).write
    stale = [f"{page.name}: {name}" for page in PAGES for name in stale_blocks(page)]
    for page in PAGES if write else ():
        page.write_text(refreshed(page), encoding="utf-8")
    for told in stale:
        print(f"{'written' if write else 'out of date'}: {told}")
    return 1 if stale and not write else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
