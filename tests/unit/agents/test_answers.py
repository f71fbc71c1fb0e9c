from decimal import Decimal

import pytest

from process_engine.agents.answers import MAX_NESTING, checked_usage, nested_at_most, read_answer, structured
from process_engine.core.results import Usage
from process_engine.runtime.ports import AgentCallFailed


def fault_of(body: bytes, *, json: bool = True, charset: str | None = None) -> str:
    with pytest.raises(AgentCallFailed) as caught:
        read_answer(body, json=json, charset=charset)
    assert (caught.value.code, caught.value.transient) == ("INVALID_OUTPUT", False)
    return caught.value.message


@pytest.mark.parametrize(
    ("body", "output"),
    [
        (b'{"response": "yes"}', "yes"),
        (b'{"output": {"score": 8}}', {"score": 8}),
        (b'{"response": "first", "output": "second"}', "first"),
        (b'{"response": null}', None),
        (b'{"response": [1], "extra": true}', [1]),
        (b'{"summary": "s", "cost": "a lot"}', {"summary": "s", "cost": "a lot"}),
        (b"[1, 2]", [1, 2]),
        (b'"text"', "text"),
        (b"null", None),
        (b'\xef\xbb\xbf{"response": 1}', 1),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
    ],
)
def test_response_or_output_or_the_whole_value_is_what_was_answered(body: bytes, output: object):
    assert read_answer(body, json=True).output == output


def test_a_json_answer_in_another_charset_is_read():
    assert read_answer('{"output": "é"}'.encode("latin-1"), json=True, charset="ISO-8859-1").output == "é"


@pytest.mark.parametrize(
    ("cost", "exact"),
    [
        (b"0.1", "0.1"),
        (b'"0.1"', "0.1"),
        (b"3", "3"),
        (b"0.123456789012345678901234", "0.123456789012345678901234"),
        (b"1.5e-05", "0.000015"),
        (b"null", "0"),
    ],
)
def test_cost_is_exact_as_number_and_as_text(cost: bytes, exact: str):
    usage = read_answer(b'{"response": 1, "cost": ' + cost + b"}", json=True).usage

    assert usage.cost == Decimal(exact)
    assert isinstance(usage.cost, Decimal)


def test_tokens_are_counted_where_the_agent_counts_them():
    body = b'{"output": 1, "usage": {"input_tokens": 5, "output_tokens": null, "cached": 3}}'

    assert read_answer(body, json=True).usage == Usage(input_tokens=5)


@pytest.mark.parametrize(
    "more",
    [
        b'"cost": "free"',
        b'"cost": true',
        b'"cost": -1',
        b'"cost": "NaN"',
        b'"cost": "Infinity"',
        b'"cost": 1e30',
        b'"cost": 1e-31',
        b'"cost": 1e999999999999',
        b'"usage": 5',
        b'"usage": {"input_tokens": "many"}',
        b'"usage": {"input_tokens": -1}',
        b'"usage": {"output_tokens": 1e30}',
    ],
)
def test_a_cost_or_usage_that_makes_no_sense_is_invalid_output(more: bytes):
    assert "the answer" in fault_of(b'{"response": "paid", ' + more + b"}")


@pytest.mark.parametrize(
    "body",
    [b"", b'{"response": "ha', b"NaN", b'"\xff"', b'{"a": 1} x', b"[" * 50_000, b"1e400", b'"\\ud800"'],
)
def test_broken_json_is_invalid_output(body: bytes):
    fault_of(body)


def test_json_nested_too_deeply_is_invalid_output():
    deep = b"[" * (MAX_NESTING + 1) + b"]" * (MAX_NESTING + 1)

    assert "nested" in fault_of(deep)
    assert read_answer(deep[1:-1], json=True).output is not None


def test_bytes_that_are_no_text_are_invalid_output():
    assert "utf-8" in fault_of(b"\xff\xfe\x00", json=False)
    assert "no-such" in fault_of(b"abc", json=False, charset="no-such")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"score": 8}', {"score": 8}),
        (' \n["a"]\n', ["a"]),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ("```\n[1]\n```\n", [1]),
        ('```JSON\n{"code": "```"}\n```', {"code": "```"}),
    ],
)
def test_text_that_is_a_json_object_or_array_counts_as_one(text: str, value: object):
    assert structured(text) == value
    assert read_answer(text.encode(), json=False).output == value


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "",
        "42",
        "true",
        '"quoted"',
        '{"half": ',
        "{not json}",
        'Here it is:\n```json\n{"a": 1}\n```',
        '```json\n{"a": 1}\n```\nand\n```json\n{"b": 2}\n```',
        '```python\n{"a": 1}\n```',
        "```",
        "```json\n",
        "[" * 50_000,
    ],
)
def test_other_text_stays_the_text_it_is(text: str):
    assert structured(text) == text


def test_json_inside_a_response_text_counts_and_inside_an_output_text_does_not():
    assert read_answer(b'{"response": "{\\"a\\": 1}"}', json=True).output == {"a": 1}
    assert read_answer(b'{"output": "{\\"a\\": 1}"}', json=True).output == '{"a": 1}'


def test_nesting_counts_lists_mappings_and_tuples():
    assert nested_at_most("x", 0)
    assert nested_at_most([], 1)
    assert not nested_at_most({}, 0)
    assert nested_at_most([{"a": (1,)}], 3)
    assert not nested_at_most([{"a": (1,)}], 2)


def test_a_cost_that_is_a_float_cannot_be_recorded():
    with pytest.raises(AgentCallFailed, match="decimal"):
        checked_usage(Usage(cost=0.1))  # pyright: ignore[reportArgumentType]
