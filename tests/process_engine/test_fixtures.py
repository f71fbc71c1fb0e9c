import json
import subprocess
import sys
from pathlib import Path

from tests.process_engine.conftest import expected_source, imported_source

ROOT = Path(__file__).resolve().parents[2]
# What the fixtures may do without: the composition root, the command line and the HTTP interface.
MAIN_APP = ("process_engine.app", "process_engine.api", "process_engine.cli", "process_engine.__main__")
LOADED = """
import json, sys
sys.path[:0] = sys.argv[1:]
import tests.process_engine.integration.conftest
print(json.dumps(sorted(sys.modules)))
"""


def test_the_package_under_test_is_the_one_of_this_checkout():
    assert imported_source() == expected_source().resolve()
    assert (imported_source() / "process_engine" / "core" / "decide.py").is_file()


def test_importing_the_fixtures_loads_nothing_of_the_main_app():
    command = [sys.executable, "-I", "-c", LOADED, str(ROOT), str(expected_source())]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(json.loads(answer.stdout))

    assert "process_engine.runtime.engine" in loaded
    assert [name for name in loaded if name.startswith(MAIN_APP)] == []
