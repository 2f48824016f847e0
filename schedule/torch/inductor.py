"""Experimental in PyTorch: giving Inductor the split into saved and recomputed.

What lies under `torch._inductor` and `torch._functorch.partitioners` is touched
here alone. It is tested on the PyTorch that CI installs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import fx

from schedule.errors import CannotCapture
from schedule.torch.joint import Joint, Source, unknown

Run = Callable[..., Any]


class Split(NamedTuple):
    """Names of the nodes that the forward pass keeps, and of those that only it may run."""

    saved: frozenset[str]
    once: frozenset[str]


def compile_split(
    traced: fx.GraphModule, args: Sequence[Any], choose: Callable[[Joint], Split]
) -> Run:
    """Compile with Inductor what `torch.compile` traced; `choose` splits its joint graph.

    What isn't saved is recomputed from what is. Inductor fuses and reorders
    both passes, so that nothing but the split is the caller's.
    """
    from torch._inductor.compile_fx import compile_fx
    from torch._inductor.custom_graph_pass import CustomPartitionerFn

    class Chosen(CustomPartitionerFn):
        def __call__(self, gm: Any, joint_inputs: Any, **given: Any) -> tuple[Any, Any]:
            del joint_inputs  # what is captured doesn't depend on values
            n_results = given["num_fwd_outputs"]
            return _parted(gm, n_results, choose(_joint_to_split(gm, n_results)))

        def uuid(self) -> None:
            """No key: compiled code isn't reused for another budget."""

    # What is compiled for one budget would serve another if it were looked up by its graph.
    patches = {"custom_partitioner_fn": Chosen(), "fx_graph_cache": False}
    return cast(Run, compile_fx(traced, list(args), config_patches=patches))


def _joint_to_split(module: fx.GraphModule, n_results: int) -> Joint:
    """The joint graph as Inductor has it: arguments alone, and buffers written in place."""
    graph = fx.Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    sources: dict[fx.Node, Source] = {}
    mutations = []
    for node in list(graph.nodes):
        if node.op == "placeholder":
            sources[node] = _end_of(node, len(sources))
        elif node.op == "get_attr":
            sources[node] = Source("constant", str(node.target))
        elif node.target is torch.ops.aten.copy_.default:
            into, value = node.args
            mutations.append((sources[into], value))
            graph.erase_node(node)
    ends: Any = graph.output_node().args[0]
    kinds = module.graph.output_node().meta["desc"]
    given = {s.key: node for node, s in sources.items() if s.kind == "input"}
    gradients = [
        (sources[given[kind.grad_of.idx]], node)
        for node, kind in zip(ends[n_results:], kinds[n_results:])
        if isinstance(node, fx.Node)
    ]
    constants = [str(s.key) for s in sources.values() if s.kind == "constant"]
    results = [node for node in ends[:n_results] if _is_made(node)]
    return Joint(
        graph=graph,
        sources=sources,
        constants={name: getattr(module, name) for name in constants},
        mutations=mutations,
        results=list(dict.fromkeys(results)),
        outputs=[],
        gradients=gradients,
    )


def _end_of(node: fx.Node, number: int) -> Source:
    """Where a placeholder's value comes from."""
    if _is_tangent(node):
        return Source("tangent", number)
    kind: Any = node.meta.get("desc")
    if type(kind).__name__ == "PlainAOTInput":
        return Source("input", kind.idx)
    if "Token" in type(kind).__name__:
        raise CannotCapture(
            "the step has operations that are there for what they do (checks, as linalg.inv has"
            " one); under Inductor their order can't be kept: leave the option 'inductor' out"
        )
    raise unknown("input", kind)


def _is_tangent(node: fx.Node) -> bool:
    return type(node.meta.get("desc")).__name__ == "TangentAOTInput"


def _is_made(node: Any) -> bool:
    """Whether it is a tensor that the step makes."""
    made = isinstance(node, fx.Node) and node.op == "call_function"
    return made and isinstance(node.meta.get("val"), torch.Tensor)


def _parted(module: fx.GraphModule, n_results: int, split: Split) -> tuple[Any, Any]:
    """The joint graph in two, as Inductor wants it."""
    from torch._functorch.partitioners import (
        _extract_fwd_bwd_modules,
        reordering_to_mimic_autograd_engine,
    )

    saved = [
        node
        for node in module.graph.nodes
        if node.name in split.saved or (node.op == "placeholder" and not _is_tangent(node))
    ]
    forward, backward = _extract_fwd_bwd_modules(module, saved, [], num_fwd_outputs=n_results)
    for node in reversed(backward.graph.nodes):  # drawing random numbers isn't thought idle
        if node.op == "call_function" and node.name in split.once:
            if node.users:
                raise CannotCapture(f"{node.name!r} must not run twice, and here it would have to")
            backward.graph.erase_node(node)
    return forward, reordering_to_mimic_autograd_engine(backward)
