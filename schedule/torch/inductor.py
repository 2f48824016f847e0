"""Experimental in PyTorch: giving Inductor both passes as a plan has them.

What lies under `torch._inductor` and `torch._functorch.partitioners` is touched
here, in `schedule.torch.rules`, `passes`, `rehearsal`, `lowered`, `units` and
`indexing` alone. It is tested on the PyTorch that CI installs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import fx

from schedule.errors import CannotCapture, is_out_of_memory
from schedule.torch.exported import unknown
from schedule.torch.joint import Joint, Source
from schedule.torch.lowered import Handed, Lowered, compiling, copied
from schedule.torch.passes import Split, is_tangent, parted
from schedule.torch.rehearsal import Rehearsal, rehearse

Run = Callable[..., Any]


#: Says what a split takes; None is Inductor's own. Given a number of bytes it may say no more
#: than that a split takes more.
Rehearse = Callable[[Split | None, int | None], Rehearsal]


def compile_split(
    traced: fx.GraphModule,
    args: Sequence[Any],
    choose: Callable[[Joint, Rehearse], Split | None],
    *,
    measures: bool = False,
) -> Run:
    """Compile with Inductor what `torch.compile` traced; `choose` splits its joint graph.

    It is given the joint graph, and what says how much memory a split will take.
    What isn't saved is recomputed from what is. Inductor is given both passes in
    the order of the split, and keeps to it but where another has a lower peak,
    by its own estimate; it fuses nothing across a call of a library. What was
    lowered to say what a split takes isn't lowered again to compile it. Where
    no split is chosen, it splits as plain `torch.compile` does. `measures` says
    whether what libraries take while they run is in what a split takes.
    """
    from torch._functorch import config
    from torch._functorch.compile_utils import fx_graph_cse
    from torch._functorch.partitioners import min_cut_rematerialization_partition
    from torch._inductor.compile_fx import compile_fx, get_num_model_outputs
    from torch._inductor.custom_graph_pass import CustomPartitionerFn

    n_seen = get_num_model_outputs(traced)
    handed = Handed()

    class Chosen(CustomPartitionerFn):
        def __call__(self, gm: Any, joint_inputs: Any, **given: Any) -> tuple[Any, Any]:
            n_results = given["num_fwd_outputs"]
            visible = _visible(gm, n_seen)
            known: dict[Split | None, tuple[tuple[Any, Any], tuple[Lowered, ...]]] = {}

            def in_two(split: Split | None) -> tuple[Any, Any]:
                if split is not None:
                    return parted(gm, n_results, split)
                with config.patch(activation_memory_budget=1.0):  # below, dropout may go wrong
                    return min_cut_rematerialization_partition(copied(gm), joint_inputs, **given)

            def rehearsed(split: Split | None, most: int | None) -> Rehearsal:
                options: Any = {"visible": visible, "measures": measures, "most": most}
                options["keeps_order"] = split is not None
                try:
                    parts = in_two(split)
                    found = rehearse(*parts, n_results, **options)
                except Exception as error:  # whatever an experimental part of PyTorch raises
                    if is_out_of_memory(error):
                        raise
                    said = " ".join(str(error).split())[:400]
                    raise CannotCapture(
                        f"Inductor can't lower this step: {type(error).__name__}: {said};"
                        f" leave the option 'inductor' out, or use backend=\"inductor\""
                    ) from error
                known[split] = parts, found.passes
                return found

            gm.graph = fx_graph_cse(gm.graph)
            chosen = choose(joint_to_split(gm, n_results), rehearsed)
            handed.keeps_order = chosen is not None
            if chosen not in known:
                return in_two(chosen)
            parts, passes = known[chosen]
            handed.passes.extend(passes)
            return parts

        def uuid(self) -> None:
            """No key: compiled code isn't reused for another budget."""

    # What is compiled for one budget would serve another if it were looked up by its graph.
    patches = {"custom_partitioner_fn": Chosen(), "fx_graph_cache": False}
    compiled = compile_fx(
        traced, list(args), inner_compile=compiling(handed), config_patches=patches
    )
    return cast(Run, compiled)


def _visible(module: fx.GraphModule, n_seen: int) -> list[int]:
    """Places of the outputs that a caller sees, behind the inputs that were changed."""
    end = module.graph.output_node()
    ends: Any = end.args[0]
    first = sum(type(kind).__name__ == "InputMutationAOTOutput" for kind in end.meta["desc"])
    return [at for at in range(first, first + n_seen) if isinstance(ends[at], fx.Node)]


def joint_to_split(module: fx.GraphModule, n_results: int) -> Joint:
    """The joint graph as Inductor has it: arguments alone, and buffers written in place."""
    graph = fx.Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    graph.eliminate_dead_code()  # what Inductor replaced by a constant still has its memory
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
    if is_tangent(node):
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


def _is_made(node: Any) -> bool:
    """Whether it is a tensor that the step makes."""
    made = isinstance(node, fx.Node) and node.op == "call_function"
    return made and isinstance(node.meta.get("val"), torch.Tensor)
