"""Tables in Markdown that read well as plain text, and the numbers in them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from benchmarks.results import MISSING


def table(head: Iterable[str], rows: Iterable[Sequence[str]], texts: int = 1) -> str:
    """A table whose first columns, `texts` of them, are text and whose others are aligned to the right."""
    cells = [list(head), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rules = [
        f"{'-' * (width + 2)}|" if at < texts else f"{'-' * (width + 1)}:|" for at, width in enumerate(widths)
    ]
    lines = [_line(row, widths, texts) for row in cells]
    return "\n".join([lines[0], "|" + "".join(rules), *lines[1:]])


def _line(row: Sequence[str], widths: Sequence[int], texts: int) -> str:
    first = (text.ljust(width) for text, width in zip(row[:texts], widths, strict=False))
    others = (text.rjust(width) for text, width in zip(row[texts:], widths[texts:], strict=True))
    return f"| {' | '.join((*first, *others))} |"


def spread(values: Sequence[float], form: str) -> str:
    """The median, with the lowest and the highest in brackets; one value stands alone, none is MISSING."""
    if not values:
        return MISSING
    middle = form.format(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({form.format(min(values))}–{form.format(max(values))})"


def median(values: Sequence[float], form: str) -> str:
    """The median alone; of nothing MISSING."""
    return form.format(statistics.median(values)) if values else MISSING
