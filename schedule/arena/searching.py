"""The search of an arena: time is cut into parts, and the largest one is packed in less."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from schedule.arena import PACKING
from schedule.arena.buffers import NONE, sections_of
from schedule.arena.ejections import EJECTIONS
from schedule.arena.part import Part
from schedule.arena.quick import BY_TIME, pack, pack_varied
from schedule.arena.searches import SEARCHES
from schedule.arena.stretching import stretched
from schedule.layout import Ints
from schedule.lifetimes import Lifetimes
from schedule.options import SolveOptions
from schedule.solvers.contract import Clock, Deadline
from schedule.solvers.kit.loading import Loading

#: Buffers up to which a part goes to CP-SAT, too, and the share of the time that it has where some
#: buffers are fixed and nothing else proves anything.
_FEW, _EXACT_ALONE = 150, 0.9
#: Buffers up to which a packing without compiled code takes less time than to load that.
_PLAIN = 500
#: Searches that take turns, and their shares of the time: where the smallest arena is sought,
#: alone and beside a thread that does nothing but ruin and recreate; and, alone and beside one,
#: within a capacity, for which the canonical search is made. CP-SAT ("exact") is asked where
#: there are few enough. What falls apart where long buffers are stretched is searched "apart".
_SHARES = {
    "canonical": (1.0, 1.0, 4.0, 4.0),
    "beam": (1.0, 1.0, 1.0, 1.0),
    "ejection": (1.0, 1.0, 0.0, 0.0),
    "recreation": (3.0, 3.0, 4.0, 0.0),
    "exact": (2.0, 1.0, 0.5, 0.5),
    "apart": (12.0, 8.0, 25.0, 15.0),
}
#: Seconds of CP-SAT's own work in its first turn, every other one has twice as many; and those
#: of a machine in one of them, for packings.
_FIRST_EXACT, _EXACT_SECOND = 0.5, 0.45
#: Seconds that a turn takes besides.
_TURN = 1e-4
#: Canonical searches of a packing of the bound's size; later every other one is between.
_AT_BOUND = 3
#: So often parts are divided again: each time costs as much as to sort the buffers.
_DEEPEST = 20
#: The round in which CP-SAT has its turn where nothing is searched.
_EXACT_AT = 3
#: Widths of beam searches: the first one, and how many there are, each twice the one before.
_WIDTH, _WIDTHS = 8, 6
#: Calls of the ejection search in a round, and the smallest share of the gap gone for.
_EJECTIONS, _LEAST_STEP = 10, 0.01


class Search:
    """All parts of a problem, and the packing of each.

    Parameters
    ----------
    lifetimes, fixed
        What is packed; shape (n,), the offsets that are given, else −1.
    capacity
        At which nothing more is sought; None: at the bound.
    alignment, deadline
        Of offsets; of the search.
    called_off
        Whether the caller wants no more: asked in the caller's own thread alone.
    options
        With `seed` and `workers`: from two on, a second thread goes on from what is best while
        the others search.
    """

    def __init__(
        self,
        lifetimes: Lifetimes,
        fixed: Ints,
        capacity: int | None,
        alignment: int,
        deadline: Deadline,
        called_off: Callable[[], bool],
        options: SolveOptions,
    ) -> None:
        self._lifetimes, self._fixed, self._capacity = lifetimes, fixed, capacity
        self._alignment, self._seed, self._workers = alignment, options.seed, options.workers
        self._deadline, self._beside = deadline.unless(called_off), deadline
        #: Of what lies below a part, for as long as that: its offsets.
        self._below = np.zeros(len(lifetimes), np.int64)
        self._parts: list[Part] = []
        #: The buffers of each part, in the order that packers have.
        self._members: list[Ints] = []
        kept = np.flatnonzero(lifetimes.size > 0)
        if len(kept):
            self._divide(kept)
        self._rounds = [0] * len(self._parts)
        #: Of a part, the same with long buffers stretched; None: it doesn't fall apart, or has had
        #: its time.
        self._apart: dict[Part, Search | None] = {}
        self.compiling = 0.0

    def _divide(self, kept: Ints) -> None:
        """One part for each stretch of sections that no buffer leaves.

        What is there in all of its sections collides with all others: in any packing it can
        change places with what lies below it. So it lies at the bottom, and the rest is divided
        again, on that ground.
        """
        size = self._lifetimes.size
        stack = [(kept, 0, 0)]
        while stack:
            at, ground, depth = stack.pop()
            first, last = sections_of(self._lifetimes.lower[at], self._lifetimes.upper[at])
            order = np.lexsort((last, first))
            at, first, last = at[order], first[order], last[order]
            reach = np.maximum.accumulate(last)
            begins = np.flatnonzero(np.concatenate([[True], first[1:] >= reach[:-1]])).tolist()
            for begin, end in zip(begins, [*begins[1:], len(at)]):
                here = slice(begin, end)
                members = at[here]
                is_low = (first[here] == first[begin]) & (last[here] == last[here].max())
                # One whose end is between two multiples may save that at the top alone.
                is_low &= size[members] % self._alignment == 0
                is_free = (self._fixed[members] == NONE).all()
                if depth < _DEEPEST and is_free and is_low.any() and not is_low.all():
                    low = members[is_low]
                    tops = ground + np.cumsum(size[low])
                    self._below[low] = tops - size[low]
                    stack.append((members[~is_low], int(tops[-1]), depth + 1))
                else:
                    self._add(members, first[here], last[here], ground)

    def _add(self, members: Ints, first: Ints, last: Ints, ground: int) -> None:
        lifetimes, fixed = self._lifetimes, self._fixed[members]
        width = (lifetimes.upper - lifetimes.lower)[members]
        size, alignment = lifetimes.size[members], self._alignment
        self._members.append(members)
        self._parts.append(
            Part(first, last, size, fixed, width, alignment, self._seed, ground=ground)
        )

    @property
    def bound(self) -> int:
        """What no arena is smaller than."""
        return max((part.ground + part.bound for part in self._parts), default=0)

    @property
    def _goal(self) -> int:
        """The size at which nothing more is sought."""
        return max(self.bound, self._capacity or 0)

    def best(self) -> tuple[Ints, int, str]:
        """Offsets of all buffers, the size, and the method behind the largest part."""
        offsets = self._below.copy()
        offsets[self._fixed != NONE] = self._fixed[self._fixed != NONE]
        size, by = 0, "nothing to pack"
        for part, at in zip(self._parts, self._members):
            if part.size is None:
                part.pack_plainly()
            assert part.size is not None, "it is packed by now"
            assert part.offset is not None, "so it has offsets"
            offsets[at] = part.ground + part.offset
            if part.ground + part.size > size:
                size, by = part.ground + part.size, part.found_by
        return offsets, size, by

    def run(self) -> None:
        """Pack every part once, then the largest ones again, until the goal is reached."""
        if self._pack_small():
            return
        if not self._has_code(PACKING):
            return
        self._fit_all()
        if self._workers == 1 or self._largest is None:
            self._search_on()
            return
        stop = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            try:
                beside = pool.submit(self._recreate_beside, self._beside.unless(stop.is_set))
                self._deadline = self._deadline.unless(beside.done)
                self._search_on()
            finally:
                stop.set()
        beside.result()

    def _fit_all(self) -> None:
        goal = self._goal  # fitting proves nothing, and there may be many parts
        for part in sorted(self._parts, key=lambda part: -part.ground - part.bound):
            pack(part, goal - part.ground, self._deadline)

    def _search_on(self) -> None:
        """One try after the other at the largest part."""
        while not self._deadline.passed and self._step():
            pass

    def _step(self) -> bool:
        """One more try; False: the goal is reached, or can't be, or there is no code for it."""
        at = self._largest
        is_refuted = self._capacity is not None and self.bound > self._capacity
        if at is None or is_refuted:
            return False
        is_searched = self._parts[at].is_searched
        if is_searched and not (self._has_code(EJECTIONS) and self._has_code(SEARCHES)):
            return False
        self._improve(self._parts[at], self._rounds[at])
        self._rounds[at] += 1
        return True

    def _recreate_beside(self, deadline: Deadline) -> None:
        """The same in a thread of its own, by what the other one leaves out."""
        turn = 1
        while not deadline.passed:
            at = self._largest
            if at is None:
                return
            part, search = self._parts[at], self
            apart = self._apart.get(part)
            within = None if apart is None else apart._largest
            if apart is not None and within is not None and turn % 4 == 1:
                part, search = apart._parts[within], apart
            if part.is_searched and SEARCHES.is_ready:
                part.recreate(search._goal - part.ground, deadline, 1)
            else:
                pack_varied(part, turn, deadline)
            turn += 2

    @property
    def _largest(self) -> int | None:
        """The part that is the arena's size; None: no part is larger than the goal."""
        at = max(range(len(self._parts)), key=lambda k: self._top(self._parts[k]))
        return at if self._is_too_large(self._parts[at]) else None

    def _pack_small(self) -> bool:
        """Pack a few buffers without waiting for compiled code; whether that will do."""
        if sum(map(len, self._parts)) > _PLAIN:
            return False
        for backwards, tightest in BY_TIME:
            for part in self._parts:
                if part.size is None or self._is_too_large(part):
                    part.pack_plainly(backwards, tightest)
        return not any(map(self._is_too_large, self._parts))

    def _has_code(self, code: Loading) -> bool:
        """Wait for compiled code, and pack meanwhile; False: that will do, or there is no time."""
        if code.is_ready:
            return True
        attempt, began = code.begin(), time.monotonic()
        is_packed = False
        while not (attempt.done.wait(0.02) or is_packed or self._deadline.passed):
            if attempt.compiles:
                is_packed = self._pack_meanwhile(attempt.done)
        if attempt.compiles:
            self.compiling += time.monotonic() - began
        if attempt.error is not None:
            raise attempt.error
        return attempt.done.is_set() and not is_packed

    def _pack_meanwhile(self, compiled: threading.Event) -> bool:
        """Pack a few buffers on CP-SAT until code is compiled, more by ejections where they can be.

        Whether that will do.
        """
        for part in self._parts:
            if not self._is_too_large(part):
                continue
            if len(part) > _FEW and EJECTIONS.is_ready and part.is_searched:
                self._take_turn(part, "ejection")
            else:
                self._pack_exactly(part, self._deadline.unless(compiled.is_set))
        return not any(part.size is None or self._is_too_large(part) for part in self._parts)

    def _pack_exactly(self, part: Part, deadline: Deadline) -> None:
        """Ask CP-SAT, where there are few enough; it is loaded only then."""
        if len(part) <= _FEW:
            from schedule.arena.nonoverlap import improve

            improve(part, deadline, self._seed)

    def _pack_again(self, part: Part, turn: int) -> None:
        """Ask CP-SAT for twice the work of its last turn, by its own count: the same everywhere."""
        clock = Clock(counts_work=True)
        deadline = Deadline.after(_FIRST_EXACT * 2**turn, clock)
        self._pack_exactly(
            part, deadline.unless(lambda: self._deadline.passed or not self._is_too_large(part))
        )
        part.spent["exact"] += _EXACT_SECOND * clock.done

    def _is_too_large(self, part: Part) -> bool:
        return part.size is not None and self._top(part) > self._goal

    def _top(self, part: Part) -> int:
        """How large the arena is by this part."""
        return part.ground + (part.size or 0)

    def _improve(self, part: Part, turn: int) -> None:
        """One more try at a part that is too large."""
        if part.is_searched:
            self._take_turns(part)
            return
        if turn == _EXACT_AT:
            self._pack_exactly(part, self._deadline.share(_EXACT_ALONE))
        # The other thread has the odd turns.
        pack_varied(part, turn if self._workers == 1 else 2 * turn, self._deadline)

    def _take_turns(self, part: Part) -> None:
        """Of the searches, the one that has had the least of its time goes on."""
        case = 2 * (self._capacity is not None) + (self._workers > 1)
        shares = {name: share[case] for name, share in _SHARES.items() if share[case]}
        if len(part) > _FEW:
            del shares["exact"]
        if self._apart_of(part) is None:
            del shares["apart"]
        self._take_turn(part, min(shares, key=lambda name: part.spent[name] / shares[name]))

    def _apart_of(self, part: Part) -> Search | None:
        """A search within the goal of what a part falls into where long buffers are stretched."""
        if part not in self._apart:
            goal, none = self._goal - part.ground, np.full(len(part), NONE)
            spans = stretched(part.first, part.last, part.true_size, part.alignment, goal)
            self._apart[part] = None
            if spans is not None:
                alike = Lifetimes(tuple(map(str, range(len(part)))), *spans, part.true_size)
                options = SolveOptions(seed=self._seed, workers=1)
                args = (goal, part.alignment, self._deadline, lambda: False, options)
                self._apart[part] = made = Search(alike, none, *args)
                made._fit_all()
        return self._apart[part]

    def _pack_apart(self, part: Part) -> bool:
        """One more try at that; whether there is a lower packing. Its bounds aren't the part's."""
        apart = self._apart[part]
        assert apart is not None, "it has turns"
        before = apart._spent
        if not apart._step():
            self._apart[part] = None
        part.spent["apart"] += apart._spent - before
        offsets, _, by = apart.best()
        return part.offer(offsets, by)

    @property
    def _spent(self) -> float:
        """Seconds that searches took, about."""
        return sum(sum(part.spent.values()) for part in self._parts)

    def _take_turn(self, part: Part, name: str) -> None:
        assert part.size is not None, "it is packed"
        goal = self._goal - part.ground
        # Within a capacity there is one height; else the next one is between, and nearer to
        # what is known after each failure.
        height = goal
        if self._capacity is None:
            height = max(goal, part.size - max(part.unit, int((part.size - goal) * part.step)))
        turn = part.turns[name]
        if name == "canonical" and (turn < _AT_BOUND or turn % 2 == 0):
            height = goal
        if name == "canonical":
            found = part.search(height, height == goal, self._deadline)
        elif name == "beam":
            found = part.beam_search(height, _WIDTH << turn % _WIDTHS, self._deadline)
        elif name == "recreation":
            found = part.recreate(goal, self._deadline)
        elif name == "exact":
            self._pack_again(part, turn)
            found = False
        elif name == "apart":
            found = self._pack_apart(part)
        else:
            found = part.eject(height, _EJECTIONS, self._deadline)
        part.turns[name] += 1
        part.spent[name] += _TURN
        if found:
            part.step = min(1.0, 2 * part.step)
        elif name in ("beam", "ejection") or (name == "canonical" and height != goal):
            part.step = max(_LEAST_STEP, part.step / 2)
