import subprocess
import sys

import pytest

from process_engine.agents import (
    KINDS,
    AgentSettings,
    ConfiguredAgents,
    EchoAgent,
    EchoSettings,
    connect,
)
from process_engine.errors import ConfigurationInvalid
from process_engine.runtime.ports import AgentGateway, AgentReply, AgentRequest
from tests.unit.agents.support import a_request, failure_of


class Closing:
    def __init__(self, log: list[str], name: str, *, fails: bool = False) -> None:
        self.log, self.name, self.fails = log, name, fails

    async def call(self, request: AgentRequest) -> AgentReply:
        return AgentReply(output=self.name)

    async def aclose(self) -> None:
        self.log.append(self.name)
        if self.fails:
            raise OSError("stuck")


async def test_a_call_goes_to_the_agent_it_names():
    gateway: AgentGateway = ConfiguredAgents({"a": Closing([], "a"), "b": Closing([], "b")})

    assert (await gateway.call(a_request(agent="b"))).output == "b"
    assert gateway.knows("a")
    assert not gateway.knows("c")
    assert list(gateway.names()) == ["a", "b"]


async def test_an_agent_that_is_not_configured_is_an_agent_error():
    error = await failure_of(ConfiguredAgents({}), a_request(agent="ghost"))

    assert (error.code, error.transient) == ("AGENT_ERROR", False)
    assert "ghost" in error.message


async def test_every_agent_is_closed_also_when_one_cannot_be():
    log: list[str] = []
    gateway = ConfiguredAgents({"a": Closing(log, "a", fails=True), "b": Closing(log, "b")})

    with pytest.RaisesGroup(OSError):
        await gateway.aclose()

    assert log == ["a", "b"]


async def test_echo_answers_the_message_itself():
    message = {"a": ["[1]"]}

    assert (await EchoAgent().call(a_request(message))).output == message
    await EchoAgent().aclose()


async def test_settings_become_a_gateway():
    gateway = connect({"mirror": EchoSettings()})

    assert (await gateway.call(a_request("x", agent="mirror"))).output == "x"


def test_every_kind_is_a_class_that_says_its_own_word():
    assert list(KINDS) == ["http", "openai", "command", "python", "echo"]
    assert [KINDS[kind].model_fields["kind"].default for kind in KINDS] == list(KINDS)


class Refusing(EchoSettings, frozen=True):
    def connect(self) -> EchoAgent:
        raise ValueError("the key has the wrong length")


class Broken(EchoSettings, frozen=True):
    def connect(self) -> EchoAgent:
        raise KeyError("sk-secret")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Refusing(), "agent `a` cannot be made: the key has the wrong length."),
        (Broken(), "agent `a` cannot be made: its kind `echo` raised KeyError."),
        (AgentSettings(kind="bare"), "agent `a` cannot be made: its kind `bare` raised NotImplementedError."),
    ],
)
def test_an_agent_that_cannot_be_made_is_told_by_its_name_and_without_secrets(
    settings: AgentSettings, said: str
):
    with pytest.raises(ConfigurationInvalid) as caught:
        connect({"a": settings})

    assert caught.value.message == said
    assert "sk-secret" not in str(caught.value)


def test_a_kind_is_imported_when_it_is_asked_for():
    script = """
import sys, process_engine.agents as agents
assert "pydantic" not in sys.modules
agents.connect({"mirror": agents.KINDS["echo"]()})
assert agents.CommandAgent
assert "aiohttp" not in sys.modules
assert agents.HttpAgent and "aiohttp" in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Nonsense"):
        import_nonsense()


def import_nonsense() -> object:
    return sys.modules["process_engine.agents"].Nonsense
