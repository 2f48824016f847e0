"""A disk below a host that is full: what is copied on, and what that is worth."""

from __future__ import annotations

import schedule
from schedule import Compute, Drop, Free, Level, Offload, Prefetch, example
from schedule.solvers.offloading.spilling import spilled
from schedule.steps import decode, encode


def pile(count):
    """Tensors of size 1 that are made, and read in the end."""
    g = schedule.GraphBuilder()
    made = [g.node(f"t{at}", memory=1, compute=1) for at in range(count)]
    last = made[-1]
    for at, each in enumerate(made[:-1]):
        last = g.node(f"r{at}", [last, each], memory=1, compute=1)
    return g.build()


def test_what_is_fetched_last_goes_to_the_disk():
    """As soon as it is on the host, whose place it leaves when the next copy comes."""
    graph = pile(3)
    steps = [Compute("t0"), Offload("t0"), Free("t0"), Compute("t1"), Offload("t1"), Free("t1")]
    steps += [Compute("t2"), Prefetch("t0"), Compute("r0"), Prefetch("t1"), Compute("r1")]
    for levels, gone in (((1, 5), "t0"), ((2, 5), None), ((1, 0), "none")):
        machine = [Level("host", levels[0], 1, 1), Level("disk", levels[1], 1, 1)]
        found = spilled(graph, encode(graph, steps), machine)
        if gone == "none":
            assert found is None
            continue
        schedule.verify(graph, found, levels=machine)
        moved = [step for step in decode(graph, found) if getattr(step, "level", 1) == 2]
        if gone is None:
            assert decode(graph, found) == tuple(steps)
        else:
            assert moved[0] == Offload("t0", 2)
            assert Prefetch("t0", 2) in moved
            assert Drop("t0") in decode(graph, found)


def test_a_disk_reaches_budgets_that_a_small_host_does_not():
    """Within the capacities of both, and no faster than a host with room for all."""
    graph = example("transformer")
    peak = schedule.solve(graph, solver="store_all").peak
    rate = 4 * peak / graph.compute
    small, large = (Level("host", peak // by, rate, rate) for by in (10, 1))
    disk = Level("disk", 10 * peak, rate / 4, rate / 4)
    alone, both, room = (
        schedule.solve(graph, "50%", "offload_largest", levels=levels)
        for levels in ([small], [small, disk], [large, disk])
    )
    assert alone.schedule is None
    assert 0 < both.level_peaks[0] <= small.capacity
    assert both.level_peaks[1] > 0 == room.level_peaks[1]
    assert both.makespan >= room.makespan
