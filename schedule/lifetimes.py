"""Lifetimes: what is allocated, from when until when, and how much."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from schedule.layout import Ints, spread
from schedule.memory import Trace
from schedule.stays import stays_of

#: What the name of a workspace, and of the second copy of an output, ends in.
WORKSPACE, AGAIN = "!workspace", "!again"
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
    """

    names: tuple[str, ...]
    lower: Ints
    upper: Ints
    size: Ints
    fixed: Ints | None = None

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
