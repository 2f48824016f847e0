"""Copies to the host and back as steps of a plan: what a step that is under way holds there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from schedule.torch.channels import Channels
from schedule.torch.kernels import Kernel


@dataclass(slots=True)
class _Kept:
    """A tensor's storage on the host: its bytes, the end of their copy, and how they are seen."""

    held: torch.Tensor
    end: Any
    like: Any

    def seen(self, held: torch.Tensor) -> torch.Tensor:
        """The tensor as it was, on these bytes."""
        dtype, offset, size, stride, is_conj, is_neg = self.like
        found = torch.empty(0, dtype=dtype, device=held.device)
        found.set_(held.untyped_storage(), offset, size, stride)
        found = torch._neg_view(found) if is_neg else found
        return found.conj() if is_conj else found


class Copies:
    """What one step has on the host, and which copies may not have ended.

    A copy's two ends are held here until the device has been told to wait for it, so
    that none of them goes before, also where a step is broken off.

    Parameters
    ----------
    channels
        How bytes get there and back.
    """

    def __init__(self, channels: Channels) -> None:
        self._channels = channels
        self._marks: dict[int, Any] = {}
        self._kept: dict[int, _Kept | None] = {}
        self._under_way: dict[int, list[tuple[Any, torch.Tensor, torch.Tensor]]] = {}

    def mark(self, tensors: Sequence[int]) -> None:
        """These have been written; what is computed from now on, copies of them don't wait for."""
        self._marks |= dict.fromkeys(tensors, self._channels.mark())

    def down(self, tensor: int, value: Any) -> None:
        """Begin to copy its storage to the host."""
        if not isinstance(value, torch.Tensor):  # what nobody asked for may be None
            self._kept[tensor] = None
            return
        storage = value.untyped_storage()
        source = torch.empty(0, dtype=torch.uint8, device=value.device)
        source.set_(storage)
        target = self._channels.in_host(storage.nbytes())
        after = self._marks.pop(tensor, None)
        end = self._channels.down(source, target, self._channels.mark() if after is None else after)
        offset, size, stride = value.storage_offset(), value.size(), value.stride()
        like = value.dtype, offset, size, stride, value.is_conj(), value.is_neg()
        self._kept[tensor] = _Kept(target, end, like)
        self._begun(tensor, end, source, target)

    def up(self, tensor: int) -> torch.Tensor | None:
        """Begin to copy it back: the tensor, which isn't to be read before `wait`."""
        kept = self._kept[tensor]
        if kept is None:
            return None
        target = self._channels.on_device(kept.held.nbytes)
        end = self._channels.up(kept.held, target, kept.end)
        self._begun(tensor, end, kept.held, target)
        return kept.seen(target)

    def wait(self, tensor: int) -> None:
        """From now on all copies of it have ended, as far as the device can see."""
        for end, _, _ in self._under_way.pop(tensor, ()):
            self._channels.wait(end)

    def drop(self, tensor: int) -> None:
        """Let go of it on the host."""
        self.wait(tensor)
        del self._kept[tensor]

    def _begun(self, tensor: int, end: Any, source: torch.Tensor, target: torch.Tensor) -> None:
        self._under_way.setdefault(tensor, []).append((end, source, target))

    def __del__(self) -> None:
        for tensor in list(self._under_way):
            self.wait(tensor)


def marking(tensors: Sequence[int]) -> Kernel:
    """A kernel that reads a step's `Copies`, as all here do, as the last: these are written."""

    def run(copies: Copies) -> None:
        copies.mark(tensors)

    return run


def offloading(tensor: int) -> Kernel:
    """A kernel that begins to copy what it reads to the host."""

    def run(value: Any, copies: Copies) -> None:
        copies.down(tensor, value)

    return run


def fetching(tensor: int) -> Kernel:
    """A kernel that begins to copy a tensor back, and returns it."""

    def run(copies: Copies) -> Any:
        return copies.up(tensor)

    return run


def awaiting(tensor: int) -> Kernel:
    """A kernel that has what follows wait for the copies of what it reads."""

    def run(_: Any, copies: Copies) -> None:
        copies.wait(tensor)

    return run


def dropping(tensor: int) -> Kernel:
    """A kernel that lets go of a tensor on the host."""

    def run(copies: Copies) -> None:
        copies.drop(tensor)

    return run
