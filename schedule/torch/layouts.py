"""The layouts that operators really give their results, where fake tensors foretell others.

What a fake tensor's strides allow as a view may be a copy when the step runs, of which no
promise would know. So each operator that is given something laid out otherwise than densely runs
once, by itself, and what follows from its strides is told anew.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import fx

from schedule.torch.kernels import compiled

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
    Runs each kind of call (an operator with sizes, strides, types and other arguments) once, with
    made-up numbers, and only those that are given floating-point tensors of which one isn't
    contiguous. Products, convolutions and attention, which have a formula for their work, are left
    out: there fake tensors are right, and they are what takes time. So is what takes more than
    2 GiB, which may be of a model that is only thought of.
    """
    from torch.utils.flop_counter import flop_registry

    known: dict[Any, Layout] = {}
    moved: set[fx.Node] = set()
    for node in graph.nodes:
        target: Any = node.target
        if node.op != "call_function" or "val" not in node.meta:
            continue
        reads = node.all_input_nodes
        if not isinstance(target, torch._ops.OpOverload):
            if moved.intersection(reads):  # one of several results
                node.meta["val"] = reads[0].meta["val"][node.args[1]]
                moved.add(node)
            continue
        before = node.meta["val"]
        if moved.intersection(reads):
            node.meta["val"] = _foretold(node)
        made = _tensors(node.meta["val"])
        if target.overloadpacket not in flop_registry and _may_differ(node, made):
            key = _key(node)
            if key not in known:
                known[key] = _really(node)
            if known[key] != _strides(made):
                node.meta["val"] = _laid_out(node.meta["val"], iter(known[key]))
        if node.meta["val"] is before:
            continue
        if _is_moved(before, node.meta["val"], reads):
            moved.add(node)
        else:  # whoever reads it knows it by its storage
            node.meta["val"] = before


def _may_differ(node: fx.Node, made: list[torch.Tensor]) -> bool:
    """Whether an operator may lay out its results otherwise than fake tensors say."""
    given = [read for item in node.all_input_nodes for read in _tensors(item.meta.get("val"))]
    target: Any = node.target
    if torch.Tag.nondeterministic_seeded in target.tags or target._schema.is_mutable:
        return False
    if not all(_can_be_made(item) for item in given) or not made:
        return False
    shared = {item.untyped_storage()._cdata for item in given}
    if any(item.untyped_storage()._cdata in shared for item in made):
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


def _really(node: fx.Node) -> Layout:
    """Strides of what an operator gives."""
    reads, kernel = compiled(node)
    with _no_modes(), torch.no_grad():
        return _strides(_tensors(kernel(*(_made_up(read.meta["val"]) for read in reads))))


def _no_modes() -> AbstractContextManager[Any]:
    from torch.utils._python_dispatch import _disable_current_modes

    modes: AbstractContextManager[Any] = _disable_current_modes()
    return modes


def _made_up(value: torch.Tensor) -> torch.Tensor:
    """A tensor laid out like another, of halves: most functions are defined there."""
    steps = sum((size - 1) * stride for size, stride in zip(value.size(), value.stride()))
    flat = torch.full((steps + 1,), 0.5, dtype=value.dtype, device=value.device)
    return flat.as_strided(value.size(), value.stride())


def _foretold(node: fx.Node) -> Any:
    """What fake tensors say of an operator once more, after what it reads was laid out anew."""
    reads, kernel = compiled(node)
    given = [read.meta["val"] for read in reads]
    fake: Any = next(item for value in given for item in _tensors(value))
    with fake.fake_mode:
        return kernel(*given)


def _laid_out(value: Any, strides: Any) -> Any:
    """The same results with other strides, each in memory of its own."""
    if isinstance(value, (tuple, list)):
        return type(value)(_laid_out(item, strides) for item in value)
    if not isinstance(value, torch.Tensor):
        return value
    stride: tuple[int, ...] = next(strides)
    fake: Any = value
    with fake.fake_mode:
        return torch.empty_strided(value.size(), stride, dtype=value.dtype, device=value.device)


def _is_moved(before: Any, after: Any, reads: list[fx.Node]) -> bool:
    """Whether those who read a value have to look at it again."""
    if _strides(_tensors(before)) != _strides(_tensors(after)):
        return True
    given = [item for read in reads for item in _tensors(read.meta.get("val"))]
    shared = {item.untyped_storage()._cdata for item in given}
    return any(item.untyped_storage()._cdata in shared for item in _tensors(after))


def _tensors(value: Any) -> list[torch.Tensor]:
    found = value if isinstance(value, (tuple, list)) else [value]
    return [item for item in found if isinstance(item, torch.Tensor)]


def _strides(values: list[torch.Tensor]) -> Layout:
    return tuple(tuple(value.stride()) for value in values)


def _key(node: fx.Node) -> Any:
    """One key for all calls that lay out their results alike."""

    def told(value: Any) -> Any:
        if isinstance(value, fx.Node):
            items = _tensors(value.meta["val"])
            return tuple((tuple(t.size()), tuple(t.stride()), t.dtype, t.device) for t in items)
        return tuple(map(told, value)) if isinstance(value, (tuple, list)) else repr(value)

    given = sorted(node.kwargs.items())
    return node.target, told(node.args), tuple((key, told(value)) for key, value in given)
