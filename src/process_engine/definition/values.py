"""What the expression language knows of values: their kinds, what lies below them, comparing, writing.

Values are what JSON knows (null, booleans, numbers, texts, lists, objects) and `Decimal`, which counts
as a number. A boolean is not a number. Every operation on them, here and in the modules of arithmetic, of
patterns and of filters, is pure, its work is bounded by the size of its operands and its result by the
limits below; what it refuses, it refuses by `ValueFault`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TypeGuard, cast

import msgspec

from process_engine.definition.paths import Segments

# The largest output a step may record has 10 MiB: no longer text could be kept anyway.
MAX_TEXT_CHARACTERS = 10 * 1024 * 1024
# As many items as a `for_each` may have.
MAX_ITEMS = 100_000
# 1,233 digits: more than any amount or key has, and arithmetic on them stays under some microseconds.
MAX_INTEGER_BITS = 4096
# A name of more digits is no index: no list is that long.
MAX_INDEX_CHARACTERS = 14

_JSON = msgspec.json.Encoder(decimal_format="number")

Number = int | float | Decimal


class ValueFault(Exception):
    """A value does not fit the operation; the evaluator adds the expression and the position."""


class _Missing:
    """The type of `MISSING`."""

    def __repr__(self) -> str:
        return "MISSING"


# Stands for "there is no such value", which is not the same as null.
MISSING: object = _Missing()


# Kinds of values


def is_number(value: object) -> TypeGuard[Number]:
    """True for int, float and Decimal; false for booleans."""
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def is_list(value: object) -> TypeGuard[Sequence[object]]:
    """True for lists and tuples."""
    return isinstance(value, (list, tuple))


def is_object(value: object) -> TypeGuard[Mapping[str, object]]:
    """True for mappings; their keys are taken to be texts."""
    return isinstance(value, Mapping)


def kind(value: object) -> str:
    """The value's type in words, as messages name it: `null`, `a text`, `an object`."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float() | Decimal():
            return "a number"
        case str():
            return "a text"
        case _ if is_list(value):
            return "a list"
        case _:
            return "an object" if is_object(value) else f"a value of type {type(value).__name__}"


def bounded(value: object) -> object:
    """The value itself, refused where its own size is over a limit; what is inside is not looked at."""
    match value:
        case str() if len(value) > MAX_TEXT_CHARACTERS:
            raise ValueFault(f"the text would have more than {MAX_TEXT_CHARACTERS:,} characters")
        case int() if value.bit_length() > MAX_INTEGER_BITS:
            raise ValueFault(f"the number would have more than {MAX_INTEGER_BITS:,} bits")
        case float() if not math.isfinite(value):
            raise ValueFault("the number is too large")
        case list() | tuple() if len(cast("Sequence[object]", value)) > MAX_ITEMS:
            raise ValueFault(f"the list would have more than {MAX_ITEMS:,} items")
        case _:
            return value


def child(value: object, key: str | int) -> object:
    """What `value.key` or `value[key]` stands for; `MISSING` where there is nothing.

    Null has null fields. A list takes an integer or a name of digits; negative ones count from its end.
    """
    if value is None:
        return None
    # Plain dicts are nearly all there is, and asking for `Mapping` costs four times as much.
    if type(value) is dict:
        return cast("dict[str | int, object]", value).get(key, MISSING)
    if is_object(value):
        return value.get(key, MISSING) if isinstance(key, str) else MISSING
    if not is_list(value):
        return MISSING
    if isinstance(key, str):
        if not (key.isascii() and key.isdigit() and len(key) <= MAX_INDEX_CHARACTERS):
            return MISSING
        key = int(key)
    return value[key] if -len(value) <= key < len(value) else MISSING


def fetch(value: object, segments: Segments) -> object:
    """The value at the end of the path; `MISSING` where a segment leads nowhere."""
    for key in segments:
        value = child(value, key)
        if value is MISSING:
            return MISSING
    return value


# Comparing


def equal(left: object, right: object) -> bool:
    """Whether two values are the same; never fails. Different types are unequal, but 1 equals 1.0."""
    pending: list[tuple[object, object]] = [(left, right)]
    while pending:
        a, b = pending.pop()
        if not _same(a, b, pending):
            return False
    return True


def _same(a: object, b: object, pending: list[tuple[object, object]]) -> bool:
    """Compares one level; members go to `pending`, since values may be nested deeper than Python's stack."""
    if a is b:
        return True
    if isinstance(a, bool) or isinstance(b, bool):
        return False
    if is_number(a):
        return is_number(b) and operator.eq(*aligned(a, b))
    if is_list(a) and is_list(b) and len(a) == len(b):
        pending.extend(zip(a, b, strict=True))
        return True
    if is_object(a) and is_object(b) and a.keys() == b.keys():
        pending.extend((member, b[key]) for key, member in a.items())
        return True
    return isinstance(a, str) and isinstance(b, str) and a == b


def aligned(a: Number, b: Number) -> tuple[Number, Number]:
    """Both as they are, or both as decimals: beside a decimal the float 0.1 means one tenth."""
    if isinstance(a, Decimal) and isinstance(b, float):
        return a, Decimal(repr(b))
    if isinstance(b, Decimal) and isinstance(a, float):
        return Decimal(repr(a)), b
    return a, b


_ORDER = cast(
    "Mapping[str, Callable[[object, object], bool]]",
    {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge},
)


def compare(sign: str, left: object, right: object) -> bool:
    """The answer of `<`, `<=`, `>` or `>=` for two numbers, or for two texts by code point."""
    if is_number(left) and is_number(right):
        return _ORDER[sign](*aligned(left, right))
    if isinstance(left, str) and isinstance(right, str):
        return _ORDER[sign](left, right)
    raise ValueFault(f"`{sign}` needs two numbers or two texts, not {kinds(left, right)}; see `number`")


def contains(container: object, item: object) -> bool:
    """Whether the list has an equal item, the text has the text inside it, or the object has the key."""
    if is_list(container):
        return any(equal(item, member) for member in container)
    if isinstance(container, str) and isinstance(item, str):
        return item in container
    if is_object(container) and isinstance(item, str):
        return item in container
    raise ValueFault(f"{kind(item)} cannot be looked for in {kind(container)}")


def folded(value: object) -> object:
    """Texts, alone or in a list, without regard to case; everything else as it is."""
    if isinstance(value, str):
        return value.casefold()
    if is_list(value):
        return [item.casefold() if isinstance(item, str) else item for item in value]
    return value


# Texts


def as_text(value: object) -> str:
    """The value as it stands inside a text: lists and objects as JSON, booleans lower case, null refused."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case None:
            raise ValueFault('null has no text; say what to write instead, as in `| default("none")`')
        case int() | float() | Decimal():
            return str(bounded(value))
        case _:
            return to_json(value)


def to_json(value: object) -> str:
    """The value as compact JSON."""
    try:
        encoded = _JSON.encode(value).decode()
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        raise ValueFault(f"{kind(value)} cannot be written as JSON") from None
    return cast("str", bounded(encoded))


def utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueFault("the text holds half a character (a lone surrogate)") from None


def needed_text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise ValueFault(f"`{name}` needs a text, not {kind(value)}")
    return value


def kinds(left: object, right: object) -> str:
    return f"{kind(left)} and {kind(right)}"
