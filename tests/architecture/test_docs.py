"""The pages say what the code has: every name is documented, every link and every example holds.

That the tables of the reference are those which are made from the code is for `tests/docs/test_reference.py`.
"""

import base64
import inspect
import re
from pathlib import Path
from typing import get_args

import pytest

from process_engine import errors
from process_engine.agents import KINDS, Agent
from process_engine.agents.command import INHERITED
from process_engine.app import ExecutionEngine
from process_engine.channels import KINDS as CHANNEL_KINDS
from process_engine.cli.commands import commands
from process_engine.config import read_channels
from process_engine.core import events
from process_engine.core.config import ExecutionConfig
from process_engine.core.failures import CODES
from process_engine.core.state import SkipReason
from process_engine.definition import CATALOGUE, load_definition
from process_engine.definition.document import STEP_TYPES
from process_engine.definition.filters import FILTERS
from process_engine.definition.syntax import ROOTS
from process_engine.repositories.sqlite import SqliteRepository
from process_engine.runtime import ports
from process_engine.runtime.feed import EventBus
from tests.architecture.places import ROOT, SOURCE
from tests.docs.snippets import blocks_of

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^( *)```(.*?)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`|<code>(.*?)</code>")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
# A file and what is to be found there: `core/decide.py` (`transition`), or `transition` in `core/decide.py`.
ENTRY = re.compile(
    r"(?:`([\w.]+)` in )?`([\w./]+/[\w.]+\.(?:py|sql)|\w+\.py)`(?: \(([^()]*(?:\(\)[^()]*)*)\))?"
)
NAME = re.compile(r"`([A-Za-z_][\w.]*)`")
# Everything that is defined in the module of the ports, and two ports that stand beside their consumer.
PORTS = [
    *(kind for kind in vars(ports).values() if isinstance(kind, type) and kind.__module__ == ports.__name__),
    EventBus,
    Agent,
]


def page(name: str) -> str:
    return (DOCS / "reference" / name).read_text(encoding="utf-8")


def named(text: str) -> set[str]:
    """Everything that is marked as code outside fenced blocks, and the words in it."""
    spans = {one or other for one, other in CODE.findall(FENCE.sub("", text))}
    return spans | {word for span in spans for word in re.findall(r"[\w.-]+", span)}


def prose(text: str) -> str:
    return FENCE.sub("", text)


def anchor(heading: str) -> str:
    """The anchor that a heading gets on the usual sites."""
    plain = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
    return plain.strip().replace(" ", "-")


def anchors_of(path: Path) -> set[str]:
    return set(map(anchor, HEADING.findall(prose(path.read_text(encoding="utf-8")))))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


# ---------------------------------------------------------------- names


def test_every_error_code_is_documented():
    assert set(CODES) - named(page("errors.md")) == set()


def test_every_refusal_is_documented_with_its_class():
    classes = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.ProcessEngineError)
    ]

    wanted = {kind.__name__ for kind in classes} | {kind.code for kind in classes}
    for path in SOURCE.rglob("*.py"):
        wanted |= set(re.findall(r"\bcode=\"([A-Z_]+)\"", path.read_text(encoding="utf-8")))

    assert wanted - named(page("errors.md")) == set()


def test_what_every_event_carries_is_documented():
    common = {*events.Event.__struct_fields__, *events.StepEvent.__struct_fields__}

    assert common - named(page("events.md")) == set()


def test_every_event_is_documented_where_it_belongs():
    public, bookkeeping = page("events.md").split("## Public events")[1].split("## Bookkeeping")

    for kind in get_args(events.AnyEvent):
        table = public if kind.public else bookkeeping.split("## ")[0]
        assert f"\n| `{kind.__name__}` |" in table


def test_every_reason_of_a_skip_is_documented():
    assert set(SkipReason) - named(page("events.md")) == set()


def test_every_problem_code_is_documented():
    assert set(CATALOGUE) - named(page("problems.md")) == set()


def test_no_problem_code_is_documented_that_does_not_exist():
    assert set(re.findall(r"\bP\d{3}\b", page("problems.md"))) - set(CATALOGUE) == set()


def test_every_agent_kind_is_documented_with_its_settings():
    text = page("agents.md")

    for kind, settings in ((kind, KINDS[kind]) for kind in KINDS):
        assert f"## Kind `{kind}`" in text
        assert set(settings.model_fields) - named(text) - {"kind"} == set(), kind


def test_every_channel_kind_is_documented_with_its_settings():
    text = page("channels.md")

    for kind in CHANNEL_KINDS:
        fields = CHANNEL_KINDS[kind].model_fields
        assert f"## Kind `{kind}`" in text
        assert {field.alias or name for name, field in fields.items()} - named(text) == set(), kind


def test_the_channels_of_the_reference_can_be_read(tmp_path: Path):
    [block] = [block for block in blocks_of(DOCS / "reference" / "channels.md") if "channels:" in block.text]
    secret = f"whsec_{base64.b64encode(bytes(32)).decode()}"
    address = "https://hooks.example.com/x"
    environment = {
        "SLACK_WEBHOOK": address,
        "OPS_WEBHOOK": address,
        "SMTP_PASSWORD": "p",
        "WEBHOOK_SECRET": secret,
    }
    (tmp_path / "agents.yaml").write_text(block.text, encoding="utf-8")

    read = read_channels(tmp_path / "agents.yaml", CHANNEL_KINDS, environment)

    assert {settings.kind for settings in read.values()} == set(CHANNEL_KINDS)


def test_every_command_is_documented_with_its_options():
    text = page("cli.md")

    for name, command in commands.commands.items():
        assert re.search(rf"^\| (`|<code>){name}\b", text, re.MULTILINE), name
        options = {
            option for parameter in command.params for option in parameter.opts if option.startswith("-")
        }
        assert options - named(text) == set(), name


def test_every_step_type_root_and_filter_is_documented():
    wanted = {*STEP_TYPES, *ROOTS, *FILTERS}

    assert wanted - named(page("language.md")) == set()


def test_every_port_and_record_has_a_section_of_its_own():
    sections = set(re.findall(r"^##+ (\w+)$", page("ports.md"), re.MULTILINE))

    assert {port.__name__ for port in PORTS} - sections == set()


def test_every_alias_of_the_ports_is_documented():
    aliases = {name for name, value in vars(ports).items() if value is int}

    assert aliases == {"Fence"}
    assert aliases - named(page("ports.md")) == set()


def test_every_setting_of_the_engine_is_documented():
    wanted = {
        *ExecutionConfig.__struct_fields__,
        *inspect.signature(ExecutionEngine).parameters,
        *inspect.signature(SqliteRepository).parameters,
    }

    assert wanted - named(page("settings.md")) == set()


def test_every_key_of_an_agents_file_is_a_documented_setting():
    keys = {key for kind in KINDS for key in KINDS[kind].model_fields}

    assert {*keys, *KINDS} - named(page("settings.md")) == set()


def test_every_environment_variable_is_documented():
    """Names in capitals that the package spells out beside the environment, and all with its prefix."""
    sources = [path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")]
    wanted = {name for text in sources for name in re.findall(r"\bPROCESS_ENGINE_[A-Z_]*[A-Z]\b", text)}
    wanted |= {name for text in sources for name in re.findall(r"environ(?:\.get\(|\[)\"(\w+)\"", text)}

    assert "PROCESS_ENGINE_DB" in wanted
    assert {*wanted, *INHERITED} - named(page("settings.md")) == set()


# ---------------------------------------------------------------- links and places


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_every_link_leads_to_a_file_and_a_heading(path):
    broken = []
    for target in LINK.findall(prose(path.read_text(encoding="utf-8"))):
        file, _, heading = target.partition("#")
        if "://" in target:
            continue
        place = (path.parent / file).resolve() if file else path
        if not place.exists() or (heading and heading not in anchors_of(place)):
            broken.append(target)

    assert list(dict.fromkeys(broken)) == []


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_every_code_entry_point_is_there(path):
    """Files are named from the package or from the repository; names beside them are defined in them."""
    wrong = []
    # Files that the reader makes, by saving a block of the page.
    own = {block.title for block in blocks_of(path)}
    for before, place, bracket in ENTRY.findall(prose(path.read_text(encoding="utf-8"))):
        if place in own:
            continue
        target = next((found for base in (SOURCE, ROOT) if (found := base / place).exists()), None)
        if target is None:
            wrong.append(place)
        elif target.suffix == ".py":
            text = target.read_text(encoding="utf-8")
            names = [name.rpartition(".")[2] for name in (*NAME.findall(bracket), *filter(None, [before]))]
            wrong += [f"{place}: {name}" for name in names if not _is_defined(name, text)]

    assert wrong == []


def _is_defined(name: str, text: str) -> bool:
    word = re.escape(name)
    return bool(re.search(rf"^\s*(?:(?:async )?def|class) {word}\b|^\s*{word}\b[^=\n]*=", text, re.MULTILINE))


def test_every_explanation_and_reference_ends_with_code_entry_points():
    pages = [path for path in PAGES if path.parent.name in ("reference", "explanation", "how-to")]

    missing = [
        relative(path) for path in pages if "## Code entry points" not in path.read_text(encoding="utf-8")
    ]

    assert missing == []


def test_the_architecture_page_stays_short():
    assert len((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()) <= 250


def test_every_decision_has_its_sections():
    wanted = ("Status: ", "## Context", "## Options", "## Decision", "## Consequences", "## Revisit when")
    decisions = sorted((DOCS / "decisions").glob("*.md"))

    missing = {
        path.name: lacking
        for path in decisions
        if (lacking := [part for part in wanted if part not in path.read_text(encoding="utf-8")])
    }

    assert missing == {}
    numbers = [path.name[:4] for path in decisions]
    assert len(set(numbers)) == len(numbers)


# ---------------------------------------------------------------- examples

# Blocks of pages are tested in tests/docs.
NO_PROCESSES = ("agents.yaml", ".test.yaml")
EXAMPLES = [
    path for path in sorted((ROOT / "examples").glob("*.yaml")) if not path.name.endswith(NO_PROCESSES)
]


@pytest.mark.parametrize("path", EXAMPLES, ids=relative)
def test_every_example_is_a_valid_process(path):
    definition, problems = load_definition(path.read_text(encoding="utf-8"))

    assert definition is not None, problems
    assert [problem for problem in problems if problem.level != "info"] == []


def test_the_process_of_the_readme_is_short():
    (process,) = (block for block in blocks_of(ROOT / "README.md") if block.is_process)

    assert len(process.text.splitlines()) <= 24
