"""Canonical searches of one part by many ranks: some go on, others begin anew again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from schedule.arena.buffers import NONE, Buffers, counts
from schedule.arena.searches import canonical
from schedule.arena.searches.canonical import Canonical
from schedule.layout import Ints, offsets
from schedule.solvers.contract import Deadline

#: Orders by which buffers are ranked, some after the largest load that they are part of:
#: minimalloc's three (WAT, TAW, TWA), and two by sections in the place of time.
_RANKS = (("span", False), ("width", False), ("area", True), ("width", True), ("span", True))
#: States of the shortest searches, in buffers; every other one has twice as many, every fourth
#: one four times, and so on, but no more than so many doublings: all lengths have equal time.
_SHORTEST, _DOUBLINGS = 3, 12
#: Buffers times buffers and sections up to which searches go on: their space.
_MOST_KEPT = 2_000_000
#: Pairs of buffers and sections, times states, between two looks at the clock.
_OFTEN = 500_000
#: Seconds that a state takes, about, for each buffer and section.
_STATE = 3e-9


@dataclass
class Found:
    """What searches came to.

    Attributes
    ----------
    offset
        Shape (n,): a packing; None: there is none yet.
    is_none
        Whether it is proved that there is none.
    seconds
        That it took, about.
    """

    offset: Ints | None = None
    is_none: bool = False
    seconds: float = 0.0


class Restarts:
    """Searches below one height, by each rank one that goes on, and by varied ranks new ones.

    How long a search takes depends on ranks by chance, and now and then it is very short: so most
    are given up soon (Luby, Sinclair and Zuckerman 1993, doi:10.1016/0020-0190(93)90029-9).

    Parameters
    ----------
    buffers
        n of them.
    section, member
        As `beam.beam_of` has them.
    orders, varied
        By name; and a function that gives another order, near one.
    """

    def __init__(
        self,
        buffers: Buffers,
        section: Ints,
        member: Ints,
        orders: Mapping[str, Ints],
        varied: Callable[[Ints], Ints],
    ) -> None:
        self._buffers, self._section, self._member = buffers, section, member
        self._ranks = [(orders[name], by_total) for name, by_total in _RANKS]
        self._varied = varied
        n, self._sections = len(buffers.first), int(buffers.last.max())
        b, sections = buffers, self._sections
        self._total = counts(b.first, b.last, b.size, sections)
        self._across = counts(b.first, b.last - 1, np.ones(n, np.int64), sections)
        self._most = np.zeros(n, np.int64)  # the largest load that each is part of
        np.maximum.at(self._most, member, self._total[section])
        self._goes_on = n * (n + self._sections) <= _MOST_KEPT
        #: Those that go on, and below which height.
        self._kept: list[Canonical] = []
        self._height = NONE
        self._round = 0

    def search(self, height: int, goes_on: bool, deadline: Deadline) -> Found:
        """One more round: for those that go on, where they are to, as long as for new ones."""
        self._round += 1
        doublings = min((self._round & -self._round).bit_length() - 1, _DOUBLINGS)
        states, found = _SHORTEST * len(self._buffers.first) << doublings, Found()
        for state in self._searches(height, goes_on and self._goes_on):
            self._run(state, height, states, deadline, found)
            if found.offset is not None or found.is_none or deadline.passed:
                break
        return found

    def _searches(self, height: int, goes_on: bool) -> Iterator[Canonical]:
        if goes_on:
            if self._height != height:
                self._height = height
                self._kept = [self._begun(*rank) for rank in self._ranks]
            yield from self._kept
        for order, by_total in self._ranks:
            is_varied = goes_on or self._round > 1
            yield self._begun(self._varied(order) if is_varied else order, by_total)

    def _run(
        self, state: Canonical, height: int, states: int, deadline: Deadline, found: Found
    ) -> None:
        """Have a search go on for so many states."""
        n, numbers = len(self._buffers.first), state.numbers
        until = numbers[canonical.STATES] + states
        each = max(1, _OFTEN // (n + self._sections))
        while numbers[canonical.STATES] < until and not deadline.passed:
            before = numbers[canonical.STATES]
            chunk = min(each, until - before)
            ended = canonical.search(self._buffers, state, height, chunk)
            done = int(numbers[canonical.STATES] - before)
            found.seconds += _STATE * done * (n + self._sections)
            if ended == canonical.FOUND:
                found.offset = state.value[n : 2 * n].copy()
                return
            if ended == canonical.NOTHING:
                found.is_none = True
                return

    def _begun(self, order: Ints, by_total: bool) -> Canonical:
        """A search of which nothing is done."""
        b, n, sections = self._buffers, len(order), self._sections
        section, member = self._section, self._member
        ranked = order[np.argsort(-self._most[order], kind="stable")] if by_total else order
        rank, place = np.empty((2, n), np.int64)
        rank[ranked] = np.arange(n)
        place[order] = np.arange(n)
        value = np.concatenate(
            [
                np.zeros(n, np.int64),
                np.full(n, NONE),
                rank,
                np.zeros(sections, np.int64),
                self._total,
                self._across,
            ]
        )
        changes = n * (3 + sections) + 3 * len(member) + 2 * len(b.earlier)
        frame = np.zeros((2 * n + 4, canonical.FIELDS), np.int64)
        frame[0, [canonical.TO, canonical.HIGH]] = n, sections
        frame[0, [canonical.OFFSET, canonical.RANK, canonical.NEXT]] = -1
        pool = np.empty(n * (n + 9) + 9, np.int64)
        pool[:n] = ranked
        numbers = np.zeros(6, np.int64)
        numbers[[canonical.FRAMES, canonical.POOL]] = 1, n
        return Canonical(
            value,
            np.ascontiguousarray(order),
            place,
            by_total,
            np.zeros(n, np.int64),
            offsets(np.bincount(section, minlength=sections)),
            member,
            frame,
            pool,
            np.empty(changes, np.int64),
            np.empty(changes, np.int64),
            np.zeros(sections, np.int64),
            numbers,
        )
