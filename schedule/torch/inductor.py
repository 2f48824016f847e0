"""Experimental in PyTorch: giving Inductor both passes as a plan has them.

What lies under `torch._inductor` and `torch._functorch.partitioners` is touched
here, in `schedule.torch.rehearsal`, `lowered`, `units` and `indexing` alone. It is
tested on the PyTorch that CI installs.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence, Set
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
from torch import fx

from schedule.errors import CannotCapture, is_out_of_memory
from schedule.torch.joint import Joint, Source, nbytes, unknown
from schedule.torch.lowered import Handed, Lowered, compiling, copied
from schedule.torch.rehearsal import Rehearsal, rehearse

Run = Callable[..., Any]


class Split(NamedTuple):
    """What each pass does, by names of the joint graph's nodes.

    Attributes
    ----------
    saved
        What the forward pass keeps for the backward pass.
    once
        What only the forward pass may run.
    forward, backward
        What each pass runs, in this order, with repetitions: a later run is
        another node. What isn't in here runs where it is first needed.
    shared
        What Inductor computes inside its readers however many there are: a later
        run that reads the same is no other node.
    """

    saved: frozenset[str]
    once: frozenset[str]
    forward: tuple[str, ...] = ()
    backward: tuple[str, ...] = ()
    shared: frozenset[str] = frozenset()


class Rules:
    """What Inductor computes inside its readers, and what it writes.

    Parameters
    ----------
    device
        Of the step.

    Attributes
    ----------
    reads, nodes
        What a kernel may read and run before Inductor writes something between.
    reads_again
        What something may read that has several readers before Inductor writes it.
    """

    def __init__(self, device: torch.device) -> None:
        from torch._functorch.partitioners import get_default_op_list
        from torch._inductor import config

        kinds = get_default_op_list()
        self._fusible = {kind for kind in kinds.fusible_ops if kind not in _REDUCING}
        self._is_cpu = device.type == "cpu"
        given = config.realize_acc_reads_threshold, config.realize_opcount_threshold
        usual = config.realize_cpu_acc_reads_threshold, config.realize_cpu_opcount_threshold
        most = usual if self._is_cpu else (8, 30)
        self.reads_again = config.realize_reads_threshold
        self.reads, self.nodes = (a if a is not None else b for a, b in zip(given, most))

    def goes_by_element(self, node: fx.Node) -> bool:
        """Whether a node can be computed element by element, wherever it is read."""
        target: Any = node.target
        if _packet(target) in _REDUCING | _SCATTERING:
            return False
        is_listed = _packet(target) in self._fusible | _BY_ELEMENT
        return is_listed or torch.Tag.pointwise in getattr(target, "tags", ())

    def takes_in(self, node: fx.Node) -> bool:
        """Whether what a node reads can be computed where it reads it."""
        return _packet(node.target) in _REDUCING | _SCATTERING

    def is_heavy(self, node: fx.Node) -> bool:
        """Whether it is computed once for all its readers."""
        return self._is_cpu and _packet(node.target) in _HEAVY


aten, prims = torch.ops.aten, torch.ops.prims
#: What makes few elements of many.
_REDUCING: frozenset[Any] = frozenset(
    [
        *(aten.sum, aten.mean, aten.var, aten.std, aten.var_mean, aten.amax, aten.amin, aten.any),
        *(aten.max, aten.min, aten.argmax, aten.argmin, aten.prod, aten.all, aten.cumsum),
        *(aten.sum_to_size, aten._grad_sum_to_size, prims.sum, prims.var),
    ]
)
#: What writes into a place that depends on data, or into parts of one tensor.
_SCATTERING: frozenset[Any] = frozenset(
    [aten.index_put, aten.scatter, aten.scatter_add, aten.scatter_reduce, aten.cat]
)
#: What else goes element by element.
_BY_ELEMENT: frozenset[Any] = frozenset(
    [
        *(aten.embedding, aten.constant_pad_nd, aten.slice_scatter, aten.select_scatter),
        *(aten.slice_backward, aten.upsample_nearest2d, aten.detach, aten.copy, aten.expand),
        *(aten.fill, aten.reflection_pad2d, aten.repeat, aten.flip, aten.gather, aten.index),
    ]
)
#: What Inductor computes once on a CPU, however many read it.
_HEAVY: frozenset[Any] = frozenset(
    [
        *(aten.exp, aten.log, aten.log10, aten.log1p, aten.log2, aten.sigmoid, aten.tanh),
        *(aten.silu, aten.gelu),
    ]
)


def _packet(target: Any) -> Any:
    return getattr(target, "overloadpacket", target)


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

            def parted(split: Split | None) -> tuple[Any, Any]:
                if split is not None:
                    return _parted(gm, n_results, split)
                with config.patch(activation_memory_budget=1.0):  # below, dropout may go wrong
                    return min_cut_rematerialization_partition(copied(gm), joint_inputs, **given)

            def rehearsed(split: Split | None, most: int | None) -> Rehearsal:
                options: Any = {"visible": visible, "measures": measures, "most": most}
                options["keeps_order"] = split is not None
                try:
                    parts = parted(split)
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
            chosen = choose(_joint_to_split(gm, n_results), rehearsed)
            handed.keeps_order = chosen is not None
            if chosen not in known:
                return parted(chosen)
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


def _joint_to_split(module: fx.GraphModule, n_results: int) -> Joint:
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
    from torch._functorch.partitioners import _extract_fwd_bwd_modules

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
    there = {node.name for node in saved if node.op == "placeholder"}
    passes = []
    for each, order in ((forward, split.forward), (backward, split.backward)):
        passes.append(_in_order(each, order, split.shared))
        _keep_products(passes[-1].graph, there)
    return passes[0], passes[1]


def _keep_products(graph: fx.Graph, there: Set[str]) -> None:
    """Have products made where they are, not where something is added to them.

    Inductor makes one call of a product and a sum, where the sum is, so that the
    factors are held until then: the gradient of the logits through all of the backward
    pass where the embedding is the last layer, too. Left to it is what holds no
    more, and where no other product lies between. `there` is what takes no memory, by
    name.
    """
    products = [node for node in graph.nodes if node.target is aten.mm.default]
    turn = {node: at for at, node in enumerate(graph.nodes)}
    for product, after in pairwise(products):
        users = list(product.users)
        if [user.target for user in users] != [aten.add.Tensor] or turn[users[0]] < turn[after]:
            continue
        made = [read for read in product.all_input_nodes if _maker(read).name not in there]
        value = product.meta["val"]
        if sum(nbytes(read.meta["val"]) for read in made) > nbytes(value):
            with graph.inserting_after(product):
                fixed = graph.call_function(
                    torch.ops.prims.inductor_force_stride_order.default,
                    (product, list(value.stride())),
                )
            fixed.meta["val"] = value
            users[0].replace_input_with(product, fixed)


def _maker(node: fx.Node) -> fx.Node:
    """Of a view what it is one of; else the node itself."""
    while _is_view(node) and node.all_input_nodes:
        node = node.all_input_nodes[0]
    return node


def _in_order(
    module: fx.GraphModule, names: Sequence[str], shared: frozenset[str] = frozenset()
) -> fx.GraphModule:
    """The same pass with its nodes in this order, each run a node of its own.

    What isn't named is put where it is first needed, and what nobody needs (changes
    of inputs in place) at the end. What comes of a node that runs again, and is no
    run itself (an element of its result), is taken from its last run.
    """
    made, here = fx.Graph(), _Placed(shared)
    by_name = {}
    for node in module.graph.nodes:
        if node.op in ("placeholder", "get_attr"):
            here[node] = made.node_copy(node, here.__getitem__)
        elif node.op == "call_function":
            by_name[node.name] = node
    for name in names:
        if name in by_name:
            node = by_name[name]
            here.forget_parts(node)
            _place(made, node, here)
    for node in module.graph.nodes:
        if node not in here:
            _place(made, node, here)
    return fx.GraphModule(module, made)


class _Placed(dict[fx.Node, fx.Node]):
    """Of each node of a graph: its last copy in another."""

    def __init__(self, shared: frozenset[str]) -> None:
        super().__init__()
        self._shared = shared
        self._known: dict[Any, fx.Node] = {}

    def add(self, graph: fx.Graph, node: fx.Node) -> None:
        """Copy a node behind what it reads; views and what is shared once for the same reads.

        Another copy would come to the same code, and Inductor has to lower each.
        """
        key = node, *map(self.__getitem__, node.all_input_nodes)
        if key in self._known:
            self[node] = self._known[key]
            return
        self[node] = graph.node_copy(node, self.__getitem__)
        if _is_view(node) or node.name in self._shared:
            self._known[key] = self[node]

    def forget_parts(self, node: fx.Node) -> None:
        """Another copy comes: what was taken from the last one is taken anew."""
        self.pop(node, None)
        for user in node.users:
            if user.target is operator.getitem:
                self.pop(user, None)


def _place(graph: fx.Graph, node: fx.Node, here: _Placed) -> None:
    """Copy a node behind whatever it needs that isn't there; without recursion."""
    todo = [node]
    while todo:
        missing = [read for read in todo[-1].all_input_nodes if read not in here]
        if missing:
            todo += missing
        else:
            last = todo.pop()
            if last not in here:
                here.add(graph, last)


def _is_view(node: fx.Node) -> bool:
    """Whether it gives a view of what it reads, or a part of it, and nothing new."""
    target: Any = node.target
    return target is operator.getitem or bool(getattr(target, "is_view", False))
