"""Users and groups, as a people file names them."""

from pathlib import Path

import pytest

from process_engine.cli.people import People, read_people
from process_engine.errors import CommandRejected, ConfigurationInvalid


def read(text: str) -> People:
    Path("people.yaml").write_text(text, encoding="utf-8")
    return read_people(None)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigurationInvalid) as caught:
        read(text)
    return str(caught.value).splitlines()


def test_a_user_is_in_the_groups_that_name_them_in_the_order_of_the_file():
    people = read("groups: {legal: [ann, bob], board: [bob], staff: []}\nx-note: anything\n")

    assert people.groups_of("bob") == ("legal", "board")
    assert people.groups_of("dan") == ()


def test_without_a_file_every_name_is_a_user_in_no_group():
    people = read_people(None)

    assert people.groups_of("ann") == ()
    people.require("group:whatever")


def test_where_users_are_named_nobody_else_is_known():
    people = read("users: [ann, bob]\ngroups: {legal: [ann]}\n")

    people.require("ann")
    people.require("group:legal")
    with pytest.raises(CommandRejected, match=r"people.yaml has no user 'anne'. Did you mean `ann`\?"):
        people.groups_of("anne")
    with pytest.raises(CommandRejected, match=r"people.yaml has no group 'legals'. Did you mean `legal`\?"):
        people.require("group:legals")


@pytest.mark.parametrize("name", ["group:legal", "", " ann", "a\x1b"])
def test_nobody_decides_by_the_name_of_a_group_or_by_what_is_no_name(name):
    with pytest.raises(CommandRejected, match="is no name of somebody"):
        read_people(None).groups_of(name)


@pytest.mark.parametrize("name", ["group:", "group:group:legal", "ann ", ""])
def test_a_decision_is_handed_on_to_a_name_only(name):
    with pytest.raises(CommandRejected, match="is no name of somebody"):
        read_people(None).require(name)


def test_an_explicit_file_wins_and_must_exist():
    read("groups: {legal: [ann]}\n")
    Path("others.yaml").write_text("groups: {board: [ann]}\n", encoding="utf-8")

    assert read_people(Path("others.yaml")).groups_of("ann") == ("board",)
    with pytest.raises(ConfigurationInvalid, match=r"there is no file gone.yaml"):
        read_people(Path("gone.yaml"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "1:1 the file must be a mapping of keys to values."),
        ("[ann]", "1:1 the file must be a mapping of keys to values."),
        ("groups: [ann]", "1:1 `groups` must be a mapping of keys to values."),
        ("group: {}", "1:1 unknown key `group`. Did you mean `groups`?"),
        ("users: ann", "1:1 `users` must be a list of names, as in `[ann, bob]`."),
        ("groups: {legal: ann}", "1:10 `groups.legal` must be a list of names, as in `[ann, bob]`."),
        ("users: [ann, ann]", "1:14 `users`: `ann` is named twice. Remove one of them."),
        ("groups: {legal: [ann, ann]}", "1:23 `groups.legal`: `ann` is named twice. Remove one of them."),
        (
            "users: [ann]\ngroups: {legal: [bob]}",
            "2:10 group `legal`: `bob` is not under `users`. Add them there.",
        ),
    ],
)
def test_a_fault_is_told_with_its_place(text, told):
    assert faults(text) == [f"people.yaml:{told}"]


@pytest.mark.parametrize("name", ["''", "' ann'", "group:legal", "3", r'"a\u202eb"', r'"a\nb"', "x" * 255])
def test_what_is_no_name_is_refused(name):
    (fault,) = faults(f"users: [{name}]\n")

    assert "is no name: use visible text of at most 254 characters" in fault


def test_a_name_for_a_group_is_a_name_too():
    (fault,) = faults("groups: {'group:legal': [ann]}\n")

    assert fault.startswith("people.yaml:1:10 `group:legal` is no name for a group")


def test_all_faults_are_told_at_once_in_the_order_of_the_file():
    told = faults("groups: {legal: 1}\nusers: [ann, ann]\nuser: []\n")

    assert [line.split()[0] for line in told] == ["people.yaml:1:10", "people.yaml:2:14", "people.yaml:3:1"]


def test_a_group_named_twice_is_a_fault_of_the_yaml():
    assert "is given twice" in faults("groups: {legal: [ann], legal: [bob]}\n")[0]
