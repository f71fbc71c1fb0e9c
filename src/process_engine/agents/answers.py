"""What an agent's answer means: text or JSON in, output and usage out; pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import cast

import msgspec

from process_engine.core.results import NO_USAGE, Usage
from process_engine.runtime.ports import AgentCallFailed, AgentReply

# 100 levels: far more than answers have, and far less than makes the recursion of a later encoder fail.
MAX_NESTING = 100
# What a single call may claim, so that sums stay exact: a thousand million, 30 decimals, 10^15 tokens.
MAX_COST = Decimal(10) ** 9
MAX_COST_DECIMALS = 30
MAX_TOKENS = 10**15

_FENCE = "```"
_HOLDERS = (dict, list, tuple, Mapping)


class _Tokens(msgspec.Struct, frozen=True):
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Envelope(msgspec.Struct, frozen=True):
    """The part of an answer that is not output. Decoded from the text: a float would not be exact."""

    cost: Decimal | None = None
    usage: _Tokens | None = None


_envelopes = msgspec.json.Decoder(_Envelope)


def read_answer(body: bytes, *, json: bool, charset: str | None = None) -> AgentReply:
    """The reply that a body of bytes is; `json` says that it claims to be JSON.

    In a JSON object `response`, else `output`, is what was answered, with `cost` and `usage` beside it; any
    other JSON value is the output as a whole. A text, and a text under `response`, may itself be JSON.

    Raises:
        AgentCallFailed: with INVALID_OUTPUT if the body is not what it claims to be.
    """
    if not json:
        return AgentReply(output=structured(_text(body, charset or "utf-8")))
    if charset is not None and charset.lower() not in ("utf-8", "utf8", "us-ascii"):
        body = _text(body, charset).encode()
    return _read_json(body.removeprefix(b"\xef\xbb\xbf"))


def structured(text: str) -> object:
    """The object or array that `text` is the JSON of, bare or as one fenced block; else the text itself."""
    bare = text.strip()
    if bare.startswith(_FENCE):
        bare = _unfenced(bare)
    if not bare.startswith(("{", "[")):
        return text
    try:
        value: object = msgspec.json.decode(bare)
    except (ValueError, RecursionError):
        return text
    return value if nested_at_most(value, MAX_NESTING) else text


def nested_at_most(value: object, levels: int) -> bool:
    """Whether at most `levels` lists and mappings lie in each other; text and numbers are no level."""
    layer: list[object] = [value] if isinstance(value, _HOLDERS) else []
    for _ in range(levels):
        if not layer:
            return True
        layer = [item for holder in layer for item in _children(holder) if isinstance(item, _HOLDERS)]
    return not layer


def _children(holder: object) -> Collection[object]:
    if isinstance(holder, Mapping):
        return cast("Mapping[object, object]", holder).values()
    return cast("Collection[object]", holder)


def _unfenced(text: str) -> str:
    """The inside of the one fenced block that `text` is, empty if it is something else."""
    first, _, rest = text.partition("\n")
    if first.removeprefix(_FENCE).strip().lower() not in ("", "json") or not rest.endswith(_FENCE):
        return ""
    # Two blocks with prose between them end up here too; that is no JSON, so it stays text.
    return rest.removesuffix(_FENCE).strip()


def _text(body: bytes, charset: str) -> str:
    try:
        return body.decode(charset)
    except LookupError:
        raise _invalid(f"the answer has an unknown charset, `{charset[:40]}`") from None
    except ValueError:
        raise _invalid(f"the answer is not text in the charset {charset}") from None


def _read_json(body: bytes) -> AgentReply:
    try:
        value: object = msgspec.json.decode(body)
    except RecursionError:
        raise _invalid("the answer is JSON that is nested too deeply") from None
    except ValueError as error:
        raise _invalid(f"the answer says that it is JSON, but it cannot be read: {error}") from None
    if not nested_at_most(value, MAX_NESTING):
        raise _invalid(f"the answer is JSON that is nested over {MAX_NESTING} levels")
    if isinstance(value, dict):
        return _opened(cast("dict[str, object]", value), body)
    return AgentReply(output=value)


def _opened(answer: dict[str, object], body: bytes) -> AgentReply:
    if "response" in answer:
        response = answer["response"]
        output = structured(response) if isinstance(response, str) else response
        return AgentReply(output=output, usage=_usage(answer, body))
    if "output" in answer:
        return AgentReply(output=answer["output"], usage=_usage(answer, body))
    # Without either key the object is the output itself: a `cost` in it is then its own, not ours.
    return AgentReply(output=answer)


def _usage(answer: dict[str, object], body: bytes) -> Usage:
    if "cost" not in answer and "usage" not in answer:
        return NO_USAGE
    try:
        envelope = _envelopes.decode(body)
    except ValueError as error:
        raise _invalid(f"`cost` or `usage` of the answer cannot be read: {error}") from None
    tokens = envelope.usage or _Tokens()
    return checked_usage(
        Usage(
            cost=Decimal(0) if envelope.cost is None else envelope.cost,
            input_tokens=tokens.input_tokens or 0,
            output_tokens=tokens.output_tokens or 0,
        )
    )


def checked_usage(usage: Usage) -> Usage:
    """`usage` as it is, if it can be recorded and summed up exactly.

    Raises:
        AgentCallFailed: with INVALID_OUTPUT if an amount is negative, absurd or (a cost) no Decimal.
    """
    if usage is NO_USAGE:
        return usage
    cost = cast("object", usage.cost)
    exponent = cost.as_tuple().exponent if isinstance(cost, Decimal) else None
    if not isinstance(exponent, int) or exponent < -MAX_COST_DECIMALS or not 0 <= usage.cost <= MAX_COST:
        raise _invalid("the cost of the answer is not a decimal amount of 0 or more")
    for count in (usage.input_tokens, usage.output_tokens):
        if type(cast("object", count)) is not int or not 0 <= count <= MAX_TOKENS:
            raise _invalid("the usage of the answer is not a number of tokens")
    return usage


def _invalid(message: str) -> AgentCallFailed:
    return AgentCallFailed("INVALID_OUTPUT", message)
