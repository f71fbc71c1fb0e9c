import json
import tempfile

import pytest

from tests.integration.terminal import steps_of
from tests.unit.cli.support import Terminal


@pytest.fixture
def terminal(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Terminal(capfd)


def test_the_demo_runs_the_example_and_says_what_to_try_next(terminal, tmp_path):
    answer = terminal("demo", "--keep", "kept", "--topic", "rain")

    assert (answer.code, answer.err) == (0, "")
    assert "address: https://example.org/articles/1" in answer.out
    assert "What was recorded, in order" in answer.out
    assert "process-engine demo --crash" in answer.out
    (line,) = terminal("list", "--db", "kept/process-engine.db", "--json").document
    shown = terminal("show", line["id"], "--db", "kept/process-engine.db", "--json").document
    assert shown["input"]["topic"] == "rain"
    assert steps_of(shown) == {
        "plan": "completed",
        "facts": "completed",
        "sources": "completed",
        "pictures": "completed",
        "write": "completed",
        "review": "completed",
        "verdict": "completed",
        "embargo": "completed",
        "rework": "skipped",
        "publish": "completed",
    }
    calls = [json.loads(line) for line in (tmp_path / "kept/agent-calls.jsonl").read_text().splitlines()]
    assert [call["status"] for call in calls if call["agent"] == "librarian"] == [503, 503, 200]
    assert len({call["key"] for call in calls if call["agent"] == "librarian"}) == 1


def test_a_demo_leaves_nothing_behind_unless_asked(terminal, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    # Refused, because the topic is too short: the way out is the same, and shorter.
    assert terminal("demo", "--topic", "xx").code == 2
    assert list(tmp_path.iterdir()) == []


def test_the_crash_demo_shows_that_nothing_recorded_ran_twice(terminal):
    answer = terminal("demo", "--crash")

    assert (answer.code, answer.err) == (0, "")
    table = [line.split() for line in answer.out.partition("4. What the agents logged")[2].splitlines()]
    counts = {words[0]: words[1:4] for words in table if len(words) > 3}
    assert counts["plan"] == ["1", "-", "yes"]
    assert counts["sources"] == ["3", "-", "yes"]
    assert counts["write"] == ["1", "1", "no"]
    promises = answer.out.strip().splitlines()[-5:]
    assert all(promise.startswith("yes  ") for promise in promises), promises
