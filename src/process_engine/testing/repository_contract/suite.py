"""The suite that a store is put to."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from process_engine.testing.repository_contract.posting import MailPromises
from process_engine.testing.repository_contract.publishing import VersionPromises
from process_engine.testing.repository_contract.reading import (
    EventPromises,
    InboxPromises,
    ListPromises,
    WorkPromises,
)
from process_engine.testing.repository_contract.sequences import DEFAULT_LIMIT, DEFAULT_STEPS, drive
from process_engine.testing.repository_contract.writing import (
    AtomicityPromises,
    CommitPromises,
    OwnershipPromises,
)


class RepositoryContract(
    CommitPromises,
    AtomicityPromises,
    OwnershipPromises,
    EventPromises,
    WorkPromises,
    ListPromises,
    InboxPromises,
    VersionPromises,
    MailPromises,
):
    """Every promise of an `ExecutionRepository`, for pytest: inherit it and write `store_at`.

    `sequences` is how many random sequences are driven, from seed `first_seed` on. Each has at least `steps`
    operations and goes on, up to `limit`, until every operation has succeeded and was refused in each way.
    """

    sequences: ClassVar[int] = 2
    first_seed: ClassVar[int] = 1
    steps: ClassVar[int] = DEFAULT_STEPS
    limit: ClassVar[int] = DEFAULT_LIMIT

    def test_random_operations_answer_and_store_what_the_memory_store_does(self, tmp_path: Path) -> None:
        """Every answer and everything stored is the memory store's, for random operations."""
        for seed in range(self.first_seed, self.first_seed + self.sequences):
            place = tmp_path / str(seed)
            place.mkdir()
            drive(
                self.store_at,
                place,
                seed=seed,
                steps=self.steps,
                limit=self.limit,
                alone=self.lives_in_its_object,
            )
