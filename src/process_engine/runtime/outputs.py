"""Values on their way into the store and out of it; large ones by content, and for a while in memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict

import msgspec

from process_engine.core.state import Snapshot
from process_engine.core.values import BlobRef, Value, pack
from process_engine.errors import NotFound, StorageIncompatible
from process_engine.ids import ExecutionId, StepId
from process_engine.runtime.ports import ExecutionRepository

# 64 MiB: six of the largest values; what expressions read again and again in a running process.
CACHE_BYTES = 64 * 1024 * 1024
# Below this, encoding or decoding costs less than handing it to a thread.
THREAD_BYTES = 256 * 1024


class StoredOutput(msgspec.Struct, frozen=True):
    """An output made recordable: what the state keeps, and the texts that must be committed with it."""

    value: Value
    blobs: dict[str, bytes]


class OutputStorage:
    """Outputs of steps, whatever their size.

    Large ones are kept once by SHA-256; the least recently used leave memory beyond `CACHE_BYTES`.
    """

    def __init__(self, repository: ExecutionRepository) -> None:
        self._repository = repository
        self._texts: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    async def store(self, output: object) -> StoredOutput:
        """Make an output recordable. It is durable once the transition that carries it is committed.

        Raises:
            TypeError: the output has no JSON form.
            OutputTooLarge: it is over 10 MiB. Nothing was written.
        """
        if isinstance(output, (str, bytes)) and len(output) > THREAD_BYTES:
            value, blobs = await asyncio.to_thread(pack, output)
        else:
            value, blobs = pack(output)
        for sha256, text in blobs.items():
            self._keep(sha256, text)
        return StoredOutput(value, blobs)

    async def retrieve(self, execution_id: ExecutionId, step_id: StepId) -> object:
        """The output of the step's latest settled visit, as committed.

        Raises:
            NotFound: there is no such execution, or the step has no output yet.
        """
        snapshot = await self._repository.load(execution_id)
        value = _output_of(snapshot, step_id)
        if value is None:
            raise NotFound(f"step {step_id} of execution {execution_id} has no output.")
        return await self.unpack(value)

    async def text(self, ref: BlobRef) -> bytes:
        """The JSON text of a large value.

        Raises:
            NotFound: the store does not hold it, which a sound store never answers.
            StorageIncompatible: what the store holds under its hash is something else.
        """
        known = self._texts.get(ref.sha256)
        if known is not None:
            self._texts.move_to_end(ref.sha256)
            return known
        text = await self._repository.load_blob(ref)
        if text is None:
            raise NotFound(f"the store holds no value {ref.sha256}.")
        if hashlib.sha256(text).hexdigest() != ref.sha256:
            raise StorageIncompatible(
                f"the stored value {ref.sha256} is damaged.", remedy="Restore the database from a backup."
            )
        self._keep(ref.sha256, text)
        return text

    async def unpack(self, value: Value) -> object:
        """The JSON value behind `value`, loaded if need be."""
        if value.ref is None:
            return value.data
        return await self._unpack_large(value.ref)

    async def _unpack_large(self, ref: BlobRef) -> object:
        text = await self.text(ref)
        if len(text) < THREAD_BYTES:
            return msgspec.json.decode(text)
        return await asyncio.to_thread(msgspec.json.decode, text)

    def _keep(self, sha256: str, text: bytes) -> None:
        if sha256 in self._texts:
            return
        self._texts[sha256] = text
        self._size += len(text)
        while self._size > CACHE_BYTES and len(self._texts) > 1:
            self._size -= len(self._texts.popitem(last=False)[1])


def _output_of(snapshot: Snapshot | None, step_id: StepId) -> Value | None:
    state = snapshot.steps.get(step_id) if snapshot is not None else None
    return state.output if state is not None and state.has_output else None
