"""Operators as callables.

A kernel takes the tensors that its node reads, in that order, and returns one
tensor, or a sequence of which the program takes what it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import fx

Kernel = Callable[..., Any]
aten = torch.ops.aten


def tightened(kernel: Kernel) -> Kernel:
    """The same results, each in memory of its own size."""

    def run(*reads: torch.Tensor) -> Any:
        found = kernel(*reads)
        if isinstance(found, torch.Tensor):
            return tight(found)
        return [tight(item) if isinstance(item, torch.Tensor) else item for item in found]

    return run


def tight(value: torch.Tensor) -> torch.Tensor:
    """A tensor in memory of its own size: itself, or a copy."""
    if value.untyped_storage().nbytes() <= extent(value):
        return value
    made = torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device=value.device)
    return made.copy_(value)


def overlaps(value: torch.Tensor) -> bool:
    """Whether elements lie on one another: one is spread over several."""
    return any(n > 1 and not step for n, step in zip(value.size(), value.stride()))


def size_like(value: torch.Tensor) -> int:
    """Bytes of what `like` makes, where the types are the same."""
    return value.numel() * value.element_size() if overlaps(value) else extent(value)


def extent(value: torch.Tensor) -> int:
    """Bytes from a tensor's first element to its last."""
    if not value.numel():
        return 0
    steps = sum((size - 1) * stride for size, stride in zip(value.size(), value.stride()))
    return (steps + 1) * value.element_size()


def _copy(into: torch.Tensor, value: torch.Tensor, *_: Any) -> torch.Tensor:
    made = torch.empty_strided(into.size(), into.stride(), dtype=into.dtype, device=into.device)
    return made.copy_(value)


def _dropped(x: torch.Tensor, mask: torch.Tensor, scale: float) -> torch.Tensor:
    """What a dropout makes of a tensor, and its derivative of a gradient, as eager PyTorch does."""
    if x.is_cuda:  # there it is one kernel
        dropped: torch.Tensor = aten.native_dropout_backward.default(x, mask, scale)
        return dropped
    # Elsewhere the mask has the tensor's type, so that the scale is rounded to it.
    return torch.mul(x, mask).mul_(_rounded(scale, x.dtype))


@cache
def _rounded(scale: float, dtype: torch.dtype) -> Any:
    """A dropout's scale as its mask has it on a CPU: one, divided by the share that is kept."""
    return torch.ones((), dtype=dtype).div_(1.0 / scale).item() if scale else 0.0


def _scattered(view: Any) -> Kernel:
    """A copy of a tensor in which what the view sees is replaced."""

    def scatter(into: torch.Tensor, value: torch.Tensor, *place: Any) -> torch.Tensor:
        made: torch.Tensor = like(into)(into)
        view(made, *place).copy_(value)
        return made

    return scatter


#: What stands for an operator: where a kernel's result has other strides than fake tensors
#: said, a view of it may have to be a copy; a copy into a part of a larger tensor gives that
#: part in a storage as large as the whole, and what replaces a part of a tensor copies all of the
#: storage that this lies in, as large as a caller's may be. A dropout's derivative rounds as the
#: dropout does.
_INSTEAD: dict[Any, Any] = {
    aten.view.default: torch.reshape,
    aten._unsafe_view.default: torch.reshape,
    aten.copy.default: _copy,
    aten.slice_scatter.default: _scattered(aten.slice.Tensor),
    aten.select_scatter.default: _scattered(aten.select.int),
    aten.diagonal_scatter.default: _scattered(aten.diagonal.default),
    aten.native_dropout_backward.default: _dropped,
}


def _cudnn_batch_norm(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[torch.Tensor, ...]:
    mean, variance = mean.clone(), variance.clone()
    found = aten.cudnn_batch_norm.default(x, weight, bias, mean, variance, training, momentum, eps)
    return (*found[:3], mean, variance)


def _cudnn_batch_norm_backward(
    gradient: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
    saved_mean: torch.Tensor,
    saved_deviation: torch.Tensor,
    _: bool,
    eps: float,
    __: Any,
) -> Any:
    # In this layout cuDNN needs nothing besides from its forward pass.
    reserve = torch.empty(0, dtype=torch.uint8, device=x.device)
    return aten.cudnn_batch_norm_backward.default(
        x, gradient, weight, mean, variance, saved_mean, saved_deviation, eps, reserve
    )


#: What eager PyTorch runs on a GPU in place of what its capture gives.
_BY_CUDNN: dict[Any, Any] = {
    aten._native_batch_norm_legit_functional.default: _cudnn_batch_norm,
    aten.native_batch_norm_backward.default: _cudnn_batch_norm_backward,
}


def _is_cudnns(node: fx.Node) -> bool:
    """Whether eager PyTorch would leave a node's batch norm to cuDNN."""
    if node.target not in _BY_CUDNN:
        return False
    is_forward = node.target is aten._native_batch_norm_legit_functional.default
    given = node.args[:5] if is_forward else node.args[1:5]
    training, eps = (node.args[5], node.args[7]) if is_forward else (node.args[7], node.args[8])
    if not training or not all(isinstance(item, fx.Node) for item in given):
        return False
    x, weight, *rest = (item.meta["val"] for item in given)  # type: ignore[union-attr]
    mean, variance = rest[-2:]
    if not x.is_cuda or not x.is_contiguous():
        return False
    torch_c: Any = torch._C
    bias = rest[0] if is_forward else weight
    chosen = torch_c._select_batch_norm_backend(x, weight, bias, mean, variance, True, eps)
    return bool(chosen == torch_c._BatchNormBackend.Cudnn)


def compiled(node: fx.Node) -> tuple[list[fx.Node], Kernel]:
    """The nodes that an operator's call refers to, and a callable of their values."""
    reads: dict[fx.Node, str] = {}
    call = _BY_CUDNN[node.target] if _is_cudnns(node) else node.target
    call = _INSTEAD.get(call, call)
    names: dict[str, Any] = {"call": getattr(call, "_op", call)}  # without what wraps it in Python

    def text(value: Any) -> str:
        if isinstance(value, fx.Node):
            return reads.setdefault(value, f"r{len(reads)}")
        if isinstance(value, (list, tuple)):
            return f"[{', '.join(map(text, value))}]"
        name = f"c{len(names)}"
        names[name] = value
        return name

    given = [text(value) for value in node.args]
    given += [f"{key}={text(value)}" for key, value in node.kwargs.items()]
    # A call written out costs less at each run than filling in a template would.
    source = f"lambda {', '.join(reads.values())}: call({', '.join(given)})"
    kernel: Kernel = eval(source, names)
    return list(reads), kernel


def dropout_mask(node: fx.Node) -> Kernel:
    """Draws what a dropout drops: the very numbers that it would have drawn."""
    share = node.args[1]
    if share == 1:  # where all is dropped eager PyTorch draws nothing
        return lambda x: torch.zeros_like(x, dtype=torch.bool)

    def draw(x: torch.Tensor) -> torch.Tensor:
        mask: torch.Tensor = aten.native_dropout.default(x, share, True)[1]
        return mask

    return draw


def dropout_apply(node: fx.Node) -> Kernel:
    """Drops what a mask says, in the same arithmetic as the dropout itself."""
    kept = 1.0 - float(node.args[1])  # type: ignore[arg-type]
    return partial(_dropped, scale=1.0 / kept if kept else 0.0)


def like(value: torch.Tensor) -> Kernel:
    """Copies what it is given into the layout of `value`, or a dense one where that overlaps."""
    size, stride = tuple(value.size()), tuple(value.stride())
    if overlaps(value):
        stride = tuple(torch.empty(size, device="meta").stride())

    def copy(x: torch.Tensor) -> torch.Tensor:
        made = torch.empty_strided(size, stride, dtype=x.dtype, device=x.device)
        return made.copy_(x)

    return copy
