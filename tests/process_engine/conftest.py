"""Guards the suite against testing another copy of the package than the one it is meant for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import process_engine

# Set by the mutation run, which tests copies of the source.
SOURCE_VARIABLE = "SOURCE_UNDER_TEST"


def expected_source() -> Path:
    """The directory that `process_engine` has to come from: `src` of this checkout, unless told otherwise."""
    told = os.environ.get(SOURCE_VARIABLE)
    return Path(told) if told else Path(__file__).resolve().parents[2] / "src"


def imported_source() -> Path:
    """The directory that `process_engine` did come from."""
    return Path(process_engine.__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def the_right_package() -> None:
    """No test says anything about a package that was imported from elsewhere, or shadowed."""
    assert imported_source() == expected_source().resolve()
