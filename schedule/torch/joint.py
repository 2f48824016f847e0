"""A model's training step as one graph of ATen operations, and where its ends belong."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

import torch
from torch import fx


@dataclass(frozen=True, slots=True)
class Source:
    """Where an input of the joint graph comes from.

    `key` is the number of what the traced graph is given (parameters, buffers
    and arguments alike), the number of the output whose gradient it is, or a
    constant's name.
    """

    kind: Literal["input", "tangent", "constant"]
    key: str | int


@dataclass(frozen=True, slots=True)
class Alias:
    """An output that lies on a tensor which is there anyway, to be seen again at each call.

    `of` is an input's number, or a differentiable result's: then `is_result`. `shift` is
    how many elements it begins behind that one's first: where in its storage this lies may
    be another place at each call.
    """

    of: int
    is_result: bool
    size: tuple[int, ...]
    stride: tuple[int, ...]
    shift: int
    is_detached: bool
    is_real: bool
    is_conjugate: bool
    is_negative: bool

    def seen(self, base: torch.Tensor) -> torch.Tensor:
        """The output, as a view of `base`."""
        found = self._placed(base)
        found = found.conj() if self.is_conjugate else found
        return torch._neg_view(found) if self.is_negative else found

    def _placed(self, base: torch.Tensor) -> torch.Tensor:
        """Where it lies: by a view whose derivative needs no memory, if there is one."""
        base = base.detach() if self.is_detached else base
        base = torch.view_as_real(base) if self.is_real and base.is_complex() else base
        if not self.shift and base.numel() == prod(self.size):
            if base.is_contiguous() and self.stride == _dense(self.size):
                return base.view(self.size)
            dims = list(zip(base.size(), base.stride()))
            wanted = list(zip(self.size, self.stride))
            if len(set(dims)) == len(dims) and sorted(dims) == sorted(wanted):
                return base.permute([dims.index(dim) for dim in wanted])
        return base.as_strided(self.size, self.stride, base.storage_offset() + self.shift)


def _dense(size: Sequence[int]) -> tuple[int, ...]:
    """The strides of a contiguous tensor."""
    return tuple(prod(size[at + 1 :]) for at in range(len(size)))


@dataclass(frozen=True, slots=True)
class Constant:
    """An output that is no tensor of the step: an input as it was given, or a value."""

    value: Any = None
    given: int | None = None


@dataclass(frozen=True)
class Joint:
    """Forward and backward pass of one training step, functional, on fake tensors.

    Attributes
    ----------
    graph
        Calls of ATen operators on `placeholder`s; the values that a node gives
        are in `node.meta["val"]`.
    sources
        By placeholder or `get_attr` node.
    constants
        Tensors that the graph refers to by name.
    mutations
        An input that the step changes in place, and the node that gives its new
        content.
    results
        Nodes that give the differentiable results: what `tangent` sources count.
    outputs
        What the traced graph returns: the number of a result, an `Alias` or a
        `Constant`.
    gradients
        Source of each tensor that gets a gradient, and the node that gives it.
    effects
        Nodes that are there for what they do (checks that raise, prints): each
        runs once, in their order.
    differentiated
        Inputs, by place, with respect to which the step's own code differentiates.
    differentiates
        Whether it differentiates at all.
    """

    graph: fx.Graph
    sources: dict[fx.Node, Source]
    constants: dict[str, torch.Tensor]
    mutations: list[tuple[Source, fx.Node]]
    results: list[fx.Node]
    outputs: list[int | Alias | Constant]
    gradients: list[tuple[Source, fx.Node]]
    effects: frozenset[fx.Node] = field(default_factory=frozenset)
    differentiated: frozenset[int] = frozenset()
    differentiates: bool = False


def storage_of(value: torch.Tensor) -> int:
    """The same number for all fake tensors on one storage."""
    return int(value.untyped_storage()._cdata)


def nbytes(value: torch.Tensor) -> int:
    """Bytes of a tensor's whole storage."""
    return int(value.untyped_storage().nbytes())


def inner_results(joint: Joint) -> frozenset[int]:
    """Results of which other results are made, so that part of their gradient never goes out."""
    number = {node: at for at, node in enumerate(joint.results)}
    made_of: dict[fx.Node, int] = {}  # of a node: the results that it is made of, as bits
    for node in joint.graph.nodes:
        if node.target is torch.ops.aten.detach.default:
            continue
        for read in node.all_input_nodes:
            own = 1 << number[read] if read in number else 0
            made_of[node] = made_of.get(node, 0) | made_of.get(read, 0) | own
    bits = 0
    for node in joint.results:
        bits |= made_of.get(node, 0)
    return frozenset(at for at in number.values() if bits >> at & 1)


def keeps_places(joint: Joint) -> bool:
    """Whether anything counts from the beginning of a storage that a node made."""
    as_strided = torch.ops.aten.as_strided.default
    return any(node.target is as_strided for node in joint.graph.nodes) or any(
        isinstance(output, Alias) and output.is_result for output in joint.outputs
    )


def is_one(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two fake tensors are one and the same memory."""
    places = [(t.size(), t.stride(), t.storage_offset(), t.dtype) for t in (one, other)]
    return storage_of(one) == storage_of(other) and places[0] == places[1] and bool(one.numel())


def name_of(node: fx.Node) -> str:
    """The name of the tensor that a node gives, where it gives one."""
    if node.target is not operator.getitem:
        return node.name
    whole, place = node.args
    assert isinstance(whole, fx.Node)
    return f"{whole.name}.{place}"
