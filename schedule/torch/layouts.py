"""The layouts that operators really give their results, where fake tensors foretell others.

What a fake tensor's strides allow as a view may be a copy when the step runs, of which no
promise would know. So each operator that is given something laid out otherwise than densely runs
once, by itself, and what follows from its strides is told anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import getitem
from typing import Any

import torch
from torch import fx
from torch.utils._python_dispatch import _disable_current_modes

from schedule.log import LOG
from schedule.torch.costs import formula_of, likeness
from schedule.torch.joint import storage_of
from schedule.torch.kernels import compiled
from schedule.torch.operators import has_symbols, tensors_in
from schedule.torch.trials import FAILURES, filled

Layout = tuple[tuple[int, ...], ...]

#: Bytes, read and written, up to which an operator is tried.
_MOST = 2**31


def correct_layouts(graph: fx.Graph) -> None:
    """Give the values of a joint graph's nodes the strides that they will have.

    Parameters
    ----------
    graph
        Calls of ATen operators, with fake tensors in `node.meta["val"]`, which are changed.

    Notes
    -----
    Runs each kind of call (an operator with sizes, strides, types and other arguments) once, on
    halves, for which most functions are defined, and only those that are given floating-point
    tensors of which one isn't contiguous. Products, convolutions and attention are left out:
    there fake tensors are right, and they are what takes time. So is what takes more than 2 GiB,
    which may be of a model that is only thought of, and what can't be run by itself.
    """
    if any(map(has_symbols, graph.nodes)):
        return  # no promise is made of what has such sizes: it is refused
    known: dict[Any, Layout] = {}
    moved: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op != "call_function" or "val" not in node.meta:
            continue
        reads, before = node.all_input_nodes, node.meta["val"]
        if isinstance(node.target, torch._ops.OpOverload):
            value = _foretold(node) if moved.intersection(reads) else before
            if _may_differ(node, value):
                value = _laid_out(value, _really(node, value, known))
        elif node.target is getitem and moved.intersection(reads):  # one of several results
            value = reads[0].meta["val"][node.args[1]]
        else:
            continue
        # Where nothing changes it stays: whoever reads it knows it by its storage.
        if value is not before and _is_moved(node, value):
            node.meta["val"] = value
            moved.add(node)


def _may_differ(node: fx.Node, value: Any) -> bool:
    """Whether an operator may lay out its results otherwise than fake tensors say."""
    given, made = _read_by(node), tensors_in(value)
    target: Any = node.target
    if torch.Tag.nondeterministic_seeded in target.tags or target._schema.is_mutable:
        return False
    if formula_of(node) is not None or not made or not all(map(_can_be_made, given)):
        return False
    if not {storage_of(item) for item in made}.isdisjoint(map(storage_of, given)):
        return False
    if sum(item.numel() * item.element_size() for item in (*given, *made)) > _MOST:
        return False
    return any(not item.is_contiguous() for item in given)


def _can_be_made(value: torch.Tensor) -> bool:
    """Whether made-up numbers do in the place of a tensor's."""
    if value.layout != torch.strided or not value.numel():
        return False
    if value.device.type == "meta" or (value.is_cuda and not torch.cuda.is_available()):
        return False
    return value.is_floating_point() or value.dtype == torch.bool


def _really(node: fx.Node, value: Any, known: dict[Any, Layout]) -> Layout:
    """Strides of what an operator gives; those foretold where it can't be run by itself."""
    given, kernel = compiled(node)
    reads = [read.meta["val"] for read in given]
    key = likeness(node, reads)
    if key not in known:
        known[key] = _strides(value)
        try:
            with _disable_current_modes(), torch.no_grad():
                known[key] = _strides(kernel(*(filled(read, 0.5) for read in reads)))
        except FAILURES as error:
            LOG.debug("captured: %s can't be run by itself: %s", node.target, error)
    return known[key]


def _foretold(node: fx.Node) -> Any:
    """What fake tensors say of an operator once more, after what it reads was laid out anew."""
    reads, kernel = compiled(node)
    given = [read.meta["val"] for read in reads]
    fake: Any = _read_by(node)[0]
    with fake.fake_mode:
        return kernel(*given)


def _laid_out(value: Any, layout: Layout) -> Any:
    """The same results with these strides: itself, or each in memory of its own."""
    if _strides(value) == layout:
        return value
    strides = iter(layout)
    if isinstance(value, torch.Tensor):
        return _like(value, strides)
    return type(value)(
        _like(item, strides) if isinstance(item, torch.Tensor) else item for item in value
    )


def _like(value: torch.Tensor, strides: Iterator[tuple[int, ...]]) -> torch.Tensor:
    fake: Any = value
    with fake.fake_mode:
        return torch.empty_strided(
            value.size(), next(strides), dtype=value.dtype, device=value.device
        )


def _is_moved(node: fx.Node, value: Any) -> bool:
    """Whether those who read a node's value have to look at it again, if it becomes this one."""
    if _strides(node.meta["val"]) != _strides(value):
        return True
    shared = set(map(storage_of, _read_by(node)))
    return not shared.isdisjoint(map(storage_of, tensors_in(value)))


def _read_by(node: fx.Node) -> list[torch.Tensor]:
    return [item for read in node.all_input_nodes for item in tensors_in(read.meta.get("val"))]


def _strides(value: Any) -> Layout:
    return tuple(tuple(item.stride()) for item in tensors_in(value))
