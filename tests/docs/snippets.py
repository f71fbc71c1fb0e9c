"""The fenced blocks of a page, and what is to become of each.

Blocks need no markers of their own where the language says enough:

- a block with a title (```` ```python title="my_agents.py" ````) is a file of that name;
- `console` is typed, line by line: `$ ` begins a command, what follows it is expected, in this order and
  among other lines; `…` stands for anything;
- `python` without a title is a part of a session with top-level `await`; a comment behind a `print(…)` is
  what it prints;
- `yaml` is a process or an agents file, and has to be a valid one.

`<!-- shown only: REASON -->` above a block takes it out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w+-]*)(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_TITLE = re.compile(r'\btitle="([^"]+)"')
_SHOWN_ONLY = re.compile(r"<!-- shown only: (\S.*?) -->\s*\Z", re.DOTALL)
_PRINTS = re.compile(r"^ *print\(.*\) +# (.+)$", re.MULTILINE)

RUN_LANGUAGES = frozenset({"console", "python", "yaml"})


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block; `line` is that of its first line of text, `reason` why it is shown only."""

    line: int
    language: str
    title: str | None
    text: str
    reason: str | None

    @property
    def is_process(self) -> bool:
        return self.language == "yaml" and _has_keys(self.text, "name", "steps")

    @property
    def is_agents_file(self) -> bool:
        return self.language == "yaml" and _has_keys(self.text, "agents")

    @property
    def prints(self) -> tuple[str, ...]:
        """What a Python block says that it prints."""
        return tuple(_PRINTS.findall(self.text)) if self.language == "python" else ()


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a console block, and the lines that are expected of it."""

    line: int
    text: str
    expected: tuple[str, ...]


def _has_keys(text: str, *keys: str) -> bool:
    return all(re.search(rf"^{key}:", text, re.MULTILINE) for key in keys)


def blocks_of(page: Path) -> list[Block]:
    """Every fenced block of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found: list[Block] = []
    for match in _FENCE.finditer(text):
        title = _TITLE.search(match["info"])
        shown_only = _SHOWN_ONLY.search(text, 0, match.start())
        found.append(
            Block(
                line=text.count("\n", 0, match.start()) + 2,
                language=match["language"],
                title=title[1] if title else None,
                text=dedent(match["body"]),
                reason=shown_only[1] if shown_only else None,
            )
        )
    return found


def commands_of(block: Block) -> list[Command]:
    """The commands of a console block. A line that ends with a backslash goes on with the next one."""
    found: list[Command] = []
    for number, line in enumerate(block.text.splitlines(), start=block.line):
        if found and found[-1].text.endswith("\\") and not found[-1].expected:
            last = found.pop()
            found.append(Command(last.line, f"{last.text}\n{line}", ()))
        elif line.startswith("$ "):
            found.append(Command(number, line[2:], ()))
        elif line.strip():
            assert found, f"line {number}: a console block begins with a command"
            last = found.pop()
            found.append(Command(last.line, last.text, (*last.expected, line.strip())))
    return found


def missing(expected: tuple[str, ...], output: str) -> str | None:
    """The first expected line that the output does not have after those before it; None if all are there."""
    rest = _plain(output)
    for line in expected:
        for fragment in filter(None, map(_plain, line.split("…"))):
            at = rest.find(fragment)
            if at < 0:
                return line
            rest = rest[at + len(fragment) :]
    return None


def _plain(text: str) -> str:
    """Without the widths of columns and the places where lines were broken."""
    return " ".join(text.split())
