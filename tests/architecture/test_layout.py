import process_engine
from tests.architecture.places import ROOT, SOURCE, TESTS

# Longer than this and nobody reads a file from top to bottom.
LONGEST_FILE_LINES = 650


def test_the_package_under_test_is_the_one_in_src():
    assert process_engine.__file__ == str(SOURCE / "__init__.py")


def test_every_directory_with_tests_is_a_package():
    """Otherwise two test files of one name collide, or tests/process_engine shadows the package."""
    folders = {
        folder
        for path in TESTS.rglob("*.py")
        for folder in path.parents
        if folder == TESTS or TESTS in folder.parents
    }

    missing = [folder for folder in folders if not (folder / "__init__.py").exists()]

    assert missing == []


def test_no_source_file_is_too_long():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCE.rglob("*.py")}

    too_long = {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > LONGEST_FILE_LINES}

    assert too_long == {}


def test_the_package_says_that_it_is_typed():
    assert (SOURCE / "py.typed").exists()
