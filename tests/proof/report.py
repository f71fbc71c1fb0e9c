"""The report of a proof: what was run, on what, what came of it, and which bar each part has shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tests.proof.parts import BARS, TIERS, Bar
from tests.proof.running import Result

WORDS = {
    "passed": "held",
    "failed": "**not held**",
    "too slow": "**too slow**",
    "missing": "**missing**",
    "not run": "**not run**",
}


def write(results: Sequence[Result], facts: Mapping[str, str], *, quick: bool) -> str:
    """The report as Markdown."""
    return "\n".join(_lines(results, facts, quick)) + "\n"


def _lines(results: Sequence[Result], facts: Mapping[str, str], quick: bool) -> Iterator[str]:
    good = sum(result.verdict == "passed" for result in results)
    yield f"# Proof of {facts.get('date', 'an unknown day')}"
    yield ""
    yield f"{good} of {len(results)} parts passed."
    if quick:
        yield ""
        yield "**A quick run**: every part at about a tenth. It shows that they work, and proves nothing."
    yield from ("", "| | |", "|---|---|")
    yield from (f"| {name} | {value} |" for name, value in facts.items())
    yield from ("", "## Parts", "", "| part | result | minutes | command |", "|---|---|---:|---|")
    for one in results:
        yield f"| {one.part.name} | {one.verdict} | {one.seconds / 60:.1f} | `{one.command}` |"
    yield from ("", "## Bars", "", "| bar | checked by | here | part |", "|---|---|---|---|")
    yield from (_bar(bar, results, quick) for bar in BARS)
    yield from ("", "## What the parts said")
    for one in results:
        yield from ("", f"### {one.part.name}", "", f"{one.part.shows[0].upper()}{one.part.shows[1:]}.")
        yield from ("", "```text", *(one.lines or ("nothing",)), "```")


def _bar(bar: Bar, results: Sequence[Result], quick: bool) -> str:
    verdict = next((one.verdict for one in results if one.part.name == bar.part), "not run")
    here = "not shown by a quick run" if quick and verdict == "passed" else WORDS[verdict]
    return f"| {bar.says} | {TIERS[bar.tier]} | {here} | {bar.part} |"
