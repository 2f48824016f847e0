"""Short stretches of runs, put into the order of least memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from schedule.layout import Ints, Layout

#: Longer stretches are left as they are: their orders are too many.
_LONGEST = 11


def reorder(layout: Layout, runs: Ints, stretches: Sequence[tuple[int, int]]) -> Ints:
    """The same runs, each stretch in the order in which it needs the least memory.

    Parameters
    ----------
    layout
        The graph as arrays.
    runs
        Shape (r,): an executable order of runs.
    stretches
        Pairs (start, end), disjoint, of positions in `runs` that may change their order.
        Those of more than 11 runs, or with a node twice, are left as they are.

    Returns
    -------
    numpy.ndarray
        An executable order with what each stretch hands on unchanged.

    Notes
    -----
    Dynamic programming over the sets of runs that are done: O(2^k · k · tensors) for a
    stretch of k runs.
    """
    found = runs.copy()
    live_out = _wanted_after(layout, runs, [end for _, end in stretches])
    for (start, end), wanted in zip(stretches, live_out):
        inside = runs[start:end].tolist()
        if 1 < len(inside) <= _LONGEST and len(set(inside)) == len(inside):
            found[start:end] = _Stretch(layout, inside, wanted).best()
    return found


def _wanted_after(layout: Layout, runs: Ints, ends: Sequence[int]) -> list[set[int]]:
    """For each position, the tensors that are read from there on before they are written."""
    reads, outputs, order = layout.reads_of, layout.outputs_of, runs.tolist()
    wanted = set(np.flatnonzero(layout.is_output).tolist())
    found: dict[int, set[int]] = {}
    at = len(order)
    for end in sorted(set(ends), reverse=True):
        while at > end:
            at -= 1
            wanted.difference_update(outputs[order[at]])
            wanted.update(reads[order[at]])
        found[end] = set(wanted)
    return [found[end] for end in ends]


class _Stretch:
    """Distinct runs whose order is open."""

    def __init__(self, layout: Layout, runs: list[int], wanted: set[int]) -> None:
        self._runs = runs
        writer = {t: i for i, v in enumerate(runs) for t in layout.outputs_of[v]}
        self._extra = [int(layout.run_memory[v]) for v in runs]
        index = {v: i for i, v in enumerate(runs)}
        self._after = [0] * len(runs)  # runs that have to be done before each
        early: dict[int, int] = {}  # readers of the value from before the stretch
        late: dict[int, int] = {}  # readers of the value that the stretch writes
        for i, v in enumerate(runs):
            for t in layout.reads_of[v]:
                if t in writer and writer[t] < index[v]:
                    late[t] = late.get(t, 0) | 1 << i
                    self._after[i] |= 1 << writer[t]
                else:
                    early[t] = early.get(t, 0) | 1 << i
                    if t in writer:  # they have to run before it is written anew
                        self._after[writer[t]] |= 1 << i
        # What is live for the whole stretch counts the same in every order.
        always = {int(layout.storage[t]) for t in wanted if t not in writer}
        always.update(layout.storage[layout.resident].tolist())
        values = [(t, 0, read, False) for t, read in early.items()]
        values += [(t, 1 << i, late.get(t, 0), t in wanted) for t, i in writer.items()]
        self._storages: dict[int, list[tuple[int, int, bool]]] = {}
        for t, made, read, kept in values:
            storage = int(layout.storage[t])
            if storage not in always:
                self._storages.setdefault(storage, []).append((made, read, kept))
        self._size = {s: int(layout.memory[s]) for s in self._storages}

    def _held(self, done: int) -> int:
        """Memory of what is live once the runs `done` are."""
        held = 0
        for s, items in self._storages.items():
            for made, read, wanted in items:
                if made & done == made and (wanted or read & ~done):
                    held += self._size[s]
                    break
        return held

    def best(self) -> list[int]:
        """The runs in an order of least peak, the given one where it is as good."""
        count = len(self._runs)
        full = (1 << count) - 1
        peak: dict[int, tuple[int, int]] = {0: (0, -1)}  # set → least peak, last run
        layer = [0]
        for _ in range(count):
            following: dict[int, tuple[int, int]] = {}
            for done in layer:
                held = self._held(done)
                for i in range(count):
                    bit = 1 << i
                    if done & bit or self._after[i] & ~done:
                        continue
                    new = max(peak[done][0], held + self._extra[i])
                    if (new, -i) < following.get(done | bit, (1 << 70, 0)):
                        following[done | bit] = (new, -i)
            peak.update({done: (new, -i) for done, (new, i) in following.items()})
            layer = list(following)
        order, done = [], full
        while done:
            last = peak[done][1]
            order.append(self._runs[last])
            done &= ~(1 << last)
        return order[::-1]
