"""Values as an execution records them: small ones in place, large ones by reference."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from process_engine.errors import OutputTooLarge

# 64 KiB: a value up to this size is kept in the state and its rows; a larger one becomes a blob.
INLINE_LIMIT_BYTES = 64 * 1024
# 10 MiB: what one step may record. Larger results belong into a store of their own, passed on as a link.
VALUE_LIMIT_BYTES = 10 * 1024 * 1024

_encoder = msgspec.json.Encoder()


class BlobRef(msgspec.Struct, frozen=True, gc=False):
    """A large value by its content: `sha256` (hex) of its JSON text, `size_bytes` of that text."""

    sha256: str
    size_bytes: int


class Value(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A JSON value in place (`data`), or, where `ref` is set, the reference to one (`data` is None then)."""

    data: object = None
    ref: BlobRef | None = None


Blobs = Mapping[str, bytes]
"""JSON text of large values by SHA-256."""

NULL = Value()


def pack(value: object, inline_limit_bytes: int = INLINE_LIMIT_BYTES) -> tuple[Value, dict[str, bytes]]:
    """Make `value` recordable: what is kept in the state, and the blobs to store beside it (none or one).

    What is larger than `inline_limit_bytes` becomes a blob. The value comes back as its JSON form (tuples are
    lists, keys are text), so that memory and store agree.

    Raises:
        TypeError: the value has no JSON form (foreign objects, lone surrogates, bottomless nesting).
        OutputTooLarge: its JSON text is over `VALUE_LIMIT_BYTES`.
    """
    if value is None or value is True or value is False:
        return Value(value), {}
    try:
        text = _encoder.encode(value)
    except (UnicodeEncodeError, RecursionError) as error:
        raise TypeError(f"the value has no JSON form: {error}") from error
    if len(text) <= inline_limit_bytes:
        return Value(msgspec.json.decode(text)), {}
    if len(text) > VALUE_LIMIT_BYTES:
        raise OutputTooLarge(
            f"the value is {len(text):,} bytes of JSON, the limit is {VALUE_LIMIT_BYTES:,}.",
            remedy="Store it elsewhere and pass a link on.",
        )
    ref = BlobRef(hashlib.sha256(text).hexdigest(), len(text))
    return Value(ref=ref), {ref.sha256: text}
