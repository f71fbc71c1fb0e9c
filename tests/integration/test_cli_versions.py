"""Versions, differences, lint and fmt from the command line."""

import json
from pathlib import Path

import pytest

from process_engine.repositories.lock import StoreLock

POST = """\
name: post
version: "1.9"
input: {topic: {type: string, default: tides}}
steps:
  - {id: write, type: agent_task, agent: echo, message: "{{ input.topic }}"}
outputs: {text: steps.write.output}
"""
NEWER = POST.replace("1.9", "1.10").replace('topic }}"}', 'topic }}!", timeout: 2h}')
CHANGED = POST.replace("topic }}", "topic }}?")
OLD = "name: old\nsteps:\n- id: t   # a nap\n  type: timer\n  duration: 1s\n"
FORMATTED = "name: old\nsteps:\n  - id: t # a nap\n    type: timer\n    delay: 1s\n"
BY_HAND = "triggers: [{id: by-hand, type: manual}]"
FILES = {
    "agents.yaml": "agents: {echo: {kind: echo}}\n",
    "post.yaml": POST,
    "newer.yaml": NEWER,
    "changed.yaml": CHANGED,
    "old.yaml": OLD,
    "wrong.yaml": POST.replace("agent: echo, ", "").replace("post", "wrong"),
    "warned.yaml": POST.replace("version", "owner: me\nversion"),
}


def published(terminal):
    return [(one["process"], one["version"]) for one in terminal("versions", "--json").document]


# ---------------------------------------------------------------- publish, versions, archive


def test_a_process_is_published_once_and_run_by_its_name(terminal):
    answer = terminal("publish", "post.yaml", "newer.yaml", "--as", "ann")
    assert (answer.code, answer.out) == (0, "post 1.9 is published.\npost 1.10 is published.\n")
    again = terminal("publish", "post.yaml")
    assert (again.code, again.out) == (
        0,
        "post 1.9 was published before, with the same content: nothing changed.\n",
    )

    for name, version, text in (("post", "1.10", "tides!"), ("post@1.9", "1.9", "tides")):
        run = terminal("run", name, "--json").document
        assert (run["version"], run["outputs"]) == (version, {"text": text})
    lines = terminal("versions").out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["post", "1.10"], ["post", "1.9"]]
    assert all("ann" in line for line in lines[1:])


def test_other_content_under_the_same_version_is_refused_and_nothing_is_published(terminal):
    terminal("publish", "post.yaml")

    answer = terminal("publish", "newer.yaml", "changed.yaml")

    assert answer.code == 2
    assert answer.err.splitlines() == [
        "Error: version 1.9 of process post is published already with other content.",
        "Published versions never change: raise `version` in the process and publish that.",
    ]
    assert published(terminal) == [("post", "1.9")]
    error = terminal("publish", "changed.yaml", "--json").document["error"]
    assert error["code"] == "VERSION_EXISTS"


def test_two_files_that_want_to_be_the_same_version_are_refused(terminal, place):
    answer = terminal("publish", "post.yaml", "changed.yaml")

    assert answer.code == 2
    assert "version 1.9 of process post is published already" in answer.err
    assert not (place / "process-engine.db").exists()


def test_where_one_file_has_problems_none_is_published(terminal, place):
    answer = terminal("publish", "post.yaml", "wrong.yaml")

    assert answer.code == 2
    assert "P601" in answer.err
    assert not (place / "process-engine.db").exists()


def test_publishing_shows_warnings(terminal):
    answer = terminal("publish", "warned.yaml")

    assert answer.code == 0
    assert "warning P111" in answer.err


def test_agents_are_looked_at_where_a_file_names_them(terminal, place):
    (place / "few.yaml").write_text("agents: {other: {kind: echo}}\n")

    assert terminal("publish", "post.yaml", "--agents", "few.yaml").code == 2
    assert terminal("publish", "post.yaml", "--agents", "agents.yaml").code == 0


def test_publishing_and_archiving_work_beside_a_process_that_runs_executions(terminal, place):
    terminal("publish", "post.yaml")
    lock = StoreLock(place / "process-engine.db")
    lock.acquire()
    try:
        document = terminal("publish", "newer.yaml", "--json").document
        assert [(one["version"], one["new"]) for one in document] == [("1.10", True)]
        assert terminal("archive", "post", "1.9").code == 0
    finally:
        lock.release()

    listed = {
        one["version"]: one["archived_at"] is not None for one in terminal("versions", "--json").document
    }
    assert listed == {"1.10": False, "1.9": True}


def test_an_archived_version_is_not_started_and_can_be_put_back(terminal):
    terminal("publish", "post.yaml", "newer.yaml")

    answer = terminal("archive", "post", "1.10")
    assert answer.out.startswith("post 1.10 is archived")
    assert "archived" in terminal("versions", "post").out.splitlines()[1]
    assert terminal("run", "post", "--json").document["version"] == "1.9"
    refused = terminal("run", "post@1.10")
    assert refused.code == 2
    assert refused.err.splitlines() == [
        "Error: process post has no version 1.10 in use.",
        "Published: 1.10 (archived), 1.9.",
    ]
    again = terminal("publish", "newer.yaml")
    assert "`archive post 1.10 --undo` puts it back in use." in again.out

    assert terminal("archive", "post", "1.10", "--undo").out == "post 1.10 is in use again.\n"
    assert terminal("run", "post", "--json").document["version"] == "1.10"
    assert terminal("archive", "post", "7").code == 2


def test_names_of_nothing_are_refused(terminal, place):
    nothing = terminal("run", "nobody")
    assert (nothing.code, nothing.err.splitlines()[0]) == (
        2,
        "Error: there is no file nobody, and nothing is published in process-engine.db.",
    )
    terminal("publish", "post.yaml")
    answer = terminal("run", "pots")
    assert answer.code == 2
    assert "Did you mean `post`?" in answer.err
    assert terminal("versions", "pots").out == "No process pots is published.\n"


def test_a_file_comes_before_a_published_name(terminal, place):
    terminal("publish", "newer.yaml")
    (place / "post").write_text(POST)

    assert terminal("run", "post", "--json").document["version"] == "1.9"


def test_agents_of_a_published_process_are_checked_before_it_starts(terminal, place):
    terminal("publish", "post.yaml")
    (place / "agents.yaml").write_text("agents: {other: {kind: echo}}\n")

    answer = terminal("run", "post")

    assert answer.code == 2
    assert "P602" in answer.err
    assert terminal("list", "--json").document == []


# ---------------------------------------------------------------- diff


def test_diff_tells_what_changed_between_files_and_versions(terminal):
    terminal("publish", "post.yaml", "newer.yaml")
    words = [
        "version 1.9 -> 1.10",
        'step write: message "{{ input.topic }}" -> "{{ input.topic }}!"',
        "step write: timeout 2h added",
    ]

    for old, new in (("post@1.9", "post"), ("post.yaml", "post@1.10"), ("post.yaml", "newer.yaml")):
        answer = terminal("diff", old, new)
        assert (answer.code, answer.out.splitlines()) == (1, words)
    same = terminal("diff", "post.yaml", "post@1.9")
    assert (same.code, same.out) == (0, "They mean the same.\n")


def test_diff_gives_both_values_to_programs(terminal):
    document = terminal("diff", "post.yaml", "newer.yaml", "--json").document

    assert document["same"] is False
    assert document["differences"][0] == {
        "kind": "changed",
        "subject": "",
        "key": "version",
        "old": "1.9",
        "new": "1.10",
        "text": "version 1.9 -> 1.10",
    }
    assert terminal("diff", "post.yaml", "post.yaml", "--json").document == {"same": True, "differences": []}


def test_diff_of_what_is_not_there_is_refused(terminal):
    assert terminal("diff", "post.yaml", "missing.yaml").code == 2
    assert terminal("diff", "post.yaml", "wrong.yaml").code == 2
    assert terminal("diff", "post.yaml", "post@3").code == 2


# ---------------------------------------------------------------- lint


def test_lint_counts_what_it_finds_in_all_files(terminal):
    answer = terminal("lint", "old.yaml", "wrong.yaml", "warned.yaml")

    assert answer.code == 2
    assert "old.yaml:5:3: info P901" in answer.out
    assert answer.out.splitlines()[-1] == "3 files: 1 error, 1 warning, 1 note."


def test_warnings_fail_only_where_lint_is_strict(terminal):
    assert terminal("lint", "warned.yaml", "old.yaml").code == 0
    assert terminal("lint", "warned.yaml", "old.yaml", "--strict").code == 2
    assert terminal("lint", "old.yaml", "--strict").code == 0
    assert terminal("lint", "post.yaml").out == "1 file: nothing to remark.\n"


def test_lint_looks_at_the_files_together(terminal, place):
    for name in ("one", "two"):
        text = POST.replace("post", name).replace("steps:", f"{BY_HAND}\nsteps:")
        (place / f"{name}.yaml").write_text(text)

    document = terminal("lint", "one.yaml", "two.yaml", "post.yaml", "changed.yaml", "--json").document

    found = {one["file"]: [problem["code"] for problem in one["problems"]] for one in document["files"]}
    assert found == {"one.yaml": [], "two.yaml": ["P702"], "post.yaml": [], "changed.yaml": ["P703"]}
    assert (document["passed"], document["counts"]) == (False, {"error": 2, "warning": 0, "info": 0})


def test_versions_of_one_process_may_have_the_same_triggers(terminal, place):
    for version in ("1", "2"):
        text = POST.replace("1.9", version).replace("steps:", f"{BY_HAND}\nsteps:")
        (place / f"v{version}.yaml").write_text(text)

    assert terminal("lint", "v1.yaml", "v2.yaml").code == 0


# ---------------------------------------------------------------- fmt


def test_fmt_rewrites_a_file_and_keeps_its_rights(terminal, place):
    (place / "old.yaml").chmod(0o640)

    answer = terminal("fmt", "old.yaml", "post.yaml")

    assert (answer.code, answer.out) == (0, "old.yaml was rewritten: 1 old spelling.\n1 file unchanged.\n")
    assert (place / "old.yaml").read_text() == FORMATTED
    assert (place / "old.yaml").stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in place.iterdir()) == sorted(FILES)
    assert terminal("fmt", "--check", "old.yaml").code == 0


@pytest.mark.parametrize("option", ["--check", "--diff"])
def test_fmt_only_looks_where_it_is_asked_to(terminal, place, option):
    answer = terminal("fmt", option, "old.yaml")

    assert answer.code == 1
    assert (place / "old.yaml").read_text() == OLD
    assert ("-  duration: 1s" in answer.out.splitlines()) == (option == "--diff")
    assert terminal("fmt", option, "post.yaml").code == 0


def test_where_one_file_cannot_be_formatted_none_is_touched(terminal, place):
    (place / "broken.yaml").write_text("name: p\n")

    answer = terminal("fmt", "old.yaml", "broken.yaml")

    assert answer.code == 2
    assert "P102" in answer.err
    assert (place / "old.yaml").read_text() == OLD


def test_fmt_follows_a_link_to_the_file(terminal, place):
    (place / "link.yaml").symlink_to("old.yaml")

    document = json.loads(terminal("fmt", "link.yaml", "--json").out)

    assert [(one["file"], one["changed"]) for one in document] == [("link.yaml", True)]
    assert [problem["code"] for problem in document[0]["rewritten"]] == ["P901"]
    assert Path("link.yaml").is_symlink()
    assert (place / "old.yaml").read_text() == FORMATTED
