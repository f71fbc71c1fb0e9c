"""The arithmetic of expressions: integers stay integers, and are exact; decimals have 34 digits."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from decimal import Context, localcontext
from typing import cast

from process_engine.definition.values import (
    MAX_INTEGER_BITS,
    MAX_TEXT_CHARACTERS,
    Number,
    ValueFault,
    aligned,
    bounded,
    is_number,
    kind,
    kinds,
)

_DECIMAL = Context(prec=34)


def add(left: object, right: object) -> object:
    """The sum of two numbers, or two texts joined."""
    if isinstance(left, str) and isinstance(right, str):
        if len(left) + len(right) > MAX_TEXT_CHARACTERS:
            raise ValueFault(f"the text would have more than {MAX_TEXT_CHARACTERS:,} characters")
        return left + right
    if not (is_number(left) and is_number(right)):
        given = kinds(left, right)
        raise ValueFault(f"`+` needs two numbers or two texts, not {given}; see `number` and `string`")
    return computed(operator.add, left, right)


def subtract(left: object, right: object) -> object:
    """The difference of two numbers."""
    return computed(operator.sub, *two_numbers("-", left, right))


def multiply(left: object, right: object) -> object:
    """The product of two numbers; a text is never repeated."""
    a, b = two_numbers("*", left, right)
    if isinstance(a, int) and isinstance(b, int) and a.bit_length() + b.bit_length() > MAX_INTEGER_BITS + 1:
        raise ValueFault(f"the number would have more than {MAX_INTEGER_BITS:,} bits")
    return computed(operator.mul, a, b)


def divide(left: object, right: object) -> object:
    """The quotient: an integer where both are integers and it comes out even, else a fraction."""
    a, b = two_numbers("/", left, right)
    _refuse_zero(b)
    if isinstance(a, int) and isinstance(b, int) and a % b == 0:
        return a // b
    return computed(operator.truediv, a, b)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]


def remainder(left: object, right: object) -> object:
    """The remainder, which has the sign of the divisor: `-1 % 3` is 2."""
    a, b = two_numbers("%", left, right)
    _refuse_zero(b)
    rest = cast("Number", computed(operator.mod, a, b))
    # Decimal gives the remainder the sign of the dividend, int and float that of the divisor.
    return computed(operator.add, rest, b) if rest and (rest < 0) != (b < 0) else rest


def negate(value: object) -> object:
    """The number with the other sign."""
    if not is_number(value):
        raise ValueFault(f"`-` needs a number, not {kind(value)}; see `number`")
    return computed(operator.sub, 0, value)


ARITHMETIC: Mapping[str, Callable[[object, object], object]] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": remainder,
}


def two_numbers(sign: str, left: object, right: object) -> tuple[Number, Number]:
    """Both, or a fault that names the operation if one is no number."""
    if is_number(left) and is_number(right):
        return left, right
    raise ValueFault(f"`{sign}` needs two numbers, not {kinds(left, right)}; see `number`")


def _refuse_zero(divisor: Number) -> None:
    if divisor == 0:
        raise ValueFault("division by zero")


def computed(operation: Callable[..., object], left: Number, right: Number) -> object:
    """What the operation makes of the two, decimals to 34 digits, its size checked."""
    try:
        with localcontext(_DECIMAL):
            return bounded(operation(*aligned(left, right)))
    except ArithmeticError:
        raise ValueFault("the number is too large") from None
