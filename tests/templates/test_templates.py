"""Every template and example: valid, tested, covered, and with the history that it always had."""

from __future__ import annotations

from pathlib import Path

import pytest

from process_engine.cli.templates import template, template_names
from process_engine.definition import load_definition
from process_engine.testing.coverage import cover_file
from process_engine.testing.process_tests import read_process
from process_engine.testing.trial import try_tests
from tests.templates.histories import EXAMPLES, HISTORIES, TEMPLATES, files_of_tests, golden_of, history_of

FILES = files_of_tests()
PROMISED = {
    "approval-gate",
    "client-onboarding",
    "content-pipeline",
    "due-diligence",
    "incident-response",
    "parallel-research",
    "support-escalation",
    "weekly-brief",
}


def stem(path: Path) -> str:
    return path.name.removesuffix(".test.yaml")


def test_the_templates_are_those_that_are_promised():
    assert set(template_names()) == PROMISED


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_a_template_is_valid_and_draws_no_warning(name):
    definition, problems = load_definition(template(name).process)

    assert definition is not None, problems
    assert definition.name == name
    assert [problem for problem in problems if problem.level != "info"] == []


def test_a_part_of_a_template_is_valid_too():
    [(name, text)] = template("due-diligence").parts.items()
    definition, problems = load_definition(text)

    assert (name, definition and definition.name) == ("due-diligence-side", "due-diligence-side")
    assert [problem for problem in problems if problem.level != "info"] == []


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_a_template_says_in_a_sentence_what_it_is_and_explains_itself(name):
    found = template(name)

    assert found.about.endswith(".")
    assert 30 <= len(found.about) <= 120
    assert found.process.count("#") >= 4
    assert found.process.splitlines()[0].startswith("# ")


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_a_template_under_another_name_passes_its_tests(name, tmp_path):
    made = template(name).named("of-my-own", "of-my-own.yaml")
    (tmp_path / "of-my-own.yaml").write_text(made.process, encoding="utf-8")
    (tmp_path / "of-my-own.test.yaml").write_text(made.tests, encoding="utf-8")
    for part, text in made.parts.items():
        (tmp_path / f"{part}.yaml").write_text(text, encoding="utf-8")

    tried = list(try_tests(tmp_path / "of-my-own.test.yaml"))

    assert len(tried) >= 3
    assert [(one.name, one.mismatches) for one in tried if one.mismatches] == []
    assert read_process(tmp_path / "of-my-own.yaml").name == "of-my-own"


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_the_tests_of_a_template_reach_every_step_and_every_route(name):
    process = TEMPLATES / f"{name}.yaml"
    covered = cover_file(process, read_process(process), TEMPLATES / f"{name}.test.yaml")

    assert (covered.unreached_steps, covered.unreached_routes) == ([], [])


@pytest.mark.parametrize("path", FILES, ids=stem)
def test_its_history_is_the_one_that_is_kept(path):
    assert history_of(path) == golden_of(path).read_text(encoding="utf-8")


def test_no_history_is_kept_of_what_is_no_more():
    assert set(HISTORIES.rglob("*.txt")) == {golden_of(path) for path in FILES}


def test_every_example_that_needs_nothing_else_has_tests():
    processes = {path.stem for path in EXAMPLES.glob("*.yaml") if not path.name.endswith(".test.yaml")}

    assert processes - {"agents"} == {stem(path) for path in EXAMPLES.glob("*.test.yaml")}
