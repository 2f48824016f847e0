"""Upsampling as eager PyTorch does it: one operator forward, and one backward.

Where PyTorch traces, it writes upsampling out as indexing and arithmetic, before it asks for
derivatives: of a picture that is made four times as large bilinearly that takes three times the
memory of the operator, more time, and gives gradients that are rounded otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._C import DispatchKey

_NAMES = (
    *(f"upsample_nearest{n}d" for n in (1, 2, 3)),
    *(f"_upsample_nearest_exact{n}d" for n in (1, 2, 3)),
    *("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d"),
)
#: Where PyTorch has its ways of writing an operator out.
_KEYS = (DispatchKey.Autograd, DispatchKey.CompositeImplicitAutograd)


@contextmanager
def upsampling_kept_whole() -> Iterator[None]:
    """Have upsampling traced as the operators that eager PyTorch runs."""
    taken: list[tuple[Any, Any, Any]] = []
    for operator in _operators():
        for key in _KEYS:
            if key in operator.py_kernels:
                taken.append((operator, key, operator.py_kernels.pop(key)))
                operator._dispatch_cache.clear()
    try:
        yield
    finally:
        for operator, key, kernel in taken:
            operator.py_kernels[key] = kernel
            operator._dispatch_cache.clear()


def _operators() -> Iterator[Any]:
    """Each overload."""
    for name in _NAMES:
        packet = getattr(torch.ops.aten, name)
        yield from (getattr(packet, overload) for overload in packet.overloads())
