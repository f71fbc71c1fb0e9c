import subprocess
import sys
from pathlib import Path

import pytest

from process_engine.agents import EchoSettings, connect
from process_engine.agents.kinds import KINDS, Kinds
from process_engine.config import read_agents_file
from process_engine.errors import ConfigurationInvalid
from tests.unit.agents.support import a_request

BUILT_IN = {"echo": "process_engine.agents.echo:EchoSettings"}
MODULE = """
from typing import Literal
from process_engine.agents import AgentSettings
from process_engine.runtime.ports import AgentReply

class Reverse:
    async def call(self, request):
        return AgentReply(output=request.message[::-1])

    async def aclose(self):
        pass

class ReverseSettings(AgentSettings, frozen=True):
    kind: Literal["reverse"] = "reverse"
    times: int = 1

    def connect(self):
        return Reverse()

class Nameless(ReverseSettings, frozen=True):
    kind: Literal["nameless"]

NOTHING = 5
"""


class Site:
    """A folder on `sys.path` with distributions, as an installer leaves them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, name: str, module: str, **kinds: str) -> None:
        (self.folder / f"{name.replace('-', '_')}.py").write_text(module)
        info = self.folder / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{word} = {target}" for word, target in kinds.items()]
        (info / "entry_points.txt").write_text("\n".join(["[process_engine.agents]", *lines, ""]))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    folder = tmp_path / "site"
    folder.mkdir()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(folder)
    yield Site(folder)
    for name in set(sys.modules) - before:
        if name.startswith("acme"):
            del sys.modules[name]


async def test_a_kind_of_an_installed_distribution_is_found_read_and_called(site: Site, tmp_path: Path):
    site.install("acme-agents", MODULE, reverse="acme_agents:ReverseSettings")
    file = tmp_path / "agents.yaml"
    file.write_text("agents: {mirror: {kind: reverse, times: 2, rate: 60/m}}")

    agents = connect(read_agents_file(file, Kinds(BUILT_IN), {}).agents)

    assert (await agents.call(a_request("tide", agent="mirror"))).output == "edit"


def test_every_reader_of_agents_files_knows_installed_kinds(site: Site, tmp_path: Path):
    site.install("acme-agents", MODULE, reverse="acme_agents:ReverseSettings")
    script = (
        "from process_engine.agents import KINDS\n"
        "assert list(KINDS)[-1] == 'reverse' and len(KINDS) == 6\n"
        "assert KINDS['reverse'].model_fields['times'].default == 1\n"
    )

    subprocess.run([sys.executable, "-c", script], check=True, env={"PYTHONPATH": str(site.folder)})


def test_a_foreign_module_is_imported_when_its_kind_is_asked_for(site: Site):
    site.install("acme-agents", MODULE, reverse="acme_agents:ReverseSettings")
    kinds = Kinds(BUILT_IN)

    assert list(kinds) == ["echo", "reverse"]
    assert "reverse" in kinds
    assert kinds["echo"] is EchoSettings
    assert "acme_agents" not in sys.modules
    assert kinds["reverse"].__name__ == "ReverseSettings"


def test_a_class_need_not_give_its_kind_a_default(site: Site):
    site.install("acme-agents", MODULE, nameless="acme_agents:Nameless")

    assert Kinds(BUILT_IN)["nameless"].model_validate({"kind": "nameless"}).kind == "nameless"


def test_a_kind_that_two_distributions_offer_is_refused_and_both_are_named(site: Site):
    site.install("acme-agents", MODULE, reverse="acme_agents:ReverseSettings")
    site.install("other-agents", MODULE, reverse="other_agents:ReverseSettings")

    with pytest.raises(ConfigurationInvalid, match="`reverse` is offered by acme-agents and other-agents"):
        Kinds(BUILT_IN)["reverse"]


def test_a_kind_that_the_engine_has_cannot_be_taken_over(site: Site):
    site.install("acme-agents", MODULE, echo="acme_agents:ReverseSettings")

    with pytest.raises(ConfigurationInvalid, match="`echo` is offered by acme-agents and the engine itself"):
        Kinds(BUILT_IN)["echo"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("acme_agents:Missing", "cannot be loaded: AttributeError: module 'acme_agents' has no attribute"),
        ("acme_nowhere:X", "cannot be loaded: ModuleNotFoundError: No module named 'acme_nowhere'"),
        ("acme_broken:X", "cannot be loaded: RuntimeError: not on Tuesdays"),
        ("acme_leaving:X", "cannot be loaded: SystemExit: 3"),
        ("acme_agents:NOTHING", "is no subclass of AgentSettings"),
        ("acme_agents:Reverse", "is no subclass of AgentSettings"),
        ("acme_agents:ReverseSettings", "calls itself `reverse` in its class"),
    ],
)
def test_a_broken_entry_point_is_a_fault_of_who_uses_it_with_its_place(
    site: Site, tmp_path: Path, target: str, said: str
):
    site.install("acme-agents", MODULE, mine=target)
    (site.folder / "acme_broken.py").write_text("raise RuntimeError('not on Tuesdays')")
    (site.folder / "acme_leaving.py").write_text("raise SystemExit(3)")
    file = tmp_path / "agents.yaml"
    file.write_text("agents:\n  a: {kind: mine}\n  b: {kind: echo, shout: 1}\n")

    with pytest.raises(ConfigurationInvalid) as caught:
        read_agents_file(file, Kinds(BUILT_IN), {})

    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{file}:2:7 agent `a`: kind `mine` of acme-agents ")
    assert said in first
    assert first.endswith("Repair or uninstall acme-agents.")
    assert "agent `b`: unknown key `shout`" in second


def test_a_broken_entry_point_does_not_touch_other_kinds(site: Site):
    site.install("acme-agents", MODULE, mine="acme_nowhere:X")

    assert Kinds(BUILT_IN)["echo"] is EchoSettings


def test_distributions_that_cannot_be_searched_are_a_fault_of_the_installation(
    monkeypatch: pytest.MonkeyPatch,
):
    def unreadable(**_: object) -> None:
        raise TypeError("half an entry point")

    monkeypatch.setattr("importlib.metadata.entry_points", unreadable)

    with pytest.raises(ConfigurationInvalid, match="half an entry point"):
        list(Kinds(BUILT_IN))


def test_a_word_that_nobody_offers_is_no_kind():
    assert "telepathy" not in KINDS
    with pytest.raises(KeyError):
        KINDS["telepathy"]
