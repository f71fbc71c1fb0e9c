"""The marked blocks of the reference pages, and what makes each.

A block stands between `<!-- generated: NAME -->` and `<!-- end -->`, each alone on its line. NAME is a word
of `MAKERS`, and behind it what that maker is to be asked for: `port Clock`. All else is written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from tools.reference import agents, channels, commands, errors, events, language, ports, problems, settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = tuple(sorted((ROOT / "docs" / "reference").glob("*.md")))
REFRESH = "python3 dev.py docs --write"

_BLOCK = re.compile(r"^<!-- generated: (\S[^\n]*?) -->\n(.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL)

MAKERS: Mapping[str, Callable[..., str]] = {
    "agent": agents.kind,
    "agent-keys": agents.every_key,
    "channel": channels.kind,
    "commands": commands.commands_table,
    "engine": settings.parameters_of_the_engine,
    "errors": errors.recorded,
    "events": events.table_of,
    "execution-config": settings.execution_config,
    "filters": language.filters,
    "inherited": settings.inherited,
    "keys": language.keys,
    "limits": settings.limits,
    "options": commands.options,
    "port": ports.port,
    "problems": problems.table_of,
    "record": ports.record,
    "refusals": errors.refusals,
    "skips": events.reasons_of_skips,
    "store": settings.parameters_of_the_store,
    "variables-read": settings.variables_read,
    "variables-set": settings.variables_set,
}


def blocks_of(page: Path) -> dict[str, str]:
    """What each marked block of a page holds, by its name."""
    return dict(_BLOCK.findall(page.read_text(encoding="utf-8")))


def made(name: str) -> str:
    """What a block of this name has to hold."""
    word, *asked = name.split()
    return f"\n{MAKERS[word](*asked)}\n\n"


def stale_blocks(page: Path) -> list[str]:
    """The names of the blocks that do not hold what is made for them."""
    return [name for name, held in blocks_of(page).items() if held != made(name)]


def refreshed(page: Path) -> str:
    """The text of a page with every block made anew."""
    text = page.read_text(encoding="utf-8")
    return _BLOCK.sub(lambda block: f"<!-- generated: {block[1]} -->\n{made(block[1])}<!-- end -->", text)
