"""Copies between a device and its host, beside what the device computes.

On a GPU each channel is a stream of its own, and host memory is pinned. Nobody waits on
the host: streams wait for each other's events. Whoever frees memory of the device that
is copied from or to has the computing stream wait for that copy first, as the model of
time has it; so that memory is the computing stream's alone again when it is freed, and
the caching allocator may hand it out at once. (Told of the other streams by
`record_stream`, it would hold the memory back till the device gets there, with the host
far ahead: more than is promised.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Protocol

import torch

from schedule.levels import Level
from schedule.torch.costs import constants_of
from schedule.torch.gauges import gauge_of

#: Bytes of the copies that a link is measured with.
_LARGE, _SMALL = 2**25, 2**10


class Channels(Protocol):
    """How bytes get to the host and back; marks and ends are its own business."""

    def in_host(self, size: int) -> torch.Tensor:
        """Bytes on the host."""

    def on_device(self, size: int) -> torch.Tensor:
        """Bytes on the device."""

    def mark(self) -> Any:
        """All that the device was asked to compute before."""

    def down(self, source: torch.Tensor, target: torch.Tensor, after: Any) -> Any:
        """Begin to copy bytes to the host, after a mark; returns what ends with the copy."""

    def up(self, source: torch.Tensor, target: torch.Tensor, after: Any) -> Any:
        """Begin to copy bytes to the device, after all computes so far and the end of a copy."""

    def wait(self, end: Any) -> None:
        """What the device is asked to compute from now on begins after the end of a copy."""


class OnCpu:
    """Copies in main memory, which have ended when they are asked for."""

    def in_host(self, size: int) -> torch.Tensor:
        """Memory beside that of the tensors."""
        return torch.empty(size, dtype=torch.uint8)

    def on_device(self, size: int) -> torch.Tensor:
        """The same."""
        return torch.empty(size, dtype=torch.uint8)

    def mark(self) -> None:
        """It has been computed."""

    def down(self, source: torch.Tensor, target: torch.Tensor, after: Any) -> None:  # noqa: ARG002 - as on a GPU
        """Copy."""
        target.copy_(source)

    def up(self, source: torch.Tensor, target: torch.Tensor, after: Any) -> None:  # noqa: ARG002 - as on a GPU
        """Copy."""
        target.copy_(source)

    def wait(self, end: Any) -> None:
        """It has ended."""


class OnCuda:
    """Two streams beside the one that computes, which is the current one when this is made.

    Automatic differentiation runs the backward pass on the stream of the forward pass.

    Parameters
    ----------
    device
        A GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._cuda: Any = torch.cuda
        self._compute = self._cuda.current_stream(device)
        self._down, self._up = _streams(device)

    def in_host(self, size: int) -> torch.Tensor:
        """Pinned. PyTorch keeps what is freed, and hands it out once copies from and to it end."""
        return torch.empty(size, dtype=torch.uint8, pin_memory=True)

    def on_device(self, size: int) -> torch.Tensor:
        """Memory of the computing stream."""
        return torch.empty(size, dtype=torch.uint8, device=self._device)

    def mark(self) -> Any:
        """An event on the computing stream."""
        return self._event(self._compute)

    def down(self, source: torch.Tensor, target: torch.Tensor, after: Any) -> Any:
        """On the stream for copies down."""
        return self._copy(self._down, source, target, [after])

    def up(self, source: torch.Tensor, target: torch.Tensor, after: Any) -> Any:
        """On the stream for copies up."""
        return self._copy(self._up, source, target, [self.mark(), after])

    def wait(self, end: Any) -> None:
        """The computing stream waits, not the host."""
        self._compute.wait_event(end)

    def _copy(self, stream: Any, source: torch.Tensor, target: torch.Tensor, after: Any) -> Any:
        for event in after:
            stream.wait_event(event)
        with self._cuda.stream(stream):
            target.copy_(source, non_blocking=True)
        return self._event(stream)

    def _event(self, stream: Any) -> Any:
        made = self._cuda.Event()
        made.record(stream)
        return made


@cache
def _streams(device: torch.device) -> tuple[Any, Any]:
    """One for each channel: steps share them, as they share the link."""
    cuda: Any = torch.cuda
    return cuda.Stream(device), cuda.Stream(device)


def channels_of(device: torch.device) -> Channels:
    """How a device's tensors get to the host and back."""
    return OnCuda(device) if device.type == "cuda" else OnCpu()


@dataclass(frozen=True, slots=True)
class Link:
    """Bandwidths in bytes a nanosecond, and nanoseconds that each copy takes beside that."""

    down: float
    up: float
    latency: float

    def level(self, capacity: int) -> Level:
        """A host of that many bytes at its end."""
        return Level("host", capacity, self.down, self.up, self.latency)


def link_of(device: torch.device, costs: str) -> tuple[Link, str]:
    """The link between a device and its host, and how it is known.

    Measured on a GPU, and where costs are; else modelled by the constants that
    operations are modelled by: a copy reads and writes its bytes.
    """
    if device.type == "cuda" or costs in ("measure", "calibrated"):
        return measured(str(device)), "measured"
    constants = constants_of(device)
    return Link(constants.bytes / 2, constants.bytes / 2, constants.call), "modelled"


@cache
def measured(device: str) -> Link:
    """The link of a device, one way at a time, once in a process: far less than a second."""
    on = torch.device(device)
    channels, gauge = channels_of(on), gauge_of(on, times=True, memory=False)

    def work() -> None:
        for size in (_SMALL, _LARGE):
            here, there = channels.on_device(size).zero_(), channels.in_host(size).zero_()
            gauge.take(partial(there.copy_, here, non_blocking=True))
            gauge.take(partial(here.copy_, there, non_blocking=True))

    gauge.run(is_backward=False, work=work)
    small_down, small_up, down, up = (float(found.nanoseconds) for found in gauge.found())
    more = _LARGE - _SMALL
    return Link(
        more / max(down - small_down, 1.0),
        more / max(up - small_up, 1.0),
        max(small_down, small_up),
    )
