"""A schedule in the given order, as searches of its neighbourhoods see it."""

from __future__ import annotations

import numpy as np

from schedule.layout import Bools, Ints, first_of
from schedule.memory import Trace
from schedule.solvers.exact.corridor.ground import Ground
from schedule.solvers.kit.states import Words, masks_of


class Known:
    """A schedule, by its sequence of operations, and what is live in it.

    Attributes
    ----------
    trace
        The schedule.
    runs
        Its sequence, without reruns that nothing reads.
    live
        By position, the mask of what has to be live before that run; the last one: at the end.
    first_at
        The position of each operation's first run.
    rerun
        Operations that run again, what they read from and what reads them.
    """

    def __init__(self, ground: Ground, trace: Trace, neighbours: list[list[int]]) -> None:
        self._ground, self.trace = ground, trace
        o = ground.operations
        runs = o.sequence(trace.codes[trace.codes >= 0])
        is_first = first_of(runs)
        live, kept, masks = ground.outputs, [], [ground.outputs]
        for at in range(len(runs) - 1, -1, -1):
            v = runs[at]
            if is_first[at] or (live & ground.writes[v]).any():
                live = (live & ~ground.writes[v]) | ground.reads[v]
                kept.append(at)
                masks.append(live)
        kept.reverse()
        masks.reverse()
        self.runs: Ints = runs[kept]
        self.live = masks
        self._is_first = is_first[kept]
        self.first_at = np.flatnonzero(self._is_first)
        self._price = np.append(0.0, np.cumsum(np.where(self._is_first, 0, o.compute[self.runs])))
        self._held = np.array([masks[at] for at in self.first_at]).reshape(-1, ground.words)
        again = np.unique(self.runs[~self._is_first])
        near = [v for each in again.tolist() for v in neighbours[each]]
        self.rerun = np.unique(np.append(again, np.array(near, np.int64)))

    def before(self, stage: int) -> int:
        """The position right before an operation first runs; that of the end after all."""
        return int(self.first_at[stage]) if stage < len(self.first_at) else len(self.runs)

    def price(self, first: int, end: int) -> float:
        """The compute of the reruns from one position to another."""
        return float(self._price[end] - self._price[first])

    def written(self, at: int) -> Ints:
        """The operations whose results are live at a position."""
        mask, o = self.live[at], self._ground.operations
        bits = np.unpackbits(mask.view(np.uint8), bitorder="little")[: len(o.producer)]
        found: Ints = o.producer[np.flatnonzero(bits)]
        return found[found >= 0]

    def around(self, opened: Ints | None, span: tuple[int, int]) -> tuple[Bools, Words]:
        """Reruns that are allowed, and the fence, where operations (None: all) are open."""
        count, (start, end) = len(self._ground.operations.nodes), span
        allowed = np.zeros((count + 1, count), bool)
        inside = slice(start + 1, end + 1)
        fence = np.full((count + 1, self._ground.words), ~np.uint64(0))
        if opened is None:
            allowed[inside] = True
        else:
            allowed[inside, opened] = True
            stage = np.cumsum(self._is_first)[~self._is_first]
            allowed[stage, self.runs[~self._is_first]] = True
            mask = np.bitwise_or.reduce(self._ground.writes[opened], axis=0)
            fence[:count] = self._held | mask
        fence[start] = self._held[start]
        return allowed, fence

    def forced(self, start: int) -> tuple[Words, Words]:
        """What has to run again after an operation's first run: `Guide.forced` and `lasting`.

        What isn't live before the span, and was written by then, has to be written again: by a
        run that needs what it reads, which may have to be written again, too.
        """
        o = self._ground.operations
        count, held = len(o.nodes), self._held[start]
        own = masks_of(np.arange(count + 1), np.arange(count), count)
        forced = np.zeros((len(o.size), own.shape[1]), np.uint64)
        lasting = np.zeros((count + 1, own.shape[1]), np.uint64)
        for v in range(count):
            reads = o.reads[o.first_read[v] : o.first_read[v + 1]]
            needs = np.bitwise_or.reduce(forced[reads], axis=0)
            if v >= start:
                lasting[v + 1] = lasting[v] | needs
                continue
            for r in o.writes[o.first_write[v] : o.first_write[v + 1]].tolist():
                if not int(held[r >> 6]) >> (r & 63) & 1:
                    forced[r] = needs | own[v]
        return forced, lasting
