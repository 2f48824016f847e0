"""What is experimental in PyTorch: capturing a step, and giving Inductor its split.

What lies under `torch._dynamo`, `torch._functorch`, `torch._guards`,
`torch._inductor` and `torch._subclasses` is experimental: this is the only
module that touches it. It is tested on the PyTorch that CI installs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from schedule.errors import CannotCapture, is_out_of_memory
from schedule.torch.joint import Joint, Source, joint_of, unknown

Leaves = list[Any]
Run = Callable[..., Any]


def capture(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Joint:
    """Capture the training step of a module that returns what is differentiated.

    Parameters
    ----------
    module
        In the mode (`train`, `eval`) and under the autocast it will be run with.
    args, kwargs
        Example arguments: their shapes, types and devices count, and the values
        of those that are no tensors.

    Raises
    ------
    CannotCapture
        With the reason that PyTorch gives, and what to do.

    Notes
    -----
    Nothing is computed; some seconds for thousands of nodes.
    """
    from torch._guards import TracingContext, tracing

    with _same_random_state(), ExitStack() as stack:
        captured = _dynamo(module, args, kwargs)
        stack.enter_context(tracing(TracingContext(captured.meta["fake_mode"])))
        exported = _export(stack, captured, args, kwargs)
        return joint_of(exported, _names(captured, module))


def capture_traced(traced: nn.Module, args: Sequence[Any]) -> Joint:
    """The same of what `torch.compile` traced already, whose parameters are arguments."""
    with _same_random_state(), ExitStack() as stack:
        return joint_of(_export(stack, traced, args, {}), {})


def current_frame() -> int | None:
    """Which piece of a program `torch.compile` is at; None: it isn't compiling."""
    from torch._guards import CompileContext

    current = CompileContext.current_compile_id()
    return None if current is None else current.frame_id


@contextmanager
def fake_tensors() -> Iterator[None]:
    """Make tensors that have shapes, but no memory.

    Truncated normal distributions are drawn by looking at values; here nobody
    needs them, and models that begin with them can be made all the same.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True), ExitStack() as stack:
        name = "_no_grad_trunc_normal_"
        if hasattr(nn.init, name):  # elsewhere the factory says what it can't do
            stack.callback(setattr, nn.init, name, getattr(nn.init, name))
            setattr(nn.init, name, lambda tensor, *_, **__: tensor)
        yield


@contextmanager
def _same_random_state() -> Iterator[None]:
    """Leave the random states as they were."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    with torch.random.fork_rng(devices=list(devices)):
        yield


def _dynamo(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    from torch._dynamo import config
    from torch._dynamo.functional_export import _dynamo_graph_capture_for_export

    patched: Any = config.patch(assume_static_by_default=True, automatic_dynamic_shapes=False)
    try:
        with patched:
            return _dynamo_graph_capture_for_export(module)(*args, **kwargs)
    except Exception as error:  # whatever the model's own code raises, too
        if is_out_of_memory(error):
            raise
        raise CannotCapture(_reason(error)) from error


def _export(stack: ExitStack, captured: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    from torch._functorch.aot_autograd import aot_export_joint_with_descriptors

    try:
        return aot_export_joint_with_descriptors(stack, captured, tuple(args), dict(kwargs))
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise CannotCapture(_reason(error)) from error


def _names(captured: nn.Module, module: nn.Module) -> dict[str, str]:
    """The module's name of each parameter and buffer, by the captured name.

    They are the same tensors; PyTorch's own table of names leaves some out.
    """
    found: dict[int, str] = {}
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        found.setdefault(id(tensor), name)
    tensors = [*captured.named_parameters(), *captured.named_buffers()]
    return {name: found[id(tensor)] for name, tensor in tensors if id(tensor) in found}


def _reason(error: BaseException) -> str:
    """The first lines of what PyTorch says, and what still works."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join(lines[:3])
    if len(said) > 400:
        said = said[:400] + "…"
    advice = "the model itself is unchanged and trains as before"
    if "unrecognized type" in said or "UserDefined" in said:
        advice = (
            "it returns something that is no tensor; pass loss=lambda output: output.loss (or what"
            " it is differentiated by), or have it return tensors only"
        )
    return f"PyTorch can't capture the training step: {type(error).__name__}: {said}; {advice}"


def without_views(value: Any) -> Any:
    """The same, nested as it was, with memory of its own for each view.

    Dynamo can't follow a view among fake tensors to what it is a view of.
    """
    return pytree.tree_map(
        lambda item: item.clone() if isinstance(item, torch.Tensor) and item._is_view() else item,
        value,
    )


def flattened(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Leaves, Any]:
    """Arguments as a flat list, and how they were nested."""
    return pytree.tree_flatten((tuple(args), dict(kwargs)))


def nested(leaves: Leaves, spec: Any) -> Any:
    """The inverse: outputs as the module returns them."""
    return pytree.tree_unflatten(leaves, spec)


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
    given = {s.key: node for node, s in sources.items() if s.kind == "argument"}
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
        nesting=None,
    )


def _end_of(node: fx.Node, number: int) -> Source:
    """Where a placeholder's value comes from."""
    if _is_tangent(node):
        return Source("tangent", number)
    kind: Any = node.meta.get("desc")
    if type(kind).__name__ == "PlainAOTInput":
        return Source("argument", kind.idx)
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
