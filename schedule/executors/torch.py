"""PyTorch's tensors, on any device: a tensor's storage is its `untyped_storage()`.

PyTorch keeps one Python object per storage for as long as the storage itself
lives, so weak references to it follow the storage exactly, even while only a
view or C++ holds it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

from schedule.errors import BadOption, MissingExtra
from schedule.executors.contract import Unplaceable
from schedule.executors.machine import available_memory
from schedule.executors.numpy import NumpyBackend
from schedule.values import shown


class TorchBackend:
    """Replays on `torch.Tensor`.

    Kernels run without automatic differentiation, whose records would keep
    alive what the schedule frees; one that needs it can enable it inside.

    Parameters
    ----------
    device
        Where the replay's own kernels allocate: `"cpu"` (the default),
        `"cuda"`, `"cuda:1"`, … The caller's tensors stay where they are.

    Raises
    ------
    MissingExtra
        PyTorch isn't installed.
    BadOption
        There is no such device here.
    """

    name = "torch"
    kind = "dense torch.Tensor"

    def __init__(self, device: str | None = None) -> None:
        try:
            self._torch: Any = import_module("torch")
        except ImportError as error:
            raise MissingExtra(
                f"backend 'torch' needs PyTorch ({error}):"
                f" pip install 'graph-schedule[torch]', or use backend 'numpy'"
            ) from error
        self._device = self._checked("cpu" if device is None else device)
        self._host = NumpyBackend()

    def _checked(self, device: str) -> Any:
        torch = self._torch
        try:
            found = torch.device(device)
            torch.empty(0, device=found)
        except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
            reason = str(error).partition("\n")[0]
            raise BadOption(f"device {shown(device)} can't be used: {reason}") from None
        if found.type not in ("cpu", "cuda"):
            raise BadOption(f"device is {shown(device)}; it has to be 'cpu' or 'cuda'")
        return found

    def array(self, value: object) -> Any | None:
        """`value` where it is a dense tensor: others have no storage, or several, or no shape."""
        torch = self._torch
        dense = (
            isinstance(value, torch.Tensor)
            and value.layout is torch.strided
            and not value.is_nested
        )
        return value if dense else None

    def storage(self, array: Any) -> Any:
        """Its `untyped_storage()`."""
        return array.untyped_storage()

    def array_bytes(self, array: Any) -> int:
        """Bytes of the elements."""
        return int(array.nbytes)

    def storage_bytes(self, storage: Any) -> int:
        """Bytes of the storage; what the allocator rounds up isn't counted."""
        return int(storage.nbytes())

    def describe(self, array: Any) -> str:
        """Such as `torch.float32, shape (2, 3)`."""
        return f"{array.dtype}, shape {tuple(array.shape)}"

    def running(self) -> AbstractContextManager[object]:
        """No automatic differentiation."""
        found: AbstractContextManager[object] = self._torch.no_grad()
        return found

    def available(self) -> int:
        """Memory of the device that this process may still take."""
        if self._device.type == "cpu":
            return available_memory()
        free: int = self._torch.cuda.mem_get_info(self._device)[0]
        return free

    def allocate(self, size: int) -> Any:
        """A tensor of `size` bytes on the device."""
        return self._torch.empty(size, dtype=self._torch.uint8, device=self._device)

    def view(self, array: Any) -> Any:
        """The whole of it."""
        return array[:]

    def fill(self, array: Any, seed: bytes) -> None:
        """The bytes that NumPy would get, made in place or copied to the device."""
        if self._device.type == "cpu":
            self._host.fill(array.numpy(), seed)
        else:
            content = self._host.allocate(len(array))
            self._host.fill(content, seed)
            array.copy_(self._torch.from_numpy(content))

    def host(self, array: Any) -> Any:
        """The content as a NumPy array: the tensor's own memory, or a copy of the device's."""
        return array.cpu().numpy()

    def in_host(self, size: int) -> Any:
        """A tensor in main memory, pinned where the device is a GPU."""
        pinned = self._device.type == "cuda"
        return self._torch.empty(size, dtype=self._torch.uint8, pin_memory=pinned)

    def in_file(self, path: str, size: int) -> Any:
        """A tensor on a memory map of a new file."""
        return self._torch.from_file(path, shared=True, size=size, dtype=self._torch.uint8)

    def bounds(self, array: Any) -> tuple[int, int]:
        """Of the elements; strides are never negative."""
        begin = array.data_ptr()
        return begin, begin + self._span(array)

    def _span(self, array: Any) -> int:
        if not array.numel():
            return 0
        last = sum((size - 1) * stride for size, stride in zip(array.shape, array.stride()))
        return int((last + 1) * array.element_size())

    def moved(self, array: Any, slot: Any) -> Any:
        """A tensor on the storage of `slot`; subclasses may be more than their memory."""
        self._require_plain(array)
        if array.device != slot.device:
            raise Unplaceable(f"is on {array.device}; the arena is on {slot.device}")
        return self._moved(array, slot)

    def moved_across(self, array: Any, slot: Any) -> Any:
        """The same from one device to another."""
        self._require_plain(array)
        with self._torch.no_grad():
            return self._moved(array, slot)

    def _require_plain(self, array: Any) -> None:
        torch = self._torch
        if type(array) not in (torch.Tensor, torch.nn.Parameter) or array.is_quantized:
            raise Unplaceable(
                f"is a {type(array).__qualname__} of {array.dtype}; only plain tensors can be moved"
            )

    def _moved(self, array: Any, slot: Any) -> Any:
        torch = self._torch
        item, source = array.element_size(), array.untyped_storage()
        if len(slot) == array.nbytes == self._span(array):
            begin = array.storage_offset() * item
        elif len(slot) == source.nbytes():
            begin = 0
        else:
            raise Unplaceable("has gaps between its elements; an arena takes a copy without")
        start = slot.storage_offset() + array.storage_offset() * item - begin
        if start % item:
            raise Unplaceable(
                f"is {array.dtype}, which can't lie at any address; place the schedule with"
                f" alignment={item} or more"
            )
        content = torch.empty(0, dtype=torch.uint8, device=array.device)
        slot.copy_(content.set_(source, begin, (len(slot),), (1,)))
        target = slot.untyped_storage()
        found = torch.empty(0, dtype=array.dtype, device=slot.device)
        found.set_(target, start // item, array.size(), array.stride())
        found = found.conj() if array.is_conj() else found
        return torch._neg_view(found) if array.is_neg() else found
