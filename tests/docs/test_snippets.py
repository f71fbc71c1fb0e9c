"""What the pages show works: files, commands with what they print, Python fragments, and YAML."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from process_engine.agents import KINDS
from process_engine.cli.commands import commands
from process_engine.config import read_agents_file
from process_engine.definition import load_definition
from tests.architecture.places import ROOT
from tests.docs.session import run_page
from tests.docs.snippets import RUN_LANGUAGES, Block, Command, blocks_of, commands_of, missing

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
# Pages on which every block of a language that can be run is run, or says why not.
RUN = [path for path in PAGES if path.parent.name in ("tutorial", "how-to")]
# Pages whose blocks are run by tests of their own, or that show how to change the engine itself.
TESTED_ELSEWHERE = {
    "add-a-step-type.md": "tests/integration/test_readme.py",
    "add-an-agent-kind.md": "tests/integration/test_readme.py",
    "operate.md": "tests/integration/test_cli_control.py",
}
RUN_HERE = [path for path in RUN if path.name not in TESTED_ELSEWHERE]
ELSEWHERE = re.compile(r"https?://(?!127\.0\.0\.1|localhost)[^\s\"')]+")
VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)\}")


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def chosen(pages: list[Path], wanted: Callable[[Block], bool]) -> list[ParameterSet]:
    """The blocks that are wanted, with the page they stand in."""
    return [
        pytest.param(path, block, id=f"{relative(path)}:{block.line}")
        for path in pages
        for block in blocks_of(path)
        if block.reason is None and wanted(block)
    ]


# ---------------------------------------------------------------- the pages


@pytest.mark.parametrize("path", RUN_HERE, ids=relative)
def test_what_a_page_shows_happens(path, tmp_path):
    differences = run_page(relative(path), blocks_of(path), tmp_path / "reader")

    assert not differences, "\n\n".join(differences)


@pytest.mark.parametrize("path", RUN_HERE, ids=relative)
def test_every_block_of_a_page_is_run_or_says_why_not(path):
    undecided = [
        block.line
        for block in blocks_of(path)
        if block.reason is None
        and block.title is None
        and (block.language == "" or (block.language == "yaml" and not block.is_process))
    ]

    assert undecided == []


@pytest.mark.parametrize("path", RUN_HERE, ids=relative)
def test_what_is_run_stays_on_this_machine(path):
    addresses = [
        address
        for block in blocks_of(path)
        if block.reason is None and (block.title or block.language in RUN_LANGUAGES)
        for address in ELSEWHERE.findall(block.text)
    ]

    assert addresses == []


@pytest.mark.parametrize("name", TESTED_ELSEWHERE)
def test_a_page_that_is_not_run_here_names_the_test_that_runs_it(name):
    assert (ROOT / TESTED_ELSEWHERE[name]).is_file()


@pytest.mark.parametrize(("path", "block"), chosen(PAGES, lambda block: block.is_process))
def test_every_process_is_valid(path, block):
    definition, problems = load_definition(block.text, relative(path))

    assert definition is not None, problems
    assert [str(problem) for problem in problems if problem.level != "info"] == []


# Those of the pages that are run have a title, and are read there.
@pytest.mark.parametrize(
    ("path", "block"),
    chosen([path for path in PAGES if path not in RUN], lambda block: block.is_agents_file),
)
def test_every_agents_file_can_be_read(path, block, tmp_path):
    file = tmp_path / "agents.yaml"
    file.write_text(_at_hand(block.text, tmp_path), encoding="utf-8")

    read = read_agents_file(file, KINDS, dict.fromkeys(VARIABLE.findall(block.text), "a-value"))

    assert read.agents


def _at_hand(text: str, folder: Path) -> str:
    """`text` with what it names at hand: programs in `folder`, and one function for all functions."""
    place = folder
    for inside in re.findall(r"^ *cwd: *(\S+)", text, re.MULTILINE):
        place = folder / inside
        place.mkdir()
    for program in re.findall(r"\./([\w.-]+)", text):
        (place / program).touch(mode=0o755)
    return re.sub(r'target: *"?[\w.]+:[\w.]+"?', 'target: "json:dumps"', text)


def every_command() -> list[ParameterSet]:
    return [
        pytest.param(command.text, id=f"{relative(path)}:{command.line}")
        for path in PAGES
        for block in blocks_of(path)
        if block.language == "console"
        for command in commands_of(block)
        if command.text.startswith("process-engine ")
    ]


@pytest.mark.parametrize("text", every_command())
def test_every_command_line_has_a_command_and_options_that_exist(text):
    words = shlex.split(re.split(r" [|>&]|;|\$\(", text)[0], comments=True)[1:]
    known: click.Command = commands
    options = {option for parameter in commands.params for option in parameter.opts} | {"--help"}
    while isinstance(known, click.Group) and words and not words[0].startswith("-"):
        known = known.commands[words.pop(0)]
        options |= {option for parameter in known.params for option in parameter.opts}

    used = {word.partition("=")[0] for word in words if re.match(r"-[-a-z]", word)}

    assert used - options == set()


# ---------------------------------------------------------------- the runner itself


def run_text(text: str, folder: Path) -> list[str]:
    page = folder / "page.md"
    page.write_text(text, encoding="utf-8")
    return run_page("page.md", blocks_of(page), folder / "reader")


def test_a_page_that_tells_the_truth_gives_no_difference(tmp_path):
    text = """
```python title="hello.py"
print("hello,", "world")
```

```console
$ python hello.py
hello, …
$ false
$ echo $?
1
$ sleep 60 &
$ name=reader
```

Between the blocks.

```console
$ echo "$name" \\
  goes on
reader goes on
```
"""
    assert run_text(text, tmp_path) == []


def test_a_line_that_is_not_printed_is_told_with_its_place(tmp_path):
    (difference,) = run_text("\n```console\n$ echo one; echo two\ntwo\none\n```\n", tmp_path)

    assert difference.startswith("page.md:3: $ echo one; echo two\nshould have printed\none\n")


def test_a_command_that_fails_is_told(tmp_path):
    (difference,) = run_text("```console\n$ exit_code_of_nobody\n```\n", tmp_path)

    assert "ended with exit code 127" in difference


def test_python_fragments_share_a_session_and_may_await(tmp_path):
    text = """
```python
import asyncio
value = await asyncio.sleep(0, "kept")
print(value.upper())          # KEPT
```

```python
print(value, "on")            # kept on
print(value)                  # lost
```

```python
raise SystemError("no")
```
"""
    wrong, failed = run_text(text, tmp_path)

    assert "page.md:9: $ fragment 1\nshould have printed\nlost\n" in wrong
    assert 'File "page.md", line 14' in failed


def test_a_block_that_is_shown_only_is_not_run(tmp_path):
    text = "<!-- shown only: nobody can -->\n```console\n$ exit_code_of_nobody\n```\n"

    assert run_text(text, tmp_path) == []


def test_blocks_in_a_list_lose_their_indentation(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        '1. First\n\n    ```python title="a.py"\n    if True:\n        pass\n    ```\n', encoding="utf-8"
    )

    assert blocks_of(page) == [Block(4, "python", "a.py", "if True:\n    pass\n", None)]


def test_expected_lines_hold_in_order_whatever_the_columns():
    assert missing(("a b", "c … e"), "a    b\nx\nc d e") is None
    assert missing(("c", "a"), "a c") == "a"


def test_a_command_knows_its_line_and_what_is_expected(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```console\n$ one\nfirst\n\n$ two\n```\n", encoding="utf-8")

    assert commands_of(blocks_of(page)[0]) == [Command(2, "one", ("first",)), Command(5, "two", ())]
