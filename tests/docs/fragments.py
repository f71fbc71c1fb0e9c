"""Runs the Python fragments of a page as `python -m asyncio` would: one session, `await` anywhere.

A program of its own: `fragments.py LISTING`. The listing holds the page's name, the line to print behind
each fragment, and (line, text) of each.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import sys
import traceback
from pathlib import Path


async def run(page: str, mark: str, fragments: list[tuple[int, str]]) -> None:
    """Run the fragments one after the other in one namespace, and print an exit code behind each."""
    names: dict[str, object] = {"__name__": "__main__"}
    for line, text in fragments:
        code = 0
        try:
            # The empty lines give tracebacks the numbers of the page.
            source = "\n" * (line - 1) + text
            running = eval(compile(source, page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
            if inspect.isawaitable(running):
                await running
        except Exception:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        print(f"\n{mark} {code}", flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    asyncio.run(run(*json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
