"""Replays in one arena: one allocation, and every tensor a view at its offset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schedule.addresses import Addresses, offsets_of, verify_addresses
from schedule.errors import BadInput, BadOption
from schedule.executors.contract import Kernel, Placer, Unplaceable
from schedule.executors.loop import Tables
from schedule.lifetimes import lifetimes_of
from schedule.memory import Trace
from schedule.result import Result
from schedule.steps import AnySchedule

#: Of the offsets where the plan has none: a cache line, and enough for any element type.
ALIGNMENT = 64
#: What is written over all that isn't in use: NaN in every float format, −1 in integers.
POISON = 0xFF


def addresses_of(trace: Trace, plan: AnySchedule) -> Addresses:
    """Where the plan says that its allocations lie, verified; else what `schedule.place` finds.

    Raises
    ------
    BadAddresses
        The plan's own are wrong: two allocations overlap, one has none, …
    BadInput
        The schedule copies between levels of memory.
    """
    trace.require_no_copies("an arena")
    if isinstance(plan, Result) and plan.addresses is not None:
        verify_addresses(trace, plan.addresses)
        return plan.addresses
    from schedule.arena.placing import place

    return place(trace.graph, trace.codes, alignment=ALIGNMENT).addresses


def outside_bytes(trace: Trace, addresses: Addresses) -> int:
    """Memory of the inputs that stay where they are."""
    layout = trace.graph.layout
    outside = layout.resident & (addresses.inputs == "outside")
    return int(layout.memory[outside].sum())


class ArenaTables(Tables):
    """What is live during one run, in one arena.

    Outputs that a kernel didn't write there are copied in; inputs are, too, but for
    those outside. What isn't in use is poisoned.

    Parameters
    ----------
    trace, addresses
        Both verified.
    kernels, inputs, backend
        As in `Tables`.

    Raises
    ------
    BadOption
        The backend can't place arrays.
    """

    def __init__(
        self,
        trace: Trace,
        kernels: Sequence[Kernel | None],
        inputs: Mapping[str, Any],
        backend: Placer,
        addresses: Addresses,
    ) -> None:
        super().__init__(trace.graph, kernels, inputs, backend, True)
        if not all(hasattr(backend, name) for name in ("allocate", "bounds", "moved")):
            raise BadOption(
                f"backend {backend.name!r} can't replay in an arena; 'numpy' and 'torch' can"
            )
        self.placer = backend
        self.promised = addresses.size + outside_bytes(trace, addresses)
        layout = trace.graph.layout
        self.outside: list[bool] = (layout.resident & (addresses.inputs == "outside")).tolist()
        # Declared workspace lies in the arena: it isn't counted beside it.
        self.scratch, self.workspace = self.workspace, [0] * layout.n_nodes
        # In the order of allocation: by step; storages, second copies, workspace.
        self.offsets = iter(offsets_of(lifetimes_of(trace, addresses.inputs), addresses))
        self.arena = backend.allocate(addresses.size)
        self.arena[:] = POISON
        storage = backend.storage(self.arena)
        self.arena_bytes = backend.storage_bytes(storage)
        self.ledger.follow(storage, self.arena_bytes)
        self.slots: list[Any] = [None] * layout.n_tensors  # bytes of each storage that is there
        self.rooms: dict[int, Any] = {}  # where the running node's outputs go

    def _slot(self, size: int) -> Any:
        """The bytes of the next allocation; what takes no memory has no place in the arena."""
        if not size:
            return self.placer.allocate(0)
        offset = next(self.offsets)
        return self.arena[offset : offset + size]

    def _settled(self, tensor: int, array: Any) -> Any:
        """A copy in the arena, but of an input outside the caller's own."""
        if self.outside[tensor]:
            return super()._settled(tensor, array)
        self.slots[tensor] = slot = self._slot(self.memory[tensor])
        try:
            return self.placer.moved(array, slot)
        except Unplaceable as reason:
            raise BadInput(f"input {self.graph.inputs[tensor].name!r} {reason}") from None

    def _compute(self, node: int, at: int) -> None:
        own = [tensor for tensor in self.writes[node] if self.base[tensor] < 0]
        new = [tensor for tensor in own if self.roots[tensor] is None]
        again = [tensor for tensor in own if self.roots[tensor] is not None]
        self.rooms = {tensor: self._slot(self.memory[tensor]) for tensor in new + again}
        for tensor in new:
            self.slots[tensor] = self.rooms[tensor]
        self._slot(self.scratch[node])[:] = POISON
        super()._compute(node, at)
        for tensor in again:
            self.rooms[tensor][:] = POISON

    def _room(self, tensor: int) -> Any:
        return self.rooms[tensor]

    def _admit(self, node: int, at: int, tensor: int, array: Any, fresh: dict[int, int]) -> Any:
        """An output in its slot, if need be as a copy."""
        base = self.base[tensor]
        if base >= 0:
            slot = self.slots[self.storage[base]]
            if slot is not None and not self._within(array, slot):
                self._refuse_copy(node, at, tensor)
            return super()._admit(node, at, tensor, array, fresh)
        room, (begin, end) = self.rooms[tensor], self.placer.bounds(array)
        if begin < end and self._within(array, self.arena):
            if not self._within(array, room):
                self._refuse_alias(node, at, tensor, self._owner(array))
            return array
        super()._admit(node, at, tensor, array, fresh)
        try:
            return self.placer.moved(array, room)
        except Unplaceable as reason:
            raise self._error(
                node, at, f"{self.graph.layout.tensor_names[tensor]!r} {reason}"
            ) from None

    def _within(self, array: Any, slot: Any) -> bool:
        (begin, end), (low, high) = self.placer.bounds(array), self.placer.bounds(slot)
        return begin == end or (low <= begin and end <= high)

    def _owner(self, array: Any) -> int:
        """The tensor in whose bytes an array begins."""
        begin = self.placer.bounds(array)[0]
        for tensor, slot in enumerate(self.slots):
            if slot is not None and len(slot):
                low, high = self.placer.bounds(slot)
                if low <= begin < high:
                    return tensor
        raise AssertionError("kernels are given nothing else in the arena")

    def _free(self, tensor: int) -> None:
        super()._free(tensor)
        storage = self.storage[tensor]
        if not self.held[storage] and self.slots[storage] is not None:
            self.slots[storage][:] = POISON
            self.slots[storage] = None

    def clear(self) -> None:
        """Refer to no array any more, the arena included."""
        super().clear()
        self.slots.clear()
        self.rooms.clear()
        self.arena = None
