"""From runs and gaps to steps: when to offload, to free, to prefetch and to drop."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from schedule.graph import Graph
from schedule.layout import Floats, Ints
from schedule.levels import Level
from schedule.memory import Trace
from schedule.solvers.offloading.gaps import Gap, Runs


@dataclass(slots=True)
class _Stay:
    """A gap, and for how much of it the storage is on the host alone.

    After run `issued` its copy down is asked for, after run `freed` it leaves the device,
    and before run `fetched` it comes back.
    """

    gap: Gap
    issued: int
    freed: int
    fetched: int


class Placement:
    """Steps for an order of runs and some of its gaps.

    Each is on the host for as little of its gap as memory allows and time asks for: the
    device lets go of it once its copy has ended, and asks for it back as early as the
    channel needs for it.

    Parameters
    ----------
    graph, level
        The graph, and the host.
    runs, gaps
        The runs, and which of their gaps are spent on the host.
    budget
        Memory of the device that must not be exceeded.
    """

    def __init__(
        self, graph: Graph, level: Level, runs: Runs, gaps: Sequence[Gap], budget: int
    ) -> None:
        self.graph, self.level, self.budget = graph, level, budget
        self.runs, moved, self._place, self._first = _with_views(graph, runs, gaps)
        count = len(self.runs.runs)
        self.stays = [_Stay(gap, gap.written, gap.last, gap.next) for gap in moved]
        self.slack: Ints = budget - self.runs.memory
        for gap in moved:
            self.slack[gap.last + 1 : gap.next] += gap.size
        self.count = count

    @property
    def fits(self) -> bool:
        """Whether the device has room for all runs."""
        return bool((self.slack >= 0).all())

    def times(self, trace: Trace | None = None) -> tuple[Floats, Floats]:
        """When each run begins and ends, if none waits; or as in what came of another placement."""
        if trace is not None:
            ran = trace.codes >= 0
            return trace.timeline.begin[ran], trace.timeline.end[ran]
        end = np.cumsum(self.graph.layout.compute[self.runs.runs])
        return np.append(0.0, end)[:-1], end

    def spread_out(self, begin: Floats, end: Floats) -> None:
        """Free later and fetch earlier, as memory allows, given when runs begin and end."""
        self._free_late(end)
        self._fetch_early(begin, end)

    def _free_late(self, end: Floats) -> None:
        channel = 0.0
        issued: set[tuple[int, int]] = set()
        for stay in sorted(self.stays, key=lambda stay: (stay.gap.written, stay.gap.last)):
            gap = stay.gap
            if gap.life not in issued:
                issued.add(gap.life)
                written = end[gap.written] if gap.written >= 0 else 0.0
                channel = max(channel, written) + self.level.time_down(gap.size)
                while (
                    stay.freed + 1 < min(stay.fetched, self.count)
                    and (stay.freed < 0 or end[stay.freed] < channel)
                    and self.slack[stay.freed + 1] >= gap.size
                ):
                    stay.freed += 1
                    self.slack[stay.freed] -= gap.size

    def _fetch_early(self, begin: Floats, end: Floats) -> None:
        channel = np.inf
        back = [stay for stay in self.stays if stay.gap.next <= self.count]
        for stay in sorted(back, key=lambda stay: -stay.gap.next):
            gap = stay.gap
            needed = begin[gap.next] if gap.next < self.count else end[-1]
            channel = min(channel, needed) - self.level.time_up(gap.size)
            while (
                stay.fetched - 1 > stay.freed + 1
                and (stay.fetched == self.count or begin[stay.fetched] > channel)
                and self.slack[stay.fetched - 1] >= gap.size
            ):
                stay.fetched -= 1
                self.slack[stay.fetched] -= gap.size
            if stay.fetched < self.count:
                channel = min(channel, begin[stay.fetched])

    def issue(self, early: bool) -> None:
        """Ask for copies down as soon as they are written, or else after the last read."""
        for stay in self.stays:
            stay.issued = stay.gap.written if early else stay.gap.last

    @property
    def positions(self) -> Ints:
        """Shape (3, g): when each is issued, freed and fetched."""
        found = [(stay.issued, stay.freed, stay.fetched) for stay in self.stays]
        return np.array(found, np.int64).reshape(-1, 3).T

    def put(self, positions: Ints) -> None:
        """Take positions, shape (3, g), in the runs that were given."""
        for stay, (issued, freed, fetched) in zip(self.stays, positions.T.tolist()):
            stay.issued = self._place[issued] if issued >= 0 else -1
            stay.freed = self._place[freed] if freed >= 0 else -1
            stay.fetched = self._first[fetched]

    def codes(self) -> Ints:
        """The steps (see `schedule.layout`)."""
        m = self.graph.layout.n_tensors
        before: dict[int, list[tuple[int, int]]] = defaultdict(list)  # by run: order, code
        after: dict[int, list[int]] = defaultdict(list)
        lives: dict[tuple[int, int], list[_Stay]] = defaultdict(list)
        for stay in self.stays:
            lives[stay.gap.life].append(stay)
        for (s, _), of_it in lives.items():
            of_it.sort(key=lambda stay: stay.gap.last)
            last = of_it[-1]
            after[of_it[0].issued].append(~(s + m))
            for stay in of_it:
                if stay.gap.next <= self.count:
                    before[stay.fetched].append((stay.gap.next, ~(s + 2 * m)))
            if last.gap.next < self.count:
                after[last.gap.next].append(~(s + 3 * m))
        for stay in sorted(self.stays, key=lambda stay: stay.gap.last):
            after[stay.freed].append(~stay.gap.storage)
        return _woven(self.runs, before, after)


def _woven(
    runs: Runs, before: dict[int, list[tuple[int, int]]], after: dict[int, list[int]]
) -> Ints:
    """Runs and frees, with other steps before and after runs; −1 is the start, r the end."""
    found: list[int] = list(after.get(-1, ()))
    at = -1
    for code in [*runs.codes.tolist(), None]:
        if code is None or code >= 0:
            if at >= 0:
                found += after.get(at, ())
            at += 1
            found += [step for _, step in sorted(before.get(at, ()))]
        if code is not None:
            found.append(code)
    return np.array(found, np.int64)


def _with_views(
    graph: Graph, runs: Runs, gaps: Iterable[Gap]
) -> tuple[Runs, list[Gap], Sequence[int], Sequence[int]]:
    """The runs with views run again where a gap takes them, and the gaps among these runs.

    And the new position of each run, and of what runs before it.
    """
    gaps, count = list(gaps), len(runs.runs)
    views: dict[int, set[int]] = defaultdict(set)
    for gap in gaps:
        if gap.next <= count:
            views[gap.next].update(gap.views)
    if not any(views.values()):
        return runs, gaps, range(count + 2), range(count + 2)
    longer: list[int] = []
    place = [0] * (count + 2)  # of each run, and of what runs before it
    first = [0] * (count + 2)
    for at, v in enumerate([*runs.runs.tolist(), -1]):
        first[at] = len(longer)
        longer += sorted(views.get(at, ()))
        place[at] = len(longer)
        if v >= 0:
            longer.append(v)
    place[count + 1] = first[count + 1] = len(longer) + 1
    moved = [
        Gap(
            gap.storage,
            gap.size,
            place[gap.written] if gap.written >= 0 else -1,
            place[gap.last] if gap.last >= 0 else -1,
            first[gap.next],
            (),
        )
        for gap in gaps
    ]
    return Runs(graph, np.array(longer, np.int64)), moved, place, first
