"""Sub-processes from the command line: made known, followed, cancelled, explained."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PARENT = """\
name: parent
steps:
  - {id: call, type: sub_process, process: child, input: {topic: tides}}
outputs: {said: steps.call.output.said}
"""
CHILD = """\
name: child
input: {topic: {type: string, required: true}}
steps:
  - {id: ok, type: human_approval, title: "About {{ input.topic }}?"}
outputs: {said: steps.ok.output.decision}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "parent.yaml").write_text(PARENT, encoding="utf-8")
    (tmp_path / "child.yaml").write_text(CHILD, encoding="utf-8")
    return tmp_path


def typed(place: Path, *words: str) -> tuple[int, str, str]:
    """What a command line answers: exit code, stdout, stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "process_engine", *words],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def by_process(place: Path) -> dict[str, dict[str, str]]:
    return {line["process"]: line for line in json.loads(typed(place, "list", "--json")[1])}


def test_a_process_that_is_not_known_is_refused_before_anything_is_started(place: Path):
    code, _, told = typed(place, "run", "parent.yaml")

    assert code == 2
    assert "does not know: child" in told
    assert "--with OTHER.yaml" in told
    assert by_process(place) == {}


def test_a_child_is_explained_decided_and_its_parent_goes_on(place: Path):
    code, told, _ = typed(place, "run", "parent.yaml", "--with", "child.yaml")
    assert code == 4
    assert "waits for its sub-process" in told
    lines = by_process(place)
    parent, child = lines["parent"]["id"], lines["child"]["id"]

    why = json.loads(typed(place, "explain", parent, "--json")[1])
    assert why["blocker"]["kind"] == "child"
    assert f"approve {child} ok" in why["remedy"]
    shown = json.loads(typed(place, "show", child, "--json")[1])
    assert shown["parent"] == {"id": parent, "step": "call"}
    assert json.loads(typed(place, "show", parent, "--json")[1])["steps"][0]["execution_id"] == child
    assert f"called by {parent}, step call" in typed(place, "show", child)[1]

    assert typed(place, "approve", child, "ok", "--as", "ann")[0] == 0
    code, told, _ = typed(place, "resume", parent)
    assert code == 0
    assert "said: approved" in told


def test_who_cancels_a_parent_cancels_the_child_before_the_command_returns(place: Path):
    typed(place, "run", "parent.yaml", "--with", "child.yaml")
    parent = by_process(place)["parent"]["id"]

    assert typed(place, "cancel", parent)[0] == 0

    assert {line["status"] for line in by_process(place).values()} == {"cancelled"}
    assert "ChildEnded" in typed(place, "events", parent, "--all")[1]


def test_validate_knows_the_processes_it_is_given(place: Path):
    assert typed(place, "validate", "parent.yaml")[0] == 0
    assert typed(place, "validate", "parent.yaml", "--with", "child.yaml")[0] == 0
    code, told, _ = typed(place, "validate", "parent.yaml", "--with", "parent.yaml")
    assert code == 2
    assert "P651" in told
