from datetime import timedelta

import pytest

from process_engine.cli.text import printable, shortened, span


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ümläuts and 🎉", "plain, ümläuts and 🎉"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\rb", "a\\rb"),
        ("bell\x07", "bell\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202eevil", "\\u202eevil"),
        ("\ud800", "\\ud800"),
    ],
)
def test_control_characters_are_spelled_out(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [("short", 10, "short"), ("a\nb   c", 10, "a b c"), ("0123456789", 5, "0123…"), ("x" * 10_000, 3, "xx…")],
)
def test_a_long_text_is_cut_to_one_line(text, width, shown):
    assert shortened(text, width) == shown


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-1, "0.0 s"),
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (93_600, "1 d 2 h"),
        (30 * 86400, "30 d"),
    ],
)
def test_a_span_is_told_in_its_two_largest_units(seconds, told):
    assert span(timedelta(seconds=seconds)) == told
