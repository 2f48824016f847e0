"""Experimental in PyTorch: a pass as Inductor lowers, schedules and writes it, once for all.

What a rehearsal lowered is handed to the compilation of the same pass, which would lower
it again.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import fx

from schedule.log import LOG
from schedule.torch.indexing import simplified_once
from schedule.torch.units import Function, Kernel, compiled_together


class Lowered(NamedTuple):
    """A pass whose code is written, and not compiled.

    Attributes
    ----------
    graph
        Inductor's, with what its scheduler made of it.
    code
        The module's text, as Inductor takes it from a graph.
    fake
        The mode of its tensors without memory.
    likeness
        All that the code depends on: `likeness_of`.
    """

    graph: Any
    code: Any
    fake: Any
    likeness: Any


def copied(module: fx.GraphModule) -> fx.GraphModule:
    """The same graph on the same constants: fake tensors around them can't be copied."""
    graph = fx.Graph()
    end = module.graph.output_node()
    made: dict[fx.Node, fx.Node] = {}
    for node in module.graph.nodes:
        made[node] = graph.node_copy(node, made.__getitem__)
    made[end].meta = dict(end.meta)
    return fx.GraphModule(module, graph)


def lowered(
    module: fx.GraphModule,
    *,
    is_backward: bool,
    visible: Sequence[int],
    strides: Mapping[int, tuple[int, ...]],
    donated: Sequence[int],
    keeps_order: bool = False,
) -> Lowered:
    """A pass as Inductor will run it, without compiling its kernels; the module is left as it is.

    Parameters
    ----------
    module
        The pass.
    is_backward
        Which of the two.
    visible
        Places of the outputs that a caller sees, which keep their strides.
    strides
        Of what is given, by place, where the pass before made others than were captured.
    donated
        Places of what may be written over.
    keeps_order
        Whether nothing is fused across a call of a library.
    """
    from torch._guards import detect_fake_mode
    from torch._inductor import compile_fx
    from torch._inductor.debug import DebugContext
    from torch._inductor.decomposition import select_decomp_table
    from torch._inductor.graph import GraphLowering
    from torch._inductor.virtualized import V

    module = copied(module)
    inputs = [node.meta["val"] for node in module.graph.find_nodes(op="placeholder")]
    fake = detect_fake_mode(inputs)
    assert fake is not None, "passes of a captured step are on fake tensors"
    own: Any = compile_fx
    module.graph.output_node().meta["user_visible_output_idxs"] = list(visible)
    own._recursive_record_user_visible_output_idxs(module)
    own.view_to_reshape(module)
    changed = {at for at, stride in strides.items() if inputs[at].stride() != stride}
    with ExitStack() as stack:
        for context in (
            torch.no_grad(),
            V.set_fake_mode(fake),
            V.set_debug_handler(DebugContext()),
            own.maybe_disable_comprehensive_padding(inputs),
            fusing(keeps_order),
            simplified_once(),
        ):
            stack.enter_context(context)
        if changed:
            with fake:
                for at in changed:
                    inputs[at] = inputs[at].as_strided(inputs[at].size(), strides[at])
            own.fake_tensor_prop(module, inputs)
        own._recursive_record_original_output_strides(module)
        own._recursive_post_grad_passes(module, is_inference=False)
        likeness = likeness_of(module, inputs, is_backward=is_backward, donated=donated)
        graph = GraphLowering(
            module,
            example_inputs=inputs,
            shape_env=fake.shape_env,
            is_backward=is_backward,
            get_decomp_fn=select_decomp_table,
        )
        graph.bw_donated_idxs = list(donated)
        graph.freeze_runtime_asserts()
        stack.enter_context(V.set_graph_handler(graph))
        stack.enter_context(V.set_extern_kernel_nodes([]))
        graph.run(*inputs)
        # Which buffers a kernel reuses, and which it keeps to itself, is known only with its code.
        return Lowered(graph, graph.codegen(), fake, likeness)


def likeness_of(
    module: fx.GraphModule, inputs: Sequence[Any], *, is_backward: bool, donated: Sequence[int]
) -> tuple[Any, ...]:
    """What a pass's code depends on, beside settings: equal where the code would be the same."""
    nodes = [
        (n.op, n.name, str(n.target), repr(n.args), repr(n.kwargs)) for n in module.graph.nodes
    ]
    values = [_form(n.meta.get("val")) for n in module.graph.nodes if n.op != "output"]
    constants = [getattr(module, n.target) for n in module.graph.find_nodes(op="get_attr")]
    end = module.graph.output_node().meta
    ends = (end["user_visible_output_idxs"], repr(end.get("original_output_strides")))
    given = [_form(value) for value in inputs]
    return (
        nodes,
        values,
        [_Constant(each) for each in constants],
        ends,
        given,
        is_backward,
        [*donated],
    )


@dataclass(frozen=True, eq=False)
class _Constant:
    """A tensor in a graph, which is as another of the same content."""

    value: Any

    def __eq__(self, other: object) -> bool:
        from torch._subclasses.fake_tensor import unset_fake_temporarily

        one, two = self.value, getattr(other, "value", None)
        if one is two or not (isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor)):
            return one is two
        with unset_fake_temporarily():
            return bool(_form(one) == _form(two) and torch.equal(one, two))

    def __hash__(self) -> int:
        return hash(repr(_form(self.value)))


def _form(value: Any) -> Any:
    """Shapes, types and places of tensors; what else there is, as it is."""
    if isinstance(value, torch.Tensor):
        place = value.size(), value.stride(), value.storage_offset()
        return *place, value.dtype, value.device, value.layout
    if isinstance(value, (list, tuple)):
        return [_form(each) for each in value]
    return repr(value)


@contextmanager
def fusing(keeps_order: bool) -> Iterator[None]:
    """How Inductor fuses meanwhile: as usual, or nothing across a call of a library.

    A plan has each kernel where its memory is free. Fused across a product, what it
    recomputes is there before that, or what it reads stays until after. That is asked
    first: most pairs are far apart, and what Inductor asks of each takes longer.
    """
    from torch._inductor.scheduler import Scheduler

    own: Any = Scheduler
    usual = own.can_fuse
    calls: dict[int, list[int]] = {}  # a scheduler, by its identity: it is there all the while

    def is_near(scheduler: Any, one: Any, two: Any) -> bool:
        if id(scheduler) not in calls:
            libraries = (node.min_order for node in scheduler.nodes if node.is_extern())
            calls[id(scheduler)] = sorted(libraries)
        first, second = sorted([(one.min_order, one.max_order), (two.min_order, two.max_order)])
        known = calls[id(scheduler)]
        return bisect(known, second[0]) == bisect(known, first[1])

    def can_fuse(scheduler: Any, one: Any, two: Any, *given: Any, **more: Any) -> bool:
        return is_near(scheduler, one, two) and bool(usual(scheduler, one, two, *given, **more))

    if keeps_order:
        own.can_fuse = can_fuse
    try:
        yield
    finally:
        own.can_fuse = usual


@dataclass
class Handed:
    """What a compilation is given: lowered passes, whether to keep the order of nodes, kernels."""

    passes: list[Lowered] = field(default_factory=list)
    keeps_order: bool = False
    kernels: dict[Kernel, Function] = field(default_factory=dict)


def compiling(handed: Handed) -> Callable[..., Any]:
    """Inductor's compilation of one pass, to which what was lowered before is handed.

    Each is taken out of the list, which may be filled in the meantime, for a pass
    that is the same in all that its code depends on; whatever differs is lowered anew.
    """

    def compile_pass(module: fx.GraphModule, inputs: Sequence[Any], **given: Any) -> Any:
        from torch._inductor.compile_fx import compile_fx_inner

        with ExitStack() as stack:
            for context in (
                _handing(handed.passes),
                fusing(handed.keeps_order),
                compiled_together(handed.kernels),
                simplified_once(),
            ):
                stack.enter_context(context)
            compiled = compile_fx_inner(module, inputs, **given)
        if given.get("is_backward"):  # which is the last of the two
            handed.passes.clear()
            handed.kernels.clear()
        return compiled

    return compile_pass


@contextmanager
def _handing(handed: list[Lowered]) -> Iterator[None]:
    """Have Inductor take a graph that is lowered already; it holds its lock meanwhile."""
    from torch._inductor import compile_fx

    own: Any = compile_fx
    usual = own.GraphLowering

    def graph_of(module: fx.GraphModule, **given: Any) -> Any:
        """A graph as it was rehearsed, or one as usual."""
        made = usual(module, **given)
        is_backward = made.is_backward
        donated = (made.bw_donated_idxs or ()) if is_backward else ()
        likeness = likeness_of(
            module, given["example_inputs"], is_backward=is_backward, donated=donated
        )
        for at, each in enumerate(handed):
            if each.likeness == likeness and _is_usual(made):
                del handed[at]
                return _finished(each, made)
        LOG.debug("compiled: a pass isn't as it was rehearsed, and is lowered anew")
        return made

    own.GraphLowering = graph_of
    try:
        yield
    finally:
        own.GraphLowering = usual


def _is_usual(graph: Any) -> bool:
    """Whether a graph is to be compiled in the way that was rehearsed."""
    unusual = graph.cpp_wrapper, graph.fx_wrapper, graph.aot_mode, graph.is_inference
    return not any(unusual) and not graph.inputs_to_check


def _finished(found: Lowered, asked: Any) -> Any:
    """A rehearsed graph that has no more to do than give its code."""
    graph = found.graph
    graph.graph_id, graph.inputs_to_check = asked.graph_id, asked.inputs_to_check
    graph.example_inputs = asked.example_inputs
    graph.run = lambda *_: None
    graph.codegen = lambda: found.code
    return graph
