"""What an operator's run costs, in nanoseconds: flops / F + bytes / B + a constant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Literal, get_args

import torch
from torch import fx

from schedule.devices import COUNTING, Device, typical
from schedule.errors import BadOption
from schedule.torch.gauges import gauge_of
from schedule.values import shown

#: How costs are had: by constants that are fixed for each kind of device, by constants
#: measured once on this one, by running each operation, by floating-point operations
#: (in thousands; bytes decide only between equals), or every operation counting 1. `auto` runs
#: them on a GPU, and takes the fixed constants elsewhere.
Costs = Literal["auto", "model", "calibrated", "measure", "flops", "unit"]
#: Memory that an operation takes only while it runs, and that libraries keep: none, what is
#: measured here, or what is measured on a GPU alone.
Workspace = Literal["auto", "none", "measure"]


def constants_of(device: torch.device) -> Device:
    """Those that are typical of its kind."""
    return typical(device.type)


aten = torch.ops.aten
#: What PyTorch's table of operations lacks, and under what it lists the same elsewhere.
_ATTENTION: dict[Any, Any] = {
    aten._scaled_dot_product_flash_attention_for_cpu: aten._scaled_dot_product_flash_attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        aten._scaled_dot_product_flash_attention_backward
    ),
}


class Meter:
    """Costs of the operations of one graph.

    Parameters
    ----------
    costs, workspace
        As for `plan`; `auto` measures on a GPU where that can be.
    device
        Of the tensors.
    can_measure
        Whether they have memory.

    Raises
    ------
    BadOption
        `costs` or `workspace` is none of the choices.
    """

    def __init__(
        self, costs: str, device: torch.device, workspace: str, *, can_measure: bool = True
    ) -> None:
        for option, value, kind in (("costs", costs, Costs), ("workspace", workspace, Workspace)):
            if value not in get_args(kind):
                choices = ", ".join(get_args(kind))
                raise BadOption(f"{option} is {shown(value)}; it is one of {choices}")
        self._costs, self.device = costs, device
        automatic = ["auto"] if can_measure and device.type == "cuda" else []
        self.measures_workspace = workspace in ("measure", *automatic)
        self.measures_costs = costs in ("measure", *automatic)
        self._constants = constants_of(device)
        if costs == "calibrated":
            self._constants = calibrated(str(device))
        elif costs == "flops":
            self._constants = COUNTING

    def cost(self, node: fx.Node, reads: Sequence[torch.Tensor]) -> int:
        """Of one run of a node that reads such tensors; by the model where costs are measured."""
        if self._costs == "unit":
            return 1
        written: Any = node.meta["val"]
        tensors = written if isinstance(written, (tuple, list)) else [written]
        moved = sum(_nbytes(tensor) for tensor in [*reads, *tensors])
        return self._constants.nanoseconds(_flops(node), moved)

    def kernel(self, nodes: Sequence[fx.Node], moved: int) -> int:
        """Of one run of several nodes at once that reads and writes so many bytes; never measured.

        What PyTorch's table doesn't list counts one operation an element.
        """
        if self._costs == "unit":
            return 1
        flops = sum(_flops(node) or _elements(node) * (self._costs != "flops") for node in nodes)
        return self._constants.nanoseconds(flops, moved)

    def copy(self, value: torch.Tensor) -> int:
        """Of copying a tensor; never measured."""
        if self._costs == "unit":
            return 1
        return self._constants.nanoseconds(0, 2 * _nbytes(value))


def likeness(node: fx.Node, reads: Sequence[torch.Tensor]) -> Any:
    """The same for all runs of an operator on tensors of the same shapes."""
    given = fx.map_arg((node.args, node.kwargs), lambda _: None)
    return node.target, repr(given), tuple(map(_shape, reads))


def _nbytes(value: Any) -> int:
    return value.numel() * value.element_size() if isinstance(value, torch.Tensor) else 0


def _elements(node: fx.Node) -> int:
    written: Any = node.meta["val"]
    tensors = written if isinstance(written, (tuple, list)) else [written]
    return sum(item.numel() for item in tensors if isinstance(item, torch.Tensor))


def _shape(value: torch.Tensor) -> tuple[Any, ...]:
    return (tuple(value.shape), tuple(value.stride()), value.dtype)


def formula_of(node: fx.Node) -> Callable[..., int] | None:
    """How PyTorch's own table counts an operator's work: of products, convolutions, attention."""
    from torch.utils.flop_counter import flop_registry

    packet = getattr(node.target, "overloadpacket", None)
    count: Callable[..., int] | None = flop_registry.get(_ATTENTION.get(packet, packet))
    return count


def _flops(node: fx.Node) -> int:
    """As PyTorch's own table counts them; 0 for what it doesn't list."""
    count = formula_of(node)
    if count is None:
        return 0
    args, kwargs = fx.map_arg((node.args, node.kwargs), lambda read: read.meta["val"])
    return int(count(*args, **kwargs, out_val=node.meta["val"]))


@cache
def calibrated(device: str) -> Device:
    """The constants of a device, measured once in a process: less than a second."""
    on = torch.device(device)
    wide = 1024
    square = torch.rand(wide, wide, device=on)
    long = torch.ones(2**24, device=on)
    one = torch.ones(1, device=on)
    gauge = gauge_of(on, times=True, memory=False)
    aten.mm.default(square, square)
    gauge.take(partial(aten.neg.default, one))
    gauge.take(partial(aten.mm.default, square, square))
    gauge.take(partial(aten.neg.default, long))
    call, product, copy = (found.nanoseconds for found in gauge.found())
    return Device(2 * wide**3 / max(product - call, 1), 2 * 4 * 2**24 / max(copy - call, 1), call)
