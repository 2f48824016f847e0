"""Stays of storages and of copies, against memory counted step by step."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schedule import simulate
from schedule.stays import copies_of, stays_of
from tests.enough import enough, reached
from tests.oracles import on_machine
from tests.strategies import graphs, machine_steps, machines


def held(graph, stays, steps):
    """Memory of what stays, before the first step and after each."""
    owner, start, end = stays
    after = np.arange(-1, steps)[:, None]
    return ((start <= after) & (after < end)) @ graph.layout.memory[owner]


def require_apart(stays):
    """In the order in which they begin; nothing stays twice at once, or for no step."""
    owner, start, end = stays
    assert (np.diff(start) >= 0).all()
    assert (start < end).all()
    for each in set(owner.tolist()):
        assert (start[owner == each][1:] >= end[owner == each][:-1]).all()


@enough(0.3)
@settings(max_examples=50)
@given(st.data())
def test_stays_are_what_is_in_memory_at_every_step(data):
    """On the device and on every level, with views, reruns, copies that go and come again."""
    graph = data.draw(graphs(min_nodes=1, max_nodes=6))
    levels = data.draw(machines())
    steps = data.draw(machine_steps(graph, levels, length=40))
    known, trace = on_machine(graph, steps, levels), simulate(graph, steps, levels)
    stays = stays_of(trace)
    assert held(graph, stays, len(steps)).tolist() == [known.start, *known.after]
    require_apart(stays)
    for level in range(1, len(levels) + 1):
        copies = copies_of(trace, level)
        below = [memory[level - 1] for memory in known.below]
        assert held(graph, copies, len(steps)).tolist() == [0, *below]
        require_apart(copies)
        if (copies[2] < len(steps)).any():
            reached()
