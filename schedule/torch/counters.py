"""Whole numbers that a step counts with, apart from what it computes with tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx


class Parted:
    """A traced graph in two: what is done with tensors, and with numbers alone.

    Parameters
    ----------
    module
        The graph; it is left as it is.
    given
        Its example inputs: tensors, and symbols for numbers that may be others
        at the next step.

    Attributes
    ----------
    module
        What is done with tensors.
    places
        Which of the inputs that takes.
    is_apart
        Whether no tensor depends on a number; else nothing here is of use.
    """

    def __init__(self, module: fx.GraphModule, given: Sequence[Any]) -> None:
        inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
        numbers = {n for n, v in zip(inputs, given) if not isinstance(v, torch.Tensor)}
        self.places = [at for at, node in enumerate(inputs) if node not in numbers]
        self.is_apart = True
        for node in module.graph.nodes:
            if node.op in ("placeholder", "output") or numbers.isdisjoint(node.all_input_nodes):
                continue
            self.is_apart &= numbers.issuperset(node.all_input_nodes) and not _gives_tensor(node)
            numbers.add(node)
        ends: Any = module.graph.output_node().args[0]
        self._is_number = [isinstance(end, fx.Node) and end in numbers for end in ends]
        self._n_inputs = len(inputs)
        self.module, self._count = module, module
        if numbers and self.is_apart:
            self.module = _part(module, lambda node: node not in numbers)
            self._count = _part(module, lambda node: node in numbers)

    def whole(self, run: Callable[..., Sequence[Any]]) -> Callable[..., Any]:
        """A function of all inputs that gives all outputs, where `run` does the tensors' part."""
        if not any(self._is_number) and len(self.places) == self._n_inputs:
            return run
        rest = [at for at in range(self._n_inputs) if at not in self.places]

        def both(*given: Any) -> tuple[Any, ...]:
            tensors = iter(run(*[given[at] for at in self.places]))
            numbers = iter(self._count(*[given[at] for at in rest]))
            return tuple(next(numbers if number else tensors) for number in self._is_number)

        return both


def _gives_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("example_value"), torch.Tensor)


def _part(module: fx.GraphModule, wanted: Callable[[fx.Node], bool]) -> fx.GraphModule:
    """The graph with only these nodes, inputs and outputs."""
    graph = fx.Graph()
    found: dict[Any, fx.Node] = {}
    for node in module.graph.nodes:
        if node.op == "output":
            ends = [end for end in node.args[0] if not isinstance(end, fx.Node) or wanted(end)]
            graph.output(tuple(found.get(end, end) for end in ends))
        elif wanted(node):
            found[node] = graph.node_copy(node, found.__getitem__)
    made = fx.GraphModule(module, graph)
    made.meta = dict(module.meta)
    return made
