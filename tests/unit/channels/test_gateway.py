import asyncio
from pathlib import Path

import pytest

from process_engine.channels import KINDS, ChannelSettings, ConfiguredChannels, LogSettings, connect
from process_engine.channels.gateway import MOST_AT_ONCE
from process_engine.runtime.ports import Delivery, DeliveryFailed, Notice
from tests.unit.channels.support import notice


class Slow(ChannelSettings, frozen=True):
    """A channel that takes nothing until it is let."""

    kind: str = "slow"

    def connect(self) -> "SlowChannel":
        return SlowChannel()


class SlowChannel:
    under_way = 0
    go = asyncio.Event()

    async def deliver(self, notice: Notice) -> Delivery:
        SlowChannel.under_way += 1
        await SlowChannel.go.wait()
        return Delivery()


async def test_each_channel_has_the_settings_of_its_name(tmp_path: Path):
    files = {name: tmp_path / name for name in ("one", "other")}
    channels = connect({name: LogSettings(file=path) for name, path in files.items()})

    await channels.deliver(notice("a", channel="one"))
    await channels.deliver(notice("b", channel="other"))

    assert '"a"' in files["one"].read_text()
    assert '"b"' in files["other"].read_text()


async def test_log_and_webhook_are_there_without_a_word_of_configuration(capfd: pytest.CaptureFixture[str]):
    channels = connect({})

    await channels.deliver(notice(channel="log"))

    assert "The tide is high." in capfd.readouterr().err
    assert channels.lacks("log", url=False, recipients=False) is None
    assert channels.lacks("webhook", url=True, recipients=False) is None
    assert channels.lacks("webhook", url=False, recipients=False) == "a webhook needs a `url`"


async def test_a_channel_that_is_not_configured_says_how_to_configure_it():
    channels = connect({})

    with pytest.raises(DeliveryFailed, match="DELIVERY_FAILED: the configuration has no channel `slack`"):
        await channels.deliver(notice(channel="slack"))
    assert "SLACK_WEBHOOK" in str(channels.lacks("slack", url=False, recipients=False))
    assert "{ops: {kind: …}}" in str(channels.lacks("ops", url=False, recipients=False))


async def test_no_more_deliveries_of_a_channel_are_under_way_than_it_has_places():
    SlowChannel.under_way, SlowChannel.go = 0, asyncio.Event()
    channels = ConfiguredChannels({"slow": Slow()})
    async with asyncio.TaskGroup() as tasks:
        for _ in range(MOST_AT_ONCE + 5):
            tasks.create_task(channels.deliver(notice(channel="slow")))
        for _ in range(10):
            await asyncio.sleep(0)
        assert SlowChannel.under_way == MOST_AT_ONCE
        SlowChannel.go.set()

    assert SlowChannel.under_way == MOST_AT_ONCE + 5


def test_every_kind_calls_itself_by_its_word():
    assert {kind: KINDS[kind].model_fields["kind"].default for kind in KINDS} == {
        kind: kind for kind in KINDS
    }
    assert "pigeon" not in KINDS
    assert len(KINDS) == 4
