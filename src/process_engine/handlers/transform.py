"""Transforms: values made of other values."""

from __future__ import annotations

from process_engine.handlers.inline import DecidedInline


class TransformHandler(DecidedInline):
    """Makes the value, typed."""

    step_type = "transform"
