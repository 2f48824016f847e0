"""When tensors are written, fetched and freed, and when storages come and go with them."""

from __future__ import annotations

import numpy as np

from schedule.layout import Bools, Ints, Layout, spread

#: Kinds of transfers, in the order in which codes count them (see `schedule.layout`).
OFFLOAD, PREFETCH, DROP = range(3)


class Events:
    """Writes and frees of tensors on the device, sorted by tensor, then by step.

    A node never reads or frees what it writes, so at most one event per tensor
    and step exists, and one integer holds tensor, step and kind.

    Parameters
    ----------
    layout
        The graph as arrays.
    codes
        Shape (S,): the steps as codes; they need not be valid.

    Attributes
    ----------
    tensor, step
        Shape (events,): what is written, fetched or freed, and by which step.
    is_write
        Shape (events,): whether the tensor is live afterwards, not freed.
    was_live
        Shape (events,): whether it was so before.
    ran
        Shape (runs,): the steps that run a node, ascending.

    Notes
    -----
    O((events + reads) log events), vectorised.
    """

    def __init__(self, layout: Layout, codes: Ints) -> None:
        self._layout, self._codes = layout, codes
        self.ran = np.flatnonzero(codes >= 0)
        freed, freed_at = _frees(layout, codes)
        fetched, fetched_at = transfers(layout, codes, 1, PREFETCH)
        written, owner = spread(layout.first_output, codes[self.ran])
        keys = np.concatenate(
            [
                self._key(written, self.ran[owner]) * 2 + 1,
                self._key(fetched, fetched_at) * 2 + 1,
                self._key(freed, freed_at) * 2,
            ]
        )
        keys.sort()
        self.is_write = (keys & 1).astype(bool)
        self._keys = keys >> 1
        self.tensor, self.step = self._split(self._keys)
        first = np.ones(len(keys), dtype=bool)
        first[1:] = self.tensor[1:] != self.tensor[:-1]
        self._at_start = layout.producer < 0
        self.was_live = np.empty(len(keys), dtype=bool)
        self.was_live[1:] = self.is_write[:-1]
        self.was_live[first] = self._at_start[self.tensor[first]]

    def _key(self, tensor: Ints, step: Ints) -> Ints:
        return tensor * max(len(self._codes), 1) + step

    def _split(self, keys: Ints) -> tuple[Ints, Ints]:
        """Tensors and steps of keys."""
        return np.divmod(keys, max(len(self._codes), 1))

    def dead_reads(self) -> tuple[Ints, Ints]:
        """Steps and tensors of all reads of a tensor that isn't live."""
        layout = self._layout
        at, owner = spread(layout.first_read, self._codes[self.ran])
        keys = self._key(layout.reads[at], self.ran[owner])
        keys.sort()
        tensor, step = self._split(keys)
        before = np.searchsorted(self._keys, keys) - 1
        known = before >= 0
        known[known] = self.tensor[before[known]] == tensor[known]
        live = self._at_start[tensor]
        live[known] = self.is_write[before[known]]
        return step[~live], tensor[~live]

    def crossings(self) -> tuple[Ints, Ints, Ints]:
        """Storages that come (sign 1) or go (−1), and the steps at which they do.

        A storage is in use from when the number of its live tensors leaves 0 to when
        it returns there. A tensor that is written while live changes nothing.
        """
        layout = self._layout
        moved = self.is_write != self.was_live
        storage = layout.storage[self.tensor[moved]]
        step = self.step[moved]
        sign = np.where(self.is_write[moved], 1, -1).astype(np.int64)
        if np.any(layout.storage != np.arange(layout.n_tensors)):
            order = np.lexsort((step, storage))
            storage, step, sign = storage[order], step[order], sign[order]
            held = np.cumsum(sign)
            first = np.ones(len(storage), dtype=bool)
            first[1:] = storage[1:] != storage[:-1]
            base = (held - sign)[first]
            held += (layout.producer[storage] < 0) - np.repeat(
                base, np.diff(np.append(np.flatnonzero(first), len(storage)))
            )
            crosses = np.where(sign > 0, held == 1, held == 0)
            storage, step, sign = storage[crosses], step[crosses], sign[crosses]
        return storage, step, sign

    def memory_changes(self) -> Ints:
        """Shape (S,): by how much each step changes the memory of live storages."""
        storage, step, sign = self.crossings()
        change = np.zeros(len(self._codes), dtype=np.int64)
        np.add.at(change, step, sign * self._layout.memory[storage])
        return change


def live_after(layout: Layout, codes: Ints) -> Bools:
    """Shape (m,): the tensors that are live after `codes`, taken to be valid.

    O(steps + writes): nothing is sorted, as it is in `Events`.
    """
    at_start = layout.producer < 0
    last_write, last_free = np.full((2, layout.n_tensors), -1, np.int64)
    ran = np.flatnonzero(codes >= 0)
    written, owner = spread(layout.first_output, codes[ran])
    np.maximum.at(last_write, written, ran[owner])
    freed, freed_at = _frees(layout, codes)
    np.maximum.at(last_free, freed, freed_at)
    fetched, fetched_at = transfers(layout, codes, 1, PREFETCH)
    np.maximum.at(last_write, fetched, fetched_at)
    return np.where((last_write < 0) & (last_free < 0), at_start, last_write > last_free)


def _frees(layout: Layout, codes: Ints) -> tuple[Ints, Ints]:
    """The tensors that are freed on the device, and the steps that do."""
    at = np.flatnonzero((codes < 0) & (codes >= -layout.n_tensors))
    return ~codes[at], at


def transfers(layout: Layout, codes: Ints, level: int, kind: int) -> tuple[Ints, Ints]:
    """The tensors and steps of one kind of transfer to or from a level.

    Parameters
    ----------
    layout
        The graph as arrays, with m tensors.
    codes
        Shape (S,): the steps as codes (see `schedule.layout`).
    level
        Which, counted from 1, the one below the device.
    kind
        `OFFLOAD` to it, `PREFETCH` from it to the place above it, or `DROP`.

    Returns
    -------
    tensors, steps
        Shape (transfers,), in the order of the steps.
    """
    if not codes.size or codes.min() >= -layout.n_tensors:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    block, tensor = np.divmod(~codes, layout.n_tensors)
    at = np.flatnonzero((codes < 0) & (block == 3 * (level - 1) + 1 + kind))
    return tensor[at], at
