"""Lifetimes: what is allocated, from when until when, and how much."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from schedule.errors import BadGraph
from schedule.layout import Ints, spread
from schedule.memory import Trace
from schedule.stays import stays_of
from schedule.values import LARGEST_MEMORY, is_listed, shown

#: What the name of a workspace, and of the second copy of an output, ends in.
WORKSPACE, AGAIN = "!workspace", "!again"
#: Times beyond this don't come up, and their differences stay exact.
LATEST = 2**53
#: Whether resident inputs have addresses, or are somebody else's.
Inputs = Literal["inside", "outside"]


@dataclass(frozen=True, eq=False)
class Lifetimes:
    """Allocations: n buffers, each there from `lower` until before `upper`.

    Attributes
    ----------
    names
        Of a schedule: the tensor that owns the storage, or the node's name and
        `!workspace`, or the tensor's and `!again` for the second copy of an output that is
        still live. Of a file: its `id`.
    lower, upper
        Shape (n,): of a schedule, the step that allocates (−1: there before the first
        step), and the step that frees, which allocates nothing.
    size
        Shape (n,), in the graph's unit.
    fixed
        Shape (n,): the offset that a buffer has to have, −1 where it may have any; None:
        all may. Only files say so.

    Raises
    ------
    BadGraph
        Arrays of other lengths or of no integers, a lifetime that isn't positive, a size or an
        offset out of range.
    """

    names: tuple[str, ...]
    lower: Ints
    upper: Ints
    size: Ints
    fixed: Ints | None = None

    def __post_init__(self) -> None:
        if not is_listed(self.names):
            raise BadGraph(f"names of buffers are {shown(self.names)}; give a list of them")
        object.__setattr__(self, "names", tuple(self.names))
        for name in self.names:
            if not isinstance(name, str):
                raise BadGraph(f"names of buffers are strings, not {shown(name)}")
        for column in ("lower", "upper", "size", "fixed"):
            if column != "fixed" or self.fixed is not None:
                object.__setattr__(self, column, self._integers(column))
        self._require(self.lower < self.upper, "no time: it lives from lower until before upper")
        is_near = (self.lower >= -LATEST) & (self.upper <= LATEST)
        self._require(is_near, "times beyond ±2**53")
        self._require(self.size >= 0, "a negative size")
        if sum(self.size.tolist()) >= LARGEST_MEMORY:
            raise BadGraph("all sizes together have to stay below 2**61")
        if self.fixed is not None:
            is_offset = (self.fixed >= -1) & (self.fixed < LARGEST_MEMORY)
            self._require(is_offset, "an offset out of 0 … 2**61 − 1")

    def _integers(self, column: str) -> Ints:
        """A column as int64, where that is what it holds."""
        try:
            given = np.asarray(getattr(self, column))
        except ValueError as error:
            raise BadGraph(f"{column} of lifetimes: {error}") from None
        if given.shape != (len(self),):
            raise BadGraph(f"{column} of {len(self)} lifetimes has the shape {given.shape}")
        if given.dtype.kind != "i" and len(self):
            raise BadGraph(f"{column} of lifetimes has to be of signed integers, not {given.dtype}")
        return given.astype(np.int64, copy=False)

    def _require(self, holds: npt.NDArray[np.bool_], fault: str) -> None:
        if not holds.all():
            raise BadGraph(f"buffer {self.names[int(holds.argmin())]!r} has {fault}")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def columns(self) -> tuple[Ints, Ints, Ints]:
        """`lower`, `upper` and `size`."""
        return self.lower, self.upper, self.size

    @cached_property
    def _loads(self) -> tuple[Ints, Ints]:
        """Times at which something begins, ascending, and the sum of sizes then."""
        times, at = np.unique(np.concatenate([self.lower, self.upper]), return_inverse=True)
        change = np.zeros(len(times), np.int64)
        np.add.at(change, at, np.concatenate([self.size, -self.size]))
        return times, np.cumsum(change)

    @property
    def load(self) -> int:
        """The largest sum of sizes at any time: no arena is smaller.

        Of a schedule it is the peak, less what is outside.
        """
        return int(self._loads[1].max(initial=0))

    @property
    def load_time(self) -> int:
        """The first time at which the load is reached."""
        times, loads = self._loads
        return int(times[loads.argmax()]) if len(times) else 0


def lifetimes_of(trace: Trace, inputs: Inputs = "inside") -> Lifetimes:
    """Every allocation of a schedule on the device, in the order of its steps.

    Each birth of a storage is one, those that are computed again, too, or fetched from a
    level below, and so are workspaces and second copies, each for one step. A view has
    none: it lies where its base does. What takes no memory is left out.

    Parameters
    ----------
    trace
        What `schedule.verify` returns.
    inputs
        `"outside"`: without resident inputs.

    Examples
    --------
    >>> import schedule
    >>> from schedule.lifetimes import lifetimes_of
    >>> graph = schedule.example("chain")
    >>> trace = schedule.verify(graph, schedule.solve(graph, "50%"))
    >>> lifetimes_of(trace).load == trace.peak
    True

    Notes
    -----
    O(events log events), vectorised. The counting is that of `schedule.stays`.
    """
    layout = trace.graph.layout
    storage, start, end = stays_of(trace)
    ran = np.flatnonzero(trace.codes >= 0)
    nodes = trace.codes[ran]
    written, owner = spread(layout.first_output, nodes)
    step = ran[owner]
    is_new = np.isin(step * layout.n_tensors + written, start * layout.n_tensors + storage)
    again, again_at = written[~is_new], step[~is_new]
    # Storages, second copies, workspaces: what each is of, and when.
    number = np.concatenate([storage, again, nodes])
    kind = np.repeat(np.arange(3), [len(storage), len(again), len(nodes)])
    lower = np.concatenate([start, again_at, ran])
    upper = np.concatenate([end, again_at + 1, ran + 1])
    size = np.concatenate([layout.memory[storage], layout.memory[again], layout.workspace[nodes]])
    kept = size > 0
    if inputs == "outside":
        kept[: len(storage)] &= ~layout.resident[storage]
    order = np.lexsort((number, kind, lower))
    order = order[kept[order]]
    names = tuple(
        layout.tensor_names[at] + (AGAIN if of else "")
        if of < 2
        else layout.node_names[at] + WORKSPACE
        for at, of in zip(number[order].tolist(), kind[order].tolist())
    )
    return Lifetimes(names, lower[order], upper[order], size[order])
