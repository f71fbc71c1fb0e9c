"""Durations: what is accepted, what is refused with advice, and what survives a round trip."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from process_engine.definition.durations import MAX_DURATION_SECONDS, Duration, parse_duration


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30),
        ("90s", 90),
        ("5m", 300),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("1.5h", 5400),
        ("1d2h3m4s5ms", 93_784.005),
        ("1m5ms", 60.005),
        ("0s", 0),
        ("90", 90),
        ("1.5", 1.5),
        ("PT90S", 90),
        ("PT1.5S", 1.5),
        ("P1DT2H", 93_600),
        ("P1D", 86_400),
        ("P2W", 1_209_600),
        ("PT1H30M", 5400),
        (90, 90),
        (1.5, 1.5),
        (0, 0),
        ("3650d", MAX_DURATION_SECONDS),
    ],
)
def test_a_duration_is_as_long_as_it_says(written: str | float, seconds: float):
    assert parse_duration(written).seconds == seconds


@pytest.mark.parametrize("written", ["90s", "1m30s", "PT90S", "1.5h", "250ms", "90"])
def test_a_text_is_kept_as_it_was_written(written: str):
    assert parse_duration(written).text == written
    assert str(parse_duration(written)) == written


@pytest.mark.parametrize(
    ("number", "text"),
    [(90, "90s"), (90.0, "90s"), (1.5, "1.5s"), (0.25, "0.25s"), (1e-9, "0s"), (300_000, "300000s")],
)
def test_a_number_becomes_a_text_in_seconds(number: float, text: str):
    assert parse_duration(number).text == text


@pytest.mark.parametrize(
    "written",
    [
        *("", " ", "abc", "s", "5x", "30m1h", "5m5m", "1.h", ".5h", "1h 30m", "30S", "1y"),
        *("P", "PT", "P1M", "P1Y", "P1DT", "PT5", "P1H", "pt5s", "-5s", "-PT5S", "+5s", "1e3s", "٣s"),
        *("3651d", "PT999999999S", "9" * 70 + "s", "1h\n", "NaN", "inf"),
    ],
)
def test_what_is_no_duration_is_refused(written: str):
    with pytest.raises(ValueError, match="duration"):
        parse_duration(written)


@pytest.mark.parametrize(
    "number",
    [-1, -0.5, float("nan"), float("inf"), True, MAX_DURATION_SECONDS + 1, 10**400],
    ids=lambda number: str(number)[:9],
)
def test_a_number_out_of_range_is_refused(number: float):
    with pytest.raises(ValueError, match="duration"):
        parse_duration(number)


@pytest.mark.parametrize(
    ("written", "advice"),
    [
        ("5 minutes", "write 5m"),
        ("30 sec", "write 30s"),
        ("10 Hours", "write 10h"),
        ("1h 30m", "write 1h30m"),
        ("100 milliseconds", "write 100ms"),
        ("soon", "write 30s, 5m, 1h30m"),
    ],
)
def test_the_refusal_says_what_to_write(written: str, advice: str):
    with pytest.raises(ValueError, match=advice):
        parse_duration(written)


def test_durations_of_the_same_length_are_equal_however_written():
    assert parse_duration("90s") == parse_duration("1m30s") == parse_duration("PT90S")
    assert len({parse_duration("90s"), parse_duration("1m30s")}) == 1
    assert parse_duration("90s") != parse_duration("91s")
    assert parse_duration("90s") != 90
    assert parse_duration("90s") != "90s"


def test_durations_have_an_order():
    written = [parse_duration(text) for text in ("1h", "1s", "1m")]

    assert [duration.text for duration in sorted(written)] == ["1s", "1m", "1h"]
    assert parse_duration("1m") <= parse_duration("60s")


def test_a_duration_cannot_be_changed():
    duration = parse_duration("90s")

    with pytest.raises(AttributeError):
        duration.seconds = 1.0  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del duration.text


def test_a_duration_can_be_copied_and_pickled():
    duration = parse_duration("90s")

    assert copy.deepcopy(duration).text == "90s"
    assert pickle.loads(pickle.dumps(duration)).text == "90s"


def test_a_duration_converts_to_a_timedelta():
    assert parse_duration("1h30m").timedelta == timedelta(hours=1, minutes=30)


class Waiting(BaseModel):
    """A model with a duration."""

    delay: Duration


@pytest.mark.parametrize("written", ["90s", "PT1H", "1.5h"])
def test_a_model_field_survives_a_round_trip_as_written(written: str):
    model = Waiting.model_validate({"delay": written})

    assert model.model_dump() == {"delay": written}
    assert Waiting.model_validate_json(model.model_dump_json()).delay.text == written


def test_a_model_field_takes_numbers_and_durations():
    assert Waiting(delay=parse_duration("5m")).delay.seconds == 300
    assert Waiting.model_validate({"delay": 90}).delay.text == "90s"


@pytest.mark.parametrize("value", [None, [], {}, "soon", -1, True])
def test_a_model_field_refuses_what_is_no_duration(value: object):
    with pytest.raises(ValidationError, match="duration"):
        Waiting.model_validate({"delay": value})


def test_the_json_schema_allows_texts_and_numbers():
    kinds = [option["type"] for option in Waiting.model_json_schema()["properties"]["delay"]["anyOf"]]

    assert kinds == ["string", "number"]


@given(st.text(max_size=80) | st.text(alphabet="0123456789.dhmsPTW-", max_size=20))
def test_any_text_is_a_duration_or_a_value_error(text: str):
    try:
        duration = parse_duration(text)
    except ValueError:
        return
    assert 0 <= duration.seconds <= MAX_DURATION_SECONDS
    assert parse_duration(duration.text) == duration


@given(st.floats(min_value=0, max_value=MAX_DURATION_SECONDS) | st.integers(0, MAX_DURATION_SECONDS))
def test_the_text_of_any_number_reads_back_as_the_same_duration(number: float):
    duration = parse_duration(number)

    assert abs(duration.seconds - number) <= 1e-6
    assert parse_duration(duration.text) == duration
