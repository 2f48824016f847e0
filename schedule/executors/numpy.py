"""NumPy's arrays: an array's storage is the array that owns its memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from schedule.errors import BadOption
from schedule.executors.contract import Unplaceable
from schedule.executors.machine import available_memory
from schedule.values import shown

#: What empty arrays lie on: NumPy would allocate a byte for each.
_NOTHING = bytearray()
#: Random numbers that are made at a time, where they can't be made in place.
_WORDS = 8192


class NumpyBackend:
    """Replays on `numpy.ndarray`; scalars such as `np.float32(1)` are taken as arrays.

    Parameters
    ----------
    device
        None or `"cpu"`.
    """

    name = "numpy"
    kind = "numpy.ndarray"

    def __init__(self, device: str | None = None) -> None:
        if device not in (None, "cpu"):
            raise BadOption(f"device is {shown(device)}; NumPy has only 'cpu'")

    def array(self, value: object) -> Any | None:
        """`value` where it is an array of plain data: an array of objects has no size."""
        if isinstance(value, np.generic):
            value = np.asarray(value)
        return value if isinstance(value, np.ndarray) and not value.dtype.hasobject else None

    def storage(self, array: Any) -> Any:
        """The array that owns the memory, or the outermost one on memory that isn't NumPy's."""
        while isinstance(array.base, np.ndarray):
            array = array.base
        return array

    def array_bytes(self, array: Any) -> int:
        """Bytes of the elements."""
        return int(array.nbytes)

    def storage_bytes(self, storage: Any) -> int:
        """Bytes of the owner's elements, which are all that it allocated.

        NumPy itself allocates one byte for an empty array; that isn't counted.
        """
        return int(storage.nbytes)

    def describe(self, array: Any) -> str:
        """Such as `float32, shape (2, 3)`."""
        return f"{array.dtype}, shape {array.shape}"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Nothing to prepare."""
        yield

    def available(self) -> int:
        """Main memory that this process may still take."""
        return available_memory()

    def allocate(self, size: int) -> Any:
        """An array of exactly `size` bytes, none for an empty one."""
        if size:
            return np.empty(size, np.uint8)
        return np.ndarray((0,), np.uint8, buffer=_NOTHING)

    def view(self, array: Any) -> Any:
        """The whole of it."""
        return array[:]

    def fill(self, array: Any, seed: bytes) -> None:
        """Pseudorandom bytes, made in place."""
        whole = len(array) // 8 * 8
        random = np.random.Generator(np.random.SFC64(int.from_bytes(seed, "little")))
        words = array[:whole].view(np.float64)
        if words.flags.aligned:
            random.random(out=words)
        else:  # in an arena without alignment: NumPy can't write there
            for at in range(0, len(words), _WORDS):
                words[at : at + _WORDS] = random.random(len(words[at : at + _WORDS]))
        array[whole:] = np.frombuffer(random.bytes(len(array) - whole), np.uint8)

    def host(self, array: Any) -> Any:
        """Itself."""
        return array

    def in_host(self, size: int) -> Any:
        """As `allocate`: all is in main memory."""
        return self.allocate(size)

    def in_file(self, path: str, size: int) -> Any:
        """A memory map of a new file."""
        return np.memmap(path, np.uint8, "w+", shape=(size,))

    def moved_across(self, array: Any, slot: Any) -> Any:
        """As `moved`."""
        return self.moved(array, slot)

    def bounds(self, array: Any) -> tuple[int, int]:
        """NumPy's own `byte_bounds`."""
        return byte_bounds(array)

    def moved(self, array: Any, slot: Any) -> Any:
        """A view of `slot`; arrays of a subclass may be more than their memory."""
        if type(array) is not np.ndarray:
            raise Unplaceable(f"is a {type(array).__qualname__}; in an arena only ndarrays lie")
        whole = array if array.nbytes == len(slot) else self.storage(array)
        begin, end = byte_bounds(whole)
        if end - begin != len(slot):
            raise Unplaceable("has gaps between its elements; an arena takes a copy without")

        def there(one: Any) -> Any:
            start = one.__array_interface__["data"][0] - begin
            return np.ndarray(one.shape, one.dtype, slot, start, one.strides)

        found = there(array)
        if array.flags.aligned and not found.flags.aligned:
            raise Unplaceable(
                f"is {array.dtype}, which can't lie at any address; place the schedule with"
                f" alignment={array.dtype.alignment} or more"
            )
        there(whole)[...] = whole
        return found
