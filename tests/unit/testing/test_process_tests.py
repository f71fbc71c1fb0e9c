"""Files of process tests: what they may say, and how their faults are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from process_engine.errors import DefinitionInvalid, NotFound
from process_engine.testing.process_tests import ProcessTest, read_process_tests

PROCESS = """
name: greet
input: {who: {type: string, required: true}}
steps:
  - {id: write, agent: writer, message: "Greet {{ input.who }}."}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "greet.yaml").write_text(PROCESS, encoding="utf-8")
    return tmp_path


def file_with(place: Path, text: str) -> Path:
    path = place / "greet.test.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_read_with_its_process_and_its_lines(place: Path):
    path = file_with(
        place,
        "process: greet.yaml\ntests:\n  - name: one\n    then: {}\n\n  - name: two\n    then: {}\n",
    )

    read = read_process_tests(path)

    assert read.definition.name == "greet"
    assert [test.name for test in read.tests.tests] == ["one", "two"]
    assert [read.line_of(number) for number in (0, 1)] == [3, 6]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("then: {statsu: completed}", "status"),
        ("then: {status: completed}, when: [{aprove: x, by: ann}]", "approve"),
        ("then: {}, when: [{approve: x}]", "`approve` needs `by`"),
        ("then: {}, when: [{delegate: x, by: ann}]", "`delegate` needs `to`"),
        ("then: {}, when: [{approve: x, reject: y, by: ann}]", "this has 2"),
        ("then: {}, when: [{after: soon}]", "soon"),
        ("then: {}, given: {agents: {writer: {fails: NO_SUCH}}}", "NO_SUCH"),
        ("then: {}, given: {agents: {writer: []}}", "writer"),
    ],
)
def test_each_fault_is_told_with_its_place(place: Path, written: str, told: str):
    path = file_with(place, f"process: greet.yaml\ntests:\n  - {{name: one, {written}}}\n")

    with pytest.raises(DefinitionInvalid) as refused:
        read_process_tests(path)

    assert told in str(refused.value)
    assert f"{path}:3:" in str(refused.value)


def test_files_that_are_not_there_are_named(place: Path):
    with pytest.raises(NotFound, match=r"nobody\.test\.yaml"):
        read_process_tests(place / "nobody.test.yaml")
    with pytest.raises(NotFound, match=r"nowhere\.yaml"):
        read_process_tests(file_with(place, "process: nowhere.yaml\ntests: [{name: one, then: {}}]\n"))


def test_a_process_with_faults_is_told_of_as_by_validate(place: Path):
    (place / "broken.yaml").write_text("name: broken\nsteps: []\n", encoding="utf-8")

    with pytest.raises(DefinitionInvalid, match=r"broken\.yaml"):
        read_process_tests(file_with(place, "process: broken.yaml\ntests: [{name: one, then: {}}]\n"))


@pytest.mark.parametrize("answer", ["a draft", 7, None, {"message": "hi"}, ["a", "b"], {"cost": 3}])
def test_what_is_no_turn_is_an_answer(answer: object):
    given = {"agents": {"writer": [answer] if not isinstance(answer, list) else answer}}
    test = ProcessTest.model_validate({"name": "n", "given": given, "then": {}})

    answers = [turn.answer for turn in test.given.agents["writer"]]

    assert answers == (answer if isinstance(answer, list) else [answer])


def test_an_answer_that_looks_like_a_turn_is_written_as_one():
    given = {"agents": {"writer": {"answer": {"answer": 42}}}}

    test = ProcessTest.model_validate({"name": "n", "given": given, "then": {}})

    assert test.given.agents["writer"][0].answer == {"answer": 42}
