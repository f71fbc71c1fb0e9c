import json
import re

import pytest

from tests.architecture.places import ROOT

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
# A download address in any of the spellings of pip and uv.
ADDRESS = re.compile(r"://| @ |^\s*(-i|-f|--(extra-)?index-url|--find-links|--trusted-host)\b", re.MULTILINE)


def test_there_are_lock_files():
    assert {lock.name for lock in LOCKS} >= {"dev.txt", "uv.txt"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_no_lock_file_holds_an_address(lock):
    assert ADDRESS.findall(lock.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_locked_package_has_a_hash(lock):
    text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    requirements = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]

    assert [line for line in requirements if "--hash=sha256:" not in line] == []


def test_no_npm_lock_file_holds_a_download_address():
    locks = [path for path in ROOT.glob("*/package-lock.json") if "node_modules" not in path.parts]
    packages = {
        f"{path.parent.name}: {name}": entry
        for path in locks
        for name, entry in json.loads(path.read_text(encoding="utf-8")).get("packages", {}).items()
    }

    assert [name for name, entry in packages.items() if "://" in str(entry.get("resolved", ""))] == []
