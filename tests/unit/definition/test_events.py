"""Waits for events in a document: what can be known to be wrong."""

import pytest

from process_engine.definition import load_definition

HEAD = "name: p\ndefaults: {agent: writer}\ninput: {n: {type: integer}}\nsteps:\n"


def codes(*steps: str) -> list[tuple[str, str]]:
    """Code and level of each problem of a document of these steps, in flow style, but for infos."""
    body = "".join(f"  - {{{step}}}\n" for step in steps)
    _, found = load_definition(HEAD + body)
    return [(problem.code, problem.level) for problem in found if problem.level != "info"]


def wait(keys: str = "") -> str:
    return f"id: w, type: wait_for_event, event: go{', ' if keys else ''}{keys}"


def test_a_wait_with_everything_is_right():
    assert codes(wait("match: event.n == input.n, timeout: 3d, timeout_action: continue")) == []


def test_a_wait_needs_the_name_of_its_event():
    assert codes("id: w, type: wait_for_event") == [("P102", "error")]


@pytest.mark.parametrize(
    "step",
    [
        "id: a, type: agent_task, message: '{{ event.n }}'",
        wait("condition: event.n > 1"),
        "id: w, type: wait_for_event, event: 'go-{{ event.n }}'",
    ],
)
def test_the_event_is_read_in_a_match_alone(step):
    assert ("P313", "error") in codes(step)


@pytest.mark.parametrize("name", ["' '", '"a\\tb"', "x" * 201])
def test_a_name_that_no_event_can_have(name):
    assert codes(f"id: w, type: wait_for_event, event: {name}") == [("P613", "error")]


def test_a_rendered_name_is_looked_at_when_it_is_rendered():
    assert codes(f"id: w, type: wait_for_event, event: '{'x' * 201}{{{{ input.n }}}}'") == []


def test_a_match_that_does_not_look_at_the_event():
    assert codes(wait("match: input.n > 1")) == [("P614", "warning")]


def test_an_action_without_timeout():
    assert codes(wait("timeout_action: skip")) == [("P615", "warning")]
    assert codes(wait("timeout_action: wait")) == [("P104", "error")]


@pytest.mark.parametrize("keys", ["retry: {max_attempts: 2}", "on_interrupt: ask"])
def test_settings_that_a_wait_never_asks_for(keys):
    assert codes(wait(keys)) == [("P612", "warning")]


def test_an_unknown_field_of_the_input_in_a_match_is_found():
    assert codes(wait("match: event.n == input.m")) == [("P304", "error")]


def test_the_output_of_a_wait_that_may_be_skipped_needs_a_default():
    reader = "id: t, type: transform, depends_on: w, value: '{{ steps.w.output }}'"
    assert codes(wait("timeout: 1h, timeout_action: skip"), reader) == [("P306", "warning")]
    assert codes(wait("timeout: 1h, timeout_action: continue"), reader) == []


def test_a_root_that_does_not_exist_is_never_taken_for_the_event():
    _, found = load_definition(HEAD + "  - {id: a, type: agent_task, message: '{{ evnt.n }}'}\n")

    (problem,) = found
    assert problem.code == "P302"
    assert "`event`" not in problem.suggestion
