"""Bytes as a device's allocator hands them out: on a GPU in blocks, which count as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch

from schedule.torch.trials import is_real

#: Blocks of PyTorch's caching allocator are multiples of this.
_SMALLEST = 512
#: From this size on one is asked of the device by itself, in multiples of `_STEP`; what that is
#: more than is needed is split off if it is more than `_LEFT`.
_LARGE, _STEP, _LEFT = 10 * 2**20, 2 * 2**20, 2**20
#: A block that was another tensor's before may be larger by up to `_LEFT`; so many at a time are
#: allowed for, and one more for so many tensors. Measured on eight models there were no more than
#: five, but for T5: sixteen, of thousands of tensors.
_SPARE, _FOR_EACH = 8, 256


class Blocks:
    """What tensors take on one device.

    Parameters
    ----------
    device
        Of all of them.
    given
        Tensors that are there: of those on a GPU the allocator is asked.
    """

    def __init__(self, device: torch.device, given: Sequence[Any] = ()) -> None:
        self._in_blocks = device.type == "cuda"
        self._known: dict[int, int] = {}
        if self._in_blocks and any(is_real(item) and item.is_cuda for item in given):
            cuda: Any = torch.cuda
            for segment in cuda.memory_snapshot():
                for block in segment["blocks"]:
                    self._known[block["address"]] = block["size"]

    def made(self, size: int) -> int:
        """Of a tensor of this size that a step makes, in a block of its own."""
        if not self._in_blocks or not size:
            return size
        size = _up(size, _SMALLEST)
        rest = _up(size, _STEP) - size
        return size + rest if size >= _LARGE and rest <= _LEFT else size

    def spare(self, sizes: Sequence[int]) -> int:
        """Of tensors of these sizes, what may be handed out in blocks larger than they need."""
        if not self._in_blocks:
            return 0
        n = sum(size > _LEFT for size in sizes)
        return _LEFT * min(_SPARE + n // _FOR_EACH, n)

    def slack(self, given: Any, size: int) -> int:
        """Of the block of a given tensor, what is more than its storage's size.

        Parameters stay where they are, and the allocator knows their blocks; an
        argument is another one at each step.
        """
        if isinstance(given, torch.nn.Parameter) and is_real(given):
            address = given.untyped_storage().data_ptr()
            return self._known.get(address, self.made(size)) - size
        return self.made(size) - size


def take(size: int, device: torch.device) -> None:
    """Have a GPU's allocator hold that many bytes in one piece, for what is made next.

    What it takes tensor by tensor is in pieces of their sizes, which larger tensors don't fit
    into when it is free again; what is split off one piece grows together again.
    """
    if size and device.type == "cuda":
        torch.empty(size, dtype=torch.uint8, device=device)


def make_room(size: int, device: torch.device) -> None:
    """Give back what the allocator holds in pieces, and have it take one, if there is memory."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        with suppress(torch.OutOfMemoryError):
            take(size, device)


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def in_use() -> str:
    """What the current GPU's memory is in use for, in words."""
    cuda: Any = torch.cuda
    if not cuda.is_available() or not cuda.is_initialized():
        return ""
    free, total = cuda.mem_get_info()
    mine, kept = cuda.memory_allocated(), cuda.memory_reserved()
    return (
        f"; allocated are {mine:,}, {kept - mine:,} more are held by PyTorch's allocator (in pieces"
        f" that don't fit, perhaps: see docs/torch.md), {max(total - free - kept, 0):,} of the"
        f" device's {total:,} are in use beside them, by other processes or libraries"
    )
