"""Which gaps are spent on the host, so that an order of runs fits the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schedule.layout import Bools, Floats, Ints
from schedule.levels import Level
from schedule.solvers.offloading.gaps import Gap


@dataclass(frozen=True, slots=True)
class Preference:
    """What is copied first where memory is over the budget: size ** `size` · runs ** `runs`.

    `size` counts up to what is over at the place that is worst; `runs` are those during
    which memory is over while the gap lasts.
    """

    size: float
    runs: float


#: What keeps the channels least busy for what it gives back; then others.
PREFERENCES = (Preference(0, 1), Preference(1, 1), Preference(0.5, 1), Preference(1, 0))
#: A wait, as a share of all compute, that makes a gap half as good.
_PATIENCE = 1e-3
#: What all compute takes at least, in that, as a share of the slowest copy.
_NOTHING = 1e-12
LARGEST_FIRST = Preference(1, 0)


class Choice:
    """The gaps of an order of runs, as arrays, and which of them are spent on the host.

    Parameters
    ----------
    gaps
        k gaps.
    memory
        Shape (r + 1,): see `Runs`.
    budget
        Of the device.
    level
        The host.
    compute
        Shape (r,): of each run.
    """

    def __init__(
        self, gaps: Sequence[Gap], memory: Ints, budget: int, level: Level, compute: Floats
    ) -> None:
        self.gaps, self.capacity = gaps, level.capacity
        self.first: Ints = np.array([gap.last + 1 for gap in gaps], np.int64)
        self.end: Ints = np.array([gap.next for gap in gaps], np.int64)
        self.size: Ints = np.array([gap.size for gap in gaps], np.int64)
        self.over: Ints = memory - budget
        self.on_host: Ints = np.zeros(len(memory), np.int64)
        written = np.array([gap.written for gap in gaps], np.int64)
        clock = np.append(0.0, np.cumsum(compute))  # when each run begins, if none waits
        # Where nothing takes any time, what copies take says what is long.
        slowest = level.latency + self.size.max(initial=1) / min(level.down, level.up)
        self.clock, self.patience = clock, max(float(clock[-1]), _NOTHING * slowest) * _PATIENCE
        self.copied: Floats = clock[written + 1] + level.latency + self.size / level.down
        late = clock[np.minimum(self.end, len(compute))] - level.latency - self.size / level.up
        self.asked: Floats = np.where(self.end > len(compute), np.inf, late)
        self.held_until: dict[tuple[int, int], int] = {}  # one copy serves all gaps of a life

    def everything(self) -> list[Gap]:
        """All gaps that the host has room for."""
        return [self.gaps[at] for at in range(len(self.gaps)) if self._take(at)]

    def by(self, preference: Preference, noise: Floats | None = None) -> list[Gap] | None:
        """The fewest that a preference needs; None: it doesn't get below the budget.

        Parameters
        ----------
        preference
            What goes first.
        noise
            Shape (k,): factors on what it says.
        """
        open_: Bools = np.ones(len(self.gaps), dtype=bool)
        chosen: list[int] = []
        while len(self.over) and (worst := int(self.over.argmax())) >= 0 < self.over[worst]:
            here = np.flatnonzero(open_ & (self.first <= worst) & (worst < self.end))
            if not len(here):
                return None
            is_over = np.append(0, np.cumsum(self.over > 0))
            last = np.minimum(self.end[here], len(self.over))
            runs = (is_over[last] - is_over[self.first[here]]).astype(np.float64)
            useful = np.minimum(self.size[here], self.over[worst]).astype(np.float64)
            score = useful**preference.size * runs**preference.runs
            score /= 1 + self._waits(here, worst) / self.patience
            if noise is not None:
                score *= noise[here]
            at = int(here[int(score.argmax())])
            open_[at] = False
            if self._take(at):
                chosen.append(at)
        return [self.gaps[at] for at in self._needed(chosen)]

    def _waits(self, here: Ints, worst: int) -> Floats:
        """How long a run waits for these to be away, and those after it until they are back."""
        began, ended = self.clock[worst], self.clock[min(worst + 1, len(self.clock) - 1)]
        down = np.maximum(self.copied[here] - began, 0.0)
        waits: Floats = down + np.maximum(ended - self.asked[here], 0.0)
        return waits

    def without(self, chosen: Bools) -> Ints:
        """Shape (r + 1,): by how much memory is over with these gaps on the host."""
        found = self.over.copy()
        for at in np.flatnonzero(chosen).tolist():
            found[self.first[at] : self.end[at]] -= self.size[at]
        return found

    def _needed(self, chosen: list[int]) -> list[int]:
        """Those that can't be left out again, looked at in turn."""
        kept = []
        for at in chosen:
            out = slice(self.first[at], self.end[at])
            if self.over[out].max(initial=0) + self.size[at] <= 0:
                self.over[out] += self.size[at]
            else:
                kept.append(at)
        return kept

    def _take(self, at: int) -> bool:
        """Spend a gap on the host, where there is room; the copy is there from its writing on."""
        life = self.gaps[at].life
        known = self.held_until.get(life, max(life[1], 0))
        held = slice(known, self.end[at] + 1)
        if self.on_host[held].max(initial=0) + self.size[at] > self.capacity:
            return False
        self.on_host[held] += self.size[at]
        self.held_until[life] = max(known, int(self.end[at]) + 1)
        self.over[self.first[at] : self.end[at]] -= self.size[at]
        return True
