import json
import os
from pathlib import Path

import pytest

from process_engine.channels import LogSettings
from process_engine.runtime.ports import Delivery, DeliveryFailed
from tests.unit.channels.support import AT, KEY, notice


async def test_a_line_of_json_is_added_to_the_file(tmp_path: Path):
    channel = LogSettings.model_validate({"file": "told.jsonl"}, context={"directory": tmp_path}).connect()

    assert await channel.deliver(notice({"level": 4.2}, urgency="high")) == Delivery()
    await channel.deliver(notice("größer\nund mehr"))

    first, second = (json.loads(line) for line in (tmp_path / "told.jsonl").read_text().splitlines())
    assert first == {
        "time": AT.isoformat(),
        "urgency": "high",
        "subject": "About the tide",
        "message": {"level": 4.2},
        "process": "tides",
        "execution": "0abc",
        "step": "tell",
        "key": KEY,
    }
    assert second["message"] == "größer\nund mehr"


async def test_without_a_file_the_line_goes_to_standard_error(capfd: pytest.CaptureFixture[str]):
    await LogSettings().connect().deliver(notice())

    out, err = capfd.readouterr()
    assert out == ""
    assert json.loads(err)["message"] == "The tide is high."


async def test_nothing_in_a_line_can_steer_a_terminal(capfd: pytest.CaptureFixture[str]):
    text = "\x1b[2J \x9b31m \u202e \u2028 \ud83d\ude00"
    await LogSettings().connect().deliver(notice(text, subject="\x07"))

    line = capfd.readouterr().err
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert json.loads(line)["message"].startswith("\x1b[2J \x9b31m \u202e \u2028")


async def test_the_file_may_be_moved_away_between_two_lines(tmp_path: Path):
    channel = LogSettings.model_validate({"file": str(tmp_path / "a")}).connect()
    await channel.deliver(notice())
    (tmp_path / "a").rename(tmp_path / "b")
    await channel.deliver(notice())

    assert [len((tmp_path / name).read_text().splitlines()) for name in "ab"] == [1, 1]


async def test_a_file_that_cannot_be_written_is_no_delivery(tmp_path: Path):
    channel = LogSettings.model_validate({"file": str(tmp_path / "nowhere" / "a")}).connect()
    with pytest.raises(DeliveryFailed) as caught:
        await channel.deliver(notice())

    assert (caught.value.code, caught.value.transient) == ("DELIVERY_FAILED", False)
    assert "No such file or directory" in caught.value.message


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
async def test_a_full_disk_is_worth_another_attempt():
    channel = LogSettings.model_validate({"file": "/dev/full"}).connect()
    with pytest.raises(DeliveryFailed) as caught:
        await channel.deliver(notice())

    assert (caught.value.code, caught.value.transient) == ("CHANNEL_UNAVAILABLE", True)


async def test_a_line_of_which_only_a_part_was_written_is_no_delivery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:10]))
    channel = LogSettings.model_validate({"file": str(tmp_path / "a")}).connect()

    with pytest.raises(DeliveryFailed, match="CHANNEL_UNAVAILABLE"):
        await channel.deliver(notice())
