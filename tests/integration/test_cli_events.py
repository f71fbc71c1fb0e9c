"""Events are published on the command line: before anybody waits, while somebody does, and beside a run."""

import json

import pytest

from tests.integration.terminal import engine_process, finish, wait_until

ORDER = """
name: order
input:
  order: {type: integer, default: 7}
steps:
  - id: paid
    type: wait_for_event
    event: payment
    match: event.order == input.order
  - id: thank
    type: agent_task
    agent: echo
    message: "thanks for {{ steps.paid.output.amount }}"
    depends_on: paid
outputs: {said: "{{ steps.thank.output }}"}
"""
FILES = {"agents.yaml": "agents: {echo: {kind: echo}}\n", "order.yaml": ORDER}


@pytest.fixture
def waiting(terminal):
    """The id of an execution that waits for its payment."""
    ran = terminal("run", "order.yaml", "--json")
    assert (ran.code, ran.document["status"]) == (4, "running")
    return ran.document["id"]


def test_a_run_that_waits_for_an_event_ends_and_says_what_to_publish(terminal):
    ran = terminal("run", "order.yaml")

    assert ran.code == 4
    assert "step paid waits for event payment." in ran.out
    assert "Publish with: process-engine publish-event payment" in ran.out


def test_what_is_published_while_nobody_runs_it_is_taken_by_the_next_who_does(terminal, waiting):
    told = terminal("publish-event", "payment", "--data", '{"order": 7, "amount": 12.5}')
    assert told.code == 0
    assert told.out.startswith("Published payment as ")
    assert "Go on with: process-engine resume" in told.out

    ran = terminal("resume", waiting, "--json")
    assert ran.code == 0
    assert ran.document["outputs"] == {"said": "thanks for 12.5"}
    types = [event["type"] for event in terminal("events", waiting, "--json").document]
    assert types.index("EventReceived") == types.index("StepWaiting") + 1


def test_an_event_is_published_once_under_its_id(terminal, waiting):
    arguments = ("publish-event", "payment", "--id", "bank-1", "--execution", waiting[:12], "--json")

    first, again = terminal(*arguments), terminal(*arguments)

    assert first.document == {
        "id": "bank-1",
        "name": "payment",
        "execution_id": waiting,
        "repeated": False,
    }
    assert again.document["repeated"] is True
    assert "nothing was changed" in terminal(*arguments[:-1]).out


def test_explain_and_show_name_the_event(terminal, waiting):
    (blocker,) = [terminal("explain", waiting, "--json").document["blocker"]]
    assert blocker["step_id"] == "paid"
    assert "waits for event payment" in terminal("show", waiting).out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("payment", "--data", "{"), "--data is not JSON"),
        (("payment", "--data", "@nothing.json"), "cannot be read"),
        (("", "--data", "1"), "is no name"),
        (("payment", "--execution", "nobody"), "there is no execution"),
    ],
)
def test_what_cannot_be_published_is_refused_with_its_reason(terminal, waiting, arguments, words):
    told = terminal("publish-event", *arguments, "--json")

    assert told.code == 2
    assert words in told.document["error"]["message"]


def test_an_event_reaches_an_execution_that_another_process_runs(terminal, place):
    (place / "timed.yaml").write_text(ORDER.replace("input.order\n", "input.order\n    timeout: 1h\n"))
    with engine_process("run", "timed.yaml", "--json", cwd=place) as runner:
        wait_until(
            lambda: "payment" in terminal("explain").out and "no process" not in terminal("explain").out,
            "it waits for its payment",
        )
        told = terminal("publish-event", "payment", "--data", '{"order": 7, "amount": 1}', "--json")
        code, out, _ = finish(runner)

    assert (told.code, told.document["repeated"]) == (0, False)
    assert code == 0
    assert json.loads(out)["outputs"] == {"said": "thanks for 1"}
