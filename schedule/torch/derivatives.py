"""Derivatives that a step's own code asks for, as a gradient penalty does, in its traced graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import fx
from torch.fx.node import map_arg

from schedule.errors import CannotCapture


def differentiated(module: fx.GraphModule) -> frozenset[int]:
    """Inputs of a traced graph, by place, with respect to which the code itself differentiates.

    Eager PyTorch runs their hooks there, too.

    Raises
    ------
    CannotCapture
        Through a `torch.autograd.Function`: PyTorch's capture takes its backward pass for a
        constant, and what is differentiated once more would be wrong.

    Notes
    -----
    O(nodes) for each derivative.
    """
    places = [node for node in module.graph.nodes if node.op == "placeholder"]
    found: set[int] = set()
    for part in _parts(module):
        for node in filter(_is_derivative, part.graph.nodes):
            given = dict(zip(("outputs", "inputs"), node.args)) | node.kwargs
            outputs, inputs = _nodes(given["outputs"]), _nodes(given["inputs"])
            if any(_calls_function(part, each) for each in _between(part, inputs, outputs)):
                raise CannotCapture(
                    "the step differentiates through a torch.autograd.Function and then once more,"
                    " which PyTorch's capture gets wrong; write what it computes with operators,"
                    " or use the model itself, unplanned, for that part"
                )
            if node.target is torch.autograd.grad:  # those of torch.func have inputs of their own
                # Of a part that is called (a checkpoint), any may be meant.
                known = inputs.intersection(places) if part is module else places
                found.update(map(places.index, known))
    return frozenset(found)


def differentiates(module: fx.GraphModule) -> bool:
    """Whether the code of a traced graph differentiates, with respect to whatever."""
    return any(_is_derivative(node) for part in _parts(module) for node in part.graph.nodes)


def _parts(module: fx.GraphModule) -> Iterator[fx.GraphModule]:
    """A graph and those that it calls, as for what is checkpointed."""
    return (part for part in module.modules() if isinstance(part, fx.GraphModule))


def _is_derivative(node: fx.Node) -> bool:
    name = getattr(node.target, "__name__", "")
    return node.target is torch.autograd.grad or name == "_autograd_grad"


def _nodes(value: Any) -> set[fx.Node]:
    """The nodes in an argument."""
    found: set[fx.Node] = set()
    map_arg(value, found.add)
    return found


def _between(part: fx.GraphModule, inputs: set[fx.Node], outputs: set[fx.Node]) -> Iterator[Any]:
    """The nodes by which outputs depend on inputs."""
    after, before = set(inputs), set(outputs)
    for node in inputs:  # what is marked to need a gradient is the tensor that is read
        if getattr(node.target, "__name__", "") == "_set_tensor_requires_grad":
            after.update(node.all_input_nodes)
    for node in part.graph.nodes:
        if not after.isdisjoint(node.all_input_nodes):
            after.add(node)
    for node in reversed(part.graph.nodes):
        if node in before:
            before.update(node.all_input_nodes)
    return iter(after & before)


def _calls_function(part: fx.GraphModule, node: fx.Node) -> bool:
    """Whether it runs a `torch.autograd.Function`, by itself or in a part that it calls."""
    if _is_function(node):
        return True
    called = [getattr(part, str(n.target)) for n in node.all_input_nodes if n.op == "get_attr"]
    inner = [each for item in called if isinstance(item, fx.GraphModule) for each in _parts(item)]
    return any(_is_function(each) for item in inner for each in item.graph.nodes)


def _is_function(node: fx.Node) -> bool:
    return str(node.target) == "autograd_function_apply"
