import json
import subprocess
import sys

import pytest

# Each costs more at start-up than all of the package's own modules together.
HEAVY = {"aiohttp", "apsw", "asyncio", "jsonschema_rs", "pydantic", "re2", "rich", "ruamel"}


def modules_loaded_by(statement: str) -> set[str]:
    """Top-level names in `sys.modules` of a fresh interpreter after `statement`."""
    report = f"import json, sys; {statement}; print(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run([sys.executable, "-I", "-c", report], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(answer.stdout)}


@pytest.fixture(scope="module")
def loaded_by_nothing() -> set[str]:
    return modules_loaded_by("pass")


def test_importing_the_package_loads_nothing_heavy(loaded_by_nothing: set[str]):
    loaded = modules_loaded_by("import process_engine") - loaded_by_nothing

    assert "process_engine" in loaded
    assert loaded & HEAVY == set()
