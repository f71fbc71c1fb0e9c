"""Compiled definitions of the executions at hand."""

from __future__ import annotations

from collections import OrderedDict

from process_engine.core.plan import Plan, compile_plan
from process_engine.definition.document import ProcessDefinition, SubProcess
from process_engine.errors import NotFound, StorageIncompatible
from process_engine.ids import DefinitionHash
from process_engine.runtime.ports import ExecutionRepository, StoredDefinition

# A plan of 40 steps takes about 100 KiB; a process rarely runs more versions than this at once.
MOST_PLANS = 256


class Plans:
    """Plans by content hash, compiled when first needed, the least recently used dropped."""

    def __init__(self, repository: ExecutionRepository) -> None:
        self._repository = repository
        self._plans: OrderedDict[DefinitionHash, Plan] = OrderedDict()
        self._named: dict[tuple[str, str | None], DefinitionHash] = {}

    async def add(self, definition: ProcessDefinition) -> Plan:
        """The plan of a definition, which is kept in the store as a draft if it is new there."""
        known = self._plans.get(definition.content_hash)
        if known is not None:
            self._plans.move_to_end(definition.content_hash)
            return known
        plan = compile_plan(definition)
        stored = to_store(definition)
        await self._repository.save_definition(stored)
        return self._keep(plan)

    async def name(self, definition: ProcessDefinition) -> None:
        """Keep a definition in the store, and find it under its name before any that is there."""
        plan = await self.add(definition)
        self._named[definition.name, None] = self._named[definition.name, definition.version] = plan.hash

    async def find(self, name: str, version: str | None = None) -> Plan | None:
        """The plan of a process by its name: of that version, or else of the newest; None if there is none.

        Raises:
            StorageIncompatible: what the store holds is no definition of this version.
        """
        named = self._named.get((name, version))
        if named is not None:
            return await self.load(named)
        stored = await self._repository.find_definition(name, version)
        return None if stored is None else await self.load(stored.hash)

    async def unknown(self, definition: ProcessDefinition) -> list[str]:
        """The processes that steps of a definition run and that `find` does not find."""
        unknown: dict[str, None] = {}
        for step in definition.steps:
            if not isinstance(step, SubProcess) or (step.process, step.version) == (definition.name, None):
                continue
            if await self.find(step.process, step.version) is None:
                unknown[f"{step.process} {step.version or ''}".strip()] = None
        return list(unknown)

    def known(self, definition_hash: DefinitionHash) -> Plan | None:
        """The plan, if it is at hand."""
        return self._plans.get(definition_hash)

    async def load(self, definition_hash: DefinitionHash) -> Plan:
        """The plan of a stored definition.

        Raises:
            NotFound: the store does not hold it, which a sound store never answers.
            StorageIncompatible: what the store holds is no definition of this version.
        """
        known = self._plans.get(definition_hash)
        if known is not None:
            self._plans.move_to_end(definition_hash)
            return known
        stored = await self._repository.load_definition(definition_hash)
        if stored is None:
            raise NotFound(f"the store holds no definition {definition_hash}.")
        return self._keep(compile_plan(from_store(stored)))

    def _keep(self, plan: Plan) -> Plan:
        self._plans[plan.hash] = plan
        while len(self._plans) > MOST_PLANS:
            self._plans.popitem(last=False)
        return plan


def to_store(definition: ProcessDefinition) -> StoredDefinition:
    """A definition as a store keeps it."""
    return StoredDefinition(
        hash=definition.content_hash,
        name=definition.name,
        version=definition.version,
        document=definition.canonical_json(),
    )


def from_store(stored: StoredDefinition) -> ProcessDefinition:
    """The definition that a store has kept.

    Raises:
        StorageIncompatible: what the store holds is no definition of this version.
    """
    try:
        return ProcessDefinition.from_canonical(stored.document)
    except ValueError as fault:
        raise StorageIncompatible(
            f"the stored definition {stored.hash} cannot be read.",
            remedy="Restore the database from a backup, or open it with the version that wrote it.",
        ) from fault
