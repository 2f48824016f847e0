"""Experimental in PyTorch: what Inductor's code will take, without writing its kernels.

Inductor lowers and schedules a pass as it would to run it, and writes its code, which is
read and not compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from torch import fx

from schedule.log import LOG
from schedule.torch.gauges import gauge_of
from schedule.torch.joint import nbytes, storage_of
from schedule.torch.lowered import Lowered, lowered
from schedule.torch.trials import FAILURES, filled


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What the two passes of a step take.

    Attributes
    ----------
    forward, backward
        Peak in bytes while it runs, beyond the tensors that are there all along.
    kernels
        Of both, calls of libraries included.
    passes
        Both, as they were lowered.
    """

    forward: int
    backward: int
    kernels: int
    passes: tuple[Lowered, ...] = field(default=(), compare=False, repr=False)

    @property
    def peak(self) -> int:
        """Of the step, beyond what is there all along."""
        return max(self.forward, self.backward)


def rehearse(
    forward: fx.GraphModule,
    backward: fx.GraphModule,
    n_results: int,
    *,
    visible: Sequence[int] = (),
    measures: bool = False,
    most: int | None = None,
    keeps_order: bool = False,
) -> Rehearsal:
    """The peaks of two passes as Inductor will run them.

    Parameters
    ----------
    forward, backward
        As a partition function returns them; they are left as they are.
    n_results
        How many of the forward pass's outputs are the step's.
    visible
        Places of those that a caller sees.
    measures
        Whether what libraries take while they run is counted: each call of one is run
        twice by itself, on made-up numbers, the first time that such a call is met.
    most
        Where what lies between the passes has more bytes, that is all that is said, and
        nothing is lowered.
    keeps_order
        Whether nothing is fused across a call of a library.

    Returns
    -------
    Rehearsal
        Counted: what the passes make, each storage once, and the gradients that
        come in, as long as the backward pass runs. Not counted: what both are given
        (parameters, buffers, the batch).

    Notes
    -----
    What compiling takes but for the compiler; what was lowered is handed to it.
    """
    between = bytes_between(forward, backward, n_results)
    if most is not None and between > most:
        return Rehearsal(0, between, 0)
    space = _space if measures else None
    forth = lowered(
        forward,
        is_backward=False,
        visible=visible,
        strides={},
        donated=(),
        keeps_order=keeps_order,
    )
    first = _counted(forth, space, {})
    held = {key: size for made in first.left[:n_results] for key, size in made.items()}
    given = _placeholders(backward)
    saved, coming = _saved(forward, backward, n_results)
    passed = {
        str(given[there].target): {k: size for k, size in first.left[here].items() if k not in held}
        for here, there in saved
    }
    strides = {there: first.strides[here] for here, there in saved if first.strides[here]}
    back = lowered(
        backward,
        is_backward=True,
        visible=_visible(backward),
        strides=strides,
        donated=_donated(forward, backward, n_results),
        keeps_order=keeps_order,
    )
    second = _counted(back, space, passed)
    gradients = {storage_of(value): nbytes(value) for value in coming}
    beside = sum(held.values()) + sum(gradients.values())
    kernels = first.kernels + second.kernels
    return Rehearsal(first.peak, second.peak + beside, kernels, (forth, back))


def bytes_between(forward: fx.GraphModule, backward: fx.GraphModule, n_results: int) -> int:
    """Bytes of what a forward pass leaves for the backward pass, and of gradients that come in.

    At least: of what is saved as a part of something larger, Inductor may make that part.
    """
    there = {storage_of(node.meta["val"]) for node in _placeholders(forward) if _has_memory(node)}
    ends: Any = forward.graph.output_node().args[0]
    saved, coming = _saved(forward, backward, n_results)
    made = [*(ends[here].meta["val"] for here, _ in saved), *coming]
    sizes = dict.fromkeys(map(storage_of, made), 0)
    for value in made:
        size = min(nbytes(value), value.numel() * value.element_size())
        sizes[storage_of(value)] = max(sizes[storage_of(value)], size)
    return sum(size for storage, size in sizes.items() if storage not in there)


def _saved(
    forward: fx.GraphModule, backward: fx.GraphModule, n_results: int
) -> tuple[list[tuple[int, int]], list[torch.Tensor]]:
    """Tensors that one pass leaves for the other, and the gradients that come in.

    Of each of the first its place among the forward pass's outputs, and among the backward
    pass's inputs: they have the same order, but not the same names, where a node was copied.
    """
    ends: Any = forward.graph.output_node().args[0]
    here = [at for at in range(n_results, len(ends)) if _has_memory(ends[at])]
    given = _placeholders(backward)
    there = [at for at, node in enumerate(given) if _has_memory(node)]
    coming = [given[at].meta["val"] for at in there[len(here) :]]
    return list(zip(here, there)), coming


def _visible(backward: fx.GraphModule) -> list[int]:
    """Places of the gradients whose strides are to be as captured."""
    from torch._inductor import config

    ends: Any = backward.graph.output_node().args[0]
    seen = ends if config.bw_outputs_user_visible else ()
    return [at for at, end in enumerate(seen) if isinstance(end, fx.Node)]


def _donated(forward: fx.GraphModule, backward: fx.GraphModule, n_results: int) -> list[int]:
    """Places of what the backward pass may write into: tensors of nobody else's memory."""
    from torch._functorch import config
    from torch._functorch._aot_autograd.graph_compile import collect_fw_donated_buffer_idxs

    if not config.donated_buffer:
        return []
    ends, gradients = (_values(each.graph.output_node().args[0]) for each in (forward, backward))
    return collect_fw_donated_buffer_idxs(
        _values(_placeholders(forward)), ends[:n_results], gradients, ends[n_results:]
    )


def _values(nodes: Any) -> list[Any]:
    return [node.meta.get("val") if isinstance(node, fx.Node) else None for node in nodes]


def _placeholders(module: fx.GraphModule) -> list[fx.Node]:
    return [node for node in module.graph.nodes if node.op == "placeholder"]


def _has_memory(node: Any) -> bool:
    return isinstance(node, fx.Node) and isinstance(node.meta.get("val"), torch.Tensor)


class _Pass(NamedTuple):
    """What a pass has at most, its kernels, and of each result strides and what memory is new."""

    peak: int
    kernels: int
    left: list[dict[Any, int]]
    strides: list[tuple[int, ...]]


def _counted(
    made: Lowered, space: Callable[[Any], int] | None, passed: Mapping[str, Mapping[Any, int]]
) -> _Pass:
    """What a pass takes; `passed` is what it is to free, as bytes by storage, by name."""
    from torch._inductor.virtualized import V

    graph = made.graph
    with V.set_graph_handler(graph), V.set_fake_mode(made.fake):
        count = _Count(graph, passed, space)
        made_so = [_strides(result) for result in graph.graph_outputs]
        return _Pass(count.peak(), len(graph.scheduler.nodes), count.left(), made_so)


#: What calls of libraries take while they run, as it was measured in this process.
_SPACES: dict[str, int] = {}


def _space(call: Any) -> int:
    """Bytes that a call of a library takes while it runs, beyond its results; 0: unknown."""
    from torch._inductor import ir
    from torch._inductor.select_algorithm import extern_kernels
    from torch._subclasses.fake_tensor import unset_fake_temporarily

    name = call.get_kernel_name() or ""
    is_own = name.startswith(("extern_kernels.", "torch.ops.aten."))
    if not is_own or not all(isinstance(read, ir.IRNode) for read in call.inputs):
        return 0
    reads = [_like(read) for read in call.inputs]
    results = [_like(call)] if isinstance(call, ir.ExternKernelOut) else []
    described = [(tuple(read.size()), read.stride(), read.dtype) for read in reads]
    key = repr((name, described, call.constant_args, call.kwargs))
    if key in _SPACES:
        return _SPACES[key]
    _SPACES[key] = 0
    gauge = gauge_of(torch.device("cpu"), times=False, memory=True)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), unset_fake_temporarily():
            made: Any = [filled(read) for read in reads]
            if isinstance(call, ir.FallbackKernel):
                args, kwargs = call.unflatten_args(made, call.constant_args)
                kernel: Any = call.op_overload
                kernel = partial(kernel, *args, **kwargs)
            else:
                kernel = getattr(extern_kernels, name.removeprefix("extern_kernels."))
                kernel = partial(kernel, *made, *call.constant_args, **call.kwargs)
            if results:
                kernel = partial(kernel, out=filled(results[0]))
            kernel()  # what a library sets up once isn't the call's
            gauge.take(kernel)
    except FAILURES as error:
        LOG.debug("compiled: %s can't be run by itself: %s", name, error)
    else:
        _SPACES[key] = gauge.found()[0].workspace
    return _SPACES[key]


def _strides(result: Any) -> tuple[int, ...]:
    """As a pass leaves a tensor; of what is none it is empty."""
    return tuple(map(int, result.get_stride())) if result.has_tensor_output() else ()


def _like(buffer: Any) -> torch.Tensor:
    """A tensor without memory, as a buffer of Inductor's is."""
    from torch._inductor.virtualized import V

    size, stride = (list(map(int, each)) for each in (buffer.get_size(), buffer.get_stride()))
    with V.fake_mode:
        return torch.empty_strided(size, stride, dtype=buffer.get_dtype(), device="cpu")


@dataclass
class _Count:
    """Follows the storages of generated code, line by line."""

    graph: Any
    passed: Mapping[str, Mapping[Any, int]]
    space: Callable[[Any], int] | None = None
    now: int = 0
    most: int = 0
    _on: dict[str, set[Any]] = field(default_factory=dict)  # by name: its storages
    _names: dict[Any, int] = field(default_factory=dict)  # by storage: how many names hold it
    _size: dict[Any, int] = field(default_factory=dict)
    _parts: dict[str, list[str]] = field(default_factory=dict)  # by call: its results' names

    def peak(self) -> int:
        """The most that is there at once."""
        for name, made in self.passed.items():
            for storage, size in made.items():
                self._hold(name, [storage], size)
        lines = self.graph.wrapper_code.lines
        for line in lines:
            if type(line).__name__ == "MultiOutputLine":
                self._parts.setdefault(line.arg_name, []).append(line.result_name)
        for line in lines:
            take = self._BY_LINE.get(type(line).__name__)
            if take is not None:
                take(self, line)
        return self.most

    def left(self) -> list[dict[Any, int]]:
        """Of each result: its storages, and their bytes; what was given isn't in it."""
        names = [result.maybe_get_name() for result in self.graph.graph_outputs]
        on = [self._on.get(name, ()) for name in names]
        return [{("forward", key): self._size[key] for key in found} for found in on]

    def _hold(self, name: str, storages: Iterable[Any], size: int = 0) -> None:
        for storage in storages:
            if not self._names.get(storage):
                self._size[storage] = size
                self._names[storage] = 0
                self.now += size
            self._names[storage] += 1
            self._on.setdefault(name, set()).add(storage)
        self.most = max(self.most, self.now)

    def _drop(self, name: str) -> None:
        for storage in self._on.pop(name, ()):
            self._names[storage] -= 1
            if not self._names[storage]:
                self.now -= self._size[storage]

    def _bytes(self, buffer: Any) -> int:
        from torch._inductor.utils import get_dtype_size

        length = self.graph.get_allocation_storage_size(buffer)
        return int(length) * get_dtype_size(buffer.get_dtype())

    def _allocate(self, line: Any) -> None:
        if line.node.get_name() not in self.graph.removed_buffers:
            self._hold(line.node.get_name(), [line.node.get_name()], self._bytes(line.node))

    def _free_unless_reused(self, line: Any) -> None:
        if not line.is_reused:
            self._drop(line.node.get_name())

    def _free(self, line: Any) -> None:
        self._drop(line.node.get_name())

    def _reuse(self, line: Any) -> None:
        self._hold(line.reused_as.get_name(), self._on.get(line.node.get_name(), ()))
        if line.delete_old:
            self._drop(line.node.get_name())

    def _reinterpret(self, line: Any) -> None:
        self._hold(line.reused_as.get_name(), self._on.get(line.node.get_name(), ()))

    def _make(self, line: Any) -> None:
        from torch._inductor import ir

        node = line.node
        name = node.get_name()
        if not isinstance(node.layout, (ir.MultiOutputLayout, ir.NoneLayout)):
            self._hold(name, [name], self._bytes(node))
        for part in self._parts.get(name, ()):  # all are there at once, whenever they are named
            self._come(part, name)
        self._run(line)

    def _run(self, line: Any) -> None:
        """A library is called: its results are there, and what it takes besides goes again."""
        if self.space is not None:
            self.most = max(self.most, self.now + self.space(line.node))

    def _take_out(self, line: Any) -> None:
        """One of several results: it is there while it has a name, or all of them have one."""
        if line.result_name not in self._on.get(line.arg_name, ()):
            self._come(line.result_name, line.arg_name)
        self._hold(line.result_name, self._on.get(line.arg_name, set()) & {line.result_name})

    def _come(self, part: str, call: str) -> None:
        """One of the results of a call is there with the others."""
        from torch._inductor import ir

        made = self.graph.get_buffer(part)
        if not isinstance(made.get_output_spec(), ir.NoneLayout):
            self._hold(call, [part], self._bytes(made))

    #: What each kind of generated line does to storages; others do nothing.
    _BY_LINE: ClassVar = {
        "AllocateLine": _allocate,
        "FreeIfNotReusedLine": _free_unless_reused,
        "FreeLine": _free,
        "ReuseLine": _reuse,
        "ReinterpretLine": _reinterpret,
        "ExternKernelAllocLine": _make,
        "ExternKernelOutLine": _run,
        "MultiOutputLine": _take_out,
    }
