import ast
import shutil

import pytest

from tests.mutants import backlog
from tests.mutants.patches import PACKAGE, ROOT, load_mutants

SOURCE = ROOT / "src"
SUITES = ("backlog", "engine")
CASES = [
    pytest.param(mutant, id=f"{suite}: {mutant.name}") for suite in SUITES for mutant in load_mutants(suite)
]


@pytest.mark.parametrize("mutant", CASES)
def test_each_mutant_fits_the_source_and_is_a_program(mutant, tmp_path):
    for patch in mutant.patches:
        target = tmp_path / PACKAGE / patch.file
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SOURCE / PACKAGE / patch.file, target)

        patch.apply(tmp_path)

        compile(target.read_text(encoding="utf-8"), patch.file, "exec")


def test_each_test_of_the_backlog_has_a_mutant_that_it_has_to_notice():
    aimed_at = {test for mutant in load_mutants("backlog") for test in mutant.noticed_by}

    assert aimed_at == names_of_tests(backlog.TESTS)


def names_of_tests(directory: str) -> set[str]:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / directory).glob("test_*.py")]
    functions = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef))
    return {node.name for node in functions if node.name.startswith("test_")}


def test_each_mutant_of_the_engine_says_what_a_user_would_suffer():
    assert [mutant.name for mutant in load_mutants("engine") if not mutant.suffers.endswith(".")] == []


@pytest.mark.parametrize("suite", SUITES)
def test_no_two_mutants_have_one_name(suite):
    names = [mutant.name for mutant in load_mutants(suite)]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("suite", SUITES)
def test_no_two_mutants_break_the_same_thing_the_same_way(suite):
    patches = [mutant.patches for mutant in load_mutants(suite)]

    assert len(patches) == len(set(patches))
