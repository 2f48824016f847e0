"""A captured training step as a `schedule.Graph`, with a kernel for every node."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from schedule.graph import Graph
from schedule.torch.kernels import Kernel
from schedule.torch.origins import Origin

#: The node at which the forward pass ends: results go out, their gradients come in.
BOUNDARY = "boundary"
#: The end of the name of a node that draws a dropout's mask; what it would give beside is its
#: workspace.
MASK = ".mask"
#: Inputs that stand for what libraries keep, and for what blocks of memory have more than is
#: asked for.
KEPT, SPARE = "(what libraries keep)", "(blocks larger than their tensors)"


def before_change(label: str) -> str:
    """The copy of an input that the step changes, as it was before."""
    return f"{label} as it was"


@dataclass(frozen=True, slots=True)
class Call:
    """How a node runs.

    Attributes
    ----------
    kernel
        Takes the tensors `reads`.
    reads
        Names, in order; `Node.inputs` may have more, which only keep an order.
    writes
        Names of the tensors that are kept, each with its place in what the
        kernel returns (−1: it returns the tensor itself).
    state
        The input of the graph that stands for the random state with which its
        first run began, and which others begin with; empty: it draws nothing, or
        runs once.
    """

    kernel: Kernel
    reads: tuple[str, ...]
    writes: tuple[tuple[int, str], ...]
    state: str = ""


@dataclass(frozen=True, slots=True)
class Tangent:
    """The gradient of a result, as the backward pass expects it.

    Attributes
    ----------
    name
        Of the tensor that the boundary writes.
    like
        A fake tensor of its shape and layout.
    is_spread
        Whether one zero in the place of all serves where no gradient comes in:
        everything that reads it goes element by element.
    """

    name: str
    like: torch.Tensor
    is_spread: bool


@dataclass(frozen=True)
class Program:
    """A training step that any schedule of its graph can run.

    Attributes
    ----------
    graph
        Memory in bytes, compute as `schedule.torch.costs` has it. If it is made
        for gradients of the loss alone, those of other results take no memory
        where they can do without it: nobody gives them, or they are one number
        spread over a shape.
    whole
        The same graph with memory for all of them.
    calls
        By node; the boundary has none, nor have nodes that only keep an order.
    inputs
        By name: the number of what the step is given, for each of the graph's
        inputs that is a tensor of the caller's.
    constants
        By name: inputs that belong to the step.
    results, tangents
        The tensors that go out at the boundary, and their gradients (None: none).
    mutations
        Pairs of an input and the tensor that is copied into it at the boundary.
    gradients
        The gradient of each input that gets one, by the input's name.
    needs
        The results on whose gradients that gradient depends, by the input's name.
    unmeasured
        Nodes whose time or workspace was to be measured, and couldn't be: their
        time is the model's, their workspace counts as none.
    device
        Of the step.
    origins
        By node, where in the model's code it comes from; nodes that only keep an
        order, and copies, have none.
    """

    graph: Graph
    whole: Graph
    calls: dict[str, Call]
    inputs: dict[str, int]
    constants: dict[str, torch.Tensor]
    results: tuple[str, ...]
    tangents: tuple[Tangent | None, ...]
    mutations: tuple[tuple[str, str], ...]
    gradients: dict[str, str]
    needs: dict[str, frozenset[int]]
    unmeasured: tuple[str, ...]
    device: torch.device
    origins: dict[str, Origin]
