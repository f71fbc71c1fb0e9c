"""The stores of the engine pass the contract of a store."""

from __future__ import annotations

from pathlib import Path

from process_engine.runtime.ports import ExecutionRepository
from process_engine.testing.repository_contract import RepositoryContract
from tests.contract import stores


class TestMemory(RepositoryContract):
    def setup_method(self) -> None:
        self.at = stores.memory()

    def store_at(self, place: Path) -> ExecutionRepository:
        return self.at(place)


class TestSqliteInMemory(RepositoryContract):
    lives_in_its_object = True

    def store_at(self, place: Path) -> ExecutionRepository:
        return stores.in_memory(place)


class TestSqliteInAFile(RepositoryContract):
    def store_at(self, place: Path) -> ExecutionRepository:
        return stores.in_file(place)
