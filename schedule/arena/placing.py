"""`place`: an offset for every allocation, in as little memory as there is time to find."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping

import numpy as np

from schedule.addresses import check_offsets
from schedule.arena import PACKING
from schedule.arena.arena import Arena
from schedule.arena.buffers import MOST_PAIRS, NONE, pairs_of, sections_of
from schedule.arena.part import Part
from schedule.cancelling import is_cancelled
from schedule.errors import BadAddresses, BadBudget, BadOption, SolverBug
from schedule.graph import Graph
from schedule.layout import Ints
from schedule.lifetimes import Inputs, Lifetimes, lifetimes_of
from schedule.options import Cancel
from schedule.result import Status
from schedule.sizes import format_short, parse_memory, with_exact
from schedule.solvers.contract import Deadline
from schedule.solvers.kit.interrupts import interrupts
from schedule.steps import AnySchedule
from schedule.values import integer, number, shown
from schedule.verification import verify

#: Buffers up to which a part goes to CP-SAT, too, and the share of the time that it has.
_FEW, _EXACT_SHARE = 150, 0.4
#: Fits in the order of time: whether backwards, and whether into the tightest gap.
_BY_TIME = ((False, True), (False, False), (True, True), (True, False))
#: Buffers up to which a packing without compiled code takes less time than to load that.
_PLAIN = 500
#: States of the first canonical searches, in buffers; every round has twice as many.
_FIRST_STATES = 2
#: Searches that take turns, and their shares of the time: where the smallest arena is sought,
#: and within a capacity, for which the canonical search is made.
_SMALLEST = {"canonical": 1.0, "beam": 1.0, "ejection": 1.0}
_WITHIN = {"canonical": 3.0, "beam": 1.0}
#: Canonical searches of a packing of the bound's size; later every other one is between.
_AT_BOUND = 3
#: The round in which CP-SAT has its turn.
_EXACT_AT = 3
#: Widths of beam searches: the first one, and how many there are, each twice the one before.
_WIDTH, _WIDTHS = 8, 6
#: Calls of the ejection search in a round, and the smallest share of the gap gone for.
_EJECTIONS, _LEAST_STEP = 10, 0.01
_LARGEST = 2**61
#: Orders by which the canonical search ranks buffers, some after the largest load that they
#: are part of: minimalloc's three (WAT, TAW, TWA), and two by sections in the place of time.
_RANKS = (("span", False), ("width", False), ("area", True), ("width", True), ("span", True))


def place(
    given: Graph | Lifetimes,
    schedule: AnySchedule | None = None,
    *,
    capacity: int | str | None = None,
    alignment: int = 1,
    time_limit: float = 10.0,
    preplaced: Mapping[str, int] | None = None,
    inputs: Inputs = "inside",
    seed: int = 0,
    cancel: Cancel | None = None,
) -> Arena:
    """Give every allocation an offset in one arena, as small as can be found.

    Parameters
    ----------
    given
        A graph, whose `schedule` is placed; or lifetimes alone, as
        `schedule.read_lifetimes` reads them.
    schedule
        Of the graph: as for `schedule.verify`.
    capacity
        Ends the search as soon as an arena is within it; as an integer or a size
        (`"2GiB"`). None: the smallest arena is sought.
    alignment
        Every offset is a multiple of this power of two.
    time_limit
        Seconds after which the best found so far is returned.
    preplaced
        Offsets that are given already, by the names of allocations (see `Lifetimes`): every
        allocation of that name has it. Lifetimes from a file may have some of their own.
    inputs
        `"outside"`: resident inputs are somebody else's, and aren't placed.
    seed
        Of random choices.
    cancel
        As in `schedule.SolveOptions`.

    Returns
    -------
    Arena
        `optimal` only where its size is a proved bound. On Ctrl-C, and where it is
        cancelled, the best found so far is returned, with `interrupted` set.

    Raises
    ------
    BadBudget
        A capacity that is no amount of memory, or less than the load.
    BadOption
        Another option that isn't one; preplaced allocations that overlap, aren't
        aligned, or aren't there.
    BadInput, InvalidSchedule
        As `schedule.verify`.

    Notes
    -----
    The problem is dynamic storage allocation (Garey and Johnson 1979, SR2), NP-hard. Time
    is cut where nothing lives across; each part is packed by best fit in several
    orders, laid from below, and searched: canonically (Moffitt 2023,
    doi:10.1145/3623278.3624752), by beams, by ejections, and on CP-SAT where it is small. Where
    too many pairs can collide for that, buffers are fitted in the order of time.

    Examples
    --------
    >>> import schedule
    >>> graph = schedule.example("chain")
    >>> plan = schedule.solve(graph, "50%")
    >>> arena = schedule.place(graph, plan)
    >>> arena.status, arena.size == plan.peak
    (<Status.OPTIMAL: 'optimal'>, True)
    """
    started = time.monotonic()
    _check_options(alignment, time_limit, inputs)
    lifetimes = _lifetimes(given, schedule, inputs)
    fixed = _fixed(lifetimes, preplaced or {}, alignment)
    limit = None if capacity is None else parse_memory(capacity, "capacity")
    load = lifetimes.load
    if limit is not None and limit < load:
        asked, used, more = format_short(limit, load, load - limit)
        raise BadBudget(
            f"capacity {asked} is less than the load: {with_exact(used, load)} are in use at time"
            f" {lifetimes.load_time}, {more} more"
        )
    deadline, called_off = Deadline.after(time_limit), threading.Event()
    if cancel is not None:
        deadline = deadline.unless(lambda: _is_told(called_off, cancel))
    search = _Search(lifetimes, fixed, limit, int(alignment), deadline, seed)
    interrupted = False
    try:
        with interrupts():
            search.run()
    except KeyboardInterrupt:
        interrupted = True
    interrupted |= called_off.is_set()
    offsets, size, by = search.best()
    try:
        check_offsets(lifetimes, offsets.tolist(), size, alignment)
        if not (offsets[fixed != NONE] == fixed[fixed != NONE]).all():
            raise BadAddresses("what is preplaced was moved")
    except BadAddresses as error:
        raise SolverBug(f"the packing is wrong: {error}") from error
    bound = search.bound
    if limit is not None and size > limit:
        status = Status.INFEASIBLE if bound > limit else Status.UNKNOWN
    else:
        status = Status.OPTIMAL if size == bound else Status.FEASIBLE
    fits = status in (Status.OPTIMAL, Status.FEASIBLE)
    return Arena(
        status=status,
        lifetimes=lifetimes,
        offsets=offsets if fits else None,
        size=size if fits else None,
        least_size=size,
        load=load,
        lower_bound=bound,
        capacity=limit,
        alignment=int(alignment),
        inputs=inputs,
        seconds=time.monotonic() - started,
        found_by=by,
        interrupted=interrupted,
        compiling=search.compiling,
    )


def _is_told(called_off: threading.Event, cancel: Cancel) -> bool:
    """Whether it is cancelled, now or earlier; noted in the event."""
    if not called_off.is_set() and is_cancelled(cancel):
        called_off.set()
    return called_off.is_set()


def check_alignment(alignment: object) -> None:
    """Raise BadOption unless it is a power of two."""
    power = integer(alignment)
    if power is None or power < 1 or power & (power - 1) or power >= _LARGEST:
        raise BadOption(f"alignment is {shown(alignment)}; it has to be a power of two")


def _check_options(alignment: object, time_limit: object, inputs: object) -> None:
    check_alignment(alignment)
    seconds = number(time_limit)
    if seconds is None or not 0 < seconds < math.inf:
        raise BadOption(f"time_limit is {shown(time_limit)}; it has to be a number of seconds > 0")
    if inputs not in ("inside", "outside"):
        raise BadOption(f"inputs is {shown(inputs)}; it is 'inside' or 'outside'")


def _lifetimes(given: object, schedule: AnySchedule | None, inputs: Inputs) -> Lifetimes:
    if isinstance(given, Lifetimes):
        if schedule is not None or inputs == "outside":
            raise BadOption("lifetimes alone have neither a schedule nor inputs")
        return given
    if not isinstance(given, Graph):
        raise BadOption(f"{shown(given)} is neither a graph nor lifetimes")
    if schedule is None:
        raise BadOption("a graph is placed by a schedule: give one")
    return lifetimes_of(verify(given, schedule), inputs)


def _fixed(lifetimes: Lifetimes, preplaced: Mapping[str, int], alignment: int) -> Ints:
    """Shape (n,): the offsets that are given, else −1; refused where they can't be."""
    known = set(lifetimes.names)
    fixed = np.full(len(lifetimes), NONE) if lifetimes.fixed is None else lifetimes.fixed.copy()
    for name in preplaced:
        if name not in known:
            raise BadOption(f"preplaced {shown(name)} isn't allocated")
    for at, name in enumerate(lifetimes.names):
        offset = preplaced.get(name, None if fixed[at] == NONE else int(fixed[at]))
        if offset is None:
            continue
        where = integer(offset)
        if where is None or not 0 <= where < _LARGEST or where % alignment:
            raise BadOption(
                f"preplaced {name!r}: its offset is {shown(offset)}; it has to be a multiple of"
                f" {alignment}, 0 or more"
            )
        fixed[at] = where
    given = np.flatnonzero(fixed != NONE)
    names = tuple(lifetimes.names[k] for k in given.tolist())
    part = Lifetimes(names, *(each[given] for each in lifetimes.columns))
    try:
        check_offsets(part, fixed[given].tolist(), 2 * _LARGEST)
    except BadAddresses as error:
        raise BadOption(f"preplaced: {error}") from None
    return fixed


class _Search:
    """All parts of a problem, and the packing of each."""

    def __init__(
        self,
        lifetimes: Lifetimes,
        fixed: Ints,
        capacity: int | None,
        alignment: int,
        deadline: Deadline,
        seed: int,
    ) -> None:
        self._lifetimes, self._fixed, self._capacity = lifetimes, fixed, capacity
        self._alignment, self._deadline, self._seed = alignment, deadline, seed
        kept = np.flatnonzero(lifetimes.size > 0)
        first, last = sections_of(lifetimes.lower[kept], lifetimes.upper[kept])
        order = np.lexsort((last, first))
        #: The buffers that take memory, in the order that packers have.
        self._order = kept[order]
        self._parts: list[Part] = []
        self._where: list[slice] = []
        if len(kept):
            self._divide(first[order], last[order])
        self._rounds = [0] * len(self._parts)
        self.compiling = 0.0

    def _divide(self, first: Ints, last: Ints) -> None:
        """One part for each stretch of sections that no buffer leaves."""
        reach = np.maximum.accumulate(last)
        begins = np.flatnonzero(np.concatenate([[True], first[1:] >= reach[:-1]]))
        lifetimes, order = self._lifetimes, self._order
        width = (lifetimes.upper - lifetimes.lower)[order]
        size, fixed = lifetimes.size[order], self._fixed[order]
        for begin, end in zip(begins.tolist(), [*begins[1:].tolist(), len(first)]):
            at = slice(begin, end)
            self._where.append(at)
            self._parts.append(
                Part(
                    first[at], last[at], size[at], fixed[at], width[at], self._alignment, self._seed
                )
            )

    @property
    def bound(self) -> int:
        """What no arena is smaller than."""
        return max((part.bound for part in self._parts), default=0)

    @property
    def _goal(self) -> int:
        """The size at which nothing more is sought."""
        return max(self.bound, self._capacity or 0)

    def best(self) -> tuple[Ints, int, str]:
        """Offsets of all buffers, the size, and the method behind the largest part."""
        offsets = np.zeros(len(self._lifetimes), np.int64)
        offsets[self._fixed != NONE] = self._fixed[self._fixed != NONE]
        size, by = 0, "nothing to pack"
        for part, at in zip(self._parts, self._where):
            if part.size is None:
                part.pack_plainly()
            assert part.size is not None, "it is packed by now"
            assert part.offset is not None, "so it has offsets"
            offsets[self._order[at]] = part.offset
            if part.size > size:
                size, by = part.size, part.found_by
        return offsets, size, by

    def run(self) -> None:
        """Pack every part once, then the largest ones again, until the goal is reached."""
        if self._pack_small():
            return
        attempt, began = PACKING.begin(), time.monotonic()
        while not attempt.done.wait(0.02) and not self._deadline.passed:
            pass
        if attempt.compiles:
            self.compiling = time.monotonic() - began
        if attempt.error is not None:
            raise attempt.error
        if not attempt.done.is_set():
            return
        for part in sorted(self._parts, key=lambda part: -part.bound):
            if pairs_of(part.first, part.last) > MOST_PAIRS:
                self._sweep(part)
            else:
                self._fit(part)
        while not self._deadline.passed:
            largest = [k for k, part in enumerate(self._parts) if self._is_too_large(part)]
            if not largest:
                return
            at = max(largest, key=lambda k: self._parts[k].size or 0)
            is_refuted = self._capacity is not None and self.bound > self._capacity
            if is_refuted or not self._improve(self._parts[at], self._rounds[at]):
                return
            self._rounds[at] += 1

    def _pack_small(self) -> bool:
        """Pack a few buffers without waiting for compiled code; whether that will do."""
        if len(self._order) > _PLAIN:
            return False
        for backwards, tightest in _BY_TIME:
            for part in self._parts:
                if part.size is None or self._is_too_large(part):
                    part.pack_plainly(backwards, tightest)
        return not any(map(self._is_too_large, self._parts))

    def _is_too_large(self, part: Part) -> bool:
        return part.size is not None and part.size > self._goal

    def _fit(self, part: Part) -> None:
        """Fast methods, from what is best most often on."""
        deadline, is_free = self._deadline, bool((part.fixed == NONE).all())
        ways: list[tuple[str, Callable[[Ints], Ints | None]]] = [
            ("best fit", lambda order: part.fit(order, True, deadline)),
            ("first fit", lambda order: part.fit(order, False, deadline)),
        ]
        if is_free:
            ways.insert(0, ("laid", lambda order: part.lay(order, deadline)))
        for name, order in part.orders().items():
            for way, make in ways:
                if part.size is not None and (part.size <= self._goal or deadline.passed):
                    return
                found = make(order)
                if found is not None:
                    part.offer(found, f"{way} by {name}")

    def _sweep(self, part: Part) -> None:
        """Fit in the order of time, and of time run backwards."""
        if (part.fixed != NONE).any():
            raise BadOption(
                f"{len(part)} buffers with too many pairs at once for some to be preplaced"
            )
        for backwards, tightest in _BY_TIME:
            part.sweep(backwards, tightest, self._deadline)

    def _improve(self, part: Part, turn: int) -> bool:
        """One more try at a part that is too large; False: there is nothing to try."""
        assert part.size is not None, "it is packed"
        if pairs_of(part.first, part.last) > MOST_PAIRS:
            return False
        deadline = self._deadline
        is_free = bool((part.fixed == NONE).all())
        if turn == _EXACT_AT and len(part) <= _FEW:
            from schedule.arena.nonoverlap import improve

            improve(part, deadline.share(_EXACT_SHARE), self._seed)
        orders = part.orders()
        names = list(orders)
        if is_free and part.is_searchable:
            self._take_turns(part, orders)
            return True
        order = part.varied(orders[names[turn % 3]])
        found = (
            part.lay(order, deadline) if is_free and turn % 2 else part.fit(order, True, deadline)
        )
        if found is not None:
            part.offer(found, "varied order")
        return True

    def _take_turns(self, part: Part, orders: Mapping[str, Ints]) -> None:
        """Of the searches, the one that has had the least of its time goes on."""
        assert part.size is not None, "it is packed"
        goal, clock = self._goal, self._deadline.clock
        # Within a capacity there is one height; else the next one is between, and nearer to
        # what is known after each failure.
        height = goal
        if self._capacity is None:
            height = max(goal, part.size - max(part.unit, int((part.size - goal) * part.step)))
        shares = _SMALLEST if self._capacity is None else _WITHIN
        name = min(shares, key=lambda name: part.spent[name] / shares[name])
        turn, began = part.turns[name], clock.now()
        if name == "canonical" and (turn < _AT_BOUND or turn % 2 == 0):
            height = goal
        if name == "canonical":
            found = self._search(part, orders, height, turn)
        elif name == "beam":
            found = part.beam_search(height, _WIDTH << turn % _WIDTHS, self._deadline)
        else:
            found = part.eject(height, _EJECTIONS, self._deadline)
        part.turns[name] += 1
        part.spent[name] += clock.now() - began
        if found:
            part.step = min(1.0, 2 * part.step)
        elif name != "canonical" or height != goal:
            part.step = max(_LEAST_STEP, part.step / 2)

    def _search(self, part: Part, orders: Mapping[str, Ints], height: int, turn: int) -> bool:
        """The canonical search at a height, by every rank; by varied ones in every other turn."""
        states = _FIRST_STATES * len(part) << min(turn, 12)
        for name, by_total in _RANKS:
            order = part.varied(orders[name]) if turn % 2 else orders[name]
            if self._deadline.passed or height < part.bound:
                return False
            if part.search(order, by_total, height, states, self._deadline):
                return True
        return False
