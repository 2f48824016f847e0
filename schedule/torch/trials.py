"""Operators run by themselves on inputs like a step's, to see what a run takes: time, memory.

A kernel that is given what no step would give it may be slow, fail, or end the
process: attention's backward pass reads its seed through a pointer. So numbers are
random, and what isn't a number to compute with (indices, masks, seeds, statistics)
is what the step has, or what the operator that gives it gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import getitem
from typing import Any, Protocol

import torch
from torch import fx

from schedule.torch import kernels
from schedule.torch.joint import Source
from schedule.torch.kernels import Kernel

#: What an operator raises on inputs that it can't take, or for which there is no memory.
FAILURES = (RuntimeError, ValueError, TypeError, LookupError, AssertionError, ArithmeticError)
#: Longer chains of whole numbers aren't followed to where they begin.
_DEEPEST = 32


@dataclass(frozen=True, slots=True)
class Trial:
    """An operator to be tried.

    Attributes
    ----------
    kernel
        What runs.
    reads
        The nodes whose values it is given, or fake tensors like these.
    backward
        Whether it belongs to the backward pass, which PyTorch runs on another
        thread: libraries keep buffers for each.
    """

    kernel: Kernel
    reads: tuple[fx.Node | torch.Tensor, ...]
    backward: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What one run takes: nanoseconds, and bytes at its peak beyond what it leaves.

    0 is what wasn't asked for.
    """

    nanoseconds: int
    workspace: int


class Gauge(Protocol):
    """How a kind of device is measured."""

    def begin(self) -> int:
        """Bytes in use, without what libraries keep."""

    def run(self, is_backward: bool, work: Callable[[], None]) -> None:
        """Do something where the forward, or the backward, pass would run."""

    def take(self, run: Callable[[], Any]) -> None:
        """Note what one run takes, after a first one."""

    def end(self) -> int:
        """Bytes in use, with what libraries keep."""

    def found(self) -> list[Found]:
        """What was noted, in order."""


@dataclass(frozen=True)
class Findings:
    """What trials found.

    Attributes
    ----------
    by_trial
        In the order of the trials; None: it couldn't be run.
    kept
        Bytes that libraries keep from the first run on.
    """

    by_trial: list[Found | None]
    kept: int


def tried(trials: Sequence[Trial], inputs: Inputs, gauge: Gauge) -> Findings:
    """Run each operator some times, one after the other, without gradients.

    Parameters
    ----------
    trials
        One for each operator and shapes.
    inputs
        Makes what they read.
    gauge
        Of the device.

    Notes
    -----
    Random states are left as they were. It takes the memory of one operator's
    inputs and results at a time.
    """
    order: list[int] = []

    def work(is_backward: bool) -> None:
        with torch.no_grad():
            for at, trial in enumerate(trials):
                if trial.backward == is_backward and _ran(trial, inputs, gauge):
                    order.append(at)

    before = gauge.begin()
    with torch.random.fork_rng(devices=inputs.devices):
        torch.manual_seed(0)
        for is_backward in (False, True):
            gauge.run(is_backward, partial(work, is_backward))
    found = dict(zip(order, gauge.found()))
    return Findings([found.get(at) for at in range(len(trials))], max(0, gauge.end() - before))


def _ran(trial: Trial, inputs: Inputs, gauge: Gauge) -> bool:
    try:
        made = inputs.of(trial.reads)
        trial.kernel(*made)  # what a library sets up once isn't the operator's
        gauge.take(lambda: trial.kernel(*made))
    except FAILURES:
        return False
    return True


class Inputs:
    """Tensors as the nodes of a joint graph give them.

    Parameters
    ----------
    sources
        Of the graph's inputs.
    constants
        By name.
    given
        What the step is given, by place, as far as it is known: its example
        batch, parameters and buffers.
    """

    def __init__(
        self,
        sources: Mapping[fx.Node, Source],
        constants: Mapping[str, torch.Tensor],
        given: Sequence[Any],
    ) -> None:
        self._sources, self._constants, self._given = sources, constants, given
        found = [node.meta.get("val") for node in sources]
        on_gpu = [value for value in found if isinstance(value, torch.Tensor) and value.is_cuda]
        self.devices = sorted({value.get_device() for value in on_gpu})

    def of(self, reads: Sequence[fx.Node | torch.Tensor]) -> list[torch.Tensor]:
        """What these nodes give."""
        made: dict[fx.Node, Any] = {}
        return [
            self._made(read, made, 0) if isinstance(read, fx.Node) else filled(read)
            for read in reads
        ]

    def _made(self, node: fx.Node, made: dict[fx.Node, Any], depth: int) -> Any:
        if node not in made:
            value = self._known(node)
            if value is None:
                value = self._run(node, made, depth)
            made[node] = filled(node.meta["val"]) if value is None else value
        return made[node]

    def _known(self, node: fx.Node) -> torch.Tensor | None:
        """The tensor that the step is given, if it is there."""
        source = self._sources.get(node)
        if source is None or source.kind == "tangent":
            return None
        if source.kind == "constant":
            value: Any = self._constants[str(source.key)]
        else:
            value = self._given[int(source.key)] if int(source.key) < len(self._given) else None
        return value.detach() if is_real(value) else None

    def _run(self, node: fx.Node, made: dict[fx.Node, Any], depth: int) -> Any:
        """What an operator gives, where its result isn't as good as any other; None: it is.

        One of several results (statistics, masks, seeds) goes with the others. A
        single one that is no floating-point number is followed to where it comes
        from, as long as that isn't such a number either.
        """
        whole = node.args[0] if node.target is getitem else node
        if depth > _DEEPEST or not isinstance(whole, fx.Node) or not _is_own(whole):
            return None
        if node.target is getitem:
            if depth and _is_number(node):
                return None
        elif _is_number(node) or any(map(_is_number, whole.all_input_nodes)):
            return None
        if whole not in made:
            reads, kernel = kernels.compiled(whole)
            made[whole] = kernel(*[self._made(read, made, depth + 1) for read in reads])
        return made[whole][node.args[1]] if node.target is getitem else made[whole]


def is_real(value: Any) -> bool:
    """Whether it is a tensor with memory."""
    from torch._subclasses.fake_tensor import FakeTensor

    return isinstance(value, torch.Tensor) and not isinstance(value, FakeTensor)


def _is_own(node: fx.Node) -> bool:
    """Whether an operator is PyTorch's own, which does nothing but compute."""
    return node.op == "call_function" and getattr(node.target, "namespace", "") in ("aten", "prims")


def _is_number(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex())


def filled(like: torch.Tensor, number: float | None = None) -> torch.Tensor:
    """Random numbers, or one, in the same shape, layout, type, device; of whole numbers zeros."""
    # What is spread over several places is one number in memory.
    memory = torch.empty(
        kernels.extent(like) // like.element_size(), dtype=like.dtype, device=like.device
    )
    if number is not None and like.is_floating_point():
        memory.fill_(number)
    elif like.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        memory.uniform_(-1, 1)
    else:
        memory.zero_()  # as indices, zeros are always inside
    return memory.as_strided(like.size(), like.stride())
