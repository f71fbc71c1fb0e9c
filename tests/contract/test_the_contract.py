"""The contract finds stores that do something wrong, says where, and finds it again."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from process_engine.core.state import Head, StepState
from process_engine.repositories.memory import MemoryRepository
from process_engine.runtime.ports import ExecutionRepository
from process_engine.testing.repository_contract import ContractBroken, Coverage, drive
from process_engine.testing.repository_contract.coverage import ACCEPTED, REFUSED
from process_engine.testing.repository_contract.samples import every_event, full_execution
from tests.contract import stores
from tests.contract.broken import BROKEN

SEED = 1
FIRST_SEQUENCES = 8


def failure_of(kind: type[MemoryRepository], place: Path, *, seed: int = SEED) -> str:
    message = failure_or_none(kind, place, seed=seed)
    assert message is not None
    return message


def failure_or_none(kind: type[MemoryRepository], place: Path, *, seed: int) -> str | None:
    place.mkdir()
    try:
        drive(stores.memory(kind), place, seed=seed)
    except ContractBroken as broken:
        return str(broken)
    return None


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_store_that_does_one_thing_wrong_is_found(kind, tmp_path):
    """By one of the first sequences; which, changes with every operation that is added."""
    tried = [tmp_path / str(seed) for seed in range(SEED, SEED + FIRST_SEQUENCES)]
    found = (failure_or_none(kind, place, seed=int(place.name)) for place in tried)
    message = next((told for told in found if told is not None), "nothing was found")

    assert re.match(r"seed \d+, (step \d+|at the end|at the first opening): ", message)
    assert "not everything was met" not in message


def test_the_same_seed_finds_the_same_fault_at_the_same_step(tmp_path):
    first = failure_of(BROKEN[0], tmp_path / "one")

    assert failure_of(BROKEN[0], tmp_path / "other") == first
    assert "replay: drive(…, seed=1, steps=250, limit=2000)" in first


def test_the_same_seed_does_the_same_things_and_another_seed_others(tmp_path):
    one, same, other = (drive(stores.memory(), tmp_path, seed=seed, steps=60).story for seed in (5, 5, 6))

    assert one == same
    assert one != other


def test_a_sequence_that_may_not_meet_everything_fails_with_a_table_of_what_is_missing(tmp_path):
    with pytest.raises(ContractBroken, match="not everything was met") as broken:
        drive(stores.memory(), tmp_path, seed=SEED, steps=1, limit=1)

    (line,) = re.findall(r"^read_answer .*$", str(broken.value), re.MULTILINE)
    assert re.fullmatch(r"read_answer      found MISSING, nothing (MISSING|\d+) \| closed MISSING", line)


def test_every_sequence_meets_every_operation_accepted_and_refused(tmp_path):
    coverage = drive(stores.memory(), tmp_path, seed=SEED, steps=1).coverage

    assert coverage.missing() == []
    assert all(coverage.accepted[operation, way] for operation, ways in ACCEPTED.items() for way in ways)
    assert all(coverage.refused[operation, way] for operation, ways in REFUSED.items() for way in ways)
    assert coverage.accepted["open", "taken over"]
    assert coverage.refused["commit", "overtaken"]


def test_a_store_that_lives_in_its_object_need_not_be_taken_over(tmp_path):
    assert ("open", "taken over") not in Coverage(alone=True).missing()
    assert ("open", "taken over") in Coverage(alone=False).missing()


def operations_of_the_port() -> set[str]:
    return {name for name in vars(ExecutionRepository) if not name.startswith("_")}


def test_the_table_names_every_operation_of_the_port():
    assert set(ACCEPTED) == operations_of_the_port()
    assert set(REFUSED) == operations_of_the_port() - {"open", "close"}


def test_every_field_of_the_sample_differs_from_its_default():
    state = full_execution("a")
    step = next(step for step in state.steps.values() if step.visit == 3)

    assert same_as_default(step, StepState()) == set()
    assert same_as_default(state.head, Head(state.head.status, 0, state.head.timestamp)) <= {
        "status",
        "timestamp",
    }


def same_as_default(record: msgspec.Struct, default: msgspec.Struct) -> set[str]:
    names = record.__struct_fields__
    return {name for name in names if getattr(record, name) == getattr(default, name)}


def test_every_event_of_the_sample_has_every_field_set():
    for event in every_event("a"):
        given = event.__struct_defaults__
        names = event.__struct_fields__[-len(given) :] if given else ()

        left = [name for name, default in zip(names, given, strict=True) if getattr(event, name) == default]

        assert left == [], event.type
