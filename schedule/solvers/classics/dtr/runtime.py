"""A program under DTR, simulated: what runs, what is evicted, what is recomputed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from schedule.layout import Bools, Floats, Ints, Layout
from schedule.solvers.classics.dtr.needs import Needs
from schedule.solvers.classics.dtr.scores import Heuristic, Scores
from schedule.solvers.contract import Deadline

#: About the seconds that an eviction takes, with the run that restores it.
_SECONDS_AN_EVICTION = 3e-5


@dataclass(slots=True)
class _Frame:
    """A node that waits for what it reads; `missing` is what isn't live yet, last first."""

    node: int | None
    missing: list[int]


class Runtime:
    """DTR's runtime system: it interposes on every run of a node, and keeps to a budget.

    Parameters
    ----------
    layout
        The graph as arrays; its needed nodes are the program.
    budget
        Memory to keep to, where that is possible.
    heuristic
        What is evicted first (see `Scores`).
    most_runs
        After this many runs nothing is evicted any more.
    deadline
        The same from then on.

    Attributes
    ----------
    codes
        Steps so far (see `schedule.layout`).
    used, peak
        Memory in use now, and the most so far.
    runs
        How many nodes ran so far.
    """

    def __init__(
        self,
        layout: Layout,
        budget: int,
        heuristic: Heuristic,
        most_runs: int,
        deadline: Deadline,
    ) -> None:
        self._reads, self._outputs = layout.reads_of, layout.outputs_of
        self._storage: list[int] = layout.storage.tolist()
        self._producer: list[int] = layout.producer.tolist()
        self._size: list[int] = layout.memory.tolist()
        self._extra: list[int] = layout.run_memory.tolist()
        self._compute: list[float] = layout.compute.tolist()
        self._program: list[int] = np.flatnonzero(layout.needed).tolist()
        self._wanted: list[int] = np.flatnonzero(layout.is_output).tolist()
        self._budget, self._most_runs, self._deadline = budget, most_runs, deadline
        self._needs = Needs(layout)
        self._scores = Scores(layout, self._needs, heuristic)
        self._live: list[bool] = (layout.producer < 0).tolist()
        self._is_live = list(self._live)  # by storage
        self._stays: list[bool] = layout.resident.tolist()
        self._locks = [0] * layout.n_tensors
        self._candidates: Bools = np.zeros(layout.n_tensors, np.bool_)
        self._used_at: Floats = np.zeros(layout.n_tensors)
        #: What the program has read for the last time and can't be recomputed.
        self._stuck: set[int] = set()
        self._clock = 0.0
        self.codes: list[int] = []
        self.runs = 0
        self.used = self.peak = int(layout.memory[: layout.n_inputs].sum())

    def run(self) -> Ints:
        """Run the program; returns the steps, after which all outputs are live."""
        self._settle()
        for v in self._program:
            self._require(self._reads[v], v)
            self._needs.run_first(v)
            self._settle()
            self._release({self._storage[t] for t in (*self._reads[v], *self._outputs[v])})
        self._require(self._wanted)
        return np.array(self.codes, np.int64)

    def _require(self, reads: Sequence[int], node: int | None = None) -> None:
        """Recompute what is read and isn't live, with all that this takes; then run its reader.

        A node that waits has what it reads locked meanwhile.
        """
        frames = [_Frame(node, self._enter(reads))]
        while frames:
            missing, reader = frames[-1].missing, frames[-1].node
            while missing and self._live[missing[-1]]:
                self._lock(missing.pop())
            if missing:
                writer = self._producer[missing[-1]]
                frames.append(_Frame(writer, self._enter(self._reads[writer])))
                continue
            if reader is not None:
                self._execute(reader)
            frames.pop()

    def _enter(self, reads: Sequence[int]) -> list[int]:
        """Lock what is live of what is read; returns the rest, last first."""
        missing = []
        for t in reversed(reads):
            if self._live[t]:
                self._lock(t)
            else:
                missing.append(t)
        return missing

    def _lock(self, tensor: int, by: int = 1) -> None:
        """Keep the storage of a tensor, or with −1 take such a lock away."""
        s = self._storage[tensor]
        self._locks[s] += by
        self._update(s)

    def _update(self, s: int) -> None:
        """Work out whether a storage may be evicted."""
        self._candidates[s] = (
            self._is_live[s]
            and not self._locks[s]
            and not self._needs.fixed[s]
            and self._size[s] > 0
            and not self._stays[s]
        )

    def _execute(self, v: int) -> None:
        """Run a node whose inputs are live and locked, and unlock them."""
        self._evict_for(self._extra[v])
        self.codes.append(v)
        self.runs += 1
        self.peak = max(self.peak, self.used + self._extra[v])
        is_first = not self._needs.has_run(v)
        for t in self._reads[v]:
            self._used_at[self._storage[t]] = self._clock
        self._clock += self._compute[v]
        written = sorted({self._storage[t] for t in self._outputs[v]})
        for t in self._outputs[v]:
            self._live[t] = True
        for s in written:
            if not self._is_live[s]:
                self._is_live[s] = True
                self.used += self._size[s]
                self._scores.costs.restore(s)
            if is_first:
                self._used_at[s] = self._clock
            if not self._needs.needed_on[s]:
                self._free(s)
            self._update(s)
        for t in self._reads[v]:
            self._lock(t, -1)

    def _evict_for(self, memory: int) -> None:
        """Evict until `memory` fits, or nothing can be evicted."""
        if self.used + memory <= self._budget:
            return
        self._free_for_good()
        while self.used + memory > self._budget and self._candidates.any():
            if self.runs >= self._most_runs or self._deadline.passed:
                self._scores.costs.rest()
                break
            s = self._scores.least(self._candidates, self._used_at, self._clock)
            self._evict(s)
            self._deadline.spend(_SECONDS_AN_EVICTION)

    def _evict(self, s: int) -> None:
        """Free a storage that may have to be recomputed."""
        self._free(s)
        self._scores.costs.evict(s)

    def _free(self, s: int) -> None:
        """Free all that is live on a storage, where it may be freed."""
        if not self._is_live[s] or self._stays[s]:
            return
        for t in self._needs.tensors_on[s]:
            if self._live[t]:
                self._live[t] = False
                self.codes.append(~t)
        self._is_live[s] = False
        self.used -= self._size[s]
        self._stuck.discard(s)
        self._update(s)

    def _release(self, storages: Iterable[int]) -> None:
        """Evict at once what the program has read for the last time."""
        for s in sorted(storages):
            if self._is_live[s] and not self._stays[s] and not self._needs.reads_left[s]:
                if self._needs.fixed[s]:
                    self._stuck.add(s)
                else:
                    self._evict(s)

    def _free_for_good(self) -> None:
        """Free what can't be recomputed where all that needs it is live or not read any more.

        What is live and was computed from it has to stay from now on.
        """
        for s in sorted(self._stuck):
            if self._locks[s] or not self._is_live[s]:
                continue
            lost = self._needs.lost_with(s, self._live)
            if lost is not None:
                self._needs.finish(lost)
                self._settle()

    def _settle(self) -> None:
        """Free what nothing needs any more."""
        needs = self._needs
        while needs.unneeded:
            s = needs.unneeded.pop()
            self._free(s)
            self._scores.costs.restore(s)
        while needs.changed:
            self._update(needs.changed.pop())
