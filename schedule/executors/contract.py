"""What a framework has to offer to a replay, and what a replay gives back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

#: Runs one node: takes the arrays it reads, in the order of `Node.inputs`, a name that stands
#: there twice twice; returns one array, or a tuple or list with one array per output.
Kernel = Callable[..., Any]


@dataclass(frozen=True)
class Into:
    """A kernel that writes its outputs where it is told: `Into(kernel)` in the place of it.

    Attributes
    ----------
    kernel
        As a `Kernel`, with one argument more: `out`, a list with one flat array of bytes
        (`uint8`) for each output, as many as the graph declares, and None for a view. It
        returns arrays on that memory, of whatever element type and shape.

    Examples
    --------
    >>> import numpy as np
    >>> from schedule.executors import Into
    >>> doubled = Into(lambda x, out: np.multiply(x, 2, out=out[0].view(x.dtype)))
    """

    kernel: Kernel

    def __call__(self, *arrays: Any, out: list[Any]) -> Any:
        """The kernel itself."""
        return self.kernel(*arrays, out=out)


class Backend(Protocol):
    """How a framework's arrays are told apart; "storage" is the memory they lie on.

    Attributes
    ----------
    name
        As in `backend="numpy"`.
    kind
        What its arrays are called in messages.
    """

    name: str
    kind: str

    def array(self, value: object) -> Any | None:
        """`value` as an array of this framework; None where it isn't one."""

    def storage(self, array: Any) -> Any:
        """The object that lives exactly as long as the array's memory.

        It is the same object for all arrays on that memory, and takes weak
        references.
        """

    def array_bytes(self, array: Any) -> int:
        """Bytes of the array's own elements."""

    def storage_bytes(self, storage: Any) -> int:
        """Bytes of the whole memory, of which an array may show a part."""

    def describe(self, array: Any) -> str:
        """Element type and shape, for messages."""

    def running(self) -> AbstractContextManager[object]:
        """What to wrap round a run of kernels."""


class Allocator(Backend, Protocol):
    """A backend that also makes arrays, for replays without the caller's kernels."""

    def available(self) -> int:
        """Bytes that can be allocated now."""

    def allocate(self, size: int) -> Any:
        """A flat array of `size` bytes, not filled yet."""

    def view(self, array: Any) -> Any:
        """Another array on the whole memory of `array`."""

    def fill(self, array: Any, seed: bytes) -> None:
        """Overwrite every byte with what follows from `seed` alone."""

    def host(self, array: Any) -> Any:
        """The content as something with a buffer, in the machine's main memory."""


class Unplaceable(Exception):
    """Why an array can't lie in an arena, as the rest of a sentence that begins with its name."""


class Placer(Allocator, Protocol):
    """A backend that also replays in one arena; bytes are what `allocate` makes, or slices."""

    def bounds(self, array: Any) -> tuple[int, int]:
        """Address of the first byte that the array shows, and where the last one ends."""

    def moved(self, array: Any, slot: Any) -> Any:
        """The same array on other memory, with its strides; `slot` are the bytes that it takes.

        Raises
        ------
        Unplaceable
            It can't be the same there.
        """


class Copier(Placer, Protocol):
    """A backend that also replays schedules that copy to levels of memory below its device."""

    def in_host(self, size: int) -> Any:
        """A flat array of `size` bytes in main memory, from where copies are quick."""

    def in_file(self, path: str, size: int) -> Any:
        """A flat array of `size` > 0 bytes that are those of a new file."""

    def moved_across(self, array: Any, slot: Any) -> Any:
        """As `moved`, from any memory to any other; called from several threads.

        Raises
        ------
        Unplaceable
            It can't be the same there.
        """


class LevelPeak(NamedTuple):
    """Memory of a level below the device: what was promised, and what was measured."""

    promised: int
    measured: int


@dataclass(frozen=True)
class Replay:
    """One schedule, run.

    Attributes
    ----------
    outputs
        The graph's outputs by name, in its order: arrays; hashes of their
        contents, as hexadecimal digits, where the replay made its own kernels.
    backend
        Its name, such as `"numpy"`.
    steps, runs
        How many steps there were, and how many of them ran a node.
    promised_peak
        What the memory model says of the schedule; in an arena, the size of that and of
        the inputs outside.
    measured_peak
        Largest sum of the sizes of all arrays' storages that were there at
        once, each followed from its birth to its death, and of the declared
        workspace of the node that ran.
    seconds
        Wall time.
    arena
        Bytes of the one allocation that everything lay in; None: there was none.
    levels
        By name, the peaks of the levels below the device, where something is copied.
    """

    outputs: dict[str, Any]
    backend: str
    steps: int
    runs: int
    promised_peak: int
    measured_peak: int
    seconds: float
    arena: int | None = None
    levels: dict[str, LevelPeak] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether each measured peak is the promised one, to the byte."""
        below = all(peak.measured == peak.promised for peak in self.levels.values())
        return below and self.measured_peak == self.promised_peak
