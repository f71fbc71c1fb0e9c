import ast
import shutil

import pytest

from tests.mutants.run import ROOT, SOURCE, SUITES, load_mutants

CASES = [
    pytest.param(mutant, id=f"{suite}: {mutant.name}") for suite in SUITES for mutant in load_mutants(suite)
]


@pytest.mark.parametrize("mutant", CASES)
def test_each_mutant_fits_the_source_and_is_a_program(mutant, tmp_path):
    for patch in mutant.patches:
        target = tmp_path / "process_engine" / patch.file
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SOURCE / "process_engine" / patch.file, target)

        patch.apply(tmp_path)

        compile(target.read_text(encoding="utf-8"), patch.file, "exec")


@pytest.mark.parametrize("suite", SUITES)
def test_each_test_of_a_suite_has_a_mutant_that_it_has_to_notice(suite):
    aimed_at = {test for mutant in load_mutants(suite) for test in mutant.noticed_by}

    assert aimed_at == names_of_tests(suite)


def names_of_tests(suite: str) -> set[str]:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / SUITES[suite]).glob("test_*.py")]
    functions = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef))
    return {node.name for node in functions if node.name.startswith("test_")}


@pytest.mark.parametrize("suite", SUITES)
def test_no_two_mutants_have_one_name(suite):
    names = [mutant.name for mutant in load_mutants(suite)]

    assert len(names) == len(set(names))
