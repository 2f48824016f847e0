"""The replay itself: steps in, values out, free of any framework.

The tables here hold exactly what the memory model says is live, and refer to
nothing else: what a step frees is gone unless somebody else holds it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Any, NoReturn, cast

from schedule.errors import BadInput, KernelError, is_out_of_memory
from schedule.executors.contract import Allocator, Backend, Into, Kernel, LevelPeak, Replay
from schedule.executors.tracking import Ledger
from schedule.graph import Graph
from schedule.memory import Trace

_WITHOUT_SIZES = " (check_sizes=False, where its unit isn't the byte)"


def execute(trace: Trace, tables: Tables) -> Replay:
    """Run the steps of a verified schedule.

    Parameters
    ----------
    trace
        What `schedule.verify` returned.
    tables
        Made for this run, and empty afterwards.

    Raises
    ------
    BadInput
        An input is missing, or of the wrong kind or size.
    KernelError
        A kernel raised, or returned something else than was declared.

    Notes
    -----
    A few microseconds a step beside the kernels.
    """
    started = time.perf_counter()
    try:
        tables.load()
        with tables.backend.running():
            tables.run(trace.codes.tolist())
        return Replay(
            outputs=tables.outputs(),
            backend=tables.backend.name,
            steps=len(trace.codes),
            runs=int(trace.runs.sum()),
            promised_peak=trace.peak if tables.promised is None else tables.promised,
            measured_peak=tables.ledger.peak,
            seconds=time.perf_counter() - started,
            arena=tables.arena_bytes,
            levels=tables.level_peaks(),
        )
    finally:
        tables.clear()  # an exception's traceback may outlive the run


class Tables:
    """What is live during one run.

    `values` holds the array of every live tensor. `roots` holds, for every
    storage that some live tensor lies on, the array that owns it: a node that
    reruns while its output's storage is still there gets that array back.

    Parameters
    ----------
    graph
        Whose schedule is run.
    kernels
        By node number; None for a node that doesn't run.
    inputs
        Arrays by name; freed inputs are removed from a mutable mapping.
    backend
        Of all arrays.
    check_sizes
        Whether sizes have to be the declared ones, in bytes.
    """

    #: Bytes that are promised, where that isn't the schedule's peak; and those of the arena.
    promised: int | None = None
    arena_bytes: int | None = None

    def __init__(
        self,
        graph: Graph,
        kernels: Sequence[Kernel | None],
        inputs: Mapping[str, Any],
        backend: Backend,
        check_sizes: bool,
    ) -> None:
        layout = graph.layout
        self.graph, self.kernels, self.given = graph, kernels, inputs
        self.backend, self.check_sizes = backend, check_sizes
        self.reads = [[layout.tensor_id[t] for t in node.inputs] for node in graph.nodes]
        self.writes = layout.outputs_of
        self.base = [-1] * layout.n_inputs
        self.base += [
            -1 if out.view_of is None else layout.tensor_id[out.view_of]
            for node in graph.nodes
            for out in node.outputs
        ]
        self.storage: list[int] = layout.storage.tolist()
        self.memory: list[int] = layout.memory.tolist()
        self.workspace: list[int] = layout.workspace.tolist()
        self.values: list[Any] = [None] * layout.n_tensors
        self.roots: list[Any] = [None] * layout.n_tensors
        self.held = [0] * layout.n_tensors  # live tensors on each storage
        self.owner: dict[int, int] = {}  # id of a live storage -> its number
        self.ledger = Ledger()

    def load(self) -> None:
        """Make the inputs live."""
        for tensor, item in enumerate(self.graph.inputs):
            if item.name not in self.given:
                raise BadInput(f"input {item.name!r} is missing; the graph needs an array for it")
            array = self._settled(tensor, self._input(item.name, item.memory))
            self.values[tensor] = self.roots[tensor] = array
            self.held[tensor] = 1
        self.ledger.note()

    def _settled(self, tensor: int, array: Any) -> Any:
        """An input as the kernels get it: the caller's own."""
        storage = self.backend.storage(array)
        # A slice of something larger counts as itself: the rest is the caller's.
        self.ledger.add(storage, self.backend.array_bytes(array))
        self.owner.setdefault(id(storage), tensor)
        return array

    def _input(self, name: str, memory: int) -> Any:
        array = self.backend.array(self.given[name])
        if array is None:
            raise BadInput(
                f"input {name!r} is {described(self.given[name])}; this replay runs on"
                f" {self.backend.kind}s"
            )
        size = self.backend.array_bytes(array)
        if self.check_sizes and size != memory:
            raise BadInput(
                f"input {name!r} has {size} bytes ({self.backend.describe(array)}); the graph"
                f" says {memory}{_WITHOUT_SIZES}"
            )
        return array

    def run(self, codes: Iterable[int]) -> None:
        """All steps in order."""
        compute, free = self._compute, self._free
        for at, code in enumerate(codes):
            if code >= 0:
                compute(code, at)
            else:
                free(~code)

    def _compute(self, node: int, at: int) -> None:
        """One run of a node; no local name outlives it."""
        kernel = self.kernels[node]
        assert kernel is not None, "every node of the schedule has a kernel"
        values = self.values
        try:
            reads = [values[tensor] for tensor in self.reads[node]]
            if isinstance(kernel, Into):
                found = kernel.kernel(*reads, out=self._rooms(node))
            else:
                found = kernel(*reads)
            del reads
        except Exception as error:
            if is_out_of_memory(error):
                raise
            message = f"its kernel raised {type(error).__name__}: {error}"
            if isinstance(error, TypeError):  # another number of arguments, maybe
                message += f"; it is given what the node reads: {self._names(node)}"
            raise self._error(node, at, message) from error
        arrays = self._arrays(node, at, found)
        del found
        fresh: dict[int, int] = {}  # id of a storage that this run made -> its tensor
        # All are held until all are admitted: an id is one storage's only while that lives.
        arrays = [
            self._admit(node, at, tensor, array, fresh)
            for tensor, array in zip(self.writes[node], arrays)
        ]
        self.ledger.note(self.workspace[node])
        for tensor, array in zip(self.writes[node], arrays):
            if values[tensor] is None:
                self._attach(tensor, array)

    def _rooms(self, node: int) -> list[Any]:
        """Flat bytes for each output, to be written to; None for a view."""
        return [
            None if self.base[tensor] >= 0 else self._room(tensor) for tensor in self.writes[node]
        ]

    def _room(self, tensor: int) -> Any:
        return cast(Allocator, self.backend).allocate(self.memory[tensor])

    def _arrays(self, node: int, at: int, found: Any) -> list[Any]:
        """What a kernel returned as arrays, as many as the node writes."""
        wanted = self.writes[node]
        listed = found if isinstance(found, (tuple, list)) else (found,)
        if len(listed) != len(wanted):
            names = ", ".join(repr(self.graph.layout.tensor_names[t]) for t in wanted)
            raise self._error(
                node, at, f"its kernel returned {_counted(len(listed))} for {len(wanted)}: {names}"
            )
        arrays = [self.backend.array(value) for value in listed]
        for tensor, value, array in zip(wanted, listed, arrays):
            if array is None:
                name = self.graph.layout.tensor_names[tensor]
                raise self._error(
                    node, at, f"{name!r} is {described(value)}, not a {self.backend.kind}"
                )
        return arrays

    def _admit(self, node: int, at: int, tensor: int, array: Any, fresh: dict[int, int]) -> Any:
        """Check that an output has the declared size, and memory of its own or its base's.

        Returns what becomes the tensor: the output itself.
        """
        backend, base = self.backend, self.base[tensor]
        storage = backend.storage(array)
        if base >= 0:
            if storage is not backend.storage(self.values[base]):
                self._refuse_copy(node, at, tensor)
            return array
        size, key = backend.storage_bytes(storage), id(storage)
        if self.check_sizes and size != self.memory[tensor]:
            self._refuse_size(node, at, tensor, array)
        if size:  # two empty arrays share nothing, even where they are one object
            other = self.owner.get(key, fresh.get(key, tensor))
            if other != tensor:
                self._refuse_alias(node, at, tensor, other)
        fresh[key] = tensor
        self.ledger.follow(storage, size)
        return array

    def _attach(self, tensor: int, array: Any) -> None:
        """Make an output live, on its old storage where that is still there."""
        storage = self.storage[tensor]
        self.held[storage] += 1
        if storage == tensor:
            if self.roots[tensor] is None:
                self.roots[tensor] = array
                self.owner[id(self.backend.storage(array))] = tensor
            else:
                array = self.roots[tensor]
        self.values[tensor] = array

    def _refuse_copy(self, node: int, at: int, tensor: int) -> NoReturn:
        names = self.graph.layout.tensor_names
        raise self._error(
            node,
            at,
            f"{names[tensor]!r} has memory of its own; the graph says that it is a view of"
            f" {names[self.base[tensor]]!r}",
        )

    def _refuse_alias(self, node: int, at: int, tensor: int, other: int) -> NoReturn:
        names = self.graph.layout.tensor_names
        raise self._error(
            node,
            at,
            f"{names[tensor]!r} shares the memory of {names[other]!r}; return a copy, or say"
            f" view_of in the graph",
        )

    def _refuse_size(self, node: int, at: int, tensor: int, array: Any) -> NoReturn:
        backend = self.backend
        size, own = backend.storage_bytes(backend.storage(array)), backend.array_bytes(array)
        part = "" if size == own else f", {own} of them shown: return a copy of that part"
        raise self._error(
            node,
            at,
            f"{self.graph.layout.tensor_names[tensor]!r} takes {size} bytes"
            f" ({backend.describe(array)}{part}); the graph says {self.memory[tensor]}"
            f"{_WITHOUT_SIZES}",
        )

    def _free(self, tensor: int) -> None:
        if tensor < len(self.graph.inputs) and isinstance(self.given, MutableMapping):
            self.given.pop(self.graph.inputs[tensor].name, None)  # else it would live on there
        self.values[tensor] = None
        storage = self.storage[tensor]
        self.held[storage] -= 1
        if not self.held[storage]:
            self.owner.pop(id(self.backend.storage(self.roots[storage])), None)
            self.roots[storage] = None

    def outputs(self) -> dict[str, Any]:
        """The graph's outputs by name."""
        number = self.graph.layout.tensor_id
        return {name: self.values[number[name]] for name in self.graph.outputs}

    def level_peaks(self) -> dict[str, LevelPeak]:
        """Nothing is below the device here."""
        return {}

    def clear(self) -> None:
        """Refer to no array any more."""
        self.values.clear()
        self.roots.clear()
        self.owner.clear()
        self.ledger.close()
        self.given, self.kernels = {}, ()

    def _names(self, node: int) -> str:
        names = self.graph.layout.tensor_names
        return ", ".join(repr(names[tensor]) for tensor in self.reads[node]) or "nothing"

    def _error(self, node: int, at: int, message: str) -> KernelError:
        return KernelError(f"node {self.graph.layout.node_names[node]!r} (step {at}): {message}")


def described(value: object) -> str:
    """What `value` is, for messages: None, or its type with its module."""
    if value is None:
        return "None"
    kind = type(value)
    name = (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    dtype = getattr(value, "dtype", None)
    return f"{name} of {dtype}" if str(dtype) == "object" else name


def _counted(number: int) -> str:
    return "1 array" if number == 1 else f"{number} arrays"
