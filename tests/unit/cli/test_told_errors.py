import pytest

from process_engine.cli.told_errors import ToldError, error_as_told, told_error
from process_engine.errors import (
    CommandRejected,
    InternalError,
    NotFound,
    OwnershipLost,
    ProcessEngineError,
    StorageUnavailable,
    StoreLocked,
)


@pytest.mark.parametrize("kind", [CommandRejected, NotFound, StoreLocked, OwnershipLost, InternalError])
def test_an_error_arrives_as_what_it_was(kind):
    error = kind("no.", remedy="Wait.")

    arrived = error_as_told(told_error(error))

    assert type(arrived) is kind
    assert (arrived.code, arrived.message, arrived.remedy) == (kind.code, "no.", "Wait.")


def test_a_fault_of_the_store_keeps_its_class():
    arrived = error_as_told(told_error(StorageUnavailable("full.", nothing_written=True)))

    assert isinstance(arrived, StorageUnavailable)


def test_a_code_that_nobody_knows_stays():
    arrived = error_as_told(ToldError("ODD", "no."))

    assert type(arrived) is ProcessEngineError
    assert arrived.code == "ODD"


def test_what_must_not_happen_is_named_as_such():
    told = told_error(ZeroDivisionError("division by zero"))

    assert told == ToldError("INTERNAL_ERROR", "ZeroDivisionError: division by zero", told.remedy)
    assert "report" in told.remedy
