"""The filters: the closed list of what `value | name(…)` can do."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from types import MappingProxyType
from typing import cast

import msgspec

from process_engine.definition.arithmetic import computed, two_numbers
from process_engine.definition.paths import Segments
from process_engine.definition.values import (
    MAX_ITEMS,
    MAX_TEXT_CHARACTERS,
    MISSING,
    Number,
    ValueFault,
    as_text,
    bounded,
    equal,
    fetch,
    is_list,
    is_number,
    is_object,
    kind,
    needed_text,
    to_json,
    utf8,
)

# As many digits as the largest integer has, and some for the fraction.
MAX_NUMBER_CHARACTERS = 1300
MAX_ROUND_DIGITS = 15
MAX_IDENTITY_DEPTH = 100
MAX_DATE_FORMAT_CHARACTERS = 200

# Rounding must hold the largest float exactly: 309 digits before the point and 15 after it.
_ROUNDING = Context(prec=400)
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _list(value: object, name: str) -> Sequence[object]:
    if not is_list(value):
        raise ValueFault(f"`{name}` needs a list, not {kind(value)}")
    return value


def _object(value: object, name: str) -> Mapping[str, object]:
    if not is_object(value):
        raise ValueFault(f"`{name}` needs an object, not {kind(value)}")
    return value


def _integer(value: object, name: str, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueFault(f"`{name}` needs an integer from {low:,} to {high:,} in its brackets")
    return value


# Filters: the value comes first, then what stands in the brackets


def _from_json(value: object) -> object:
    text = needed_text(value, "from_json")
    bounded(text)
    try:
        return msgspec.json.decode(utf8(text))
    except (msgspec.MsgspecError, RecursionError) as fault:
        raise ValueFault(f"`from_json` needs a text that is JSON: {fault}") from None


def _length(value: object) -> object:
    if isinstance(value, str) or is_list(value) or is_object(value):
        return len(value)
    raise ValueFault(f"`length` needs a text, a list or an object, not {kind(value)}")


def _upper(value: object) -> object:
    return needed_text(value, "upper").upper()


def _lower(value: object) -> object:
    return needed_text(value, "lower").lower()


def _trim(value: object) -> object:
    return needed_text(value, "trim").strip()


def _first(value: object) -> object:
    return next(iter(_list(value, "first")), None)


def _last(value: object) -> object:
    return next(reversed(_list(value, "last")), None)


def _join(value: object, separator: object = ", ") -> object:
    glue = needed_text(separator, "join")
    pieces: list[str] = []
    size = 0
    # Counted before anything is built: a list may hold the same long text many times.
    for item in _list(value, "join"):
        pieces.append(as_text(item))
        size += len(pieces[-1]) + len(glue)
        if size - len(glue) > MAX_TEXT_CHARACTERS:
            raise ValueFault(f"the text would have more than {MAX_TEXT_CHARACTERS:,} characters")
    return glue.join(pieces)


def _split(value: object, separator: object = None) -> object:
    glue = None if separator is None else needed_text(separator, "split")
    if glue == "":
        raise ValueFault("`split` needs a separator that is not empty")
    return needed_text(value, "split").split(glue, MAX_ITEMS)


def _round(value: object, digits: object = 0) -> object:
    places = _integer(digits, "round", 0, MAX_ROUND_DIGITS)
    if not is_number(value):
        raise ValueFault(f"`round` needs a number, not {kind(value)}; see `number`")
    if isinstance(value, int):
        return value
    exact = value if isinstance(value, Decimal) else Decimal(repr(bounded(value)))
    try:
        rounded = exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP, _ROUNDING)
    except ArithmeticError:
        raise ValueFault("the number is too large") from None
    if not places:
        return int(rounded)
    return rounded if isinstance(value, Decimal) else float(rounded)


def _number(value: object) -> Number:
    if is_number(value):
        return value
    text = needed_text(value, "number").strip()
    if len(text) > MAX_NUMBER_CHARACTERS or not (found := _NUMBER.fullmatch(text)):
        raise ValueFault(f"`number` needs a text that is a number, not `{text[:40]}`")
    return float(text) if found[1] or found[2] else int(text)


def _int(value: object) -> object:
    number = cast("Number", bounded(_number(value)))
    if isinstance(number, Decimal) and (not number.is_finite() or number.adjusted() > MAX_NUMBER_CHARACTERS):
        raise ValueFault("the number is too large")
    return int(number)


def _truncate(value: object, length: object, suffix: object = "…") -> object:
    text, end = needed_text(value, "truncate"), needed_text(suffix, "truncate")
    limit = _integer(length, "truncate", 0, MAX_TEXT_CHARACTERS)
    if len(text) <= limit:
        return text
    return text[: max(0, limit - len(end))] + end[:limit]


def _keys(value: object) -> object:
    return list(_object(value, "keys").keys())


def _values(value: object) -> object:
    return list(_object(value, "values").values())


def _unique(value: object) -> object:
    seen: dict[object, object] = {}
    for item in _list(value, "unique"):
        seen.setdefault(_identity(item), item)
    return list(seen.values())


def _identity(value: object, depth: int = 0) -> object:
    """A hashable stand-in: equal values have equal ones. Keeps `unique` linear."""
    if depth > MAX_IDENTITY_DEPTH:
        raise ValueFault(f"`unique` compares values nested up to {MAX_IDENTITY_DEPTH} levels")
    if is_list(value):
        return (list, *(_identity(item, depth + 1) for item in value))
    if is_object(value):
        return frozenset((key, _identity(item, depth + 1)) for key, item in value.items())
    if isinstance(value, float) and not value.is_integer():
        return Decimal(repr(value))
    return (type(value), value) if isinstance(value, bool | str) else value


def _comparable(value: object, name: str) -> list[Number] | list[str]:
    items = _list(value, name)
    numbers = [item for item in items if is_number(item)]
    texts = [item for item in items if isinstance(item, str)]
    if len(numbers) == len(items):
        return numbers
    if len(texts) == len(items):
        return texts
    raise ValueFault(f"`{name}` needs a list of numbers only, or of texts only")


def _sort(value: object) -> object:
    return sorted(_comparable(value, "sort"))


def _min(value: object) -> object:
    return min(_comparable(value, "min"), default=None)


def _max(value: object) -> object:
    return max(_comparable(value, "max"), default=None)


def _sum(value: object) -> object:
    total: object = 0
    for item in _list(value, "sum"):
        total = computed(operator.add, *two_numbers("sum", total, item))
    return total


def _map(value: object, path: Segments) -> object:
    found = [fetch(item, path) for item in _list(value, "map")]
    for index, member in enumerate(found):
        if member is MISSING:
            raise ValueFault(f"`map`: item {index} of the list has nothing at that path")
    return found


def _where(value: object, path: Segments, wanted: object) -> object:
    return [item for item in _list(value, "where") if equal(fetch(item, path), wanted)]


def _date(value: object, pattern: object = "%Y-%m-%d") -> object:
    form = needed_text(pattern, "date")
    if len(form) > MAX_DATE_FORMAT_CHARACTERS:
        raise ValueFault(f"`date` takes a format of at most {MAX_DATE_FORMAT_CHARACTERS} characters")
    moment = _moment(value)
    return _DIRECTIVE.sub(lambda found: _directive(found[0], moment), form)


def _moment(value: object) -> datetime:
    try:
        if is_number(value):
            return datetime.fromtimestamp(float(value), tz=UTC)
        moment = datetime.fromisoformat(needed_text(value, "date").strip())
    except (ValueError, ArithmeticError, OSError):
        advice = "a timestamp such as `2026-05-17T09:30:00Z`, or seconds since 1970"
        raise ValueFault(f"`date` needs {advice}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_DIRECTIVE = re.compile(r"%.?", re.DOTALL)
# Names of days and months are English on every machine, which `strftime` does not promise.
_DIRECTIVES: Mapping[str, Callable[[datetime], str]] = {
    "%Y": lambda moment: f"{moment.year:04}",
    "%m": lambda moment: f"{moment.month:02}",
    "%d": lambda moment: f"{moment.day:02}",
    "%H": lambda moment: f"{moment.hour:02}",
    "%M": lambda moment: f"{moment.minute:02}",
    "%S": lambda moment: f"{moment.second:02}",
    "%j": lambda moment: f"{moment.timetuple().tm_yday:03}",
    "%B": lambda moment: _MONTHS[moment.month - 1],
    "%b": lambda moment: _MONTHS[moment.month - 1][:3],
    "%A": lambda moment: _DAYS[moment.weekday()],
    "%a": lambda moment: _DAYS[moment.weekday()][:3],
    "%z": lambda moment: moment.strftime("%z"),
    "%%": lambda _: "%",
}


def _directive(name: str, moment: datetime) -> str:
    if name not in _DIRECTIVES:
        raise ValueFault(f"`date` does not know `{name}`; it knows {', '.join(_DIRECTIVES)}")
    return _DIRECTIVES[name](moment)


class FilterSpec(msgspec.Struct, frozen=True):
    """One filter: how many arguments it takes, and what it does.

    With `takes_path` the first argument is a literal path into each item (`"author.name"`), which the
    parser checks and the function receives as its segments.
    """

    function: Callable[..., object]
    summary: str
    least: int = 0
    most: int = 0
    takes_path: bool = False


def _default(value: object, other: object) -> object:
    return other if value is None or value is MISSING else value


# The closed list. `default` alone takes a missing value, and its argument is worked out only if needed.
FILTERS: Mapping[str, FilterSpec] = MappingProxyType(
    {
        "default": FilterSpec(_default, "the argument, where the value is missing or null", 1, 1),
        "json": FilterSpec(to_json, "the value as JSON text"),
        "from_json": FilterSpec(_from_json, "the value that a JSON text stands for"),
        "length": FilterSpec(_length, "the number of characters, items or keys"),
        "upper": FilterSpec(_upper, "the text in upper case"),
        "lower": FilterSpec(_lower, "the text in lower case"),
        "trim": FilterSpec(_trim, "the text without white space at its ends"),
        "first": FilterSpec(_first, "the first item; null for an empty list"),
        "last": FilterSpec(_last, "the last item; null for an empty list"),
        "join": FilterSpec(_join, 'the items as one text, with the argument (", ") in between', 0, 1),
        "split": FilterSpec(_split, "the parts of a text between the argument, or between white space", 0, 1),
        "round": FilterSpec(_round, "the number with so many decimals (0); a half goes away from zero", 0, 1),
        "int": FilterSpec(_int, "the number, or the text of one, cut to an integer"),
        "number": FilterSpec(_number, "the number that a text stands for"),
        "string": FilterSpec(as_text, "the value as it would stand inside a text"),
        "truncate": FilterSpec(_truncate, 'at most so many characters, a cut marked by "…"', 1, 2),
        "keys": FilterSpec(_keys, "the keys of an object"),
        "values": FilterSpec(_values, "the values of an object"),
        "unique": FilterSpec(_unique, "the list without repetitions; the first of equals stays"),
        "sort": FilterSpec(_sort, "the numbers or the texts in rising order"),
        "map": FilterSpec(_map, "what a path leads to in each item", 1, 1, takes_path=True),
        "where": FilterSpec(_where, "the items in which a path leads to that value", 2, 2, takes_path=True),
        "sum": FilterSpec(_sum, "the sum of the numbers; 0 for an empty list"),
        "min": FilterSpec(_min, "the smallest number or text; null for an empty list"),
        "max": FilterSpec(_max, "the largest number or text; null for an empty list"),
        "date": FilterSpec(_date, 'the timestamp in a form such as "%d %B %Y" ("%Y-%m-%d")', 0, 1),
    }
)


def apply(name: str, value: object, *arguments: object) -> object:
    """What the filter makes of the value, its size checked."""
    return bounded(FILTERS[name].function(value, *arguments))
