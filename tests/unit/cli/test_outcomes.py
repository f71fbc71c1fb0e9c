import pytest

from process_engine.cli import outcomes
from process_engine.errors import (
    CommandRejected,
    ConfigurationInvalid,
    InternalError,
    NotFound,
    OwnershipLost,
    StorageUnavailable,
    StoreLocked,
)


@pytest.mark.parametrize(
    ("status", "code"),
    [("completed", 0), ("failed", 1), ("cancelled", 3), ("paused", 4), ("pending", 4), ("running", 4)],
)
def test_every_status_has_its_exit_code(status, code):
    assert outcomes.of_status(status) == code


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([], 0),
        (["completed", "completed"], 0),
        (["completed", "running"], 4),
        (["running", "cancelled"], 3),
        (["cancelled", "failed", "completed"], 1),
    ],
)
def test_of_several_executions_the_gravest_end_counts(statuses, code):
    assert outcomes.of_all(statuses) == code


@pytest.mark.parametrize(
    "error",
    [NotFound(""), ConfigurationInvalid(""), CommandRejected(""), StoreLocked("")],
    ids=lambda error: error.code,
)
def test_a_refusal_ends_with_2(error):
    assert outcomes.of_error(error) == 2


@pytest.mark.parametrize(
    "error",
    [InternalError(""), OwnershipLost(""), StorageUnavailable("", nothing_written=None)],
    ids=lambda error: error.code,
)
def test_an_engine_that_cannot_go_on_ends_with_1(error):
    assert outcomes.of_error(error) == 1
