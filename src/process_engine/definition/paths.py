"""Paths of expressions: a root and segments, how they are written, and what a wrong one may have meant."""

from __future__ import annotations

import difflib
import re

Segments = tuple[str | int, ...]

STEP_FIELDS = (
    "output",
    "status",
    "error",
    "attempts",
    "cost",
    "tokens",
    "duration",
    "started_at",
    "completed_at",
    "agent",
    "execution_id",
    "errors",
)
ROOTS = ("input", "steps", "execution", "process", "trigger", "item", "index", "event", "secrets")

PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9_]+(?:-+[A-Za-z0-9_]+)*")


def format_path(root: str, segments: Segments) -> str:
    """The path as one would write it: `steps.analyze-data.output["odd key"][0]`."""
    return root + "".join(_format_segment(segment) for segment in segments)


def _format_segment(segment: str | int) -> str:
    if isinstance(segment, int):
        return f"[{segment}]"
    if PLAIN_SEGMENT.fullmatch(segment):
        return f".{segment}"
    escaped = segment.replace("\\", "\\\\").replace('"', '\\"')
    return f'["{escaped}"]'


def hint_for_hyphen(path: str) -> str:
    """A sentence for the author of a path in which a hyphen may have been meant as a minus; else empty."""
    before, hyphen, after = path.rpartition("-")
    if not hyphen:
        return ""
    return f"a `-` inside a name belongs to the name; a subtraction needs spaces: `{before} - {after}`"


def did_you_mean(word: str, known: tuple[str, ...] | list[str]) -> str:
    """The known word that is closest, or empty."""
    return next(iter(difflib.get_close_matches(word, known, n=1)), "")


def misread_step(segments: Segments, *, open_end: bool = False) -> tuple[str, str]:
    """What is wrong with a read of `steps`, and what to write instead; both empty if nothing is.

    It must name the step and, unless it ends there, one of its fields. `open_end`: a segment follows that
    must be worked out first.
    """
    step, *rest = segments or ("",)
    if not isinstance(step, str) or not step:
        return "`steps` needs the id of a step", "Write `steps.review.output`."
    if (not rest and not open_end) or (rest and rest[0] in STEP_FIELDS):
        return "", ""
    return _unknown_field(step, rest)


def _unknown_field(step: str, rest: list[str | int]) -> tuple[str, str]:
    wanted = format_path("steps", (step, "output", *rest)) + ("" if rest else "[…]")
    name = str(rest[0]) if rest else "[…]"
    near = did_you_mean(name, STEP_FIELDS)
    advice = f"Did you mean `{format_path('steps', (step, near))}`, or `{wanted}`?" if near else ""
    message = f"`{name}` is no field of a step, which has {', '.join(STEP_FIELDS)}"
    return message, advice or f"Write `{wanted}`."
