"""Documents as a hostile or an unlucky user writes them.

Each is refused with place and remedy, soon, and nothing is started.
"""

from __future__ import annotations

import itertools
import os

import pytest

from process_engine.definition.problems import CATALOGUE
from tests.acceptance.hostile import (
    STORE,
    echo,
    executions,
    limited,
    no_traceback,
    place,
    process,
    soon,
    terminal,
)

__all__ = ["place", "terminal"]

MIB = 1024 * 1024
GOOD = process(echo("hi"))
STEPS = GOOD.partition("\n")[2]
BOMB = (
    GOOD
    + "x-a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"x-{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
)


def flow(depth: int) -> str:
    return GOOD + "x-deep: " + "{a: " * depth + "1" + "}" * depth + "\n"


# What is written, and the one problem of it: code, line, column, a word of the message.
FAULTY: dict[str, tuple[str | bytes, str, int, int, str]] = {
    "50,000 brackets": ("[" * 50_000, "P003", 1, 65, "64 levels"),
    "50,000 braces": ("{" * 50_000, "P003", 1, 65, "64 levels"),
    "50,000 dashes in a row": ("- " * 50_000, "P003", 1, 129, "64 levels"),
    "50,000 question marks": ("? " * 50_000, "P003", 1, 129, "64 levels"),
    "50,000 colons": (": " * 50_000, "P003", 1, 129, "64 levels"),
    "flow mappings in one another": (flow(5_000), "P003", 4, 261, "64 levels"),
    "2 MiB": (GOOD + "# " + "x" * 2 * MIB, "P002", 1, 1, "at most 1,048,576"),
    "a key twice": ("name: a\n" + GOOD, "P005", 2, 1, "`name` is given twice, first in line 1"),
    "aliases that explode": (BOMB, "P007", 4, 22, "more than 100,000 values"),
    "an alias that holds itself": (GOOD + "x-a: &a [*a]\n", "P007", 4, 10, "*a holds itself"),
    "an alias of nothing": (GOOD + "x-a: *nowhere\n", "P004", 4, 6, "*nowhere has no anchor"),
    "a tag": ("name: !!str a\n" + STEPS, "P006", 1, 7, "A tag has no meaning"),
    "a Python object": (GOOD + "x-a: !!python/object:os.x {}\n", "P006", 4, 6, "A tag"),
    "a tab before a step": ("name: a\nsteps:\n\t- id: a\n", "P004", 3, 1, "A tab"),
    "a tab after a colon": ("name:\ta\n" + STEPS, "P004", 1, 6, "A tab"),
    "a NUL byte": ("name: a\0b\n" + STEPS, "P008", 1, 8, "U+0000"),
    "an escape sequence": ("name: a\n# \x1b[2J\n" + STEPS, "P008", 2, 3, "U+001B"),
    "a C1 control character": ("name: a\n# \x9b31m\n" + STEPS, "P008", 2, 3, "U+009B"),
    "Latin-1": ("name: a\n# caf\xe9\n".encode("latin-1"), "P001", 2, 6, "0xe9 is not UTF-8"),
    "UTF-16": (GOOD.encode("utf-16"), "P001", 1, 1, "is not UTF-8"),
    "an overlong encoding": (b"name: a\n# \xc0\xaf\n", "P001", 2, 3, "0xc0 is not UTF-8"),
    "half a character": ('name: a\ndescription: "\\ud800"\n' + STEPS, "P008", 2, 14, "U+D800"),
    "an escape of no character": ('name: a\ndescription: "\\UFFFFFFFF"\n' + STEPS, "P004", 2, 17, "escape"),
    "a version of YAML with 5,000 digits": (f"%YAML 1.{'9' * 5000}\n---\n{GOOD}", "P004", 1, 9, "version"),
    "an empty file": ("", "P011", 1, 1, "is empty"),
    "only a comment": ("# later\n", "P011", 1, 1, "is empty"),
    "a list": ("- a\n- b\n", "P011", 1, 1, "must be a mapping, not a list"),
    "a word": ("hello", "P011", 1, 1, 'not the text "hello"'),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "P001", 1, 1, "0x89 is not UTF-8"),
    "two documents": (GOOD + "---\n" + GOOD, "P012", 5, 1, "second document"),
    "a quote without end": (GOOD + 'x-a: "never\n', "P004", 5, 1, "quote is not closed"),
    "100,000 quotes": ('"' * 100_001, "P004", 1, 3, "not YAML"),
    "10,000 steps": (process(*[echo("x", f"s{n}") for n in range(10_000)]), "P105", 2003, 5, "2,000 items"),
    "a number of 5,000 digits": (GOOD + f"x-a: {'9' * 5000}\n", "P010", 4, 6, "100 digits"),
    "a number without end": (GOOD + "x-a: .inf\n", "P010", 4, 6, "not finite"),
    "a list as a key": (GOOD + "? [a]\n: b\n", "P009", 4, 3, "where a key must be"),
    "a merge key": (GOOD + "<<: {x-a: 1}\n", "P101", 4, 1, "merge keys"),
    "attempts without bound": (
        process(echo("x", more=f", retry: {{max_attempts: {'9' * 90}}}")),
        "P105",
        3,
        80,
        "at most 100",
    ),
    "a delay of a thousand years": (
        process("id: a, type: timer, delay: 365000d"),
        "P106",
        3,
        33,
        "ten years",
    ),
    "a name that steers terminals": ('name: "\\e[31m"\n' + STEPS, "P107", 1, 7, r"\x1b[31m"),
    "an agent that forges a line": (
        process('id: a, type: agent_task, agent: "echo\\nError: all is lost", message: x'),
        "P602",
        3,
        38,
        r"echo\nError: all is lost",
    ),
    "an agent in look-alike letters": (
        process("id: a, type: agent_task, agent: \u0435cho, message: x"),
        "P602",
        3,
        38,
        "no agent `\u0435cho`",
    ),
    "an id that runs from right to left": (
        process('id: "a\u202e", type: timer, delay: 1s'),
        "P107",
        3,
        10,
        r"a\u202e",
    ),
}


@pytest.mark.parametrize(("text", "code", "line", "column", "words"), list(FAULTY.values()), ids=list(FAULTY))
def test_a_document_with_this_fault_is_refused_with_place_and_remedy(
    terminal, place, text, code, line, column, words
):
    content = text if isinstance(text, bytes) else text.encode()
    (place / "bad.yaml").write_bytes(content)

    with soon():
        validated = terminal("validate", "bad.yaml", "--json")
    with soon():
        ran = terminal("run", "bad.yaml")

    assert (validated.code, validated.err) == (2, "")
    (problem,) = [one for one in validated.document["problems"] if one["level"] == "error"]
    assert (problem["code"], problem["line"], problem["column"]) == (code, line, column)
    assert words in problem["message"]
    assert problem["suggestion"]
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Error: the process has problems; nothing was started.\n")
    assert (
        f"bad.yaml:{line}:{column}: error {code}: {problem['message']}\n    {problem['suggestion']}\n"
        in ran.err
    )
    assert "\x1b" not in ran.err
    no_traceback(ran)
    assert not (place / STORE).exists()


def test_a_tag_builds_nothing(terminal, place):
    call = '!!python/object/apply:pathlib.Path.touch ["owned"]'
    (place / "bad.yaml").write_text(f"name: {call}\n{STEPS}", encoding="utf-8")

    answer = terminal("validate", "bad.yaml", "--json")

    assert answer.code == 2
    assert "P006" in {problem["code"] for problem in answer.document["problems"]}
    assert not list(place.glob("owned*"))


# ---------------------------------------------------------------- what is odd, and fine


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xef\xbb\xbf" + GOOD.encode(), id="a byte order mark"),
        pytest.param(GOOD.replace("\n", "\r\n").encode(), id="lines that end as on Windows"),
        pytest.param(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode(), id="both"),
        pytest.param((GOOD + f'x-a: "{"x" * (MIB - 200)}"\n').encode(), id="a text of nearly 1 MiB"),
        pytest.param(flow(62).encode(), id="mappings just not too deep"),
        pytest.param((GOOD + "x-a: &a {b: c}\nx-b: [*a, *a]\n").encode(), id="a few aliases"),
        pytest.param((GOOD + "x-a: [yes, on, 2026-11-22, 010]\n").encode(), id="words of older YAML"),
    ],
)
def test_a_document_that_is_only_odd_runs(terminal, place, content):
    (place / "odd.yaml").write_bytes(content)

    with soon(5):
        answer = terminal("run", "odd.yaml", "--json")

    assert (answer.code, answer.err) == (0, "")
    assert answer.document["outputs"] == {"a": "hi"}


def test_a_message_of_nearly_1_mib_comes_through_whole(terminal, place):
    text = "x" * (MIB - 200)
    (place / "long.yaml").write_text(process(echo(text)), encoding="utf-8")

    answer = terminal("run", "long.yaml", "--json")

    assert answer.document["outputs"] == {"a": text}


# ---------------------------------------------------------------- no file, or none that ends


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing.yaml", "there is no file missing.yaml."), (".", ". cannot be read: Is a directory.")],
)
@pytest.mark.parametrize("command", ["validate", "run"])
def test_what_is_no_file_is_named(terminal, place, command, name, message):
    answer = terminal(command, name)

    assert (answer.code, answer.out) == (2, "")
    told, remedy = answer.err.splitlines()
    assert told == f"Error: {message}"
    assert remedy
    assert not (place / STORE).exists()


def test_a_file_without_end_is_read_up_to_the_limit(place):
    answer = limited("validate", "/dev/zero", cwd=place)

    assert answer.code == 2
    assert answer.out.startswith("/dev/zero:1:1: error P002: ")
    no_traceback(answer)


# ---------------------------------------------------------------- several faults, and many

NINE = """\
name: Nine Faults
descripton: unknown key
steps:
  - {id: a, type: agent_task, agent: ecko, message: "{{ steps.nope.output }}"}
  - {id: a, type: timer, delay: soon}
  - {id: c, type: agent_task, agent: echo, message: "{{ 2 ** 9 }}", depends_on: [d]}
  - {id: e, type: agent_task, agent: echo, message: x, retry: {max_attempts: 0}}
"""


def test_nine_faults_are_told_at_once_each_with_place_and_remedy(terminal, place):
    (place / "nine.yaml").write_text(NINE, encoding="utf-8")

    told, listed = terminal("run", "nine.yaml"), terminal("validate", "nine.yaml", "--json")

    errors = [problem for problem in listed.document["problems"] if problem["level"] == "error"]
    assert [(one["code"], one["line"], one["column"]) for one in errors] == [
        ("P107", 1, 7),
        ("P101", 2, 1),
        ("P602", 4, 38),
        ("P303", 4, 57),
        ("P201", 5, 10),
        ("P106", 5, 33),
        ("P301", 6, 59),
        ("P202", 6, 82),
        ("P105", 7, 78),
    ]
    assert all(problem["suggestion"] for problem in errors)
    assert (told.code, told.out) == (2, "")
    assert told.err.count(": error P") == 9
    assert not (place / STORE).exists()


def test_a_cycle_of_three_is_spelled_out(terminal, place):
    after = {"write": "publish", "review": "write", "publish": "review"}
    steps = [echo("x", step, f", depends_on: {before}") for step, before in after.items()]
    (place / "cycle.yaml").write_text(process(*steps), encoding="utf-8")

    answer = terminal("validate", "cycle.yaml", "--json")

    (problem,) = answer.document["problems"]
    assert answer.code == 2
    assert (problem["code"], problem["level"]) == ("P204", "error")
    chain = problem["message"].rstrip(".").split(": ")[1].split(" → ")
    assert chain[0] == chain[-1]
    assert all(after[step] == before for before, step in itertools.pairwise(chain))
    assert len(chain) == 4
    assert problem["suggestion"].startswith("Remove one of these depends_on")


@pytest.mark.parametrize(
    ("step", "code", "message", "suggestion"),
    [
        (echo("{{steps.nope.output}}"), "P303", "There is no step `nope`.", "Known steps: `a`."),
        (echo("{{ steps.reviw.output }}", more=", depends_on: review"), "P303", "`reviw`", "`review`?"),
        (echo("x", more=", depends_on: reviw"), "P202", "`reviw`", "Did you mean `review`?"),
        ("id: a, type: agent_task, agent: ecco, message: x", "P602", "`ecco`", "Did you mean `echo`?"),
        (echo("x", more=", dependson: review"), "P101", "`dependson`", "Did you mean `depends_on`?"),
        (echo("{{ inptu.topic }}"), "P302", "`inptu`", "`input`"),
        ("id: a, type: agenttask, agent: echo, message: x", "P108", "`agenttask`", "`agent_task`?"),
        ("id: a, agent: echo, mesage: x", "P101", "`mesage`", "Did you mean `message`?"),
        ("id: a, type: agent_task, agent: echo, mesage: x", "P101", "`mesage`", "Did you mean `message`?"),
    ],
)
def test_a_slip_is_told_with_what_was_meant(terminal, place, step, code, message, suggestion):
    others = [] if "nope" in step else [echo("y", "review")]
    (place / "slip.yaml").write_text(process(*others, step), encoding="utf-8")

    answer = terminal("validate", "slip.yaml", "--json")

    assert answer.code == 2
    (problem,) = [one for one in answer.document["problems"] if one["code"] == code]
    assert message in problem["message"]
    assert suggestion in problem["suggestion"]


def test_a_step_without_type_does_not_hide_its_other_faults(terminal, place):
    (place / "slip.yaml").write_text(process("id: a, agent: ecco, mesage: x"), encoding="utf-8")

    answer = terminal("validate", "slip.yaml", "--json")

    assert [problem["code"] for problem in answer.document["problems"]] == ["P102", "P602", "P101"]


def test_a_thousand_notes_do_not_hide_the_one_error(terminal, place):
    old = [f"id: s{n}, agent: echo, message: x" for n in range(1_000)]
    (place / "notes.yaml").write_text(process(*old, echo("x", more=", colour: red")), encoding="utf-8")

    with soon(5):
        answer = terminal("validate", "notes.yaml", "--json")

    assert answer.code == 2
    assert answer.document["valid"] is False
    assert [one["code"] for one in answer.document["problems"] if one["level"] == "error"] == ["P101"]
    assert len(answer.document["problems"]) < 150


@pytest.mark.parametrize("line", ["k: 1\n", "x-a: !t 1\n", "1: 1\n", "? [a]\n: b\n"])
def test_a_flood_of_faults_in_the_text_is_cut(terminal, place, line):
    (place / "flood.yaml").write_text(GOOD + line * 50_000, encoding="utf-8")

    with soon():
        answer = terminal("validate", "flood.yaml", "--json")

    problems = answer.document["problems"]
    assert answer.code == 2
    assert len(problems) <= 101
    assert [one["suggestion"] for one in problems if one["code"] == "P013"] == ["Correct the others first."]


def test_a_problem_is_one_line_whatever_it_quotes(terminal, place):
    forged = 'id: a, type: agent_task, agent: "x\\n\\e[2Jbad.yaml is valid.\\u2028\\u202e", message: x'
    (place / "bad.yaml").write_text(process(forged), encoding="utf-8")

    answer = terminal("validate", "bad.yaml")

    assert answer.code == 2
    assert answer.out.splitlines() == [
        r"bad.yaml:3:38: error P602: There is no agent `x\n\x1b[2Jbad.yaml is valid.\u2028\u202e`.",
        "    Known agents: `echo`.",
        "bad.yaml cannot be run: 1 error.",
    ]


def test_every_code_that_is_told_here_is_in_the_catalogue():
    assert {fault[1] for fault in FAULTY.values()} <= CATALOGUE.keys()


# ---------------------------------------------------------------- in a process with limits


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("50,000 brackets", "P003"),
        ("2 MiB", "P002"),
        ("aliases that explode", "P007"),
        ("10,000 steps", "P105"),
    ],
)
def test_a_bomb_takes_neither_the_time_nor_the_memory_of_the_machine(terminal, place, name, code):
    text = FAULTY[name][0]
    (place / "bomb.yaml").write_text(str(text), encoding="utf-8")

    answer = limited("run", "bomb.yaml", cwd=place, cpu_seconds=5, data_mib=100)

    assert (answer.code, answer.out) == (2, "")
    assert f": error {code}: " in answer.err
    no_traceback(answer)
    assert executions(terminal, place) == []


def test_noise_is_refused_as_a_document(place):
    (place / "noise.yaml").write_bytes(b"\xff" + os.urandom(64 * 1024))

    answer = limited("validate", "noise.yaml", cwd=place)

    assert answer.code == 2
    assert answer.out.splitlines()[0] == "noise.yaml:1:1: error P001: The byte 0xff is not UTF-8."
    no_traceback(answer)


@pytest.mark.parametrize(
    ("name", "place_of_fault"),
    [("50,000 brackets", ":1:65 "), ("aliases that explode", ":4:22 "), ("a NUL byte", ":1:8 ")],
)
def test_an_agents_file_is_read_as_strictly(terminal, place, name, place_of_fault):
    (place / "agents.yaml").write_text(str(FAULTY[name][0]), encoding="utf-8")
    (place / "good.yaml").write_text(GOOD, encoding="utf-8")

    answer = terminal("run", "good.yaml")

    assert (answer.code, answer.out) == (2, "")
    assert f"agents.yaml{place_of_fault}" in answer.err
    no_traceback(answer)
    assert not (place / STORE).exists()
