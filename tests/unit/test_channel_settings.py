"""The section `channels` of a settings file."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from process_engine.agents import KINDS as AGENT_KINDS
from process_engine.channels import KINDS, ChannelSettings, EmailSettings, LogSettings, SlackSettings
from process_engine.config import read_agents_file, read_channels
from process_engine.errors import ConfigurationInvalid

SECRET = "https://hooks.example/T0/B0/do-not-show-me"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "agents.yaml"


def read(file: Path, text: str, **environment: str) -> Mapping[str, ChannelSettings]:
    file.write_text(text, encoding="utf-8")
    return read_channels(file, KINDS, environment)


def fault(file: Path, text: str, **environment: str) -> str:
    with pytest.raises(ConfigurationInvalid) as caught:
        read(file, text, **environment)
    return str(caught.value).replace(f"{file.parent}/", "")


def test_the_name_is_the_kind_where_it_is_the_word_of_one(file: Path):
    text = """
channels:
  slack: {url: "${HOOK}"}
  ops: {kind: slack, url: "${HOOK}", description: Where operators are}
  email: {host: mail.example, from: engine@example.org}
  diary: {kind: log, file: diary.jsonl}
"""
    channels = read(file, text, HOOK=SECRET)

    assert list(channels) == ["slack", "ops", "email", "diary"]
    slack, ops, email, diary = channels.values()
    assert isinstance(slack, SlackSettings)
    assert slack.url.get_secret_value() == SECRET
    assert isinstance(ops, SlackSettings)
    assert isinstance(email, EmailSettings)
    assert email.sender == "engine@example.org"
    assert isinstance(diary, LogSettings)
    assert diary.file == file.parent.resolve() / "diary.jsonl"
    assert SECRET not in repr(channels) + str(channels)


@pytest.mark.parametrize("text", ["agents: {}", "x-a: 1", ""])
def test_a_file_may_name_no_channels(file: Path, text: str):
    assert read(file, text) == {}


def test_a_file_of_channels_alone_names_no_agents(file: Path):
    file.write_text("channels: {log: {}}")

    assert read_agents_file(file, AGENT_KINDS, {}).agents == {}


def test_agents_are_read_whatever_is_wrong_with_channels(file: Path):
    file.write_text("agents: {a: {kind: echo}}\nchannels: {slack: {url: nonsense}}")

    assert list(read_agents_file(file, AGENT_KINDS, {}).agents) == ["a"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("channels: []", "agents.yaml:1:1 `channels` must be a mapping of keys to values."),
        ("channels: {a: {}}", "agents.yaml:1:12 channel `a`: `kind` is missing. Write `kind: ` and one of"),
        ("channels: {a: {kind: slak}}", "channel `a`: unknown kind `slak`. Did you mean `slack`?"),
        ("channels: {slack: {}}", "channel `slack`: the key `url` is missing."),
        ("channels: {slack: {url: h}}", "channel `slack`: `url`: must be an address that begins with"),
        ("channels: {email: {host: h, from: x}}", "channel `email`: `from`: must be an e-mail address"),
        ("channels: {email: {host: h}}", "channel `email`: the key `from` is missing."),
        ("channels: {log: {fil: a}}", "channel `log`: unknown key `fil`."),
        ("channels: {'a b': {kind: log}}", "`a b` is no name for a channel."),
        ("channels: {slack: {url: '${HOOK}'}}", "channel `slack`: `url` needs the environment variable HOOK"),
    ],
)
def test_a_fault_is_told_with_its_place(file: Path, text: str, told: str):
    assert told in fault(file, text)


def test_no_fault_shows_what_came_from_the_environment(file: Path):
    text = "channels: {slack: {url: 'ftp://${TOKEN}'}, webhook: {secret: '${TOKEN}'}}"

    assert "do-not-show-me" not in fault(file, text, TOKEN="do-not-show-me")


def test_a_key_beside_agents_and_channels_is_unknown(file: Path):
    file.write_text("agents: {}\nchanels: {}")

    with pytest.raises(ConfigurationInvalid, match=r"unknown key `chanels`\. Did you mean `channels`\?"):
        read_agents_file(file, AGENT_KINDS, {})
