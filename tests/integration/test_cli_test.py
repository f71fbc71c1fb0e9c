"""`process-engine test`: the tests of a process, on the command line and by pytest."""

import subprocess
import sys
from pathlib import Path

PROCESS = """
name: greet
steps: [{id: write, agent: writer, message: hello}]
"""
TESTS = """
process: greet.yaml
given: {agents: {writer: hi}}
tests:
  - {name: it greets, then: {status: completed}}
  - {name: it fails, then: {status: failed}}
"""
FILES = {"greet.yaml": PROCESS, "greet.test.yaml": TESTS}
EXAMPLES = Path(__file__).parents[2] / "examples"


def test_each_test_is_told_with_its_place_and_what_differs(terminal):
    ran = terminal("test", "greet.test.yaml")

    assert ran.code == 1
    assert ran.out.splitlines() == [
        "passed  greet.test.yaml:5  it greets",
        "failed  greet.test.yaml:6  it fails",
        "        status: expected failed, found completed",
        "1 passed, 1 failed.",
    ]


def test_folders_are_looked_through(terminal, place):
    (place / "empty").mkdir()

    assert terminal("test", ".").code == 1
    refused = terminal("test", "empty")
    assert refused.code == 2
    assert "there are no tests" in refused.err


def test_a_program_gets_one_document(terminal):
    document = terminal("test", "greet.test.yaml", "--json").document

    assert (document["passed"], document["failed"]) == (1, 1)
    assert document["tests"][1]["mismatches"] == ["status: expected failed, found completed"]


def test_a_file_that_is_no_test_is_refused_with_its_place(terminal, place):
    (place / "odd.test.yaml").write_text(
        "process: greet.yaml\ntests: [{name: x, thn: {}}]\n", encoding="utf-8"
    )

    refused = terminal("test", "odd.test.yaml")

    assert refused.code == 2
    assert "odd.test.yaml:2:" in refused.err
    assert "then" in refused.err


def test_nothing_is_left_behind(terminal, place):
    before = sorted(place.iterdir())

    terminal("test", "greet.test.yaml")

    assert sorted(place.iterdir()) == before


def test_the_tests_of_the_examples_pass(terminal):
    ran = terminal("test", str(EXAMPLES))

    assert ran.code == 0, ran.out


def test_pytest_finds_them_by_itself(place):
    (place / "test_python.py").write_text(
        "def test_from_python(try_process):\n"
        "    trial = try_process('greet.yaml', given={'agents': {'writer': 'hi'}},"
        " then={'status': 'completed'})\n"
        "    assert trial.path == ['write']\n",
        encoding="utf-8",
    )

    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )

    assert ran.returncode == 1, ran.stderr
    assert "1 failed, 2 passed" in ran.stdout
    assert "greet.test.yaml:6: it fails" in ran.stdout
    assert "status: expected failed, found completed" in ran.stdout
