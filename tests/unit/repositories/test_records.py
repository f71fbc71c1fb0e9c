from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from process_engine.core.events import StepQueued
from process_engine.core.state import StepState
from process_engine.core.values import Value
from process_engine.errors import InternalError, StorageIncompatible
from process_engine.repositories.records import EVENT, STEP, from_microseconds, to_microseconds

EVENT_OF_A_LATER_VERSION = """
    {"type": "StepQueued", "execution_id": "a", "sequence": 3, "timestamp": "2026-03-01T12:00:00Z",
     "process_name": "p", "correlation_id": "a", "step_id": "s", "mood": {"calm": true}}
"""


def test_a_field_that_is_not_known_is_ignored_and_a_missing_one_takes_its_default():
    event = EVENT.decode(EVENT_OF_A_LATER_VERSION)

    assert isinstance(event, StepQueued)
    assert (event.sequence, event.visit, event.attempt) == (3, 1, 0)
    assert STEP.decode('{"nobody": "knows"}') == StepState()


@pytest.mark.parametrize(
    "text", ["", "{", '{"type": "NoSuchEvent"}', '{"type": "StepQueued"}', "[" * 100_000]
)
def test_a_text_that_is_no_record_is_refused_with_a_remedy(text):
    with pytest.raises(StorageIncompatible) as refusal:
        EVENT.decode(text)

    assert refusal.value.remedy


def test_a_record_without_a_json_form_is_a_broken_invariant():
    nested: object = None
    for _ in range(100_000):
        nested = [nested]

    for value in ("\udfff", {1, object()}, nested):
        with pytest.raises(InternalError, match="nothing was written"):
            STEP.encode(StepState(output=Value(value)))


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
    ],
)
def test_moments_survive_as_microseconds_exactly_and_keep_their_order(moment):
    assert from_microseconds(to_microseconds(moment)) == moment
    if moment.year > 1:
        assert to_microseconds(moment - timedelta(microseconds=1)) == to_microseconds(moment) - 1
