"""`process-engine new`: a process and its tests, from a template."""

import stat

import pytest

from process_engine.cli import completing
from process_engine.cli.templates import template_names

FILES = {"taken.yaml": "mine\n"}


def test_without_a_template_it_tells_which_there_are(terminal, place):
    told = terminal("new")

    assert told.code == 0
    assert [line.split()[0] for line in told.out.splitlines()[: len(template_names())]] == template_names()
    assert told.out == terminal("new", "--list").out
    assert [one["name"] for one in terminal("new", "--list", "--json").document] == template_names()
    assert sorted(path.name for path in place.iterdir()) == ["taken.yaml"]


def test_a_process_gets_the_name_of_its_file_and_passes_its_tests(terminal, place):
    begun = terminal("new", "approval-gate", "my-letters.yaml")

    assert (begun.code, begun.err) == (0, "")
    assert "my-letters.yaml and my-letters.test.yaml are written." in begun.out
    assert "process-engine test my-letters.test.yaml" in begun.out
    assert "name: my-letters\n" in (place / "my-letters.yaml").read_text(encoding="utf-8")
    assert terminal("validate", "my-letters.yaml").code == 0
    assert terminal("test", "my-letters.test.yaml").code == 0
    assert terminal("dry-run", "my-letters.yaml", "--answers", "my-letters.test.yaml").code == 0


@pytest.mark.parametrize("name", template_names())
def test_every_command_that_it_names_next_works(terminal, place, name):
    begun = terminal("new", name)

    named = [line.split()[1:] for line in begun.out.splitlines() if line.startswith("  process-engine")]
    for command in named:
        if command[0] not in ("run", "publish"):
            assert terminal(*command).code == 0, command
    assert [command[0] for command in named if command[0] != "publish"] == [
        "dry-run",
        "test",
        "validate",
        "run",
    ]


def test_what_a_process_runs_is_written_beside_it_under_its_name(terminal, place):
    begun = terminal("new", "due-diligence", "rivers.yaml")

    assert "rivers.yaml, rivers-side.yaml and rivers.test.yaml are written." in begun.out
    assert "process-engine publish rivers-side.yaml" in begun.out
    assert "name: rivers-side\n" in (place / "rivers-side.yaml").read_text(encoding="utf-8")
    assert "due-diligence-side" not in (place / "rivers.yaml").read_text(encoding="utf-8")
    assert terminal("test", "rivers.test.yaml").code == 0
    assert terminal("publish", "rivers-side.yaml").code == 0


def test_files_are_those_of_anybody(terminal, place):
    terminal("new", "weekly-brief")

    plain = place / "plain"
    plain.write_text("", encoding="utf-8")
    modes = {
        stat.S_IMODE((place / name).stat().st_mode)
        for name in ("weekly-brief.yaml", "weekly-brief.test.yaml")
    }
    assert modes == {stat.S_IMODE(plain.stat().st_mode)}


def test_what_is_there_is_kept_unless_one_says_otherwise(terminal, place):
    refused = terminal("new", "weekly-brief", "taken.yaml")

    assert refused.code == 2
    assert "taken.yaml is there already; nothing was written." in refused.err
    assert sorted(path.name for path in place.iterdir()) == ["taken.yaml"]
    assert (place / "taken.yaml").read_text(encoding="utf-8") == "mine\n"

    assert terminal("new", "weekly-brief", "taken.yaml", "--force").code == 0
    assert sorted(path.name for path in place.iterdir()) == ["taken.test.yaml", "taken.yaml"]
    assert "name: taken\n" in (place / "taken.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("aproval-gate",), "Did you mean `approval-gate`?"),
        (("approval-gate", "My Letters.yaml"), "is no name for a process"),
        (("approval-gate", "letters.txt"), "does not end in .yaml"),
        (("approval-gate", "nowhere/letters.yaml"), "cannot be written"),
        (("approval-gate", "--list"), "exclude each other"),
    ],
)
def test_what_cannot_be_begun_is_refused_and_writes_nothing(terminal, place, arguments, told):
    refused = terminal("new", *arguments)

    assert refused.code == 2
    assert told in refused.err
    assert sorted(path.name for path in place.iterdir()) == ["taken.yaml"]


def test_a_program_gets_one_document(terminal):
    assert terminal("new", "weekly-brief", "brief.yml", "--json").document == {
        "template": "weekly-brief",
        "process": "brief.yml",
        "parts": [],
        "tests": "brief.test.yml",
    }


def test_a_shell_is_offered_the_templates():
    assert [item.value for item in completing.templates({}, "con", ())] == ["content-pipeline"]
