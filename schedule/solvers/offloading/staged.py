"""The staged model with a host: what is held past a cut point, what runs again, what is copied.

To `StagedModel`, whose cut points and intervals it has, this adds, for each resource r of
some size and each interval k, from the beginning of d_k to that of d_{k+1}:

- down[k, r] and up[k, r]: what part of its copies to the host, and from it, is made in it;
- back[k, r]: what part of it is there again when d_k begins, copied up: while a copy is
  under way, the part that is done. hold[k, r] is what was computed and has stayed;
- idle[k]: for how long the interval lasts beyond the computes that begin in it;
- there[k, r]: what part of it is anywhere when d_k begins, on the device or on the host: no
  half of it is copied to be the other half;
- host[k, r], where the host has no room for everything: what part of a copy is there.

What is read is held, or is run, or was or is copied up, and no more of it than was copied
down before; each channel has no more time in an interval than that lasts. Every schedule
within budget and capacity satisfies all that with the sum of all intervals as its makespan.
So the optimum, and that of any relaxation, is a bound on the makespan of each of them (in
a given order of first runs, where the windows are those of the order).

Inputs that aren't freeable, but offloadable, count as one: what part of them is away.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from schedule.graph import Graph
from schedule.layout import Bools, Floats, Ints
from schedule.levels import Level
from schedule.solvers.exact.model import Reads, StagedModel, Windows
from schedule.solvers.program.contraction import Contraction

#: How many times all compute the makespan of a schedule of interest may be, less one: copies
#: that take longer would make the numbers of a model too different.
_MOST = 4


class OffloadModel(StagedModel):
    """The model of one graph, for given windows, budget, and a host.

    Parameters
    ----------
    graph, contraction, windows, budget
        See `StagedModel`.
    level
        The host: of several levels, one with the capacity of all.
    reserve
        Memory kept back at cut points, by operation; with any it is no relaxation.

    Attributes
    ----------
    down, up, back
        Shape (K + 1, r): columns; −1: constant 0.
    there, host
        The same; the latter is empty where the host has room for everything.
    idle
        Shape (K + 1,): columns, in units of `slowest`.
    slowest, longest
        The longest that an interval may idle, and the makespan up to which that, and what
        is copied at all, leaves out no schedule: what the model proves ends there.
    """

    def __init__(
        self,
        graph: Graph,
        contraction: Contraction,
        windows: Windows,
        budget: int,
        level: Level,
        reserve: Mapping[int, int] | None = None,
    ) -> None:
        self.level = level
        super().__init__(graph, contraction, windows, budget, reserve=reserve)

    def add_columns(self) -> None:
        """Number the copies."""
        c, k, layout = self.contraction, self.intervals, self.graph.layout
        born = np.where(c.producer >= 0, self.windows.earliest[c.producer], 0)
        stage = np.arange(k)[:, None]
        self.time_down = self.level.latency + c.size / self.level.down
        self.time_up = self.level.latency + c.size / self.level.up
        everything = float((self.time_down + self.time_up).sum())
        total = float(self.graph.layout.compute[c.nodes].sum()) or max(everything, 1.0)
        self.slowest, self.longest = _MOST * total, (_MOST + 1) * total
        offloadable = np.ones(c.n_resources, dtype=bool)
        known = np.flatnonzero(c.resource[: layout.n_inputs] >= 0)
        offloadable[c.resource[known]] = layout.offloadable[known]
        movable = offloadable & (c.size > 0) & (self.time_down + self.time_up <= 2 * self.longest)
        copied = (stage >= born) & movable
        may_leave = layout.resident & layout.offloadable
        self._resident = int(layout.memory[may_leave].sum())
        self._has_room = int(c.size.sum()) + self._resident <= self.level.capacity
        self.down = self._numbered(copied & (stage < k - 1))
        self.up = self._numbered(copied & (stage > 0))
        self.back = self._numbered((stage > born + 1) & movable)
        self.host = self._numbered((stage > born) & movable & (not self._has_room))
        self.there = self._numbered((stage > born) & movable)
        self.moves = movable
        self.idle = self.new_columns(k)
        count = k if self._resident else 0
        self.away, self.away_down, self.away_up = (self.new_columns(count) for _ in range(3))
        #: The unit of `away`: what part of the resident inputs can move at all.
        self._moved = min(float(self._resident), self.longest * self.level.down)

    def _numbered(self, there: Bools) -> Ints:
        found: Ints = np.full(there.shape, -1, np.int64)
        found[there] = self.new_columns(int(there.sum()))
        return found

    def fetch(self, rows: Ints, stages: Ints, r: Ints, reads: Reads) -> None:
        """What is live may have been copied up, before the interval or in it."""
        self.rows.put(rows, self.back[stages, r], 1.0)
        self.rows.put(rows, np.where(reads.at_cut, -1, self.up[stages, r]), 1.0)
        known = self.moves[r]
        self._imply(reads.wanted[known], self.there[stages, r][known], reads.made[known])

    def add_rows(self) -> None:
        """Copies come from somewhere, take their time, and have room."""
        self._add_copies()
        self._add_there()
        if not self._has_room:
            self._add_capacity()
        if self._resident:
            self._add_resident()
        self._add_back_to_memory()
        self._add_time()
        self.charge(self.idle, np.full(self.intervals, self.slowest))

    def _add_copies(self) -> None:
        """What is back was copied up, and that was copied down, and that was there."""
        stages, r = np.nonzero(self.back >= 0)
        rows = self._at_most_0(len(r))
        self.rows.put(rows, self.back[stages, r], 1.0)
        self.rows.put(rows, self.back[stages - 1, r], -1.0)
        self.rows.put(rows, self.up[stages - 1, r], -1.0)
        stages, r = np.nonzero(self.up >= 0)
        rows = self._at_most_0(len(r))
        self.rows.put(rows, self.up[stages, r], 1.0)
        self.rows.put(rows, self.back[stages, r], 1.0)
        for k in range(self.intervals):
            later = stages >= k
            self.rows.put(rows[later], self.down[k, r[later]], -1.0)
        stages, r = np.nonzero(self.down >= 0)
        held, made = self._made(stages, r)
        open_ = (held != -2) & (made != -2)
        stages, r = stages[open_], r[open_]
        rows = self._at_most_0(len(r))
        self.rows.put(rows, self.down[stages, r], 1.0)
        for columns in (held[open_], made[open_], self.host[stages, r]):
            self.rows.put(rows, columns, -1.0)
        if not self._has_room:  # then a second copy may be made of what came back
            self.rows.put(rows, self.back[stages, r], -1.0)

    def _add_there(self) -> None:
        """What is anywhere was so before, or is made; it is on the device or on the host."""
        stages, r = np.nonzero(self.there >= 0)
        held, made = self._made(stages - 1, r)
        open_ = (made != -2) & ((stages > 1) | (held != -2))
        rows = self._at_most_0(int(open_.sum()))
        before = (self.there[stages - 1, r], made)
        for columns, sign in ((self.there[stages, r], 1.0), *((each, -1.0) for each in before)):
            self.rows.put(rows, columns[open_], sign)
        rows = self._at_most_0(len(r))
        self.rows.put(rows, self.there[stages, r], 1.0)
        for columns in (self.hold[stages, r], self.back[stages, r], self.host[stages, r]):
            self.rows.put(rows, columns, -1.0)
        for k in range(self.intervals if self._has_room else 0):
            later = stages > k
            self.rows.put(rows[later], self.down[k, r[later]], -1.0)

    def _at_most_0(self, count: int) -> Ints:
        return self.rows.add(np.full(count, -np.inf), np.zeros(count))

    def _add_capacity(self) -> None:
        """What is copied up is on the host, and that has room for it."""
        stages, r = np.nonzero(self.host >= 0)
        rows = self._at_most_0(len(r))
        self.rows.put(rows, self.host[stages, r], 1.0)
        self.rows.put(rows, self.host[stages - 1, r], -1.0)
        self.rows.put(rows, self.down[stages - 1, r], -1.0)
        stages, r = np.nonzero(self.up >= 0)
        rows = self._at_most_0(len(r))
        self.rows.put(rows, self.up[stages, r], 1.0)
        self.rows.put(rows, self.host[stages, r], -1.0)
        self.rows.put(rows, self.down[stages, r], -1.0)
        unit = float(max(self.level.capacity, 1))
        most = np.full(self.intervals, self.level.capacity / unit)
        rows = self.rows.add(np.full(self.intervals, -np.inf), most)
        stages, r = np.nonzero(self.host >= 0)
        self.rows.put(rows[stages], self.host[stages, r], self.contraction.size[r] / unit)
        if self._resident:
            self.rows.put(rows, self.away, self._moved / unit)

    def _add_resident(self) -> None:
        """What part of the resident inputs is away, having been copied down before."""
        layout, c, total = self.graph.layout, self.contraction, self._moved
        may_leave = layout.resident & layout.offloadable
        rows = self._at_most_0(self.intervals)
        self.rows.put(rows, self.away, 1.0)
        for k in range(1, self.intervals):
            self.rows.put(np.repeat(rows[k], k), self.away_down[:k], -1.0)
        rows = self._at_most_0(self.intervals - 1)
        self.rows.put(rows, self.away[:-1], 1.0)
        self.rows.put(rows, self.away[1:], -1.0)
        self.rows.put(rows, self.away_up[:-1], -1.0)
        for k, cut in enumerate(self.windows.cuts.tolist(), start=1):
            v = int(c.nodes[cut])
            read = np.unique(layout.storage[layout.reads[slice(*layout.first_read[v : v + 2])]])
            there = int(layout.memory[read[may_leave[read]]].sum())
            row = self.rows.add(np.array([-np.inf]), np.array([(self._resident - there) / total]))
            self.rows.put(row, self.away[k : k + 1], 1.0)

    def _add_back_to_memory(self) -> None:
        """What came back takes memory at cut points, and what is away takes none."""
        unit, size = float(max(self.budget, 1)), self.contraction.size
        memory = np.array(self.memory_rows, np.int64)
        stages, r = np.nonzero(self.back >= 0)
        self.rows.put(memory[stages - 1], self.back[stages, r], size[r] / unit)
        if self._resident:
            self.rows.put(memory, self.away[1:], -self._moved / unit)

    def _add_time(self) -> None:
        """No channel is busy for longer in an interval than that lasts."""
        compute = self.graph.layout.compute[self.contraction.nodes]
        known = np.where(self.run == -2, compute, 0.0).sum(axis=1)
        # What idling is counted in: HiGHS calls a program infeasible in which some billionth
        # of that is enough, but its row is in a unit in which it is more than nothing.
        unit = self.slowest
        stage_of_run, v = np.nonzero(self.run >= 0)
        ways = (
            (self.down, self.time_down, self.away_down, self.level.down),
            (self.up, self.time_up, self.away_up, self.level.up),
        )
        for columns, time, away, rate in ways:
            rows = self.rows.add(np.full(self.intervals, -np.inf), known / unit)
            stages, r = np.nonzero(columns >= 0)
            self.rows.put(rows[stages], columns[stages, r], time[r] / unit)
            self.rows.put(rows[stage_of_run], self.run[stage_of_run, v], -compute[v] / unit)
            self.rows.put(rows, self.idle, -self.slowest / unit)
            if self._resident:
                self.rows.put(rows, away, self._moved / rate / unit)

    def proved(self, objective: float) -> float:
        """The makespan that an objective, or a bound on it, proves."""
        return min(self.compute(objective), self.longest)

    def moved(self, x: Floats) -> Floats:
        """Shape (r,): what part of each resource a solution copies down and up again."""
        padded = np.concatenate([x, [0.0]])
        found: Floats = np.minimum(padded[self.down].sum(axis=0), padded[self.up].sum(axis=0))
        return found

    def copied(self, x: Floats) -> Bools:
        """Shape (K + 1, r): what a solution has copied down by a cut point, and copies up again."""
        padded = np.concatenate([x, [0.0]])
        up, down = padded[self.up], padded[self.down]
        there = padded[self.back] + np.cumsum(up[::-1], axis=0)[::-1]
        before = np.cumsum(down, axis=0) - down
        found: Bools = (there > 0.5) & (before > 0.5) & (self.hold >= 0)
        return found
