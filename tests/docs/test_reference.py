"""The tables of the reference are what is made from the code, and what is made is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from process_engine.definition import CATALOGUE
from process_engine.definition.document import STEP_TYPES, ProcessDefinition
from process_engine.definition.parts import Document, parts_of
from process_engine.definition.problems import Level
from tests.architecture.places import SOURCE
from tools.reference import __main__ as command
from tools.reference import faulty, language, markdown, pages

MARKS = re.compile(r"^<!-- (?:generated: .*|end) -->$", re.MULTILINE)
LEVELS = re.compile(r'"(P\d{3})",\s*"(error|warning|info)"')


def name_of(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("page", pages.PAGES, ids=name_of)
def test_every_table_is_what_is_made_from_the_code(page):
    stale = pages.stale_blocks(page)

    assert stale == [], f"out of date: run `{pages.REFRESH}` and look at what changed"


@pytest.mark.parametrize("page", pages.PAGES, ids=name_of)
def test_no_mark_stands_alone(page):
    marks = MARKS.findall(page.read_text(encoding="utf-8"))

    assert len(marks) == 2 * len(pages.blocks_of(page))


def test_everything_that_can_be_made_stands_on_a_page():
    asked = {name.split()[0] for page in pages.PAGES for name in pages.blocks_of(page)}

    assert asked == set(pages.MAKERS)


def test_a_table_that_was_changed_by_hand_is_told_and_made_anew(tmp_path, monkeypatch, capsys):
    page = tmp_path / "events.md"
    page.write_text("# Mine\n\n<!-- generated: skips -->\nold\n<!-- end -->\n\nand mine\n", encoding="utf-8")
    monkeypatch.setattr(command, "PAGES", (page,))

    assert command.main([]) == 1
    assert "out of date: events.md: skips" in capsys.readouterr().out
    assert "old" in page.read_text(encoding="utf-8")

    assert command.main(["--write"]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Mine\n")
    assert text.endswith("<!-- end -->\n\nand mine\n")
    assert "`dead_path`" in text
    assert command.main([]) == 0


# ---------------------------------------------------------------- the language


def documents(kind: type[Document], known: set[type[Document]]) -> set[type[Document]]:
    """A class of the language and every class that a key of it may hold."""
    if kind not in known:
        known.add(kind)
        for field in kind.model_fields.values():
            for part in parts_of(field.annotation):
                documents(part, known)
    return known


def test_every_part_of_the_language_has_its_table():
    known = {kind for start in (ProcessDefinition, *STEP_TYPES.values()) for kind in documents(start, set())}
    blocks = pages.blocks_of(next(page for page in pages.PAGES if page.name == "language.md"))

    # The input is a map of fields or a schema, which the page says in words.
    assert {kind.__name__ for kind in known} - {name.split()[-1] for name in blocks} == {"InputSpec"}


def test_keys_that_are_refused_are_marked():
    assert language.not_run() == {
        ("Limits", "budget"),
        ("Limits", "max_concurrent_executions"),
        ("Step", "roles"),
    }
    assert "*Not run yet.*" in language.keys("Limits")


# ---------------------------------------------------------------- problem codes


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_problem_code_has_an_example_that_the_checks_find(code):
    found = faulty.told(code)

    assert len(found) == len(faulty.DOCUMENTS[code])
    for line, problem in found:
        assert line.strip()
        assert problem.code == code
        assert problem.message


def test_every_level_of_a_problem_is_shown():
    """Where the code spells out code and level side by side, an example has that level."""
    written = {
        pair
        for path in (SOURCE / "definition").rglob("*.py")
        for pair in LEVELS.findall(path.read_text(encoding="utf-8"))
    }
    shown: set[tuple[str, Level]] = {
        (code, problem.level) for code in faulty.DOCUMENTS for _, problem in faulty.told(code)
    }

    assert len(written) > 40
    assert written - shown == set()


# ---------------------------------------------------------------- Markdown


def test_a_pipe_in_a_cell_ends_no_cell():
    row = markdown.table(["one", "two"], [["`y` of `a | b`, or c | d", "`x`"]]).splitlines()[2]

    assert row == "| `y` of <code>a &#124; b</code>, or c &#124; d | `x` |"


def test_a_docstring_keeps_its_paragraphs_and_its_errors():
    text = """First line
    goes on.

    Second.

    Raises:
        ValueError: it is
            too long.
        KeyError: it is gone.
    """

    assert markdown.paragraphs(text) == [
        "First line goes on.",
        "Second.",
        "Raises `ValueError`: it is too long.",
        "Raises `KeyError`: it is gone.",
    ]
