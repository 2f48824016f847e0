"""Experimental in PyTorch: what Inductor's code will take, without writing its kernels.

Inductor lowers and schedules a pass as it would to run it; of each kernel only its
allocations are decided. What lies under `torch._inductor` is touched here and in
`schedule.torch.inductor` alone.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import fx

from schedule.torch.joint import nbytes, storage_of


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What the two passes of a step take.

    Attributes
    ----------
    forward, backward
        Peak in bytes while it runs, beyond the tensors that are there all along.
    kernels
        Of both, calls of libraries included.
    """

    forward: int
    backward: int
    kernels: int

    @property
    def peak(self) -> int:
        """Of the step, beyond what is there all along."""
        return max(self.forward, self.backward)


def rehearse(forward: fx.GraphModule, backward: fx.GraphModule, n_results: int) -> Rehearsal:
    """The peaks of two passes as Inductor will run them.

    Parameters
    ----------
    forward, backward
        As a partition function returns them; they are left as they are.
    n_results
        How many of the forward pass's outputs are the step's.

    Returns
    -------
    Rehearsal
        Counted: what the passes make, each storage once. Not counted: what they
        are given (parameters, buffers, the batch), the gradients that come in,
        and what libraries take while they run.

    Notes
    -----
    A quarter of what compiling takes, or less.
    """
    ends: Any = forward.graph.output_node().args[0]
    made = {node.name for node in forward.graph.nodes if node.op == "call_function"}
    given = {storage_of(node.meta["val"]) for node in _placeholders(forward) if _has_memory(node)}
    results: list[fx.Node] = [node for node in ends[:n_results] if _has_memory(node)]
    held = {storage_of(node.meta["val"]): nbytes(node.meta["val"]) for node in results}
    held = {key: size for key, size in held.items() if key not in given}
    saved = {
        at: node
        for at, node in enumerate(_placeholders(backward))
        if node.name in made and _has_memory(node)
    }
    passed = {
        at: node
        for at, node in saved.items()
        if storage_of(node.meta["val"]) not in given and storage_of(node.meta["val"]) not in held
    }
    # What is passed on, and lies on no other's memory, is the backward pass's to write into.
    first, n_first = _peak(forward, is_backward=False, passed={}, donated=())
    taken = [storage_of(node.meta["val"]) for node in saved.values()]
    donated = [at for at, node in passed.items() if taken.count(storage_of(node.meta["val"])) == 1]
    second, n_second = _peak(backward, is_backward=True, passed=passed, donated=donated)
    return Rehearsal(first, second + sum(held.values()), n_first + n_second)


def copied(module: fx.GraphModule) -> fx.GraphModule:
    """The same graph on the same constants: fake tensors around them can't be copied."""
    graph = fx.Graph()
    end = module.graph.output_node()
    made: dict[fx.Node, fx.Node] = {}
    for node in module.graph.nodes:
        made[node] = graph.node_copy(node, made.__getitem__)
    made[end].meta = dict(end.meta)
    return fx.GraphModule(module, graph)


def _placeholders(module: fx.GraphModule) -> list[fx.Node]:
    return [node for node in module.graph.nodes if node.op == "placeholder"]


def _has_memory(node: Any) -> bool:
    return isinstance(node, fx.Node) and isinstance(node.meta.get("val"), torch.Tensor)


def _peak(
    module: fx.GraphModule, *, is_backward: bool, passed: dict[int, fx.Node], donated: Sequence[int]
) -> tuple[int, int]:
    """Bytes that a pass has at most, with what it is passed to free; and its kernels."""
    from torch._guards import detect_fake_mode
    from torch._inductor import compile_fx
    from torch._inductor.debug import DebugContext
    from torch._inductor.graph import GraphLowering
    from torch._inductor.virtualized import V

    module = copied(module)
    inputs = [node.meta["val"] for node in _placeholders(module)]
    fake = detect_fake_mode(inputs)
    assert fake is not None, "passes of a captured step are on fake tensors"
    own: Any = compile_fx
    own.view_to_reshape(module)
    with ExitStack() as stack:
        for context in (
            torch.no_grad(),
            V.set_fake_mode(fake),
            V.set_debug_handler(DebugContext()),
        ):
            stack.enter_context(context)
        own._recursive_record_original_output_strides(module)
        own._recursive_post_grad_passes(module, is_inference=False)
        graph = GraphLowering(
            module, example_inputs=inputs, shape_env=fake.shape_env, is_backward=is_backward
        )
        graph.bw_donated_idxs = list(donated)
        graph.freeze_runtime_asserts()
        stack.enter_context(V.set_graph_handler(graph))
        stack.enter_context(V.set_extern_kernel_nodes([]))
        graph.run(*inputs)
        scheduler = _allocated(graph)
        names = [node.name for node in _placeholders(module)]
        return _Count(graph, {names[at]: node for at, node in passed.items()}).peak(), len(
            scheduler.nodes
        )


def _allocated(graph: Any) -> Any:
    """Have a lowered graph's scheduler decide all allocations, and write no kernels."""
    graph.init_wrapper_code()
    graph._update_scheduler()
    scheduler = graph.scheduler
    for device in {node.get_device() for node in scheduler.nodes} - {None}:
        backend = scheduler.get_backend(device)
        backend.codegen_node = types.MethodType(_allocate, backend)
    graph.wrapper_code.push_codegened_graph(graph)
    scheduler.codegen()
    graph.wrapper_code.run_wrapper_ir_passes(False)
    graph.wrapper_code.pop_codegened_graph()
    return scheduler


def _allocate(backend: Any, fused: Any) -> None:
    """What generating a kernel does to buffers: some are reused, some are never written."""
    from torch._inductor.codegen.common import Kernel
    from torch._inductor.virtualized import V

    nodes = fused.get_nodes()
    kernel: Any = Kernel(increase_kernel_count=False)
    with V.set_kernel_handler(kernel):
        for node in nodes:
            node.decide_inplace_update()
            node.mark_run()
    names = {node.get_name() for node in nodes}
    again = _read_again(nodes) if backend.__class__.__name__ == "CppScheduling" else set()
    for node in nodes:
        for buffer in node.get_outputs():
            name = buffer.get_name()
            # It has another's memory, or gives its own; or a second loop reads it.
            if name in kernel.args.inplace_buffers or name in again:
                continue
            if backend.scheduler.can_buffer_be_removed_through_fusion(name, names):
                V.graph.removed_buffers.add(name)


def _read_again(nodes: Sequence[Any]) -> set[str]:
    """What a C++ kernel writes before a reduction and reads after it: in another loop."""
    before: set[str] = set()
    found: set[str] = set()
    written: set[str] = set()
    for node in nodes:
        if not node.is_reduction():
            found |= {read.name for read in node.read_writes.reads} & before
        written |= {buffer.get_name() for buffer in node.get_outputs()}
        if node.is_reduction():
            before = written - {buffer.get_name() for buffer in node.get_outputs()}
    return found


@dataclass
class _Count:
    """Follows the storages of generated code, line by line."""

    graph: Any
    passed: dict[str, fx.Node]
    now: int = 0
    most: int = 0
    _on: dict[str, set[Any]] = field(default_factory=dict)  # by name: its storages
    _names: dict[Any, int] = field(default_factory=dict)  # by storage: how many names hold it
    _size: dict[Any, int] = field(default_factory=dict)
    _parts: dict[str, list[str]] = field(default_factory=dict)  # by call: its results' names

    def peak(self) -> int:
        """The most that is there at once."""
        for name, node in self.passed.items():
            value = node.meta["val"]
            self._hold(name, [storage_of(value)], nbytes(value))
        lines = self.graph.wrapper_code.lines
        for line in lines:
            if type(line).__name__ == "MultiOutputLine":
                self._parts.setdefault(line.arg_name, []).append(line.result_name)
        for line in lines:
            take = self._BY_LINE.get(type(line).__name__)
            if take is not None:
                take(self, line)
        return self.most

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
        "MultiOutputLine": _take_out,
    }
