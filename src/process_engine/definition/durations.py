"""Lengths of time as people write them: `250ms`, `1h30m`, `PT90S`, or a number of seconds."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from functools import total_ordering
from typing import Final, final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

# Ten years of 365 days: longer waits are typing errors, and every due time stays far inside the calendar.
MAX_DURATION_SECONDS: Final = 3650 * 86_400
MAX_DURATION_CHARACTERS: Final = 64

_HELP = "write 30s, 5m, 1h30m, 2d, 250ms, PT90S or a number of seconds"
_NEGATIVE = f"a duration cannot be negative: {_HELP}"
_TOO_LONG = "a duration is at most ten years (3650d)"
_MICROSECOND = Decimal("0.000001")
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_UNIT_SECONDS = {
    "w": Decimal(7 * 86_400),
    "d": Decimal(86_400),
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
}
# Each unit at most once, from large to small: `30m1h` and `5m5m` are more likely slips than meant.
_PLAIN = re.compile(
    rf"(?=[0-9])(?:(?P<d>{_NUMBER})d)?(?:(?P<h>{_NUMBER})h)?(?:(?P<m>{_NUMBER})m(?!s))?"
    rf"(?:(?P<s>{_NUMBER})s)?(?:(?P<ms>{_NUMBER})ms)?"
)
# Years and months are left out of ISO 8601: they have no fixed length.
_ISO = re.compile(
    rf"P(?=[0-9T])(?:(?P<w>{_NUMBER})W|(?:(?P<d>{_NUMBER})D)?"
    rf"(?:T(?=[0-9])(?:(?P<h>{_NUMBER})H)?(?:(?P<m>{_NUMBER})M)?(?:(?P<s>{_NUMBER})S)?)?)"
)
_SECONDS = re.compile(_NUMBER)
# What people write instead of our units; the first that a word begins with counts.
_WORDS = {"ms": "ms", "milli": "ms", "s": "s", "m": "m", "h": "h", "d": "d"}
_WORD = re.compile(r"[a-z]+")


@final
@total_ordering
class Duration:
    """A length of time from 0 to ten years, which remembers how it was written.

    Two durations are equal when they are equally long: `90s` and `1m30s` are. Made by `parse_duration`;
    immutable. As a pydantic field it accepts what `parse_duration` accepts, and serialises to its `text`.
    """

    __slots__ = ("seconds", "text")

    text: str
    seconds: float

    def __init__(self, text: str, seconds: float) -> None:
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "seconds", seconds)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Duration cannot be changed: {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Duration cannot be changed: {name}")

    def __reduce__(self) -> tuple[type[Duration], tuple[str, float]]:
        return Duration, (self.text, self.seconds)

    @property
    def timedelta(self) -> timedelta:
        """The same length, rounded to microseconds."""
        return timedelta(seconds=self.seconds)

    def __eq__(self, other: object) -> bool:
        return self.seconds == other.seconds if isinstance(other, Duration) else NotImplemented

    def __lt__(self, other: object) -> bool:
        return self.seconds < other.seconds if isinstance(other, Duration) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.seconds)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Duration({self.text!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _validated, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {
            "anyOf": [
                {
                    "type": "string",
                    "pattern": r"^(?=[0-9P])[0-9A-Za-z.]+$",
                    "maxLength": MAX_DURATION_CHARACTERS,
                },
                {"type": "number", "minimum": 0, "maximum": MAX_DURATION_SECONDS},
            ],
            "description": "A length of time: 250ms, 30s, 1h30m, 2d, 1.5h, PT90S, or a number of seconds.",
            "examples": ["30s", "1h30m", "PT90S", 90],
        }


def parse_duration(value: str | float) -> Duration:
    """The duration that a text or a number of seconds stands for.

    Raises:
        ValueError: it is not one, is negative, or is longer than ten years; the message says what to write.
    """
    return _of_text(value) if isinstance(value, str) else _of_number(value)


def _validated(value: object) -> Duration:
    if isinstance(value, Duration):
        return value
    if isinstance(value, (str, int, float)):
        return parse_duration(value)
    raise ValueError(f"a duration is a text or a number: {_HELP}")


def _of_number(value: float) -> Duration:
    if isinstance(value, bool) or value != value:  # only NaN differs from itself
        raise ValueError(f"`{value}` is not a duration: {_HELP}")
    if value < 0:
        raise ValueError(_NEGATIVE)
    if value > MAX_DURATION_SECONDS:
        raise ValueError(_TOO_LONG)
    # `timedelta` tells microseconds apart; `normalize` and `f` give 90s, neither 90.000000s nor 9E+1s.
    # `abs` for -0.0, which is not below zero and yet would be written with a sign.
    exact = abs(Decimal(repr(value))).quantize(_MICROSECOND).normalize()
    return Duration(f"{exact:f}s", float(exact))


def _of_text(text: str) -> Duration:
    if len(text) > MAX_DURATION_CHARACTERS:
        raise ValueError(f"a duration has at most {MAX_DURATION_CHARACTERS} characters: {_HELP}")
    if text.startswith("-"):
        raise ValueError(_NEGATIVE)
    if _SECONDS.fullmatch(text):
        return _bounded(text, Decimal(text))
    found = _PLAIN.fullmatch(text) or _ISO.fullmatch(text)
    if not found:
        raise ValueError(f"`{text}` is not a duration: {_advice(text)}")
    return _bounded(text, _sum(found.groupdict()))


def _sum(amounts: dict[str, str | None]) -> Decimal:
    return sum(
        (Decimal(amount) * _UNIT_SECONDS[unit] for unit, amount in amounts.items() if amount), Decimal()
    )


def _bounded(text: str, seconds: Decimal) -> Duration:
    if seconds > MAX_DURATION_SECONDS:
        raise ValueError(_TOO_LONG)
    return Duration(text, float(seconds))


def _advice(text: str) -> str:
    """What was probably meant by `5 minutes`, or the list of examples."""
    meant = _WORD.sub(_unit, "".join(text.lower().split()))
    return f"write {meant}" if _PLAIN.fullmatch(meant) else _HELP


def _unit(word: re.Match[str]) -> str:
    return next((unit for start, unit in _WORDS.items() if word[0].startswith(start)), word[0])
