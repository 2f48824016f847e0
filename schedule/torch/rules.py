"""Experimental in PyTorch: by what rules Inductor fuses, as far as a plan has to know."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx


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
