"""What single items of a step ask, and what all of them gave."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import cast

import msgspec

from process_engine.core.events import ItemCompleted, ItemFailed
from process_engine.core.item_scope import ItemScope
from process_engine.core.plan import Plan, StepPlan
from process_engine.core.results import Completed, Failed
from process_engine.core.scope import ValueNotLoaded
from process_engine.core.state import Execution
from process_engine.core.values import VALUE_LIMIT_BYTES, BlobRef, Value
from process_engine.errors import ExpressionError, InternalError, OutputTooLarge
from process_engine.runtime.outputs import OutputStorage
from process_engine.runtime.ports import Clock, ExecutionRepository

# 16 MiB of JSON text, about 100 MB of objects at worst: the lists of the steps that run, and what their items
# read beside them. Decoded once and not for every item.
DECODED_BYTES = 16 * 1024 * 1024
# Events read at a time: some 2 ms of decoding.
PAGE = 1_000
# Characters of a message in `errors`, of which there may be 100,000; the events have the whole text.
ERROR_CHARACTERS = 500


class Gathered(msgspec.Struct, frozen=True):
    """What the items of a visit gave: their outputs in the order of the list, null for those passed over."""

    outputs: list[object]
    errors: list[dict[str, object]]


class ItemReader:
    """Reads what items need from the store, and keeps for a while what others will need as well."""

    def __init__(self, repository: ExecutionRepository, outputs: OutputStorage, clock: Clock) -> None:
        self._repository = repository
        self._outputs = outputs
        self._clock = clock
        self._decoded: OrderedDict[str, object] = OrderedDict()
        self._sizes: dict[str, int] = {}
        self._turn = asyncio.Lock()

    # ------------------------------------------------------------ asking

    async def request(
        self, plan: Plan, execution: Execution, step: StepPlan, index: int
    ) -> dict[str, object] | Completed | Failed:
        """What the item asks, rendered from what was recorded: the same for every attempt.

        Where nobody is asked it is the item's result; where something has no value, its failure.
        """
        while True:
            try:
                return self._rendered(plan, execution, step, index)
            except ValueNotLoaded as missing:
                await self._load(missing.ref)
            except ExpressionError as error:
                return Failed(error.code, str(error))

    def _rendered(
        self, plan: Plan, execution: Execution, step: StepPlan, index: int
    ) -> dict[str, object] | Completed | Failed:
        scope = ItemScope(plan, execution, step, index, self._decoded)
        assert step.items is not None
        if step.items.inline is not None:
            result = step.items.inline.decide(scope, self._clock.now())
            if not isinstance(result, (Completed, Failed)):
                raise InternalError(f"an item of {step.id} waits: {type(result).__name__}.")
            return result
        return _own_copy({name: template.render(scope) for name, template in step.request})

    async def _load(self, ref: BlobRef) -> None:
        async with self._turn:
            # A hundred items begin together: one of them reads the list, the others find it here.
            if ref.sha256 not in self._decoded:
                self._keep(ref, await self._outputs.unpack(Value(ref=ref)))

    def _keep(self, ref: BlobRef, value: object) -> None:
        self._decoded[ref.sha256] = value
        self._sizes[ref.sha256] = ref.size_bytes
        while sum(self._sizes.values()) > DECODED_BYTES and len(self._decoded) > 1:
            oldest, _ = self._decoded.popitem(last=False)
            del self._sizes[oldest]

    # ------------------------------------------------------------ gathering

    async def gather(self, execution: Execution, step: StepPlan) -> Gathered:
        """What all items of the current visit gave, read from its history.

        Raises:
            OutputTooLarge: together it is more than a step may record.
        """
        state = execution.step(step.id)
        if state.items is None:
            raise InternalError(f"step {step.id} of {execution.id} runs no items.")
        ended: dict[int, ItemCompleted | ItemFailed] = {}
        after = state.items.since
        while events := await self._repository.events(execution.id, after=after, limit=PAGE):
            after = events[-1].sequence
            for event in events:
                if not isinstance(event, (ItemCompleted, ItemFailed)):
                    continue
                if event.step_id == step.id and event.visit == state.visit:
                    # A later event of an item is about a later attempt, after somebody asked to try again.
                    ended[event.item] = event
        if len(ended) != state.items.total:
            raise InternalError(f"{len(ended)} of {state.items.total} items of {step.id} have ended.")
        return await self._put_together([ended[index] for index in range(state.items.total)])

    async def _put_together(self, ended: list[ItemCompleted | ItemFailed]) -> Gathered:
        large = [event.output.ref for event in ended if isinstance(event, ItemCompleted) and event.output.ref]
        size = sum(ref.size_bytes for ref in large)
        if size > VALUE_LIMIT_BYTES:
            raise OutputTooLarge(
                f"the items' outputs are {size:,} bytes of JSON, the limit is {VALUE_LIMIT_BYTES:,}.",
                remedy="Let each item store its result elsewhere and answer with a link.",
            )
        gathered = Gathered([], [])
        for event in ended:
            if isinstance(event, ItemCompleted):
                gathered.outputs.append(await self._outputs.unpack(event.output))
            else:
                gathered.outputs.append(None)
                gathered.errors.append(_told(event))
        return gathered


def _told(event: ItemFailed) -> dict[str, object]:
    message = event.failure.message[:ERROR_CHARACTERS]
    return {"index": event.item, "code": event.failure.code, "message": message}


def _own_copy(request: dict[str, object]) -> dict[str, object]:
    """The request as JSON has it: parts belong to other items as well, and handlers are foreign code."""
    return cast("dict[str, object]", msgspec.json.decode(msgspec.json.encode(request)))
