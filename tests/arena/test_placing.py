"""`place` keeps its word: nothing overlaps, and `optimal` is what exhaustive search finds."""

from __future__ import annotations

import itertools
import signal
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ortools.sat.python import cp_model

import schedule
from schedule.arena import PACKING, searching
from schedule.arena.buffers import sections_of
from schedule.arena.nonoverlap import improve
from schedule.arena.part import Part
from schedule.arena.restarts import Restarts
from schedule.arena.searches import SEARCHES, canonical, recreation
from schedule.arena.searches.recreation import recreation_of
from schedule.arena.stretching import stretched
from schedule.errors import BadBudget, BadOption
from schedule.lifetimes import Lifetimes, lifetimes_of
from schedule.lowering import free_early, in_order
from schedule.options import SolveOptions
from schedule.solvers.contract import Deadline
from schedule.solvers.kit.randomness import random_of
from tests.formats import FILES_ARE_CHECKED
from tests.strategies import graphs, runs

pytestmark = FILES_ARE_CHECKED


@pytest.fixture(autouse=True, scope="module")
def compiled():
    """No search waits for the compiler."""
    PACKING.begin().done.wait()
    SEARCHES.begin().done.wait()


def lifetimes(rows):
    table = np.array(rows, np.int64).reshape(-1, 3)
    names = tuple(f"b{at}" for at in range(len(table)))
    return Lifetimes(names, *(np.ascontiguousarray(table[:, at]) for at in range(3)))


@st.composite
def buffers(draw, most=8, longest=6, largest=9):
    rows = []
    for _ in range(draw(st.integers(0, most))):
        lower = draw(st.integers(0, longest - 1))
        rows.append((lower, draw(st.integers(lower + 1, longest)), draw(st.integers(0, largest))))
    return lifetimes(rows)


def overlaps(found, offsets):
    """The pairs that overlap, by looking at every pair."""
    rows = list(zip(found.lower.tolist(), found.upper.tolist(), found.size.tolist(), offsets))
    return [
        (a, b)
        for a, b in itertools.combinations(range(len(rows)), 2)
        if max(rows[a][0], rows[b][0]) < min(rows[a][1], rows[b][1])
        and max(rows[a][3], rows[b][3]) < min(rows[a][3] + rows[a][2], rows[b][3] + rows[b][2])
    ]


def least_size(found, alignment=1):
    """Exhaustively: every packing can be pushed down, so that some order of placing gives it."""
    rows = [
        (lower, upper, size)
        for lower, upper, size in zip(*(column.tolist() for column in found.columns))
        if size
    ]
    best = sum(-(-size // alignment) * alignment for *_, size in rows)
    seen = set()

    def go(left, floor, height):
        nonlocal best
        if height >= best:
            return
        if not left:
            best = height
            return
        if (left, floor) in seen:
            return
        seen.add((left, floor))
        for at in left:
            lower, upper, size = rows[at]
            offset = max(floor[lower:upper])
            raised = list(floor)
            raised[lower:upper] = [-(-(offset + size) // alignment) * alignment] * (upper - lower)
            go(left - {at}, tuple(raised), max(height, offset + size))

    go(frozenset(range(len(rows))), (0,) * 6, 0)
    return best if rows else 0


@settings(max_examples=40, deadline=None)
@given(buffers(), st.sampled_from([1, 1, 4]))
def test_small_arenas_are_as_small_as_can_be(found, alignment):
    """Of up to eight buffers: right, aligned, and optimal as exhaustive search says."""
    arena = schedule.place(found, alignment=alignment, time_limit=20)
    offsets = arena.offsets.tolist()
    assert overlaps(found, offsets) == []
    assert all(offset % alignment == 0 for offset in offsets)
    assert arena.size == max([0, *(arena.offsets + found.size)])
    least = least_size(found, alignment)
    assert arena.lower_bound <= least <= arena.size
    assert arena.status == "optimal"
    assert arena.size == least


def least_size_by_cpsat(found, alignment, given):
    """By a model of rectangles, in whole steps of the alignment; no time limit."""
    model, units = cp_model.CpModel(), (-(-found.size // alignment)).tolist()
    most = sum(units) + sum(given.values())
    rows, height = (model.new_int_var(0, m, "") for m in (most, most * alignment))
    spans, sides = [], []
    for at, (lower, upper, size) in enumerate(zip(*(c.tolist() for c in found.columns))):
        name, unit = found.names[at], units[at]
        offset = given[name] // alignment if name in given else model.new_int_var(0, most, "")
        spans.append(model.new_fixed_size_interval_var(lower, upper - lower, ""))
        sides.append(model.new_fixed_size_interval_var(offset, unit, ""))
        model.add(alignment * offset + size <= height)
    model.add_no_overlap_2d(spans, sides)
    model.add_cumulative(spans, units, rows)
    model.add(alignment * rows < height + alignment)
    model.minimize(height)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.catch_sigint_signal = False  # it would leave no handler behind
    assert solver.solve(model) == cp_model.OPTIMAL
    return int(solver.objective_value)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_arenas_of_forty_are_what_another_solver_finds(data):
    """Up to 40 buffers, one or two of them in their places: optimal, as CP-SAT says."""
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    count = data.draw(st.integers(9, 40))
    lower = random.integers(0, 20, count)
    upper = lower + random.integers(1, 9, count)
    found = lifetimes(np.stack([lower, upper, random.integers(1, 20, count)], 1))
    given, alignment = {}, data.draw(st.sampled_from([1, 4]))
    for at in data.draw(st.sets(st.integers(0, count - 1), max_size=2)):
        if not any(lower[at] < upper[int(k[1:])] and lower[int(k[1:])] < upper[at] for k in given):
            given[f"b{at}"] = 4 * data.draw(st.integers(0, 9))
    arena = schedule.place(found, alignment=alignment, preplaced=given, time_limit=60)
    assert overlaps(found, arena.offsets.tolist()) == []
    assert all(arena.offsets[int(name[1:])] == offset for name, offset in given.items())
    assert arena.status == "optimal"
    assert arena.size == least_size_by_cpsat(found, alignment, given)


@settings(max_examples=40, deadline=None)
@given(buffers(most=7), st.sampled_from([1, 1, 4]))
def test_beam_that_keeps_everything_is_exhaustive(found, alignment):
    """Wide enough, it finds the least size, and nothing below; what it finds doesn't overlap."""
    kept = lifetimes([row for row in zip(*(c.tolist() for c in found.columns)) if row[2]])
    if not len(kept):
        return
    least, deadline = least_size(kept, alignment), Deadline()
    ordered = np.lexsort(sections_of(kept.lower, kept.upper)[::-1])
    part = part_of(kept, alignment)
    assert part.beam_search(least, 2000, deadline)
    offsets = np.empty(len(kept), np.int64)
    offsets[ordered] = part.offset
    assert overlaps(kept, offsets.tolist()) == []
    assert part.size == least
    assert not part_of(kept, alignment).beam_search(least - 1, 2000, deadline)


def test_narrow_beam_packs_what_falls_into_place():
    """A rectangle cut into 12 pieces, by a beam far from exhaustive; below it nothing."""
    part = part_of(tight(1, 12))
    assert part.beam_search(64, 200, Deadline())
    assert part.size == part.bound == 64
    assert not part.beam_search(63, 200, Deadline())


def least_by_order(part, order):
    """The height of the packing that an order of placing gives, by looking at every pair."""
    tops = {}
    for u in order:
        below = [
            top
            for j, top in tops.items()
            if part.first[j] < part.last[u] and part.first[u] < part.last[j]
        ]
        tops[u] = max([0, *below]) + part.buffers.size[u]
    return max(tops[u] - part.buffers.slack[u] for u in tops)


@settings(max_examples=25, deadline=None)
@given(buffers(), st.sampled_from([1, 4]), st.booleans())
def test_recreation_measures_packings_as_they_are(found, alignment, inserts):
    """Its heights are those of its orders, its offsets overlap nowhere; nothing lies too low."""
    kept = lifetimes([row for row in zip(*(c.tolist() for c in found.columns)) if row[2]])
    if not len(kept):
        return
    part, least = part_of(kept, alignment), least_size(kept, alignment)
    state = recreation_of(part.buffers, np.arange(len(kept)), inserts, 0.02, random_of(0))
    for steps in (1, 30):
        recreation.recreate(part.buffers, state, 1, steps, 5, 0.9)
        through = state.level[recreation.HEAD] + part.buffers.size + state.level[recreation.TAIL]
        assert through.max() == least_by_order(part, state.order)
        excess = np.maximum(through - 1, 0).sum()
        assert state.costs[recreation.COST] == pytest.approx(excess)
    height = state.numbers[recreation.BEST]
    assert least <= height == (state.best + part.true_size).max()
    ordered = np.lexsort(sections_of(kept.lower, kept.upper)[::-1])
    offsets = np.empty(len(kept), np.int64)
    offsets[ordered] = state.best
    assert overlaps(kept, offsets.tolist()) == []


def test_recreation_packs_what_orders_do_not():
    """Random lifetimes that no order of laying packs into the load."""
    random = np.random.default_rng(0)
    lower, length, size = (random.integers(*ends, 100) for ends in ((0, 60), (2, 30), (1, 99)))
    part, deadline = part_of(lifetimes(np.stack([lower, lower + length, size], 1))), Deadline()
    for order in part.orders().values():
        part.offer(part.lay(order, deadline), "laid")
    assert part.size > part.bound
    assert any(part.recreate(part.bound, deadline) for _ in range(2))
    assert (part.size, part.found_by) == (part.bound, "recreation")


def test_recreation_begins_near_the_load():
    """Put in one by one, each where that is least, they lie lower than by any order of laying."""
    random = np.random.default_rng(3)
    lower, length, size = (random.integers(*ends, 200) for ends in ((0, 200), (2, 100), (1, 99)))
    part, deadline = part_of(lifetimes(np.stack([lower, lower + length, size], 1))), Deadline()
    for order in part.orders().values():
        part.offer(part.lay(order, deadline), "laid")
    laid = part.size
    state = recreation_of(part.buffers, part._by_crowds(), True, 0.02, random_of(0))
    recreation.recreate(part.buffers, state, part.bound, 1, 5, 0.9)
    assert state.numbers[recreation.BEST] - part.bound < (laid - part.bound) / 2


def test_recreation_without_time_offers_nothing():
    """A deadline that has passed leaves what is known; no packing is made up."""
    part, over = part_of(tight(1, 12)), Deadline.after(0)
    part.offer(part.lay(np.arange(len(part)), Deadline()), "laid")
    known = part.size, part.offset.tolist()
    assert part.recreate(1, over) is False
    assert (part.size, part.offset.tolist()) == known


@settings(max_examples=25, deadline=None)
@given(buffers(most=8), st.integers(-1, 9), st.sampled_from([1, 4]))
def test_crowds_are_fitted_as_other_buffers(found, place, alignment):
    """First fit is the same with pairs listed and without, around what is fixed, too."""
    kept = lifetimes([row for row in zip(*(c.tolist() for c in found.columns)) if row[2]])
    if not len(kept):
        return
    part = part_of(kept, alignment)
    part.fixed[0] = place * alignment if place >= 0 else -1
    for order in part.orders().values():
        fitted = part.fit(order, False, Deadline())
        assert part.fit_crowd(order, Deadline()).tolist() == fitted.tolist()


def test_many_at_once_are_fitted_around_preplaced(monkeypatch):
    """Too many pairs to list them: right with and without a second thread, and nothing moves."""
    monkeypatch.setattr("schedule.arena.part.MOST_PAIRS", 20)
    monkeypatch.setattr("schedule.arena.part._MOST_SEARCHED", 0)
    found = tight(5, 60)
    for workers, places in ((1, {}), (2, {}), (2, {"b3": 5, "b50": 8})):
        arena = schedule.place(found, preplaced=places, time_limit=0.1, workers=workers)
        assert overlaps(found, arena.offsets.tolist()) == []
        assert all(arena.offsets[int(name[1:])] == offset for name, offset in places.items())
        assert arena.found_by != "slots"


def test_one_worker_does_the_same_again(monkeypatch):
    """The searches take turns by counted work: the same packings come in the same order."""
    seen, offer = [], Part.offer
    monkeypatch.setattr(
        Part,
        "offer",
        lambda self, o, by: (seen[-1].append((by, o.tolist())), offer(self, o, by))[1],
    )
    found = tight(2, 160, height=512, length=300)
    for _ in range(2):
        seen.append([])
        schedule.place(found, workers=1, seed=3, time_limit=0.3)
    # The last ones may be what there was when the time was over.
    count = min(map(len, seen)) // 2
    assert count > 5
    assert seen[0][:count] == seen[1][:count]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_load_is_the_peak_of_a_schedule(data):
    """Storages, second copies and workspaces add up to what the memory model counts."""
    graph = data.draw(graphs())
    order = data.draw(runs(graph))
    trace = schedule.simulate(graph, free_early(graph, order))
    assert lifetimes_of(trace).load == trace.peak
    resident = graph.layout.resident_memory
    assert lifetimes_of(trace, "outside").load <= trace.peak
    assert trace.peak <= lifetimes_of(trace, "outside").load + resident


def tight(seed, count, height=64, length=40):
    """Buffers that fill an arena without a gap: a rectangle, cut up."""
    random = np.random.default_rng(seed)
    pieces = [(0, length, 0, height)]
    while len(pieces) < count:
        at = int(random.integers(len(pieces)))
        left, right, low, high = pieces[at]
        if random.random() < 0.5 and right - left > 1:
            cut = int(random.integers(left + 1, right))
            pieces[at : at + 1] = [(left, cut, low, high), (cut, right, low, high)]
        elif high - low > 1:
            cut = int(random.integers(low + 1, high))
            pieces[at : at + 1] = [(left, right, low, cut), (left, right, cut, high)]
    return lifetimes([(left, right, high - low) for left, right, low, high in pieces])


@pytest.mark.parametrize("seed", range(3))
def test_arenas_without_a_gap_are_found(seed):
    """A rectangle cut into 30 pieces goes into it again; a smaller one is refused."""
    found = tight(seed, 30)
    arena = schedule.place(found, capacity=64, time_limit=20)
    assert (arena.status, arena.size, arena.load) == ("optimal", 64, 64)
    assert overlaps(found, arena.offsets.tolist()) == []
    with pytest.raises(BadBudget, match=r"capacity 63 is less than the load: 64 .* at time 0"):
        schedule.place(found, capacity=63)


def part_of(found, alignment=1):
    first, last = sections_of(found.lower, found.upper)
    order = np.lexsort((last, first))
    fixed = np.full(len(found), -1)
    width = found.upper - found.lower
    args = first[order], last[order], found.size[order], fixed, width[order]
    return Part(*args, alignment, 0)


@pytest.mark.parametrize("goes_on", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_two_exact_methods_agree(seed, goes_on):
    """Canonical searches prove what CP-SAT proves, on parts that no bound decides.

    Whether they go on, or are begun anew.
    """
    found = tight(seed, 14, height=23, length=9)
    grown = lifetimes([(a, b, s + 1) for a, b, s in zip(*(c.tolist() for c in found.columns))])
    searched, solved, deadline = part_of(grown), part_of(grown), Deadline.after(30)
    solved.offer(solved.fit(np.arange(14), True, deadline), "")
    improve(solved, deadline, 0)
    assert solved.bound == solved.size
    assert any(searched.search(solved.size, goes_on, deadline) for _ in range(10**4))
    assert searched.size == solved.size
    if solved.size > searched.bound:
        below = solved.size - 1
        assert any(searched.search(below, goes_on, deadline) for _ in range(10**4))
        assert searched.bound == solved.size


def test_searches_go_on_where_they_stood():
    """After some rounds they are where one that never stopped is; below another height, anew."""
    part, deadline = part_of(tight(2, 160, height=512, length=300)), Deadline()
    restarts = Restarts(part.buffers, *part._members, part.orders(), part.varied)
    assert not any(restarts.search(part.bound, True, deadline).offset is not None for _ in "1234")
    for kept, rank in zip(restarts._kept, restarts._ranks, strict=True):
        whole, states = restarts._begun(*rank), int(kept.numbers[canonical.STATES])
        assert states >= 3 * 160 * (1 + 2 + 1 + 4)
        canonical.search(part.buffers, whole, part.bound, states)
        assert kept.numbers.tolist() == whole.numbers.tolist()
        assert kept.value.tolist() == whole.value.tolist()
    restarts.search(part.bound + 1, True, deadline)
    assert max(kept.numbers[canonical.STATES] for kept in restarts._kept) < 2 * 3 * 160


def test_capacity_that_no_arena_has_is_infeasible():
    """The least size is a capacity; where one buffer has its place already, the load isn't."""
    found = lifetimes([(0, 2, 2), (1, 4, 1), (3, 6, 2), (0, 1, 1), (5, 6, 1), (2, 3, 2), (4, 5, 1)])
    least = least_size(found)
    assert schedule.place(found, capacity=least).status in ("optimal", "feasible")
    pinned = schedule.place(
        lifetimes([(0, 2, 2), (1, 3, 2)]), capacity=4, preplaced={"b0": 1}, time_limit=5
    )
    assert (pinned.status, pinned.offsets, pinned.size) == ("infeasible", None, None)
    assert pinned.lower_bound > 4


def test_preplaced_allocations_stay():
    """Others go around them; what overlaps or isn't there is refused."""
    found = lifetimes([(0, 4, 2), (0, 2, 3), (2, 4, 1)])
    arena = schedule.place(found, preplaced={"b0": 4})
    assert arena.offsets[0] == 4
    assert overlaps(found, arena.offsets.tolist()) == []
    assert (arena.size, arena.status) == (6, "optimal")
    with pytest.raises(BadOption, match=r"preplaced: 'b0' .* overlap at time 0"):
        schedule.place(found, preplaced={"b0": 4, "b1": 2})
    with pytest.raises(BadOption, match="preplaced 'x' isn't allocated"):
        schedule.place(found, preplaced={"x": 4})
    with pytest.raises(BadOption, match="multiple of 8"):
        schedule.place(found, preplaced={"b0": 4}, alignment=8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alignment": 3}, "alignment is 3; it has to be a power of two"),
        ({"alignment": 0}, "alignment is 0"),
        ({"time_limit": 0}, "time_limit is 0"),
        ({"inputs": "no"}, "inputs is 'no'"),
        ({"workers": 0}, "workers is 0; it has to be an integer ≥ 1"),
        ({"seed": -1}, "seed is -1; it has to be an integer from 0"),
        ({"cancel": 3}, "cancel is 3; it has to be a function"),
        ({"preplaced": ["b0"]}, "it has to be a mapping of names to offsets"),
        ({"capacity": "many"}, "capacity 'many' is no amount of memory"),
    ],
)
def test_wrong_options_are_refused(options, message):
    """By name, with the value."""
    with pytest.raises((BadOption, BadBudget), match=message):
        schedule.place(lifetimes([(0, 1, 1)]), **options)
    with pytest.raises(BadOption, match="give one"):
        schedule.place(schedule.example("chain"))


def test_alignment_that_would_overrun_is_refused():
    """Offsets stay 64-bit integers: the largest that fits is packed, twice as much is refused."""
    found = lifetimes([(0, 5, 3)] * 3)
    assert schedule.place(found, alignment=2**59).size == 2 * 2**59 + 3
    with pytest.raises(BadOption, match=r"3 allocations, .* take 2\*\*61 or more together"):
        schedule.place(found, alignment=2**60)


def test_independent_times_are_packed_apart():
    """Nothing lives across the middle: each half is a part, and the larger one counts."""
    halves = [(0, 10, 5), (0, 10, 6), (10, 20, 9)] * 2
    arena = schedule.place(lifetimes(halves))
    assert (arena.size, arena.status) == (22, "optimal")
    assert set(arena.offsets[[2, 5]].tolist()) == {0, 9}


@settings(max_examples=40, deadline=None)
@given(
    buffers(most=3, longest=3),
    buffers(most=3, longest=3),
    st.integers(1, 9),
    st.sampled_from([1, 2]),
)
def test_what_is_there_all_the_time_lies_below_the_rest(early, late, size, alignment):
    """Two of them, and what bridges two halves: as small as exhaustive search says."""
    rows = [(0, 6, size), (0, 6, 4), (1, 4, 2)]
    for begin, half in ((0, early), (3, late)):
        columns = (column.tolist() for column in half.columns)
        rows += [(begin + lower, begin + upper, each) for lower, upper, each in zip(*columns)]
    found = lifetimes(rows)
    arena = schedule.place(found, alignment=alignment)
    assert overlaps(found, arena.offsets.tolist()) == []
    assert not (arena.offsets % alignment).any()
    assert (arena.size, arena.status) == (least_size(found, alignment), "optimal")


def test_what_is_there_all_the_time_holds_nothing_together():
    """Below it is divided, again and again; not what is aligned, and may have to lie on top."""
    rows = [(0, 8, 4), (0, 2, 1), (1, 2, 1), (2, 8, 4), (2, 5, 1), (3, 4, 1), (5, 8, 1), (6, 7, 1)]
    found, none = lifetimes(rows), np.full(len(rows), -1)
    for alignment, parts in ((1, 3), (4, 3), (8, 1)):
        args = (found, none, None, alignment, Deadline(), lambda: False, SolveOptions())
        assert len(searching.Search(*args)._parts) == parts


def test_many_parts_take_linear_time(monkeypatch):
    """What is proved is looked up a few times for all parts, not for each."""
    looked, bound = [], searching.Search.bound.fget
    monkeypatch.setattr(
        searching.Search, "bound", property(lambda self: looked.append(self) or bound(self))
    )
    rows = [(2 * at + late, 2 * at + 2, 1 + at % 7) for at in range(300) for late in (0, 1)]
    arena = schedule.place(lifetimes(rows))
    assert (arena.size, arena.status) == (14, "optimal")
    assert len(looked) < 30


def test_interrupted_search_returns_what_it_has():
    """Ctrl-C in the middle: a right arena, marked as interrupted."""
    found = tight(7, 300, height=4096, length=600)
    timer = threading.Timer(0.5, signal.raise_signal, (signal.SIGINT,))
    timer.start()
    arena = schedule.place(found, time_limit=60)
    timer.cancel()
    assert arena.interrupted or arena.status == "optimal"
    assert overlaps(found, arena.offsets.tolist()) == []


def test_without_compiled_code_there_is_an_arena():
    """What is packed before the compiler is ready is right, too."""
    found = tight(3, 60)
    part = part_of(found)
    part.pack_plainly()
    order = np.lexsort(sections_of(found.lower, found.upper)[::-1])
    offsets = np.empty(len(found), np.int64)
    offsets[order] = part.offset
    assert overlaps(found, offsets.tolist()) == []
    assert part.found_by == "best fit by time"


@settings(max_examples=40)
@given(buffers(most=12, longest=9, largest=40), st.integers(-1, 9), st.sampled_from([1, 4]))
def test_many_buffers_without_compiled_code_have_slots(found, place, alignment):
    """Nothing overlaps, whatever is fixed, and offsets are aligned."""
    kept = lifetimes([row for row in zip(*(c.tolist() for c in found.columns)) if row[2]])
    if not len(kept):
        return
    part = part_of(kept, alignment)
    part.fixed[0] = place * alignment if place >= 0 else -1
    offsets = part._slots()
    order = np.lexsort(sections_of(kept.lower, kept.upper)[::-1])
    ordered = lifetimes(np.stack([column[order] for column in kept.columns], 1))
    assert overlaps(ordered, offsets.tolist()) == []
    assert not (offsets % alignment).any()
    assert place < 0 or offsets[0] == place * alignment


def test_slots_are_used_again():
    """Of one size, as in any order of time: the load is reached, not the sum."""
    lower = np.random.default_rng(0).permutation(500)
    part = part_of(lifetimes([(begin, begin + 40, 8) for begin in lower.tolist()]))
    assert (part._slots() + 8).max() == part.bound == 40 * 8


def test_a_few_buffers_wait_for_no_compiler(monkeypatch):
    """A packing of the load's size is the best one, and found without compiled code."""
    monkeypatch.setattr(searching, "PACKING", None)
    graph = schedule.example("chain")
    plan = schedule.solve(graph, "50%")
    arena = schedule.place(graph, plan)
    assert (arena.status, arena.size) == (schedule.Status.OPTIMAL, plan.peak)
    # Only backwards in time: what ends last lies lowest.
    assert schedule.place(lifetimes([(0, 3, 4), (1, 5, 2), (4, 6, 7)])).size == 9


def test_a_few_buffers_are_packed_while_others_compile(monkeypatch):
    """One that lies somewhere already, and two that fit below it only side by side in time."""
    endless = SimpleNamespace(done=threading.Event(), compiles=True, error=None)
    compiler = SimpleNamespace(is_ready=False, begin=lambda: endless)
    monkeypatch.setattr(searching, "PACKING", compiler)
    found = lifetimes([(0, 4, 2), (0, 2, 3), (2, 4, 1)])
    arena = schedule.place(found, preplaced={found.names[0]: 4}, time_limit=60)
    assert (arena.size, arena.status) == (6, schedule.Status.OPTIMAL)
    assert arena.found_by == "CP-SAT"


def test_what_is_laid_waits_for_no_search(monkeypatch):
    """A plan whose buffers fits in the order of time leave too large."""
    for name in ("EJECTIONS", "SEARCHES"):
        monkeypatch.setattr(searching, name, None)
    graph = schedule.example("diamonds")
    arena = schedule.place(graph, schedule.solve(graph, "80%", "greedy"))
    assert arena.status is schedule.Status.OPTIMAL
    assert arena.found_by.startswith("laid by")


def test_ejections_go_on_while_searches_compile(monkeypatch):
    """What fits one by one leave too large they pack as tightly as can be."""
    endless = SimpleNamespace(done=threading.Event(), compiles=True, error=None)
    monkeypatch.setattr(
        searching, "SEARCHES", SimpleNamespace(is_ready=False, begin=lambda: endless)
    )
    for name in ("_FEW", "_PLAIN"):
        monkeypatch.setattr(searching, name, 0)
    arena = schedule.place(tight(7, 60), time_limit=60)
    assert (arena.status, arena.found_by) == (schedule.Status.OPTIMAL, "ejection search")
    assert arena.compiling > 0


def test_second_thread_fits_in_other_orders_while_searches_compile(monkeypatch):
    """It asks for no code that isn't there, and its packings count; then it has that code."""
    endless = SimpleNamespace(done=threading.Event(), compiles=True, error=None)
    code = SimpleNamespace(is_ready=False, begin=lambda: endless)
    monkeypatch.setattr(searching, "SEARCHES", code)
    monkeypatch.setattr(searching, "_FEW", 0)
    beside, main = [], threading.get_ident()
    for name in ("recreate", "lay", "fit"):
        method = getattr(Part, name)

        def noted(self, *given, name=name, method=method):
            if threading.get_ident() != main:
                beside.append(name)
                # As long as it takes to see both threads at work.
                code.is_ready = code.is_ready or len(beside) >= 20
                if len(beside) >= 40:
                    endless.done.set()
            return method(self, *given)

        monkeypatch.setattr(Part, name, noted)
    found = tight(2, 160, height=512, length=300)
    arena = schedule.place(found, workers=2, time_limit=3)
    assert overlaps(found, arena.offsets.tolist()) == []
    assert "recreate" not in beside[:20]
    assert set(beside[:20]) <= {"lay", "fit"}
    assert beside[20:] == [] or "recreate" in beside[20:]


def test_cpsat_is_asked_in_turns_of_counted_work(monkeypatch):
    """Each has twice the work of the one before, and searches go on between them."""
    asked, turns = [], []
    monkeypatch.setattr(searching, "_FIRST_EXACT", 0.1)
    monkeypatch.setattr(
        searching.Search,
        "_pack_exactly",
        lambda self, part, deadline: (
            asked.append((deadline.clock.counts_work, deadline.seconds_left)),
            deadline.spend(deadline.seconds_left),
        ),
    )
    take = searching.Search._take_turn
    monkeypatch.setattr(
        searching.Search,
        "_take_turn",
        lambda self, part, name: (turns.append(name), take(self, part, name)),
    )
    found = tight(2, 140, height=4096, length=300)
    grown = lifetimes([(a, b, s + 1) for a, b, s in zip(*(c.tolist() for c in found.columns))])
    schedule.place(grown, workers=1, time_limit=3)
    assert len(asked) >= 2
    assert all(counts for counts, _ in asked)
    assert [work for _, work in asked] == [asked[0][1] * 2**at for at in range(len(asked))]
    first, last = [at for at, name in enumerate(turns) if name == "exact"][-2:]
    assert set(turns[first + 1 : last]) >= {"canonical", "beam", "recreation"}


def test_one_worker_has_every_search_within_a_capacity(monkeypatch):
    """Ruin and recreate, too, which has a thread of its own where there are two."""
    turns = set()
    monkeypatch.setattr(
        searching.Search, "_take_turn", lambda self, part, name: turns.add(name) or note(part, name)
    )

    def note(part, name):
        part.spent[name] += 1
        if len(turns) == 4:
            part.bound = part.size

    found = tight(2, 140, height=4096, length=300)
    schedule.place(found, capacity=4096, workers=1, time_limit=20)
    assert turns == {"canonical", "beam", "recreation", "exact"}


def test_schedules_that_copy_have_addresses_on_the_device(tmp_path):
    """What is fetched is allocated by that step; the load is the peak; the file's are checked."""
    graph = schedule.example("unet")
    peak = in_order(graph).peak
    host = schedule.Level("host", peak, down=peak, up=peak)
    plan = schedule.solve(graph, "70%", "offload_largest", levels=host)
    trace = schedule.verify(graph, plan)
    found = lifetimes_of(trace)
    fetched = [at for at, step in enumerate(trace.codes) if step < -2 * graph.layout.n_tensors]
    assert found.load == trace.peak
    assert set(fetched) & set(found.lower.tolist())
    arena = schedule.place(graph, plan, alignment=4, time_limit=0.2)
    assert overlaps(found, [arena.offsets[at] for at in range(len(found))]) == []
    file = tmp_path / "placed.json"
    replace(plan, addresses=arena.addresses).save(file)
    assert schedule.verify_claims(graph, schedule.read_schedule(file, graph)).peak == trace.peak


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_is_stretched_is_within_the_height_and_leaves_parts(data):
    """Longer than before or as long, in loads within the height; what is left isn't one part."""
    found = data.draw(buffers(most=8, longest=12))
    kept = found.size > 0
    first, last = sections_of(found.lower[kept], found.upper[kept])
    order = np.lexsort((last, first))
    first, last, size = first[order], last[order], found.size[kept][order]
    if not len(size):
        return
    height = found.load + data.draw(st.integers(0, 4))
    spans = stretched(first, last, size, 1, height)
    if spans is None:
        return
    begin, end = spans
    assert ((begin <= first) & (last <= end)).all()
    for section in range(int(last.max())):
        assert size[(begin <= section) & (section < end)].sum() <= height
    rest = (begin > 0) | (end < last.max())
    crossed = [((first < cut) & (cut < last))[rest].sum() for cut in range(1, last.max())]
    assert 0 in crossed


def nearly_held_together(seed, count=40):
    """Two inputs of one load, one after the other, and three that are there but for the ends."""
    first, second = (tight(seed + k, count, height=256, length=100) for k in range(2))
    rows = []
    for shift, each in ((0, first), (100, second)):
        columns = (column.tolist() for column in each.columns)
        rows += [(shift + lower, shift + upper, size) for lower, upper, size in zip(*columns)]
    return lifetimes([*rows, (3, 200, 40), (0, 196, 50), (2, 197, 60)]), 256 + 150


def test_what_is_there_nearly_all_the_time_lies_below_the_rest(monkeypatch):
    """Stretched, it leaves two parts, each of which is packed by itself in what is left."""
    found, capacity = nearly_held_together(1)
    taken, take = [], searching.Search._take_turn

    def take_turn(search, part, name):
        taken.append(len(part))
        take(search, part, name if search._apart_of(part) is None else "apart")

    monkeypatch.setattr(searching.Search, "_take_turn", take_turn)
    arena = schedule.place(found, capacity=capacity, workers=1, time_limit=60)
    assert (arena.size, arena.load) == (capacity, capacity)
    assert overlaps(found, arena.offsets.tolist()) == []
    assert max(taken) > 80
    assert min(taken) <= 40
