"""One part of a packing problem, which nothing else can collide with, and ways to pack it."""

from __future__ import annotations

import math
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from heapq import heappush, heapreplace

import numpy as np

from schedule.arena.buffers import (
    MOST_PAIRS,
    NONE,
    Buffers,
    bound_of,
    buffers_of,
    counts,
    pairs_of,
    rounded_up,
)
from schedule.arena.cooling import Cooling
from schedule.arena.crowds import crowd_of, fit_first
from schedule.arena.ejections import ejection
from schedule.arena.fitting import Fit, fit
from schedule.arena.laying import Pile, lay
from schedule.arena.restarts import Restarts
from schedule.arena.searches import beam
from schedule.arena.sweeping import Sweep, sweep
from schedule.layout import Floats, Ints, offsets
from schedule.solvers.contract import Deadline
from schedule.solvers.kit.queue import Queue
from schedule.solvers.kit.randomness import random_of

#: Pairs of buffers that compiled code looks at between two looks at the clock.
_OFTEN = 2_000_000
#: Buffers times buffers and sections up to which there is a canonical search: its space.
_MOST_SEARCHED = 30_000_000
#: Rows of a beam times buffers and sections, at most: 160 MB.
_MOST_BEAM = 10_000_000
#: The spare room in the costs of a beam search, in loads: drawn from between.
_SPARE = 0.003, 0.05
#: Buffers that a sweep places between two looks at the clock; buffers, times how many are there
#: at once, up to which a sweep is made without compiled code: some two seconds.
_SWEPT, _MOST_PLAIN = 20_000, 3_000_000
#: How an order is varied: keys of a share of the buffers by up to so much, each.
_SHARE, _NOISE = 0.3, 1.0
#: The power of the width in the order "weight".
_WEIGHT = 0.3
#: Seconds that searches take, about: of beams a packing laid on, for each buffer and section; of
#: ejections a step, for each neighbour.
_LAID, _EJECTED = 1.7e-8, 1e-7
#: Steps of one round of the ejection search.
_EJECTIONS = 4_000
#: The order in which buffers are put in where ruin and recreate begins: by size times powers of
#: the width, and of the loads while they are there.
_LONG, _CROWDED = 0.5, 8.0


class Part:
    """Buffers that share sections with no others, and the best packing of them.

    Parameters
    ----------
    first, last, size, fixed
        Shape (n,): see `Buffers`; sizes are the true ones. In the order that those have.
    width
        Shape (n,): how long each buffer is there.
    alignment, seed
        Of offsets; of random choices.
    ground
        Where it begins, in the arena: what lies below is there as long as the part. Its own
        offsets and sizes begin at 0.
    """

    def __init__(
        self,
        first: Ints,
        last: Ints,
        size: Ints,
        fixed: Ints,
        width: Ints,
        alignment: int,
        seed: int,
        ground: int = 0,
    ) -> None:
        self.first, self.last, self.true_size = first - first.min(), last - first.min(), size
        self.width, self.fixed, self.ground = width, fixed, ground
        # Sums of sizes, as all offsets can be where they needn't be aligned.
        shared = math.gcd(int(np.gcd.reduce(size)), int(np.gcd.reduce(np.maximum(fixed, 0))))
        self.alignment = shared if alignment == 1 else alignment
        #: Every size of a packing is a multiple of it.
        self.unit = math.gcd(self.alignment, shared)
        self.bound = bound_of(self.first, self.last, size, fixed, self.alignment)
        self.offset: Ints | None = None
        self.size: int | None = None
        self.found_by = ""
        #: The share of the gap that the next search is to close.
        self.step = 0.5
        #: Of every search by name: its turns, and the seconds that its work takes, about.
        self.turns: Counter[str] = Counter()
        self.spent: defaultdict[str, float] = defaultdict(float)
        self._seed, self._lock = seed, threading.Lock()
        self._random = np.random.Generator(np.random.PCG64(seed))
        self._made: Buffers | None = None
        self._restarts: Restarts | None = None
        self._runs: dict[int, Cooling] = {}

    def __len__(self) -> int:
        return len(self.first)

    @property
    def buffers(self) -> Buffers:
        """What compiled code is given: made when it is first needed."""
        if self._made is None:
            args = (self.first, self.last, self.true_size, self.fixed, self.alignment)
            self._made = buffers_of(*args)
        return self._made

    def offer(self, offset: Ints, by: str) -> bool:
        """Keep a packing where it is smaller than what is known."""
        size = int((offset + self.true_size).max())
        with self._lock:
            if self.size is not None and size >= self.size:
                return False
            self.offset, self.size, self.found_by = offset.copy(), size, by
        return True

    def orders(self) -> dict[str, Ints]:
        """Orders that are tried first, each by name."""
        width, size, n = self.width.astype(np.float64), self.true_size, len(self)
        area, span = width * size, self.last - self.first
        return {
            "span": np.lexsort((-size, -span)),
            "width": np.lexsort((-area, -width)),
            "size": np.lexsort((-width, -size)),
            "area": np.lexsort((-width, -area)),
            "weight": self.by_weight(_WEIGHT),
            "start": np.arange(n),
            "end": np.lexsort((-size, -self.last)),
        }

    def by_weight(self, power: float) -> Ints:
        """The buffers, those of the largest size times a power of the width first."""
        weight = self.true_size * self.width.astype(np.float64) ** power
        return np.argsort(-weight, kind="stable")

    def _by_crowds(self) -> Ints:
        """The buffers, large and long ones of crowded sections first."""
        load = counts(self.first, self.last, self.true_size, int(self.last.max()))
        crowds = np.concatenate([[0.0], np.cumsum((load / load.max()) ** _CROWDED)])
        crowd = (crowds[self.last] - crowds[self.first]) / (self.last - self.first)
        weight = self.true_size * self.width.astype(np.float64) ** _LONG * crowd
        return np.argsort(-weight, kind="stable")

    def lay(self, order: Ints, deadline: Deadline) -> Ints | None:
        """Lay buffers from below, by rank in an order; None: there was no time."""
        n = len(self)
        place = np.empty(n, np.int64)
        place[order] = np.arange(n)
        queue = Queue(np.arange(n), np.array([n]), np.arange(n), np.zeros(n))
        pile = Pile(
            np.full(n, NONE), np.zeros(n, np.int64), np.ascontiguousarray(order), place, queue
        )
        for count in self._chunks():
            if deadline.passed:
                return None
            lay(self.buffers, pile, count)
        return pile.offset

    def fit(self, order: Ints, tightest: bool, deadline: Deadline) -> Ints | None:
        """Fit buffers into gaps one by one, those first that have to be somewhere; or None."""
        state = Fit(self.fixed.copy(), np.empty(len(self), np.int64))
        done = 0
        for count in self._chunks():
            if deadline.passed:
                return None
            fit(self.buffers, state, np.ascontiguousarray(order), done, done + count, tightest)
            done += count
        return state.offset

    def fit_crowd(self, order: Ints, deadline: Deadline) -> Ints | None:
        """The lowest gap for each, where there are too many pairs to list them; or None."""
        args = (self.first, self.last, self.true_size, self.fixed, self.alignment)
        crowd = crowd_of(*args)
        each = max(1, _OFTEN * len(self) // (8 * pairs_of(self.first, self.last) + 1))
        for done in range(0, len(self), each):
            if deadline.passed:
                return None
            fit_first(crowd, np.ascontiguousarray(order), done, min(done + each, len(self)))
        return crowd.offset

    def _chunks(self) -> Iterator[int]:
        """So many buffers at a time, in all as many as there are."""
        n = len(self)
        each = max(1, _OFTEN * n // max(2 * len(self.buffers.earlier), n))
        for done in range(0, n, each):
            yield min(each, n - done)

    def varied(self, order: Ints) -> Ints:
        """An order near another one."""
        n = len(order)
        moved = self._random.random(n) < _SHARE * self._random.random()
        key: Floats = np.arange(n, dtype=np.float64)
        key[moved] += n * _NOISE * self._random.random() * (self._random.random(moved.sum()) - 0.7)
        return order[np.argsort(key, kind="stable")]

    def sweep(self, backwards: bool, tightest: bool, deadline: Deadline) -> bool:
        """Fit all buffers in the order of time; False: there was no time."""
        state, turn = self._sweep(backwards)
        for done in range(0, len(self), _SWEPT):
            if deadline.passed:
                return False
            sweep(state, done, min(done + _SWEPT, len(self)), tightest)
        self._offer_swept(state, turn, _by_time(tightest))
        return True

    def _sweep(self, backwards: bool) -> tuple[Sweep, Ints]:
        begins, ends = (-self.last, -self.first) if backwards else (self.first, self.last)
        size = rounded_up(self.true_size, self.alignment)
        turn = np.lexsort((-size, begins))
        n = len(turn)
        offset, there = np.zeros(n, np.int64), np.empty(n, np.int64)
        return Sweep(
            begins[turn], ends[turn], size[turn], offset, there, np.zeros(1, np.int64)
        ), turn

    def _offer_swept(self, state: Sweep, turn: Ints, by: str) -> None:
        found = np.empty(len(turn), np.int64)
        found[turn] = state.offset
        self.offer(found, by)

    def pack_plainly(self, backwards: bool = False, tightest: bool = True) -> None:
        """A packing without compiled code: fitted by time where that is quick, else in slots."""
        depth = int(
            counts(self.first, self.last, np.ones(len(self), np.int64), int(self.last.max())).max()
        )
        if self.is_free and len(self) * depth <= _MOST_PLAIN:
            state, turn = self._sweep(backwards)
            getattr(sweep, "py_func", sweep)(state, 0, len(self), tightest)
            self._offer_swept(state, turn, _by_time(tightest))
            return
        self.offer(self._slots(), "slots")

    def _slots(self) -> Ints:
        """Above what is fixed, for buffers of about one size as many slots as are taken at once.

        O(n log n) without compiled code. About one size: they differ by less than a quarter.
        """
        size, free = rounded_up(self.true_size, self.alignment), self.fixed == NONE
        power = np.maximum(np.frexp(size)[1] - 3, 0)
        kind = 8 * power + (size >> power)
        slot, taken = np.zeros(len(self), np.int64), defaultdict[int, list[tuple[int, int]]](list)
        rows = zip(kind.tolist(), self.first.tolist(), self.last.tolist(), free.tolist())
        for u, (of, first, last, is_free) in enumerate(rows):
            if not is_free:
                continue
            queue = taken[of]
            if queue and queue[0][0] <= first:
                slot[u] = heapreplace(queue, (last, queue[0][1]))[1]
            else:
                slot[u] = len(queue)
                heappush(queue, (last, len(queue)))
        offset = self.fixed.copy()
        top = int(rounded_up((offset + size)[~free], self.alignment).max(initial=0))
        for of, queue in taken.items():
            here = free & (kind == of)
            height = int(size[here].max())
            offset[here] = top + slot[here] * height
            top += len(queue) * height
        return offset

    @property
    def is_crowded(self) -> bool:
        """Whether too many pairs can collide to list them."""
        return pairs_of(self.first, self.last) > MOST_PAIRS

    @property
    def is_free(self) -> bool:
        """Whether every buffer may lie anywhere."""
        return bool((self.fixed == NONE).all())

    @property
    def is_searched(self) -> bool:
        """Whether there is space for the searches, and nothing is fixed."""
        n, sections = len(self), int(self.last.max())
        return self.is_free and n * (n + sections) <= _MOST_SEARCHED

    def search(self, height: int, goes_on: bool, deadline: Deadline) -> bool:
        """Search a packing below a height; whether the search ended with one, or with a proof.

        A proof that there is none lifts `bound`.
        """
        if self._restarts is None:
            self._restarts = Restarts(self.buffers, *self._members, self.orders(), self.varied)
        found = self._restarts.search(height, goes_on, deadline)
        self.spent["canonical"] += found.seconds
        if found.offset is not None:
            return self.offer(found.offset, "canonical search")
        if found.is_none:
            self.bound = max(self.bound, height + self.unit)
        return found.is_none

    def beam_search(self, height: int, width: int, deadline: Deadline) -> bool:
        """Search a packing below a height among so many at once; whether there is one now."""
        b, n = self.buffers, len(self)
        spare = float(np.exp(self._random.uniform(*np.log(_SPARE))))
        key = self._random.integers(1, beam.PRIME, n)
        state = beam.beam_of(b, *self._members, min(width, self._most_beams), spare, key)
        for _ in range(n):
            self.spent["beam"] += _LAID * state.numbers[beam.COUNT] * (n + int(self.last.max()))
            if deadline.passed or not beam.advance(b, state, height):
                return False
        return self.offer(~state.offset[state.numbers[beam.ROW]], "beam search")

    @property
    def _most_beams(self) -> int:
        """The width of a beam for which there is space."""
        return max(1, _MOST_BEAM // (len(self) + 2 * int(self.last.max())))

    @property
    def _members(self) -> tuple[Ints, Ints]:
        """Each section of each buffer, by section, and the buffer."""
        spans = self.last - self.first
        member = np.repeat(np.arange(len(self)), spans)
        section = np.arange(len(member)) - np.repeat(offsets(spans)[:-1] - self.first, spans)
        order = np.argsort(section, kind="stable")
        return section[order], np.ascontiguousarray(member[order])

    def recreate(self, height: int, deadline: Deadline, run: int = 0) -> bool:
        """Search a packing below a height, and keep lower ones on the way; whether there is one.

        Two threads may do so at once, by two runs, each going on where it was.
        """
        cooling = self._runs.get(run)
        if cooling is None:
            cooling = Cooling(self.buffers, self._by_crowds(), self._seed, run)
            self._runs[run] = cooling
        found, work = cooling.go_on(height, deadline)
        if run == 0:
            self.spent["recreation"] += work
        if found is not None:
            self.offer(found, "recreation")
        return self.size is not None and self.size <= height

    def eject(self, height: int, rounds: int, deadline: Deadline) -> bool:
        """Search a packing below a height from the best one on; whether there is one now."""
        assert self.offset is not None, "something is packed first"
        b, n = self.buffers, len(self)
        random = random_of(int(self._random.integers(2**31)))
        state = ejection.ejection_of(b, self.offset, height, random)
        each = max(1, min(_EJECTIONS, _OFTEN * n // (8 * max(len(b.earlier), n))))
        for _ in range(rounds):
            if deadline.passed:
                return False
            ejection.eject(b, state, height, each)
            self.spent["ejection"] += (
                _EJECTED * state.numbers[ejection.STEPS] * (1 + len(b.earlier) / n)
            )
            if not state.numbers[ejection.LEFT]:
                return self.offer(state.offset, "ejection search")
        return False


def _by_time(tightest: bool) -> str:
    return f"{'best' if tightest else 'first'} fit by time"
