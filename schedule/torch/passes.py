"""Experimental in PyTorch: the two passes of a step, as a split of its joint graph has them."""

from __future__ import annotations

import operator
from collections.abc import Sequence, Set
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import fx

from schedule.errors import CannotCapture
from schedule.torch.joint import nbytes


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


def parted(module: fx.GraphModule, n_results: int, split: Split) -> tuple[Any, Any]:
    """The joint graph in two, as Inductor wants it."""
    from torch._functorch.partitioners import _extract_fwd_bwd_modules

    saved = [
        node
        for node in module.graph.nodes
        if node.name in split.saved or (node.op == "placeholder" and not is_tangent(node))
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
        passes.append(in_order(each, order, split.shared))
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
    products = [node for node in graph.nodes if node.target is torch.ops.aten.mm.default]
    turn = {node: at for at, node in enumerate(graph.nodes)}
    for product, after in pairwise(products):
        users = list(product.users)
        if [user.target for user in users] != [torch.ops.aten.add.Tensor] or turn[users[0]] < turn[
            after
        ]:
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


def in_order(
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


def is_tangent(node: fx.Node) -> bool:
    """Whether a placeholder is a gradient that comes in."""
    return type(node.meta.get("desc")).__name__ == "TangentAOTInput"
