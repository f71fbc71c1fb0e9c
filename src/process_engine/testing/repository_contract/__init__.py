"""What a store has to do, as tests that any store can be put to: one class to inherit, one method to write.

::

    class TestMyStore(RepositoryContract):
        def store_at(self, place):
            return MyStore(place / "my.store")

The promises that can be told one by one are methods of that class. Beside them, random operations drive the
store and the memory store side by side, and every answer and all that is stored must be the same (`drive`).
"""

from __future__ import annotations

from process_engine.testing.repository_contract.coverage import Coverage
from process_engine.testing.repository_contract.expectations import ContractBroken, StillClock, StoreAt
from process_engine.testing.repository_contract.sequences import Driven, drive
from process_engine.testing.repository_contract.suite import RepositoryContract

__all__ = ["ContractBroken", "Coverage", "Driven", "RepositoryContract", "StillClock", "StoreAt", "drive"]
