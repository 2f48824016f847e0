"""Replays of any graph without the caller's kernels: is the schedule as good as the program?

Every tensor is filled with bytes that follow from the node's name and from the
contents of all that it reads. Whoever reads something stale, or too little,
gets other bytes, and so does everything after it.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

from schedule.addresses import Addresses
from schedule.errors import NotEqual
from schedule.executors.calls import backend_named, kernel_table
from schedule.executors.comparison import Comparison
from schedule.executors.contract import Allocator, Into, Kernel, Placer, Replay
from schedule.executors.levels import LevelTables
from schedule.executors.loop import Tables, execute
from schedule.executors.machine import available_memory, require_memory
from schedule.executors.slots import ArenaTables, addresses_of, outside_bytes
from schedule.graph import Graph, Input, Node
from schedule.lowering import in_order
from schedule.memory import Trace
from schedule.steps import AnySchedule
from schedule.verification import verify


def replay_synthetic(
    graph: Graph,
    plan: AnySchedule,
    *,
    backend: str = "numpy",
    device: str | None = None,
    seed: int = 0,
    watch: Callable[[str], None] | None = None,
    arena: bool = False,
) -> Comparison:
    """Run the program as it is, then the plan, with made-up kernels; compare their outputs.

    Each kernel allocates exactly the bytes that the graph declares, its
    workspace included, and fills them with a mix of its inputs' contents.

    Parameters
    ----------
    graph, plan
        As in `schedule.replay`; sizes are taken as bytes.
    backend
        `"numpy"`, `"torch"`, or the name of one that another package brings.
    device
        `"cpu"` or, for torch, `"cuda"`.
    seed
        Of the inputs' contents.
    watch
        Called with a node's name at each run, while all that the node reads
        and writes and its workspace are there.
    arena
        Whether the plan runs in one arena, as in `schedule.replay`; its kernels write in place.

    Returns
    -------
    Comparison
        The figures of both runs; their `outputs` are hashes, as the first
        run's arrays are gone before the second begins.

    Raises
    ------
    NotEqual
        Names an output that differs.
    WrongGraph, InvalidSchedule
        The plan isn't one for this graph, or breaks the memory model.
    BadInput
        One of the two runs needs more memory than is available.

    Notes
    -----
    Every run of a node takes about a nanosecond for each byte that it reads or
    writes. Small values may agree by chance: two single bytes do so in one
    case of 256.

    Examples
    --------
    >>> import schedule
    >>> from schedule.executors import replay_synthetic
    >>> graph = schedule.example("chain")
    >>> found = replay_synthetic(graph, schedule.solve(graph, "50%"))
    >>> found.planned.measured_peak, found.planned.exact
    (9, True)
    """
    trace = verify(graph, plan)
    plain = in_order(graph)
    allocator = backend_named(backend, device, allocates=True)
    addresses = addresses_of(trace, plan) if arena else None
    peak = trace.peak
    if addresses is not None:  # an input is copied there from where it was made
        largest = max((item.memory for item in graph.inputs), default=0)
        peak = addresses.size + outside_bytes(trace, addresses) + largest
    for what, needed in (("the plain run", plain.peak), ("the schedule", peak)):
        require_memory(needed, allocator.available(), what)
    for level, below in zip(trace.levels[:1], trace.peaks_below):  # the next ones are files
        require_memory(below, available_memory(), f"what is copied to {level.name!r}")
    maker = _Maker(allocator, seed, watch)
    found = Comparison(maker.run(plain), maker.run(trace, addresses))
    for name, expected in found.plain.outputs.items():
        if found.planned.outputs[name] != expected:
            raise NotEqual(
                f"output {name!r} of graph {graph.name!r} differs from the plain run's:"
                f" the schedule gives other values"
            )
    return found


class _Inputs(Mapping[str, Any]):
    """A graph's inputs, each made when it is asked for: only who asked holds on to it.

    So no more than one is beside an arena that inputs are copied into.
    """

    def __init__(self, graph: Graph, make: Callable[[Input], Any]) -> None:
        self._items, self._make = {item.name: item for item in graph.inputs}, make

    def __getitem__(self, name: str) -> Any:
        return self._make(self._items[name])

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


class _Maker:
    """Makes inputs and kernels, and runs them."""

    def __init__(
        self, allocator: Allocator, seed: int, watch: Callable[[str], None] | None
    ) -> None:
        self._allocator, self._seed, self._watch = allocator, str(seed).encode(), watch

    def run(self, trace: Trace, addresses: Addresses | None = None) -> Replay:
        """One run; its outputs are replaced by hashes."""
        inputs = _Inputs(trace.graph, self._input)
        table = kernel_table(trace, self._kernel if addresses is None else self._without_workspace)
        if trace.copies:
            tables: Tables = LevelTables(trace, table, inputs, self._allocator, True)
        elif addresses is None:
            tables = Tables(trace.graph, table, inputs, self._allocator, True)
        else:
            placer = cast(Placer, self._allocator)
            tables = ArenaTables(trace, table, inputs, placer, addresses)
        found = execute(trace, tables)
        return replace(found, outputs={k: self._hash(v) for k, v in found.outputs.items()})

    def _without_workspace(self, node: Node) -> Kernel:
        """In an arena it has a place already."""
        return self._kernel(replace(node, workspace=0))

    def _kernel(self, node: Node) -> Kernel:
        bases = [
            None if out.view_of is None else node.inputs.index(out.view_of) for out in node.outputs
        ]

        def kernel(*arrays: Any, out: list[Any]) -> list[Any]:
            made = []
            for at, (room, base) in enumerate(zip(out, bases)):
                if base is not None:
                    made.append(self._allocator.view(arrays[base]))
                else:
                    self._allocator.fill(room, self._mix(f"output {at} of {node.name}", arrays))
                    made.append(room)
            workspace = self._allocator.allocate(node.workspace)
            if self._watch is not None:
                self._watch(node.name)
            del workspace
            return made

        return Into(kernel)

    def _mix(self, name: str, arrays: Iterable[Any]) -> bytes:
        """16 bytes that follow from the seed, a name, and the contents of some arrays."""
        parts = [zlib.crc32(self._allocator.host(array)).to_bytes(4, "little") for array in arrays]
        key = hashlib.blake2b(self._seed, digest_size=32).digest()
        text = name.encode("utf-8", "surrogatepass") + b"".join(parts)
        return hashlib.blake2b(text, digest_size=16, key=key).digest()

    def _input(self, item: Input) -> Any:
        array = self._allocator.allocate(item.memory)
        self._allocator.fill(array, self._mix(f"input {item.name}", ()))
        return array

    def _hash(self, array: Any) -> str:
        return hashlib.blake2b(self._allocator.host(array), digest_size=16).hexdigest()
