"""H-Revolve's dynamic program: the least there is, and never more than the published package."""

from __future__ import annotations

import heapq
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedule.solvers.offloading.hierarchy import Action, Hierarchy, Storage


def followed(plan):
    """What the operations of a plan cost, each of them checked."""
    work, left, spent = 0, plan.steps - 1, 0.0
    stored = [set() for _ in plan.levels]
    for action, state, to in plan.operations():
        if action is Action.LOAD:
            assert state in stored[to]
            work, spent = state, spent + plan.levels[to].read
            continue
        assert work == state
        if action is Action.ADVANCE:
            work, spent = to, spent + plan.forward * (to - state)
        elif action is Action.STORE:
            stored[to].add(state)
            spent += plan.levels[to].write
        else:
            assert state == left
            left, work, spent = left - 1, None, spent + plan.backward
            stored = [{each for each in held if each <= left} for held in stored]
        assert all(len(held) <= level.slots for held, level in zip(stored, plan.levels))
    assert left == -1
    return spent


def least_cost(plan):
    """Dijkstra over the state in work, what each level has, and the steps that are left."""
    tie, known = count(), set()
    queue = [(0.0, next(tie), (0, (frozenset(),) * len(plan.levels), plan.steps - 1))]
    while queue:
        spent, _, place = heapq.heappop(queue)
        if place in known:
            continue
        known.add(place)
        work, stored, left = place
        if left < 0:
            return spent
        for cost, following in moves(plan, work, stored, left):
            heapq.heappush(queue, (spent + cost, next(tie), following))
    raise AssertionError("a slot is enough")


def moves(plan, work, stored, left):
    """What may be done next, and what it costs."""

    def changed(number, held):
        return (*stored[:number], held, *stored[number + 1 :])

    if work == left:
        still = tuple(frozenset(each for each in held if each < left) for held in stored)
        yield plan.backward, (None, still, left - 1)
    elif work is not None:
        yield plan.forward, (work + 1, stored, left)
    for number, (held, level) in enumerate(zip(stored, plan.levels)):
        for state in held:
            yield level.read, (state, stored, left)
            if len(held) == level.slots:
                yield 0.0, (work, changed(number, held - {state}), left)
        if work is not None and work not in held and len(held) < level.slots:
            yield level.write, (work, changed(number, held | {work}), left)


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_no_plan_costs_less(data):
    """Of any kind, with states stored and read as one likes, in up to three levels."""
    costs = st.sampled_from([0.0, 0.25, 1.0, 2.0, 5.0])
    levels = [Storage(data.draw(st.integers(1, 2)), 0.0, 0.0)]
    for _ in range(data.draw(st.integers(0, 2))):
        before = levels[-1]
        write, read = before.write + data.draw(costs), before.read + data.draw(costs)
        levels.append(Storage(data.draw(st.integers(0, 2 if len(levels) < 2 else 1)), write, read))
    steps = data.draw(st.integers(1, 6 if len(levels) < 3 else 4))
    plan = Hierarchy(steps, tuple(levels), data.draw(st.sampled_from([1.0, 3.0])), 2.0)
    assert followed(plan) == pytest.approx(plan.cost)
    assert plan.cost == pytest.approx(least_cost(plan))


def published(steps, slots, write, read, forward, backward):
    """What the package's schedule costs, with as much left out as of ours: the turned runs."""
    package = pytest.importorskip("checkpoint_schedules")
    disk = package.StorageType.DISK
    spent, run = 0.0, 0
    for action in package.HRevolve(steps, *slots, forward, backward, write, read):
        if isinstance(action, package.Forward):
            run += action.n1 - action.n0
            spent += write if action.write_ics and action.storage == disk else 0
        elif isinstance(action, (package.Copy, package.Move)):
            spent += read if action.from_storage == disk else 0
        elif isinstance(action, package.Reverse):
            spent += backward
    return spent + (run - steps) * forward


@pytest.mark.parametrize("steps", [2, 7, 20, 40])
@pytest.mark.parametrize("slots", [(1, 2), (3, 3), (5, 1)])
@pytest.mark.parametrize(("forward", "backward"), [(1, 1), (3, 1)])
def test_never_worse_than_the_published_package(steps, slots, forward, backward):
    """In the paper's cost model: equal where both costs are, as its tables mix them up."""
    for write, read in ((0.5, 0.5), (2, 2), (5, 1)):
        levels = Storage(slots[0], 0, 0), Storage(slots[1], write, read)
        ours = Hierarchy(steps, levels, forward, backward).cost
        theirs = published(steps, slots, write, read, forward, backward)
        assert ours <= theirs + 1e-9
        if forward == backward:
            assert ours == pytest.approx(theirs)


def test_hundreds_of_steps():
    """More slots than help are left alone; no plan does with less than turning each step."""
    few, many = (Hierarchy(300, (Storage(5, 0, 0), Storage(slots, 2, 2))) for slots in (9, 300))
    assert 300 + 299 < many.cost < few.cost < Hierarchy(300, (Storage(5, 0, 0),)).cost
    assert followed(many) == many.cost
